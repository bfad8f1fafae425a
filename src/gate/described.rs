//! From a forward-auth request to the request that it describes: a proxy (nginx, Traefik, Caddy, Envoy)
//! holds somebody's request back and asks what the gateway would say to it.
//!
//! Only the direct peer makes a caller, and only what a caller itself sets is read. What is missing,
//! said twice, or said in two ways is refused: whoever guesses here lets a stranger who writes the
//! same headers describe another request than the one that goes on to the app. The request that comes
//! out of it is as raw as any: [`Inbound::new`](crate::gate::inbound::Inbound::new) still has to check
//! and strip it.

use std::sync::Arc;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Uri;
use http::header;
use http::request::Parts;
use http::uri::PathAndQuery;
use ipnet::IpNet;

use crate::config::Config;
use crate::gate::source::Address;
use crate::gate::source::Connection;
use crate::gate::source::parse_entry;

/// Who may ask, and where.
#[derive(Clone, Debug)]
pub struct Callers {
    networks: Arc<[IpNet]>,
    /// `/auth/verify`
    path: Arc<str>,
}

/// How a caller describes a request, and with it what it makes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// `X-Original-URL` and `X-Original-Method`: nginx, to which everything but 2xx, 401 and 403 is a
    /// failure of its own.
    Original,
    /// `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri`: Traefik and Caddy. They relay every other
    /// answer than 2xx to the client.
    Forwarded,
    /// The request itself, without its body, below `verify/envoy`: Envoy, which relays as well.
    Prefixed,
}

/// What is asked about.
#[derive(Debug)]
pub(super) struct Described {
    /// Where the request would have come from, had it come here.
    pub(super) connection: Connection,
    /// As its client sent it, but for its body and what its proxy does not pass on.
    pub(super) request: Request<()>,
}

/// Why it is not clear what is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undescribed {
    /// No header of either kind.
    #[error(
        "No request is described: nginx has to set X-Original-URL and X-Original-Method; Traefik and \
         Caddy set X-Forwarded-Method, -Proto, -Host and -Uri; Envoy asks below verify/envoy."
    )]
    Nothing,
    /// A header that this kind of caller must set.
    #[error("{0} is missing; the proxy that asks has to set it.")]
    Missing(&'static str),
    /// Of two values nobody knows which is the proxy's.
    #[error(
        "{0} is there more than once; the proxy that asks has to replace what its client sent."
    )]
    Repeated(&'static str),
    /// Headers of another kind of caller as well.
    #[error(
        "{0} describes the request in another way than this caller does; the proxy that asks has to \
         take it out of what its client sent."
    )]
    Ambiguous(&'static str),
    /// A value that says nothing, or more than one thing.
    #[error("{0} cannot be read; it would have to be {1}.")]
    Unreadable(&'static str, &'static str),
}

const ORIGINAL_URL: &str = "x-original-url";
const ORIGINAL_METHOD: &str = "x-original-method";
const FORWARDED_METHOD: &str = "x-forwarded-method";
const FORWARDED_PROTO: &str = "x-forwarded-proto";
const FORWARDED_HOST: &str = "x-forwarded-host";
const FORWARDED_URI: &str = "x-forwarded-uri";
/// What Traefik and Caddy set all four of.
const FORWARDED: [&str; 4] = [
    FORWARDED_METHOD,
    FORWARDED_PROTO,
    FORWARDED_HOST,
    FORWARDED_URI,
];
const FORWARDED_FOR: &str = "x-forwarded-for";
const REAL_IP: &str = "x-real-ip";

/// Below `verify`: what Envoy puts in front of the paths of its requests.
const PREFIXED: &str = "/envoy";

impl Callers {
    /// None where there is no `[verify]`.
    pub fn new(config: &Config) -> Option<Self> {
        let verify = config.verify.as_ref()?;
        Some(Self {
            networks: verify.callers.clone().into(),
            path: format!("{}/verify", config.gateway.prefix).into(),
        })
    }

    /// How a request asks, if it does: it is for `verify` and its direct peer is a caller, whatever
    /// `X-Forwarded-For` says. To everybody else there is no such endpoint.
    pub(super) fn manner<B>(
        &self,
        connection: &Connection,
        request: &Request<B>,
    ) -> Option<Manner> {
        let rest = request.uri().path().strip_prefix(&*self.path)?;
        let below = rest.strip_prefix(PREFIXED);
        let is_below = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if !(rest.is_empty() || is_below)
            || request.method() == Method::CONNECT
            || !connection.peer.is_in(&self.networks)
        {
            return None;
        }
        let has = |name| request.headers().contains_key(name);
        Some(if is_below {
            Manner::Prefixed
        } else if has(ORIGINAL_URL) || has(ORIGINAL_METHOD) {
            Manner::Original
        } else {
            Manner::Forwarded
        })
    }

    /// The request that is described.
    ///
    /// # Errors
    ///
    /// Where it is not described, or not in one way only.
    pub(super) fn describe(
        &self,
        manner: Manner,
        mut parts: Parts,
    ) -> Result<Described, Undescribed> {
        let headers = &mut parts.headers;
        let peer = match manner {
            Manner::Original | Manner::Forwarded => last_hop(headers)?,
            // To what it asks with Envoy adds its own address, as the last one.
            Manner::Prefixed => {
                headers.remove(FORWARDED_FOR);
                address(REAL_IP, take(headers, REAL_IP)?.as_bytes())?
            }
        };
        let (tls, method, uri) = match manner {
            Manner::Original => {
                has_none_of(headers, &FORWARDED)?;
                let url = take(headers, ORIGINAL_URL)?;
                let (tls, host, target) = absolute(url.as_bytes())?;
                headers.insert(header::HOST, host);
                let method = method(headers, ORIGINAL_METHOD)?;
                (tls, method, Uri::from(target))
            }
            Manner::Forwarded => {
                if has_none_of(headers, &FORWARDED).is_ok() {
                    return Err(Undescribed::Nothing);
                }
                let method = method(headers, FORWARDED_METHOD)?;
                let tls = is_tls(headers)?;
                let host = take(headers, FORWARDED_HOST)?;
                headers.insert(header::HOST, host);
                let target = take(headers, FORWARDED_URI)?;
                let target = self::target(FORWARDED_URI, target.as_bytes())?;
                (tls, method, Uri::from(target))
            }
            Manner::Prefixed => {
                let others = [
                    ORIGINAL_URL,
                    ORIGINAL_METHOD,
                    FORWARDED_METHOD,
                    FORWARDED_HOST,
                    FORWARDED_URI,
                ];
                has_none_of(headers, &others)?;
                let tls = is_tls(headers)?;
                let uri = self.without_prefix(parts.uri)?;
                (tls, parts.method, uri)
            }
        };
        announce_websocket(headers);
        let mut request = Request::new(());
        *request.version_mut() = parts.version;
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = parts.headers;
        Ok(Described {
            connection: Connection {
                peer,
                tls,
                // The one that was shown here is the proxy's own.
                certificate: None,
            },
            request,
        })
    }

    /// Byte for byte what is behind the prefix.
    fn without_prefix(&self, uri: Uri) -> Result<Uri, Undescribed> {
        const MISSING: Undescribed = Undescribed::Missing("The path behind verify/envoy");
        let mut parts = uri.into_parts();
        let whole = parts.path_and_query.take().ok_or(MISSING)?;
        let rest = whole.as_str().strip_prefix(&*self.path);
        let rest = rest.and_then(|rest| rest.strip_prefix(PREFIXED));
        let rest = rest.filter(|rest| rest.starts_with('/')).ok_or(MISSING)?;
        let target = PathAndQuery::try_from(rest).map_err(|_| MISSING)?;
        parts.path_and_query = Some(target);
        Uri::from_parts(parts).map_err(|_| MISSING)
    }
}

/// The one value of a header, which nobody behind this is to see.
fn take(headers: &mut HeaderMap, name: &'static str) -> Result<HeaderValue, Undescribed> {
    let mut values = headers.get_all(name).iter();
    match (values.next().cloned(), values.next()) {
        (None, _) => Err(Undescribed::Missing(name)),
        (Some(_), Some(_)) => Err(Undescribed::Repeated(name)),
        (Some(value), None) => {
            headers.remove(name);
            Ok(value)
        }
    }
}

fn has_none_of(headers: &HeaderMap, others: &[&'static str]) -> Result<(), Undescribed> {
    match others.iter().find(|name| headers.contains_key(**name)) {
        Some(name) => Err(Undescribed::Ambiguous(name)),
        None => Ok(()),
    }
}

/// Whom the proxy has a connection with: the entry of `X-Forwarded-For` that it added itself, which is
/// the last. The others stay, for whoever believes that one.
fn last_hop(headers: &mut HeaderMap) -> Result<Address, Undescribed> {
    let chain = take(headers, FORWARDED_FOR)?;
    let chain = chain.as_bytes();
    let comma = chain.iter().rposition(|byte| *byte == b',');
    let (before, last) = match comma.and_then(|at| Some((chain.get(..at)?, chain.get(at + 1..)?))) {
        Some((before, last)) => (Some(before), last),
        None => (None, chain),
    };
    let address = address(FORWARDED_FOR, last)?;
    if let Some(Ok(before)) = before.map(HeaderValue::from_bytes) {
        headers.insert(FORWARDED_FOR, before);
    }
    Ok(address)
}

fn address(name: &'static str, text: &[u8]) -> Result<Address, Undescribed> {
    let text = std::str::from_utf8(text).ok();
    let address = text.and_then(parse_entry).map(Address::new);
    address.ok_or(Undescribed::Unreadable(
        name,
        "the address of the proxy's client",
    ))
}

fn method(headers: &mut HeaderMap, name: &'static str) -> Result<Method, Undescribed> {
    let method = take(headers, name)?;
    Method::from_bytes(method.as_bytes())
        .map_err(|_| Undescribed::Unreadable(name, "a method, such as GET"))
}

/// A proxy may call the scheme of a WebSocket by its own name (RFC 6455 §3).
fn is_tls(headers: &mut HeaderMap) -> Result<bool, Undescribed> {
    match take(headers, FORWARDED_PROTO)?.as_bytes() {
        b"https" | b"wss" => Ok(true),
        b"http" | b"ws" => Ok(false),
        _ => Err(Undescribed::Unreadable(FORWARDED_PROTO, "http or https")),
    }
}

/// `https://app.example.com/path?query`. The usual port says what the scheme says.
fn absolute(url: &[u8]) -> Result<(bool, HeaderValue, PathAndQuery), Undescribed> {
    const WRONG: Undescribed = Undescribed::Unreadable(
        ORIGINAL_URL,
        "a URL with scheme, host and path: $scheme://$host$request_uri",
    );
    let url = std::str::from_utf8(url).map_err(|_| WRONG)?;
    let (tls, port, rest) = match url.split_once("://").ok_or(WRONG)? {
        ("https", rest) => (true, ":443", rest),
        ("http", rest) => (false, ":80", rest),
        _ => return Err(WRONG),
    };
    let (host, target) = rest
        .split_at_checked(rest.find('/').ok_or(WRONG)?)
        .ok_or(WRONG)?;
    let host = host.strip_suffix(port).unwrap_or(host);
    let host = HeaderValue::from_str(host).map_err(|_| WRONG)?;
    Ok((tls, host, self::target(ORIGINAL_URL, target.as_bytes())?))
}

/// Nothing may be lost in reading it: what is behind a `#` would go on to the app all the same.
fn target(name: &'static str, text: &[u8]) -> Result<PathAndQuery, Undescribed> {
    let target = PathAndQuery::try_from(text).ok();
    let is_whole =
        |target: &PathAndQuery| text.starts_with(b"/") && target.as_str().as_bytes() == text;
    target
        .filter(is_whole)
        .ok_or(Undescribed::Unreadable(name, "a path, without '#'"))
}

/// Proxies keep `Upgrade` to themselves. Whoever sends a key or a version asks for a WebSocket (RFC 6455
/// §4.1), and for that a cookie has to do with more than for a GET. Over HTTP/2 there is no key (RFC 8441 §5),
/// and a proxy may make a GET of the CONNECT before it asks.
fn announce_websocket(headers: &mut HeaderMap) {
    const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
    const UPGRADE: HeaderValue = HeaderValue::from_static("Upgrade");
    // Nothing is opened from here, so that nobody ever answers it.
    const ANY_KEY: HeaderValue = HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA==");
    if headers.contains_key(header::SEC_WEBSOCKET_KEY)
        || headers.contains_key(header::SEC_WEBSOCKET_VERSION)
    {
        headers.insert(header::UPGRADE, WEBSOCKET);
        headers.insert(header::CONNECTION, UPGRADE);
        let key = headers.entry(header::SEC_WEBSOCKET_KEY);
        key.or_insert(ANY_KEY);
    }
}

/// The reason of a refusal, for callers that cannot be told by its status.
pub(super) const REASON: HeaderName = HeaderName::from_static("x-auth-reason");

#[cfg(test)]
mod tests;
