//! The bytes between us and a target: connecting, and how much came back. An app that says more before
//! its answer than an answer's header may have is cut off (SECURITY 54).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio::time::timeout;

/// Connects to the first address that answers. All of them together get `patience`, and each its part
/// of what is left: one that swallows packets must not take the time of the next.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    patience: Duration,
) -> io::Result<(TcpStream, SocketAddr)> {
    let deadline = Instant::now() + patience;
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for (address, others) in addresses.iter().zip((0..addresses.len()).rev()) {
        let parts = u32::try_from(others).unwrap_or(u32::MAX).saturating_add(1);
        let part = deadline.saturating_duration_since(Instant::now()) / parts;
        let connecting = timeout(part, TcpStream::connect(address));
        match connecting.await.unwrap_or_else(|late| Err(late.into())) {
            Ok(stream) => {
                // Without it small writes wait for acknowledgements; failing to set it only costs time.
                let _ = stream.set_nodelay(true);
                return Ok((stream, *address));
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// What was heard since a request was sent. One thread alone uses it; hyper asks that it could move.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<Ear>);

#[derive(Debug, Default)]
struct Ear {
    bytes: AtomicUsize,
    is_answered: AtomicBool,
}

impl Heard {
    /// The header of an answer, everything that comes before it, and what is read along with its end.
    const UNANSWERED_BYTES_MAX: usize = 128 * 1024;

    /// A request is about to be sent.
    pub(super) fn asked(&self) {
        self.0.bytes.store(0, Relaxed);
        self.0.is_answered.store(false, Relaxed);
    }

    /// The header of its answer is there.
    pub(super) fn answered(&self) {
        self.0.is_answered.store(true, Relaxed);
    }

    /// Whether not a byte has come back since.
    pub(super) fn is_silent(&self) -> bool {
        self.0.bytes.load(Relaxed) == 0
    }

    fn hear(&self, bytes: usize) -> io::Result<()> {
        let heard = self.0.bytes.load(Relaxed).saturating_add(bytes);
        self.0.bytes.store(heard, Relaxed);
        if heard > Self::UNANSWERED_BYTES_MAX && !self.0.is_answered.load(Relaxed) {
            return Err(io::Error::other("too much came before an answer"));
        }
        Ok(())
    }
}

/// A stream that counts what comes in.
#[derive(Debug)]
pub(super) struct Listening<S> {
    stream: S,
    heard: Heard,
}

impl<S> Listening<S> {
    pub(super) fn new(stream: S, heard: &Heard) -> Self {
        Self {
            stream,
            heard: heard.clone(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Listening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.heard.hear(buffer.filled().len() - before))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Listening<S> {
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
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
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
    use tokio::io::AsyncReadExt as _;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// An address at which nobody listens.
    async fn nobody() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }

    #[tokio::test]
    async fn the_first_address_that_answers_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let gone = nobody().await;
        let patience = Duration::from_secs(20);
        for addresses in [
            &[here][..],
            &[gone, here],
            &[here, gone],
            &[gone, gone, here],
        ] {
            let (_, address) = connect(addresses, patience).await.unwrap();
            assert_eq!(address, here);
        }
        assert!(connect(&[gone], patience).await.is_err());
        assert!(connect(&[], patience).await.is_err());
    }

    // SECURITY 54
    #[tokio::test]
    async fn too_much_before_an_answer_is_an_end() {
        let (mut app, ours) = tokio::io::duplex(1 << 20);
        let heard = Heard::default();
        let mut ours = Listening::new(ours, &heard);
        heard.asked();
        assert!(heard.is_silent());
        let mut most = vec![0; Heard::UNANSWERED_BYTES_MAX];
        app.write_all(&most).await.unwrap();
        ours.read_exact(&mut most).await.unwrap();
        assert!(!heard.is_silent());
        heard.answered();
        app.write_all(&most).await.unwrap();
        ours.read_exact(&mut most).await.unwrap();
        heard.asked();
        app.write_all(&most).await.unwrap();
        ours.read_exact(&mut most).await.unwrap();
        app.write_all(b"1").await.unwrap();
        assert!(ours.read_u8().await.is_err());
    }
}
