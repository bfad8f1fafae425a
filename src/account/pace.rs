//! How fast one user may have things made. Each leaves a row that outlives it by a day, and with open
//! registration anybody is a user.
//!
//! These limits are not in the file: they are far above what people need, and only loops meet them.

use std::fmt;
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

/// Authorization codes, and so sessions of clients. Dozens of apps may be open at once, each of which asks
/// anew every few minutes whether somebody is still signed in (`prompt=none`).
const CODES: (NonZeroU32, Duration) = (
    NonZeroU32::MIN.saturating_add(119),
    Duration::from_secs(600),
);
/// Personal tokens: fifty can be alive at once.
const TOKENS: (NonZeroU32, Duration) = (
    NonZeroU32::MIN.saturating_add(59),
    Duration::from_secs(3600),
);

/// The counts.
pub struct Pace {
    codes: Arc<Policy>,
    tokens: Arc<Policy>,
}

impl Pace {
    /// With tables of the size that the file allows.
    pub fn new(limits: &Limits) -> Self {
        let policy = |name, (count, period)| {
            let rate = Rate {
                count,
                period,
                burst: count,
            };
            Policy::new(name, rate, limits.keys_max)
        };
        Self {
            codes: policy("codes", CODES),
            tokens: policy("personal_tokens", TOKENS),
        }
    }

    /// Counts an authorization code, before it is issued.
    ///
    /// # Errors
    ///
    /// Where the user has got too many: it is not to be issued then.
    pub fn count_code(&self, user: UserId) -> Result<(), TooMany> {
        self.codes.count(&LimitKey::Subject(Subject::User(user)))
    }

    /// Counts a personal token, before it is made.
    ///
    /// # Errors
    ///
    /// Where the user has made too many: it is not to be made then.
    pub fn count_token(&self, user: UserId) -> Result<(), TooMany> {
        self.tokens.count(&LimitKey::Subject(Subject::User(user)))
    }

    /// Forgets who is as good as new.
    pub fn sweep(&self) {
        self.codes.sweep();
        self.tokens.sweep();
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pace(..)")
    }
}
