//! Prometheus metrics (text format of OpenMetrics), with handles resolved before a request needs them.
//!
//! Labels hold names of the file's and words of ours: never a user, a client's address, a host or a
//! path, and of methods only the usual ones, so that no stranger can make a new series.

pub mod issuers;
mod timing;
pub mod upstreams;

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use http::Method;
use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

use crate::telemetry::access::Decision;
use crate::telemetry::metrics::issuers::Issuers;
use crate::telemetry::metrics::timing::Timing;
use crate::telemetry::metrics::upstreams::Upstreams;

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_duration: Family<RouteLabels, Timing>,
    upstream_duration: Family<RouteLabels, Timing>,
    connections_open: Gauge,
    connections: Counter,
    connections_refused: Counter,
    http2_floods: Counter,
    handshakes: Family<ResultLabels, Counter>,
    logins: Family<ResultLabels, Counter>,
    limits: Family<LimitLabels, Counter>,
    headers_dropped: Family<ReasonLabels, Counter>,
    hashing: HashingMetrics,
    panics: Counter,
    log_lines_dropped: Counter,
    store_available: Gauge,
    upstreams: Upstreams,
    issuers: Issuers,
}

impl Metrics {
    /// Registers everything.
    pub fn new() -> Arc<Self> {
        let panics = Counter::default();
        let mut metrics = Self {
            registry: Registry::with_prefix("portcullis"),
            requests: Family::default(),
            request_duration: Family::default(),
            upstream_duration: Family::default(),
            connections_open: Gauge::default(),
            connections: Counter::default(),
            connections_refused: Counter::default(),
            http2_floods: Counter::default(),
            handshakes: Family::default(),
            logins: Family::default(),
            limits: Family::default(),
            headers_dropped: Family::default(),
            hashing: HashingMetrics::new(panics.clone()),
            panics,
            log_lines_dropped: Counter::default(),
            store_available: Gauge::default(),
            upstreams: Upstreams::default(),
            issuers: Issuers::default(),
        };
        metrics.register();
        Arc::new(metrics)
    }

    /// The registry writes the suffixes `_total`, `_seconds` and `_info`; without them, names must
    /// differ all the same (OpenMetrics 1.0, MetricFamily), hence `connections_open` beside `connections`.
    fn register(&mut self) {
        let registry = &mut self.registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running build", build);
        registry.register("requests", "Answered requests", self.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "From a request's header to its answer's last byte",
            Unit::Seconds,
            self.request_duration.clone(),
        );
        registry.register_with_unit(
            "upstream_duration",
            "From sending a request to an upstream to its response header",
            Unit::Seconds,
            self.upstream_duration.clone(),
        );
        registry.register(
            "connections_open",
            "Open connections",
            self.connections_open.clone(),
        );
        registry.register(
            "connections",
            "Accepted connections",
            self.connections.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections closed at once because their address held too many",
            self.connections_refused.clone(),
        );
        registry.register(
            "http2_floods",
            "Connections closed because of too many control frames",
            self.http2_floods.clone(),
        );
        registry.register(
            "tls_handshakes",
            "Ended TLS handshakes",
            self.handshakes.clone(),
        );
        registry.register("logins", "Ended sign-ins", self.logins.clone());
        registry.register("limit_decisions", "What limits said", self.limits.clone());
        registry.register(
            "headers_dropped",
            "Header lines of requests that were not passed on",
            self.headers_dropped.clone(),
        );
        registry.register_with_unit(
            "password_hash",
            "Computing one password hash",
            Unit::Seconds,
            self.hashing.duration.clone(),
        );
        registry.register(
            "hash_queue_depth",
            "Passwords that wait to be hashed",
            self.hashing.waiting.clone(),
        );
        registry.register(
            "hashes_shed",
            "Passwords that were not hashed because too many waited",
            self.hashing.shed.clone(),
        );
        registry.register("panics", "Panics that were contained", self.panics.clone());
        registry.register(
            "log_lines_dropped",
            "Access-log lines that could not be written",
            self.log_lines_dropped.clone(),
        );
        registry.register(
            "store_available",
            "1 while the store answers, else 0",
            self.store_available.clone(),
        );
        self.upstreams.register(registry);
        self.issuers.register(registry);
    }

    /// The handles of one route, resolved once; `name` is the label.
    pub fn route(&self, name: &str) -> RouteMetrics {
        let labels = RouteLabels {
            route: name.to_owned(),
        };
        RouteMetrics(Arc::new(Route {
            name: name.to_owned(),
            allowed: Default::default(),
            requests: self.requests.clone(),
            duration: self.request_duration.get_or_create_owned(&labels),
            upstream: self.upstream_duration.get_or_create_owned(&labels),
        }))
    }

    /// The handles of upstreams.
    pub fn upstreams(&self) -> &Upstreams {
        &self.upstreams
    }

    /// The handles of other issuers.
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// The handles of hashing.
    pub fn hashing(&self) -> HashingMetrics {
        self.hashing.clone()
    }

    /// One more connection accepted; dropped when it ends.
    pub fn connection(&self) -> ConnectionGuard {
        self.connections.inc();
        self.connections_open.inc();
        ConnectionGuard(self.connections_open.clone())
    }

    /// An address held as many connections as it may.
    pub fn connection_refused(&self) {
        self.connections_refused.inc();
    }

    /// A connection was closed because of too many control frames.
    pub fn flooded(&self) {
        self.http2_floods.inc();
    }

    /// A TLS handshake ended: `ok`, `failed` or `timeout`.
    pub fn handshake(&self, result: &'static str) {
        self.handshakes
            .get_or_create(&ResultLabels { result })
            .inc();
    }

    /// A sign-in ended: `ok`, `bad_credentials`, `disabled`, `overtaken`, `busy`, `unavailable`.
    pub fn login(&self, result: &'static str) {
        self.logins.get_or_create(&ResultLabels { result }).inc();
    }

    /// The handles of one limit, resolved once; `policy` is its name.
    pub fn limit(&self, policy: &str) -> LimitMetrics {
        let counter = |result| {
            self.limits.get_or_create_owned(&LimitLabels {
                policy: policy.to_owned(),
                result,
            })
        };
        LimitMetrics {
            admitted: counter("admitted"),
            refused: counter("refused"),
        }
    }

    /// Headers were dropped on their way in: `identity_alias`, `forwarding`, `name`.
    pub fn headers_dropped(&self, reason: &'static str, count: u64) {
        self.headers_dropped
            .get_or_create(&ReasonLabels { reason })
            .inc_by(count);
    }

    /// A task of ours panicked and was contained.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// Access-log lines that the writer could not take.
    pub fn log_lines_dropped(&self, lines: u64) {
        self.log_lines_dropped.inc_by(lines);
    }

    /// The store answered or failed, as seen by the feed of changes.
    pub fn store_available(&self, available: bool) {
        self.store_available.set(available.into());
    }

    /// The text that `/metrics` answers.
    #[expect(
        clippy::expect_used,
        reason = "a String takes all that is written to it, and labels are plain strings"
    )]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("a String takes everything");
        text
    }
}

/// Handles of one route.
#[derive(Clone, Debug)]
pub struct RouteMetrics(Arc<Route>);

#[derive(Debug)]
struct Route {
    name: String,
    /// Counters of allowed requests by method and class of status, looked up when first needed.
    allowed: [[OnceLock<Counter>; CLASSES.len()]; METHODS.len()],
    requests: Family<RequestLabels, Counter>,
    duration: Timing,
    upstream: Timing,
}

impl RouteMetrics {
    /// Counts one answered request. Allowed requests of the usual methods touch only resolved handles.
    pub fn record(
        &self,
        method: &Method,
        status: StatusCode,
        decision: Decision,
        duration: Duration,
        upstream: Option<Duration>,
    ) {
        let route = &*self.0;
        match route.resolved(method, status, decision) {
            Some(counter) => counter.inc(),
            None => route.look_up(method, status, decision).inc(),
        };
        route.duration.observe(duration);
        if let Some(upstream) = upstream {
            route.upstream.observe(upstream);
        }
    }
}

impl Route {
    fn resolved(
        &self,
        method: &Method,
        status: StatusCode,
        decision: Decision,
    ) -> Option<&Counter> {
        if decision.verdict != "allow" || !decision.reason.is_empty() {
            return None;
        }
        let method_index = METHODS.iter().position(|usual| *usual == method.as_str())?;
        let class_index = usize::from(status.as_u16() / 100).checked_sub(1)?;
        let counter = self.allowed.get(method_index)?.get(class_index)?;
        Some(counter.get_or_init(|| self.look_up(method, status, decision)))
    }

    fn look_up(&self, method: &Method, status: StatusCode, decision: Decision) -> Counter {
        self.requests.get_or_create_owned(&RequestLabels {
            route: self.name.clone(),
            method: method_label(method),
            status: class_label(status),
            decision: decision.verdict,
            reason: decision.reason,
        })
    }
}

/// Handles of one limit policy.
#[derive(Clone, Debug)]
pub struct LimitMetrics {
    admitted: Counter,
    refused: Counter,
}

impl LimitMetrics {
    /// One admitted.
    pub fn admitted(&self) {
        self.admitted.inc();
    }

    /// One refused.
    pub fn refused(&self) {
        self.refused.inc();
    }
}

/// Handles of password hashing.
#[derive(Clone, Debug)]
pub struct HashingMetrics {
    waiting: Gauge,
    duration: Histogram,
    shed: Counter,
    panics: Counter,
}

impl HashingMetrics {
    fn new(panics: Counter) -> Self {
        Self {
            panics,
            waiting: Gauge::default(),
            duration: Histogram::new([0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0]),
            shed: Counter::default(),
        }
    }

    /// Hashing one password panicked; the thread goes on.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// One more waits to be hashed.
    pub fn queued(&self) {
        self.waiting.inc();
    }

    /// One no longer waits.
    pub fn taken_up(&self) {
        self.waiting.dec();
    }

    /// One hash was computed.
    pub fn hashed(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }

    /// One was refused.
    pub fn shed(&self) {
        self.shed.inc();
    }
}

/// Counts an open connection while it lives.
#[derive(Debug)]
pub struct ConnectionGuard(Gauge);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: &'static str,
    decision: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    policy: String,
    result: &'static str,
}

/// The methods of RFC 9110 §9.3 and RFC 5789, the most frequent first; all others count as `OTHER`.
const METHODS: [&str; 9] = [
    "GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE",
];

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

fn method_label(method: &Method) -> &'static str {
    let usual = METHODS.into_iter().find(|usual| *usual == method.as_str());
    usual.unwrap_or("OTHER")
}

fn class_label(status: StatusCode) -> &'static str {
    let index = usize::from(status.as_u16() / 100).saturating_sub(1);
    CLASSES.get(index).copied().unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Decision = Decision {
        verdict: "allow",
        reason: "",
    };

    #[track_caller]
    fn check(metrics: &Metrics, line: &str) {
        let text = metrics.encode();
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }

    fn record(route: &RouteMetrics, method: &Method, status: u16, decision: Decision) {
        let status = StatusCode::from_u16(status).unwrap();
        let upstream = (decision == ALLOWED).then_some(Duration::from_millis(3));
        route.record(method, status, decision, Duration::from_millis(4), upstream);
    }

    #[test]
    fn requests_are_counted_by_route_method_class_and_decision() {
        let metrics = Metrics::new();
        let notes = metrics.route("notes");
        record(&notes, &Method::GET, 200, ALLOWED);
        record(&notes.clone(), &Method::GET, 204, ALLOWED);
        record(&metrics.route("notes"), &Method::GET, 299, ALLOWED);
        record(&notes, &Method::GET, 503, ALLOWED);
        let limited = Decision {
            verdict: "limited",
            reason: "per_user",
        };
        record(&notes, &Method::POST, 429, limited);

        let line = |rest| format!("portcullis_requests_total{{route=\"notes\",method={rest}");
        check(
            &metrics,
            &line(r#""GET",status="2xx",decision="allow",reason=""} 3"#),
        );
        check(
            &metrics,
            &line(r#""GET",status="5xx",decision="allow",reason=""} 1"#),
        );
        check(
            &metrics,
            &line(r#""POST",status="4xx",decision="limited",reason="per_user"} 1"#),
        );
        let count = |name, count| {
            format!("portcullis_{name}_duration_seconds_count{{route=\"notes\"}} {count}")
        };
        check(&metrics, &count("request", 5));
        check(&metrics, &count("upstream", 4));
    }

    #[test]
    fn strangers_make_no_series() {
        let metrics = Metrics::new();
        let notes = metrics.route("notes");
        for name in ["BREW", "get", "PROPFIND"] {
            record(
                &notes,
                &Method::from_bytes(name.as_bytes()).unwrap(),
                999,
                ALLOWED,
            );
        }
        check(
            &metrics,
            r#"portcullis_requests_total{route="notes",method="OTHER",status="other",decision="allow",reason=""} 3"#,
        );
    }

    #[test]
    fn connections_are_counted_while_they_live() {
        let metrics = Metrics::new();
        let first = metrics.connection();
        let second = metrics.connection();
        check(&metrics, "portcullis_connections_open 2");
        drop(first);
        check(&metrics, "portcullis_connections_open 1");
        check(&metrics, "portcullis_connections_total 2");
        drop(second);
        check(&metrics, "portcullis_connections_open 0");
    }

    #[test]
    fn everything_else_has_the_name_that_dashboards_use() {
        let metrics = Metrics::new();
        metrics.handshake("timeout");
        metrics.login("busy");
        let limit = metrics.limit("per_user");
        limit.admitted();
        limit.refused();
        limit.refused();
        metrics.headers_dropped("forwarding", 1);
        let hashing = metrics.hashing();
        hashing.queued();
        hashing.queued();
        hashing.taken_up();
        hashing.hashed(Duration::from_millis(26));
        hashing.shed();
        metrics.panicked();
        metrics.log_lines_dropped(7);
        metrics.store_available(true);

        for line in [
            r#"portcullis_tls_handshakes_total{result="timeout"} 1"#,
            r#"portcullis_logins_total{result="busy"} 1"#,
            r#"portcullis_limit_decisions_total{policy="per_user",result="admitted"} 1"#,
            r#"portcullis_limit_decisions_total{policy="per_user",result="refused"} 2"#,
            r#"portcullis_headers_dropped_total{reason="forwarding"} 1"#,
            "portcullis_password_hash_seconds_count 1",
            "portcullis_hash_queue_depth 1",
            "portcullis_hashes_shed_total 1",
            "portcullis_panics_total 1",
            "portcullis_log_lines_dropped_total 7",
            "portcullis_store_available 1",
            concat!(
                "portcullis_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1"
            ),
        ] {
            check(&metrics, line);
        }
        metrics.store_available(false);
        check(&metrics, "portcullis_store_available 0");
        assert!(metrics.encode().ends_with("# EOF\n"));
    }
}
