//! The access log: one line per request, by a writer that never slows the path.
//!
//! A line is written into a buffer of the core that served the request and shipped to one writer
//! thread in batches; what the thread cannot take is dropped and counted. Never a query, token,
//! cookie, password or body: [`Entry`] has no place for them.

use std::net::IpAddr;
use std::time::Duration;
use std::time::SystemTime;

use http::Method;
use http::StatusCode;

use crate::config::LogFormat;

/// What was decided about a request, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    /// `allow`, `own` (an endpoint of ours), `preflight`, `redirect`, `unauthenticated`,
    /// `forbidden`, `limited`, `refused` (malformed), `not_found`, `unavailable`, `upstream_failed`.
    pub verdict: &'static str,
    /// The `code` of the refusal, or of the finer reason; empty when allowed.
    pub reason: &'static str,
}

/// One answered request.
#[derive(Debug)]
pub struct Entry<'a> {
    /// When the answer was complete.
    pub time: SystemTime,
    /// 32 hexadecimal digits.
    pub request_id: &'a str,
    /// The address held responsible.
    pub source: Option<IpAddr>,
    /// The method.
    pub method: &'a Method,
    /// The host, as sent.
    pub host: &'a str,
    /// The path without its query, as sent; may hold any visible byte and is escaped here.
    pub path: &'a str,
    /// `HTTP/1.1`, `HTTP/2.0`.
    pub protocol: http::Version,
    /// The route's name, or empty.
    pub route: &'a str,
    /// The `sub`.
    pub user: Option<&'a str>,
    /// The `sid`.
    pub session: Option<&'a str>,
    /// What was decided.
    pub decision: Decision,
    /// The answer's status.
    pub status: StatusCode,
    /// From the request's header to the answer's last byte.
    pub duration: Duration,
    /// From sending to the upstream to its response header.
    pub upstream: Option<Duration>,
    /// Bytes of the answer's body.
    pub bytes: u64,
}

/// Starts the writer thread and hands out the ends of the cores.
#[derive(Debug)]
pub struct AccessLog {}

impl AccessLog {
    /// Writes to standard output: human on a terminal, JSON elsewhere, or as configured.
    pub fn start(format: LogFormat, metrics: std::sync::Arc<crate::telemetry::metrics::Metrics>) -> std::io::Result<Self> { todo!() }
    /// A writer for one core. `!Sync`; cheap.
    pub fn local(&self) -> LocalLog { todo!() }
    /// Waits until everything handed over is written; called once, after the cores have stopped.
    pub fn finish(self) { todo!() }
}

/// One core's end.
#[derive(Debug)]
pub struct LocalLog {}

impl LocalLog {
    /// Formats into the reused buffer; ships it when it is large.
    pub fn write(&self, entry: &Entry<'_>) { todo!() }
    /// Ships what there is; the core calls this every 100 ms and at its end.
    pub fn flush(&self) { todo!() }
}
