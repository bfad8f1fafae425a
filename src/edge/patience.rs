//! How long the edge waits for a client that does nothing.
//!
//! hyper has deadlines for the head of a request; what it leaves open is closed here: a client that
//! does not read its answer (and would hold a connection to the app for as long as it likes), by not
//! emptying the socket or by not opening the window of a stream, and an HTTP/2 connection without a
//! stream. The last piece of an answer over HTTP/2 is hyper's once it has it: at most [`PIECE_BYTES`] for
//! each of a connection's streams, until the connection ends.

use std::cell::Cell;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body::Frame;
use http_body::SizeHint;
use hyper::rt::Executor;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::body::Leftover;
use crate::body::Patience;
use crate::body::longer_by;
use crate::edge::core::Witness;
use crate::edge::frames::Stock;
use crate::gate::answer::AnswerBody;
use crate::telemetry::metrics::Metrics;

/// A socket that gives up on a peer who takes nothing, or next to nothing.
#[derive(Debug)]
pub(super) struct Patient {
    stream: TcpStream,
    patience: Patience,
}

impl Patient {
    /// `max` is how long the peer may take nothing at all.
    pub(super) fn new(stream: TcpStream, max: Duration) -> Self {
        Self {
            stream,
            patience: Patience::new(max),
        }
    }

    /// Passes on what a write came to, and fails where too little has come of it for too long.
    fn judge(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(written) => {
                self.patience.earn(*written.as_ref().unwrap_or(&0));
                Poll::Ready(written)
            }
            Poll::Pending => {
                ready!(self.patience.poll_end(context));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What goes on on one HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Activity {
    under_way: Cell<usize>,
    begun: Cell<u64>,
    newest: RefCell<Option<Rc<Outflow>>>,
    stock: Rc<Stock>,
}

/// One request that is under way, until the last byte of its answer has left.
#[derive(Debug)]
pub(super) struct UnderWay {
    activity: Rc<Activity>,
    outflow: Rc<Outflow>,
}

/// How the answer of one stream is getting on.
#[derive(Debug, Default)]
struct Outflow {
    /// Whether the last word was ours: a piece was handed out, and nobody has come for the next one.
    waits_for_client: Cell<bool>,
    /// Bytes that were handed out since somebody last looked.
    bytes: Cell<usize>,
}

impl Activity {
    /// Nothing yet. What goes on fills the stock of control frames.
    pub(super) fn new(stock: Rc<Stock>) -> Self {
        Self {
            under_way: Cell::new(0),
            begun: Cell::new(0),
            newest: RefCell::new(None),
            stock,
        }
    }

    /// A request begins.
    pub(super) fn begin(self: &Rc<Self>) -> UnderWay {
        self.under_way.set(self.under_way.get() + 1);
        self.begun.set(self.begun.get().wrapping_add(1));
        let outflow = Rc::new(Outflow::default());
        self.newest.replace(Some(Rc::clone(&outflow)));
        UnderWay {
            activity: Rc::clone(self),
            outflow,
        }
    }

    /// Resolves when nothing has been under way for at least `max`, and at most twice as long.
    pub(super) async fn idle(&self, max: Duration) {
        loop {
            let begun = self.begun.get();
            sleep(max).await;
            if self.under_way.get() == 0 && self.begun.get() == begun {
                return;
            }
        }
    }
}

impl UnderWay {
    /// A piece of what it is answered goes to the client.
    pub(super) fn piece(&self) {
        self.activity.stock.piece();
    }

    /// The same request, which goes on elsewhere when its answer has been given: as a WebSocket.
    pub(super) fn lasting(&self) -> Self {
        let under_way = &self.activity.under_way;
        under_way.set(under_way.get() + 1);
        Self {
            activity: Rc::clone(&self.activity),
            outflow: Rc::clone(&self.outflow),
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let under_way = &self.activity.under_way;
        under_way.set(under_way.get().saturating_sub(1));
    }
}

/// Runs the streams of one HTTP/2 connection on the core's own thread, and resets one whose client takes
/// nothing of its answer: the socket is no sign of that, because other streams go on, and hyper does not
/// ask for the body while the client's window is shut.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    activity: Rc<Activity>,
    max: Duration,
    metrics: Arc<Metrics>,
}

impl Streams {
    /// `max` is how long a client may take nothing at all; a panic in one of them is counted.
    pub(super) fn new(activity: &Rc<Activity>, max: Duration, metrics: Arc<Metrics>) -> Self {
        Self {
            activity: Rc::clone(activity),
            max,
            metrics,
        }
    }
}

impl<F: Future + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        // hyper calls the service, which begins the request, and brings its stream here right after.
        let outflow = self.activity.newest.take().unwrap_or_default();
        let mut patience = Patience::new(self.max);
        // On the heap: a task moves what it is made of several times before it first runs.
        let mut stream = Box::pin(stream);
        let witness = Witness(Arc::clone(&self.metrics));
        drop(tokio::task::spawn_local(async move {
            let _witness = witness;
            poll_fn(|context| {
                if stream.as_mut().poll(context).is_ready() {
                    return Poll::Ready(());
                }
                let bytes = outflow.bytes.take();
                if bytes > 0 || !outflow.waits_for_client.get() {
                    patience.earn(bytes);
                }
                if outflow.waits_for_client.get() {
                    patience.poll_end(context)
                } else {
                    Poll::Pending
                }
            })
            .await;
        }));
    }
}

/// The most that a stream hands out at once. hyper asks for more when the client has taken all of it, so
/// that a client has to take this much, and no more, before its patience is judged; a piece earns about
/// as much of it as there can be.
const PIECE_BYTES: usize = 8 * 1024;

/// The body of an answer to a request that is under way, in pieces.
#[derive(Debug)]
pub(super) struct Held {
    body: AnswerBody,
    /// Of the piece that the body gave last.
    rest: Bytes,
    has_ended: bool,
    /// Of the request, to be taken before the answer ends.
    leftover: Option<Leftover>,
    under_way: UnderWay,
}

impl Held {
    /// Keeps the request under way until the body is dropped.
    pub(super) fn new(body: AnswerBody, leftover: Option<Leftover>, under_way: UnderWay) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            has_ended: false,
            leftover,
            under_way,
        }
    }

    fn piece(&mut self, mut data: Bytes) -> Frame<Bytes> {
        self.rest = data.split_off(data.len().min(PIECE_BYTES));
        let bytes = &self.under_way.outflow.bytes;
        bytes.set(bytes.get().saturating_add(data.len()));
        self.under_way.piece();
        Frame::data(data)
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = <AnswerBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if !this.rest.is_empty() {
            if let Some(ended) = this.body.cut(context) {
                this.rest = Bytes::new();
                return Poll::Ready(Some(ended.map_err(Self::Error::from)));
            }
            let rest = std::mem::take(&mut this.rest);
            return Poll::Ready(Some(Ok(this.piece(rest))));
        }
        let waits_for_client = &this.under_way.outflow.waits_for_client;
        let polled = if this.has_ended {
            Poll::Ready(None)
        } else {
            Pin::new(&mut this.body).poll_frame(context)
        };
        waits_for_client.set(polled.is_ready());
        if let (Poll::Ready(None), Some(leftover)) = (&polled, &mut this.leftover) {
            this.has_ended = true;
            // It has a patience of its own.
            waits_for_client.set(false);
            ready!(leftover.poll_taken(context));
            this.leftover = None;
        }
        polled.map_ok(|frame| match frame.into_data() {
            Ok(data) => this.piece(data),
            Err(trailers) => trailers,
        })
    }

    fn is_end_stream(&self) -> bool {
        let nothing_left = self.leftover.as_ref().is_none_or(Leftover::is_over);
        nothing_left && self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        longer_by(self.body.size_hint(), self.rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SECURITY 10
    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_only_without_a_request_under_way() {
        let activity = Rc::new(Activity::new(Rc::new(Stock::new(1))));
        let max = Duration::from_secs(10);
        let under_way = activity.begin();
        let waited = tokio::time::timeout(max * 5, activity.idle(max)).await;
        assert!(waited.is_err());
        drop(under_way);
        let waited = tokio::time::timeout(max * 3, activity.idle(max)).await;
        assert!(waited.is_ok());
    }

    // SECURITY 10
    #[tokio::test]
    async fn a_peer_that_does_not_read_is_given_up() {
        use tokio::io::AsyncWriteExt as _;

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut patient = Patient::new(stream, Duration::from_millis(50));
        let block = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = patient.write_all(&block).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(silent);
    }
}
