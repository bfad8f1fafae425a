//! What routes that lead to the same app do to each other, where one calls it by other paths or sets a
//! header that another does not.
//!
//! The path that is authorised is the path that is forwarded, a rewrite apart (SECURITY 6): whoever writes
//! one can open by one name what another route guards. That may be meant, so these are warnings.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;

use http::uri::Authority;
use ipnet::IpNet;

use crate::config::Auth;
use crate::config::ClientCertificates;
use crate::config::Clients;
use crate::config::Config;
use crate::config::PathPrefix;
use crate::config::Route;
use crate::config::Target;
use crate::config::reader::Report;

/// Routes by a path of theirs; ordered, so that the same file is always told the same.
type ByPath<'a, K> = BTreeMap<K, Vec<(&'a Route, &'a PathPrefix)>>;

pub(super) fn find(config: &Config, report: &Report<'_>) {
    let mut outside: ByPath<'_, &[String]> = BTreeMap::new();
    let mut apps: HashMap<&Authority, Vec<&Route>> = HashMap::new();
    for route in &config.routes {
        for path in &route.paths {
            outside.entry(&path.0).or_default().push((route, path));
        }
        if let Target::Upstream(index) = route.target {
            let upstream = config.upstreams.get(index);
            for target in upstream.iter().flat_map(|upstream| &upstream.targets) {
                apps.entry(&target.authority).or_default().push(route);
            }
        }
    }
    for routes in apps.values() {
        if routes.iter().any(|route| route.rewrite.is_some()) {
            opened_paths(routes, &outside, report);
        }
        open_headers(routes, report);
    }
}

/// Routes that lead to paths of the app which another lets fewer people reach.
fn opened_paths(routes: &[&Route], outside: &ByPath<'_, &[String]>, report: &Report<'_>) {
    let mut inside: ByPath<'_, Vec<String>> = BTreeMap::new();
    for route in routes {
        for path in &route.paths {
            let reached = reached(route, path);
            inside.entry(reached).or_default().push((route, path));
        }
    }
    let mut told = HashSet::new();
    let mut opens = |route: &Route, guarding: &Route, path: &[String]| {
        if told.insert(route.name.clone()) {
            report.warning_at(
                route.position,
                format!(
                    "route `{}` leads to {} of the app, where route `{}` asks for more than this one",
                    route.name,
                    PathPrefix(path.to_vec()),
                    guarding.name,
                ),
            );
        }
    };
    for (path, below) in &inside {
        for length in 0..=path.len() {
            let (above_path, rest) = path.split_at(length);
            for (above, prefix) in inside.get(above_path).into_iter().flatten() {
                for (route, _) in below {
                    // By the same rewrite they lie to each other as they do outside, where the longest
                    // path wins.
                    if route.rewrite == above.rewrite {
                        continue;
                    }
                    let asked_for: Vec<_> = prefix.0.iter().chain(rest).cloned().collect();
                    if !answers(outside, above, &asked_for) {
                        continue;
                    }
                    if asks_more(above, route) {
                        opens(route, above, path);
                    }
                    if asks_more(route, above) {
                        opens(above, route, path);
                    }
                }
            }
        }
    }
}

/// Headers that one route to an app sets, and another lets strangers write.
fn open_headers(routes: &[&Route], report: &Report<'_>) {
    let mut set = HashMap::new();
    for route in routes {
        for (name, _) in &route.request_headers.set {
            set.entry(name).or_insert(&route.name);
        }
    }
    if set.is_empty() {
        return;
    }
    for route in routes {
        let own: HashSet<_> = route.request_headers.names().collect();
        for (name, other) in set.iter().filter(|(name, _)| !own.contains(*name)) {
            report.warning_at(
                route.position,
                format!(
                    "route `{}` lets clients write {name}, which route `{other}` sets for the same app; \
                     set or remove it here as well if the app relies on it",
                    route.name,
                ),
            );
        }
    }
}

/// The path by which the app knows a path of a route.
fn reached(route: &Route, path: &PathPrefix) -> Vec<String> {
    let rewrite = route.rewrite.as_ref();
    let rewritten = rewrite.and_then(|rewrite| {
        let covering = rewrite
            .from
            .iter()
            .filter(|from| path.0.starts_with(&from.0));
        let longest = covering.map(|from| from.0.len()).max()?;
        let rest = path.0.get(longest..).unwrap_or_default();
        Some(rewrite.to.0.iter().chain(rest).cloned().collect())
    });
    rewritten.unwrap_or_else(|| path.0.clone())
}

/// Whether it is this route that answers for a path, and none of the same hosts with a longer one.
fn answers(outside: &ByPath<'_, &[String]>, route: &Route, path: &[String]) -> bool {
    let mut prefixes = (0..=path.len())
        .rev()
        .filter_map(|length| path.get(..length));
    let longest = prefixes.find_map(|prefix| {
        let routes = outside.get(prefix)?;
        let mut of_same_hosts = routes.iter().map(|(other, _)| other);
        of_same_hosts.find(|other| other.hosts == route.hosts)
    });
    longest.is_some_and(|longest| longest.name == route.name)
}

/// Whether somebody may pass `route` who may not pass `other`.
fn asks_more(other: &Route, route: &Route) -> bool {
    let level = |route: &Route| match route.auth {
        Auth::None => 0,
        Auth::Optional => 1,
        Auth::Required => 2,
    };
    fn admits_others<T: PartialEq>(route: &[T], other: &[T]) -> bool {
        !other.is_empty() && (route.is_empty() || route.iter().any(|item| !other.contains(item)))
    }
    level(other) > level(route)
        || !other.scopes.is_subset_of(&route.scopes)
        || admits_others(&route.roles, &other.roles)
        || admits_others(&route.users, &other.users)
        || comes_from_elsewhere(&route.addresses, &other.addresses)
        || (other.clients == Clients::None && route.clients != Clients::None)
        || match (&route.client_certificates, &other.client_certificates) {
            (_, ClientCertificates::NotAsked) => false,
            (ClientCertificates::NotAsked, _) => true,
            (_, ClientCertificates::Any) => false,
            (ClientCertificates::Any, ClientCertificates::Listed(_)) => true,
            (ClientCertificates::Listed(route), ClientCertificates::Listed(other)) => {
                admits_others(route, other)
            }
        }
}

fn comes_from_elsewhere(route: &[IpNet], other: &[IpNet]) -> bool {
    let is_inside = |network: &IpNet| other.iter().any(|wider| wider.contains(network));
    !other.is_empty() && (route.is_empty() || !route.iter().all(is_inside))
}
