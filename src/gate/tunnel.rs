//! A WebSocket once it is open: bytes both ways, until one end closes, nobody says anything for too
//! long, the caller's session ends, or the gateway drains.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::sleep_until;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::gate::answer::CLIENT_GONE;
use crate::gate::answer::Record;
use crate::gate::streams::Lease;
use crate::telemetry::access::Decision;
use crate::upstream::Switched;

/// What one direction holds at most; a message may be longer.
const BUFFER_BYTES: usize = 8 * 1024;

/// How long both ends may take to become one once the answer has been sent.
const OPENING_MAX: Duration = Duration::from_secs(10);

/// How long the second end may stay when the first has gone.
const LAST_WORD_MAX: Duration = Duration::from_secs(10);

/// Both ends of a WebSocket, to be joined when the answer has been sent.
#[derive(Debug)]
pub struct Tunnel {
    client: OnUpgrade,
    app: Switched,
    idle_max: Duration,
    bound: Option<Bound>,
}

/// What a tunnel ends with, and what is written of it.
#[derive(Debug)]
struct Bound {
    record: Box<Record>,
    lease: Option<Lease>,
}

impl Tunnel {
    /// Between a client and an app that have both agreed.
    pub fn new(client: OnUpgrade, app: Switched, idle_max: Duration) -> Self {
        Self {
            client,
            app,
            idle_max,
            bound: None,
        }
    }

    /// With the record that ends with it, and the session that it ends with.
    pub fn bind(&mut self, record: Box<Record>, lease: Option<Lease>) {
        self.bound = Some(Bound { record, lease });
    }

    /// Carries bytes until the end. `sent` is called for each piece that goes to the client.
    pub async fn run(self, draining: &CancellationToken, sent: impl Fn()) {
        let Self {
            client,
            app,
            idle_max,
            bound,
        } = self;
        let Some(Bound { mut record, lease }) = bound else {
            return;
        };
        let Switched {
            upgraded,
            _link,
            _share,
        } = app;
        let opened = timeout(OPENING_MAX, async { tokio::try_join!(client, upgraded) });
        let Ok(Ok((client, app))) = opened.await else {
            // The client was gone before the answer had left.
            return record.end(CLIENT_GONE);
        };
        let moved = Moved::default();
        let end = |upgraded, is_client: bool| End {
            io: TokioIo::new(upgraded),
            moved: &moved,
            sent: is_client.then_some(&sent as &dyn Fn()),
        };
        let (mut client, mut app) = (end(client, true), end(app, false));
        let joined =
            copy_bidirectional_with_sizes(&mut client, &mut app, BUFFER_BYTES, BUFFER_BYTES);
        let reason = tokio::select! {
            // How a WebSocket ends is its ends' own affair.
            _ = joined => None,
            () = moved.half_closed() => None,
            () = moved.idle(idle_max) => Some("idle"),
            reason = ended(lease) => Some(reason),
            () = draining.cancelled() => Some("draining"),
        };
        record.count(moved.to_client.get());
        if let Some(reason) = reason {
            record.end(Decision {
                verdict: "ended",
                reason,
            });
        }
    }
}

/// Resolves, with the reason, when the caller may not go on; never for nobody.
async fn ended(lease: Option<Lease>) -> &'static str {
    let Some(mut lease) = lease else {
        return std::future::pending().await;
    };
    poll_fn(|context| lease.wait(context).map_or(Poll::Pending, Poll::Ready)).await
}

/// When anything last came from either end, how much went to the client, and whether one end is gone.
#[derive(Debug)]
struct Moved {
    at: Cell<Instant>,
    to_client: Cell<u64>,
    one_is_gone: Notify,
}

impl Default for Moved {
    fn default() -> Self {
        Self {
            at: Cell::new(Instant::now()),
            to_client: Cell::new(0),
            one_is_gone: Notify::new(),
        }
    }
}

impl Moved {
    /// An end that has said its last word waits for the other's, but not for long.
    async fn half_closed(&self) {
        self.one_is_gone.notified().await;
        sleep(LAST_WORD_MAX).await;
    }

    async fn idle(&self, max: Duration) {
        while self.at.get().elapsed() < max {
            sleep_until(self.at.get() + max).await;
        }
    }
}

/// One end, seen to move.
struct End<'a> {
    io: TokioIo<Upgraded>,
    moved: &'a Moved,
    /// To be called for each piece, where it is the client's end.
    sent: Option<&'a dyn Fn()>,
}

impl AsyncRead for End<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        if read.is_ready() {
            self.moved.at.set(Instant::now());
        }
        read
    }
}

impl AsyncWrite for End<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        if let (Poll::Ready(Ok(count)), Some(sent)) = (&written, self.sent) {
            sent();
            let to_client = &self.moved.to_client;
            to_client.set(to_client.get() + *count as u64);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.moved.one_is_gone.notify_one();
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
