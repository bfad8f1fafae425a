//! From a JWKS (RFC 7517) to keys that check signatures: those that are fit, each for its one algorithm.
//!
//! It must never make a key of a shared secret, and never leave the choice of an algorithm to a token.

use std::collections::HashMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use jsonwebtoken::DecodingKey;
use serde_json::Value;

use crate::config::IssuerAlgorithm;

/// More are not read.
const KEYS_MAX: usize = 64;
/// RFC 7518 §3.3.
const RSA_BITS_MIN: usize = 2048;

/// The keys of an issuer as they were at one time. Swapped whole.
#[derive(Debug)]
pub struct IssuerKeys {
    generation: u64,
    fetched_at: SystemTime,
    by_kid: HashMap<String, IssuerKey>,
}

/// A key, and the one algorithm it is used with (RFC 8725 §3.1).
pub struct IssuerKey {
    algorithm: Algorithm,
    verifying: DecodingKey,
    /// The JWK itself: whether it is still the same one after a refresh.
    text: String,
}

impl std::fmt::Debug for IssuerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IssuerKey({:?})", self.algorithm)
    }
}

impl IssuerKey {
    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What checks signatures.
    pub fn verifying(&self) -> &DecodingKey {
        &self.verifying
    }
}

impl IssuerKeys {
    /// Reads the fit ones among the keys of a document. Of two with one kid the first counts. Nothing
    /// where it is no set of keys; a set may be empty.
    pub fn read(json: &Value, allowed: &[IssuerAlgorithm], now: SystemTime) -> Option<Self> {
        let keys = json.get("keys")?.as_array()?;
        let mut by_kid = HashMap::new();
        for key in keys.iter().take(KEYS_MAX) {
            if let Some(kid) = text(key, "kid")
                && let Some(key) = read_key(key, allowed)
            {
                by_kid.entry(kid.to_owned()).or_insert(key);
            }
        }
        Some(Self {
            generation: 1,
            fetched_at: now,
            by_kid,
        })
    }

    /// Follows others: whatever was judged by keys of which one is gone or changed is judged anew.
    pub(super) fn after(mut self, before: &Self) -> Self {
        let stays = |(kid, key): (&String, &IssuerKey)| {
            let now = self.by_kid.get(kid);
            now.is_some_and(|now| now.text == key.text)
        };
        let all_stay = before.by_kid.iter().all(stays);
        self.generation = before.generation + u64::from(!all_stay);
        self
    }

    /// Differs once a key is gone or has changed.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// When they were fetched.
    pub fn fetched_at(&self) -> SystemTime {
        self.fetched_at
    }

    /// How many are fit.
    pub(super) fn len(&self) -> usize {
        self.by_kid.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.by_kid.is_empty()
    }

    /// The key of this very kid.
    pub fn find(&self, kid: &str) -> Option<&IssuerKey> {
        self.by_kid.get(kid)
    }
}

fn text<'a>(key: &'a Value, name: &str) -> Option<&'a str> {
    key.get(name).and_then(Value::as_str)
}

/// Nothing for a key that is for something else, of a kind that is not allowed, or too weak.
fn read_key(key: &Value, allowed: &[IssuerAlgorithm]) -> Option<IssuerKey> {
    if key.get("use").is_some_and(|it| it != "sig") {
        return None;
    }
    if let Some(operations) = key.get("key_ops")
        && !operations.as_array()?.iter().any(|it| it == "verify")
    {
        return None;
    }
    let fits = |algorithm: &IssuerAlgorithm| {
        let kind = (text(key, "kty"), text(key, "crv"));
        let is_kind = match algorithm {
            IssuerAlgorithm::Es256 => kind == (Some("EC"), Some("P-256")),
            IssuerAlgorithm::Es384 => kind == (Some("EC"), Some("P-384")),
            IssuerAlgorithm::EdDsa => kind == (Some("OKP"), Some("Ed25519")),
            IssuerAlgorithm::Rs256
            | IssuerAlgorithm::Rs384
            | IssuerAlgorithm::Rs512
            | IssuerAlgorithm::Ps256
            | IssuerAlgorithm::Ps384
            | IssuerAlgorithm::Ps512 => kind.0 == Some("RSA"),
        };
        let is_said = key.get("alg").is_none_or(|it| *it == algorithm.to_string());
        is_kind && is_said
    };
    let algorithm = *allowed.iter().find(|algorithm| fits(algorithm))?;
    let verifying = match text(key, "kty")? {
        "EC" => DecodingKey::from_ec_components(text(key, "x")?, text(key, "y")?),
        "OKP" => DecodingKey::from_ed_components(text(key, "x")?),
        _ => {
            let modulus = text(key, "n")?;
            if bits(modulus)? < RSA_BITS_MIN {
                return None;
            }
            DecodingKey::from_rsa_components(modulus, text(key, "e")?)
        }
    };
    Some(IssuerKey {
        algorithm: named(algorithm),
        verifying: verifying.ok()?,
        text: key.to_string(),
    })
}

/// Of a number in base64url.
fn bits(number: &str) -> Option<usize> {
    let bytes = URL_SAFE_NO_PAD.decode(number).ok()?;
    let first = bytes.iter().position(|byte| *byte != 0)?;
    let leading = usize::try_from(bytes.get(first)?.leading_zeros()).ok()?;
    Some((bytes.len() - first) * 8 - leading)
}

fn named(algorithm: IssuerAlgorithm) -> Algorithm {
    match algorithm {
        IssuerAlgorithm::Es256 => Algorithm::ES256,
        IssuerAlgorithm::Es384 => Algorithm::ES384,
        IssuerAlgorithm::EdDsa => Algorithm::EdDSA,
        IssuerAlgorithm::Rs256 => Algorithm::RS256,
        IssuerAlgorithm::Rs384 => Algorithm::RS384,
        IssuerAlgorithm::Rs512 => Algorithm::RS512,
        IssuerAlgorithm::Ps256 => Algorithm::PS256,
        IssuerAlgorithm::Ps384 => Algorithm::PS384,
        IssuerAlgorithm::Ps512 => Algorithm::PS512,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ALLOWED: [IssuerAlgorithm; 2] = [IssuerAlgorithm::Es256, IssuerAlgorithm::Rs256];

    fn read(key: &Value) -> Option<Algorithm> {
        read_key(key, &ALLOWED).map(|key| key.algorithm())
    }

    fn rsa(bytes: usize) -> Value {
        let modulus = URL_SAFE_NO_PAD.encode(vec![0xc3; bytes]);
        json!({"kty": "RSA", "kid": "a", "n": modulus, "e": "AQAB"})
    }

    // SECURITY 19 and 20
    #[test]
    fn a_key_has_one_algorithm_and_only_fit_keys_count() {
        let mut key = rsa(256);
        assert_eq!(read(&key), Some(Algorithm::RS256));
        key["alg"] = json!("RS256");
        key["use"] = json!("sig");
        assert_eq!(read(&key), Some(Algorithm::RS256));
        for alg in ["PS256", "HS256", "none", "ES256", ""] {
            key["alg"] = json!(alg);
            assert_eq!(read(&key), None, "{alg}");
        }
        let changed = |name: &str, value: Value| {
            let mut key = rsa(256);
            key[name] = value;
            read(&key)
        };
        assert_eq!(changed("use", json!("enc")), None);
        assert_eq!(changed("key_ops", json!(["encrypt"])), None);
        assert_eq!(
            changed("key_ops", json!(["verify"])),
            Some(Algorithm::RS256)
        );
        assert_eq!(changed("kty", json!("oct")), None);
        assert_eq!(read(&rsa(255)), None);
        assert_eq!(
            read(&json!({"kty": "oct", "k": "AAAA", "alg": "HS256"})),
            None
        );
        assert_eq!(
            read(&json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"})),
            None
        );
    }

    #[test]
    fn keys_that_only_come_disturb_nobody_and_one_that_goes_does() {
        let now = SystemTime::UNIX_EPOCH;
        let named = |kid: &str| {
            let mut key = rsa(256);
            key["kid"] = json!(kid);
            key
        };
        let set = |kids: &[&str]| {
            let keys: Vec<_> = kids.iter().map(|kid| named(kid)).collect();
            IssuerKeys::read(&json!({ "keys": keys }), &ALLOWED, now).unwrap()
        };
        let before = set(&["a"]);
        let both = set(&["a", "b"]).after(&before);
        assert_eq!(both.generation(), before.generation());
        assert_ne!(set(&["b"]).after(&both).generation(), both.generation());
        let many: Vec<_> = (0..100).map(|kid| kid.to_string()).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(set(&many).len(), KEYS_MAX);
        // A set that is empty says that its keys are gone; what is no set says nothing.
        let none = set(&[]).after(&both);
        assert_ne!(none.generation(), both.generation());
        assert!(none.find("a").is_none());
        for other in [json!({}), json!([]), json!({"keys": {"a": named("a")}})] {
            assert!(IssuerKeys::read(&other, &ALLOWED, now).is_none(), "{other}");
        }
    }
}
