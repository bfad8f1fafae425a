//! What is derived from the store's key: the seal of secrets at rest, and the keys of opaque tokens.
//!
//! One master secret, several keys by HKDF (RFC 5869) with a label each, so that no key does two jobs.

use secrecy::SecretString;

/// The keys derived from the store's key.
pub struct Vault {}

/// The store's key is not usable; says what it should look like.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WeakKey(pub &'static str);

/// What was sealed does not open: another key, or damaged.
#[derive(Debug, thiserror::Error)]
#[error("the sealed value does not open under this store key")]
pub struct Unopened;

impl Vault {
    /// A fresh master key in the form the file holds: base64url of 32 random bytes.
    pub fn generate_key() -> SecretString {
        todo!()
    }
    /// Reads the form of [`Vault::generate_key`].
    pub fn new(key: &SecretString) -> Result<Self, WeakKey> {
        todo!()
    }
    /// AES-256-GCM with a random nonce; `label` is authenticated with it.
    pub fn seal(&self, label: &str, plain: &[u8]) -> Vec<u8> {
        todo!()
    }
    /// Opens what [`Vault::seal`] made with the same label.
    pub fn open(
        &self,
        label: &str,
        sealed: &[u8],
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, Unopened> {
        todo!()
    }
}
