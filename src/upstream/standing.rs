//! How an upstream's targets stand, as the whole process knows it: which are down, which are left alone
//! for a while because they failed requests, and which are coming back.
//!
//! The path of a request reads one number of each target and takes no lock, unless a target has just
//! failed too often. Leaving targets alone must never empty an upstream: at most half of those that are
//! not down are left alone at once.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::config;
use crate::config::Ejection;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::upstreams::TargetMetrics;
use crate::telemetry::metrics::upstreams::UpstreamMetrics;
use crate::upstream::health;
use crate::upstream::names::Names;

/// The weight of a target that gets its whole share.
pub(super) const FULL: u32 = 1024;

/// How often the weight of a target grows that is coming back.
const STEP: Duration = Duration::from_millis(100);

/// How many times as long as the first time a target may be left alone.
const GROWTH_MAX: u32 = 32;

/// What all cores share of one upstream.
#[derive(Debug)]
pub struct Standing {
    config: config::Upstream,
    targets: Vec<Shared>,
    records: Mutex<Vec<Record>>,
    changed: Notify,
    metrics: UpstreamMetrics,
}

/// What all cores share of one target.
#[derive(Debug)]
struct Shared {
    /// How much of its share it gets, up to [`FULL`]; nothing while it is down or left alone.
    weight: AtomicU32,
    /// How many requests it failed since it last answered one.
    failures: AtomicU32,
    names: Names,
    metrics: TargetMetrics,
}

/// Why a target's weight is what it is.
#[derive(Clone, Debug, Default)]
struct Record {
    is_down: bool,
    ejected_until: Option<Instant>,
    /// How often in short succession it was left alone.
    ejections: u32,
    returned_at: Option<Instant>,
}

impl Standing {
    /// Every target of an upstream is in use at first.
    pub fn new(config: config::Upstream, metrics: &Metrics) -> Arc<Self> {
        let shared = |target: &config::UpstreamTarget| Shared {
            weight: AtomicU32::new(FULL),
            failures: AtomicU32::new(0),
            names: Names::new(target),
            metrics: metrics
                .upstreams()
                .target(&config.name, &target.to_string()),
        };
        Arc::new(Self {
            targets: config.targets.iter().map(shared).collect(),
            records: Mutex::new(vec![Record::default(); config.targets.len()]),
            changed: Notify::new(),
            metrics: metrics.upstreams().upstream(&config.name),
            config,
        })
    }

    /// What has to run in the background for as long as anything is served, once for the process.
    pub fn tasks(self: &Arc<Self>) -> Vec<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let mut tasks: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
        for index in 0..self.targets.len() {
            let standing = Arc::clone(self);
            if !self.names(index).is_some_and(Names::is_fixed) {
                tasks.push(Box::pin(async move {
                    if let Some(names) = standing.names(index) {
                        names.follow().await;
                    }
                }));
            }
            if let Some(config) = &self.config.health {
                let (standing, config) = (Arc::clone(self), config.clone());
                tasks.push(Box::pin(async move {
                    health::watch(&standing, index, &config).await;
                }));
            }
        }
        if self.targets.len() > 1 || self.config.health.is_some() {
            let standing = Arc::clone(self);
            tasks.push(Box::pin(async move { standing.keep().await }));
        }
        tasks
    }

    /// The configuration.
    pub(super) fn config(&self) -> &config::Upstream {
        &self.config
    }

    /// Counters of retries.
    pub(super) fn metrics(&self) -> &UpstreamMetrics {
        &self.metrics
    }

    /// The addresses of a target.
    pub(super) fn names(&self, index: usize) -> Option<&Names> {
        Some(&self.targets.get(index)?.names)
    }

    /// How much of its share a target gets, up to [`FULL`].
    pub(super) fn weight(&self, index: usize) -> u32 {
        let target = self.targets.get(index);
        target.map_or(0, |target| target.weight.load(Ordering::Relaxed))
    }

    /// A target answered a request.
    pub(super) fn succeeded(&self, index: usize) {
        let Some(target) = self.targets.get(index) else {
            return;
        };
        // Read first: cores that write the same line of memory slow each other down.
        if target.failures.load(Ordering::Relaxed) != 0 {
            target.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A target could not be connected to.
    pub(super) fn unreachable(&self, index: usize) {
        if let Some(target) = self.targets.get(index) {
            target.metrics.connect_failed();
        }
        self.failed(index);
    }

    /// A target failed a request, by its own fault.
    pub(super) fn failed(&self, index: usize) {
        let (Some(ejection), Some(target)) = (&self.config.ejection, self.targets.get(index))
        else {
            return;
        };
        if self.targets.len() < 2 {
            return;
        }
        let failures = target.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= ejection.failures {
            target.failures.store(0, Ordering::Relaxed);
            self.eject(index, ejection);
        }
    }

    /// What checks found out: a target is up again, or down.
    pub(super) fn judged(&self, index: usize, is_up: bool) {
        let mut records = self.records();
        let Some(record) = records.get_mut(index) else {
            return;
        };
        record.is_down = !is_up;
        if is_up {
            record.returned_at = Some(Instant::now());
            record.ejected_until = None;
        }
        self.settle(&mut records, Instant::now());
        self.changed.notify_one();
    }

    /// Keeps weights true as time passes.
    async fn keep(&self) {
        loop {
            let next = self.settle(&mut self.records(), Instant::now());
            let wait = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = wait => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Leaves a target alone for a while, unless too many are already.
    fn eject(&self, index: usize, ejection: &Ejection) {
        let now = Instant::now();
        let mut records = self.records();
        let up = records.iter().filter(|record| !record.is_down).count();
        let is_ejected = |record: &&Record| !record.is_down && record.ejected_until.is_some();
        let ejected = records.iter().filter(is_ejected).count();
        let Some(record) = records.get_mut(index) else {
            return;
        };
        if record.is_down || record.ejected_until.is_some() || ejected >= up / 2 {
            return;
        }
        let time = |times: u32| {
            let growth = 1_u32.checked_shl(times.saturating_sub(1));
            ejection.time * growth.unwrap_or(GROWTH_MAX).min(GROWTH_MAX)
        };
        // Who was well for as long as it was left alone twice over starts afresh.
        let was_well = record
            .returned_at
            .is_none_or(|at| now.duration_since(at) > time(record.ejections) * 2);
        record.ejections = if was_well { 1 } else { record.ejections + 1 };
        let time = time(record.ejections);
        record.ejected_until = Some(now + time);
        let (name, target) = self.shown(index);
        tracing::warn!(
            upstream.name = name, upstream.target = %target, seconds = time.as_secs_f64(),
            "a target fails its requests and is left alone for a while"
        );
        self.settle(&mut records, now);
        self.changed.notify_one();
    }

    /// Sets every weight as it should be now; when that will next change by itself.
    fn settle(&self, records: &mut [Record], now: Instant) -> Option<Instant> {
        let up = records.iter().filter(|record| !record.is_down).count();
        let mut ejected: Vec<(Instant, usize)> = records
            .iter()
            .enumerate()
            .filter(|(_, record)| !record.is_down)
            .filter_map(|(index, record)| Some((record.ejected_until?, index)))
            .collect();
        ejected.sort_unstable();
        // Where targets have gone down since, fewer may be left alone: those that were it for longest return.
        let surplus = ejected.len().saturating_sub(up / 2);
        for (place, (until, index)) in ejected.into_iter().enumerate() {
            if let Some(record) = records.get_mut(index)
                && (place < surplus || until <= now)
            {
                record.ejected_until = None;
                record.returned_at = Some(now);
                let (name, target) = self.shown(index);
                tracing::info!(
                    upstream.name = name, upstream.target = %target,
                    "a target that was left alone is used again"
                );
            }
        }
        let mut next: Option<Instant> = None;
        for (record, target) in records.iter().zip(&self.targets) {
            let (weight, then) = self.weight_of(record, now);
            target.weight.store(weight, Ordering::Relaxed);
            target.metrics.is_up(!record.is_down);
            target.metrics.is_ejected(record.ejected_until.is_some());
            next = next.into_iter().chain(then).min();
        }
        next
    }

    /// The weight of a target now, and when it changes by itself.
    fn weight_of(&self, record: &Record, now: Instant) -> (u32, Option<Instant>) {
        if record.is_down {
            return (0, None);
        }
        if let Some(until) = record.ejected_until {
            return (0, Some(until));
        }
        let (slow_start, returned_at) = (self.config.slow_start, record.returned_at);
        let back_for = returned_at.map(|at| now.duration_since(at));
        match back_for.filter(|back_for| *back_for < slow_start) {
            None => (FULL, None),
            Some(back_for) => {
                let passed =
                    back_for.as_millis() * u128::from(FULL) / slow_start.as_millis().max(1);
                let weight = u32::try_from(passed).unwrap_or(FULL);
                (weight.clamp(FULL / 20, FULL), Some(now + STEP))
            }
        }
    }

    /// The names of the upstream and of a target, for the log.
    pub(super) fn shown(&self, index: usize) -> (&str, String) {
        let target = self.config.targets.get(index);
        (
            &self.config.name,
            target.map(ToString::to_string).unwrap_or_default(),
        )
    }

    /// A panic elsewhere leaves whole records behind.
    fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(super) mod tests;
