//! Apps that speak HTTP/2, or TLS, or both.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::HeaderMap;
use http::Request;
use http::Response;
use http_body_util::BodyExt as _;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::KeyPair;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::harness::gateway::Folder;
use crate::harness::install_crypto;

/// An authority of an app's own, and what it signs.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate whose issuer has its own name for one that signed itself.
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "an authority of the tests");
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Writes its certificate.
    pub(crate) fn write(&self, folder: &Folder, name: &str) {
        folder.write(name, &self.0.pem());
    }

    /// Writes `NAME.pem` and `NAME.key` for somebody of this name.
    pub(crate) fn sign(&self, folder: &Folder, name: &str, subject: &str) {
        use std::os::unix::fs::PermissionsExt as _;

        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([subject.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        folder.write(&format!("{name}.pem"), &certificate.pem());
        folder.write(&format!("{name}.key"), &key.serialize_pem());
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(folder.path(&format!("{name}.key")), private).unwrap();
    }

    /// TLS for an app of this name.
    pub(crate) fn server(&self, subject: &str, protocols: &[&str], asks_who: bool) -> ServerConfig {
        install_crypto();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([subject.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let builder = if asks_who {
            let mut roots = RootCertStore::empty();
            roots.add(self.0.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
            ServerConfig::builder().with_client_cert_verifier(verifier.unwrap())
        } else {
            ServerConfig::builder().with_no_client_auth()
        };
        let chain = vec![certificate.der().clone()];
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        config
    }
}

/// What an app answers with.
pub(crate) type Answered = Response<BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>>;

/// An app that remembers what reached it.
#[derive(Clone)]
pub(crate) struct Http2Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    resumed: AtomicUsize,
    shown: AtomicUsize,
    requests: Mutex<Vec<Heard>>,
}

/// The head of a request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) version: http::Version,
    pub(crate) uri: http::Uri,
    pub(crate) headers: HeaderMap,
}

impl Http2Upstream {
    /// Without TLS, and HTTP/2 known beforehand.
    pub(crate) async fn h2c<F>(
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answered> + Send + 'static,
    {
        Self::start(None, 200, answer).await
    }

    /// Over TLS, whichever is agreed on.
    pub(crate) async fn tls<F>(
        config: ServerConfig,
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answered> + Send + 'static,
    {
        Self::start(Some(config), 200, answer).await
    }

    /// As told, with so many streams on each connection.
    pub(crate) async fn start<F>(
        tls: Option<ServerConfig>,
        streams: u32,
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answered> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let upstream = Self {
            address,
            seen: Arc::clone(&seen),
        };
        let answer = Arc::new(answer);
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Some(acceptor) = acceptor else {
                        return serve(stream, true, streams, seen, answer).await;
                    };
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let agreed = stream.get_ref().1;
                    let is_http2 = agreed.alpn_protocol() == Some(b"h2");
                    if agreed.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
                        seen.resumed.fetch_add(1, Ordering::SeqCst);
                    }
                    if agreed.peer_certificates().is_some() {
                        seen.shown.fetch_add(1, Ordering::SeqCst);
                    }
                    serve(stream, is_http2, streams, seen, answer).await;
                });
            }
        });
        upstream
    }

    /// For `targets`.
    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}", self.address.port())
    }

    /// How many connections came to speak HTTP.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// How many of them resumed a session.
    pub(crate) fn resumed(&self) -> usize {
        self.seen.resumed.load(Ordering::SeqCst)
    }

    /// How many of them showed a certificate.
    pub(crate) fn shown(&self) -> usize {
        self.seen.shown.load(Ordering::SeqCst)
    }

    /// Every request whose head has arrived; they are forgotten.
    pub(crate) fn requests(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.seen.requests.lock().unwrap())
    }

    /// The one request that has arrived; it is forgotten.
    #[track_caller]
    pub(crate) fn only(&self) -> Heard {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    /// Insists that no request has arrived.
    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        let requests = self.requests();
        assert!(requests.is_empty(), "something arrived: {requests:?}");
    }
}

async fn serve<F>(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    is_http2: bool,
    streams: u32,
    seen: Arc<Seen>,
    answer: Arc<impl Fn(Request<Incoming>) -> F + Send + Sync + 'static>,
) where
    F: Future<Output = Answered> + Send + 'static,
{
    seen.connections.fetch_add(1, Ordering::SeqCst);
    let service = service_fn(move |request: Request<Incoming>| {
        seen.requests.lock().unwrap().push(Heard {
            version: request.version(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        });
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let stream = TokioIo::new(stream);
    if is_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.max_concurrent_streams(streams);
        let _ = builder.serve_connection(stream, service).await;
    } else {
        let _ = http1::Builder::new()
            .serve_connection(stream, service)
            .await;
    }
}

/// A body of these bytes.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Answered {
    let body = http_body_util::Full::new(bytes.into());
    Response::new(body.map_err(|never| match never {}).boxed())
}
