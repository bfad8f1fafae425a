//! `/livez`, `/readyz` and `/metrics`, on their own listener. They change nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicU8;

use crate::telemetry::metrics::Metrics;

/// Whether the gateway takes requests: starting, ready, draining; and whether the store answers.
#[derive(Debug, Default)]
pub struct Readiness {
    state: AtomicU8,
}

impl Readiness {
    /// The listeners are bound and the revocations loaded.
    pub fn ready(&self) { todo!() }
    /// SIGTERM came.
    pub fn draining(&self) { todo!() }
    /// The store answers, or does not: still ready, and says that it is degraded.
    pub fn store(&self, available: bool) { todo!() }
}

/// Serves on a bound listener until it is dropped.
pub async fn serve(listener: tokio::net::TcpListener, metrics: Arc<Metrics>, readiness: Arc<Readiness>) { todo!() }
