//! The real gateway, bound and run as `portcullis serve` does, on ports of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use portcullis::clock::Clock;
use portcullis::config::Config;
use portcullis::config::ListenerKind;
use portcullis::startup;
use portcullis::startup::LogSink;
use portcullis::startup::Options;
use serde_json::Value;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::harness::PATIENCE;
use crate::harness::caller::Caller;
use crate::harness::caller::Protocol;
use crate::harness::eventually;
use crate::harness::install_crypto;
use crate::harness::raw::Raw;

/// What every gateway of a test has, unless its own lines say otherwise.
const DEFAULTS: &str = r#"
[gateway]
public_url = "https://localhost"
threads = 2
[[listeners]]
address = "127.0.0.1:0"
[[listeners]]
address = "127.0.0.1:0"
redirect = true
[[certificates]]
cert = "certs/localhost.pem"
key = "certs/localhost.key"
[connections]
drain_timeout = "10s"
[store]
url = "sqlite:data/portcullis.db"
[accounts]
registration = "open"
login_scopes = ["notes:read", "notes:write"]
[scopes]
"notes:read" = "Read your notes"
"notes:write" = "Change your notes"
[limits]
register = "off"
login = "off"
[admin]
listen = "127.0.0.1:0"
[log]
format = "json"
"#;

/// A running gateway. When it is dropped it drains, and fails its test if anything panicked.
pub(crate) struct Gateway {
    folder: Folder,
    clock: Clock,
    running: Option<Running>,
}

/// Where a gateway's files are, for as long as anybody needs them.
#[derive(Clone)]
pub(crate) struct Folder(Arc<TempDir>);

struct Running {
    listeners: Vec<(SocketAddr, ListenerKind)>,
    admin: Option<SocketAddr>,
    log: Arc<Mutex<Vec<u8>>>,
    shutdown: CancellationToken,
    thread: thread::JoinHandle<anyhow::Result<()>>,
}

impl Folder {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self(Arc::new(tempfile::tempdir().unwrap()))
    }

    /// With a `gateway.toml` of these lines over the defaults.
    pub(crate) fn with(lines: &str) -> Self {
        let folder = Self::new();
        folder.configure(lines);
        folder
    }

    /// Writes `gateway.toml` anew.
    pub(crate) fn configure(&self, lines: &str) {
        let own = toml::from_str(lines).unwrap_or_else(|error| panic!("{error}"));
        let merged = merged(toml::from_str(DEFAULTS).unwrap(), own);
        self.write("gateway.toml", &toml::to_string(&merged).unwrap());
    }

    /// Writes one file.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Where one file is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Every file in it and what it holds, but for what the harness keeps there.
    pub(crate) fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn collect(folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    collect(&path, found);
                } else {
                    let content = fs::read(&path).unwrap();
                    found.insert(path, content);
                }
            }
        }
        let mut found = BTreeMap::new();
        collect(self.root(), &mut found);
        for own in ["stdin", "stdout", "stderr"] {
            found.remove(&self.path(own));
        }
        found
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }
}

/// Tables are merged, everything else is replaced.
fn merged(mut under: toml::Table, over: toml::Table) -> toml::Table {
    for (key, value) in over {
        let value = match (under.remove(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => {
                toml::Value::Table(merged(under, over))
            }
            (_, value) => value,
        };
        under.insert(key, value);
    }
    under
}

impl Gateway {
    /// Starts one with these lines over the defaults.
    pub(crate) fn start(lines: &str) -> Self {
        Self::start_in(&Folder::with(lines))
    }

    /// Starts one that is where its `public_url` says, as browsers and clients of OAuth need it. In the lines
    /// `{url}` stands for that. Between finding a free port and taking it somebody else may; then there is
    /// another.
    pub(crate) fn start_at_its_url(lines: &str) -> Self {
        for _ in 0..20 {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = free.local_addr().unwrap();
            let url = format!("https://localhost:{}", address.port());
            let own = format!(
                "[gateway]\npublic_url = \"{url}\"\n[[listeners]]\naddress = \"{address}\"\n"
            );
            let own = merged(
                toml::from_str(&own).unwrap(),
                toml::from_str(&lines.replace("{url}", &url))
                    .unwrap_or_else(|error| panic!("{error}")),
            );
            let folder = Folder::with(&toml::to_string(&own).unwrap());
            let clock = Clock::default();
            drop(free);
            match Running::try_start(&folder, &clock) {
                Ok(running) => {
                    return Self {
                        folder,
                        clock,
                        running: Some(running),
                    };
                }
                Err(error) if error.contains("in use") => {}
                Err(error) => panic!("the gateway did not start: {error}"),
            }
        }
        panic!("no port was free");
    }

    /// What it calls itself: the `public_url` of one that is there.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address().port())
    }

    /// Starts one in a folder that has its `gateway.toml`.
    pub(crate) fn start_in(folder: &Folder) -> Self {
        let clock = Clock::default();
        let running = Running::start(folder, &clock);
        Self {
            folder: folder.clone(),
            clock,
            running: Some(running),
        }
    }

    /// Drains, waits for the end, and starts again with the same files and the same clock.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.running = Some(Running::start(&self.folder, &self.clock));
    }

    /// Begins to drain, without waiting.
    pub(crate) fn begin_to_drain(&self) {
        self.running().shutdown.cancel();
    }

    /// Drains and waits for the end.
    pub(crate) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }

    /// Its files.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Changes its database as nobody should: to see what it does where that is not as it was.
    pub(crate) async fn behind_its_back(&self, sql: &'static str) {
        let database = self.folder().path("data/portcullis.db");
        let options = SqliteConnectOptions::new().filename(database);
        let mut connection = options.connect().await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }

    /// Its time.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Where it speaks HTTPS.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener(ListenerKind::Tls)
    }

    /// Where it listens, in the order of the file.
    pub(crate) fn listeners(&self) -> Vec<SocketAddr> {
        let listeners = self.running().listeners.iter();
        listeners.map(|(address, _)| *address).collect()
    }

    /// The first listener of a kind.
    pub(crate) fn listener(&self, kind: ListenerKind) -> SocketAddr {
        let mut listeners = self.running().listeners.iter();
        listeners.find(|(_, other)| *other == kind).unwrap().0
    }

    /// The admin listener.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.running().admin.unwrap()
    }

    /// The authority to trust, in PEM form.
    pub(crate) fn authority(&self) -> Vec<u8> {
        fs::read(self.folder.path("certs/ca.pem")).unwrap()
    }

    /// Somebody without a credential, over HTTP/1.1.
    pub(crate) fn anonymous(&self) -> Caller {
        Caller::new(self.address(), &self.authority(), Protocol::Http1)
    }

    /// Somebody without a credential, over HTTP/2.
    pub(crate) fn anonymous_http2(&self) -> Caller {
        Caller::new(self.address(), &self.authority(), Protocol::Http2)
    }

    /// Somebody who has an account and has logged in.
    pub(crate) async fn signed_in(&self, username: &str) -> Caller {
        let mut caller = self.anonymous();
        caller.register(username).await;
        caller.log_in(username).await;
        caller
    }

    /// A TLS connection for bytes that no library would send.
    pub(crate) async fn raw(&self) -> Raw {
        Raw::connect_tls(self.address(), &self.authority()).await
    }

    /// `/metrics`, `/livez` or `/readyz`: status and body.
    pub(crate) fn ask_admin(&self, path: &str) -> (u16, String) {
        ask_plainly(self.admin(), path)
    }

    /// The number that a metric's line ends with; 0 for one that is not there.
    pub(crate) fn metric(&self, line: &str) -> f64 {
        metric(&self.ask_admin("/metrics").1, line)
    }

    /// The one access-log line of the request that was answered with this id.
    pub(crate) async fn log_line(&self, request_id: &str) -> Value {
        let has_id = |line: &Value| line["request_id"] == request_id;
        eventually("the line of a request in the log", async || {
            self.log_lines().into_iter().find(has_id)
        })
        .await
    }

    /// Every line that has been written so far.
    pub(crate) fn log_lines(&self) -> Vec<Value> {
        let text = self.log_text();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The access log as written so far.
    pub(crate) fn log_text(&self) -> String {
        String::from_utf8(self.running().log.lock().unwrap().clone()).unwrap()
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the gateway is running")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Running {
    fn start(folder: &Folder, clock: &Clock) -> Self {
        let started = Self::try_start(folder, clock);
        started.unwrap_or_else(|error| panic!("the gateway did not start: {error}"))
    }

    fn try_start(folder: &Folder, clock: &Clock) -> Result<Self, String> {
        install_crypto();
        let config = Config::load(&folder.path("gateway.toml"));
        let config = config.unwrap_or_else(|problems| panic!("{problems}"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let options = Options {
            clock: clock.clone(),
            log_sink: Some(LogSink(Box::new(SharedLog(Arc::clone(&log))))),
            ..Options::default()
        };
        let shutdown = CancellationToken::new();
        let until = shutdown.clone();
        let (bound, addresses) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("gateway".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()?;
                runtime.block_on(async move {
                    let gateway = startup::Gateway::bind(config, options).await?;
                    let listeners: Vec<_> = gateway.listeners().collect();
                    bound.send((listeners, gateway.admin()))?;
                    gateway.run(until).await
                })
            })
            .unwrap();
        let Ok((listeners, admin)) = addresses.recv() else {
            return Err(format!("{:?}", thread.join()));
        };
        if let Some(admin) = admin {
            wait_until_ready(admin);
        }
        Ok(Self {
            listeners,
            admin,
            log,
            shutdown,
            thread,
        })
    }

    fn stop(self) {
        if thread::panicking() {
            self.shutdown.cancel();
            let _ = self.thread.join();
            return;
        }
        // One that drains already does not answer any more, or not for long.
        let admin = self.admin.filter(|_| !self.shutdown.is_cancelled());
        let panics = admin.map(|admin| metric(&ask_plainly(admin, "/metrics").1, PANICS));
        self.shutdown.cancel();
        let ended = self.thread.join().expect("the gateway panicked");
        ended.expect("the gateway failed");
        assert_eq!(panics.unwrap_or_default(), 0.0, "a request panicked");
    }
}

/// As whoever starts a gateway would: its ports are bound before it is ready.
fn wait_until_ready(admin: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while ask_plainly(admin, "/readyz").0 != 200 {
        assert!(Instant::now() < deadline, "the gateway is never ready");
        thread::yield_now();
    }
}

/// Contained panics; a test in which there is one fails.
const PANICS: &str = "portcullis_panics_total";

struct SharedLog(Arc<Mutex<Vec<u8>>>);

impl Write for SharedLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn metric(metrics: &str, line: &str) -> f64 {
    let value = metrics
        .lines()
        .filter_map(|text| text.rsplit_once(' '))
        .find(|(name, _)| *name == line);
    value.map_or(0.0, |(_, value)| value.parse().unwrap())
}

/// One GET over plain HTTP/1.1: status and body.
pub(crate) fn ask_plainly(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned());
    (status.unwrap_or_default(), body.unwrap_or_default())
}
