//! Signing keys: made, loaded, rotated, revoked, published as JWKS (RFC 7517).

use crate::config::Algorithm;
use crate::store::Store;
use crate::vault::Vault;
use arc_swap::ArcSwap;
use http::HeaderValue;
use std::sync::Arc;
use std::time::SystemTime;

/// How long verifiers may cache the published keys: `max-age` of jwks.json, and so how long a key
/// is published before it signs.
pub const JWKS_MAX_AGE: std::time::Duration = std::time::Duration::from_secs(300);

/// All keys of one moment, ready for use. Swapped whole.
#[derive(Debug)]
pub struct KeySet {/* generation, access signer, verifiers by kid, assertion signer, jwks */}

impl KeySet {
    /// Grows with every change: what was verified under an older generation is verified anew.
    pub fn generation(&self) -> u64 {
        todo!()
    }
    /// The body of `/.well-known/jwks.json`: public parts only.
    pub fn jwks(&self) -> &bytes::Bytes {
        todo!()
    }
}

/// The keys that running parts share; one atomic load to read.
pub type SharedKeys = Arc<ArcSwap<KeySet>>;

/// Why keys could not be loaded or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The store.
    #[error(transparent)]
    Unavailable(#[from] crate::store::Unavailable),
    /// The store's key is not the one that sealed them.
    #[error("the signing keys do not open under this store key")]
    WrongStoreKey,
    /// No such key.
    #[error("there is no key {0}")]
    NotFound(String),
    /// Rotating now would let a key sign that verifiers may not know yet.
    #[error(
        "the next key was published less than 5 minutes ago and verifiers may not know it yet; wait, or use --force"
    )]
    TooSoon,
}
