//! A histogram of durations that a request writes to: three lines of memory, and no lock.
//!
//! The library's own keeps a lock, a sum and a list in two other places, and of ten thousand routes
//! nobody's is in the processor's cache.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::EncodeMetric;
use prometheus_client::encoding::MetricEncoder;
use prometheus_client::encoding::NoLabelSet;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::exemplar::Exemplar;

/// Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Timing(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    nanoseconds: AtomicU64,
    within: [AtomicU64; BOUNDS.len()],
    longer: AtomicU64,
}

impl Timing {
    pub(super) fn observe(&self, duration: Duration) {
        let counts = &*self.0;
        let place = BOUNDS.iter().position(|bound| duration <= *bound);
        let counter = place.and_then(|place| counts.within.get(place));
        let counter = counter.unwrap_or(&counts.longer);
        counter.fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        counts.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

impl EncodeMetric for Timing {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = &*self.0;
        let bounds = BOUNDS.iter().map(Duration::as_secs_f64);
        let bounds = bounds.chain([f64::INFINITY]);
        let counters = counts.within.iter().chain([&counts.longer]);
        let buckets: Vec<_> = bounds
            .zip(counters.map(|counter| counter.load(Ordering::Relaxed)))
            .collect();
        // Summed up here, so that it is what the buckets come to while others count on.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(counts.nanoseconds.load(Ordering::Relaxed));
        let exemplars: Option<&HashMap<usize, Exemplar<NoLabelSet, f64>>> = None;
        encoder.encode_histogram(sum.as_secs_f64(), count, &buckets, exemplars)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Timing {
    const TYPE: MetricType = MetricType::Histogram;
}

/// From what a proxied request costs at best to the longest deadline that is sensible.
const BOUNDS: [Duration; 15] = [
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(60),
];

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::registry::Metric;
    use prometheus_client::registry::Registry;

    use super::*;

    fn encoded(metric: impl Metric) -> String {
        let mut registry = Registry::default();
        registry.register("took", "How long it took", metric);
        let mut encoded = String::new();
        text::encode(&mut encoded, &registry).unwrap();
        encoded
    }

    #[test]
    fn it_tells_what_the_librarys_own_would_tell() {
        let own = Timing::default();
        let theirs = Histogram::new(BOUNDS.map(|bound| bound.as_secs_f64()));
        for micros in [0, 1, 500, 501, 1_000_000, 1_250_000, 60_000_000, 61_000_000] {
            let duration = Duration::from_micros(micros);
            own.clone().observe(duration);
            theirs.observe(duration.as_secs_f64());
        }
        let told = encoded(own);
        assert!(told.contains("took_bucket{le=\"0.0005\"} 3\n"), "{told}");
        assert!(told.contains("took_bucket{le=\"+Inf\"} 8\n"), "{told}");
        let without_sum = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with("took_sum"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(without_sum(&told), without_sum(&encoded(theirs)));
        assert!(told.contains("took_sum 123.251002\n"), "{told}");
    }
}
