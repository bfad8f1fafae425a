//! Signing keys: made, loaded, rotated, revoked, published as JWKS (RFC 7517).
//!
//! There are two lines of keys, one for access tokens and one for assertions. In each, the next
//! key is published before it becomes the current one, and a retired one verifies until everything
//! it signed has expired. Private keys are stored sealed and must never leave this room.

mod line;
mod pair;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use bytes::Bytes;
use jsonwebtoken::jwk::JwkSet;

use crate::config::Algorithm;
use crate::keys::line::Line;
use crate::keys::line::Lines;
use crate::keys::pair::KeyPair;
use crate::store::KeyPurpose;
use crate::store::KeyState;
use crate::store::Store;
use crate::store::StoredKey;
use crate::store::Unavailable;
use crate::store::states;
use crate::vault::Unopened;
use crate::vault::Vault;

/// How long verifiers may cache the published keys: `max-age` of jwks.json, and so how long a key
/// is published before it signs.
pub const JWKS_MAX_AGE: Duration = Duration::from_secs(300);

/// Says which provider signs and verifies, before anything asks: a crate that brought another one
/// along would otherwise make the first token a panic.
pub fn install_provider() {
    // Fails only where one is installed already.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}

/// All keys of one moment, ready for use. Swapped whole.
#[derive(Debug)]
pub struct KeySet {
    generation: u64,
    access: Arc<KeyPair>,
    assertion: Arc<KeyPair>,
    verifying: HashMap<String, Arc<KeyPair>>,
    jwks: Bytes,
}

impl KeySet {
    /// Differs after every change: what was verified or signed under another generation is
    /// verified or signed anew.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The body of `/.well-known/jwks.json`: public parts only.
    pub fn jwks(&self) -> &Bytes {
        &self.jwks
    }

    /// What signs access tokens.
    pub(crate) fn access(&self) -> &KeyPair {
        &self.access
    }

    /// What signs assertions.
    pub(crate) fn assertion(&self) -> &KeyPair {
        &self.assertion
    }

    /// The key that may have signed an access token, by its exact kid. Assertions have keys of
    /// their own, which are not found here.
    pub(crate) fn verifying(&self, kid: &str) -> Option<&KeyPair> {
        self.verifying.get(kid).map(Arc::as_ref)
    }
}

/// The keys that running parts share; one atomic load to read.
pub type SharedKeys = Arc<ArcSwap<KeySet>>;

/// Why keys could not be loaded or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The store.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
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

/// Where keys are kept, and how they follow each other.
#[derive(Clone, Debug)]
pub struct KeyRing {
    store: Store,
    vault: Arc<Vault>,
    algorithm: Algorithm,
}

impl KeyRing {
    /// New keys will be for `algorithm`.
    pub fn new(store: Store, vault: Arc<Vault>, algorithm: Algorithm) -> Self {
        Self {
            store,
            vault,
            algorithm,
        }
    }

    /// The keys at the start: makes those that are missing, all of them at the first start.
    ///
    /// Where the configured algorithm is another than that of the current key, the next key is
    /// made anew for it; a start after that key has been published long enough (or `key rotate`)
    /// makes it the current one.
    ///
    /// # Errors
    ///
    /// Where the store's key is another, or the store is down.
    pub async fn load(&self, now: SystemTime) -> Result<KeySet, KeyError> {
        let lines = self.update(now, |lines| {
            lines.each(|line| line.adopt(self, now));
            Ok(())
        });
        KeySet::open(&lines.await?, &self.vault, now)
    }

    /// The keys after somebody changed them. Whatever algorithm this process is configured for, it
    /// leaves the choice of the one that started last alone. It only reads, unless keys are missing.
    ///
    /// # Errors
    ///
    /// As for [`KeyRing::load`].
    pub async fn reload(&self, now: SystemTime) -> Result<KeySet, KeyError> {
        KeySet::open(&self.update(now, |_| Ok(())).await?, &self.vault, now)
    }

    /// All keys, in the order of their age.
    ///
    /// # Errors
    ///
    /// Where the store is down.
    pub async fn list(&self) -> Result<Vec<StoredKey>, Unavailable> {
        self.store.keys().await
    }

    /// In both lines the next key begins to sign and the current one retires.
    ///
    /// # Errors
    ///
    /// [`KeyError::TooSoon`] unless `force`d.
    pub async fn rotate(&self, force: bool, now: SystemTime) -> Result<(), KeyError> {
        let lines = self.update(now, |lines| {
            if !force && !lines.all(|line| line.next_is_known(now)) {
                return Err(KeyError::TooSoon);
            }
            lines.each(|line| line.rotate(self, now));
            Ok(())
        });
        lines.await.map(drop)
    }

    /// Removes a leaked key at once: what it signed is refused from now on. Where it was the
    /// current one, the next takes over.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotFound`].
    pub async fn revoke(&self, kid: &str, now: SystemTime) -> Result<(), KeyError> {
        let lines = self.update(now, |lines| {
            let mut found = false;
            lines.each(|line| found |= line.revoke(kid, self, now));
            if found {
                Ok(())
            } else {
                Err(KeyError::NotFound(kid.to_owned()))
            }
        });
        lines.await.map(drop)
    }

    /// Reads, changes and writes the keys; anew where another process was faster.
    async fn update(
        &self,
        now: SystemTime,
        change: impl Fn(&mut Lines) -> Result<(), KeyError>,
    ) -> Result<Lines, KeyError> {
        self.refuse_wrong_store_key().await?;
        loop {
            let stored = self.store.keys().await?;
            let mut lines = Lines {
                access: Line::read(&stored, KeyPurpose::Access, self, now),
                assertion: Line::read(&stored, KeyPurpose::Assertion, self, now),
            };
            change(&mut lines)?;
            let wanted = lines.stored();
            if states(&stored) == states(&wanted)
                || self.store.replace_keys(&stored, &wanted, now).await?
            {
                return Ok(lines);
            }
        }
    }

    /// Makes sure that the store's key is the one this store was made with; a new store is made
    /// with this one.
    ///
    /// # Errors
    ///
    /// [`KeyError::WrongStoreKey`].
    pub async fn refuse_wrong_store_key(&self) -> Result<(), KeyError> {
        const LABEL: &str = "key check";
        let candidate = self.vault.seal(LABEL, b"portcullis");
        let kept = self.store.key_check(&candidate).await?;
        match self.vault.open(LABEL, &kept) {
            Ok(_) => Ok(()),
            Err(Unopened) => Err(KeyError::WrongStoreKey),
        }
    }

    fn make(&self, purpose: KeyPurpose, now: SystemTime) -> StoredKey {
        let (pair, pkcs8) = KeyPair::generate(self.algorithm);
        StoredKey {
            kid: pair.kid().to_owned(),
            purpose,
            algorithm: self.algorithm,
            state: KeyState::Next,
            sealed: self.vault.seal(&seal_label(pair.kid()), &pkcs8),
            created_at: now,
            retired_at: None,
        }
    }
}

impl KeySet {
    fn open(lines: &Lines, vault: &Vault, now: SystemTime) -> Result<Self, KeyError> {
        let access = open_line(&lines.access, vault, now)?;
        let assertion = open_line(&lines.assertion, vault, now)?;
        Ok(Self::assemble(&access, &assertion))
    }

    fn assemble(access: &OpenLine, assertion: &OpenLine) -> Self {
        let by_kid = |pair: &Arc<KeyPair>| (pair.kid().to_owned(), Arc::clone(pair));
        let jwks = publish(access.all.iter().chain(&assertion.all));
        Self {
            generation: fingerprint(&jwks),
            access: Arc::clone(&access.current),
            assertion: Arc::clone(&assertion.current),
            verifying: access.all.iter().map(by_kid).collect(),
            jwks,
        }
    }
}

struct OpenLine {
    current: Arc<KeyPair>,
    /// The current one first: the order in which they are published.
    all: Vec<Arc<KeyPair>>,
}

fn open_line(line: &Line, vault: &Vault, now: SystemTime) -> Result<OpenLine, KeyError> {
    let current = Arc::new(open_key(&line.current, vault)?);
    let mut all = vec![Arc::clone(&current)];
    for key in line.others(now) {
        all.push(Arc::new(open_key(key, vault)?));
    }
    Ok(OpenLine { current, all })
}

fn open_key(key: &StoredKey, vault: &Vault) -> Result<KeyPair, KeyError> {
    let pkcs8 = vault.open(&seal_label(&key.kid), &key.sealed);
    let pkcs8 = pkcs8.map_err(|Unopened| KeyError::WrongStoreKey)?;
    // What was sealed here was a key that signs, so this is as unlikely as a forged seal.
    KeyPair::read(key.algorithm, &pkcs8).map_err(|_| KeyError::WrongStoreKey)
}

/// The kid is in the seal: a key cannot be passed off as another.
fn seal_label(kid: &str) -> String {
    format!("signing key {kid}")
}

/// Equal for equal keys in equal places, so that a reload that changed nothing disturbs nobody.
fn fingerprint(jwks: &[u8]) -> u64 {
    let digest = digest::digest(&digest::SHA256, jwks);
    let head = digest.as_ref().first_chunk().copied();
    head.map_or(0, u64::from_be_bytes)
}

#[expect(
    clippy::expect_used,
    reason = "a JWK is strings, which are always JSON"
)]
fn publish<'a>(pairs: impl Iterator<Item = &'a Arc<KeyPair>>) -> Bytes {
    let keys = pairs.map(|pair| pair.public().clone()).collect();
    let json = serde_json::to_vec(&JwkSet { keys }).expect("strings are JSON");
    Bytes::from(json)
}

#[cfg(any(test, fuzzing))]
impl KeySet {
    /// Keys of their own for a test, without a store.
    pub(crate) fn for_test(algorithm: Algorithm) -> Self {
        install_provider();
        let line = || {
            let current = Arc::new(KeyPair::generate(algorithm).0);
            let all = vec![Arc::clone(&current)];
            OpenLine { current, all }
        };
        Self::assemble(&line(), &line())
    }
}

#[cfg(test)]
mod tests;
