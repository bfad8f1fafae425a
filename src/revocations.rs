//! What is dead, in memory: ended sessions and outdated accounts, fed by the table of changes.
//!
//! A guarded request asks here and reads no database. Order when this gateway ends a session:
//! commit, insert here, answer; so no 204 overtakes its effect. It must never forget anything that
//! a living token could still claim.

mod feed;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use uuid::Uuid;

pub use feed::Feed;

use crate::domain::SessionId;
use crate::domain::UserId;
use crate::store::CHANGES_KEPT;
use crate::store::Change;

/// Process-wide, sharded by id. Entries live for [`CHANGES_KEPT`].
#[derive(Debug, Default)]
pub struct Revocations {
    ended: Shards<SessionId, ()>,
    versions: Shards<UserId, u64>,
    revision: AtomicU64,
}

impl Revocations {
    /// Whether tokens of this session are refused.
    pub fn is_ended(&self, session: SessionId) -> bool {
        self.ended.find(session.uuid(), &session).is_some()
    }

    /// Whether the account has changed since this version.
    pub fn is_outdated(&self, user: UserId, version: u64) -> bool {
        let newest = self.versions.find(user.uuid(), &user);
        newest.is_some_and(|newest| newest > version)
    }

    /// Takes in a change; [`Change::KeysChanged`] is not its business. The same change may come
    /// twice: from whoever made it, and from the feed.
    pub fn apply(&self, change: Change, at: SystemTime) {
        match change {
            Change::SessionEnded(session) => self.ended.insert(session.uuid(), session, (), at),
            Change::UserChanged { user, version } => {
                self.versions.insert(user.uuid(), user, version, at);
            }
            Change::KeysChanged => {}
        }
        // After the entry: whoever sees the new revision sees what it is about.
        self.revision.fetch_add(1, Ordering::Release);
    }

    /// Moves with every change.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Forgets entries older than [`CHANGES_KEPT`].
    pub fn prune(&self, now: SystemTime) {
        self.ended.prune(now);
        self.versions.prune(now);
    }
}

/// A map cut into pieces, so that the cores that read it do not meet at one lock.
#[derive(Debug)]
struct Shards<K, V> {
    /// Nothing is revoked most of the time: then nobody takes a lock at all.
    entries: AtomicUsize,
    shards: [Shard<K, V>; SHARDS],
}

type Shard<K, V> = RwLock<HashMap<K, (V, SystemTime)>>;

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self {
            entries: AtomicUsize::new(0),
            shards: std::array::from_fn(|_| RwLock::default()),
        }
    }
}

impl<K: Eq + Hash, V: Copy + Ord> Shards<K, V> {
    fn find(&self, id: Uuid, key: &K) -> Option<V> {
        // Acquire, for the Release of `insert`: whoever sees the count sees the entry.
        if self.entries.load(Ordering::Acquire) == 0 {
            return None;
        }
        let shard = self
            .shard(id)
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        shard.get(key).map(|(value, _)| *value)
    }

    /// The greatest value and the latest time stay, in whatever order they come.
    fn insert(&self, id: Uuid, key: K, value: V, at: SystemTime) {
        let mut shard = self
            .shard(id)
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let before = shard.len();
        let entry = shard.entry(key).or_insert((value, at));
        *entry = (entry.0.max(value), entry.1.max(at));
        self.entries
            .fetch_add(shard.len() - before, Ordering::Release);
    }

    fn prune(&self, now: SystemTime) {
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            let before = shard.len();
            shard.retain(|_, (_, at)| now < *at + CHANGES_KEPT);
            self.entries
                .fetch_sub(before - shard.len(), Ordering::Release);
        }
    }

    #[expect(clippy::indexing_slicing, reason = "the index is below SHARDS")]
    fn shard(&self, id: Uuid) -> &Shard<K, V> {
        // The last byte of a UUIDv7 is random (RFC 9562 §5.7).
        let [.., last] = id.into_bytes();
        &self.shards[usize::from(last) % SHARDS]
    }
}

const SHARDS: usize = 64;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn session(seed: u128) -> SessionId {
        SessionId::new(Uuid::from_u128(seed))
    }

    #[test]
    fn an_ended_session_is_refused_and_no_other() {
        let revocations = Revocations::default();
        assert!(!revocations.is_ended(session(1)));
        revocations.apply(Change::SessionEnded(session(1)), at(0));
        assert!(revocations.is_ended(session(1)));
        assert!(!revocations.is_ended(session(2)));
        assert!(!revocations.is_ended(session(1 + (1 << 64))), "same shard");
    }

    #[test]
    fn tokens_older_than_the_account_are_outdated() {
        let revocations = Revocations::default();
        let [user, other] = [1, 2].map(|seed| UserId::new(Uuid::from_u128(seed)));
        let changed = |version| Change::UserChanged { user, version };
        assert!(!revocations.is_outdated(user, 0));
        revocations.apply(changed(3), at(0));
        revocations.apply(changed(2), at(0));
        assert!(revocations.is_outdated(user, 2));
        assert!(!revocations.is_outdated(user, 3));
        assert!(!revocations.is_outdated(user, 4));
        assert!(!revocations.is_outdated(other, 0));
    }

    #[test]
    fn entries_are_kept_as_long_as_a_token_can_live() {
        let revocations = Revocations::default();
        for seed in 0..200 {
            revocations.apply(Change::SessionEnded(session(seed)), at(0));
            revocations.apply(Change::SessionEnded(session(seed)), at(0));
        }
        revocations.apply(Change::SessionEnded(session(7)), at(10));
        revocations.prune(at(0) + CHANGES_KEPT - Duration::from_secs(1));
        assert!((0..200).all(|seed| revocations.is_ended(session(seed))));
        revocations.prune(at(0) + CHANGES_KEPT);
        let left: Vec<_> = (0..200)
            .filter(|seed| revocations.is_ended(session(*seed)))
            .collect();
        assert_eq!(left, [7]);
        revocations.prune(at(10) + CHANGES_KEPT);
        assert!(!revocations.is_ended(session(7)));
        assert_eq!(revocations.ended.entries.load(Ordering::Relaxed), 0);
    }
}
