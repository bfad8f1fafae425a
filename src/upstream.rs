//! Upstreams: named, each with targets, and on each core with its own connections to them.
//!
//! A connection belongs to one core from its first to its last byte, so nothing here is locked. At
//! most `connections` are open at once from a core; as many requests again may wait, and are refused
//! when they have waited for `connect_timeout` (SECURITY 53). A connection goes back to the pool only when
//! its response was read to the end (SECURITY 54).

mod connection;
mod http2;
mod shares;
mod target;
pub mod tls;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio::time::timeout_at;

use crate::body::AtEnd;
use crate::body::RequestBody;
use crate::body::ResponseBody;
use crate::config;
use crate::limiter::LimitKey;
use crate::upstream::connection::Connection;
use crate::upstream::connection::Exchanged;
pub use crate::upstream::shares::Share;
use crate::upstream::shares::Shares;
use crate::upstream::target::Target;
use crate::upstream::tls::Tls;

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
    targets: Vec<Rc<Target>>,
    slots: Arc<Semaphore>,
    shares: Rc<Shares>,
    waiting: Cell<usize>,
}

/// A connection in use, the target it leads to, and the slot that its use occupies.
#[derive(Debug)]
pub struct Link {
    connection: Connection,
    target: Rc<Target>,
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
}

impl Upstream {
    /// An upstream without connections.
    pub fn new(config: Arc<config::Upstream>, tls: Option<&Tls>) -> Self {
        let tls = tls.map(Tls::of_core);
        let targets = config.targets.iter();
        let targets = targets.map(|target| Rc::new(Target::new(&config, target, tls.clone())));
        Self {
            inner: Rc::new(Inner {
                targets: targets.collect(),
                slots: Arc::new(Semaphore::new(config.connections)),
                waiting: Cell::new(0),
                config,
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
        let slot = match holder.filter(|_| !request.body().is_end_stream()) {
            Some(holder) => {
                let (slot, share) = self.share(&holder).await?;
                request.body_mut().hold(share);
                slot
            }
            None => self.slot().await?,
        };
        let target = self.choose()?;
        loop {
            let idle = target.take_idle();
            let is_new = idle.is_none();
            let mut connection = match idle {
                Some(connection) => connection,
                // Boxed: it is rare, and would make every request's future larger.
                None => Box::pin(target.connect()).await?,
            };
            let patience = self.inner.config.response_timeout;
            match connection.exchange(request, patience).await? {
                Exchanged::Answered(response) => {
                    let link = Link {
                        connection,
                        target,
                        slot,
                    };
                    return match self.plain(response, link) {
                        Answer::Plain(response) => Ok(response),
                        Answer::Switched(..) => Err(UpstreamError::Invalid),
                    };
                }
                Exchanged::Unsent(_) if is_new => return Err(UpstreamError::Invalid),
                Exchanged::Unsent(unsent) => request = *unsent,
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
        let target = self.choose()?;
        let mut connection = target.connect_http1().await?;
        let patience = self.inner.config.response_timeout;
        let Exchanged::Answered(response) = connection.exchange(request, patience).await? else {
            return Err(UpstreamError::Invalid);
        };
        let link = Link {
            connection,
            target,
            slot,
        };
        Ok(match self.plain(response, link) {
            Answer::Switched(response, switched) => Answer::Switched(
                response,
                Switched {
                    _share: share,
                    ..switched
                },
            ),
            plain @ Answer::Plain(_) => plain,
        })
    }

    /// Which target gets the next request.
    fn choose(&self) -> Result<Rc<Target>, UpstreamError> {
        let target = self.inner.targets.first();
        target.cloned().ok_or(UpstreamError::Unreachable)
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
        let timeouts = &self.inner.config;
        let pause = if is_stream(&response) {
            timeouts.stream_idle_timeout
        } else {
            timeouts.idle_timeout
        };
        Answer::Plain(response.map(|body| ResponseBody::new(body, pause, GoBack { link })))
    }

    /// How long a stream may say nothing.
    pub fn stream_idle_timeout(&self) -> Duration {
        self.inner.config.stream_idle_timeout
    }

    /// Closes connections that have been idle for too long; the core calls this now and then.
    pub fn sweep(&self) {
        self.inner.targets.iter().for_each(|target| target.sweep());
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

/// Events come when there are any.
fn is_stream<B>(response: &Response<B>) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.as_bytes().get(..EVENTS.len()));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(EVENTS))
}

impl AtEnd for GoBack {
    fn at_end(self) {
        let Link {
            mut connection,
            target,
            slot,
        } = self.link;
        if connection.is_ready() {
            target.keep(connection);
            return;
        }
        // The response is complete but the request's body is perhaps not: the connection is good
        // again only when that is over, and it may hold its slot only for a moment.
        tokio::task::spawn_local(async move {
            let _slot = slot;
            let ready = timeout(Duration::from_secs(1), connection.ready()).await;
            if ready == Ok(true) {
                target.keep(connection);
            }
        });
    }
}
