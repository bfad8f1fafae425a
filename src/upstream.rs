//! Upstreams: named, each with its own pool of connections on each core.
//!
//! A connection belongs to one core from its first to its last byte, so nothing here is locked. At
//! most `connections` are open at once from a core; as many requests again may wait, and are refused
//! when they have waited for `connect_timeout` (SECURITY 53). A connection goes back to the pool only when
//! its response was read to the end (SECURITY 54).

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::client::conn::http1::SendRequest;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio::time::timeout_at;
use tokio_util::task::AbortOnDropHandle;

use crate::body::AtEnd;
use crate::body::Progress;
use crate::body::RequestBody;
use crate::body::ResponseBody;
use crate::config;
use crate::limiter::LimitKey;

/// How long an idle connection is kept: shorter than what servers commonly allow (Node, uvicorn and
/// Apache 5 s), because a request that meets a connection just being closed is lost.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// Header block of a response: more is not an answer but a leak.
const RESPONSE_HEADER_BYTES_MAX: usize = 64 * 1024;

/// Which side failed, and how: 502, 503 and 504 tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// No connection could be made.
    #[error("upstream_unreachable")]
    Unreachable,
    /// All connections were in use for too long.
    #[error("upstream_busy")]
    Busy,
    /// No response header in time.
    #[error("upstream_timeout")]
    Timeout,
    /// It closed, or what it said is not HTTP.
    #[error("upstream_invalid")]
    Invalid,
}

/// One upstream, as one core sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstream {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Arc<config::Upstream>,
    idle: RefCell<VecDeque<Idle>>,
    slots: Arc<Semaphore>,
    shares: Rc<Shares>,
    waiting: Cell<usize>,
    reachable: Cell<bool>,
}

#[derive(Debug)]
struct Idle {
    open: Open,
    since: Instant,
}

/// An open connection. Its task ends with it, whatever is still under way on it: a client that went
/// away, or an app that answered before it had read the request, holds nothing.
#[derive(Debug)]
struct Open {
    sender: SendRequest<RequestBody>,
    _task: AbortOnDropHandle<()>,
}

/// An open connection in use, and the slot that its use occupies.
#[derive(Debug)]
pub struct Link {
    open: Open,
    slot: OwnedSemaphorePermit,
}

/// A connection that speaks something else than HTTP now. It keeps its place for as long as it is open.
#[derive(Debug)]
pub struct Switched {
    /// Its bytes.
    pub upgraded: OnUpgrade,
    /// Its place, and its task.
    pub _link: Link,
    /// What its caller has of the connections.
    pub _share: Option<Share>,
}

/// What became of a request to switch protocols.
#[derive(Debug)]
pub enum Answer {
    /// The upstream answered as to any other request.
    Plain(Response<ResponseBody<GoBack>>),
    /// It agreed.
    Switched(Response<()>, Switched),
}

/// Puts a connection back when its response has been read to the end.
#[derive(Debug)]
pub struct GoBack {
    link: Link,
    upstream: Upstream,
}

impl Upstream {
    /// An upstream without connections.
    pub fn new(config: Arc<config::Upstream>) -> Self {
        Self {
            inner: Rc::new(Inner {
                slots: Arc::new(Semaphore::new(config.connections)),
                waiting: Cell::new(0),
                reachable: Cell::new(true),
                config,
                idle: RefCell::default(),
                shares: Rc::default(),
            }),
        }
    }

    /// Sends one request and waits for the response's header. A connection that turns out to be
    /// closed before a byte was sent is replaced; nothing that may have been sent is repeated.
    ///
    /// # Errors
    ///
    /// Where there is no response, or one that switches to a protocol nobody asked for (SECURITY 54).
    pub async fn send(
        &self,
        mut request: Request<RequestBody>,
        holder: Option<LimitKey>,
    ) -> Result<Response<ResponseBody<GoBack>>, UpstreamError> {
        let mut slot = match holder.filter(|_| !request.body().is_end_stream()) {
            Some(holder) => {
                let (slot, share) = self.share(&holder).await?;
                request.body_mut().hold(share);
                slot
            }
            None => self.slot().await?,
        };
        loop {
            let idle = self.take_idle();
            let is_new = idle.is_none();
            let open = match idle {
                Some(open) => open,
                // Boxed: it is rare, and would make every request's future larger.
                None => Box::pin(self.connect()).await?,
            };
            match self.exchange(Link { open, slot }, request).await? {
                Exchanged::Answered(response, link) => match self.plain(response, link) {
                    Answer::Plain(response) => return Ok(response),
                    Answer::Switched(..) => return Err(UpstreamError::Invalid),
                },
                Exchanged::Unsent(..) if is_new => return Err(UpstreamError::Invalid),
                Exchanged::Unsent(unsent, free) => (request, slot) = (unsent, free),
            }
        }
    }

    /// As [`Upstream::send`], for a request that asks for another protocol. Its connection is a new
    /// one, and stays its own.
    ///
    /// # Errors
    ///
    /// Where there is no response.
    pub async fn switch(
        &self,
        request: Request<RequestBody>,
        holder: Option<LimitKey>,
    ) -> Result<Answer, UpstreamError> {
        let (slot, share) = match holder {
            Some(holder) => self
                .share(&holder)
                .await
                .map(|(slot, share)| (slot, Some(share)))?,
            None => (self.slot().await?, None),
        };
        let open = self.connect().await?;
        match self.exchange(Link { open, slot }, request).await? {
            Exchanged::Answered(response, link) => Ok(match self.plain(response, link) {
                Answer::Switched(response, switched) => Answer::Switched(
                    response,
                    Switched {
                        _share: share,
                        ..switched
                    },
                ),
                plain @ Answer::Plain(_) => plain,
            }),
            Exchanged::Unsent(..) => Err(UpstreamError::Invalid),
        }
    }

    async fn exchange(
        &self,
        mut link: Link,
        request: Request<RequestBody>,
    ) -> Result<Exchanged, UpstreamError> {
        let progress = request.body().progress();
        let answer = pin!(link.open.sender.try_send_request(request));
        match self.in_time(answer, &progress).await? {
            Ok(response) if is_framed_well(response.headers()) => {
                progress.answered();
                Ok(Exchanged::Answered(response, link))
            }
            Ok(_) => Err(UpstreamError::Invalid),
            Err(mut failed) => match failed.take_message() {
                Some(unsent) => Ok(Exchanged::Unsent(unsent, link.slot)),
                None => Err(UpstreamError::Invalid),
            },
        }
    }

    /// Only a connection that goes on speaking HTTP may ever go back to the pool.
    fn plain(&self, mut response: Response<Incoming>, link: Link) -> Answer {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let upgraded = hyper::upgrade::on(&mut response);
            let switched = Switched {
                upgraded,
                _link: link,
                _share: None,
            };
            return Answer::Switched(response.map(drop), switched);
        }
        let go_back = GoBack {
            link,
            upstream: self.clone(),
        };
        let timeouts = &self.inner.config;
        let pause = if is_stream(&response) {
            timeouts.stream_idle_timeout
        } else {
            timeouts.idle_timeout
        };
        Answer::Plain(response.map(|body| ResponseBody::new(body, pause, go_back)))
    }

    /// `timeouts.response` counts from the last piece of the request's body: a long upload is not
    /// a slow answer.
    async fn in_time<T>(
        &self,
        mut answer: Pin<&mut impl Future<Output = T>>,
        progress: &Progress,
    ) -> Result<T, UpstreamError> {
        let patience = self.inner.config.response_timeout;
        let mut deadline = tokio::time::Instant::now() + patience;
        loop {
            if let Ok(answer) = timeout_at(deadline, answer.as_mut()).await {
                return Ok(answer);
            }
            let extended = progress.moved_at() + patience;
            if extended <= deadline {
                return Err(UpstreamError::Timeout);
            }
            deadline = extended;
        }
    }

    /// How long a stream may say nothing.
    pub fn stream_idle_timeout(&self) -> Duration {
        self.inner.config.stream_idle_timeout
    }

    /// Closes connections that have been idle for too long; the core calls this now and then.
    pub fn sweep(&self) {
        self.inner
            .idle
            .borrow_mut()
            .retain(|idle| idle.since.elapsed() < IDLE_MAX && !idle.open.sender.is_closed());
    }

    /// Leave to use one connection for as long as it pleases whoever uses it: for a body, which comes as
    /// slowly as it is sent, or a WebSocket. One holder keeps no more connections in this way than are left
    /// for all others (SECURITY 53); more wait until some of theirs are given back.
    async fn share(
        &self,
        holder: &LimitKey,
    ) -> Result<(OwnedSemaphorePermit, Share), UpstreamError> {
        let deadline = tokio::time::Instant::now() + self.inner.config.connect_timeout;
        loop {
            let slot = self.slot().await?;
            let left = self.inner.slots.available_permits();
            if let Some(share) = self.inner.shares.take(holder, left) {
                return Ok((slot, share));
            }
            drop(slot);
            let given_back = self.inner.shares.given_back.notified();
            let in_time = timeout_at(deadline, given_back).await;
            in_time.map_err(|_| UpstreamError::Busy)?;
        }
    }

    /// Leave to use one connection.
    async fn slot(&self) -> Result<OwnedSemaphorePermit, UpstreamError> {
        let slots = Arc::clone(&self.inner.slots);
        if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
            return Ok(slot);
        }
        // As many may wait as may be served: more would only wait in vain.
        let waiting = Waiting::begin(&self.inner.waiting);
        if waiting.of_all > self.inner.config.connections {
            return Err(UpstreamError::Busy);
        }
        timeout(self.inner.config.connect_timeout, slots.acquire_owned())
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or(UpstreamError::Busy)
    }

    /// The connection that was used last: its buffers are warm, and the others may grow old.
    fn take_idle(&self) -> Option<Open> {
        let mut idle = self.inner.idle.borrow_mut();
        while let Some(Idle { open, since }) = idle.pop_back() {
            if open.sender.is_ready() && since.elapsed() < IDLE_MAX {
                return Some(open);
            }
        }
        None
    }

    async fn connect(&self) -> Result<Open, UpstreamError> {
        let config = &self.inner.config;
        let authority = &config.authority;
        let host = authority.host().trim_matches(['[', ']']);
        let port = authority.port_u16().unwrap_or(80);
        let connecting = timeout(config.connect_timeout, TcpStream::connect((host, port)));
        let stream = connecting.await.unwrap_or_else(|late| Err(late.into()));
        let stream = self.note_reached(stream)?;
        // Without it small writes wait for acknowledgements; failing to set it only costs time.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(RESPONSE_HEADER_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| UpstreamError::Unreachable)?;
        let name = config.name.clone();
        let task = tokio::task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(upstream.name = %name, %error, "a connection to the upstream ended");
            }
        });
        Ok(Open {
            sender,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Logs when an upstream is lost and when it is back, not each request that meets it.
    fn note_reached(&self, stream: io::Result<TcpStream>) -> Result<TcpStream, UpstreamError> {
        let name = &self.inner.config.name;
        let was_reachable = self.inner.reachable.replace(stream.is_ok());
        match &stream {
            Ok(_) if !was_reachable => {
                tracing::info!(upstream.name = %name, "the upstream can be reached again");
            }
            Err(error) if was_reachable => {
                tracing::warn!(upstream.name = %name, %error, "cannot connect to the upstream");
            }
            Ok(_) | Err(_) => {}
        }
        stream.map_err(|_| UpstreamError::Unreachable)
    }

    fn keep(&self, open: Open) {
        self.inner.idle.borrow_mut().push_back(Idle {
            open,
            since: Instant::now(),
        });
    }
}

/// How many connections each holder keeps for as long as it pleases him.
#[derive(Debug, Default)]
struct Shares {
    held: RefCell<HashMap<LimitKey, usize>>,
    given_back: Notify,
}

impl Shares {
    /// However few are left.
    const ALWAYS_GRANTED: usize = 4;

    fn take(self: &Rc<Self>, holder: &LimitKey, left: usize) -> Option<Share> {
        let mut held = self.held.borrow_mut();
        let count = held.entry(holder.clone()).or_default();
        if *count >= left.max(Self::ALWAYS_GRANTED) {
            return None;
        }
        *count += 1;
        Some(Share {
            holder: holder.clone(),
            shares: Rc::clone(self),
        })
    }
}

/// One of them. It comes back when it is dropped.
#[derive(Debug)]
pub struct Share {
    holder: LimitKey,
    shares: Rc<Shares>,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.held.borrow_mut();
        if let Some(count) = held.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.holder);
            }
        }
        self.shares.given_back.notify_waiters();
    }
}

/// Counts a request that waits for a slot, for as long as it does.
struct Waiting<'a> {
    all: &'a Cell<usize>,
    of_all: usize,
}

impl<'a> Waiting<'a> {
    fn begin(all: &'a Cell<usize>) -> Self {
        let of_all = all.get() + 1;
        all.set(of_all);
        Self { all, of_all }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.all.set(self.all.get().saturating_sub(1));
    }
}

/// Whether an answer has one end, and everybody finds the same (SECURITY 54, RFC 9112 §6.3): hyper takes
/// the last of several codings and forgets a length beside it, and a client might not. And it is no
/// larger than what is held for it.
fn is_framed_well(headers: &HeaderMap) -> bool {
    let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let framed = match (codings.next(), lengths.next()) {
        (None, None) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (None, Some(length)) => length.as_bytes().iter().all(u8::is_ascii_digit),
        (Some(_), Some(_)) => false,
    };
    framed
        && codings.next().is_none()
        && lengths.next().is_none()
        && headers.iter().map(bytes).sum::<usize>() <= RESPONSE_HEADER_BYTES_MAX
}

/// Events come when there are any.
fn is_stream<B>(response: &Response<B>) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.as_bytes().get(..EVENTS.len()));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(EVENTS))
}

/// What became of an attempt to send.
enum Exchanged {
    Answered(Response<Incoming>, Link),
    /// Not a byte of it was sent.
    Unsent(Request<RequestBody>, OwnedSemaphorePermit),
}

impl AtEnd for GoBack {
    fn at_end(self) {
        let Self { mut link, upstream } = self;
        if link.open.sender.is_ready() {
            upstream.keep(link.open);
            return;
        }
        // The response is complete but the request's body is perhaps not: the connection is good
        // again only when that is over, and it may hold its slot only for a moment.
        tokio::task::spawn_local(async move {
            let ready = timeout(Duration::from_secs(1), link.open.sender.ready()).await;
            if matches!(ready, Ok(Ok(()))) {
                upstream.keep(link.open);
            }
        });
    }
}
