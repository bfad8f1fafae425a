//! Rate limits: quotas, the keys they count by, and a bounded table of counts.
//!
//! The arithmetic is governor's (GCRA); the table is ours, because governor's own grows with every
//! new key. This room must never admit more than a policy says, neither when many ask at once nor
//! when strangers fill the table (SECURITY 47 and 48).

mod table;
mod tally;

use std::borrow::Cow;
use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::Quota;
use governor::RateLimiter;
use governor::clock::Clock;
use governor::clock::DefaultClock;
use governor::middleware::StateInformationMiddleware;
use http::HeaderName;
use http::HeaderValue;
use http::StatusCode;
use http::header;

use crate::config::Rate;
use crate::domain::ClientId;
use crate::domain::Subject;
use crate::limiter::table::Table;
use crate::problem::Problem;

pub use crate::limiter::tally::Tally;

/// Who is counted. Kinds never clash: they are not joined strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitKey {
    /// An address; IPv6 by its network, IPv4-mapped as IPv4. Made by [`LimitKey::source`].
    Source(IpAddr),
    /// A user or machine.
    Subject(Subject),
    /// An OAuth client.
    Client(ClientId),
    /// Everybody together.
    Everybody,
}

impl LimitKey {
    /// The key of an address; of IPv6 only the first `ipv6_prefix` bits count. A /64 is the least that
    /// a network gives to one of its customers (RFC 6177 §2): counted singly, its 2^64 addresses
    /// would be as many fresh quotas.
    pub fn source(address: IpAddr, ipv6_prefix: u8) -> Self {
        let host_bits = 128_u32.saturating_sub(ipv6_prefix.into());
        let network = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        Self::Source(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & network)),
        })
    }
}

/// In one piece, because the hasher takes its time over every one; which kind it is comes with it.
impl Hash for LimitKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (kind, number) = match self {
            Self::Source(IpAddr::V4(address)) => (0, address.to_bits().into()),
            Self::Source(IpAddr::V6(address)) => (1, address.to_bits()),
            Self::Subject(Subject::User(user)) => (2, user.uuid().as_u128()),
            Self::Subject(Subject::Client(client)) => return client.hash(state),
            Self::Subject(Subject::Outside(outside)) => return outside.hash(state),
            Self::Client(client) => return client.hash(state),
            Self::Everybody => (3, 0),
        };
        state.write_u128(number ^ kind << 120);
    }
}

/// What a limit says. It must be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// One was spent.
    Admitted {
        /// How many more would be admitted now: `r` of the `RateLimit` field.
        remaining: u32,
        /// After how many seconds, rounded up, the quota is whole again: its `t`.
        reset_seconds: u32,
    },
    /// None was spent.
    Refused {
        /// After how many seconds one would be admitted, rounded up and never 0.
        retry_after_seconds: u32,
    },
}

/// None was left, and what is told of that.
#[derive(Clone, Debug)]
pub struct TooMany {
    /// After how many seconds one would be admitted, rounded up and never 0.
    pub retry_after_seconds: u32,
    policy: String,
    state: String,
}

impl TooMany {
    /// 429, in these words.
    pub fn problem(&self, detail: impl Into<Cow<'static, str>>) -> Problem {
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "limited", detail);
        self.headers().fold(problem, |problem, (name, value)| {
            problem.with_header(name, value)
        })
    }

    /// What every 429 carries.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let text = |name, text: &str| Some((name, HeaderValue::try_from(text).ok()?));
        let wait = HeaderValue::from(self.retry_after_seconds);
        let fields = [
            Some((header::RETRY_AFTER, wait)),
            text(RATE_LIMIT_POLICY, &self.policy),
            text(RATE_LIMIT, &self.state),
        ];
        fields.into_iter().flatten()
    }
}

/// `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10 §3).
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10 §4).
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// One named policy with its own table of counts, shared by all cores.
///
/// The clock is a parameter only so that tests can wind it by hand.
pub struct Policy<C: Clock = DefaultClock> {
    name: String,
    item: String,
    quota: Quota,
    limiter: RateLimiter<LimitKey, Table, C, StateInformationMiddleware>,
}

impl Policy {
    /// `name` appears in `RateLimit-Policy`; it is an RFC 8941 string without quotes. At most
    /// `keys_max` keys are remembered, at 47 to 94 bytes each; when nothing more fits, new keys
    /// share one count.
    pub fn new(name: &str, rate: Rate, keys_max: usize) -> Arc<Self> {
        Arc::new(Self::with_clock(
            name,
            rate,
            keys_max,
            DefaultClock::default(),
        ))
    }
}

impl<C: Clock> Policy<C> {
    fn with_clock(name: &str, rate: Rate, keys_max: usize, clock: C) -> Self {
        let quota = quota(rate);
        let burst = quota.burst_size();
        let window = seconds_ceil(quota.burst_size_replenished_in());
        let table = Table::new(keys_max, quota.replenish_interval());
        Self {
            name: name.to_owned(),
            item: format!("\"{name}\";q={burst};w={window}"),
            quota,
            limiter: RateLimiter::new(quota, table, clock),
        }
    }

    /// Its item of `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10 §3):
    /// `"name";q=60;w=60`, where `w` is the time in which a spent `q` comes back.
    pub fn item(&self) -> &str {
        &self.item
    }

    /// An item of `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10 §4): `"name";r=59;t=1`.
    pub fn state(&self, remaining: u32, reset_seconds: u32) -> String {
        let mut item = String::with_capacity(self.name.len() + 28);
        let mut number = itoa::Buffer::new();
        item.push('"');
        item.push_str(&self.name);
        item.push_str("\";r=");
        item.push_str(number.format(remaining));
        item.push_str(";t=");
        item.push_str(number.format(reset_seconds));
        item
    }

    /// Spends one.
    pub fn spend(&self, key: &LimitKey) -> Verdict {
        match self.limiter.check_key(key) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                let spent = self.quota.burst_size().get().saturating_sub(remaining);
                Verdict::Admitted {
                    remaining,
                    reset_seconds: seconds_ceil(self.quota.replenish_interval() * spent),
                }
            }
            Err(not_until) => {
                let wait = not_until.wait_time_from(self.limiter.clock().now());
                Verdict::Refused {
                    retry_after_seconds: seconds_ceil(wait),
                }
            }
        }
    }

    /// Spends one, where nothing is told of what is left.
    ///
    /// # Errors
    ///
    /// Where none was left.
    pub fn count(&self, key: &LimitKey) -> Result<(), TooMany> {
        match self.spend(key) {
            Verdict::Admitted { .. } => Ok(()),
            Verdict::Refused {
                retry_after_seconds,
            } => Err(self.too_many(retry_after_seconds)),
        }
    }

    /// What is told of a refusal.
    pub fn too_many(&self, retry_after_seconds: u32) -> TooMany {
        TooMany {
            retry_after_seconds,
            policy: self.item.clone(),
            state: self.state(0, retry_after_seconds),
        }
    }

    /// Forgets keys that are as good as new; called every minute.
    pub fn sweep(&self) {
        self.limiter.retain_recent();
    }

    /// How many keys are remembered.
    pub fn keys(&self) -> usize {
        self.limiter.len()
    }
}

impl<C: Clock> fmt::Debug for Policy<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("item", &self.item)
            .finish_non_exhaustive()
    }
}

/// The interval is rounded up to whole nanoseconds, so that no policy admits more than it says.
#[expect(
    clippy::expect_used,
    reason = "with_period refuses zero only, and the interval is clamped to at least 1 ns"
)]
fn quota(rate: Rate) -> Quota {
    // governor counts nanoseconds in 64 bits and does not check its sums. A century for the whole
    // burst is far below that, and far above any limit that means something.
    const WHOLE_MAX_NANOS: u128 = 100 * 365 * 86_400 * 1_000_000_000;

    let interval = rate
        .period
        .as_nanos()
        .div_ceil(u128::from(rate.count.get()))
        .clamp(1, WHOLE_MAX_NANOS);
    let burst = u32::try_from(WHOLE_MAX_NANOS / interval)
        .ok()
        .and_then(NonZeroU32::new)
        .map_or(rate.burst, |burst_max| rate.burst.min(burst_max));
    let nanos = u64::try_from(interval).unwrap_or(u64::MAX);
    Quota::with_period(Duration::from_nanos(nanos))
        .expect("the interval is at least 1 ns")
        .allow_burst(burst)
}

/// Whole seconds, rounded up, at least one: a wait of 0 would invite the next refusal.
fn seconds_ceil(duration: Duration) -> u32 {
    let rounded_up = duration.as_nanos().div_ceil(1_000_000_000);
    u32::try_from(rounded_up).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    use std::thread;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn rate(count: u32, seconds: u64, burst: u32) -> Rate {
        Rate {
            count: NonZeroU32::new(count).unwrap(),
            period: Duration::from_secs(seconds),
            burst: NonZeroU32::new(burst).unwrap(),
        }
    }

    fn wound(rate: Rate, keys_max: usize) -> (Policy<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (
            Policy::with_clock("test", rate, keys_max, clock.clone()),
            clock,
        )
    }

    fn key(number: u32) -> LimitKey {
        LimitKey::source(IpAddr::from(number.to_be_bytes()), 64)
    }

    fn admits<C: Clock>(policy: &Policy<C>, key: &LimitKey) -> bool {
        matches!(policy.spend(key), Verdict::Admitted { .. })
    }

    // SECURITY 47
    #[test]
    fn five_per_minute_are_five_however_many_ask_at_once() {
        let policy = Policy::new("test", rate(5, 60, 5), 1000);
        let admitted = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..200 {
                scope.spawn(|| {
                    if admits(&policy, &LimitKey::Everybody) {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 5);
    }

    #[test]
    fn a_quota_comes_back_one_by_one() {
        let (policy, clock) = wound(rate(5, 60, 5), 1000);
        for spent in 1..=5 {
            let verdict = Verdict::Admitted {
                remaining: 5 - spent,
                reset_seconds: 12 * spent,
            };
            assert_eq!(policy.spend(&key(1)), verdict);
        }
        let refused = |retry_after_seconds| Verdict::Refused {
            retry_after_seconds,
        };
        assert_eq!(policy.spend(&key(1)), refused(12));
        clock.advance(Duration::from_millis(11_001));
        assert_eq!(policy.spend(&key(1)), refused(1));
        assert!(
            admits(&policy, &key(2)),
            "another key has a quota of its own"
        );
        clock.advance(Duration::from_millis(999));
        assert!(admits(&policy, &key(1)));
        assert_eq!(policy.spend(&key(1)), refused(12));
        clock.advance(Duration::from_secs(60));
        assert_eq!((0..9).filter(|_| admits(&policy, &key(1))).count(), 5);
    }

    #[test]
    fn a_burst_is_the_quota_that_is_told() {
        let (policy, _clock) = wound(rate(60, 60, 10), 1000);
        assert_eq!(policy.item(), "\"test\";q=10;w=10");
        assert_eq!((0..99).filter(|_| admits(&policy, &key(1))).count(), 10);
        assert_eq!(wound(rate(60, 60, 60), 1).0.item(), "\"test\";q=60;w=60");
        assert_eq!(wound(rate(7, 1, 7), 1).0.item(), "\"test\";q=7;w=2");
    }

    #[test]
    fn intervals_are_rounded_up() {
        assert_eq!(
            quota(rate(3, 1, 3)).replenish_interval().as_nanos(),
            333_333_334
        );
    }

    #[test]
    fn rates_beyond_reason_neither_overflow_nor_admit_more() {
        let fastest = rate(u32::MAX, 1, u32::MAX);
        assert_eq!(quota(fastest).replenish_interval().as_nanos(), 1);
        let slowest = Rate {
            period: Duration::MAX,
            ..rate(1, 1, u32::MAX)
        };
        for extreme in [fastest, slowest, rate(1, 86_400, u32::MAX)] {
            let (policy, clock) = wound(extreme, 1000);
            assert!(admits(&policy, &key(1)));
            clock.advance(Duration::from_secs(86_400 * 365 * 50));
            assert!(admits(&policy, &key(2)));
        }
        let (policy, _clock) = wound(slowest, 1000);
        assert!(admits(&policy, &key(1)));
        assert!(!admits(&policy, &key(1)));
    }

    // SECURITY 48
    #[test]
    fn addresses_are_counted_by_the_network_they_are_given_out_by() {
        let by =
            |ipv6_prefix| move |text: &str| LimitKey::source(text.parse().unwrap(), ipv6_prefix);
        let source = by(64);
        assert_eq!(
            source("2001:db8:1:2::1"),
            source("2001:db8:1:2:ffff:ffff:ffff:ffff")
        );
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("::ffff:192.0.2.1"), source("::ffff:192.0.2.2"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        let source = by(56);
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:102::1"));
        let source = by(128);
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:2::2"));
    }

    // SECURITY 48
    #[test]
    fn a_million_addresses_neither_fill_the_memory_nor_reset_a_count() {
        let (policy, _clock) = wound(rate(2, 60, 2), 100_000);
        let victim = LimitKey::Everybody;
        assert_eq!((0..3).filter(|_| admits(&policy, &victim)).count(), 2);
        let admitted = (0..1_000_000)
            .filter(|number| admits(&policy, &key(*number)))
            .count();
        assert!(policy.keys() <= 100_000, "{}", policy.keys());
        // Those that are remembered had one each; all others shared two in each of the 64 shards.
        assert!((90_000..=100_128).contains(&admitted), "{admitted}");
        assert!(!admits(&policy, &victim));
    }

    #[test]
    fn sweeping_forgets_only_what_is_as_good_as_new() {
        let (policy, clock) = wound(rate(5, 60, 5), 1000);
        assert!(admits(&policy, &key(1)));
        clock.advance(Duration::from_secs(20));
        assert!(admits(&policy, &key(2)));
        policy.sweep();
        assert_eq!(policy.keys(), 2);
        clock.advance(Duration::from_secs(5));
        policy.sweep();
        assert_eq!(policy.keys(), 1);
    }
}
