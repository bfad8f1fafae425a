//! The bodies that pass through: streamed, counted, bounded, never collected (SECURITY 12).

use std::cell::Cell;
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
    /// The sender paused for longer than allowed.
    #[error("the sender of the body paused for too long")]
    Idle,
    /// The connection broke, or its framing did.
    #[error("the body broke off")]
    Broken,
}

/// A request's body on its way to an upstream: at most so many bytes, no pause longer than so much,
/// no trailers (SECURITY 5: a stranger's trailers could spell an identity header).
#[derive(Debug)]
pub struct RequestBody {
    inner: Incoming,
    bytes_left: u64,
    pause: Pause,
    progress: Progress,
}

/// How a request's body is getting on, as seen by whoever waits for the answer.
#[derive(Clone, Debug)]
pub struct Progress(Rc<State>);

#[derive(Debug)]
struct State {
    error: Cell<Option<BodyError>>,
    moved_at: Cell<Instant>,
}

impl Progress {
    /// Why the body broke off, if it did.
    pub fn error(&self) -> Option<BodyError> {
        self.0.error.get()
    }

    /// When a piece of it last arrived.
    pub fn moved_at(&self) -> Instant {
        self.0.moved_at.get()
    }
}

impl RequestBody {
    /// Wraps a body.
    pub fn new(inner: Incoming, bytes_max: u64, pause_max: Duration) -> Self {
        Self {
            inner,
            bytes_left: bytes_max,
            pause: Pause::new(pause_max),
            progress: Progress(Rc::new(State {
                error: Cell::new(None),
                moved_at: Cell::new(Instant::now()),
            })),
        }
    }

    /// The end by which to learn how it is getting on.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn fail(&self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.progress.0.error.set(Some(error));
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let this = &mut *self;
            let Poll::Ready(polled) = Pin::new(&mut this.inner).poll_frame(context) else {
                ready!(this.pause.poll_elapsed(context));
                return self.fail(BodyError::Idle);
            };
            this.pause.reset();
            let frame = match polled {
                None => return Poll::Ready(None),
                Some(Ok(frame)) => frame,
                Some(Err(_)) => return self.fail(BodyError::Broken),
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            this.progress.0.moved_at.set(Instant::now());
            match this.bytes_left.checked_sub(data.len() as u64) {
                Some(left) => this.bytes_left = left,
                None => return self.fail(BodyError::TooLarge),
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
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
    inner: Incoming,
    pause: Pause,
    at_end: Option<E>,
}

impl<E: AtEnd> ResponseBody<E> {
    /// Wraps a body.
    pub fn new(inner: Incoming, pause_max: Duration, at_end: E) -> Self {
        let mut body = Self {
            inner,
            pause: Pause::new(pause_max),
            at_end: Some(at_end),
        };
        if body.inner.is_end_stream() {
            body.finish();
        }
        body
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
        let Poll::Ready(polled) = Pin::new(&mut this.inner).poll_frame(context) else {
            ready!(this.pause.poll_elapsed(context));
            return Poll::Ready(Some(Err(BodyError::Idle)));
        };
        this.pause.reset();
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
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
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
    ] {
        trailers.remove(name);
    }
    trailers
}

/// A deadline that costs nothing until a body first makes somebody wait.
#[derive(Debug)]
struct Pause {
    max: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Pause {
    fn new(max: Duration) -> Self {
        Self {
            max,
            sleep: None,
            running: false,
        }
    }

    fn reset(&mut self) {
        self.running = false;
    }

    fn poll_elapsed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let max = self.max;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(max)));
        if !self.running {
            self.running = true;
            sleep.as_mut().reset(Instant::now() + max);
        }
        sleep.as_mut().poll(context)
    }
}
