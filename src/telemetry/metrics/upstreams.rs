//! Metrics of upstreams and their targets, by the names and URLs that the file gives them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// All of them.
#[derive(Debug, Default)]
pub struct Upstreams {
    up: Family<TargetLabels, Gauge>,
    ejected: Family<TargetLabels, Gauge>,
    connect_failures: Family<TargetLabels, Counter>,
    retries: Family<RetryLabels, Counter>,
}

impl Upstreams {
    /// Registers everything.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "upstream_target_up",
            "0 while health checks say that a target is down, else 1",
            self.up.clone(),
        );
        registry.register(
            "upstream_target_ejected",
            "1 while a target is left alone because it failed requests, else 0",
            self.ejected.clone(),
        );
        registry.register(
            "upstream_connect_failures",
            "Connections to a target that could not be made",
            self.connect_failures.clone(),
        );
        registry.register(
            "upstream_retries",
            "Requests that were tried again, and those for which the budget was spent",
            self.retries.clone(),
        );
    }

    /// The handles of one target.
    pub fn target(&self, upstream: &str, target: &str) -> TargetMetrics {
        let labels = TargetLabels {
            upstream: upstream.to_owned(),
            target: target.to_owned(),
        };
        let up = self.up.get_or_create_owned(&labels);
        up.set(1);
        TargetMetrics {
            up,
            ejected: self.ejected.get_or_create_owned(&labels),
            connect_failures: self.connect_failures.get_or_create_owned(&labels),
        }
    }

    /// The handles of one upstream.
    pub fn upstream(&self, upstream: &str) -> UpstreamMetrics {
        let counter = |reason| {
            self.retries.get_or_create_owned(&RetryLabels {
                upstream: upstream.to_owned(),
                reason,
            })
        };
        UpstreamMetrics {
            unreachable: counter("unreachable"),
            closed: counter("closed"),
            over_budget: counter("over_budget"),
        }
    }
}

/// Handles of one target.
#[derive(Clone, Debug)]
pub struct TargetMetrics {
    up: Gauge,
    ejected: Gauge,
    connect_failures: Counter,
}

impl TargetMetrics {
    /// What checks say of it.
    pub fn is_up(&self, is_up: bool) {
        self.up.set(is_up.into());
    }

    /// Whether it is left alone.
    pub fn is_ejected(&self, is_ejected: bool) {
        self.ejected.set(is_ejected.into());
    }

    /// No connection could be made.
    pub fn connect_failed(&self) {
        self.connect_failures.inc();
    }
}

/// Handles of one upstream.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    unreachable: Counter,
    closed: Counter,
    over_budget: Counter,
}

impl UpstreamMetrics {
    /// Another target was tried, because one could not be connected to.
    pub fn tried_another(&self) {
        self.unreachable.inc();
    }

    /// A request was sent again, because its connection closed before there was an answer.
    pub fn sent_again(&self) {
        self.closed.inc();
    }

    /// A request could have been sent again, but too many were.
    pub fn over_budget(&self) {
        self.over_budget.inc();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetLabels {
    upstream: String,
    target: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RetryLabels {
    upstream: String,
    reason: &'static str,
}

#[cfg(test)]
mod tests {
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn each_target_has_its_series() {
        let metrics = Metrics::new();
        let target = metrics.upstreams().target("notes", "http://127.0.0.1:5000");
        let upstream = metrics.upstreams().upstream("notes");
        target.is_ejected(true);
        target.connect_failed();
        upstream.tried_another();
        upstream.sent_again();
        upstream.over_budget();
        let labels = r#"{upstream="notes",target="http://127.0.0.1:5000"}"#;
        let text = metrics.encode();
        for line in [
            format!("portcullis_upstream_target_up{labels} 1"),
            format!("portcullis_upstream_target_ejected{labels} 1"),
            format!("portcullis_upstream_connect_failures_total{labels} 1"),
            r#"portcullis_upstream_retries_total{upstream="notes",reason="unreachable"} 1"#
                .to_owned(),
            r#"portcullis_upstream_retries_total{upstream="notes",reason="closed"} 1"#.to_owned(),
            r#"portcullis_upstream_retries_total{upstream="notes",reason="over_budget"} 1"#
                .to_owned(),
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        target.is_up(false);
        assert!(metrics.encode().contains(&format!("target_up{labels} 0\n")));
    }
}
