//! What a client may send over HTTP/2 that is neither a request nor a body.
//!
//! PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA and frames that nobody knows cost next to nothing
//! to send, are each answered or looked at, and RFC 9113 §10.5 leaves it to us how many are too many. Each
//! is paid for: out of a stock (`connections.control_frames`) that a connection starts with, and that is
//! filled up again by whatever such frames belong to: requests, pieces of bodies in both directions, and
//! time. Whoever has nothing left is cut off. This room must never look into a frame, nor delay one.

use std::cell::Cell;
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::time::Instant;

/// What every client begins with (RFC 9113 §3.4).
const PREFACE_BYTES: u32 = 24;

/// Types and flags of frames (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 8;

/// A request comes with a RESET, with priorities, and with what opens the window for its answer.
const PER_REQUEST: i64 = 10;

/// For each piece of an answer a client may open two windows, and once more than it needs to, and may ask
/// by a PING how long the way is, as gRPC does. Envoy allows as many.
const PER_PIECE: i64 = 10;

/// For a connection on which nothing else happens.
const PER_SECOND: f64 = 10.0;

/// One frame of this many bytes more is as much work as another frame.
const BYTES_OF_A_FRAME: u32 = 64;

/// How many frames of that kind a connection may still send.
#[derive(Debug)]
pub(super) struct Stock {
    left: Cell<i64>,
    max: i64,
    filled_at: Cell<Instant>,
    is_overdrawn: Cell<bool>,
}

impl Stock {
    /// A full one.
    pub(super) fn new(max: u32) -> Self {
        Self {
            left: Cell::new(max.into()),
            max: max.into(),
            filled_at: Cell::new(Instant::now()),
            is_overdrawn: Cell::new(false),
        }
    }

    /// Whether more was sent than there was.
    pub(super) fn is_overdrawn(&self) -> bool {
        self.is_overdrawn.get()
    }

    /// A piece of an answer was handed out.
    pub(super) fn piece(&self) {
        self.earn(PER_PIECE);
    }

    fn earn(&self, frames: i64) {
        self.left.set(self.max.min(self.left.get() + frames));
    }

    /// Whether there was enough. Time is only asked for when there is not.
    fn spend(&self, frames: i64) -> bool {
        let left = self.left.get() - frames;
        self.left.set(left);
        if left >= 0 {
            return true;
        }
        let waited = self.filled_at.replace(Instant::now()).elapsed();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a cast of a float saturates"
        )]
        self.earn((waited.as_secs_f64() * PER_SECOND) as i64);
        self.is_overdrawn.set(self.left.get() < 0);
        !self.is_overdrawn.get()
    }
}

/// Where one frame ends and the next begins.
#[derive(Debug)]
struct Frames {
    /// The head of a frame, as far as it has come; padded DATA shows its padding behind it.
    head: [u8; 10],
    seen: usize,
    /// What is left of a frame whose head was judged.
    skip: u32,
}

impl Frames {
    const HEAD_BYTES: usize = 9;

    /// Whether the stock is enough for what begins in these bytes.
    fn read(&mut self, mut bytes: &[u8], stock: &Stock) -> bool {
        loop {
            let skipped = bytes.len().min(self.skip as usize);
            (_, bytes) = bytes.split_at(skipped);
            self.skip -= u32::try_from(skipped).unwrap_or(u32::MAX);
            let Some((byte, rest)) = bytes.split_first() else {
                return true;
            };
            if let Some(place) = self.head.get_mut(self.seen) {
                *place = *byte;
            }
            self.seen += 1;
            bytes = rest;
            if self.seen >= Self::HEAD_BYTES && !self.judge(stock) {
                return false;
            }
        }
    }

    fn judge(&mut self, stock: &Stock) -> bool {
        let [high, middle, low, kind, flags, .., padding] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let is_padded = kind == DATA && flags & PADDED != 0 && length > 0;
        if is_padded && self.seen == Self::HEAD_BYTES {
            return true;
        }
        let of_padding = if is_padded { 1 + u32::from(padding) } else { 0 };
        self.skip = length - u32::from(is_padded);
        self.seen = 0;
        match kind {
            DATA if length > of_padding => stock.earn(1),
            HEADERS => stock.earn(PER_REQUEST),
            // The library counts those of a request.
            CONTINUATION => {}
            _ => return stock.spend(1 + i64::from(length / BYTES_OF_A_FRAME)),
        }
        true
    }
}

/// A connection whose frames are paid for.
#[derive(Debug)]
pub(super) struct Metered<S> {
    stream: S,
    frames: Frames,
    stock: Rc<Stock>,
}

impl<S> Metered<S> {
    /// From its first byte on.
    pub(super) fn new(stream: S, stock: Rc<Stock>) -> Self {
        Self {
            stream,
            frames: Frames {
                head: [0; 10],
                seen: 0,
                skip: PREFACE_BYTES,
            },
            stock,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        Poll::Ready(if this.frames.read(read, &this.stock) {
            Ok(())
        } else {
            Err(io::Error::other(
                "more frames than connections.control_frames allows",
            ))
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// What is left of a stock of 100 behind the preface and these frames, however they arrive.
    #[track_caller]
    fn left_after(frames: &[Vec<u8>]) -> i64 {
        let bytes = [vec![b'x'; 24], frames.concat()].concat();
        let left = [1, 2, 9, 10, 11, bytes.len()].map(|size| {
            let stock = Rc::new(Stock::new(100));
            stock.left.set(50);
            let mut metered = Metered::new((), Rc::clone(&stock));
            for piece in bytes.chunks(size) {
                assert!(metered.frames.read(piece, &stock));
            }
            stock.left.get()
        });
        assert!(left.iter().all(|other| *other == left[0]), "{left:?}");
        left[0]
    }

    // SECURITY 9
    #[tokio::test(start_paused = true)]
    async fn every_frame_has_its_price() {
        assert_eq!(left_after(&[]), 50);
        assert_eq!(left_after(&[frame(PING, 0, &[0; 8])]), 49);
        assert_eq!(left_after(&[frame(PING, 1, &[0; 8])]), 49);
        assert_eq!(left_after(&[frame(4, 0, &[0; 600])]), 40);
        assert_eq!(left_after(&[frame(250, 0, &[])]), 49);
        assert_eq!(left_after(&[frame(DATA, 0, &[])]), 49);
        assert_eq!(left_after(&[frame(DATA, PADDED, &[])]), 49);
        assert_eq!(left_after(&[frame(DATA, PADDED, &[3, 0, 0, 0])]), 49);
        assert_eq!(left_after(&[frame(DATA, PADDED, &[3, 9, 0, 0, 0])]), 51);
        assert_eq!(left_after(&[frame(DATA, 0, &[6; 300])]), 51);
        assert_eq!(left_after(&[frame(HEADERS, PADDED, &[6; 30])]), 60);
        assert_eq!(left_after(&[frame(CONTINUATION, 0, &[6; 30])]), 50);
        let mixed = [
            frame(HEADERS, 4, &[6; 30]),
            frame(DATA, PADDED, &[1, 6, 0]),
            frame(PING, 0, &[6; 8]),
            frame(DATA, 0, &[6]),
        ];
        assert_eq!(left_after(&mixed), 61);
    }

    // SECURITY 9
    #[tokio::test(start_paused = true)]
    async fn a_stock_is_filled_by_work_and_by_time() {
        let stock = Stock::new(100);
        assert!((0..100).all(|_| stock.spend(1)));
        assert!(!stock.spend(1));
        stock.piece();
        assert!((0..9).all(|_| stock.spend(1)));
        assert!(!stock.spend(1));
        tokio::time::advance(Duration::from_secs(60)).await;
        // Time is worth no more than a full stock.
        assert!((0..100).all(|_| stock.spend(1)));
        assert!(!stock.spend(2));
    }
}
