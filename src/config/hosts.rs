//! The hosts that are ours by name: where a browser may be sent on to.
//!
//! A route that answers for any host names none. Whoever makes up a host's name must never choose by it where
//! somebody else's browser goes.

use std::collections::HashSet;

use url::Url;

use crate::config::Config;
use crate::config::HostPattern;

/// `public_url`, and what the `host` of routes says. All of them are reached as `public_url` is: by the same
/// scheme and port.
#[derive(Clone, Debug)]
pub struct OwnHosts {
    public_url: Url,
    exact: HashSet<String>,
    wildcard: HashSet<String>,
}

impl OwnHosts {
    /// As a file says.
    pub fn new(config: &Config) -> Self {
        let (mut exact, mut wildcard) = (HashSet::new(), HashSet::new());
        for host in config.routes.iter().flat_map(|route| &route.hosts) {
            match host {
                HostPattern::Exact(name) => exact.insert(name.clone()),
                HostPattern::Wildcard(parent) => wildcard.insert(parent.clone()),
            };
        }
        Self {
            public_url: config.gateway.public_url.clone(),
            exact,
            wildcard,
        }
    }

    /// Whether it is the host of `public_url`: lower case, without a port.
    pub fn is_public(&self, host: &str) -> bool {
        self.public_url.host_str() == Some(host)
    }

    /// Whether it is that of `public_url`, or of a route.
    pub fn has(&self, host: &str) -> bool {
        let mut parents = host
            .match_indices('.')
            .filter_map(|(at, _)| host.get(at + 1..));
        self.is_public(host)
            || self.exact.contains(host)
            || parents.any(|parent| self.wildcard.contains(parent))
    }

    /// Whether a URL is of such a host, by the scheme and port of `public_url`, and holds nothing that could
    /// make it look like another.
    pub fn leads_to(&self, url: &Url) -> bool {
        let is_anonymous = url.username().is_empty() && url.password().is_none();
        let has_same_way = url.scheme() == self.public_url.scheme()
            && url.port_or_known_default() == self.public_url.port_or_known_default();
        let is_ours = url.host_str().is_some_and(|host| self.has(host));
        is_anonymous && has_same_way && is_ours
    }

    /// Where a path with its query is on a host.
    pub fn url(&self, host: &str, target: &str) -> String {
        let scheme = self.public_url.scheme();
        match self.public_url.port() {
            Some(port) => format!("{scheme}://{host}:{port}{target}"),
            None => format!("{scheme}://{host}{target}"),
        }
    }

    /// Where a path with its query is on the host of `public_url`.
    pub fn public(&self, target: &str) -> String {
        let host = self.public_url.host_str();
        self.url(host.unwrap_or_default(), target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(public_url: &str) -> OwnHosts {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        OwnHosts {
            public_url: Url::parse(public_url).unwrap(),
            exact: names(&["app.example.net", "[::1]"]),
            wildcard: names(&["example.org"]),
        }
    }

    #[test]
    fn a_place_is_ours_on_our_hosts_alone() {
        let hosts = hosts("https://id.example.com");
        let leads_to = |url: &str| Url::parse(url).is_ok_and(|url| hosts.leads_to(&url));
        for ours in [
            "https://id.example.com",
            "https://ID.example.com:443/x?y#z",
            "https://app.example.net/x",
            "https://[::1]/",
            "https://a.example.org/",
            "https://a.b.example.org/",
        ] {
            assert!(leads_to(ours), "{ours}");
        }
        for foreign in [
            "https://example.org/",
            "https://example.com/",
            "https://evil.example.net/",
            "https://aexample.org/",
            "https://a.example.org.evil.example/",
            "https://app.example.net./",
            "https://app.example.net:8443/",
            "http://app.example.net/",
            "http://id.example.com/",
            "https://id.example.com@evil.example/",
            "https://user@app.example.net/",
            "https://:word@app.example.net/",
            "ftp://app.example.net/",
            "javascript:alert(1)",
            "data:text/html,x",
        ] {
            assert!(!leads_to(foreign), "{foreign}");
        }
    }

    #[test]
    fn every_host_is_reached_as_the_public_one_is() {
        let usual = hosts("https://id.example.com");
        assert_eq!(usual.url("a.example.org", "/x"), "https://a.example.org/x");
        assert_eq!(usual.public("/x"), "https://id.example.com/x");
        let other = hosts("https://localhost:8443");
        assert_eq!(other.url("[::1]", "/x?y"), "https://[::1]:8443/x?y");
        assert_eq!(other.public("/"), "https://localhost:8443/");
        let url = Url::parse("https://app.example.net:8443/").unwrap();
        assert!(other.leads_to(&url));
    }
}
