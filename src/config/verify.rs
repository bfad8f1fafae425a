//! Which proxies may ask what the gateway would say to a request that they hold back.

use ipnet::IpNet;

/// `[verify]`; without it there is no such endpoint.
#[derive(Clone, Debug)]
pub struct Verify {
    /// `callers`: the networks that they ask from, at least one.
    pub callers: Vec<IpNet>,
}
