//! The load that wrk and h2load cannot make: full handshakes, and requests at a fixed rate.
//!
//! TLS 1.3 with `TLS_AES_128_GCM_SHA256` and X25519 and nothing else, never resumed, so that every
//! contender does the same work. At a fixed rate each request is due at a time that no answer can
//! put off, and its latency counts from then: a proxy that stalls is not spared the requests that
//! would have come meanwhile. What was seen is printed as one line of JSON.
//!
//! ```text
//! bench_load --ca CA.pem --connections 8 --seconds 4 127.0.0.1:8443 handshakes
//! bench_load --ca CA.pem --connections 64 --seconds 4 127.0.0.1:8443 rate 4000
//! ```

use std::collections::BTreeMap;
use std::io;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Parser;
use clap::Subcommand;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Uri;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::task::spawn_local;
use tokio_rustls::TlsConnector;

#[derive(Debug, Parser)]
struct Arguments {
    /// Where the proxy listens; its certificate is for `localhost`
    address: SocketAddr,
    /// The authority to trust
    #[arg(long)]
    ca: PathBuf,
    /// How many connections are open at once
    #[arg(long)]
    connections: usize,
    #[arg(long)]
    seconds: u64,
    #[arg(long, default_value = "/")]
    path: Uri,
    /// A header of every request: `Name: value`
    #[arg(long, value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// A JSON body, which makes every request a POST
    #[arg(long)]
    body: Option<Bytes>,
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Mode {
    /// A connection for every request
    Handshakes,
    /// Connections that stay, and so many requests a second
    Rate { per_second: u32 },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let seen = LocalSet::new().block_on(&runtime, run(arguments))?;
    writeln!(io::stdout(), "{}", seen.into_json())?;
    Ok(())
}

async fn run(arguments: Arguments) -> anyhow::Result<Seen> {
    let client = Rc::new(Client::new(&arguments)?);
    let length = Duration::from_secs(arguments.seconds);
    let mut tasks = Vec::new();
    match arguments.mode {
        Mode::Handshakes => {
            let end = Instant::now() + length;
            for _ in 0..arguments.connections {
                tasks.push(spawn_local(handshakes(Rc::clone(&client), end)));
            }
        }
        Mode::Rate { per_second } => {
            let mut ends = Vec::new();
            for _ in 0..arguments.connections {
                let (end, due) = mpsc::unbounded_channel();
                ends.push(end);
                let connection = client.connect().await?;
                tasks.push(spawn_local(at_their_times(
                    Rc::clone(&client),
                    connection,
                    due,
                )));
            }
            // For whoever wants to do something meanwhile.
            writeln!(io::stderr(), "connected")?;
            thread::Builder::new()
                .name("time".to_owned())
                .spawn(move || keep_time(&ends, per_second, length))?;
        }
    }
    let mut seen = Seen::default();
    for task in tasks {
        seen.add(task.await??);
    }
    Ok(seen)
}

/// One connection after the other.
async fn handshakes(client: Rc<Client>, end: Instant) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    while Instant::now() < end {
        let begun = Instant::now();
        let mut connection = client.connect().await?;
        let status = client.request(&mut connection.sender).await?;
        seen.note(status, begun.elapsed(), &connection.agreed);
    }
    Ok(seen)
}

/// The requests of one connection, each as soon as it is due and the one before it is answered.
async fn at_their_times(
    client: Rc<Client>,
    mut connection: Connection,
    mut due: mpsc::UnboundedReceiver<Instant>,
) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    while let Some(due) = due.recv().await {
        let status = client.request(&mut connection.sender).await?;
        seen.note(status, due.elapsed(), &connection.agreed);
    }
    Ok(seen)
}

/// Says to each connection in turn when its next request is due. A thread of its own: it wakes to a
/// few dozen microseconds, a runtime's timer to a millisecond.
fn keep_time(ends: &[mpsc::UnboundedSender<Instant>], per_second: u32, length: Duration) {
    let begun = Instant::now();
    for (number, end) in (0_u32..).zip(ends.iter().cycle()) {
        let after = Duration::from_secs(1) * number / per_second;
        if after > length {
            break;
        }
        thread::sleep((begun + after).saturating_duration_since(Instant::now()));
        // A connection that has failed has said so by its task.
        let _ = end.send(begun + after);
    }
}

struct Client {
    address: SocketAddr,
    tls: TlsConnector,
    request: Request<Full<Bytes>>,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// What its handshake agreed on.
    agreed: String,
}

impl Client {
    fn new(arguments: &Arguments) -> anyhow::Result<Self> {
        let mut request = Request::new(Full::new(arguments.body.clone().unwrap_or_default()));
        *request.uri_mut() = arguments.path.clone();
        let headers = request.headers_mut();
        headers.insert(http::header::HOST, HeaderValue::from_static("localhost"));
        headers.extend(arguments.header.iter().cloned());
        if arguments.body.is_some() {
            let json = HeaderValue::from_static("application/json");
            headers.insert(http::header::CONTENT_TYPE, json);
            *request.method_mut() = Method::POST;
        }
        Ok(Self {
            address: arguments.address,
            tls: tls(arguments)?,
            request,
        })
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let stream = self.tls.connect(name, stream).await?;
        let agreed = agreed(stream.get_ref().1).context("a handshake that agreed on nothing")?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends when its sender does.
        spawn_local(async move { drop(connection.await) });
        Ok(Connection { sender, agreed })
    }

    /// The status of a request whose answer was read to its end.
    async fn request(&self, sender: &mut SendRequest<Full<Bytes>>) -> anyhow::Result<u16> {
        sender.ready().await?;
        let response = sender.send_request(self.request.clone()).await?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Ok(status)
    }
}

fn tls(arguments: &Arguments) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&arguments.ca)?)?;
    let provider = CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Version, suite, group, and whether the handshake was a full one.
fn agreed(tls: &ClientConnection) -> Option<String> {
    let version = tls.protocol_version()?;
    let suite = tls.negotiated_cipher_suite()?.suite();
    let group = tls.negotiated_key_exchange_group()?.name();
    let kind = tls.handshake_kind()?;
    Some(format!("{version:?} {suite:?} {group:?} {kind:?}"))
}

/// What came of the requests.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    statuses: BTreeMap<u16, usize>,
    agreed: BTreeMap<String, usize>,
}

impl Seen {
    fn note(&mut self, status: u16, latency: Duration, agreed: &str) {
        self.latencies.push(latency);
        *self.statuses.entry(status).or_default() += 1;
        match self.agreed.get_mut(agreed) {
            Some(count) => *count += 1,
            None => drop(self.agreed.insert(agreed.to_owned(), 1)),
        }
    }

    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (agreed, count) in other.agreed {
            *self.agreed.entry(agreed).or_default() += count;
        }
    }

    fn into_json(mut self) -> serde_json::Value {
        self.latencies.sort_unstable();
        let at = |per_mille: usize| {
            let index = (self.latencies.len() * per_mille / 1000).min(self.latencies.len() - 1);
            self.latencies.get(index).map(Duration::as_micros)
        };
        json!({
            "requests": self.latencies.len(),
            "statuses": self.statuses,
            "agreed": self.agreed,
            "p50_us": at(500),
            "p99_us": at(990),
        })
    }
}

fn header(text: &str) -> anyhow::Result<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':').context("a header is `Name: value`")?;
    Ok((name.parse()?, value.trim().parse()?))
}
