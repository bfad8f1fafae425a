//! The acceptor: takes connections, within a bound, and hands each to the least loaded core.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::config::ListenerKind;
use crate::edge::core::Cores;
use crate::edge::proxy_protocol::Balancers;
use crate::limiter::LimitKey;
use crate::limiter::Tally;
use crate::telemetry::metrics::Metrics;

/// How long the acceptor pauses when the process has no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener that is bound.
#[derive(Debug)]
pub struct Bound {
    /// The socket.
    pub listener: TcpListener,
    /// Its place in the file, by which cores know it.
    pub index: usize,
    /// What it speaks.
    pub kind: ListenerKind,
    /// Whether every connection says whom it is for.
    pub proxy_protocol: bool,
    /// Its address, with the port it really has.
    pub address: SocketAddr,
}

/// A connection on its way to a core.
#[derive(Debug)]
pub struct Accepted {
    /// The socket, belonging to no runtime yet.
    pub stream: std::net::TcpStream,
    /// The other end.
    pub peer: SocketAddr,
    /// The listener it came to, by its place in the file.
    pub listener: usize,
    /// One of `connections.max`, for as long as the connection lives.
    pub place: Place,
}

/// Places for connections: `connections.max` in all, and for one address no more than
/// `connections.per_address`, nor than are left for everybody else (SECURITY 53).
#[derive(Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    held: Mutex<Tally>,
    per_address: usize,
    always_granted: usize,
    /// They open connections for many: trusted proxies, and networks that no limit counts.
    exempt: Vec<IpNet>,
    balancers: Arc<Balancers>,
    ipv6_prefix: u8,
    metrics: Arc<Metrics>,
    warned: AtomicBool,
}

/// A place that somebody holds. It comes back when it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    holder: Option<LimitKey>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// However few are left, a browser gets the six connections it opens to one host, and some more.
    const ALWAYS_GRANTED: usize = 16;

    /// As many as are configured. Whose addresses are one caller's is told as limits tell it.
    pub fn new(config: &Config, balancers: Arc<Balancers>, metrics: Arc<Metrics>) -> Arc<Self> {
        let exempt = [&config.gateway.trusted_proxies, &config.limits.exempt];
        let per_address = config.connections.per_address;
        Arc::new(Self {
            free: Arc::new(Semaphore::new(config.connections.max)),
            held: Mutex::default(),
            per_address,
            always_granted: Self::ALWAYS_GRANTED.min(per_address),
            exempt: exempt.into_iter().flatten().copied().collect(),
            balancers,
            ipv6_prefix: config.limits.ipv6_prefix,
            metrics,
            warned: AtomicBool::new(false),
        })
    }

    /// Gives a place to whoever is at the other end, unless it holds too many. One who is about to say
    /// whom it is for is counted when that is known.
    fn grant(
        self: &Arc<Self>,
        peer: IpAddr,
        proxy_protocol: bool,
        permit: OwnedSemaphorePermit,
    ) -> Option<Place> {
        let mut place = Place {
            places: Arc::clone(self),
            holder: None,
            _permit: permit,
        };
        let is_counted_later = proxy_protocol && self.balancers.include(peer);
        (is_counted_later || place.count(peer)).then_some(place)
    }

    /// A panic elsewhere leaves whole counts behind.
    fn held(&self) -> MutexGuard<'_, Tally> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Counts the place as this address's: false where that holds too many already, and has to go.
    pub(super) fn count(&mut self, address: IpAddr) -> bool {
        let places = &self.places;
        let address = address.to_canonical();
        if places
            .exempt
            .iter()
            .any(|network| network.contains(&address))
        {
            return true;
        }
        let key = LimitKey::source(address, places.ipv6_prefix);
        // Asked under the lock, so that of many who come at once each sees what the others leave.
        let mut held = places.held();
        let left = places.free.available_permits().max(places.always_granted);
        if !held.take(&key, places.per_address.min(left)) {
            places.metrics.connection_refused();
            if !places.warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    client = %address,
                    "an address holds as many connections as it may (connections.per_address, and what \
                     is left for all others) and gets no more; said once, counted always"
                );
            }
            return false;
        }
        self.holder = Some(key);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(holder) = &self.holder {
            self.places.held().give_back(holder);
        }
    }
}

/// Accepts until told to drain.
pub async fn run(bound: Bound, places: Arc<Places>, cores: Cores, draining: CancellationToken) {
    // It is said when that begins and when it ends, not each time that nothing has changed.
    let mut is_pausing = false;
    loop {
        // The permit first: a connection that cannot be served waits in the kernel's queue.
        let permit = tokio::select! {
            () = draining.cancelled() => return,
            permit = Arc::clone(&places.free).acquire_owned() => permit,
        };
        let Ok(permit) = permit else {
            return;
        };
        let accepted = tokio::select! {
            () = draining.cancelled() => return,
            accepted = bound.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if std::mem::take(&mut is_pausing) {
                    tracing::info!(address = %bound.address, "accepting connections again");
                }
                // One who gets no place is closed at once: there is no TLS yet to say why.
                if let Some(place) = places.grant(peer.ip(), bound.proxy_protocol, permit) {
                    hand_over(&bound, stream, peer, place, &cores);
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut is_pausing, true) {
                    tracing::warn!(
                        %error,
                        address = %bound.address,
                        "cannot accept connections; those that come wait in the kernel's queue"
                    );
                }
                sleep(PAUSE).await;
            }
        }
    }
}

fn hand_over(bound: &Bound, stream: TcpStream, peer: SocketAddr, place: Place, cores: &Cores) {
    // Without it small answers wait for acknowledgements; failing to set it only costs time.
    let _ = stream.set_nodelay(true);
    // A socket that cannot be moved is one that is already gone.
    if let Ok(stream) = stream.into_std() {
        cores.serve(Accepted {
            stream,
            peer,
            listener: bound.index,
            place,
        });
    }
}

/// Errors that `accept` reports for a connection that is gone, and that say nothing of the next.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::ConnectionAborted
            | std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::ConnectionRefused
            | std::io::ErrorKind::Interrupted
    )
}
