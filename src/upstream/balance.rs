//! Which target gets the next request. For an upstream with one target there is nothing to choose.

use std::cell::Cell;
use std::hash::BuildHasher as _;
use std::hash::Hash;
use std::hash::Hasher;
use std::hash::RandomState;

use crate::config::Balance;
use crate::limiter::LimitKey;
use crate::upstream::standing::FULL;

/// How one core chooses.
#[derive(Debug)]
pub(super) struct Balancer {
    balance: Balance,
    /// Of each target, by its URL: so that every core, and every gateway, chooses alike.
    seeds: Vec<u64>,
    next: Cell<usize>,
    random: Cell<u64>,
}

/// Which targets a request has been to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tried(u64);

/// What is known of a target when one is chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// How much of its share it gets, up to [`FULL`].
    pub(super) weight: u32,
    /// How many requests of this core are under way to it.
    pub(super) in_flight: usize,
}

impl Candidate {
    /// One that gets nothing.
    pub(super) const NONE: Self = Self {
        weight: 0,
        in_flight: 0,
    };
}

impl Tried {
    pub(super) fn with(self, index: usize) -> Self {
        Self(self.0 | Self::bit(index))
    }

    pub(super) fn contains(self, index: usize) -> bool {
        self.0 & Self::bit(index) != 0
    }

    pub(super) fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// There are no more than [`crate::config::Upstream::TARGETS_MAX`].
    fn bit(index: usize) -> u64 {
        u32::try_from(index)
            .ok()
            .and_then(|index| 1_u64.checked_shl(index))
            .unwrap_or(0)
    }
}

impl Balancer {
    /// `urls` are those of the targets.
    pub(super) fn new(balance: Balance, urls: impl Iterator<Item = String>) -> Self {
        Self {
            balance,
            seeds: urls.map(|url| hash(&*url)).collect(),
            next: Cell::new(0),
            random: Cell::new(RandomState::new().hash_one(0) | 1),
        }
    }

    /// One that gets requests and has not been tried; `key` is whom a hash goes by.
    pub(super) fn choose(
        &self,
        candidate: impl Fn(usize) -> Candidate,
        key: Option<&LimitKey>,
        tried: Tried,
    ) -> Option<usize> {
        let count = self.seeds.len();
        let is_usable = |index: &usize| candidate(*index).weight > 0 && !tried.contains(*index);
        // A target that is coming back takes a part of its share, by lot.
        let takes = |index: usize, lot: u64| {
            let weight = u64::from(candidate(index).weight);
            is_usable(&index) && lot % u64::from(FULL) < weight
        };
        let in_flight = |index: &usize| candidate(*index).in_flight;
        if count <= 1 {
            return Some(0).filter(|index| count == 1 && is_usable(index));
        }
        let chosen = match self.balance {
            Balance::P2c => {
                let (first, second) = self.two_of(count);
                match (takes(first, self.random()), takes(second, self.random())) {
                    (true, true) if in_flight(&second) < in_flight(&first) => Some(second),
                    (true, _) => Some(first),
                    (false, true) => Some(second),
                    (false, false) => None,
                }
            }
            Balance::RoundRobin => {
                let start = self.next.get();
                let chosen = (start..start + count)
                    .map(|place| place % count)
                    .find(|index| takes(*index, self.random()));
                self.next.set((chosen.unwrap_or(start) + 1) % count);
                chosen
            }
            // Rendezvous hashing: each target draws a lot for each key, and the highest wins. The keys of
            // a target that is gone go to all others evenly, and nobody else's move.
            Balance::HashUser | Balance::HashAddress => {
                let key = key.map_or_else(|| self.random(), hash);
                let lots = self.seeds.iter().map(|seed| mixed(seed ^ key)).enumerate();
                lots.filter(|(index, lot)| takes(*index, mixed(*lot)))
                    .max_by_key(|(_, lot)| *lot)
                    .map(|(index, _)| index)
            }
        };
        chosen.or_else(|| {
            let usable = (0..count).filter(is_usable);
            usable.min_by_key(in_flight)
        })
    }

    /// Whether there is one to choose that has not been tried.
    pub(super) fn has_another(&self, candidate: impl Fn(usize) -> Candidate, tried: Tried) -> bool {
        let mut all = 0..self.seeds.len();
        all.any(|index| candidate(index).weight > 0 && !tried.contains(index))
    }

    /// Two different ones of so many, at least two.
    fn two_of(&self, count: usize) -> (usize, usize) {
        let random = self.random();
        let below = |random: u64, limit: usize| {
            let scaled = (random & u64::from(u32::MAX)) * limit as u64;
            usize::try_from(scaled >> 32).unwrap_or_default()
        };
        let first = below(random, count);
        let second = first + 1 + below(random >> 32, count - 1);
        (first, second % count)
    }

    /// xorshift64*: it only has to be fast and even.
    fn random(&self) -> u64 {
        let mut state = self.random.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.random.set(state);
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

fn hash(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    value.hash(&mut hasher);
    mixed(hasher.finish())
}

/// FNV-1a: without a key of its own, it says the same in every process, as `RandomState` must not.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        self.0 = bytes.iter().fold(self.0, step);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// So that every bit of the result depends on all bits given (the finaliser of MurmurHash3).
fn mixed(mut bits: u64) -> u64 {
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const IDLE: Candidate = Candidate {
        weight: FULL,
        in_flight: 0,
    };

    fn balancer(balance: Balance, count: usize) -> Balancer {
        Balancer::new(
            balance,
            (0..count).map(|index| format!("http://app{index}")),
        )
    }

    fn address(number: u32) -> LimitKey {
        LimitKey::source(IpAddr::V4(number.into()), 64)
    }

    /// How often each target is chosen.
    fn counted(
        balancer: &Balancer,
        count: usize,
        candidate: impl Fn(usize) -> Candidate,
    ) -> Vec<u32> {
        let mut chosen = vec![0; count];
        for number in 0..10_000 {
            let index = balancer.choose(&candidate, Some(&address(number)), Tried::default());
            chosen[index.unwrap()] += 1;
        }
        chosen
    }

    const ALL: [Balance; 4] = [
        Balance::P2c,
        Balance::RoundRobin,
        Balance::HashUser,
        Balance::HashAddress,
    ];

    #[test]
    fn every_target_gets_about_its_share() {
        for balance in ALL {
            let chosen = counted(&balancer(balance, 4), 4, |_| IDLE);
            let is_fair = |count: &u32| (2200..2800).contains(count);
            assert!(chosen.iter().all(is_fair), "{balance:?}: {chosen:?}");
        }
    }

    #[test]
    fn two_choices_prefer_the_target_with_less_to_do() {
        let busy = |index| Candidate {
            weight: FULL,
            in_flight: index,
        };
        // Of two there is no other choice than the idle one; of many, the busiest is never the better.
        assert_eq!(counted(&balancer(Balance::P2c, 2), 2, busy), [10_000, 0]);
        let chosen = counted(&balancer(Balance::P2c, 4), 4, busy);
        assert!(chosen.is_sorted_by(|more, less| more > less), "{chosen:?}");
        assert_eq!(chosen[3], 0);
    }

    #[test]
    fn round_robin_takes_one_after_the_other_and_passes_over_who_is_out() {
        let balancer = balancer(Balance::RoundRobin, 3);
        let chosen = |candidate: fn(usize) -> Candidate| -> Vec<_> {
            let choose = |_| balancer.choose(candidate, None, Tried::default()).unwrap();
            (0..6).map(choose).collect()
        };
        assert_eq!(chosen(|_| IDLE), [0, 1, 2, 0, 1, 2]);
        let without_the_second = |index| Candidate {
            weight: if index == 1 { 0 } else { FULL },
            in_flight: 0,
        };
        assert_eq!(chosen(without_the_second), [0, 2, 0, 2, 0, 2]);
    }

    #[test]
    fn a_hash_stays_where_it_is_but_for_the_share_of_a_target_that_is_gone() {
        let balancers = [
            balancer(Balance::HashAddress, 4),
            balancer(Balance::HashAddress, 4),
        ];
        let without_the_second = |index| Candidate {
            weight: if index == 1 { 0 } else { FULL },
            in_flight: 0,
        };
        let mut heirs = [0; 4];
        for number in 0..10_000 {
            let key = address(number);
            let choose = |balancer: &Balancer, candidate: &dyn Fn(usize) -> Candidate| {
                balancer
                    .choose(candidate, Some(&key), Tried::default())
                    .unwrap()
            };
            let before = choose(&balancers[0], &|_| IDLE);
            assert_eq!(choose(&balancers[1], &|_| IDLE), before);
            let after = choose(&balancers[0], &without_the_second);
            if before == 1 {
                heirs[after] += 1;
            } else {
                assert_eq!(after, before);
            }
        }
        assert!(
            heirs[1] == 0 && [0, 2, 3].iter().all(|heir| heirs[*heir] > 600),
            "{heirs:?}"
        );
    }

    #[test]
    fn one_network_is_one_caller_to_a_hash() {
        let balancer = balancer(Balance::HashAddress, 16);
        let choose = |text: &str| {
            let key = LimitKey::source(text.parse().unwrap(), 64);
            balancer.choose(|_| IDLE, Some(&key), Tried::default())
        };
        for host in 1..50 {
            assert_eq!(
                choose(&format!("2001:db8:0:1::{host}")),
                choose("2001:db8:0:1::")
            );
        }
    }

    #[test]
    fn a_target_that_comes_back_gets_a_part_of_its_share() {
        for balance in ALL {
            let tenth = |index| Candidate {
                weight: if index == 0 { FULL / 10 } else { FULL },
                in_flight: 0,
            };
            let chosen = counted(&balancer(balance, 2), 2, tenth);
            assert!((200..1500).contains(&chosen[0]), "{balance:?}: {chosen:?}");
            // Where there is no other, it gets everything.
            let alone = |index| Candidate {
                weight: if index == 0 { 1 } else { 0 },
                in_flight: 0,
            };
            assert_eq!(counted(&balancer(balance, 2), 2, alone), [10_000, 0]);
        }
    }

    #[test]
    fn nobody_is_asked_who_is_out_or_was_tried() {
        let out = |_| Candidate {
            weight: 0,
            in_flight: 0,
        };
        for balance in ALL {
            for count in [1, 2, 64] {
                let balancer = balancer(balance, count);
                assert_eq!(balancer.choose(out, None, Tried::default()), None);
                let mut tried = Tried::default();
                for _ in 0..count {
                    tried = tried.with(balancer.choose(|_| IDLE, None, tried).unwrap());
                }
                assert_eq!(tried.count(), u32::try_from(count).unwrap());
                assert_eq!(balancer.choose(|_| IDLE, None, tried), None);
            }
        }
    }
}
