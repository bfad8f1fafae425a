//! The small languages of single values: durations, sizes, rates, networks.

use std::num::NonZeroU32;
use std::time::Duration;

/// `"N per T"`: N at once, then one every T/N; `"N per T burst B"`: B at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// N.
    pub count: NonZeroU32,
    /// T.
    pub period: Duration,
    /// B, or N where there is no burst.
    pub burst: NonZeroU32,
}
