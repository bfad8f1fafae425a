//! HTTP/2 to a target (RFC 9113): one connection carries the requests of many callers, each a stream of its
//! own, and more are opened only where all are full.
//!
//! A stream that is given up is reset, and its connection goes on. What one of them does not take must never
//! keep others waiting: a connection's window is as large as those of all its streams.

use std::cell::Cell;
use std::cell::RefCell;
use std::error::Error as _;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::HeaderValue;
use http::Request;
use http::Uri;
use http::header;
use http::uri::Authority;
use http::uri::PathAndQuery;
use http::uri::Scheme;
use http_body::Body as _;
use hyper::client::conn::http2::Builder;
use hyper::client::conn::http2::SendRequest;
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::Semaphore;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::body::RequestBody;
use crate::upstream::UpstreamError;
use crate::upstream::connection::Exchanged;
use crate::upstream::connection::in_time;
use crate::upstream::connection::is_framed_well;

/// How many streams one connection carries at most, however many its target would take.
const STREAMS_MAX: u32 = 100;

/// A response's header block, counted as RFC 9113 §6.5.2 does: 32 bytes a field more than HTTP/1.1.
const HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;

/// What a target may send on one stream before its client takes it.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// How much of a request's body waits for a target's window.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// How long a connection without a stream is kept. Closing it races with nothing: what the target did not
/// begin is known to be unsent (RFC 9113 §6.8).
const IDLE_MAX: Duration = Duration::from_secs(60);

/// How often a new connection is looked at until its target has greeted.
const GREETING_STEP: Duration = Duration::from_millis(1);

/// How long a connection with streams may be silent before it is asked whether it is still there, and how
/// long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The HTTP/2 connections to one target.
#[derive(Debug)]
pub(super) struct Sessions {
    open: RefCell<Vec<Rc<Session>>>,
    /// One is opened at a time: whoever waits meanwhile will mostly find room on it.
    opening: Semaphore,
}

/// One of them.
struct Session {
    sender: SendRequest<RequestBody>,
    /// How many streams the target takes; none until it has said so.
    streams_max: Box<dyn Fn() -> usize>,
    streams: Cell<usize>,
    used_at: Cell<Instant>,
    /// Its target takes no more of it.
    is_retired: Cell<bool>,
    scheme: Scheme,
    address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

/// A place for one request on a connection.
#[derive(Debug)]
pub(super) struct Stream {
    session: Rc<Session>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            open: RefCell::default(),
            opening: Semaphore::new(1),
        }
    }
}

impl Sessions {
    /// A place on an open connection that has one.
    pub(super) fn stream(&self) -> Option<Stream> {
        let open = self.open.borrow();
        let session = open.iter().find(|session| session.has_room())?;
        Some(Stream::on(session))
    }

    /// Leave to open another connection.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.opening.acquire().await.ok()
    }

    /// Speaks HTTP/2 over a stream from now on, and takes the first place.
    pub(super) async fn open(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        address: SocketAddr,
        scheme: Scheme,
        name: &str,
    ) -> io::Result<Stream> {
        let handshake = Builder::new(OnThisCore)
            .timer(TokioTimer::new())
            .initial_max_send_streams(0)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(STREAM_WINDOW_BYTES * STREAMS_MAX)
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(io::Error::other)?;
        // Both hold it, and it must be gone with its task: requests wait in it until it is.
        let connection = Rc::new(RefCell::new(Some(connection)));
        let streams_max = {
            let connection = Rc::clone(&connection);
            Box::new(move || {
                let connection = connection.borrow();
                let most = connection.as_ref().map(|it| it.current_max_send_streams());
                most.unwrap_or_default()
            })
        };
        let name = name.to_owned();
        let task = tokio::task::spawn_local(async move {
            let ended = poll_fn(|context| match &mut *connection.borrow_mut() {
                Some(connection) => Pin::new(connection).poll(context),
                None => Poll::Ready(Ok(())),
            });
            let ended = ended.await;
            connection.take();
            if let Err(error) = ended {
                tracing::debug!(upstream.name = %name, %error, "a connection to the upstream ended");
            }
        });
        let session = Rc::new(Session {
            sender,
            streams_max,
            streams: Cell::new(0),
            used_at: Cell::new(Instant::now()),
            is_retired: Cell::new(false),
            scheme,
            address,
            _task: AbortOnDropHandle::new(task),
        });
        session.greeted().await?;
        let stream = Stream::on(&session);
        self.open.borrow_mut().push(session);
        Ok(stream)
    }

    /// Closes connections that have been idle for too long, and forgets those that take no more or lead
    /// where the target is no longer: they end with their last stream.
    pub(super) fn sweep(&self, leads_there: impl Fn(SocketAddr) -> bool) {
        self.open.borrow_mut().retain(|session| {
            session.is_open() && !session.is_idle() && leads_there(session.address)
        });
    }
}

impl Session {
    /// Waits until the target has said how many streams it takes, which is the first that it says (RFC 9113
    /// §3.4): whoever sends more may have them refused, and one that says something else speaks no HTTP/2.
    /// hyper tells nobody when that is.
    async fn greeted(&self) -> io::Result<()> {
        while (self.streams_max)() == 0 {
            if self.sender.is_closed() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            sleep(GREETING_STEP).await;
        }
        Ok(())
    }

    fn is_open(&self) -> bool {
        !self.is_retired.get() && !self.sender.is_closed()
    }

    fn is_idle(&self) -> bool {
        self.streams.get() == 0 && self.used_at.get().elapsed() > IDLE_MAX
    }

    fn has_room(&self) -> bool {
        self.is_open() && self.streams.get() < (self.streams_max)().min(STREAMS_MAX as usize)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}

impl Stream {
    fn on(session: &Rc<Session>) -> Self {
        session.streams.set(session.streams.get() + 1);
        Self {
            session: Rc::clone(session),
        }
    }

    /// Sends one request and waits for the response's header. Whoever stops waiting resets the stream.
    pub(super) async fn exchange(
        &mut self,
        mut request: Box<Request<RequestBody>>,
        patience: Duration,
    ) -> Exchanged {
        let progress = request.body().progress();
        let is_all_sent = request.body().is_end_stream();
        if say_whole_target(&mut request, &self.session.scheme).is_none() {
            return Exchanged::BrokenOff(UpstreamError::Invalid);
        }
        let mut sender = self.session.sender.clone();
        let answer = pin!(sender.try_send_request(*request));
        let Some(answer) = in_time(answer, &progress, patience).await else {
            return if is_all_sent {
                Exchanged::Failed(UpstreamError::Timeout)
            } else {
                Exchanged::BrokenOff(UpstreamError::Timeout)
            };
        };
        let mut failed = match answer {
            Ok(response) if is_framed_well(response.headers()) => {
                progress.answered();
                return Exchanged::Answered(response);
            }
            Ok(_) => return Exchanged::Failed(UpstreamError::Invalid),
            Err(failed) => failed,
        };
        if let Some(mut unsent) = failed.take_message() {
            say_host(&mut unsent);
            return Exchanged::Unsent(Box::new(unsent));
        }
        let cause = h2_cause(failed.error());
        if cause.is_some_and(is_refusal) {
            self.session.is_retired.set(true);
            return Exchanged::Refused;
        }
        if progress.error().is_some() {
            Exchanged::BrokenOff(UpstreamError::Invalid)
        } else if cause.is_none_or(|cause| cause.is_io()) {
            Exchanged::Unanswered
        } else {
            Exchanged::Failed(UpstreamError::Invalid)
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let streams = &self.session.streams;
        streams.set(streams.get().saturating_sub(1));
        self.session.used_at.set(Instant::now());
    }
}

/// Spawns what hyper needs for a connection on the core that it belongs to.
#[derive(Clone, Copy, Debug)]
struct OnThisCore;

impl<F: Future<Output = ()> + 'static> Executor<F> for OnThisCore {
    fn execute(&self, future: F) {
        drop(tokio::task::spawn_local(future));
    }
}

/// What HTTP/2 itself says of a failure; nothing where the connection was lost.
fn h2_cause(error: &hyper::Error) -> Option<&h2::Error> {
    error.source()?.downcast_ref()
}

/// RFC 9113 §6.8 and §8.7: the target has not done anything about the request, and says so.
fn is_refusal(cause: &h2::Error) -> bool {
    let is_refused = cause.reason() == Some(h2::Reason::REFUSED_STREAM);
    cause.is_remote() && (is_refused || cause.is_go_away())
}

/// `Host` becomes `:authority` (RFC 9113 §8.3.1).
fn say_whole_target(request: &mut Request<RequestBody>, scheme: &Scheme) -> Option<()> {
    let host = request.headers_mut().remove(header::HOST)?;
    let authority = Authority::try_from(host.as_bytes()).ok()?;
    let target = request.uri().path_and_query().cloned();
    let uri = Uri::builder()
        .scheme(scheme.clone())
        .authority(authority)
        .path_and_query(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    *request.uri_mut() = uri.build().ok()?;
    Some(())
}

/// And `Host` again, for a connection that may speak HTTP/1.1.
fn say_host(request: &mut Request<RequestBody>) {
    let uri = std::mem::take(request.uri_mut()).into_parts();
    let host = uri
        .authority
        .and_then(|authority| HeaderValue::try_from(authority.as_str()).ok());
    if let Some(host) = host {
        request.headers_mut().insert(header::HOST, host);
    }
    let target = uri
        .path_and_query
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(target);
}
