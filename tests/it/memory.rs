//! What a body costs while it passes: the same however long it is, and however slow its reader.
//!
//! It is the built binary that is measured, by the largest size that the kernel has ever seen of it.
//! Each reader begins only once its sender has been made to wait, so that whatever were collected on the way
//! would be there all at once.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use http_body::Body;
use http_body::Frame;
use http_body::SizeHint;
use reqwest::Method;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use crate::harness::binary::Served;
use crate::harness::caller::Caller;
use crate::harness::caller::Protocol;
use crate::harness::eventually;
use crate::harness::gateway::Folder;
use crate::harness::in_time;
use crate::harness::install_crypto;

/// Far more than the sockets on the way hold, and they hold up to 6 MiB each.
const BODY: usize = 256 << 20;
const PIECE: usize = 64 << 10;

/// What one connection may cost, with all its buffers and some air for the allocator.
const GROWTH_MAX_KIB: u64 = 8 << 10;

/// A body of zeros that counts what has been taken of it.
struct Zeros {
    left: usize,
    taken: Arc<AtomicUsize>,
}

impl Body for Zeros {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static ZEROS: [u8; PIECE] = [0; PIECE];
        let piece = &ZEROS[..self.left.min(PIECE)];
        if piece.is_empty() {
            return Poll::Ready(None);
        }
        self.left -= piece.len();
        self.taken.fetch_add(piece.len(), Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

/// The built gateway before an app that each test plays, and callers over both protocols.
struct Passage {
    app: TcpListener,
    served: Served,
    callers: [Caller; 2],
}

impl Passage {
    async fn start() -> Self {
        install_crypto();
        let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = Folder::with(&format!(
            r#"
            gateway.threads = 1
            [routes.app]
            path = "/app"
            auth = "none"
            max_body = "1GiB"
            upstream = "http://{}"
            "#,
            app.local_addr().unwrap()
        ));
        let served = Served::start(&folder).await;
        let authority = std::fs::read(folder.path("certs/ca.pem")).unwrap();
        let caller = |protocol| Caller::new(served.address(), &authority, protocol);
        Self {
            app,
            callers: [caller(Protocol::Http1), caller(Protocol::Http2)],
            served,
        }
    }

    /// The app's end of the next request, whose header has been read.
    async fn accept(&self) -> TcpStream {
        let (mut link, _) = in_time("a connection", self.app.accept()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(in_time("a header", link.read_u8()).await.unwrap());
        }
        link
    }
}

/// Waits until nothing more is taken: whoever sends has to wait.
async fn until_it_stalls(taken: &AtomicUsize) {
    let mut before = 0;
    let mut unchanged = 0;
    eventually("a sender to be held up", async || {
        let now = taken.load(Ordering::SeqCst);
        unchanged = if now == before { unchanged + 1 } else { 0 };
        before = now;
        (now > 0 && unchanged > 10).then_some(())
    })
    .await;
    assert!(before < BODY / 2, "nobody is held up: {before}");
}

// SECURITY 12
#[tokio::test(flavor = "multi_thread")]
async fn a_download_costs_the_same_however_large_it_is() {
    let passage = Passage::start().await;
    let download = async |caller: &Caller, size: usize| {
        let asked = tokio::spawn(caller.request(Method::GET, "/app").send());
        let mut link = passage.accept().await;
        let taken = Arc::new(AtomicUsize::new(0));
        let sent = Arc::clone(&taken);
        let sending = tokio::spawn(async move {
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n");
            link.write_all(head.as_bytes()).await.unwrap();
            let piece = [0; PIECE];
            for _ in 0..size / PIECE {
                link.write_all(&piece).await.unwrap();
                sent.fetch_add(PIECE, Ordering::SeqCst);
            }
        });
        let mut answer = in_time("an answer", asked).await.unwrap().unwrap();
        if size == BODY {
            until_it_stalls(&taken).await;
        }
        let mut read = 0;
        while let Some(piece) = in_time("a piece", answer.chunk()).await.unwrap() {
            read += piece.len();
        }
        sending.await.unwrap();
        assert_eq!(read, size);
    };
    for caller in &passage.callers {
        download(caller, 4 * PIECE).await;
        passage.served.forget_memory_peak();
        let before = passage.served.memory_peak();
        download(caller, BODY).await;
        let grown = passage.served.memory_peak() - before;
        assert!(grown < GROWTH_MAX_KIB, "{grown} KiB more than {before}");
    }
}

// SECURITY 12
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_costs_the_same_however_large_it_is() {
    let passage = Passage::start().await;
    let upload = async |caller: &Caller, size: usize| {
        let taken = Arc::new(AtomicUsize::new(0));
        let body = Zeros {
            left: size,
            taken: Arc::clone(&taken),
        };
        let request = caller.request(Method::POST, "/app");
        let asked = tokio::spawn(request.body(reqwest::Body::wrap(body)).send());
        let mut link = passage.accept().await;
        if size == BODY {
            until_it_stalls(&taken).await;
        }
        let mut piece = vec![0; PIECE];
        let mut left = size;
        while left > 0 {
            let read = in_time("a piece", link.read(&mut piece)).await.unwrap();
            assert!(read > 0, "{left} bytes are missing");
            left -= read;
        }
        let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        link.write_all(answer.as_bytes()).await.unwrap();
        let answer = in_time("an answer", asked).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
    };
    for caller in &passage.callers {
        upload(caller, 4 * PIECE).await;
        passage.served.forget_memory_peak();
        let before = passage.served.memory_peak();
        upload(caller, BODY).await;
        let grown = passage.served.memory_peak() - before;
        assert!(grown < GROWTH_MAX_KIB, "{grown} KiB more than {before}");
    }
}
