//! What one core has lately worked out, by a key, until a stated second: bounded, and without a lock.
//!
//! Each insertion looks at a few of the oldest and lets go of what has run out, so that work comes in
//! small pieces and what is dead is not kept. Where it is full, whatever was not asked for since the
//! last round goes first (the CLOCK algorithm). It must never wait, and never decide whether a value is
//! good: whoever asks does.

use std::cell::Cell;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::Hash;

/// A bounded map.
#[derive(Debug)]
pub struct Recent<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Every key of `entries`, once.
    round: VecDeque<K>,
    max: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    until: u64,
    used: Cell<bool>,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    /// For so many at most.
    pub fn new(max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            round: VecDeque::new(),
            max,
        }
    }

    /// What was put in last for this key. It may have run out.
    pub fn get(&self, key: &K) -> Option<&V> {
        let entry = self.entries.get(key)?;
        // Written only where it changes: what is only read stays in the cache as it is.
        if !entry.used.get() {
            entry.used.set(true);
        }
        Some(&entry.value)
    }

    /// Keeps a value until the second `until`; `now` is the current one.
    pub fn insert(&mut self, key: K, value: V, until: u64, now: u64) {
        let entry = Entry {
            value,
            until,
            used: Cell::new(false),
        };
        if self.entries.insert(key, entry).is_none() {
            self.round.push_back(key);
        }
        // More go than come, so what has run out is gone after half a round.
        for _ in 0..2 {
            self.look_at_oldest(|entry| entry.until <= now);
        }
        let mut looks_left = LOOKS_MAX;
        while self.entries.len() > self.max {
            let is_last = looks_left == 0;
            looks_left = looks_left.saturating_sub(1);
            self.look_at_oldest(|entry| {
                is_last || entry.until <= now || !entry.used.replace(false)
            });
        }
    }

    fn look_at_oldest(&mut self, goes: impl FnOnce(&Entry<V>) -> bool) {
        let Some(key) = self.round.pop_front() else {
            return;
        };
        if self.entries.get(&key).is_some_and(goes) {
            self.entries.remove(&key);
        } else {
            self.round.push_back(key);
        }
    }
}

/// After so many that are in use, one of them goes all the same: an insertion must stay short.
const LOOKS_MAX: u32 = 8;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::any;
    use proptest::proptest;

    use super::*;

    #[test]
    fn what_has_run_out_is_let_go_of_by_what_comes_after_it() {
        let mut recent = Recent::new(1000);
        for key in 0..100 {
            recent.insert(key, key, 10, 0);
        }
        for key in 100..150 {
            recent.insert(key, key, 20, 10);
        }
        assert_eq!(recent.entries.len(), 50);
        assert_eq!(recent.get(&99), None);
        assert_eq!(recent.get(&100), Some(&100));
    }

    #[test]
    fn the_last_value_of_a_key_is_the_one_that_counts() {
        let mut recent = Recent::new(10);
        recent.insert(1, "old", 10, 0);
        recent.insert(1, "new", 40, 10);
        for key in 2..5 {
            recent.insert(key, "other", 40, 10);
        }
        assert_eq!(recent.get(&1), Some(&"new"));
        assert_eq!(recent.round.len(), 4);
    }

    #[test]
    fn where_it_is_full_what_is_in_use_stays() {
        let mut recent = Recent::new(100);
        for key in 0..10_000 {
            recent.insert(key, key, 10, 0);
            assert!(recent.entries.len() <= 100);
            assert_eq!(recent.get(&0), Some(&0), "at {key}");
        }
        assert_eq!(recent.get(&9_999), Some(&9_999));
    }

    #[test]
    fn where_everything_is_in_use_it_is_bounded_all_the_same() {
        let mut recent = Recent::new(100);
        for key in 0..1000 {
            recent.insert(key, key, 10, 0);
            for used in 0..=key {
                recent.get(&used);
            }
            assert!(recent.entries.len() <= 100);
        }
    }

    proptest! {
        #[test]
        fn every_key_is_in_the_round_once(
            max in 1..20_usize,
            steps in vec((0..40_u8, 0..60_u64, any::<bool>()), 0..300),
        ) {
            let mut recent = Recent::new(max);
            for (now, (key, ttl, asks)) in (0..).zip(steps) {
                recent.insert(key, now, now + ttl, now);
                if asks {
                    recent.get(&key);
                }
                let mut round: Vec<_> = recent.round.iter().copied().collect();
                let mut keys: Vec<_> = recent.entries.keys().copied().collect();
                round.sort_unstable();
                keys.sort_unstable();
                assert_eq!(round, keys);
                assert!(keys.len() <= max);
            }
        }
    }
}
