//! One connection to a target: made, used for a request, judged by its answer. Nobody else knows which
//! protocol it speaks. An answer that has more than one end, or none, goes no further than here.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::pin::pin;
use std::time::Duration;

use http::HeaderMap;
use http::Request;
use http::Response;
use http::header;
use http::uri::Scheme;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_util::task::AbortOnDropHandle;

use crate::body::Progress;
use crate::body::RequestBody;
use crate::config::UpstreamScheme;
use crate::config::UpstreamTarget;
use crate::upstream::UpstreamError;
use crate::upstream::http2::Sessions;
use crate::upstream::http2::Stream;
use crate::upstream::socket;
use crate::upstream::socket::Heard;
use crate::upstream::socket::Listening;
use crate::upstream::tls::Secured;
use crate::upstream::tls::Tls;

/// Header block of a response: more is not an answer but a leak.
const RESPONSE_HEADER_BYTES_MAX: usize = 64 * 1024;

/// An open connection, or a place on one that carries several requests.
#[derive(Debug)]
pub(super) enum Connection {
    /// Boxed: it travels with every answer.
    Http1(Box<Http1>),
    Http2(Stream),
}

/// One that carries a request at a time. Its task ends with it, whatever is still under way on it: a client
/// that went away, or an app that answered before it had read the request, holds nothing.
#[derive(Debug)]
pub(super) struct Http1 {
    sender: SendRequest<RequestBody>,
    address: SocketAddr,
    heard: Heard,
    /// How long nobody had used it when it was last taken up.
    pub(super) idled_for: Duration,
    _task: AbortOnDropHandle<()>,
}

/// What a connection has to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Requests.
    Any,
    /// A request for another protocol, which HTTP/2 does not carry.
    Http1,
}

/// How to get to a target.
pub(super) struct Way<'a> {
    pub(super) target: &'a UpstreamTarget,
    pub(super) tls: Option<&'a Tls>,
    pub(super) addresses: &'a [SocketAddr],
    pub(super) patience: Duration,
    /// The upstream's, for the log.
    pub(super) name: &'a str,
}

/// What became of an attempt to send.
pub(super) enum Exchanged {
    Answered(Response<Incoming>),
    /// Not a byte of it was sent.
    Unsent(Box<Request<RequestBody>>),
    /// The app says that it did nothing with it (RFC 9113 §8.7), and it is gone.
    Refused,
    /// The connection ended before there was a byte of an answer. What became of the request, nobody knows.
    Unanswered,
    /// There is no answer, or none that is HTTP, and it is the app's own fault.
    Failed(UpstreamError),
    /// There is no answer, and it may be the client's fault.
    BrokenOff(UpstreamError),
}

impl Connection {
    /// Connects, to speak what the target speaks.
    pub(super) async fn open(
        way: &Way<'_>,
        wanted: Wanted,
        sessions: &Sessions,
    ) -> io::Result<Self> {
        if way.target.scheme == UpstreamScheme::Http || wanted == Wanted::Http1 {
            return way.http1().await.map(Self::Http1);
        }
        let turn = sessions.turn().await;
        if let Some(stream) = sessions.stream() {
            return Ok(Self::Http2(stream));
        }
        let (stream, address) = way.connect().await?;
        if way.target.scheme == UpstreamScheme::H2c {
            let opened = sessions.open(stream, address, Scheme::HTTP, way.name).await;
            return opened.map(Self::Http2);
        }
        let (stream, is_http2) = way.shake_hands(stream, wanted).await?;
        if is_http2 {
            let opened = sessions
                .open(stream, address, Scheme::HTTPS, way.name)
                .await;
            return opened.map(Self::Http2);
        }
        // Nobody else could use it: the next one may connect meanwhile.
        drop(turn);
        Http1::speak(stream, address, way.name)
            .await
            .map(Self::Http1)
    }

    /// Sends one request and waits for the response's header, for no longer than `patience`.
    pub(super) async fn exchange(
        &mut self,
        request: Box<Request<RequestBody>>,
        patience: Duration,
    ) -> Exchanged {
        match self {
            Self::Http1(connection) => connection.exchange(request, patience).await,
            // Boxed, so that the future of the other does not grow.
            Self::Http2(stream) => Box::pin(stream.exchange(request, patience)).await,
        }
    }

    /// Whether it can take another request now.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_ready(),
            Self::Http2(_) => true,
        }
    }

    /// What may become of a request on it without having been answered.
    pub(super) fn risk(&self) -> Risk {
        match self {
            Self::Http1(connection) if connection.idled_for < MOMENT => Risk::AppEnds,
            Self::Http1(_) => Risk::Stale,
            Self::Http2(_) => Risk::Refusal,
        }
    }

    /// Waits until it can take another request: whether it ever can.
    pub(super) async fn ready(&mut self) -> bool {
        match self {
            Self::Http1(connection) => connection.sender.ready().await.is_ok(),
            Self::Http2(_) => true,
        }
    }
}

/// What may become of a request on a connection without having been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Risk {
    /// The app ends in the midst of it, as it may at any time.
    AppEnds,
    /// It may be just being closed, because it was idle.
    Stale,
    /// The app may refuse it unread.
    Refusal,
}

/// Whoever closes idle connections waits for longer than this.
const MOMENT: Duration = Duration::from_millis(1);

impl Way<'_> {
    async fn connect(&self) -> io::Result<(TcpStream, SocketAddr)> {
        socket::connect(self.addresses, self.patience).await
    }

    /// TLS, and whether HTTP/2 is spoken after it.
    async fn shake_hands(&self, stream: TcpStream, wanted: Wanted) -> io::Result<(Secured, bool)> {
        let tls = self.tls.ok_or(io::ErrorKind::Unsupported)?;
        tls.connect(stream, self.target.host(), wanted).await
    }

    /// HTTP/1.1, over TLS where the target speaks that. To one that is known to speak HTTP/2 without TLS a
    /// WebSocket still begins in this way: many take both.
    async fn http1(&self) -> io::Result<Box<Http1>> {
        let (stream, address) = self.connect().await?;
        if self.target.scheme != UpstreamScheme::Https {
            return Http1::speak(stream, address, self.name).await;
        }
        let (stream, _) = self.shake_hands(stream, Wanted::Http1).await?;
        Http1::speak(stream, address, self.name).await
    }
}

impl Http1 {
    async fn speak(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        address: SocketAddr,
        name: &str,
    ) -> io::Result<Box<Self>> {
        let heard = Heard::default();
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(RESPONSE_HEADER_BYTES_MAX)
            .handshake(TokioIo::new(Listening::new(stream, &heard)))
            .await
            .map_err(io::Error::other)?;
        let name = name.to_owned();
        let task = tokio::task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(upstream.name = %name, %error, "a connection to the upstream ended");
            }
        });
        Ok(Box::new(Self {
            sender,
            address,
            heard,
            idled_for: Duration::ZERO,
            _task: AbortOnDropHandle::new(task),
        }))
    }

    async fn exchange(
        &mut self,
        request: Box<Request<RequestBody>>,
        patience: Duration,
    ) -> Exchanged {
        let progress = request.body().progress();
        let is_all_sent = request.body().is_end_stream();
        self.heard.asked();
        let answer = pin!(self.sender.try_send_request(*request));
        let Some(answer) = in_time(answer, &progress, patience).await else {
            return if is_all_sent {
                Exchanged::Failed(UpstreamError::Timeout)
            } else {
                Exchanged::BrokenOff(UpstreamError::Timeout)
            };
        };
        match answer {
            Ok(response) if is_framed_well(response.headers()) => {
                self.heard.answered();
                progress.answered();
                Exchanged::Answered(response)
            }
            Ok(_) => Exchanged::Failed(UpstreamError::Invalid),
            Err(mut failed) => match failed.take_message() {
                Some(unsent) => Exchanged::Unsent(Box::new(unsent)),
                None if progress.error().is_some() => Exchanged::BrokenOff(UpstreamError::Invalid),
                None if self.heard.is_silent() => Exchanged::Unanswered,
                None => Exchanged::Failed(UpstreamError::Invalid),
            },
        }
    }

    /// Where it leads.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it can take another request now.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether it never will again.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// `timeouts.response` counts from the last piece of the request's body: a long upload is not
/// a slow answer. `None` where it has passed.
pub(super) async fn in_time<T>(
    mut answer: Pin<&mut impl Future<Output = T>>,
    progress: &Progress,
    patience: Duration,
) -> Option<T> {
    let mut deadline = tokio::time::Instant::now() + patience;
    loop {
        if let Ok(answer) = timeout_at(deadline, answer.as_mut()).await {
            return Some(answer);
        }
        let extended = progress.moved_at()? + patience;
        if extended <= deadline {
            return None;
        }
        deadline = extended;
    }
}

/// Whether an answer has one end, and everybody finds the same (SECURITY 54, RFC 9112 §6.3): hyper takes
/// the last of several codings and forgets a length beside it, and a client might not. And it is no
/// larger than what is held for it.
pub(super) fn is_framed_well(headers: &HeaderMap) -> bool {
    let (mut codings, mut lengths, mut bytes) = (0, 0, 0);
    for (name, value) in headers {
        bytes += name.as_str().len() + value.len();
        if name == header::TRANSFER_ENCODING {
            codings += 1;
            if !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return false;
            }
        } else if name == header::CONTENT_LENGTH {
            lengths += 1;
            if !value.as_bytes().iter().all(u8::is_ascii_digit) {
                return false;
            }
        }
    }
    codings + lengths <= 1 && bytes <= RESPONSE_HEADER_BYTES_MAX
}
