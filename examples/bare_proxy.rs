//! The yardstick of the benchmark: TLS and proxying of the gateway's shape, and nothing else.
//!
//! One acceptor, one `current_thread` runtime per core, rustls, hyper (HTTP/2 and HTTP/1.1 by
//! ALPN), a pool of upstream connections for each core. No accounts, no limits, no log, no deadlines, no header surgery:
//! what the gateway costs above this is what its job costs.
//!
//! ```text
//! bare_proxy UPSTREAM_ADDRESS CERTIFICATE KEY CORES
//! ```

use std::cell::RefCell;
use std::io;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use bytes::Bytes;
use http::HeaderValue;
use http::Request;
use http::Response;
use http::Uri;
use http::Version;
use http::header;
use http::uri::PathAndQuery;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::client::conn::http1::SendRequest;
use hyper::rt::Executor;
use hyper::server::conn::http1;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [upstream, certificate, key, cores] = arguments.as_slice() else {
        anyhow::bail!("bare_proxy UPSTREAM_ADDRESS CERTIFICATE KEY CORES");
    };
    let upstream = upstream.parse().context("UPSTREAM_ADDRESS")?;
    let tls = tls(certificate, key)?;
    let cores = (0..cores.parse().context("CORES")?)
        .map(|_| start_core(tls.clone(), upstream))
        .collect::<anyhow::Result<Vec<_>>>()?;

    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    writeln!(io::stderr(), "listen https://{}", listener.local_addr()?)?;
    for (stream, core) in listener.incoming().zip(cores.iter().cycle()) {
        core.send(stream?)?;
    }
    Ok(())
}

fn tls(certificate: &str, key: &str) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A thread with a runtime of its own, and the end by which connections reach it.
fn start_core(
    tls: TlsAcceptor,
    upstream: SocketAddr,
) -> anyhow::Result<mpsc::UnboundedSender<std::net::TcpStream>> {
    let (sender, inbox) = mpsc::unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    thread::Builder::new()
        .name("core".to_owned())
        .spawn(move || LocalSet::new().block_on(&runtime, run_core(inbox, tls, upstream)))?;
    Ok(sender)
}

async fn run_core(
    mut inbox: mpsc::UnboundedReceiver<std::net::TcpStream>,
    tls: TlsAcceptor,
    upstream: SocketAddr,
) {
    let pool = Rc::new(Pool {
        upstream,
        idle: RefCell::default(),
    });
    while let Some(stream) = inbox.recv().await {
        let (tls, pool) = (tls.clone(), Rc::clone(&pool));
        // A client that goes away is no reason to stop.
        spawn_local(async move { drop(serve(stream, tls, pool).await) });
    }
}

async fn serve(
    stream: std::net::TcpStream,
    tls: TlsAcceptor,
    pool: Rc<Pool>,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let stream = tls.accept(TcpStream::from_std(stream)?).await?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let service = service_fn(move |request| forward(into_http1(request), Rc::clone(&pool)));
        http2::Builder::new(Local)
            .serve_connection(TokioIo::new(stream), service)
            .await?;
    } else {
        let service = service_fn(|request| forward(request, Rc::clone(&pool)));
        http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await?;
    }
    Ok(())
}

/// Streams run on the core of their connection.
#[derive(Clone)]
struct Local;

impl<F: Future + 'static> Executor<F> for Local {
    fn execute(&self, stream: F) {
        spawn_local(async move { drop(stream.await) });
    }
}

/// The authority becomes `Host`, the target a path (RFC 9112 §3.2.1).
fn into_http1(mut request: Request<Incoming>) -> Request<Incoming> {
    let uri = request.uri();
    let host = uri
        .authority()
        .map(|name| HeaderValue::from_str(name.as_str()));
    let path = uri.path_and_query().cloned();
    if let Some(Ok(host)) = host {
        request.headers_mut().insert(header::HOST, host);
    }
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    *request.version_mut() = Version::HTTP_11;
    request
}

async fn forward(
    request: Request<Incoming>,
    pool: Rc<Pool>,
) -> anyhow::Result<Response<impl Body<Data = Bytes, Error = hyper::Error>>> {
    let mut sender = match pool.take_idle() {
        Some(sender) => sender,
        None => pool.connect().await?,
    };
    let response = sender.send_request(request).await?;
    let used = Used {
        sender: Some(sender),
        pool,
    };
    // The body takes the connection along: it is free when the body has been passed on.
    Ok(response.map(|body| {
        body.map_frame(move |frame| {
            let _held = &used;
            frame
        })
    }))
}

/// One core's connections to the upstream.
struct Pool {
    upstream: SocketAddr,
    idle: RefCell<Vec<SendRequest<Incoming>>>,
}

impl Pool {
    fn take_idle(&self) -> Option<SendRequest<Incoming>> {
        let mut idle = self.idle.borrow_mut();
        std::iter::from_fn(|| idle.pop()).find(SendRequest::is_ready)
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Incoming>> {
        let stream = TcpStream::connect(self.upstream).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = client::handshake(TokioIo::new(stream)).await?;
        spawn_local(async move { drop(connection.await) });
        Ok(sender)
    }
}

/// A connection that has answered; it goes back when this is dropped.
struct Used {
    sender: Option<SendRequest<Incoming>>,
    pool: Rc<Pool>,
}

impl Drop for Used {
    fn drop(&mut self) {
        self.pool.idle.borrow_mut().extend(self.sender.take());
    }
}
