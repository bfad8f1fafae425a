//! Routes in words, the same ones wherever a command shows them.

use std::fmt::Display;

use crate::config::Auth;
use crate::config::Balance;
use crate::config::ClientCertificates;
use crate::config::Clients;
use crate::config::Config;
use crate::config::Route;
use crate::config::Target;
use crate::config::Upstream;

/// What a route asks of its callers: `required, scopes notes:read`.
pub(super) fn auth(route: &Route) -> String {
    let mut auth = match route.auth {
        Auth::None => "none",
        Auth::Optional => "optional",
        Auth::Required => "required",
    }
    .to_owned();
    if !route.scopes.is_empty() {
        auth += &format!(", scopes {}", route.scopes);
    }
    if !route.roles.is_empty() {
        auth += &format!(", roles {}", joined(&route.roles, ""));
    }
    if !route.users.is_empty() {
        auth += &format!(", users {}", joined(&route.users, ""));
    }
    match &route.clients {
        Clients::None => {}
        Clients::Any => auth += ", clients *",
        Clients::Listed(clients) => auth += &format!(", clients {}", joined(clients, "")),
    }
    if !route.issuers.is_empty() {
        auth += &format!(", issuers {}", joined(&route.issuers, ""));
    }
    if let Some(audience) = &route.audience {
        auth += &format!(", audience {audience}");
    }
    if !route.addresses.is_empty() {
        auth += &format!(", from {}", joined(&route.addresses, ""));
    }
    match &route.client_certificates {
        ClientCertificates::NotAsked => {}
        ClientCertificates::Any => auth += ", any client certificate",
        ClientCertificates::Listed(listed) => {
            auth += &format!(", client certificate {}", joined(listed, ""));
        }
    }
    auth
}

/// The limits of a route's own: `5 per minute by user`.
pub(super) fn limits(route: &Route) -> String {
    let limits = route.limits.iter();
    let limits: Vec<_> = limits
        .map(|limit| format!("{} by {}", limit.rate, limit.by))
        .collect();
    joined(&limits, "-")
}

/// The name of a route's upstream.
pub(super) fn upstream<'a>(route: &Route, config: &'a Config) -> &'a str {
    match route.target {
        Target::Echo => "echo",
        Target::Verify => "verify",
        Target::Upstream(index) => config
            .upstreams
            .get(index)
            .map_or("", |upstream| &upstream.name),
    }
}

/// How an upstream chooses among its targets.
pub(super) fn balance(upstream: &Upstream) -> &'static str {
    match upstream.balance {
        Balance::P2c => "p2c",
        Balance::RoundRobin => "round_robin",
        Balance::HashUser => "hash_user",
        Balance::HashAddress => "hash_address",
    }
}

/// Items with commas between them, or a word for none.
pub(super) fn joined(items: &[impl Display], none: &str) -> String {
    if items.is_empty() {
        return none.to_owned();
    }
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}
