//! How long the edge waits for a client that does nothing.
//!
//! hyper has deadlines for the head of a request; what it leaves open is closed here: a client that
//! does not read its answer (and would hold a connection to the app for as long as it likes), and an
//! HTTP/2 connection without a stream.

use std::cell::Cell;
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body::Frame;
use http_body::SizeHint;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio::time::Sleep;
use tokio::time::sleep;

use crate::gate::answer::AnswerBody;

/// A socket that gives up on a peer who has not taken a byte for so long.
#[derive(Debug)]
pub(super) struct Patient {
    stream: TcpStream,
    max: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl Patient {
    /// `max` is how long a write may make no progress.
    pub(super) fn new(stream: TcpStream, max: Duration) -> Self {
        Self {
            stream,
            max,
            waiting: None,
            is_waiting: false,
        }
    }

    /// Passes on what a write came to, and fails where it has come to nothing for too long.
    fn judge<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.is_waiting = false;
            return written;
        }
        let max = self.max;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(max)));
        if !self.is_waiting {
            self.is_waiting = true;
            waiting.as_mut().reset(Instant::now() + max);
        }
        match waiting.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
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
#[derive(Debug, Default)]
pub(super) struct Activity {
    under_way: Cell<usize>,
    begun: Cell<u64>,
}

/// One request that is under way, until the last byte of its answer has left.
#[derive(Debug)]
pub(super) struct UnderWay(Rc<Activity>);

impl Activity {
    /// A request begins.
    pub(super) fn begin(self: &Rc<Self>) -> UnderWay {
        self.under_way.set(self.under_way.get() + 1);
        self.begun.set(self.begun.get().wrapping_add(1));
        UnderWay(Rc::clone(self))
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

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0
            .under_way
            .set(self.0.under_way.get().saturating_sub(1));
    }
}

/// The body of an answer to a request that is under way.
#[derive(Debug)]
pub(super) struct Held {
    body: AnswerBody,
    _under_way: UnderWay,
}

impl Held {
    /// Keeps the request under way until the body is dropped.
    pub(super) fn new(body: AnswerBody, under_way: UnderWay) -> Self {
        Self {
            body,
            _under_way: under_way,
        }
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = <AnswerBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SECURITY 10
    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_only_without_a_request_under_way() {
        let activity = Rc::new(Activity::default());
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
