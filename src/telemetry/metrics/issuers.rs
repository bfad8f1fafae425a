//! Metrics of other issuers' keys, by the names that the file gives them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// All of them.
#[derive(Debug, Default)]
pub struct Issuers {
    keys: Family<IssuerLabels, Gauge>,
    refreshes: Family<RefreshLabels, Counter>,
}

impl Issuers {
    /// Registers everything.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "issuer_keys",
            "Keys of another issuer by which its tokens are judged",
            self.keys.clone(),
        );
        registry.register(
            "issuer_key_refreshes",
            "Attempts to fetch the keys of another issuer",
            self.refreshes.clone(),
        );
    }

    /// The handles of one issuer.
    pub fn issuer(&self, issuer: &str) -> IssuerMetrics {
        let counter = |result| {
            self.refreshes.get_or_create_owned(&RefreshLabels {
                issuer: issuer.to_owned(),
                result,
            })
        };
        IssuerMetrics {
            keys: self.keys.get_or_create_owned(&IssuerLabels {
                issuer: issuer.to_owned(),
            }),
            ok: counter("ok"),
            failed: counter("failed"),
        }
    }
}

/// Handles of one issuer.
#[derive(Clone, Debug)]
pub struct IssuerMetrics {
    keys: Gauge,
    ok: Counter,
    failed: Counter,
}

impl IssuerMetrics {
    /// An attempt to fetch its keys ended.
    pub fn fetched(&self, is_ok: bool) {
        if is_ok {
            self.ok.inc();
        } else {
            self.failed.inc();
        }
    }

    /// So many of its keys are fit.
    pub fn holds(&self, keys: usize) {
        self.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuerLabels {
    issuer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefreshLabels {
    issuer: String,
    result: &'static str,
}
