//! From a raw request to an [`Inbound`]: checked, stripped, its source known.
//!
//! [`Inbound::new`] is the only door. What it lets through has one host, one path that means the
//! same to everybody, no hop-by-hop header, and no spelling of any identity header (SECURITY 13).

use std::collections::HashSet;
use std::time::Instant;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Version;
use http::header;
use http::request::Parts;
use hyper::body::Incoming;
use ipnet::IpNet;

use crate::config::IdentityHeaders;
use crate::gate::path::PathRefusal;
use crate::gate::path::RequestPath;
use crate::gate::request_id::RequestId;
use crate::gate::source::Connection;
use crate::gate::source::Source;

/// The name of the gateway's own session cookie, which no app ever sees and no app may set.
pub const SESSION_COOKIE: &str = "__Host-portcullis";

/// A request that has been checked and stripped.
#[derive(Debug)]
pub struct Inbound<B = Incoming> {
    method: Method,
    version: Version,
    path: RequestPath,
    host: Host,
    headers: HeaderMap,
    unusual: Vec<(HeaderName, HeaderValue)>,
    authorization: Option<HeaderValue>,
    connection: Connection,
    scheme: &'static str,
    source: Source,
    request_id: RequestId,
    received_at: Instant,
    dropped: Dropped,
    body: B,
}

/// What is known about the outside before any request: whom to believe and what nobody may send.
#[derive(Debug)]
pub struct Trust {
    proxies: Vec<IpNet>,
    identity: HashSet<HeaderName>,
}

/// How many headers were dropped on the way in, by reason.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dropped {
    /// Spellings of identity headers.
    pub identity: u64,
    /// Forwarding headers of strangers.
    pub forwarding: u64,
    /// Names with a byte outside `A-Za-z0-9-`.
    pub unusual: u64,
}

/// The host a request is for.
#[derive(Clone, Debug)]
pub struct Host {
    /// As sent: host and perhaps port.
    sent: HeaderValue,
    /// Lower case, without port and trailing dot: what routes are found by.
    name: String,
}

/// Why a request is a 400 (or 405) before anything else is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The path.
    #[error(transparent)]
    Path(#[from] PathRefusal),
    /// RFC 9112 §3.2.
    #[error("A request needs exactly one valid Host, the same as in an absolute request target.")]
    Host,
    /// CONNECT and TRACE are for proxies of another kind.
    #[error("CONNECT and TRACE are not served here.")]
    Method,
    /// RFC 9110 §11.6.2 knows one.
    #[error("A request may carry only one Authorization header.")]
    TwoCredentials,
    /// The other protocols are not carried yet.
    #[error("This version does not carry WebSocket connections.")]
    Upgrade,
}

impl Trust {
    /// `identity` are the headers of all routes: none of them may come from outside on any route.
    pub fn new<'a>(proxies: &[IpNet], identity: impl Iterator<Item = &'a IdentityHeaders>) -> Self {
        let identity = identity
            .flat_map(IdentityHeaders::names)
            .cloned()
            .chain(DEFAULT_IDENTITY.map(HeaderName::from_static))
            .collect();
        Self {
            proxies: proxies.to_vec(),
            identity,
        }
    }

    /// Whether this header name, however it is spelt, would pass for an identity header: letters
    /// in any case (names are lower case here), `_` and `.` for `-`, repeated dashes.
    pub fn is_identity(&self, name: &HeaderName) -> bool {
        self.identity.contains(name)
            || is_folded_otherwise(name.as_str()) && {
                let folded = fold(name.as_str());
                self.identity.iter().any(|own| own.as_str() == folded)
            }
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

impl<B> Inbound<B> {
    /// Checks and strips a request.
    ///
    /// # Errors
    ///
    /// With the source and id that the refusal is logged under.
    pub fn new(
        connection: Connection,
        request: Request<B>,
        trust: &Trust,
    ) -> Result<Self, (Malformed, Unclean)> {
        let (parts, body) = request.into_parts();
        let source = Source::resolve(connection.peer.ip(), &trust.proxies, &parts.headers);
        let request_id = RequestId::of(&source, &parts.headers);
        let checked = check(&parts);
        let Parts {
            method,
            uri,
            version,
            mut headers,
            ..
        } = parts;
        let (host, path) = match checked {
            Ok(checked) => checked,
            Err(malformed) => {
                let unclean = Unclean {
                    method,
                    path: uri.path().to_owned(),
                    version,
                    source,
                    request_id,
                };
                return Err((malformed, unclean));
            }
        };
        let authorization = headers.remove(header::AUTHORIZATION);
        let mut unusual = Vec::new();
        let dropped = strip(&mut headers, &mut unusual, trust, source.through_proxy);
        Ok(Self {
            method,
            version,
            path,
            host,
            scheme: scheme(&connection, &headers),
            headers,
            unusual,
            authorization,
            connection,
            source,
            request_id,
            received_at: Instant::now(),
            dropped,
            body,
        })
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The protocol version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The path, checked.
    pub fn path(&self) -> &RequestPath {
        &self.path
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The headers that are left.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Headers with unusual names, none of them an alias: only a route that lists one forwards it.
    pub fn unusual_headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.unusual
    }

    /// The `Authorization` header, kept apart so that it is forwarded only on purpose.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// The connection it came in on.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Who is held responsible.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Its id.
    pub fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    /// When its header was complete.
    pub fn received_at(&self) -> Instant {
        self.received_at
    }

    /// What was dropped.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// The scheme the client used: our own, or what a trusted proxy says.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Takes the headers out, to be completed and sent on.
    pub fn take_headers(&mut self) -> HeaderMap {
        std::mem::take(&mut self.headers)
    }

    /// What is left at the end.
    pub fn into_body(self) -> B {
        self.body
    }
}

/// Only from a trusted proxy has `X-Forwarded-Proto` got this far.
fn scheme(connection: &Connection, headers: &HeaderMap) -> &'static str {
    match headers.get("x-forwarded-proto").map(HeaderValue::as_bytes) {
        Some(b"https") => "https",
        Some(b"http") => "http",
        _ if connection.tls => "https",
        _ => "http",
    }
}

/// What is still known about a request that was refused as malformed: for its log line.
#[derive(Debug)]
pub struct Unclean {
    /// The method.
    pub method: Method,
    /// The path, as sent.
    pub path: String,
    /// The protocol version.
    pub version: Version,
    /// Who is held responsible.
    pub source: Source,
    /// Its id.
    pub request_id: RequestId,
}

impl Host {
    /// Reads `host[:port]` (RFC 3986 §3.2.2) without user information: a registered name of
    /// letters, digits, `-`, `_` and dots, an IPv4 address, or an IPv6 address in brackets.
    pub fn parse(sent: &HeaderValue) -> Option<Self> {
        let text = sent.to_str().ok()?;
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']')?;
                address.parse::<std::net::Ipv6Addr>().ok()?;
                (
                    text.get(..address.len() + 2)?,
                    after
                        .strip_prefix(':')
                        .or(after.is_empty().then_some("0"))?,
                )
            }
            None => text.split_once(':').unwrap_or((text, "0")),
        };
        let port_ok = port.parse::<u16>().is_ok() && port.bytes().all(|byte| byte.is_ascii_digit());
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        // `admin.example.com.` is the same host to DNS and must not fall to a wider one here.
        let name = name.strip_suffix('.').unwrap_or(name);
        let name_ok = name.starts_with('[')
            || (!name.is_empty()
                && name.len() <= 253
                && name.bytes().all(legal)
                && name.split('.').all(|label| !label.is_empty()));
        (port_ok && name_ok).then(|| Self {
            sent: sent.clone(),
            name: name.to_ascii_lowercase(),
        })
    }

    /// As sent.
    pub fn sent(&self) -> &HeaderValue {
        &self.sent
    }

    /// Lower case, without port and trailing dot.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port the client named.
    pub fn port(&self) -> Option<u16> {
        let text = self.sent.to_str().ok()?;
        let after = text.rsplit_once(':')?.1;
        after.parse().ok()
    }
}

fn check(parts: &Parts) -> Result<(Host, RequestPath), Malformed> {
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(Malformed::Method);
    }
    let host = host(parts)?;
    let target = parts
        .uri
        .path_and_query()
        .cloned()
        .ok_or(Malformed::Path(PathRefusal::NotAPath))?;
    let path = RequestPath::check(target)?;
    if parts
        .headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .nth(1)
        .is_some()
    {
        return Err(Malformed::TwoCredentials);
    }
    let upgrade = parts
        .headers
        .get(header::UPGRADE)
        .map(HeaderValue::as_bytes);
    if upgrade.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket")) {
        return Err(Malformed::Upgrade);
    }
    Ok((host, path))
}

/// RFC 9112 §3.2 and RFC 9113 §8.3.1: one host, and the same one wherever it is said (SECURITY 4).
fn host(parts: &Parts) -> Result<Host, Malformed> {
    let mut lines = parts.headers.get_all(header::HOST).iter();
    let (said, more) = (lines.next(), lines.next());
    let target = parts
        .uri
        .authority()
        .map(|authority| HeaderValue::from_str(authority.as_str()))
        .transpose()
        .map_err(|_| Malformed::Host)?;
    let same = |a: &HeaderValue, b: &HeaderValue| a.as_bytes().eq_ignore_ascii_case(b.as_bytes());
    let host = match (said, target, more) {
        (_, _, Some(_)) | (None, None, _) => None,
        (Some(said), None, None) => Host::parse(said),
        (None, Some(target), None) => Host::parse(&target),
        (Some(said), Some(target), None) if same(said, &target) => Host::parse(&target),
        (Some(_), Some(_), None) => None,
    };
    host.ok_or(Malformed::Host)
}

/// Removes what must not pass. Order matters nowhere: every header is judged on its own.
fn strip(
    headers: &mut HeaderMap,
    unusual: &mut Vec<(HeaderName, HeaderValue)>,
    trust: &Trust,
    through_proxy: bool,
) -> Dropped {
    let mut dropped = Dropped::default();
    let trailers_welcome = headers
        .get_all(header::TE)
        .iter()
        .any(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    let nominated = nominated_by_connection(headers);
    let mut doomed = Vec::new();
    for name in headers.keys() {
        let keep = match fate(name, trust, through_proxy) {
            Fate::Keep => !nominated.contains(name),
            Fate::HopByHop => false,
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
                unusual.extend(
                    headers
                        .get_all(name)
                        .iter()
                        .map(|value| (name.clone(), value.clone())),
                );
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
    strip_session_cookie(headers);
    dropped
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
    if !through_proxy && is_forwarding(name.as_str()) {
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

/// What only a trusted proxy may say about where a request comes from.
fn is_forwarding(name: &str) -> bool {
    name.starts_with("x-forwarded-")
        || name.starts_with("x-original-")
        || name.starts_with("x-envoy-")
        || matches!(
            name,
            "forwarded"
                | "x-forwarded"
                | "forwarded-for"
                | "x-real-ip"
                | "x-client-ip"
                | "client-ip"
                | "x-cluster-client-ip"
                | "true-client-ip"
                | "cf-connecting-ip"
                | "fastly-client-ip"
                | "x-rewrite-url"
                | "x-request-id"
                | "traceparent"
                | "tracestate"
                | "via"
        )
}

/// Headers that `Connection` makes hop-by-hop. Nothing can be hidden this way: what we set is set
/// after this, and framing is not ours to keep.
fn nominated_by_connection(headers: &HeaderMap) -> HashSet<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| HeaderName::try_from(token.trim()).ok())
        .collect()
}

/// Takes the gateway's own cookie out of `Cookie` (SECURITY 17); the others stay as they are.
fn strip_session_cookie(headers: &mut HeaderMap) {
    let ours = |pair: &str| {
        pair.split('=')
            .next()
            .is_some_and(|name| name.trim() == SESSION_COOKIE)
    };
    let holds_ours = headers
        .get_all(header::COOKIE)
        .iter()
        .any(|line| line.to_str().map_or(true, |line| line.split(';').any(ours)));
    if !holds_ours {
        return;
    }
    let kept: Vec<HeaderValue> = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .map(|line| {
            line.split(';')
                .filter(|pair| !ours(pair))
                .map(str::trim)
                .collect::<Vec<_>>()
                .join("; ")
        })
        .filter(|line| !line.is_empty())
        .filter_map(|line| HeaderValue::try_from(line).ok())
        .collect();
    headers.remove(header::COOKIE);
    for line in kept {
        headers.append(header::COOKIE, line);
    }
}

/// Whether [`fold`] would change the name: hardly any needs the copy.
fn is_folded_otherwise(name: &str) -> bool {
    name.contains(['_', '.']) || name.contains("--")
}

/// Every spelling that some server takes for the same header becomes one.
fn fold(name: &str) -> String {
    let mut folded = String::with_capacity(name.len());
    for character in name.chars() {
        let character = match character {
            '_' | '.' => '-',
            other => other.to_ascii_lowercase(),
        };
        if !(character == '-' && folded.ends_with('-')) {
            folded.push(character);
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use proptest::proptest;

    use super::*;

    fn trust() -> Trust {
        let custom = IdentityHeaders {
            user: Some(HeaderName::from_static("x-webauth-user")),
            ..IdentityHeaders::default()
        };
        Trust::new(&[], [custom].iter())
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
        ];
        assert!(stripped(&lines, false).0.is_empty());
        assert_eq!(stripped(&lines, true).0.len(), lines.len());
    }

    #[test]
    fn hop_by_hop_and_nominated_headers_are_dropped() {
        let (left, _) = stripped(
            &[
                ("connection", "close, X-Secret"),
                ("connection", "keep-alive"),
                ("x-secret", "1"),
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

    // SECURITY 17
    #[test]
    fn the_gateways_own_cookie_is_taken_out() {
        let cookies = |lines: &[(&str, &str)]| {
            let (left, _) = stripped(lines, false);
            left.get_all("cookie")
                .iter()
                .map(|v| v.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            cookies(&[("cookie", "a=1; __Host-portcullis=x; b=2")]),
            ["a=1; b=2"]
        );
        assert_eq!(
            cookies(&[("cookie", "__Host-portcullis=x")]),
            Vec::<String>::new()
        );
        assert_eq!(cookies(&[("cookie", "a=1;b=2")]), ["a=1;b=2"]);
        assert_eq!(
            cookies(&[("cookie", "a=1"), ("cookie", " __Host-portcullis =x")]),
            ["a=1"]
        );
    }

    #[test]
    fn hosts_have_one_form() {
        let name =
            |text: &str| Host::parse(&HeaderValue::from_str(text).unwrap()).map(|host| host.name);
        assert_eq!(
            name("App.Example.com:8443").as_deref(),
            Some("app.example.com")
        );
        assert_eq!(name("app.example.com.").as_deref(), Some("app.example.com"));
        assert_eq!(name("[::1]:80").as_deref(), Some("[::1]"));
        for bad in [
            "", "a b", "u@h", "h:", "h:x", "h:+1", "h:99999", "[::1", "[x]", "a..b", ".", "a/b",
            "h:1:2", "é",
        ] {
            assert_eq!(name(bad), None, "{bad:?}");
        }
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
