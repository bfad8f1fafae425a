//! Prometheus metrics (text format of OpenMetrics), with handles resolved before a request needs them.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::StatusCode;

use crate::telemetry::access::Decision;

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    // registry and families
}

impl Metrics {
    /// Registers everything.
    pub fn new() -> Arc<Self> { todo!() }
    /// The handles of one route, resolved once; `name` is the label.
    pub fn route(&self, name: &str) -> RouteMetrics { todo!() }
    /// The handles of hashing.
    pub fn hashing(&self) -> HashingMetrics { todo!() }
    /// One more connection accepted; dropped when it ends.
    pub fn connection(&self) -> ConnectionGuard { todo!() }
    /// A TLS handshake ended: `ok`, `failed` or `timeout`.
    pub fn handshake(&self, result: &'static str) { todo!() }
    /// A sign-in ended: `ok`, `bad_credentials`, `disabled`, `busy`, `unavailable`.
    pub fn login(&self, result: &'static str) { todo!() }
    /// A limit was asked: policy name, admitted or refused.
    pub fn limit(&self, policy: &str) -> LimitMetrics { todo!() }
    /// A header was dropped on its way in: `identity_alias`, `forwarding`, `name`.
    pub fn header_dropped(&self, reason: &'static str) { todo!() }
    /// A task of ours panicked and was contained.
    pub fn panicked(&self) { todo!() }
    /// Access-log lines that the writer could not take.
    pub fn log_lines_dropped(&self, lines: u64) { todo!() }
    /// The store answered or failed, as seen by the feed of changes.
    pub fn store_available(&self, available: bool) { todo!() }
    /// The text that `/metrics` answers.
    pub fn encode(&self) -> String { todo!() }
}

/// Handles of one route.
#[derive(Clone, Debug)]
pub struct RouteMetrics {}

impl RouteMetrics {
    /// Counts one answered request. Allowed requests of the usual methods touch only resolved handles.
    pub fn record(&self, method: &Method, status: StatusCode, decision: Decision, duration: Duration, upstream: Option<Duration>) { todo!() }
}

/// Handles of one limit policy.
#[derive(Clone, Debug)]
pub struct LimitMetrics {}

impl LimitMetrics {
    /// One admitted.
    pub fn admitted(&self) { todo!() }
    /// One refused.
    pub fn refused(&self) { todo!() }
}

/// Handles of password hashing.
#[derive(Clone, Debug)]
pub struct HashingMetrics {}

impl HashingMetrics {
    /// How many wait.
    pub fn queued(&self, waiting: usize) { todo!() }
    /// One hash was computed.
    pub fn hashed(&self, duration: Duration) { todo!() }
    /// One was refused.
    pub fn shed(&self) { todo!() }
}

/// Counts an open connection while it lives.
#[derive(Debug)]
pub struct ConnectionGuard {}
