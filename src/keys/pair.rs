//! One signing key, ready to sign and to verify.
//!
//! It must never show its private half, not even in `Debug`.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use aws_lc_rs::signature::EcdsaKeyPair;
use aws_lc_rs::signature::Ed25519KeyPair;
#[cfg(any(test, fuzzing))]
use base64::Engine as _;
#[cfg(any(test, fuzzing))]
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::Header;
use jsonwebtoken::errors::Error;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::jwk::PublicKeyUse;
use jsonwebtoken::jwk::ThumbprintHash;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::config::Algorithm;

/// A key pair that has signed and may be relied on to sign.
pub(crate) struct KeyPair {
    header: Header,
    private: EncodingKey,
    public: Jwk,
    verifying: DecodingKey,
}

impl KeyPair {
    /// A fresh pair, and its private half as PKCS #8 to be sealed.
    #[expect(
        clippy::expect_used,
        reason = "a gateway without randomness can issue nothing and must not go on"
    )]
    pub(super) fn generate(algorithm: Algorithm) -> (Self, Zeroizing<Vec<u8>>) {
        let random = SystemRandom::new();
        let document = match algorithm {
            Algorithm::Es256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            }
            // Version 1 of PKCS #8: jsonwebtoken knows an Ed25519 key by its 48 bytes.
            Algorithm::EdDsa => Ed25519KeyPair::generate_pkcs8v1(&random),
        };
        let document = document.expect("the source of randomness works");
        let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
        let pair = Self::read(algorithm, &pkcs8).expect("what was just written reads back");
        (pair, pkcs8)
    }

    /// Reads a private key and signs with it once, so that whoever holds a pair can sign.
    pub(super) fn read(algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self, Error> {
        let (private, algorithm) = match algorithm {
            Algorithm::Es256 => (
                EncodingKey::from_ec_der(pkcs8),
                jsonwebtoken::Algorithm::ES256,
            ),
            Algorithm::EdDsa => (
                EncodingKey::from_ed_der(pkcs8),
                jsonwebtoken::Algorithm::EdDSA,
            ),
        };
        let mut public = Jwk::from_encoding_key(&private, algorithm)?;
        let kid = public.thumbprint(ThumbprintHash::SHA256)?;
        public.common.key_id = Some(kid.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        let verifying = DecodingKey::from_jwk(&public)?;

        let mut header = Header::new(algorithm);
        header.kid = Some(kid);
        jsonwebtoken::encode(&header, &(), &private)?;
        Ok(Self {
            header,
            private,
            public,
            verifying,
        })
    }

    /// The JWK thumbprint (RFC 7638) of the public half.
    pub(crate) fn kid(&self) -> &str {
        self.header.kid.as_deref().unwrap_or_default()
    }

    /// The one algorithm this key is for (RFC 8725 §3.1).
    pub(crate) fn algorithm(&self) -> jsonwebtoken::Algorithm {
        self.header.alg
    }

    /// The public half, for verifying.
    pub(crate) fn verifying(&self) -> &DecodingKey {
        &self.verifying
    }

    /// The public half, for publishing.
    pub(super) fn public(&self) -> &Jwk {
        &self.public
    }

    /// Signs claims as a token of the type `typ`.
    #[expect(
        clippy::expect_used,
        reason = "`read` has signed with this key under this very header, and our claims are strings and numbers"
    )]
    pub(crate) fn sign(&self, typ: &str, claims: &impl Serialize) -> String {
        let mut header = self.header.clone();
        header.typ = Some(typ.to_owned());
        jsonwebtoken::encode(&header, claims, &self.private).expect("a key that signed signs")
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair")
            .field("kid", &self.kid())
            .finish_non_exhaustive()
    }
}

#[cfg(any(test, fuzzing))]
impl KeyPair {
    /// Signs bytes that need not be claims, for tests that forge.
    #[expect(clippy::expect_used, reason = "a pair has signed before")]
    pub(crate) fn seal(&self, typ: &str, payload: &[u8]) -> String {
        let mut header = self.header.clone();
        header.typ = Some(typ.to_owned());
        let header = serde_json::to_vec(&header).expect("a header is JSON");
        let encoded = [&header, payload].map(|part| URL_SAFE_NO_PAD.encode(part));
        let message = encoded.join(".");
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.private, self.algorithm());
        format!("{message}.{}", signature.expect("a key that signed signs"))
    }

    /// The private half, for tests that forge.
    #[cfg(test)]
    pub(crate) fn private(&self) -> &EncodingKey {
        &self.private
    }
}
