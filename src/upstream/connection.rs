//! One connection to a target: made, used for a request, judged by its answer. Nobody else knows which
//! protocol it speaks. An answer that has more than one end, or none, goes no further than here.

use std::io;
use std::pin::Pin;
use std::pin::pin;
use std::time::Duration;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Request;
use http::Response;
use http::header;
use http::uri::Scheme;
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
use crate::upstream::tls::Tls;

/// Header block of a response: more is not an answer but a leak.
const RESPONSE_HEADER_BYTES_MAX: usize = 64 * 1024;

/// An open connection, or a place on one that carries several requests.
#[derive(Debug)]
pub(super) enum Connection {
    Http1(Http1),
    Http2(Stream),
}

/// One that carries a request at a time. Its task ends with it, whatever is still under way on it: a client
/// that went away, or an app that answered before it had read the request, holds nothing.
#[derive(Debug)]
pub(super) struct Http1 {
    sender: SendRequest<RequestBody>,
    _task: AbortOnDropHandle<()>,
}

/// What became of an attempt to send.
pub(super) enum Exchanged {
    Answered(Response<Incoming>),
    /// Not a byte of it was sent.
    Unsent(Box<Request<RequestBody>>),
}

impl Connection {
    /// Connects, to speak what the target speaks. `name` is the upstream's, for the log.
    pub(super) async fn open(
        target: &UpstreamTarget,
        tls: Option<&Tls>,
        sessions: &Sessions,
        name: &str,
    ) -> io::Result<Self> {
        if target.scheme == UpstreamScheme::Http {
            return Self::open_http1(target, tls, name).await;
        }
        let turn = sessions.turn().await;
        if let Some(stream) = sessions.stream() {
            return Ok(Self::Http2(stream));
        }
        let stream = connect(target).await?;
        if target.scheme == UpstreamScheme::H2c {
            let opened = sessions.open(stream, Scheme::HTTP, name).await;
            return opened.map(Self::Http2);
        }
        let tls = tls.ok_or(io::ErrorKind::Unsupported)?;
        match tls.connect(stream, target.host(), false).await? {
            (stream, true) => {
                let opened = sessions.open(stream, Scheme::HTTPS, name).await;
                opened.map(Self::Http2)
            }
            (stream, false) => {
                // Nobody else could use it: the next one may connect as well.
                drop(turn);
                Http1::speak(stream, name).await.map(Self::Http1)
            }
        }
    }

    /// Connects, to speak HTTP/1.1.
    pub(super) async fn open_http1(
        target: &UpstreamTarget,
        tls: Option<&Tls>,
        name: &str,
    ) -> io::Result<Self> {
        let stream = connect(target).await?;
        let opened = match tls.filter(|_| target.scheme == UpstreamScheme::Https) {
            Some(tls) => {
                let (stream, _) = tls.connect(stream, target.host(), true).await?;
                Http1::speak(stream, name).await
            }
            None => Http1::speak(stream, name).await,
        };
        opened.map(Self::Http1)
    }

    /// Sends one request and waits for the response's header, for no longer than `patience`.
    pub(super) async fn exchange(
        &mut self,
        request: Request<RequestBody>,
        patience: Duration,
    ) -> Result<Exchanged, UpstreamError> {
        match self {
            Self::Http1(connection) => connection.exchange(request, patience).await,
            // Boxed, so that the other future, which is small, stays so.
            Self::Http2(stream) => Box::pin(stream.exchange(request, patience)).await,
        }
    }

    /// Whether it can take another request now.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.sender.is_ready(),
            Self::Http2(stream) => stream.is_open(),
        }
    }

    /// Whether it never will again.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.sender.is_closed(),
            Self::Http2(stream) => !stream.is_open(),
        }
    }

    /// Waits until it can take another request: whether it ever can.
    pub(super) async fn ready(&mut self) -> bool {
        match self {
            Self::Http1(connection) => connection.sender.ready().await.is_ok(),
            Self::Http2(stream) => stream.is_open(),
        }
    }

    /// Whether others use it as well: then nobody has to keep it for the next one.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Http2(_))
    }
}

async fn connect(target: &UpstreamTarget) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((target.host(), target.port())).await?;
    // Without it small writes wait for acknowledgements; failing to set it only costs time.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

impl Http1 {
    async fn speak(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        name: &str,
    ) -> io::Result<Self> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(RESPONSE_HEADER_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let name = name.to_owned();
        let task = tokio::task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(upstream.name = %name, %error, "a connection to the upstream ended");
            }
        });
        Ok(Self {
            sender,
            _task: AbortOnDropHandle::new(task),
        })
    }

    async fn exchange(
        &mut self,
        request: Request<RequestBody>,
        patience: Duration,
    ) -> Result<Exchanged, UpstreamError> {
        let progress = request.body().progress();
        let answer = pin!(self.sender.try_send_request(request));
        match in_time(answer, &progress, patience).await? {
            Ok(response) if is_framed_well(response.headers()) => {
                progress.answered();
                Ok(Exchanged::Answered(response))
            }
            Ok(_) => Err(UpstreamError::Invalid),
            Err(mut failed) => match failed.take_message() {
                Some(unsent) => Ok(Exchanged::Unsent(Box::new(unsent))),
                None => Err(UpstreamError::Invalid),
            },
        }
    }
}

/// `timeouts.response` counts from the last piece of the request's body: a long upload is not
/// a slow answer.
pub(super) async fn in_time<T>(
    mut answer: Pin<&mut impl Future<Output = T>>,
    progress: &Progress,
    patience: Duration,
) -> Result<T, UpstreamError> {
    let mut deadline = tokio::time::Instant::now() + patience;
    loop {
        if let Ok(answer) = timeout_at(deadline, answer.as_mut()).await {
            return Ok(answer);
        }
        let extended = progress.moved_at() + patience;
        if extended <= deadline {
            return Err(UpstreamError::Timeout);
        }
        deadline = extended;
    }
}

/// Whether an answer has one end, and everybody finds the same (SECURITY 54, RFC 9112 §6.3): hyper takes
/// the last of several codings and forgets a length beside it, and a client might not. And it is no
/// larger than what is held for it.
pub(super) fn is_framed_well(headers: &HeaderMap) -> bool {
    let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let framed = match (codings.next(), lengths.next()) {
        (None, None) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (None, Some(length)) => length.as_bytes().iter().all(u8::is_ascii_digit),
        (Some(_), Some(_)) => false,
    };
    framed
        && codings.next().is_none()
        && lengths.next().is_none()
        && headers.iter().map(bytes).sum::<usize>() <= RESPONSE_HEADER_BYTES_MAX
}
