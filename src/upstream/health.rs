//! Asking targets how they are: a GET now and then, over a connection of its own, once for the process
//! and never on the path of a request. A target that nobody has judged yet is in use.

use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::Request;
use http::StatusCode;
use http::header;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::config::Health;
use crate::config::UpstreamTarget;
use crate::upstream::names::Names;
use crate::upstream::socket;
use crate::upstream::standing::Standing;

/// An answer's header is not read further than this.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Asks one target again and again.
pub(super) async fn watch(standing: &Standing, index: usize, config: &Health) {
    let config_of = standing.config().targets.get(index);
    let (Some(target), Some(names)) = (config_of, standing.names(index)) else {
        return;
    };
    let jitter = Jitter::default();
    let mut verdict = Verdict::default();
    // Targets of many upstreams, and the gateways before them, are not all asked at once.
    sleep(jitter.part_of(config.interval)).await;
    loop {
        let asked = timeout(config.timeout, ask(target, names, config)).await;
        let asked = asked.unwrap_or_else(|late| Err(late.into()));
        if let Some(is_up) = verdict.judge(asked.is_ok(), config) {
            let (name, target) = standing.shown(index);
            match asked {
                Err(error) => tracing::warn!(
                    upstream.name = name, upstream.target = %target, %error,
                    "a target is down and gets no more requests"
                ),
                Ok(()) => tracing::info!(
                    upstream.name = name, upstream.target = %target,
                    "a target is up again"
                ),
            }
            standing.judged(index, is_up);
        }
        let tenth = config.interval / 10;
        sleep(config.interval - tenth + jitter.part_of(tenth * 2)).await;
    }
}

/// What a row of checks says of a target.
#[derive(Debug, Default)]
struct Verdict {
    is_down: bool,
    /// How many checks in a row said otherwise.
    against: u32,
}

impl Verdict {
    /// Takes in a check; whether the target is up, where that has changed by it.
    fn judge(&mut self, is_good: bool, config: &Health) -> Option<bool> {
        if is_good != self.is_down {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let enough = if self.is_down {
            config.healthy
        } else {
            config.unhealthy
        };
        if self.against < enough {
            return None;
        }
        *self = Self {
            is_down: !self.is_down,
            against: 0,
        };
        Some(!self.is_down)
    }
}

/// One check.
async fn ask(target: &UpstreamTarget, names: &Names, config: &Health) -> io::Result<()> {
    let addresses = names.addresses().await;
    let (stream, _) = socket::connect(&addresses, config.timeout).await?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEADER_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = config.path.clone().into();
    let host = HeaderValue::from_str(target.authority.as_str()).map_err(io::Error::other)?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, config.host.clone().unwrap_or(host));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("portcullis"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let answer = sender.send_request(request);
    let response = tokio::select! {
        response = answer => response,
        // Where the connection ends first, whoever waits for the answer is told so.
        Err(error) = connection => Err(error),
    };
    let status = response.map_err(io::Error::other)?.status();
    if is_good(status, &config.statuses) {
        Ok(())
    } else {
        Err(io::Error::other(format!("it answered {status}")))
    }
}

fn is_good(status: StatusCode, good: &[StatusCode]) -> bool {
    match good {
        [] => status.is_success(),
        good => good.contains(&status),
    }
}

/// Nobody's secret: it only has to differ.
#[derive(Debug, Default)]
struct Jitter(RandomState);

impl Jitter {
    /// Some part of a time.
    fn part_of(&self, time: Duration) -> Duration {
        let parts = u32::try_from(self.0.hash_one(std::process::id()) >> 48).unwrap_or_default();
        time * (parts + 1) / (1 << 16)
    }
}

#[cfg(test)]
mod tests {
    use http::uri::PathAndQuery;

    use super::*;

    fn config(healthy: u32, unhealthy: u32) -> Health {
        Health {
            path: PathAndQuery::from_static("/healthz"),
            host: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            statuses: Vec::new(),
            healthy,
            unhealthy,
        }
    }

    /// `g`ood and `b`ad checks, and what changes with each: `U`p, `D`own or nothing.
    #[track_caller]
    fn check(config: &Health, checks: &str, changes: &str) {
        let mut verdict = Verdict::default();
        let judge = |check| match verdict.judge(check == 'g', config) {
            Some(true) => 'U',
            Some(false) => 'D',
            None => '.',
        };
        assert_eq!(checks.chars().map(judge).collect::<String>(), changes);
    }

    #[test]
    fn a_verdict_takes_several_checks_in_a_row() {
        check(&config(2, 3), "gggg", "....");
        check(&config(2, 3), "bbgbbgbbb", "........D");
        check(&config(2, 3), "bbbbgbgg", "..D....U");
        check(&config(1, 1), "bgbbgg", "DUD.U.");
    }

    #[test]
    fn which_answers_are_good_can_be_said() {
        let good = |status, good: &[u16]| {
            let status_of = |status| StatusCode::from_u16(status).unwrap();
            let good: Vec<_> = good.iter().copied().map(status_of).collect();
            is_good(status_of(status), &good)
        };
        assert!(good(200, &[]) && good(204, &[]) && good(299, &[]));
        assert!(!good(302, &[]) && !good(401, &[]) && !good(503, &[]));
        assert!(good(401, &[200, 401]) && !good(204, &[200, 401]));
    }

    #[test]
    fn jitter_is_a_part_and_differs() {
        let (one, other) = (Jitter::default(), Jitter::default());
        let parts = [&one, &other].map(|jitter| jitter.part_of(Duration::from_secs(1)));
        assert!(parts.iter().all(|part| *part <= Duration::from_secs(1)));
        assert_ne!(parts[0], parts[1]);
    }
}
