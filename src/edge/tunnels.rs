//! WebSockets over HTTP/2. Each is a stream of its connection, counts as a request that is under way, and
//! does not outlive the connection, which keeps its place until the last of them is over.

use std::cell::RefCell;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::edge::core::CoreConfig;
use crate::edge::core::Witness;
use crate::edge::patience::UnderWay;
use crate::gate::tunnel::Tunnel;
use crate::telemetry::metrics::Metrics;

/// The WebSockets of one HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Tunnels {
    open: RefCell<JoinSet<()>>,
    draining: CancellationToken,
    metrics: Arc<Metrics>,
}

impl Tunnels {
    /// None, yet.
    pub(super) fn new(config: &CoreConfig) -> Self {
        Self {
            open: RefCell::default(),
            draining: config.draining.clone(),
            metrics: Arc::clone(&config.metrics),
        }
    }

    /// Runs one, in a task of its own: its stream's ends when the answer has been sent.
    pub(super) fn begin(&self, tunnel: Tunnel, under_way: UnderWay) {
        let draining = self.draining.clone();
        let witness = Witness(Arc::clone(&self.metrics));
        let mut open = self.open.borrow_mut();
        while open.try_join_next().is_some() {}
        open.spawn_local(async move {
            let _witness = witness;
            // For what it is told a client opens its windows, which must not count as a flood.
            tunnel.run(&draining, || under_way.piece()).await;
        });
    }

    /// Waits for the last one's end.
    pub(super) async fn ended(&self) {
        let mut open = self.open.take();
        while open.join_next().await.is_some() {}
    }
}
