//! The counts of one policy: a sharded map that holds a stated number of keys and no more.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;

use crate::limiter::LimitKey;

/// For each key its theoretical arrival time, in nanoseconds since the policy was made.
///
/// A counted key is never evicted: whoever could flood the table would reset his own count. When a
/// shard is full it is swept of keys that are as good as new, at most once a second (about 10 ns a
/// key, so one hundredth of a core for a million); while it is full all the same, its new keys share
/// one overflow count, and a key that finds room later starts with what that count has left.
///
/// An entry takes 40 bytes and one byte of the map's, which is between 7/16 and 7/8 full:
/// 47 to 94 bytes a key, so at most 90 MiB for the default million. Keys of OAuth clients hold up
/// to 64 bytes more.
pub(super) struct Table {
    shards: Vec<Mutex<Shard>>,
    shard_hasher: RandomState,
    shard_keys_max: usize,
    interval: Nanos,
}

struct Shard {
    arrivals: HashMap<LimitKey, Nanos>,
    overflow: Option<Nanos>,
    swept_at: Option<Nanos>,
}

const SHARDS: usize = 64;
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

impl Table {
    /// `interval` is the time in which one of the quota comes back.
    pub(super) fn new(keys_max: usize, interval: Duration) -> Self {
        let shards = keys_max.clamp(1, SHARDS);
        Self {
            shards: (0..shards).map(|_| Mutex::new(Shard::new())).collect(),
            shard_hasher: RandomState::new(),
            shard_keys_max: keys_max / shards,
            interval: interval.into(),
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "new makes at least one shard, and the index is less than their number"
    )]
    fn shard(&self, key: &LimitKey) -> MutexGuard<'_, Shard> {
        let hash = self.shard_hasher.hash_one(key);
        let shards = u64::try_from(self.shards.len()).unwrap_or(u64::MAX);
        let index = usize::try_from(hash % shards).unwrap_or(0);
        lock(self.shards.get(index).expect("an index below the length"))
    }
}

impl StateStore for Table {
    type Key = LimitKey;

    fn measure_and_replace<T, F, E>(&self, key: &LimitKey, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut shard = self.shard(key);
        if let Some(arrival) = shard.arrivals.get_mut(key) {
            let (outcome, next) = decide(Some(*arrival))?;
            *arrival = next;
            return Ok(outcome);
        }

        let has_room = shard.arrivals.len() < self.shard_keys_max || {
            // What a fresh key is given lies one interval ahead of now.
            let (_, next) = decide(None)?;
            shard.sweep_if_due(next.saturating_sub(self.interval));
            shard.arrivals.len() < self.shard_keys_max
        };
        let (outcome, next) = decide(shard.overflow)?;
        if has_room {
            shard.arrivals.insert(key.clone(), next);
        } else {
            shard.overflow = Some(next);
        }
        Ok(outcome)
    }
}

impl ShrinkableKeyedStateStore<LimitKey> for Table {
    fn retain_recent(&self, drop_below: Nanos) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.forget(drop_below);
            shard.release();
        }
    }

    fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| lock(shard).arrivals.len())
            .sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shard {
    fn new() -> Self {
        Self {
            arrivals: HashMap::new(),
            overflow: None,
            swept_at: None,
        }
    }

    fn sweep_if_due(&mut self, now: Nanos) {
        let due = self
            .swept_at
            .is_none_or(|swept| now >= swept + SWEEP_INTERVAL);
        if due {
            self.swept_at = Some(now);
            self.forget(now);
        }
    }

    /// A key whose arrival time has passed would be treated like one that is not there.
    fn forget(&mut self, now: Nanos) {
        self.arrivals.retain(|_, arrival| *arrival > now);
    }

    /// Gives memory back after a flood, with enough left not to grow again at once.
    fn release(&mut self) {
        if self.arrivals.capacity() / 8 > self.arrivals.len() {
            self.arrivals.shrink_to(self.arrivals.len() * 2);
        }
    }
}

/// A shard is changed by single assignments: whoever panicked while holding it left it whole.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use governor::Quota;
    use governor::RateLimiter;
    use governor::clock::FakeRelativeClock;
    use governor::middleware::NoOpMiddleware;

    use super::*;

    type Limiter = RateLimiter<LimitKey, Table, FakeRelativeClock, NoOpMiddleware<Nanos>>;

    /// Two at once, one more every ten seconds.
    fn limiter(keys_max: usize) -> (Limiter, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let interval = Duration::from_secs(10);
        let quota = Quota::with_period(interval)
            .unwrap()
            .allow_burst(2.try_into().unwrap());
        let table = Table::new(keys_max, interval);
        (RateLimiter::new(quota, table, clock.clone()), clock)
    }

    fn key(number: u32) -> LimitKey {
        LimitKey::Source(IpAddr::from(number.to_be_bytes()))
    }

    fn admits(limiter: &Limiter, number: u32) -> bool {
        limiter.check_key(&key(number)).is_ok()
    }

    // SECURITY 48
    #[test]
    fn the_table_holds_no_more_than_it_may() {
        for keys_max in [1, 63, 64, 65, 1000] {
            let (limiter, _clock) = limiter(keys_max);
            for number in 0..5000 {
                let _ = limiter.check_key(&key(number));
            }
            assert!(limiter.len() <= keys_max, "{} of {keys_max}", limiter.len());
        }
    }

    // SECURITY 48
    #[test]
    fn a_flood_of_new_keys_resets_no_count() {
        let (limiter, clock) = limiter(1);
        assert!(admits(&limiter, 0));
        assert!(admits(&limiter, 0));
        for number in 1..5000 {
            let _ = limiter.check_key(&key(number));
        }
        assert!(!admits(&limiter, 0));
        clock.advance(Duration::from_secs(10));
        assert!(admits(&limiter, 0), "and time still gives back");
        assert!(!admits(&limiter, 0));
    }

    // SECURITY 48
    #[test]
    fn new_keys_of_a_full_shard_share_one_count() {
        let (limiter, clock) = limiter(1);
        assert!(admits(&limiter, 0));
        let admitted = (1..100).filter(|number| admits(&limiter, *number)).count();
        assert_eq!(admitted, 2);
        clock.advance(Duration::from_secs(9));
        assert!(!admits(&limiter, 100));
    }

    #[test]
    fn a_full_shard_is_swept_of_keys_that_are_as_good_as_new() {
        let (limiter, clock) = limiter(1);
        assert!(admits(&limiter, 0));
        clock.advance(Duration::from_secs(10));
        assert!(admits(&limiter, 1));
        assert!(admits(&limiter, 1));
        assert!(!admits(&limiter, 1), "it has a count of its own");
        assert_eq!(limiter.len(), 1);
        assert!(admits(&limiter, 2), "the overflow is untouched");
    }

    #[test]
    fn a_key_that_finds_room_keeps_what_it_spent_in_the_overflow() {
        let (limiter, clock) = limiter(1);
        assert!(admits(&limiter, 0));
        assert!(admits(&limiter, 1));
        assert!(admits(&limiter, 1));
        clock.advance(Duration::from_secs(10));
        assert!(admits(&limiter, 1), "one came back");
        assert!(!admits(&limiter, 1), "and no more than one");
    }

    #[test]
    fn what_a_key_costs_is_what_the_documentation_says() {
        assert_eq!(size_of::<(LimitKey, Nanos)>(), 40);
    }
}
