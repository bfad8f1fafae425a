//! `Strict-Transport-Security`: browsers that have been here over https come back over https only.

use std::collections::HashSet;
use std::sync::Arc;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;

use crate::config::Config;
use crate::config::HostPattern;
use crate::gate::inbound::Inbound;

/// What is said, and of which hosts.
#[derive(Clone, Debug, Default)]
pub struct Hsts {
    said: Option<Arc<Said>>,
}

#[derive(Debug)]
struct Said {
    value: HeaderValue,
    /// There may be thousands of hosts.
    exact: HashSet<String>,
    wildcard: HashSet<String>,
}

impl Said {
    fn names(&self, host: &str) -> bool {
        let mut parents = host
            .match_indices('.')
            .filter_map(|(at, _)| host.get(at + 1..));
        self.exact.contains(host)
            || !self.wildcard.is_empty() && parents.any(|parent| self.wildcard.contains(parent))
    }
}

impl Hsts {
    /// `hosts` are those that the file names: whoever sends any other name in `Host` is told nothing
    /// that his browser would keep.
    pub fn new(config: &Config) -> Self {
        let public = config.gateway.public_url.host_str().unwrap_or_default();
        let of_routes = config.routes.iter().flat_map(|route| &route.hosts).cloned();
        let public = HostPattern::Exact(public.to_owned());
        let hosts = std::iter::once(public).chain(of_routes);
        let said = config.gateway.hsts.and_then(|max_age| {
            let value = HeaderValue::try_from(format!("max-age={}", max_age.as_secs())).ok()?;
            let (mut exact, mut wildcard) = (HashSet::new(), HashSet::new());
            for host in hosts.filter(is_own_name) {
                match host {
                    HostPattern::Exact(name) => exact.insert(name),
                    HostPattern::Wildcard(parent) => wildcard.insert(parent),
                };
            }
            let said = Said {
                value,
                exact,
                wildcard,
            };
            (!said.exact.is_empty() || !said.wildcard.is_empty()).then(|| Arc::new(said))
        });
        Self { said }
    }

    /// Whether the answer says it: only over https (RFC 6797 §7.2).
    pub fn applies_to<B>(&self, inbound: &Inbound<B>) -> bool {
        let host = inbound.host().name();
        let said = self.said.as_ref().filter(|_| inbound.scheme() == "https");
        said.is_some_and(|said| said.names(host))
    }

    /// Adds it, unless the app has words of its own.
    pub fn apply(&self, headers: &mut HeaderMap) {
        if let Some(said) = &self.said {
            headers.entry(NAME).or_insert_with(|| said.value.clone());
        }
    }
}

const NAME: HeaderName = header::STRICT_TRANSPORT_SECURITY;

/// `localhost` is everybody's, with other servers on other ports, and for an address browsers ignore it
/// (RFC 6797 §8.1.1).
fn is_own_name(host: &HostPattern) -> bool {
    let (HostPattern::Exact(name) | HostPattern::Wildcard(name)) = host;
    let last = name.rsplit('.').next().unwrap_or_default();
    // No top-level domain begins with a digit, and every IPv4 address ends in one (RFC 3696 §2).
    let is_address =
        name.starts_with('[') || last.starts_with(|first: char| first.is_ascii_digit());
    !is_address && last != "localhost"
}

#[cfg(test)]
mod tests {
    use super::*;

    // SECURITY 56
    #[test]
    fn only_names_of_somebodys_own_are_pinned_to_https() {
        let own = |name: &str| is_own_name(&HostPattern::Exact(name.to_owned()));
        for name in [
            "app.example.com",
            "intranet",
            "1.example",
            "localhost.example",
        ] {
            assert!(own(name), "{name}");
        }
        for name in [
            "localhost",
            "app.localhost",
            "127.0.0.1",
            "10.0.0.7",
            "[::1]",
        ] {
            assert!(!own(name), "{name}");
        }
        assert!(is_own_name(&HostPattern::Wildcard(
            "example.com".to_owned()
        )));
    }
}
