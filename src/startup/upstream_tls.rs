//! TLS to the apps behind and to other issuers: every file that the configuration names is read before anything is served.

use std::time::SystemTime;

use crate::certificates::CertificateError;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::Position;
use crate::config::Problem;
use crate::config::Problems;
use crate::config::Upstream;
use crate::config::UpstreamTrust;
use crate::issuers::Issuers;
use crate::telemetry::metrics::Metrics;
use crate::upstream::tls::Tls;

/// For each upstream, by index. Where one checks nothing, that is said at each start.
///
/// # Errors
///
/// Every file that cannot be used.
pub(super) fn load(config: &Config, now: SystemTime) -> Result<Vec<Option<Tls>>, Problems> {
    let mut problems = Vec::new();
    let mut all = Vec::new();
    for upstream in &config.upstreams {
        match tls(upstream, now).transpose() {
            Ok(tls) => all.push(tls),
            Err(problem) => problems.push(problem),
        }
        if let Some(tls) = &upstream.tls
            && tls.trust == UpstreamTrust::Nobody
        {
            tracing::warn!(
                upstream.name = %upstream.name,
                "insecure_skip_verify: the certificates of this upstream are not checked"
            );
        }
    }
    if problems.is_empty() {
        return Ok(all);
    }
    Err(Problems {
        file: config.file.clone(),
        problems,
    })
}

/// What is wrong with the files.
pub fn unusable(config: &Config, now: SystemTime) -> Vec<Problem> {
    let upstreams = config.upstreams.iter();
    upstreams
        .filter_map(|upstream| tls(upstream, now)?.err())
        .chain(
            issuers(config, &Clock::default(), &Metrics::new())
                .err()
                .into_iter()
                .flatten(),
        )
        .collect()
}

/// Other issuers, whose keys nobody has asked for yet.
///
/// # Errors
///
/// Every file that cannot be used.
pub(super) fn issuers(
    config: &Config,
    clock: &Clock,
    metrics: &Metrics,
) -> Result<Issuers, Vec<Problem>> {
    Issuers::new(&config.issuers, clock, metrics).map_err(|wrong| {
        let problem = |(position, error): (Position, CertificateError)| Problem {
            position,
            message: error.to_string(),
        };
        wrong.into_iter().map(problem).collect()
    })
}

fn tls(upstream: &Upstream, now: SystemTime) -> Option<Result<Tls, Problem>> {
    upstream.tls.as_ref().map(|tls| Tls::load(tls, now))
}
