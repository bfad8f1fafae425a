//! Tokens as somebody would make them who means no good: taken apart, changed, and signed with
//! whatever key there is, the gateway's own among them.

use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use aws_lc_rs::signature::EcdsaKeyPair;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::config::Config;
use portcullis::startup::store_key;
use portcullis::store::KeyPurpose;
use portcullis::store::KeyState;
use portcullis::store::Open;
use portcullis::store::Store;
use portcullis::store::StoredKey;
use serde_json::Value;

use crate::harness::gateway::Gateway;

/// A JWT taken apart, to be put together otherwise.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) header: Value,
    pub(crate) payload: Value,
    /// In base64url.
    pub(crate) signature: String,
}

/// A key that signs for ES256.
#[derive(Clone)]
pub(crate) struct Signer {
    pair: Arc<EcdsaKeyPair>,
    pub(crate) kid: String,
}

impl Token {
    /// Takes a token apart.
    pub(crate) fn read(text: &str) -> Self {
        let parts: Vec<_> = text.split('.').collect();
        let json =
            |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        Self {
            header: json(parts[0]),
            payload: json(parts[1]),
            signature: parts[2].to_owned(),
        }
    }

    /// With these members in its header.
    pub(crate) fn with_header(&self, changes: &Value) -> Self {
        let mut changed = self.clone();
        extend(&mut changed.header, changes);
        changed
    }

    /// With these claims.
    pub(crate) fn with_claims(&self, changes: &Value) -> Self {
        let mut changed = self.clone();
        extend(&mut changed.payload, changes);
        changed
    }

    /// With the signature that it had.
    pub(crate) fn text(&self) -> String {
        format!("{}.{}", self.signed_part(), self.signature)
    }

    /// With an empty signature.
    pub(crate) fn unsigned(&self) -> String {
        format!("{}.", self.signed_part())
    }

    /// With an HMAC, whatever its header says.
    pub(crate) fn hmac(&self, secret: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let signed = self.signed_part();
        let tag = hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// With a signature for ES256, whatever its header says.
    pub(crate) fn signed_by(&self, signer: &Signer) -> String {
        signer.sign(&self.signed_part())
    }

    fn signed_part(&self) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        format!("{}.{}", part(&self.header), part(&self.payload))
    }
}

impl Signer {
    /// A stranger's.
    pub(crate) fn stranger() -> Self {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Self::read("stranger", document.unwrap().as_ref())
    }

    /// The same key under another name.
    pub(crate) fn named(self, kid: &str) -> Self {
        Self {
            kid: kid.to_owned(),
            ..self
        }
    }

    /// The one that signs access tokens, or assertions, as a thief of the gateway's disk has it.
    pub(crate) async fn stolen(gateway: &Gateway, purpose: KeyPurpose) -> Self {
        let config = Config::load(&gateway.folder().path("gateway.toml")).unwrap();
        let vault = store_key::load_existing(&config.store).unwrap();
        let store = Store::open(&config.store.sqlite, Open::Existing).await;
        let keys = store.unwrap().keys().await.unwrap();
        let signs = |key: &&StoredKey| key.purpose == purpose && key.state == KeyState::Current;
        let key = keys.iter().find(signs).unwrap();
        let label = format!("signing key {}", key.kid);
        Self::read(&key.kid, &vault.open(&label, &key.sealed).unwrap())
    }

    /// `signed` is two parts of a token; all three are returned.
    pub(crate) fn sign(&self, signed: &str) -> String {
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature.unwrap());
        format!("{signed}.{signature}")
    }

    /// The same of two parts that are not in base64url yet.
    pub(crate) fn sign_raw(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        self.sign(&format!(
            "{}.{}",
            part(header.as_ref()),
            part(payload.as_ref())
        ))
    }

    /// The public half: `x` and `y`.
    pub(crate) fn point(&self) -> (String, String) {
        let point = self.pair.public_key().as_ref();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        (part(&point[1..33]), part(&point[33..]))
    }

    fn read(kid: &str, pkcs8: &[u8]) -> Self {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8);
        Self {
            pair: Arc::new(pair.unwrap()),
            kid: kid.to_owned(),
        }
    }
}

fn extend(object: &mut Value, changes: &Value) {
    let changes = changes.as_object().unwrap().clone();
    object.as_object_mut().unwrap().extend(changes);
}
