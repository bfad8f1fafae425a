//! A socket for bytes that no library would send, over TLS or without.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::caller::Answer;
use crate::harness::in_time;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One end of a connection.
pub(crate) struct Raw {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
}

/// A message in HTTP/1.1, read to its end.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) start_line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// A connection from another address: all of 127.0.0.0/8 is this machine on Linux.
pub(crate) async fn connect_from(gateway: SocketAddr, address: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    socket.connect(gateway).await.unwrap()
}

/// A TLS connection that agreed on `protocol`.
pub(crate) async fn tls(
    address: SocketAddr,
    authority: &[u8],
    protocol: &[u8],
) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    tls_over(stream, authority, protocol).await
}

/// As [`tls`], over a connection that is there.
pub(crate) async fn tls_over(
    stream: TcpStream,
    authority: &[u8],
    protocol: &[u8],
) -> TlsStream<TcpStream> {
    tls_to("localhost", stream, authority, protocol).await
}

/// As [`tls_over`], with somebody of this name.
pub(crate) async fn tls_to(
    name: &'static str,
    stream: TcpStream,
    authority: &[u8],
    protocol: &[u8],
) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from(name).unwrap();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    in_time("a TLS handshake", connecting).await.unwrap()
}

impl Raw {
    /// Over TLS, for HTTP/1.1.
    pub(crate) async fn connect_tls(address: SocketAddr, authority: &[u8]) -> Self {
        Self::new(tls(address, authority, b"http/1.1").await)
    }

    /// Without TLS.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).await.unwrap())
    }

    /// Over a stream that is there.
    pub(crate) fn new(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            unread: Vec::new(),
        }
    }

    /// Sends bytes, unless the other end has gone, which is no failure here: whether they could be sent.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = self.stream.write_all(bytes.as_ref()).await;
        sent.is_ok() && self.stream.flush().await.is_ok()
    }

    /// Sends bytes and reads the answer to them.
    pub(crate) async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Message {
        self.send(bytes).await;
        self.message().await
    }

    /// Reads one message: an answer, or a request.
    pub(crate) async fn message(&mut self) -> Message {
        let mut message = self.head().await;
        message.body = match message.headers.get("transfer-encoding") {
            Some(_) => self.chunked().await,
            None => {
                let length = message.headers.get("content-length");
                let length = length.map_or(0, |length| length.to_str().unwrap().parse().unwrap());
                self.exactly(length).await
            }
        };
        message
    }

    /// Reads the first line and the headers.
    pub(crate) async fn head(&mut self) -> Message {
        let head = self.until(b"\r\n\r\n").await;
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let start_line = lines.next().unwrap_or_default().to_owned();
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{line:?}"));
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
        }
        Message {
            start_line,
            headers,
            body: Vec::new(),
        }
    }

    /// Reads so many bytes.
    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        let is_there = self.peek(count).await.is_some();
        assert!(is_there, "closed after {:?}", self.shown());
        self.unread.drain(..count).collect()
    }

    /// The next so many bytes, which stay unread; `None` where the other end closes before.
    pub(crate) async fn peek(&mut self, count: usize) -> Option<&[u8]> {
        while self.unread.len() < count {
            if !self.more().await {
                return None;
            }
        }
        Some(&self.unread[..count])
    }

    /// Sends the same bytes again and again, with pauses, until the other end closes: what it said.
    pub(crate) async fn trickle(&mut self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        let trickling = async {
            loop {
                tokio::select! {
                    more = self.more() => if !more {
                        return;
                    },
                    () = sleep(Duration::from_millis(50)) => {
                        self.send(&bytes).await;
                    }
                }
            }
        };
        in_time("somebody to have enough of a trickle", trickling).await;
        std::mem::take(&mut self.unread)
    }

    /// Reads up to and with these bytes.
    pub(crate) async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            let found = self.unread.windows(end.len()).position(|it| it == end);
            if let Some(at) = found {
                return self.unread.drain(..at + end.len()).collect();
            }
            assert!(self.more().await, "closed after {:?}", self.shown());
        }
    }

    /// Reads until the other end closes: what had not been read yet.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.unread)
    }

    /// Says that no more comes, and reads what is still answered.
    pub(crate) async fn end(&mut self) -> Vec<u8> {
        let _ = self.stream.shutdown().await;
        self.rest().await
    }

    /// Insists that the other end closes without another byte.
    pub(crate) async fn assert_closed(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    }

    async fn chunked(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.until(b"\r\n").await;
            let line = String::from_utf8(line).unwrap();
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).unwrap();
            body.extend(self.exactly(size).await);
            if size == 0 {
                // Trailers are lines of their own until an empty one.
                while self.until(b"\r\n").await != b"\r\n" {}
                return body;
            }
            self.exactly(2).await;
        }
    }

    /// Whether anything more came before the end. A reset is an end too.
    async fn more(&mut self) -> bool {
        let mut piece = [0; 4096];
        let read = self.stream.read(&mut piece);
        let count = in_time("bytes, or the end of a connection", read).await;
        let count = count.unwrap_or_default();
        self.unread.extend_from_slice(&piece[..count]);
        count > 0
    }

    fn shown(&self) -> impl Debug {
        String::from_utf8_lossy(&self.unread).into_owned()
    }
}

impl Message {
    /// As one that a client of HTTP has read.
    #[track_caller]
    pub(crate) fn answer(self) -> Answer {
        Answer {
            status: self.status(),
            headers: self.headers,
            body: self.body.into(),
        }
    }

    /// The status of an answer.
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        let status = self.start_line.split(' ').nth(1);
        status
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("{self:?}"))
    }

    /// A header that is there once; empty where it is not there.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().unwrap());
        assert_eq!(values.next(), None, "{name} is there twice");
        value.unwrap_or_default()
    }
}
