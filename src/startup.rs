//! From a [`Config`] to a running gateway: the one file that knows every room.
//!
//! Bind and run are two steps, so that port 0 and tests are ordinary.

mod assemble;
pub mod certificate;
pub mod look;
pub mod store_key;
pub mod stored;
pub mod upstream_tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::Context as _;
use anyhow::anyhow;
use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::account::pace::Pace;
use crate::authenticate::OpaqueSessions;
use crate::certificates::CertificateError;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::ListenerKind;
use crate::config::Problems;
use crate::edge::accept;
use crate::edge::accept::Bound;
use crate::edge::accept::Places;
use crate::edge::core::CoreConfig;
use crate::edge::core::Cores;
use crate::edge::core::Spoken;
use crate::edge::proxy_protocol::Balancers;
use crate::edge::tls::Certificates;
use crate::gate::Gate;
use crate::gate::limit::Quota;
use crate::issuers::Issuers;
use crate::keys::KeyRing;
use crate::oauth::guesses::Guesses;
use crate::password::Hasher;
use crate::providers::Providers;
use crate::revocations::Feed;
use crate::revocations::Revocations;
use crate::startup::assemble::Assembly;
use crate::startup::stored::Stored;
use crate::store::Open;
use crate::store::Store;
use crate::telemetry::access::AccessLog;
use crate::telemetry::access::Writer;
use crate::telemetry::admin;
use crate::telemetry::admin::Readiness;
use crate::telemetry::metrics::Metrics;
use crate::upstream::standing::Standing;
use crate::vault::Vault;

/// How often counts and revocations that have lapsed are forgotten.
const SWEEP: Duration = Duration::from_secs(60);
/// How often it is taken down which sessions of browsers were seen.
const SEEN: Duration = Duration::from_secs(10);
/// How often the store forgets what has lapsed.
const PRUNE: Duration = Duration::from_secs(60 * 60);

/// How the gateway is to be started, beside what the file says.
#[derive(Debug, Default)]
pub struct Options {
    /// Make a development certificate although a listener is not on loopback.
    pub dev: bool,
    /// Time; only tests set it.
    pub clock: Clock,
    /// Where the access log goes instead of standard output.
    pub log_sink: Option<LogSink>,
}

/// Something to write the access log to.
pub struct LogSink(pub Box<dyn io::Write + Send>);

impl std::fmt::Debug for LogSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogSink(..)")
    }
}

/// What was made because it was missing, for the person who started it.
#[derive(Debug, Default)]
pub struct Made {
    /// A development certificate, and the authority to trust.
    pub certificate: Option<certificate::Made>,
    /// The store's key.
    pub store_key: Option<std::path::PathBuf>,
    /// The database, with its signing keys.
    pub database: Option<std::path::PathBuf>,
}

/// A gateway whose ports are bound and whose store is open; it serves nothing yet.
#[derive(Debug)]
pub struct Gateway {
    config: Arc<Config>,
    listeners: Vec<Bound>,
    admin: Option<TcpListener>,
    spoken: Vec<Spoken>,
    assembly: Assembly,
    log_writer: Writer,
    feed: Feed,
    position: i64,
    readiness: Arc<Readiness>,
    made: Made,
}

impl Gateway {
    /// Binds every port, opens the store, makes what is missing.
    ///
    /// # Errors
    ///
    /// At the first thing that cannot be had; nothing is served then. What is wrong with something
    /// that the file names is a [`Problems`](crate::config::Problems), with its place.
    pub async fn bind(config: Config, options: Options) -> anyhow::Result<Self> {
        let config = Arc::new(config);
        let clock = options.clock;
        let metrics = Metrics::new();
        // The ports first: where another gateway has them, its files and its store are its own.
        let (listeners, admin) = listen_on_all(&config)?;
        let missing = certificate::missing(&config, options.dev, clock.now())?;
        let upstream_tls = upstream_tls::load(&config, clock.now())?;
        let issuers = issuers(&config, &clock, &metrics)?;
        let providers = providers(&config, &clock)?;
        let look = look::load(&config)?;

        let Stored {
            store,
            vault,
            ring,
            made_key,
            made_database,
        } = Stored::open(&config, Open::Create).await?;
        let made = Made {
            certificate: missing
                .map(|files| certificate::make(&config, files))
                .transpose()?,
            store_key: made_key,
            database: made_database,
        };
        let spoken = spoken(&config, clock.now())?;
        let keys = ring.load(clock.now()).await?;
        let keys = Arc::new(ArcSwap::from_pointee(keys));
        let revocations = Arc::new(Revocations::default());
        let feed = Feed {
            store: store.clone(),
            revocations: Arc::clone(&revocations),
            ring,
            keys: Arc::clone(&keys),
            clock: clock.clone(),
        };
        // Loaded before anything is served: a token that was ended while nobody ran is refused.
        let position = feed.load().await?;

        let log = match options.log_sink {
            Some(sink) => AccessLog::start_with(sink.0, config.log.format, Arc::clone(&metrics)),
            None => AccessLog::start(config.log.format, Arc::clone(&metrics)),
        };
        let (log, log_writer) = log.context("cannot start the log's writer")?;
        let assembly = Assembly {
            hasher: Hasher::start(&config.hashing, metrics.hashing())
                .context("cannot start the hashing threads")?,
            log,
            config: Arc::clone(&config),
            clock,
            metrics,
            vault,
            keys,
            revocations,
            store: store.clone(),
            issuers,
            providers,
            upstream_tls,
            look,
        };

        Ok(Self {
            config,
            listeners,
            admin,
            spoken,
            assembly,
            log_writer,
            feed,
            position,
            readiness: Arc::new(Readiness::default()),
            made,
        })
    }

    /// What was made because it was missing.
    pub fn made(&self) -> &Made {
        &self.made
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Where it listens, in the file's order, with the ports it really has.
    pub fn listeners(&self) -> impl Iterator<Item = (SocketAddr, ListenerKind)> {
        self.listeners
            .iter()
            .map(|bound| (bound.address, bound.kind))
    }

    /// Where health and metrics are.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr().ok()
    }

    /// Serves until `shutdown`; then takes no more requests, lets those under way finish, and
    /// returns when the last line of the log is written.
    ///
    /// # Errors
    ///
    /// Where a thread cannot be started, or the feed of changes ended by itself.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self {
            config,
            listeners,
            admin,
            spoken,
            assembly,
            log_writer,
            feed,
            position,
            readiness,
            made: _,
        } = self;
        let draining = CancellationToken::new();
        let closed = CancellationToken::new();
        let background = TaskTracker::new();
        let metrics = Arc::clone(&assembly.metrics);
        let store = assembly.store.clone();

        let on_availability = {
            let (metrics, readiness) = (Arc::clone(&metrics), Arc::clone(&readiness));
            move |available| {
                metrics.store_available(available);
                readiness.store(available);
            }
        };
        let following = background.spawn(feed.follow(position, on_availability, closed.clone()));
        if let Some(admin) = admin {
            let serve = admin::serve(admin, Arc::clone(&metrics), Arc::clone(&readiness));
            background.spawn(until(closed.clone(), serve));
        }

        let prune = prune(assembly.store.clone(), assembly.clock.clone());
        background.spawn(until(closed.clone(), prune));
        let (revocations, clock) = (Arc::clone(&assembly.revocations), assembly.clock.clone());
        for issuer in assembly.issuers.list() {
            background.spawn(until(closed.clone(), Arc::clone(issuer).follow()));
        }
        for provider in assembly.providers.list() {
            background.spawn(until(closed.clone(), Arc::clone(provider).follow()));
        }
        let gates = assembly.gates(Handle::current());
        background.spawn(until(
            closed.clone(),
            sweep(
                revocations,
                clock,
                gates.quotas(),
                Arc::clone(gates.guesses()),
                Arc::clone(gates.pace()),
            ),
        ));
        let sessions = Arc::clone(gates.sessions());
        background.spawn(until(closed.clone(), write_seen(Arc::clone(&sessions))));
        for task in gates.upstreams().iter().flat_map(Standing::tasks) {
            background.spawn(until(closed.clone(), task));
        }
        let balancers = Arc::new(Balancers::new(config.gateway.trusted_proxies.clone()));
        let core_config = CoreConfig {
            connections: config.connections.clone(),
            public_url: Arc::new(config.gateway.public_url.clone()),
            balancers: Arc::clone(&balancers),
            listeners: spoken.into(),
            metrics: Arc::clone(&metrics),
            draining: draining.clone(),
        };
        let threads = config.gateway.threads;
        let (cores, threads) = Cores::start(threads, &core_config, move || gates.gate())
            .context("cannot start the cores")?;
        let places = Places::new(&config, balancers, metrics);
        let acceptor = start_acceptor(listeners, &places, &cores, &draining)?;
        readiness.ready();

        // Without the feed, what other processes revoke would not be felt: better not to serve.
        let outcome = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            _ = following => Err(anyhow!("the feed of the store's changes ended by a panic")),
        };
        tracing::info!("draining: no more requests are taken");
        readiness.draining();
        draining.cancel();
        threads.ended().await;
        if acceptor.join().is_err() {
            tracing::error!("the acceptor ended by a panic");
        }
        closed.cancel();
        background.close();
        background.wait().await;
        sessions.write_seen().await;
        store.close().await;
        log_writer.finish();
        outcome
    }
}

/// The gate of a gateway that serves nothing, for `portcullis explain`: the same routes, policies
/// and keys, put together by the same hands.
///
/// # Errors
///
/// Where the keys do not open, or a thread cannot be started.
pub async fn gate_of(
    config: Arc<Config>,
    store: Store,
    vault: Arc<Vault>,
    ring: &KeyRing,
    clock: Clock,
) -> anyhow::Result<Gate> {
    let metrics = Metrics::new();
    let look = look::load(&config)?;
    let keys = ring.reload(clock.now()).await?;
    let issuers = issuers(&config, &clock, &metrics)?;
    let providers = providers(&config, &clock)?;
    let nowhere = Box::new(io::sink());
    let (log, _) = AccessLog::start_with(nowhere, config.log.format, Arc::clone(&metrics))?;
    let assembly = Assembly {
        hasher: Hasher::start(&config.hashing, metrics.hashing())?,
        config,
        clock,
        log,
        metrics,
        vault,
        keys: Arc::new(ArcSwap::from_pointee(keys)),
        revocations: Arc::new(Revocations::default()),
        store,
        issuers,
        providers,
        upstream_tls: Vec::new(),
        look,
    };
    Ok(assembly.gates(Handle::current()).gate())
}

/// Other issuers, or every file of theirs that cannot be used.
fn issuers(config: &Config, clock: &Clock, metrics: &Metrics) -> Result<Arc<Issuers>, Problems> {
    let issuers = upstream_tls::issuers(config, clock, metrics);
    issuers.map(Arc::new).map_err(|problems| Problems {
        file: config.file.clone(),
        problems,
    })
}

/// Whom people may sign in with, or every file of theirs that cannot be used.
fn providers(config: &Config, clock: &Clock) -> Result<Arc<Providers>, Problems> {
    let providers = upstream_tls::providers(config, clock);
    providers.map(Arc::new).map_err(|problems| Problems {
        file: config.file.clone(),
        problems,
    })
}

/// Runs a task of the background for as long as anything is served.
async fn until(closed: CancellationToken, task: impl Future<Output = ()>) {
    // Either it ended or everything did; nobody waits to hear which.
    let _ = closed.run_until_cancelled(task).await;
}

/// Forgets what has lapsed, so that memory follows what is in use.
async fn sweep(
    revocations: Arc<Revocations>,
    clock: Clock,
    quotas: Vec<Quota>,
    guesses: Arc<Guesses>,
    pace: Arc<Pace>,
) {
    loop {
        tokio::time::sleep(SWEEP).await;
        revocations.prune(clock.now());
        for quota in &quotas {
            quota.sweep();
        }
        guesses.sweep();
        pace.sweep();
    }
}

/// Takes down which sessions of browsers were seen, so that none idles away elsewhere that is in use.
async fn write_seen(sessions: Arc<OpaqueSessions>) {
    loop {
        tokio::time::sleep(SEEN).await;
        sessions.write_seen().await;
    }
}

/// Prunes the store: apart from everything else, because it takes as long as it takes.
async fn prune(store: Store, clock: Clock) {
    loop {
        if let Err(error) = store.prune(clock.now()).await {
            tracing::warn!(%error, "cannot prune the store; trying again in an hour");
        }
        tokio::time::sleep(PRUNE).await;
    }
}

/// Every port, or none.
fn listen_on_all(config: &Config) -> anyhow::Result<(Vec<Bound>, Option<TcpListener>)> {
    let refused = |address: SocketAddr, position, error: &io::Error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "something else, perhaps a gateway, listens there: end it, or choose another port"
            }
            io::ErrorKind::AddrNotAvailable => "choose an address that this machine has",
            io::ErrorKind::PermissionDenied => {
                "choose a port from 1024 on, or allow lower ones: CAP_NET_BIND_SERVICE"
            }
            _ => "choose another address",
        };
        config.problem(
            position,
            format!("cannot listen on {address}: {error}; {advice}"),
        )
    };
    let mut listeners = Vec::with_capacity(config.listeners.len());
    for (index, listener) in config.listeners.iter().enumerate() {
        let bound = listen(listener.address)
            .map_err(|error| refused(listener.address, listener.position, &error))?;
        let address = bound
            .local_addr()
            .context("cannot learn the bound address")?;
        listeners.push(Bound {
            listener: bound,
            index,
            kind: listener.kind,
            proxy_protocol: listener.proxy_protocol,
            address,
        });
    }
    let admin = config.admin.map(|admin| {
        listen(admin.address).map_err(|error| refused(admin.address, admin.position, &error))
    });
    Ok((listeners, admin.transpose()?))
}

/// What each listener speaks, in the file's order.
fn spoken(config: &Config, now: SystemTime) -> Result<Vec<Spoken>, CertificateError> {
    let certificates = certificate::needs_tls(config)
        .then(|| Certificates::load(&config.certificates, now))
        .transpose()?;
    let spoken = config.listeners.iter().map(|listener| {
        let certificates = certificates
            .as_ref()
            .filter(|_| listener.kind == ListenerKind::Tls);
        let tls =
            certificates.map(|certificates| certificates.tls(listener.client_certificate.as_ref()));
        Ok(Spoken {
            kind: listener.kind,
            proxy_protocol: listener.proxy_protocol,
            tls: tls.transpose()?,
        })
    });
    spoken.collect()
}

/// Takes a port of this process alone: `SO_REUSEPORT` would let a second gateway bind it unnoticed.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    const BACKLOG: u32 = 1024;
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// One thread accepts for all listeners, so that nothing slow is ever in front of a newcomer.
fn start_acceptor(
    listeners: Vec<Bound>,
    places: &Arc<Places>,
    cores: &Cores,
    draining: &CancellationToken,
) -> anyhow::Result<thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the acceptor")?;
    // From the runtime that bound them to the acceptor's own.
    let listeners = listeners
        .into_iter()
        .map(|bound| {
            Ok((
                bound.listener.into_std()?,
                bound.index,
                bound.kind,
                bound.proxy_protocol,
                bound.address,
            ))
        })
        .collect::<io::Result<Vec<_>>>()
        .context("cannot move a listener to the acceptor")?;
    let (places, cores, draining) = (Arc::clone(places), cores.clone(), draining.clone());
    thread::Builder::new()
        .name("acceptor".to_owned())
        .spawn(move || {
            runtime.block_on(async move {
                let accepting = TaskTracker::new();
                for (listener, index, kind, proxy_protocol, address) in listeners {
                    match TcpListener::from_std(listener) {
                        Ok(listener) => {
                            let bound = Bound {
                                listener,
                                index,
                                kind,
                                proxy_protocol,
                                address,
                            };
                            let (places, cores) = (Arc::clone(&places), cores.clone());
                            accepting.spawn(accept::run(bound, places, cores, draining.clone()));
                        }
                        Err(error) => tracing::error!(%error, %address, "cannot accept"),
                    }
                }
                accepting.close();
                accepting.wait().await;
            });
        })
        .context("cannot start the acceptor")
}
