//! Cores: one thread with one runtime each, on which the path of a request runs.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::task::spawn_local;
use tokio::time::MissedTickBehavior;
use tokio::time::interval;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Connections;
use crate::config::ListenerKind;
use crate::edge::accept::Accepted;
use crate::edge::http;
use crate::edge::proxy_protocol::Balancers;
use crate::edge::tls::Tls;
use crate::gate::Gate;
use crate::telemetry::metrics::Metrics;

/// How often a core ships its log and ends what has to end with its session; idle connections are
/// looked at less often.
const TICK: Duration = Duration::from_millis(100);
const SWEEP: Duration = Duration::from_secs(5);

/// Everything a core needs besides its gate.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// Limits and deadlines of connections.
    pub connections: Connections,
    /// Its port is where `redirect` listeners send people.
    pub public_url: Arc<url::Url>,
    /// Who may speak plain HTTP, or for others.
    pub balancers: Arc<Balancers>,
    /// What the listeners speak, in the file's order.
    pub listeners: Arc<[Spoken]>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Set when no more requests are to be taken.
    pub draining: CancellationToken,
}

/// What is spoken on a listener.
#[derive(Clone, Debug)]
pub struct Spoken {
    /// TLS and HTTP, or one of them.
    pub kind: ListenerKind,
    /// Whether a PROXY header comes first.
    pub proxy_protocol: bool,
    /// TLS as this listener speaks it, where it does.
    pub tls: Option<Tls>,
}

/// The ends by which connections reach the cores. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cores {
    ends: Arc<[End]>,
}

#[derive(Debug)]
struct End {
    accepted: mpsc::UnboundedSender<Accepted>,
    load: Arc<AtomicUsize>,
}

/// The threads, to be waited for.
#[derive(Debug)]
pub struct Threads {
    handles: Vec<JoinHandle<()>>,
    /// Nothing is ever sent: it closes when the last core has ended.
    alive: mpsc::Receiver<Infallible>,
}

impl Cores {
    /// Starts `count` threads; each calls `gate` once, on itself, because a gate cannot be moved.
    ///
    /// # Errors
    ///
    /// Where a thread or its runtime cannot be made.
    pub fn start(
        count: usize,
        config: &CoreConfig,
        gate: impl Fn() -> Gate + Clone + Send + 'static,
    ) -> io::Result<(Self, Threads)> {
        let mut ends = Vec::with_capacity(count);
        let mut handles = Vec::with_capacity(count);
        let (living, alive) = mpsc::channel(1);
        for index in 0..count {
            let (accepted, inbox) = mpsc::unbounded_channel();
            let load = Arc::new(AtomicUsize::new(0));
            let core = Core {
                config: config.clone(),
                load: Arc::clone(&load),
            };
            let gate = gate.clone();
            let living = living.clone();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let thread = thread::Builder::new()
                .name(format!("core-{index}"))
                .spawn(move || {
                    let _living = living;
                    // A task like any other: what is blocked on is asked at each turn of the runtime.
                    let run = async { spawn_local(core.run(inbox, gate)).await };
                    if let Err(error) = LocalSet::new().block_on(&runtime, run) {
                        std::panic::resume_unwind(error.into_panic());
                    }
                })?;
            ends.push(End { accepted, load });
            handles.push(thread);
        }
        Ok((Self { ends: ends.into() }, Threads { handles, alive }))
    }

    /// Hands a connection to the core with the fewest.
    pub fn serve(&self, accepted: Accepted) {
        let alive = self.ends.iter().filter(|end| !end.accepted.is_closed());
        let least = alive.min_by_key(|end| end.load.load(Ordering::Relaxed));
        if let Some(end) = least {
            end.load.fetch_add(1, Ordering::Relaxed);
            // A core that is gone is one that has drained: the connection is closed.
            let _ = end.accepted.send(accepted);
        }
    }
}

impl Threads {
    /// Waits for all cores to end.
    pub async fn ended(mut self) {
        let _closed = self.alive.recv().await;
        for thread in self.handles {
            if thread.join().is_err() {
                tracing::error!("a core ended by a panic");
            }
        }
    }
}

struct Core {
    config: CoreConfig,
    load: Arc<AtomicUsize>,
}

impl Core {
    async fn run(self, mut inbox: mpsc::UnboundedReceiver<Accepted>, gate: impl Fn() -> Gate) {
        let gate = Rc::new(gate());
        let config = Rc::new(self.config);
        let connections = TaskTracker::new();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweep = interval(SWEEP);
        loop {
            tokio::select! {
                () = config.draining.cancelled() => break,
                _ = tick.tick() => gate.tick(),
                _ = sweep.tick() => gate.upstreams.iter().for_each(|upstream| upstream.sweep()),
                accepted = inbox.recv() => {
                    let Some(accepted) = accepted else { break };
                    let guard = Served {
                        load: Arc::clone(&self.load),
                        _open: config.metrics.connection(),
                        _witness: Witness(Arc::clone(&config.metrics)),
                    };
                    let serve = http::serve(accepted, Rc::clone(&gate), Rc::clone(&config));
                    connections.spawn_local(async move {
                        let _guard = guard;
                        serve.await;
                    });
                }
            }
        }
        connections.close();
        let mut drained = pin!(timeout(
            config.connections.drain_timeout,
            connections.wait()
        ));
        let drained = loop {
            tokio::select! {
                drained = &mut drained => break drained,
                _ = tick.tick() => gate.tick(),
            }
        };
        if drained.is_err() {
            tracing::warn!("requests did not finish in time and were broken off");
        }
        gate.tick();
    }
}

/// Counts a connection for as long as it lives, however it ends.
struct Served {
    load: Arc<AtomicUsize>,
    _open: crate::telemetry::metrics::ConnectionGuard,
    _witness: Witness,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts a panic that ends the task it lives in (SECURITY 55). What a request does is contained in
/// the gate; this is for what is around it, where the connection is lost, and nothing else.
#[derive(Debug)]
pub(super) struct Witness(pub(super) Arc<Metrics>);

impl Drop for Witness {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.panicked();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SECURITY 55
    #[tokio::test]
    async fn a_panic_ends_one_task_and_is_counted() {
        let metrics = Metrics::new();
        let tasks = LocalSet::new();
        let task = |is_broken: bool| {
            let witness = Witness(Arc::clone(&metrics));
            tasks.spawn_local(async move {
                let _witness = witness;
                tokio::task::yield_now().await;
                assert!(!is_broken, "on purpose");
            })
        };
        let (broken, other) = (task(true), task(false));
        tasks.await;
        assert!(broken.await.unwrap_err().is_panic());
        other.await.unwrap();
        assert!(metrics.encode().contains("\nportcullis_panics_total 1\n"));
    }
}
