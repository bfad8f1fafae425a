//! The bodies that pass through: streamed, counted, bounded, never collected (SECURITY 12).

use std::any::Any;
use std::cell::Cell;
use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use http_body::Frame;
use http_body::SizeHint;
use hyper::body::Incoming;
use tokio::time::Instant;
use tokio::time::Sleep;

/// Why a body broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// More than `max_body`.
    #[error("the request body is larger than allowed")]
    TooLarge,
    /// The sender let us wait for longer than allowed.
    #[error("the body came too slowly")]
    Idle,
    /// The connection broke, or its framing did.
    #[error("the body broke off")]
    Broken,
    /// Whoever sends it may not go on.
    #[error("the sender of the body may not go on")]
    Ended,
}

/// What a client sends. Over HTTP/2 its connection holds it as well, as a [`Leftover`].
#[derive(Debug)]
pub enum ClientBody {
    /// Nobody else's.
    Own(Incoming),
    /// To be taken by somebody else where nobody wants it here.
    Shared(Rc<RefCell<Incoming>>),
}

impl ClientBody {
    /// For a request over HTTP/2. There the end of an answer resets a stream whose body is still under
    /// way, which is legal (RFC 9113 §8.1) and makes some clients, curl 7.88 among them, forget the
    /// answer: so that what is left of the body is taken first.
    pub fn shared(body: Incoming) -> (Self, Option<Leftover>) {
        if body.is_end_stream() {
            return (Self::Own(body), None);
        }
        let body = Rc::new(RefCell::new(body));
        let leftover = Leftover {
            body: Rc::clone(&body),
            bytes_left: LEFTOVER_BYTES_MAX,
            patience: Patience::new(LEFTOVER_PATIENCE),
        };
        (Self::Shared(body), Some(leftover))
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Own(body) => Pin::new(body).poll_frame(context),
            Self::Shared(body) => Pin::new(&mut *body.borrow_mut()).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Shared(body) => body.borrow().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Shared(body) => body.borrow().size_hint(),
        }
    }
}

/// How much of a body that nobody wants is taken all the same.
const LEFTOVER_BYTES_MAX: u64 = 16 << 20;

/// And how long it may let us wait: the answer has been given.
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(2);

/// What is left of a request's body when its answer has been given.
#[derive(Debug)]
pub struct Leftover {
    body: Rc<RefCell<Incoming>>,
    bytes_left: u64,
    patience: Patience,
}

impl Leftover {
    /// Whether there is nothing more.
    pub fn is_over(&self) -> bool {
        self.body.borrow().is_end_stream()
    }

    /// Ready when everything was taken, or enough, or it comes too slowly. Nothing is taken from whoever
    /// still reads.
    pub fn poll_taken(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.bytes_left > 0 && Rc::strong_count(&self.body) == 1 {
            let polled = Pin::new(&mut *self.body.borrow_mut()).poll_frame(context);
            let Poll::Ready(frame) = polled else {
                return self.patience.poll_end(context);
            };
            let Some(Ok(frame)) = frame else {
                break;
            };
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.patience.earn(bytes);
            self.bytes_left = self.bytes_left.saturating_sub(bytes as u64);
        }
        Poll::Ready(())
    }
}

/// Asked for each piece of a body that takes time: whether its sender may not go on. Whoever waits is
/// woken when that changes.
pub type Cut = Box<dyn FnMut(&Context<'_>) -> bool>;

/// A request's body on its way to an upstream: at most so many bytes, no slower than [`Patience`] lasts,
/// no trailers (SECURITY 5: a stranger's trailers could spell an identity header). Most requests have
/// none, and pay nothing for it.
#[derive(Debug)]
pub struct RequestBody(Option<Box<Streamed>>);

struct Streamed {
    inner: ClientBody,
    bytes_left: u64,
    patience: Patience,
    state: Rc<State>,
    cut: Option<Cut>,
    place: Option<Box<dyn Any>>,
    has_begun: bool,
}

impl fmt::Debug for Streamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streamed")
            .field("bytes_left", &self.bytes_left)
            .finish_non_exhaustive()
    }
}

/// How a request's body is getting on, as seen by whoever waits for the answer.
#[derive(Clone, Debug)]
pub struct Progress(Option<Rc<State>>);

#[derive(Debug)]
struct State {
    error: Cell<Option<BodyError>>,
    moved_at: Cell<Instant>,
    is_answered: Cell<bool>,
}

impl Progress {
    /// The answer has begun: what the client sends from now on is a conversation, and may take its time.
    pub fn answered(&self) {
        if let Some(state) = &self.0 {
            state.is_answered.set(true);
        }
    }

    /// Why the body broke off, if it did.
    pub fn error(&self) -> Option<BodyError> {
        self.0.as_ref()?.error.get()
    }

    /// When a piece of it last arrived; `None` where there is none to arrive.
    pub fn moved_at(&self) -> Option<Instant> {
        Some(self.0.as_ref()?.moved_at.get())
    }
}

impl RequestBody {
    /// Wraps a body.
    ///
    /// # Errors
    ///
    /// Where it says that it is too large: before anything is read or sent on for it.
    pub fn new(
        inner: ClientBody,
        bytes_max: u64,
        patience_max: Duration,
    ) -> Result<Self, BodyError> {
        if inner.is_end_stream() {
            return Ok(Self::empty());
        }
        if inner.size_hint().lower() > bytes_max {
            return Err(BodyError::TooLarge);
        }
        Ok(Self(Some(Box::new(Streamed {
            inner,
            bytes_left: bytes_max,
            patience: Patience::new(patience_max),
            state: Rc::new(State {
                error: Cell::new(None),
                moved_at: Cell::new(Instant::now()),
                is_answered: Cell::new(false),
            }),
            cut: None,
            place: None,
            has_begun: false,
        }))))
    }

    /// None.
    pub fn empty() -> Self {
        Self(None)
    }

    /// Breaks off where its sender may not go on. Nothing is made for a request without a body.
    pub fn until(mut self, cut: impl FnOnce() -> Cut) -> Self {
        if let Some(streamed) = &mut self.0 {
            streamed.cut = Some(cut());
        }
        self
    }

    /// Holds something until the last byte has arrived, or nobody waits for it any more.
    pub fn hold(&mut self, place: impl Any) {
        if let Some(streamed) = &mut self.0 {
            streamed.place = Some(Box::new(place));
        }
    }

    /// The end by which to learn how it is getting on.
    pub fn progress(&self) -> Progress {
        let streamed = self.0.as_ref();
        Progress(streamed.map(|streamed| Rc::clone(&streamed.state)))
    }
}

impl Streamed {
    fn fail(&self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.state.error.set(Some(error));
        Poll::Ready(Some(Err(error)))
    }

    fn poll_data(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let polled = Pin::new(&mut self.inner).poll_frame(context);
            // A body that arrives in one piece is nobody's stream.
            let takes_time = polled.is_pending() || self.has_begun;
            if takes_time && self.cut.as_mut().is_some_and(|cut| cut(context)) {
                return self.fail(BodyError::Ended);
            }
            self.has_begun = true;
            let Poll::Ready(polled) = polled else {
                ready!(self.patience.poll_end(context));
                return self.fail(BodyError::Idle);
            };
            if self.inner.is_end_stream() {
                self.place = None;
            }
            let frame = match polled {
                None => return Poll::Ready(None),
                Some(Ok(frame)) => frame,
                Some(Err(_)) => return self.fail(BodyError::Broken),
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if self.state.is_answered.get() {
                self.patience.restore();
            } else {
                self.patience.earn(data.len());
            }
            self.state.moved_at.set(Instant::now());
            match self.bytes_left.checked_sub(data.len() as u64) {
                Some(left) => self.bytes_left = left,
                None => return self.fail(BodyError::TooLarge),
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Some(streamed) => streamed.poll_data(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        let streamed = self.0.as_ref();
        streamed.is_none_or(|streamed| streamed.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let streamed = self.0.as_ref();
        streamed.map_or_else(
            || SizeHint::with_exact(0),
            |streamed| streamed.inner.size_hint(),
        )
    }
}

/// Something to do when the body of a response has been read to its end.
pub trait AtEnd {
    /// Called once, and only where every byte arrived.
    fn at_end(self);
}

/// A response's body on its way back: no pause longer than so much; trailers pass, filtered.
#[derive(Debug)]
pub struct ResponseBody<E: AtEnd> {
    peeked: Option<Peeked>,
    inner: Incoming,
    patience: Patience,
    at_end: Option<E>,
}

/// What was found by looking ahead. Trailers are large and rarely what comes first.
#[derive(Debug)]
enum Peeked {
    Data(Bytes),
    Trailers(Box<Frame<Bytes>>),
}

impl<E: AtEnd> ResponseBody<E> {
    /// Wraps a body.
    pub fn new(inner: Incoming, pause_max: Duration, at_end: E) -> Self {
        let mut body = Self {
            peeked: None,
            inner,
            patience: Patience::new(pause_max),
            at_end: Some(at_end),
        };
        if body.inner.is_end_stream() {
            body.finish();
        }
        body
    }

    /// Takes the first piece if it is there already, to be given out later.
    ///
    /// # Errors
    ///
    /// Where the body is known to be broken.
    pub fn peek(&mut self, context: &mut Context<'_>) -> Result<(), BodyError>
    where
        E: Unpin,
    {
        if !self.is_end_stream()
            && let Poll::Ready(Some(first)) = Pin::new(&mut *self).poll_frame(context)
        {
            self.peeked = Some(match first?.into_data() {
                Ok(data) => Peeked::Data(data),
                Err(trailers) => Peeked::Trailers(Box::new(trailers)),
            });
        }
        Ok(())
    }

    fn finish(&mut self) {
        if let Some(at_end) = self.at_end.take() {
            at_end.at_end();
        }
    }
}

impl<E: AtEnd + Unpin> Body for ResponseBody<E> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(first) = this.peeked.take() {
            return Poll::Ready(Some(Ok(match first {
                Peeked::Data(data) => Frame::data(data),
                Peeked::Trailers(trailers) => *trailers,
            })));
        }
        let Poll::Ready(polled) = Pin::new(&mut this.inner).poll_frame(context) else {
            ready!(this.patience.poll_end(context));
            return Poll::Ready(Some(Err(BodyError::Idle)));
        };
        // An app may say a little now and then for as long as it likes: it is ours.
        this.patience.restore();
        let frame = match polled {
            None => {
                this.finish();
                return Poll::Ready(None);
            }
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return Poll::Ready(Some(Err(BodyError::Broken))),
        };
        if this.inner.is_end_stream() {
            this.finish();
        }
        Poll::Ready(Some(Ok(match frame.into_trailers() {
            Ok(trailers) => Frame::trailers(filter_trailers(trailers)),
            Err(frame) => frame,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.peeked.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first = match &self.peeked {
            Some(Peeked::Data(data)) => data.len(),
            Some(Peeked::Trailers(_)) | None => 0,
        };
        longer_by(self.inner.size_hint(), first)
    }
}

/// The hint for a body of which so many bytes more are at hand.
pub fn longer_by(hint: SizeHint, bytes: usize) -> SizeHint {
    let bytes = bytes as u64;
    let mut longer = SizeHint::new();
    longer.set_lower(hint.lower() + bytes);
    if let Some(upper) = hint.upper() {
        longer.set_upper(upper + bytes);
    }
    longer
}

/// RFC 9110 §6.5.1: fields of framing, routing and authentication have no place in trailers.
fn filter_trailers(mut trailers: HeaderMap) -> HeaderMap {
    for name in [
        http::header::CONTENT_LENGTH,
        http::header::TRANSFER_ENCODING,
        http::header::HOST,
        http::header::CONNECTION,
        http::header::SET_COOKIE,
        http::header::WWW_AUTHENTICATE,
        http::header::AUTHORIZATION,
        http::header::LOCATION,
        http::header::CACHE_CONTROL,
        http::header::STRICT_TRANSPORT_SECURITY,
        http::HeaderName::from_static("x-request-id"),
    ] {
        trailers.remove(name);
    }
    trailers
}

/// How long we go on waiting for the other end of a body. Every wait takes from it, and every byte that
/// moves gives a little back, so that a trickle ends as a pause does (SECURITY 10). It costs nothing until
/// somebody first has to wait.
#[derive(Debug)]
pub struct Patience {
    max: Duration,
    left: Duration,
    waiting_since: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// What one byte gives back: 250 bytes a second can go on for ever.
    const EARNED_BY_A_BYTE: Duration = Duration::from_millis(4);

    /// `max` is how long the other end may do nothing at all.
    pub fn new(max: Duration) -> Self {
        Self {
            max,
            left: max,
            waiting_since: None,
            sleep: None,
        }
    }

    /// Ready when there is none left. To be polled whenever there is something to wait for.
    pub fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(self.left)));
        if self.waiting_since.is_none() {
            let now = Instant::now();
            self.waiting_since = Some(now);
            sleep.as_mut().reset(now + self.left);
        }
        sleep.as_mut().poll(context)
    }

    /// The wait is over, and so many bytes have come of it.
    pub fn earn(&mut self, bytes: usize) {
        if let Some(since) = self.waiting_since.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        if self.left < self.max {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            let earned = Self::EARNED_BY_A_BYTE.saturating_mul(bytes);
            self.left = self.left.saturating_add(earned).min(self.max);
        }
    }

    /// The wait is over, and forgotten.
    pub fn restore(&mut self) {
        self.waiting_since = None;
        self.left = self.max;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// How long a sender lasts who sends so many bytes every second; `None` where it is for ever.
    async fn lasts(bytes_per_second: usize) -> Option<Duration> {
        let mut patience = Patience::new(Duration::from_secs(30));
        let begun = Instant::now();
        for _ in 0..1000 {
            let end = poll_fn(|context| patience.poll_end(context));
            if tokio::time::timeout(Duration::from_secs(1), end)
                .await
                .is_ok()
            {
                return Some(begun.elapsed());
            }
            patience.earn(bytes_per_second);
        }
        None
    }

    // SECURITY 10
    #[tokio::test(start_paused = true)]
    async fn a_trickle_ends_as_a_pause_does() {
        let seconds = async |bytes| lasts(bytes).await.map(|lasted| lasted.as_secs());
        assert_eq!(seconds(0).await, Some(30));
        assert_eq!(seconds(1).await, Some(30));
        assert_eq!(seconds(125).await, Some(59));
        assert_eq!(seconds(260).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_sent_much_may_still_not_pause_for_longer() {
        let mut patience = Patience::new(Duration::from_secs(30));
        patience.earn(1 << 30);
        let begun = Instant::now();
        poll_fn(|context| patience.poll_end(context)).await;
        assert_eq!(begun.elapsed().as_secs(), 30);
    }
}
