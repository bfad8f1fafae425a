//! What is derived from the store's key: the seal of secrets at rest, and the keys of opaque tokens.
//!
//! One master secret, several keys by HKDF (RFC 5869) with a label each, so that no key does two
//! jobs. It must never hand out the master secret, nor accept one that a person made up.

use std::collections::BTreeSet;
use std::fmt;
use std::time::SystemTime;

use aws_lc_rs::aead;
use aws_lc_rs::hkdf;
use aws_lc_rs::hmac;
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use uuid::Builder;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The keys derived from the store's key.
pub struct Vault {
    root: hkdf::Prk,
    seal: aead::RandomizedNonceKey,
}

/// The store's key is not usable; says what it should look like.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WeakKey(pub &'static str);

/// What was sealed does not open: another key, or damaged.
#[derive(Debug, thiserror::Error)]
#[error("the sealed value does not open under this store key")]
pub struct Unopened;

impl Vault {
    /// A fresh master key in the form the file holds: base64url of 32 random bytes, 43 characters.
    pub fn generate_key() -> SecretString {
        let key: Zeroizing<[u8; KEY_BYTES]> = Zeroizing::new(random());
        SecretString::from(URL_SAFE_NO_PAD.encode(key.as_slice()))
    }

    /// Reads the form of [`Vault::generate_key`].
    ///
    /// # Errors
    ///
    /// Where it has another form, or was plainly made up instead of drawn at random: counted up,
    /// repeated, or a phrase (SECURITY 59). A random key fails this less than once in 10⁹.
    pub fn new(key: &SecretString) -> Result<Self, WeakKey> {
        let text = key.expose_secret();
        let mut master = Zeroizing::new([0; KEY_BYTES]);
        match URL_SAFE_NO_PAD.decode_slice(text, master.as_mut_slice()) {
            Ok(KEY_BYTES) => {}
            Ok(_) | Err(_) => return Err(WRONG_FORM),
        }
        if looks_made_up(text, &master) {
            return Err(MADE_UP);
        }
        Ok(Self::from_master(&master))
    }

    /// AES-256-GCM with a random nonce; `label` says what the value is and is authenticated with
    /// it, so that one sealed value cannot be put in the place of another.
    #[expect(
        clippy::expect_used,
        reason = "AES-GCM only refuses more than 64 GiB; without randomness nothing may go on"
    )]
    pub fn seal(&self, label: &str, plain: &[u8]) -> Vec<u8> {
        let mut sealed = plain.to_vec();
        let nonce = self
            .seal
            .seal_in_place_append_tag(aead::Aad::from(label), &mut sealed)
            .expect("the system's source of randomness works");
        [nonce.as_ref().as_slice(), &sealed].concat()
    }

    /// Opens what [`Vault::seal`] made with the same label.
    ///
    /// # Errors
    ///
    /// Under another key, with another label, and where a bit was changed.
    pub fn open(&self, label: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let (nonce, sealed) = sealed.split_at_checked(aead::NONCE_LEN).ok_or(Unopened)?;
        let nonce = aead::Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unopened)?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let length = self
            .seal
            .open_in_place(nonce, aead::Aad::from(label), &mut opened)
            .map_err(|_| Unopened)?
            .len();
        opened.truncate(length);
        Ok(opened)
    }

    /// An HMAC-SHA256 key for one job; the label is the job.
    pub(crate) fn mac_key(&self, label: &'static str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, expand(&self.root, label).as_slice())
    }

    #[expect(clippy::expect_used, reason = "an AES-256 key has 32 bytes")]
    fn from_master(master: &[u8; KEY_BYTES]) -> Self {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"portcullis store key").extract(master);
        let seal = expand(&root, "seal");
        let seal = aead::RandomizedNonceKey::new(&aead::AES_256_GCM, seal.as_slice())
            .expect("32 bytes are an AES-256 key");
        Self { root, seal }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(..)")
    }
}

/// Random bytes from the one source of randomness.
#[expect(
    clippy::expect_used,
    reason = "a gateway without randomness can issue nothing and must not go on"
)]
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system's source of randomness works");
    bytes
}

/// A fresh UUIDv7, whose order is the order of time (RFC 9562 §5.7): `uuid` itself would ask the
/// system for both.
pub(crate) fn fresh_id(now: SystemTime) -> Uuid {
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    Builder::from_unix_timestamp_millis(millis, &random()).into_uuid()
}

#[expect(
    clippy::expect_used,
    reason = "HKDF-SHA256 gives up to 8160 bytes; the buffer has the 32 that are asked for"
)]
fn expand(root: &hkdf::Prk, label: &str) -> Zeroizing<[u8; KEY_BYTES]> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    root.expand(&[label.as_bytes()], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(key.as_mut_slice()))
        .expect("one block");
    key
}

fn looks_made_up(text: &str, master: &[u8; KEY_BYTES]) -> bool {
    let steps: BTreeSet<u8> = master
        .iter()
        .zip(master.iter().skip(1))
        .map(|(one, next)| next.wrapping_sub(*one))
        .collect();
    let counted_up = steps.len() == 1;
    let repeated = text.bytes().collect::<BTreeSet<_>>().len() < 16;
    let a_phrase = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    counted_up || repeated || a_phrase
}

const KEY_BYTES: usize = 32;
const WRONG_FORM: WeakKey =
    WeakKey("the store's key must be 32 random bytes as base64url: 43 characters, no padding");
const MADE_UP: WeakKey = WeakKey(
    "the store's key is an example or was made up; it must be 32 random bytes as base64url",
);

#[cfg(test)]
impl Vault {
    /// A vault of its own for a test.
    pub(crate) fn for_test() -> Self {
        Self::from_master(&random())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_under_the_same_key_and_label_only() {
        let vault = Vault::for_test();
        let sealed = vault.seal("a", b"secret");
        assert_eq!(vault.open("a", &sealed).unwrap().as_slice(), b"secret");
        assert!(vault.open("b", &sealed).is_err());
        assert!(Vault::for_test().open("a", &sealed).is_err());
        for cut in 0..sealed.len() {
            assert!(vault.open("a", &sealed[..cut]).is_err());
        }
        for index in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[index] ^= 1;
            assert!(vault.open("a", &damaged).is_err());
        }
        assert_ne!(vault.seal("a", b"secret"), sealed, "the nonce is random");
    }

    #[test]
    fn a_generated_key_makes_the_same_vault_again() {
        let key = Vault::generate_key();
        let sealed = Vault::new(&key).unwrap().seal("a", b"secret");
        assert!(Vault::new(&key).unwrap().open("a", &sealed).is_ok());
    }

    #[test]
    fn each_job_has_a_key_of_its_own() {
        let vault = Vault::for_test();
        let tag = |label| hmac::sign(&vault.mac_key(label), b"x").as_ref().to_vec();
        assert_eq!(tag("one"), tag("one"));
        assert_ne!(tag("one"), tag("other"));
    }

    // SECURITY 59
    #[test]
    fn keys_that_nobody_drew_at_random_are_refused() {
        let good = Vault::generate_key();
        let good = good.expose_secret();
        let encode = |bytes: [u8; 32]| URL_SAFE_NO_PAD.encode(bytes);
        for bad in [
            String::new(),
            "your_secret_key_here".to_owned(),
            "your_secret_key_here_your_secret_key_here_x".to_owned(),
            "correct-horse-battery-staple-zebra-jumpingA".to_ascii_lowercase(),
            encode([0; 32]),
            encode([0xa7; 32]),
            encode(std::array::from_fn(|index| u8::try_from(index).unwrap())),
            encode(*b"abcdabcdabcdabcdabcdabcdabcdabcd"),
            good[..42].to_owned(),
            format!("{good}="),
            format!("{good}\n"),
            format!("{good}A"),
        ] {
            let refused = Vault::new(&SecretString::from(bad.clone()));
            assert!(refused.is_err(), "{bad:?}");
        }
    }
}
