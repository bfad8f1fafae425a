//! Upstreams: named, each with targets, and on each core with its own connections to them.
//!
//! A connection belongs to one core from its first to its last byte, so nothing here is locked. At
//! most `connections` are in use at once from a core, and idle ones end soon; `queue` more requests may
//! wait, and are refused when they have waited for `timeouts.connect` (SECURITY 53). A connection goes back
//! to the pool only when its response was read to the end (SECURITY 54).
//!
//! A request is never sent where something could happen twice: again only where not a byte of it was
//! sent, or where it is idempotent, has no body, and its connection ended before a byte of an answer.

mod balance;
mod budget;
mod connection;
mod health;
mod http2;
mod names;
mod shares;
mod socket;
pub mod standing;
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
use tokio::time::Instant;
use tokio::time::timeout;
use tokio::time::timeout_at;

use crate::body::AtEnd;
use crate::body::RequestBody;
use crate::body::ResponseBody;
use crate::config;
use crate::config::Balance;
use crate::config::LimitBy;
use crate::limiter::LimitKey;
use crate::upstream::balance::Balancer;
use crate::upstream::balance::Candidate;
use crate::upstream::balance::Tried;
use crate::upstream::budget::Budget;
use crate::upstream::connection::Connection;
use crate::upstream::connection::Exchanged;
use crate::upstream::connection::Risk;
use crate::upstream::connection::Wanted;
pub use crate::upstream::shares::Share;
use crate::upstream::shares::Shares;
use crate::upstream::standing::Standing;
use crate::upstream::target::InUse;
use crate::upstream::target::Target;

/// Which side failed, and how: 502, 503 and 504 tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// Its health checks say that it is down.
    #[error("upstream_down")]
    Down,
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
    standing: Arc<Standing>,
    targets: Vec<Rc<Target>>,
    balancer: Balancer,
    budget: Budget,
    slots: Arc<Semaphore>,
    shares: Rc<Shares>,
    waiting: Cell<usize>,
}

/// On whose behalf a request is sent.
#[derive(Debug, Default)]
pub struct Party {
    /// Who is counted for the connections that it keeps; nobody where that is not counted.
    pub holder: Option<LimitKey>,
    /// Whom [`Upstream::hashes`] sends to the same target again.
    pub hashed: Option<LimitKey>,
}

/// A connection in use, the target it leads to, and the slot that its use occupies.
#[derive(Debug)]
pub struct Link {
    connection: Connection,
    target: InUse,
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

/// How many targets one request tries to connect to.
const TARGETS_TRIED_MAX: u32 = 3;

/// How often one request is sent again.
const SENT_AGAIN_MAX: usize = 2;

impl Upstream {
    /// An upstream without connections.
    pub fn new(standing: Arc<Standing>) -> Self {
        let config = standing.config();
        let targets = 0..config.targets.len();
        let targets = targets.map(|index| Rc::new(Target::new(&standing, index)));
        let urls = config.targets.iter().map(ToString::to_string);
        Self {
            inner: Rc::new(Inner {
                targets: targets.collect(),
                balancer: Balancer::new(config.balance, urls),
                budget: Budget::new(config.retries),
                slots: Arc::new(Semaphore::new(config.connections)),
                waiting: Cell::new(0),
                shares: Rc::default(),
                standing,
            }),
        }
    }

    fn config(&self) -> &config::Upstream {
        self.inner.standing.config()
    }

    /// By what of a caller its target is chosen; `None` where that makes no difference.
    pub fn hashes(&self) -> Option<LimitBy> {
        let config = self.config();
        match config.balance {
            _ if config.targets.len() < 2 => None,
            Balance::P2c | Balance::RoundRobin => None,
            Balance::HashUser => Some(LimitBy::User),
            Balance::HashAddress => Some(LimitBy::Address),
        }
    }

    /// Sends one request and waits for the response's header.
    ///
    /// # Errors
    ///
    /// Where there is no response, or one that switches to a protocol nobody asked for (SECURITY 54).
    pub async fn send(
        &self,
        mut request: Box<Request<RequestBody>>,
        party: Party,
    ) -> Result<Response<ResponseBody<GoBack>>, UpstreamError> {
        let Party { holder, hashed } = party;
        let slot = match holder.filter(|_| !request.body().is_end_stream()) {
            Some(holder) => {
                let (slot, share) = self.share(&holder).await?;
                request.body_mut().hold(share);
                slot
            }
            None => self.slot().await?,
        };
        self.inner.budget.deposit();
        let mut sent_again = 0;
        let mut tried = Tried::default();
        let mut target = self
            .choose(hashed.as_ref(), tried)
            .ok_or(UpstreamError::Down)?;
        let mut idle = target.take_idle();
        loop {
            let is_new = idle.is_none();
            let mut connection = match idle {
                Some(connection) => connection,
                None => {
                    // Boxed: it is rare, and would make every request's future larger.
                    let connecting = self.connect(target, Wanted::Any, hashed.as_ref(), &mut tried);
                    let connected = Box::pin(connecting).await?;
                    target = connected.0;
                    connected.1
                }
            };
            let spare = (sent_again < SENT_AGAIN_MAX)
                .then(|| self.spare(&request, connection.risk()))
                .flatten();
            let patience = self.config().response_timeout;
            match connection.exchange(request, patience).await {
                Exchanged::Answered(response) => {
                    self.note_status(&target, response.status());
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
                Exchanged::Unsent(unsent) if is_new => {
                    target.failed();
                    let another = self.choose(hashed.as_ref(), tried);
                    target = another.ok_or(UpstreamError::Invalid)?;
                    self.inner.standing.metrics().tried_another();
                    request = unsent;
                    idle = target.take_idle();
                }
                // It was closed while nobody used it: that says nothing of the target.
                Exchanged::Unsent(unsent) => {
                    request = unsent;
                    idle = target.take_idle();
                }
                Exchanged::Refused => {
                    request = spare.ok_or(UpstreamError::Invalid)?;
                    sent_again += 1;
                    idle = target.take_idle();
                }
                Exchanged::Unanswered => {
                    if is_new {
                        target.failed();
                    }
                    let spare = spare.filter(|spare| self.may_come_twice(spare));
                    let spare = spare.ok_or(UpstreamError::Invalid)?;
                    tried = tried.with(target.index());
                    let another = self.choose(hashed.as_ref(), tried);
                    // The only target gets it again where the connection had been idle, and was perhaps
                    // just being closed; and over a new one, because the others may be just as old.
                    if another.is_none() && is_new || !self.may_send_again() {
                        return Err(UpstreamError::Invalid);
                    }
                    request = spare;
                    sent_again += 1;
                    idle = another.as_ref().and_then(|another| another.take_idle());
                    target = another.unwrap_or(target);
                }
                Exchanged::Failed(error) => {
                    target.failed();
                    return Err(error);
                }
                Exchanged::BrokenOff(error) => return Err(error),
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
        request: Box<Request<RequestBody>>,
        party: Party,
    ) -> Result<Answer, UpstreamError> {
        let Party { holder, hashed } = party;
        let (slot, share) = match holder {
            Some(holder) => self
                .share(&holder)
                .await
                .map(|(slot, share)| (slot, Some(share)))?,
            None => (self.slot().await?, None),
        };
        let target = self.choose(hashed.as_ref(), Tried::default());
        let target = target.ok_or(UpstreamError::Down)?;
        let mut tried = Tried::default();
        let connecting = self.connect(target, Wanted::Http1, hashed.as_ref(), &mut tried);
        let (target, mut connection) = connecting.await?;
        let patience = self.config().response_timeout;
        let response = match connection.exchange(request, patience).await {
            Exchanged::Answered(response) => response,
            Exchanged::Unsent(_) | Exchanged::Refused | Exchanged::Unanswered => {
                target.failed();
                return Err(UpstreamError::Invalid);
            }
            Exchanged::Failed(error) => {
                target.failed();
                return Err(error);
            }
            Exchanged::BrokenOff(error) => return Err(error),
        };
        self.note_status(&target, response.status());
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

    /// A target that may have the next request and has not been tried.
    fn choose(&self, key: Option<&LimitKey>, tried: Tried) -> Option<InUse> {
        let index = self.inner.balancer.choose(self.candidates(), key, tried)?;
        self.inner.targets.get(index).map(InUse::new)
    }

    fn candidates(&self) -> impl Fn(usize) -> Candidate {
        |index| {
            let target = self.inner.targets.get(index);
            target.map_or(Candidate::NONE, |target| target.candidate())
        }
    }

    /// A new connection to a target, or to another one where that cannot be reached: nothing has been
    /// sent yet. All of them together get `timeouts.connect`.
    async fn connect(
        &self,
        mut target: InUse,
        wanted: Wanted,
        key: Option<&LimitKey>,
        tried: &mut Tried,
    ) -> Result<(InUse, Connection), UpstreamError> {
        let deadline = Instant::now() + self.config().connect_timeout;
        loop {
            *tried = tried.with(target.index());
            let is_last = tried.count() >= TARGETS_TRIED_MAX
                || !self.inner.balancer.has_another(self.candidates(), *tried);
            let left = deadline.saturating_duration_since(Instant::now());
            // One that swallows packets must not take all the time of the next.
            let patience = if is_last { left } else { left / 2 };
            if let Ok(connection) = target.connect(wanted, patience).await {
                return Ok((target, connection));
            }
            let another = (!is_last).then(|| self.choose(key, *tried)).flatten();
            target = another.ok_or(UpstreamError::Unreachable)?;
            self.inner.standing.metrics().tried_another();
        }
    }

    /// A copy of a request without a body, for the case that it is lost. It costs as much as anything else on
    /// the way of a request: one that the only target would not get a second time anyway is not copied, nor
    /// where a server that closes idle connections would have to do so within a moment.
    fn spare(
        &self,
        request: &Request<RequestBody>,
        risk: Risk,
    ) -> Option<Box<Request<RequestBody>>> {
        let is_worth_it = match risk {
            Risk::Refusal => true,
            Risk::Stale => self.may_come_twice(request),
            Risk::AppEnds => self.inner.targets.len() > 1 && self.may_come_twice(request),
        };
        if !is_worth_it || !request.body().is_end_stream() {
            return None;
        }
        let mut spare = Request::new(RequestBody::empty());
        spare.method_mut().clone_from(request.method());
        spare.uri_mut().clone_from(request.uri());
        spare.headers_mut().clone_from(request.headers());
        Some(Box::new(spare))
    }

    /// Whether a request may be sent again that met with silence: an idempotent one (RFC 9110 §9.2.2).
    fn may_come_twice(&self, request: &Request<RequestBody>) -> bool {
        request.method().is_idempotent() && self.inner.budget.is_open()
    }

    /// Whether the budget allows to send something again.
    fn may_send_again(&self) -> bool {
        let metrics = self.inner.standing.metrics();
        let may = self.inner.budget.withdraw();
        if may {
            metrics.sent_again();
        } else {
            metrics.over_budget();
        }
        may
    }

    /// An answer is a success, unless the file calls its status a failure.
    fn note_status(&self, target: &InUse, status: StatusCode) {
        let ejection = self.config().ejection.as_ref();
        if ejection.is_some_and(|ejection| ejection.statuses.contains(&status)) {
            target.failed();
        } else {
            target.succeeded();
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
        let timeouts = self.config();
        let pause = if is_stream(&response) {
            timeouts.stream_idle_timeout
        } else {
            timeouts.idle_timeout
        };
        Answer::Plain(response.map(|body| ResponseBody::new(body, pause, GoBack { link })))
    }

    /// How long a stream may say nothing.
    pub fn stream_idle_timeout(&self) -> Duration {
        self.config().stream_idle_timeout
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
        let deadline = Instant::now() + self.config().connect_timeout;
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
        // More would only wait in vain.
        let waiting = Waiting::begin(&self.inner.waiting);
        if waiting.of_all > self.config().queue {
            return Err(UpstreamError::Busy);
        }
        timeout(self.config().connect_timeout, slots.acquire_owned())
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
