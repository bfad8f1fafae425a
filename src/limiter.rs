//! Rate limits: quotas, the keys they count by, and a bounded table of counts.

use std::net::IpAddr;
use std::sync::Arc;
use crate::config::Rate;
use crate::domain::{Subject, ClientId};

/// Who is counted. Kinds never clash: they are not joined strings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LimitKey {
    /// An address; IPv6 by /64, IPv4-mapped as IPv4. Made by [`LimitKey::source`].
    Source(IpAddr),
    /// A user or machine.
    Subject(Subject),
    /// An OAuth client.
    Client(ClientId),
    /// Everybody together.
    Everybody,
}

impl LimitKey {
    /// The key of an address.
    pub fn source(address: IpAddr) -> Self { todo!() }
}

/// What a limit says. It must be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// One was spent.
    Admitted { remaining: u32, reset_seconds: u32 },
    /// None was spent.
    Refused { retry_after_seconds: u32 },
}

/// One named policy with its own table of counts, shared by all cores.
pub struct Policy {}

impl Policy {
    /// `name` appears in `RateLimit-Policy`; it is an RFC 8941 string without quotes.
    pub fn new(name: &str, rate: Rate, keys_max: usize) -> Arc<Self> { todo!() }
    /// The name.
    pub fn name(&self) -> &str { todo!() }
    /// Its item of `RateLimit-Policy`: `"name";q=60;w=60`.
    pub fn item(&self) -> &str { todo!() }
    /// Spends one.
    pub fn spend(&self, key: &LimitKey) -> Verdict { todo!() }
    /// Forgets keys that are as good as new; called every minute.
    pub fn sweep(&self) { todo!() }
    /// How many keys are remembered.
    pub fn keys(&self) -> usize { todo!() }
}
