//! Other issuers' keys: fetched in the background, kept for a bounded time, asked for again where a token
//! names one that is not known.
//!
//! One task for each issuer fetches, so that however many ask, one request is under way; and whoever asks
//! is heard once in [`ASKED_EVERY`]. The path reads what is there and waits for no more than [`PATIENCE`].
//! It must never fetch an address that a token names (SECURITY 20), and never believe a key that its
//! issuer has taken back.

mod key_set;

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio::time::timeout;
use url::Url;

use crate::certificates::CertificateError;
use crate::clock::Clock;
use crate::config;
use crate::outbound::Document;
use crate::outbound::Outbound;
use crate::outbound::OutboundError;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::issuers::IssuerMetrics;
use crate::vault::random;

pub use key_set::IssuerKey;
pub use key_set::IssuerKeys;

/// How often an unknown key may make the issuer be asked. Whoever makes names of keys up holds a new key
/// off for no longer than this.
const ASKED_EVERY: Duration = Duration::from_secs(10);
/// How long a request waits for keys: a little longer than fetching both documents commonly takes.
const PATIENCE: Duration = Duration::from_secs(5);
/// The least and the most that an issuer may say about how long its keys are good.
const MAX_AGE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(60 * 60);
/// After the first failure, and the most after many: an issuer that is back is soon noticed.
const AFTER_FAILURE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(2)..=Duration::from_secs(5 * 60);

/// Why an issuer's keys are not there.
#[derive(Debug, thiserror::Error)]
enum NoKeys {
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// RFC 8414 §3.3: or a token could be judged by another's keys.
    #[error("its discovery document is that of another issuer")]
    OtherIssuer,
    #[error("its discovery document names no jwks_uri that is https")]
    NoAddress,
    #[error("its answer is no set of keys")]
    NoSet,
    /// The keys that were there before are not believed any more either.
    #[error("none of its keys is fit: each needs a kid, and an algorithm that is allowed")]
    NoneFit,
}

/// Every issuer of the file.
#[derive(Debug, Default)]
pub struct Issuers {
    list: Vec<Arc<Issuer>>,
}

/// One of them.
#[derive(Debug)]
pub struct Issuer {
    config: config::Issuer,
    outbound: Outbound,
    clock: Clock,
    keys: ArcSwapOption<IssuerKeys>,
    attempt: watch::Sender<Attempt>,
    wanted: Notify,
    metrics: IssuerMetrics,
}

/// The last time that the issuer was asked.
#[derive(Clone, Copy, Debug, Default)]
struct Attempt {
    number: u64,
    is_under_way: bool,
    has_failed: bool,
    at: Option<SystemTime>,
}

/// Whether anything better can be had than what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The issuer may be asked, or is being asked.
    MayAsk,
    /// It was asked just now, and has answered.
    Answered,
    /// It was asked just now, in vain.
    Failed,
}

impl Issuers {
    /// Reads the authorities of each.
    ///
    /// # Errors
    ///
    /// Each that cannot be used, with its place in the file.
    pub fn new(
        issuers: &[config::Issuer],
        clock: &Clock,
        metrics: &Metrics,
    ) -> Result<Self, Vec<(config::Position, CertificateError)>> {
        let mut list = Vec::new();
        let mut wrong = Vec::new();
        for issuer in issuers {
            match Outbound::new(&issuer.trust) {
                Ok(outbound) => list.push(Arc::new(Issuer {
                    config: issuer.clone(),
                    outbound,
                    clock: clock.clone(),
                    keys: ArcSwapOption::empty(),
                    attempt: watch::Sender::default(),
                    wanted: Notify::new(),
                    metrics: metrics.issuers().issuer(&issuer.name),
                })),
                Err(error) => wrong.push((place(issuer), error)),
            }
        }
        if wrong.is_empty() {
            Ok(Self { list })
        } else {
            Err(wrong)
        }
    }

    /// All of them, in the order of the file.
    pub fn list(&self) -> &[Arc<Issuer>] {
        &self.list
    }

    /// The one whose tokens have exactly this `iss`, and its place in the list.
    pub fn by_url(&self, url: &str) -> Option<(usize, &Arc<Issuer>)> {
        let mut issuers = self.list.iter().enumerate();
        issuers.find(|(_, issuer)| *issuer.config.url == *url)
    }

    /// The one of this name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.list.iter().find(|issuer| *issuer.config.name == *name)
    }

    /// Moves when a key of any of them is gone.
    pub fn revision(&self) -> u64 {
        let keys = self
            .list
            .iter()
            .filter_map(|issuer| issuer.keys.load_full());
        keys.map(|keys| keys.generation()).sum()
    }
}

/// Where a file that cannot be used is named.
fn place(issuer: &config::Issuer) -> config::Position {
    match issuer.trust {
        config::UpstreamTrust::File { position, .. } => position,
        config::UpstreamTrust::System | config::UpstreamTrust::Nobody => issuer.position,
    }
}

impl Issuer {
    /// What the file says of it.
    pub fn config(&self) -> &config::Issuer {
        &self.config
    }

    /// Its keys; none where there never were any, or they are older than `max_stale`.
    pub fn keys(&self, now: SystemTime) -> Option<Arc<IssuerKeys>> {
        let keys = self.keys.load_full()?;
        let age = now.duration_since(keys.fetched_at()).unwrap_or_default();
        (age < self.config.max_stale).then_some(keys)
    }

    /// Whether asking would help.
    pub fn freshness(&self, now: SystemTime) -> Freshness {
        let attempt = *self.attempt.borrow();
        if attempt.is_under_way || self.may_ask(now) {
            Freshness::MayAsk
        } else if attempt.has_failed {
            Freshness::Failed
        } else {
            Freshness::Answered
        }
    }

    fn may_ask(&self, now: SystemTime) -> bool {
        let at = self.attempt.borrow().at;
        // A clock that was set back makes nobody wait.
        at.is_none_or(|at| {
            now.duration_since(at)
                .map_or(true, |since| since >= ASKED_EVERY)
        })
    }

    /// Waits for the keys that are fetched because somebody needs one, together with all others who do.
    pub async fn asked(&self) {
        let mut attempts = self.attempt.subscribe();
        let attempt = *attempts.borrow_and_update();
        if !attempt.is_under_way {
            if !self.may_ask(self.clock.now()) {
                return;
            }
            self.wanted.notify_one();
        }
        let is_next = |now: &Attempt| !now.is_under_way && now.number > attempt.number;
        // Late or not, what is there then is what is judged by.
        let _ = timeout(PATIENCE, attempts.wait_for(is_next)).await;
    }

    /// Fetches the keys now and again, for as long as it is polled.
    pub async fn follow(self: Arc<Self>) {
        let mut failures = 0_u32;
        loop {
            let pause = match self.fetch().await {
                Ok(max_age) => {
                    failures = 0;
                    // Fetched again before they are too old, with time for a few failures.
                    max_age.min(self.config.max_stale / 2)
                }
                Err(error) => {
                    tracing::warn!(
                        issuer = %self.config.name, %error,
                        "an issuer's keys cannot be had; tokens are judged by what is known for a while"
                    );
                    failures = failures.saturating_add(1);
                    after_failures(failures).min(self.config.refresh)
                }
            };
            tokio::select! {
                () = sleep(scattered(pause)) => {}
                () = self.somebody_asks() => {}
            }
        }
    }

    async fn somebody_asks(&self) {
        loop {
            self.wanted.notified().await;
            if self.may_ask(self.clock.now()) {
                return;
            }
        }
    }

    /// For how long they are good.
    async fn fetch(&self) -> Result<Duration, NoKeys> {
        self.attempt
            .send_modify(|attempt| attempt.is_under_way = true);
        let max_age = match self.request().await {
            Ok((keys, max_age)) => self.replace(keys).map(|()| max_age),
            Err(error) => Err(error),
        };
        let now = self.clock.now();
        let has_failed = max_age.is_err();
        self.metrics.fetched(!has_failed);
        // After the keys: whoever sees the attempt sees what came of it.
        self.attempt.send_modify(|attempt| {
            *attempt = Attempt {
                number: attempt.number + 1,
                is_under_way: false,
                has_failed,
                at: Some(now),
            };
        });
        max_age
    }

    /// What the issuer publishes now counts, and nothing else: also where that is nothing, because it may
    /// have taken its keys back. Nobody is refused for that, as if the keys were not to be had.
    fn replace(&self, keys: IssuerKeys) -> Result<(), NoKeys> {
        let keys = match self.keys.load_full() {
            Some(before) => keys.after(&before),
            None => keys,
        };
        let count = keys.len();
        tracing::debug!(issuer = %self.config.name, keys = count, "the keys of an issuer are here");
        self.metrics.holds(count);
        self.keys.store(Some(Arc::new(keys)));
        if count == 0 {
            return Err(NoKeys::NoneFit);
        }
        Ok(())
    }

    async fn request(&self) -> Result<(IssuerKeys, Duration), NoKeys> {
        let url = match &self.config.jwks_url {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        let Document { json, max_age } = self.outbound.get(&url).await?;
        let keys = IssuerKeys::read(&json, &self.config.algorithms, self.clock.now());
        let (least, most) = (*MAX_AGE.start(), *MAX_AGE.end());
        let max_age = max_age.map(|age| age.clamp(least, most));
        Ok((
            keys.ok_or(NoKeys::NoSet)?,
            max_age.unwrap_or(self.config.refresh),
        ))
    }

    /// OpenID Connect Discovery §4; where there is no such document, RFC 8414 §3. Some answer whatever
    /// they do not know with a page.
    async fn discover(&self) -> Result<Url, NoKeys> {
        let document = match self.outbound.get(&self.openid_document()?).await {
            Err(OutboundError::Status(_) | OutboundError::NotJson) => {
                self.outbound.get(&self.oauth_document()?).await
            }
            other => other,
        }?;
        keys_address(&self.config.url, &document.json)
    }

    fn openid_document(&self) -> Result<Url, NoKeys> {
        let base = self.config.url.trim_end_matches('/');
        let url = Url::parse(&format!("{base}/.well-known/openid-configuration"));
        url.map_err(|_| NoKeys::NoAddress)
    }

    /// Between the host and the path of the issuer (RFC 8414 §3.1).
    fn oauth_document(&self) -> Result<Url, NoKeys> {
        let mut url = Url::parse(&self.config.url).map_err(|_| NoKeys::NoAddress)?;
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
        Ok(url)
    }
}

/// Where the keys are, by a discovery document (RFC 8414 §3.2).
fn keys_address(issuer: &str, document: &Value) -> Result<Url, NoKeys> {
    let text = |name| document.get(name).and_then(Value::as_str);
    if text("issuer") != Some(issuer) {
        return Err(NoKeys::OtherIssuer);
    }
    let url = text("jwks_uri").and_then(|url| Url::parse(url).ok());
    let url = url.ok_or(NoKeys::NoAddress)?;
    // RFC 8414 §2. And nobody far away sends us to what listens on this machine alone.
    let is_secure = url.scheme() == "https" || issuer.starts_with("http://");
    is_secure.then_some(url).ok_or(NoKeys::NoAddress)
}

/// Twice as long after each.
fn after_failures(failures: u32) -> Duration {
    let (first, most) = (*AFTER_FAILURE.start(), *AFTER_FAILURE.end());
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1));
    first.saturating_mul(doubled.unwrap_or(u32::MAX)).min(most)
}

/// A tenth of a time less at most, so that many gateways do not ask all at once.
fn scattered(time: Duration) -> Duration {
    let [random] = random::<1>();
    time.mul_f64(1.0 - f64::from(random) / 2560.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // SECURITY 20
    #[test]
    fn a_document_leads_to_the_keys_of_its_own_issuer_over_https_alone() {
        let secure = "https://login.example";
        let address = |issuer: &str, document: Value| {
            keys_address(issuer, &document)
                .map(String::from)
                .map_err(|error| error.to_string())
        };
        let with = |url: &str| json!({"issuer": secure, "jwks_uri": url});
        let keys = "https://keys.example/all";
        assert_eq!(address(secure, with(keys)).as_deref(), Ok(keys));
        for bad in [
            "http://127.0.0.1:9900/metrics",
            "http://localhost/keys",
            "file:///etc/passwd",
            "/keys",
        ] {
            let error = address(secure, with(bad)).unwrap_err();
            assert!(error.contains("https"), "{bad}: {error}");
        }
        for other in ["https://login.example/", "http://login.example"] {
            let error = address(other, with(keys)).unwrap_err();
            assert!(error.contains("another issuer"), "{other}: {error}");
        }
        let here = "http://127.0.0.1:1";
        let document = json!({"issuer": here, "jwks_uri": "http://127.0.0.1:1/keys"});
        assert!(address(here, document).is_ok());
        assert!(address(secure, json!({ "issuer": secure })).is_err());
    }

    #[test]
    fn an_issuer_that_fails_is_asked_again_soon_then_less_and_less_often_but_never_rarely() {
        let seconds = |failures| after_failures(failures).as_secs();
        assert_eq!([1, 2, 3, 8].map(seconds), [2, 4, 8, 256]);
        assert_eq!([9, 33, 34, u32::MAX].map(seconds), [300; 4]);
    }
}
