//! How often codes of devices may be tried and asked for (RFC 8628 §5.1): 34 bits are few.
//!
//! These limits are not in the file: who switched them off would open other people's devices to guessing.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Limits;
use crate::config::Rate;
use crate::domain::Subject;
use crate::domain::UserId;
use crate::limiter::LimitKey;
use crate::limiter::Policy;
use crate::limiter::TooMany;

/// In which all of these are counted.
const PERIOD: Duration = Duration::from_secs(600);
/// To connect a device costs two: one that is typed, and one that is confirmed.
const TRIES_OF_USER: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);
/// Many people may be behind one address.
const TRIES_OF_ADDRESS: NonZeroU32 = NonZeroU32::MIN.saturating_add(59);
const DEVICES_OF_ADDRESS: NonZeroU32 = NonZeroU32::MIN.saturating_add(59);

/// The counts.
pub struct Guesses {
    tries_of_user: Arc<Policy>,
    tries_of_address: Arc<Policy>,
    devices_of_address: Arc<Policy>,
    ipv6_prefix: u8,
}

impl Guesses {
    /// With tables of the size that the file allows.
    pub fn new(limits: &Limits) -> Self {
        let policy = |name, count| {
            let rate = Rate {
                count,
                period: PERIOD,
                burst: count,
            };
            Policy::new(name, rate, limits.keys_max)
        };
        Self {
            tries_of_user: policy("device_user", TRIES_OF_USER),
            tries_of_address: policy("device_address", TRIES_OF_ADDRESS),
            devices_of_address: policy("device_codes", DEVICES_OF_ADDRESS),
            ipv6_prefix: limits.ipv6_prefix,
        }
    }

    /// Counts a code that somebody has typed, right or wrong.
    ///
    /// # Errors
    ///
    /// Where they, or all at their address, have tried too many. The code is not to be looked at then.
    pub fn count_try(&self, user: UserId, address: IpAddr) -> Result<(), TooMany> {
        let user = LimitKey::Subject(Subject::User(user));
        self.tries_of_user.count(&user)?;
        self.tries_of_address.count(&self.source(address))
    }

    /// Counts a device that asks for codes.
    ///
    /// # Errors
    ///
    /// Where its address has asked for too many.
    pub fn count_device(&self, address: IpAddr) -> Result<(), TooMany> {
        self.devices_of_address.count(&self.source(address))
    }

    /// Forgets who is as good as new.
    pub fn sweep(&self) {
        let policies = [
            &self.tries_of_user,
            &self.tries_of_address,
            &self.devices_of_address,
        ];
        policies.into_iter().for_each(|policy| policy.sweep());
    }

    fn source(&self, address: IpAddr) -> LimitKey {
        LimitKey::source(address, self.ipv6_prefix)
    }
}

impl fmt::Debug for Guesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guesses(..)")
    }
}
