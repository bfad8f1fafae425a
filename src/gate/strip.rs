//! What no request may bring in: hop-by-hop fields, identity in any spelling, strangers' word on
//! where a request comes from.
//!
//! Strip first, insert last: what an app is told is set after this, from the permit alone.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;
use ipnet::IpNet;

use crate::config::Config;
use crate::config::fold;

/// What is known about the outside before any request: whom to believe and what nobody may send.
#[derive(Debug)]
pub struct Trust {
    pub(super) proxies: Vec<IpNet>,
    pub(super) headers_max: usize,
    warned: AtomicBool,
    identity: Names,
}

/// Names of headers, and by which bytes they begin: most names of a request begin with another.
#[derive(Debug)]
struct Names {
    names: HashSet<HeaderName>,
    initials: Vec<u8>,
}

impl Names {
    fn new(names: impl Iterator<Item = HeaderName>) -> Self {
        let names: HashSet<_> = names.collect();
        let initials = names.iter().filter_map(|name| name.as_str().bytes().next());
        let mut initials: Vec<_> = initials.collect();
        initials.sort_unstable();
        initials.dedup();
        Self { names, initials }
    }

    fn contains(&self, name: &HeaderName) -> bool {
        let initial = match name.as_str().bytes().next() {
            Some(b'_' | b'.') => b'-',
            Some(other) => other,
            None => return false,
        };
        self.initials.contains(&initial)
            && (self.names.contains(name)
                || is_folded_otherwise(name.as_str()) && {
                    let folded = fold(name.as_str());
                    self.names.iter().any(|own| own.as_str() == folded)
                })
    }
}

/// How many headers were dropped on the way in, by reason.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dropped {
    /// Spellings of identity headers.
    pub identity: u64,
    /// Forwarding headers of strangers, and what else they write to be taken for something else.
    pub forwarding: u64,
    /// Names with a byte outside `A-Za-z0-9-`.
    pub unusual: u64,
}

impl Trust {
    /// The identity headers of all routes: none of them may come from outside on any route.
    pub fn new(config: &Config) -> Self {
        let routes = config.routes.iter();
        let identity = routes
            .flat_map(|route| route.identity.names())
            .cloned()
            .chain(DEFAULT_IDENTITY.map(HeaderName::from_static));
        Self {
            proxies: config.gateway.trusted_proxies.clone(),
            headers_max: config.connections.headers,
            warned: AtomicBool::new(false),
            identity: Names::new(identity),
        }
    }

    /// Says once that somebody who is not trusted sends `X-Forwarded-For`: most often it is the
    /// operator's own balancer, which then shares one limit by address with all its clients.
    pub(super) fn warn_of_unbelieved(&self, peer: IpAddr) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                client = %peer,
                "a peer sends X-Forwarded-For but is not in trusted_proxies, so it is not believed; \
                 said once"
            );
        }
    }

    /// Whether this header name, however it is spelt, would pass for an identity header: letters
    /// in any case (names are lower case here), `_` and `.` for `-`, repeated dashes.
    pub fn is_identity(&self, name: &HeaderName) -> bool {
        self.identity.contains(name)
    }
}

/// The headers of the preset "portcullis", never accepted from outside whatever is configured.
const DEFAULT_IDENTITY: [&str; 10] = [
    "x-auth-user",
    "x-auth-user-id",
    "x-auth-name",
    "x-auth-email",
    "x-auth-roles",
    "x-auth-scopes",
    "x-auth-session",
    "x-auth-method",
    "x-auth-client",
    "x-auth-assertion",
];

/// Removes what must not pass. Order matters nowhere: every header is judged on its own.
pub(super) fn strip(
    headers: &mut HeaderMap,
    unusual: &mut Vec<(HeaderName, HeaderValue)>,
    trust: &Trust,
    through_proxy: bool,
) -> Dropped {
    let mut dropped = Dropped::default();
    let mut trailers_welcome = false;
    let nominated = if headers.contains_key(header::CONNECTION) {
        nominated_by_connection(headers)
    } else {
        HashSet::new()
    };
    let mut doomed = Vec::new();
    for name in headers.keys() {
        let keep = match fate(name, trust, through_proxy) {
            Fate::Keep => nominated.is_empty() || !nominated.contains(name),
            Fate::HopByHop => {
                trailers_welcome |= name == header::TE && welcomes_trailers(headers);
                false
            }
            Fate::Identity => {
                dropped.identity += 1;
                false
            }
            Fate::Forwarding => {
                dropped.forwarding += 1;
                false
            }
            Fate::Unusual => {
                dropped.unusual += 1;
                if !nominated.contains(name) {
                    let values = headers.get_all(name).iter();
                    unusual.extend(values.map(|value| (name.clone(), value.clone())));
                }
                false
            }
        };
        if !keep {
            doomed.push(name.clone());
        }
    }
    for name in doomed {
        headers.remove(name);
    }
    if trailers_welcome {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    dropped
}

/// RFC 9110 §10.1.4: it is hop-by-hop, and yet what a client of gRPC tells its server.
fn welcomes_trailers(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::TE).iter();
    values.any(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"))
}

enum Fate {
    Keep,
    HopByHop,
    Identity,
    Forwarding,
    Unusual,
}

fn fate(name: &HeaderName, trust: &Trust, through_proxy: bool) -> Fate {
    if is_hop_by_hop(name) {
        return Fate::HopByHop;
    }
    if trust.is_identity(name) {
        return Fate::Identity;
    }
    if !name
        .as_str()
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        return Fate::Unusual;
    }
    if is_forwarding(name.as_str()) && !(through_proxy && is_continued(name.as_str())) {
        return Fate::Forwarding;
    }
    Fate::Keep
}

/// RFC 9110 §7.6.1, and what people send that means the same.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
            | "expect"
            | "host"
    )
}

/// What is taken over from a trusted proxy. Nothing else of the kind: proxies commonly pass on what a
/// stranger wrote into a header that they do not set themselves.
fn is_continued(name: &str) -> bool {
    matches!(
        name,
        "x-forwarded-for"
            | "x-forwarded-proto"
            | "x-forwarded-host"
            | "x-forwarded-port"
            | "x-forwarded-prefix"
            | "x-request-id"
            | "traceparent"
            | "tracestate"
            | "via"
    )
}

/// What strangers write to be taken for somebody, or for something, else.
fn is_forwarding(name: &str) -> bool {
    name.starts_with("x-forwarded-")
        || name.starts_with("x-original-")
        || name.starts_with("x-envoy-")
        || name.starts_with("x-ssl-client-")
        || matches!(
            name,
            "forwarded"
                | "x-forwarded"
                | "forwarded-for"
                | "x-real-ip"
                | "x-client-ip"
                | "client-ip"
                | "x-cluster-client-ip"
                | "x-originating-ip"
                | "x-remote-ip"
                | "x-remote-addr"
                | "true-client-ip"
                | "cf-connecting-ip"
                | "fastly-client-ip"
                | "fly-client-ip"
                | "cf-connecting-ipv6"
                | "wl-proxy-client-ip"
                | "x-proxyuser-ip"
                | "x-forward-for"
                | "x-azure-clientip"
                | "x-azure-socketip"
                | "x-scheme"
                | "x-url-scheme"
                | "front-end-https"
                | "x-host"
                | "x-http-host-override"
                | "x-rewrite-url"
                // Whoever ends TLS must not let these in (RFC 9440 §4).
                | "client-cert"
                | "client-cert-chain"
                | "x-client-cert"
                // CGI makes it HTTP_PROXY, where many an app looks for its proxy (CVE-2016-5385).
                | "proxy"
                | "x-request-id"
                | "traceparent"
                | "tracestate"
                | "via"
        )
}

/// Headers that `Connection` makes hop-by-hop. Nothing can be hidden this way: what we set is set
/// after this, and framing is not ours to keep.
pub(super) fn nominated_by_connection(headers: &HeaderMap) -> HashSet<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .collect()
}

/// Whether [`fold`] would change the name: hardly any needs the copy.
fn is_folded_otherwise(name: &str) -> bool {
    name.contains(['_', '.']) || name.contains("--")
}

#[cfg(test)]
mod tests {
    use proptest::proptest;

    use super::*;

    fn trust() -> Trust {
        let custom = HeaderName::from_static("x-webauth-user");
        let own = DEFAULT_IDENTITY.map(HeaderName::from_static);
        Trust {
            proxies: Vec::new(),
            headers_max: 100,
            warned: AtomicBool::new(false),
            identity: Names::new(own.into_iter().chain([custom])),
        }
    }

    fn stripped(lines: &[(&str, &str)], through_proxy: bool) -> (HeaderMap, Dropped) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let mut unusual = Vec::new();
        let dropped = strip(&mut headers, &mut unusual, &trust(), through_proxy);
        (headers, dropped)
    }

    // SECURITY 13
    #[test]
    fn every_spelling_of_an_identity_header_is_dropped() {
        for name in [
            "X-Auth-User",
            "x-auth-user",
            "X_Auth_User",
            "X.Auth.User",
            "x-auth_user",
            "X--Auth-User",
            "x-_auth.-user",
            "X-Auth-Assertion",
            "X-WebAuth-User",
            "x_webauth_user",
            "X-AUTH-ROLES",
        ] {
            let (left, dropped) =
                stripped(&[(name, "root"), (name, "root2"), ("accept", "*/*")], true);
            assert_eq!((left.len(), dropped.identity), (1, 1), "{name}");
        }
        let (left, dropped) = stripped(&[("x-auth-token", "app's own"), ("x-webauth", "1")], false);
        assert_eq!((left.len(), dropped.identity), (2, 0));
    }

    // SECURITY 13
    #[test]
    fn unusual_names_are_dropped_and_kept_aside() {
        let (left, dropped) = stripped(
            &[("api_key", "1"), ("a.b", "2"), ("a!b", "3"), ("ok-1", "4")],
            false,
        );
        assert_eq!((left.len(), dropped.unusual), (1, 3));
    }

    // SECURITY 15
    #[test]
    fn forwarding_headers_come_only_from_trusted_proxies() {
        let lines = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-user", "root"),
            ("forwarded", "for=1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
            ("x-original-url", "/admin"),
            ("true-client-ip", "1.1.1.1"),
            ("proxy", "http://1.1.1.1"),
            ("client-cert", ":MIIB:"),
        ];
        assert!(stripped(&lines, false).0.is_empty());
        let (left, _) = stripped(&lines, true);
        assert_eq!(left.keys().collect::<Vec<_>>(), ["x-forwarded-for"]);
    }

    #[test]
    fn hop_by_hop_and_nominated_headers_are_dropped() {
        let (left, _) = stripped(
            &[
                ("connection", "close, X-Secret"),
                ("connection", "keep-alive, é,X-Other"),
                ("x-secret", "1"),
                ("x-other", "1"),
                ("keep-alive", "5"),
                ("te", "trailers"),
                ("transfer-encoding", "chunked"),
                ("accept", "*/*"),
            ],
            false,
        );
        assert_eq!(left.len(), 2);
        assert_eq!(left.get("te").unwrap(), "trailers");
    }

    proptest! {
        // SECURITY 13
        #[test]
        fn no_spelling_gets_past(noise in proptest::collection::vec("[-_.]{1,3}", 2), upper in proptest::bool::ANY) {
            let spelling = format!("x{}auth{}user", noise[0], noise[1]);
            let spelling = if upper { spelling.to_uppercase() } else { spelling };
            assert!(stripped(&[(&spelling, "root")], true).0.is_empty());
        }
    }
}
