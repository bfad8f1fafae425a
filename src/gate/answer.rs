//! The answer on its way out: its body, and the line in the log when the last byte has left.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::Version;
use http_body::Body;
use http_body::Frame;
use http_body::SizeHint;

use crate::authenticate::Identity;
use crate::body::ResponseBody;
use crate::clock::Clock;
use crate::gate::grpc;
use crate::gate::host::Host;
use crate::gate::inbound::Inbound;
use crate::gate::inbound::Unclean;
use crate::gate::navigation::is_page;
use crate::gate::path::RequestPath;
use crate::gate::request_id::RequestId;
use crate::gate::resource::DescribedResource;
use crate::gate::route::Route;
use crate::gate::source::Address;
use crate::gate::streams::Lease;
use crate::gate::streams::SessionEnded;
use crate::gate::streams::Streams;
use crate::gate::tunnel::Tunnel;
use crate::telemetry::access::Decision;
use crate::telemetry::access::Entry;
use crate::telemetry::access::LocalLog;
use crate::telemetry::metrics::RouteMetrics;
use crate::upstream::GoBack;

/// The body of an answer. It keeps the request's record, which writes its line when the body is
/// dropped: at its end, or because the client went away.
#[derive(Debug)]
pub struct AnswerBody {
    kind: Kind,
    record: Option<Box<Record>>,
    lease: Option<Lease>,
}

#[derive(Debug)]
enum Kind {
    Bytes(Bytes),
    Upstream(ResponseBody<GoBack>),
    Own(axum::body::Body),
    Tunnel(Option<Box<Tunnel>>),
}

/// What the core that serves a request knows about logging.
#[derive(Debug)]
pub struct Scribe {
    /// The core's log.
    pub log: LocalLog,
    /// The clock.
    pub clock: Clock,
    /// For requests of our own endpoints.
    pub own: RouteMetrics,
    /// For requests without a route.
    pub unrouted: RouteMetrics,
}

/// What is learned about a request while it is decided.
#[derive(Debug, Default)]
pub struct Trail {
    /// Whether it is for an endpoint of ours.
    pub own: bool,
    /// Whether it is a preflight that the gate answers itself.
    pub preflight: bool,
    /// Whether its answer says that the host is for https only.
    pub hsts: bool,
    /// Whether its cookie is of a session that is dead, or of none.
    pub dead_cookie: bool,
    /// Whether its cookie says who calls.
    pub by_cookie: bool,
    /// Its route.
    pub route: Option<Arc<Route>>,
    /// Its caller.
    pub identity: Option<Identity>,
    /// From sending to the upstream to its response header.
    pub upstream: Option<Duration>,
}

/// Everything of a request that its line needs. The line is written when the record is dropped,
/// whatever became of the request: also when its client went away before there was an answer.
#[derive(Debug)]
pub struct Record {
    scribe: Rc<Scribe>,
    request_id: RequestId,
    source: Address,
    method: Method,
    host: Option<HeaderValue>,
    path: Path,
    version: Version,
    /// Of the request that is answered, which is not the one that is logged where that is only described.
    is_head: bool,
    is_call: bool,
    is_page: bool,
    received_at: Instant,
    /// What was learned.
    pub trail: Trail,
    decision: Decision,
    status: StatusCode,
    bytes: u64,
}

#[derive(Debug)]
enum Path {
    Checked(RequestPath),
    AsSent(String),
}

impl Record {
    /// Of a request that was understood.
    pub fn of<B>(scribe: &Rc<Scribe>, inbound: &Inbound<B>) -> Self {
        let (decision, status) = client_gone();
        Self {
            scribe: Rc::clone(scribe),
            request_id: inbound.request_id().clone(),
            source: inbound.source().address.clone(),
            method: inbound.method().clone(),
            host: Some(inbound.host().sent().clone()),
            path: Path::Checked(inbound.path().clone()),
            version: inbound.version(),
            is_head: inbound.method() == Method::HEAD,
            is_call: grpc::is_call(inbound.method(), inbound.version(), inbound.headers()),
            is_page: is_page(inbound.headers()),
            received_at: inbound.received_at(),
            trail: Trail::default(),
            decision,
            status,
            bytes: 0,
        }
    }

    /// Of a request that another one describes, which is the one that is answered: with the status of
    /// HTTP, for it is a proxy that asks, whatever its client speaks.
    pub fn of_described(scribe: &Rc<Scribe>, inbound: &Inbound<()>, asked_by: &Method) -> Self {
        let mut record = Self::of(scribe, inbound);
        record.is_head = asked_by == Method::HEAD;
        record.is_call = false;
        record
    }

    /// Of a request that was not.
    pub fn of_unclean(scribe: &Rc<Scribe>, unclean: Unclean) -> Self {
        let (decision, status) = client_gone();
        Self {
            scribe: Rc::clone(scribe),
            request_id: unclean.request_id,
            source: unclean.source.address,
            method: unclean.method,
            host: None,
            path: Path::AsSent(unclean.path),
            version: unclean.version,
            is_head: unclean.is_head,
            is_call: unclean.is_call,
            is_page: unclean.is_page,
            received_at: Instant::now(),
            trail: Trail::default(),
            decision,
            status,
            bytes: 0,
        }
    }

    /// The request's id.
    pub fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    /// Whether it is for this resource. One that was not understood is for none.
    pub fn is_for(&self, resource: &DescribedResource) -> bool {
        let host = self.host.as_ref().and_then(Host::parse);
        match (host, &self.path) {
            (Some(host), Path::Checked(path)) => resource.covers(host.name(), path.as_str()),
            _ => false,
        }
    }

    /// Whether it asks for a header without its content.
    pub fn is_head(&self) -> bool {
        self.is_head
    }

    /// Whether it is a call of gRPC, which is refused in words of its own.
    pub fn is_call(&self) -> bool {
        self.is_call
    }

    /// Whether a browser shows the answer to somebody, as a page.
    pub fn is_page(&self) -> bool {
        self.is_page
    }

    /// Notes that the answer broke off, or that what it began was ended.
    pub fn end(&mut self, decision: Decision) {
        self.decision = decision;
    }

    /// Notes that so many bytes more went to the client.
    pub fn count(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Notes how the request was answered.
    pub fn conclude(&mut self, decision: Decision, status: StatusCode) {
        self.decision = decision;
        self.status = status;
    }
}

/// What became of a request that nobody concluded: its client went away before there was an answer.
pub(super) const CLIENT_GONE: Decision = Decision {
    verdict: "client_gone",
    reason: "",
};

/// No RFC has a status for it; this is the one that nginx made common.
fn client_gone() -> (Decision, StatusCode) {
    let status = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
    (CLIENT_GONE, status)
}

impl Drop for Record {
    fn drop(&mut self) {
        let Trail {
            own,
            preflight: _,
            hsts: _,
            dead_cookie: _,
            by_cookie: _,
            route,
            identity,
            upstream,
        } = &self.trail;
        let duration = self.received_at.elapsed();
        let metrics = match route {
            Some(route) => route.metrics(),
            None if *own => &self.scribe.own,
            None => &self.scribe.unrouted,
        };
        metrics.record(
            &self.method,
            self.status,
            self.decision,
            duration,
            *upstream,
        );
        let host = self.host.as_ref().and_then(|host| host.to_str().ok());
        self.scribe.log.write(&Entry {
            time: self.scribe.clock.now(),
            request_id: self.request_id.as_str(),
            source: Some(self.source.as_str()),
            method: &self.method,
            host: host.unwrap_or_default(),
            path: match &self.path {
                Path::Checked(path) => path.as_str(),
                Path::AsSent(path) => path,
            },
            protocol: self.version,
            route: route
                .as_deref()
                .map(|route| &**route.name())
                .unwrap_or_default(),
            user: identity.as_ref().map(Identity::subject),
            session: identity.as_ref().map(Identity::session),
            decision: self.decision,
            status: self.status,
            duration,
            upstream: *upstream,
            bytes: self.bytes,
        });
    }
}

impl AnswerBody {
    /// What an upstream answers.
    pub fn upstream(body: ResponseBody<GoBack>) -> Self {
        Self::of(Kind::Upstream(body))
    }

    /// What an endpoint of ours answers.
    pub fn own(body: axum::body::Body) -> Self {
        Self::of(Kind::Own(body))
    }

    /// Nothing, and then a WebSocket.
    pub fn tunnel(tunnel: Tunnel) -> Self {
        Self::of(Kind::Tunnel(Some(Box::new(tunnel))))
    }

    /// Nothing.
    pub fn empty() -> Self {
        Self::from(String::new())
    }

    /// With the record that ends with it, and the session that it ends with.
    pub fn recorded(mut self, record: Box<Record>, streams: &Rc<Streams>) -> Self {
        let known = record.trail.identity.as_ref();
        let lease = known.map(|identity| Lease::new(streams, identity));
        if let Kind::Tunnel(Some(tunnel)) = &mut self.kind {
            tunnel.bind(record, lease);
        } else {
            (self.record, self.lease) = (Some(record), lease);
        }
        self
    }

    /// Takes away the content that the gateway made itself, where there is any: how long it was.
    pub fn take_content(&mut self) -> Option<usize> {
        match &mut self.kind {
            Kind::Bytes(bytes) if !bytes.is_empty() => Some(std::mem::take(bytes).len()),
            Kind::Bytes(_) | Kind::Upstream(_) | Kind::Own(_) | Kind::Tunnel(_) => None,
        }
    }

    /// Whether a tunnel begins behind this answer.
    pub fn is_tunnel(&self) -> bool {
        matches!(self.kind, Kind::Tunnel(_))
    }

    /// The tunnel that begins once this answer, which has no body, was sent.
    pub fn take_tunnel(&mut self) -> Option<Box<Tunnel>> {
        match &mut self.kind {
            Kind::Tunnel(tunnel) => tunnel.take(),
            Kind::Bytes(_) | Kind::Upstream(_) | Kind::Own(_) => None,
        }
    }

    fn of(kind: Kind) -> Self {
        Self {
            kind,
            record: None,
            lease: None,
        }
    }

    /// Where the caller may not go on: what it ends with, which is an error or, for a call of gRPC,
    /// trailers that say so.
    pub fn cut(&mut self, context: &Context<'_>) -> Option<Result<Frame<Bytes>, SessionEnded>> {
        let reason = self.lease.as_mut()?.wait(context)?;
        self.lease = None;
        self.kind = Kind::Bytes(Bytes::new());
        let record = self.record.as_mut()?;
        record.end(Decision {
            verdict: "ended",
            reason,
        });
        Some(if record.is_call() {
            Ok(Frame::trailers(grpc::session_ended()))
        } else {
            Err(SessionEnded)
        })
    }
}

impl From<String> for AnswerBody {
    fn from(text: String) -> Self {
        Self::of(Kind::Bytes(Bytes::from(text)))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let polled = match &mut this.kind {
            Kind::Tunnel(_) => Poll::Ready(None),
            Kind::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Upstream(body) => Pin::new(body)
                .poll_frame(context)
                .map_err(Self::Error::from),
            Kind::Own(body) => Pin::new(body)
                .poll_frame(context)
                .map_err(Self::Error::from),
        };
        let data = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.data_ref().map_or(0, Bytes::len),
            Poll::Ready(_) | Poll::Pending => 0,
        };
        // More than one piece: a client that reads slowly may make it last.
        let sent = this.record.as_ref().map_or(0, |record| record.bytes);
        // An app that breaks off may do so because the caller's own upload has just been ended.
        let is_broken = matches!(polled, Poll::Ready(Some(Err(_))));
        if (polled.is_pending() || is_broken || (data > 0 && sent > 0))
            && let Some(ended) = this.cut(context)
        {
            return Poll::Ready(Some(ended.map_err(Self::Error::from)));
        }
        if let Some(record) = &mut this.record {
            record.count(data as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Tunnel(_) => true,
            Kind::Bytes(bytes) => bytes.is_empty(),
            Kind::Upstream(body) => body.is_end_stream(),
            Kind::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Tunnel(_) => SizeHint::with_exact(0),
            Kind::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Upstream(body) => body.size_hint(),
            Kind::Own(body) => body.size_hint(),
        }
    }
}
