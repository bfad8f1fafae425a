//! The order in which keys follow each other.
//!
//! A line always has a current and a next key: a [`Line`] without them cannot be written down.

use std::time::SystemTime;

use crate::keys::JWKS_MAX_AGE;
use crate::keys::KeyRing;
use crate::store::CHANGES_KEPT;
use crate::store::KeyPurpose;
use crate::store::KeyState;
use crate::store::StoredKey;

/// The keys of all purposes.
pub(super) struct Lines {
    pub(super) access: Line,
    pub(super) assertion: Line,
}

impl Lines {
    pub(super) fn each(&mut self, mut step: impl FnMut(&mut Line)) {
        step(&mut self.access);
        step(&mut self.assertion);
    }

    pub(super) fn all(&self, holds: impl Fn(&Line) -> bool) -> bool {
        holds(&self.access) && holds(&self.assertion)
    }

    /// As they are to be stored, each with the state of its place.
    pub(super) fn stored(&self) -> Vec<StoredKey> {
        let mut keys = self.access.stored();
        keys.extend(self.assertion.stored());
        keys
    }
}

/// The keys of one purpose.
pub(super) struct Line {
    pub(super) current: StoredKey,
    next: StoredKey,
    retired: Vec<StoredKey>,
}

impl Line {
    /// What is stored. What is missing is made.
    pub(super) fn read(
        stored: &[StoredKey],
        purpose: KeyPurpose,
        ring: &KeyRing,
        now: SystemTime,
    ) -> Self {
        let in_state = |state| {
            let of_line = move |key: &&StoredKey| key.purpose == purpose && key.state == state;
            stored.iter().filter(of_line).cloned()
        };
        let make = || ring.make(purpose, now);
        Self {
            current: in_state(KeyState::Current).next().unwrap_or_else(make),
            next: in_state(KeyState::Next).next().unwrap_or_else(make),
            retired: in_state(KeyState::Retired).collect(),
        }
    }

    /// Brings the line nearer to the configured algorithm, without letting a key sign that
    /// verifiers cannot know; and forgets what has lapsed.
    pub(super) fn adopt(&mut self, ring: &KeyRing, now: SystemTime) {
        self.retired.retain(|key| !has_lapsed(key, now));
        if self.next.algorithm != ring.algorithm {
            self.next = ring.make(self.next.purpose, now);
        } else if self.current.algorithm != ring.algorithm && self.next_is_known(now) {
            self.rotate(ring, now);
        }
    }

    pub(super) fn next_is_known(&self, now: SystemTime) -> bool {
        self.next.created_at + JWKS_MAX_AGE <= now
    }

    pub(super) fn rotate(&mut self, ring: &KeyRing, now: SystemTime) {
        let mut retired = self.promote(ring, now);
        retired.retired_at = Some(now);
        self.retired.push(retired);
    }

    /// Takes a key out of the line; `false` where it is not in it.
    pub(super) fn revoke(&mut self, kid: &str, ring: &KeyRing, now: SystemTime) -> bool {
        if self.current.kid == kid {
            self.promote(ring, now);
            return true;
        }
        if self.next.kid == kid {
            self.next = ring.make(self.next.purpose, now);
            return true;
        }
        let before = self.retired.len();
        self.retired.retain(|key| key.kid != kid);
        self.retired.len() < before
    }

    /// The keys that do not sign, but are published and verify.
    pub(super) fn others(&self, now: SystemTime) -> impl Iterator<Item = &StoredKey> {
        let retired = self.retired.iter().filter(move |key| !has_lapsed(key, now));
        std::iter::once(&self.next).chain(retired)
    }

    /// Makes the next key the current one; gives back the one that was.
    fn promote(&mut self, ring: &KeyRing, now: SystemTime) -> StoredKey {
        let fresh = ring.make(self.next.purpose, now);
        let next = std::mem::replace(&mut self.next, fresh);
        std::mem::replace(&mut self.current, next)
    }

    fn stored(&self) -> Vec<StoredKey> {
        let placed = |key: &StoredKey, state| StoredKey {
            state,
            ..key.clone()
        };
        let mut keys = vec![
            placed(&self.current, KeyState::Current),
            placed(&self.next, KeyState::Next),
        ];
        let retired = self.retired.iter();
        keys.extend(retired.map(|key| placed(key, KeyState::Retired)));
        keys
    }
}

/// Whether a key has been retired for longer than any token lives.
fn has_lapsed(key: &StoredKey, now: SystemTime) -> bool {
    key.retired_at
        .is_none_or(|retired| retired + CHANGES_KEPT <= now)
}
