//! Which quotas a request spends, in which order, and what the answer says about it.
//!
//! First the address, before any credential; then, once the caller is known, the narrowest first,
//! stopping at the first refusal. What was spent stays spent.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use ipnet::IpNet;

use crate::authenticate::Caller;
use crate::config::LimitBy;
use crate::config::Rate;
use crate::gate::endpoint::Endpoint;
use crate::gate::route::Permit;
use crate::gate::source::Source;
use crate::limiter::LimitKey;
use crate::limiter::Policy;
use crate::limiter::TooMany;
use crate::limiter::Verdict;
use crate::telemetry::metrics::LimitMetrics;

/// A policy, its words and its metrics. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct Quota(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    policy: Arc<Policy>,
    rate: Rate,
    metrics: LimitMetrics,
}

/// The limits that are not a route's own.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `per_address`
    pub per_address: Option<Quota>,
    /// `per_user`
    pub per_user: Option<Quota>,
    /// `register`
    pub register: Option<Quota>,
    /// `login`
    pub login: Option<Quota>,
    /// `exempt`
    pub exempt: Arc<[IpNet]>,
    /// `ipv6_prefix`
    pub ipv6_prefix: u8,
}

/// A limit said no.
#[derive(Clone, Debug)]
pub struct Limited {
    /// What it allows.
    pub rate: Rate,
    /// What is told of it.
    pub too_many: TooMany,
}

/// What the limits of one request left over: the scarcest is told to the caller.
#[derive(Clone, Debug, Default)]
pub struct Spent {
    scarcest: Option<(Quota, u32, u32)>,
}

impl Limits {
    /// `per_address`: every request, before anything else is known.
    ///
    /// # Errors
    ///
    /// Where it is spent.
    pub fn admit_source(&self, source: &Source, spent: &mut Spent) -> Result<(), Limited> {
        match &self.per_address {
            Some(quota) if !source.address.is_in(&self.exempt) => {
                quota.spend(&self.source(source), spent)
            }
            _ => Ok(()),
        }
    }

    /// The limits of our own endpoints, by address.
    ///
    /// # Errors
    ///
    /// Where one is spent.
    pub fn admit_own(&self, endpoint: Endpoint, source: &Source) -> Result<(), Limited> {
        let quota = match endpoint {
            Endpoint::Register => &self.register,
            Endpoint::Login | Endpoint::Password => &self.login,
            Endpoint::Other => return Ok(()),
        };
        match quota {
            Some(quota) => quota.spend(&self.source(source), &mut Spent::default()),
            None => Ok(()),
        }
    }

    /// The limits that need to know the caller: the route's by user, client and address, then
    /// `per_user`, and last what everybody shares, so that a caller who is over his own limit
    /// spends nothing of theirs.
    ///
    /// # Errors
    ///
    /// At the first that is spent.
    pub fn admit_caller(
        &self,
        permit: &Permit,
        source: &Source,
        spent: &mut Spent,
    ) -> Result<(), Limited> {
        let limits = permit.route().limits();
        let shared_from = limits.partition_point(|(by, _)| *by != LimitBy::Route);
        let (own, shared) = limits.split_at(shared_from);
        for (by, quota) in own {
            quota.spend(&self.key(*by, permit.caller(), source), spent)?;
        }
        if let (Some(quota), Caller::Known(_)) = (&self.per_user, permit.caller()) {
            quota.spend(&self.key(LimitBy::User, permit.caller(), source), spent)?;
        }
        for (by, quota) in shared {
            quota.spend(&self.key(*by, permit.caller(), source), spent)?;
        }
        Ok(())
    }

    /// Whom a limit by `by` counts.
    pub(super) fn key(&self, by: LimitBy, caller: &Caller, source: &Source) -> LimitKey {
        match (by, caller) {
            (LimitBy::Route, _) => LimitKey::Everybody,
            (LimitBy::Address, _) | (_, Caller::Anonymous) => self.source(source),
            (LimitBy::Client, Caller::Known(identity))
                if !identity.claims().client.is_reserved() =>
            {
                LimitKey::Client(identity.claims().client.clone())
            }
            (LimitBy::User | LimitBy::Client, Caller::Known(identity)) => {
                LimitKey::Subject(identity.claims().subject.clone())
            }
        }
    }

    /// Who holds what a request takes of an app; nobody where the network is exempt.
    pub fn holder(&self, source: &Source) -> Option<LimitKey> {
        (!source.address.is_in(&self.exempt)).then(|| self.source(source))
    }

    fn source(&self, source: &Source) -> LimitKey {
        LimitKey::source(source.address.ip(), self.ipv6_prefix)
    }
}

impl Quota {
    /// Joins a policy with its metrics.
    pub fn new(policy: Arc<Policy>, rate: Rate, metrics: LimitMetrics) -> Self {
        Self(Arc::new(Inner {
            policy,
            rate,
            metrics,
        }))
    }

    /// Its item of `RateLimit-Policy`.
    pub fn item(&self) -> &str {
        self.0.policy.item()
    }

    /// Forgets callers who are as good as new.
    pub fn sweep(&self) {
        self.0.policy.sweep();
    }

    fn spend(&self, key: &LimitKey, spent: &mut Spent) -> Result<(), Limited> {
        let Inner {
            policy,
            rate,
            metrics,
        } = &*self.0;
        match policy.spend(key) {
            Verdict::Admitted {
                remaining,
                reset_seconds,
            } => {
                metrics.admitted();
                spent.note(self, remaining, reset_seconds);
                Ok(())
            }
            Verdict::Refused {
                retry_after_seconds,
            } => {
                metrics.refused();
                Err(Limited {
                    rate: *rate,
                    too_many: policy.too_many(retry_after_seconds),
                })
            }
        }
    }
}

impl Spent {
    fn note(&mut self, quota: &Quota, remaining: u32, reset_seconds: u32) {
        let scarcer = self
            .scarcest
            .as_ref()
            .is_none_or(|(_, least, _)| remaining < *least);
        if scarcer {
            self.scarcest = Some((quota.clone(), remaining, reset_seconds));
        }
    }

    /// `RateLimit` for the answer: the policy of which least is left.
    pub fn state(&self) -> Option<HeaderValue> {
        let (quota, remaining, reset) = self.scarcest.as_ref()?;
        HeaderValue::from_maybe_shared(Bytes::from(quota.0.policy.state(*remaining, *reset))).ok()
    }
}
