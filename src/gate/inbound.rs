//! From a raw request to an [`Inbound`]: checked, stripped, its source known.
//!
//! [`Inbound::new`] is the only door. What it lets through has one host, one path that means the
//! same to everybody, no hop-by-hop header, and no spelling of any identity header (SECURITY 13).

use std::rc::Rc;
use std::time::Instant;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Version;
use http::header;
use http::request::Parts;
use hyper::upgrade::OnUpgrade;

use crate::body::ClientBody;
use crate::gate::certificate::ClientCertificate;
use crate::gate::cookie::take_own_cookies;
use crate::gate::grpc;
use crate::gate::host::Host;
use crate::gate::navigation::is_page;
use crate::gate::path::PathRefusal;
use crate::gate::path::RequestPath;
use crate::gate::request_id::RequestId;
use crate::gate::request_id::RequestIds;
use crate::gate::source::Connection;
use crate::gate::source::Source;
use crate::gate::strip::Dropped;
use crate::gate::strip::Trust;
use crate::gate::strip::strip;
use crate::gate::websocket;
use crate::gate::websocket::Handshake;
use crate::gate::websocket::NoHandshake;
use crate::token::cookie::OwnCookies;

/// A request that has been checked and stripped.
#[derive(Debug)]
pub struct Inbound<B = ClientBody> {
    method: Method,
    version: Version,
    path: RequestPath,
    host: Host,
    headers: HeaderMap,
    unusual: Vec<(HeaderName, HeaderValue)>,
    authorization: Option<HeaderValue>,
    cookies: OwnCookies,
    is_brought: bool,
    scheme: &'static str,
    source: Source,
    certificate: Option<Rc<ClientCertificate>>,
    request_id: RequestId,
    received_at: Instant,
    dropped: Dropped,
    is_handshake: bool,
    websocket: Option<WebSocket>,
    body: B,
}

/// A handshake, and the client's end of what it may open.
#[derive(Debug)]
pub struct WebSocket {
    /// What was said.
    pub handshake: Handshake,
    /// The connection, once the answer has been sent.
    pub client: OnUpgrade,
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
    /// hyper takes any list of codings that ends with `chunked`, and decodes that last one alone.
    #[error("The one Transfer-Encoding that is understood here is a single \"chunked\".")]
    TransferEncoding,
    /// [`TARGET_BYTES_MAX`].
    #[error("The request target is longer than 16 KiB.")]
    TargetTooLong,
    /// `connections.headers`: hyper counts those of HTTP/1.1, and nobody those of HTTP/2.
    #[error("The request has more header lines than are allowed here.")]
    TooManyHeaders,
    /// CONNECT and TRACE are for proxies of another kind.
    #[error("CONNECT and TRACE are not served here.")]
    Method,
    /// RFC 9110 §11.6.2 knows one.
    #[error("A request may carry only one access token, and only one Authorization header.")]
    TwoCredentials,
    /// A WebSocket that cannot be.
    #[error(transparent)]
    NoHandshake(#[from] NoHandshake),
}

/// The longest request target. What is behind us commonly takes 8 KiB (Apache, nginx) or 16 KiB (Node).
const TARGET_BYTES_MAX: usize = 16 * 1024;

impl<B> Inbound<B> {
    /// Checks and strips a request. It is large and moves from step to step, hence the box.
    ///
    /// # Errors
    ///
    /// With the source and id that the refusal is logged under.
    pub fn new(
        connection: &Connection,
        request: Request<B>,
        trust: &Trust,
        ids: &RequestIds,
    ) -> Result<Box<Self>, (Malformed, Box<Unclean>)> {
        let (mut parts, body) = request.into_parts();
        let source = Source::resolve(&connection.peer, &trust.proxies, &parts.headers);
        let request_id = ids.name(&source, &parts.headers);
        if !source.through_proxy && parts.headers.contains_key("x-forwarded-for") {
            trust.warn_of_unbelieved(source.address.ip());
        }
        let checked = check(&mut parts, trust);
        let Parts {
            method,
            uri,
            version,
            mut headers,
            mut extensions,
            ..
        } = parts;
        let (host, path, handshake) = match checked {
            Ok(checked) => checked,
            Err(malformed) => {
                let unclean = Unclean {
                    is_head: method == Method::HEAD,
                    is_call: grpc::is_call(&method, version, &headers),
                    is_page: is_page(&headers),
                    method,
                    path: uri.path().to_owned(),
                    version,
                    source,
                    request_id,
                };
                return Err((malformed, Box::new(unclean)));
            }
        };
        let authorization = headers.remove(header::AUTHORIZATION);
        if handshake.is_none() {
            // It means nothing without one, and may hold a token all the same.
            headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
        }
        let is_brought = handshake.as_ref().is_some_and(Handshake::brings_token);
        let cookies = take_own_cookies(&mut headers);
        let mut unusual = Vec::new();
        let dropped = strip(&mut headers, &mut unusual, trust, source.through_proxy);
        Ok(Box::new(Self {
            method,
            version,
            path,
            host,
            scheme: scheme(connection, source.through_proxy, &headers),
            headers,
            unusual,
            authorization,
            cookies,
            is_brought,
            source,
            certificate: connection.certificate.clone(),
            request_id,
            received_at: Instant::now(),
            dropped,
            is_handshake: handshake.is_some(),
            websocket: handshake.and_then(|handshake| {
                let client = extensions.remove::<OnUpgrade>()?;
                Some(WebSocket { handshake, client })
            }),
            body,
        }))
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

    /// The `Authorization` header of a caller who means it for the app.
    pub fn authorization_for_app(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref().filter(|_| !self.is_brought)
    }

    /// The cookies of ours, which are never forwarded.
    pub fn own_cookies(&self) -> &OwnCookies {
        &self.cookies
    }

    /// Who is held responsible.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The certificate that the client proved to have.
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.as_deref()
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

    /// Whether it came as an extended CONNECT (RFC 8441), to which a success means that a WebSocket is open.
    pub fn is_extended_connect(&self) -> bool {
        let websocket = self.websocket.as_ref();
        websocket.is_some_and(|websocket| websocket.handshake.is_extended_connect())
    }

    /// Whether it asks for a WebSocket, also where nobody here could open one.
    pub fn is_handshake(&self) -> bool {
        self.is_handshake
    }

    /// Takes the handshake out, where there is one.
    pub fn take_websocket(&mut self) -> Option<WebSocket> {
        self.websocket.take()
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

/// Only a trusted proxy is asked what its client used.
fn scheme(connection: &Connection, through_proxy: bool, headers: &HeaderMap) -> &'static str {
    let told = through_proxy
        .then(|| headers.get("x-forwarded-proto"))
        .flatten();
    match told.map(HeaderValue::as_bytes) {
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
    /// Whether what is answered asks for a header without its content.
    pub is_head: bool,
    /// Whether it is a call of gRPC.
    pub is_call: bool,
    /// Whether a browser shows the answer to somebody, as a page.
    pub is_page: bool,
    /// Who is held responsible.
    pub source: Source,
    /// Its id.
    pub request_id: RequestId,
}

fn check(
    parts: &mut Parts,
    trust: &Trust,
) -> Result<(Host, RequestPath, Option<Handshake>), Malformed> {
    if parts.headers.len() > trust.headers_max {
        return Err(Malformed::TooManyHeaders);
    }
    check_transfer_encoding(&parts.headers)?;
    let is_extended_connect = websocket::is_extended_connect(parts);
    if !is_extended_connect && matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(Malformed::Method);
    }
    let host = host(parts)?;
    let target = parts
        .uri
        .path_and_query()
        .cloned()
        .ok_or(Malformed::Path(PathRefusal::NotAPath))?;
    if target.as_str().len() > TARGET_BYTES_MAX {
        return Err(Malformed::TargetTooLong);
    }
    let path = RequestPath::check(target)?;
    let mut handshake = Handshake::read(parts)?;
    if is_extended_connect {
        // To routes and to the app it is what it would be over HTTP/1.1.
        parts.method = Method::GET;
    }
    let brought = handshake
        .as_mut()
        .map(|it| it.take_token(&mut parts.headers));
    for token in brought.unwrap_or_default() {
        parts.headers.append(header::AUTHORIZATION, token);
    }
    let mut credentials = parts.headers.get_all(header::AUTHORIZATION).iter();
    if credentials.nth(1).is_some() {
        return Err(Malformed::TwoCredentials);
    }
    Ok((host, path, handshake))
}

/// RFC 9112 §6.1 (SECURITY 2): the body of `gzip, chunked` would go on as gzip that nobody is told of.
fn check_transfer_encoding(headers: &HeaderMap) -> Result<(), Malformed> {
    let mut lines = headers.get_all(header::TRANSFER_ENCODING).iter();
    let (coding, more) = (lines.next(), lines.next());
    let is_chunked =
        |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked") && more.is_none();
    if coding.is_none_or(is_chunked) {
        Ok(())
    } else {
        Err(Malformed::TransferEncoding)
    }
}

/// RFC 9112 §3.2 and RFC 9113 §8.3.1: one host, and the same one wherever it is said (SECURITY 4).
/// Only HTTP/2 may leave `Host` out, for `:authority`.
fn host(parts: &Parts) -> Result<Host, Malformed> {
    if !matches!(parts.uri.scheme_str(), None | Some("https" | "http")) {
        return Err(Malformed::Host);
    }
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
        (None, Some(target), None) if parts.version == Version::HTTP_2 => Host::parse(&target),
        (Some(said), Some(target), None) if same(said, &target) => Host::parse(&target),
        (_, Some(_), None) => None,
    };
    host.ok_or(Malformed::Host)
}
