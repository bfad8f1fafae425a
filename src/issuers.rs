//! Other issuers' keys: fetched in the background, kept for a bounded time, asked for again where a token
//! names one that is not known.
//!
//! One task for each issuer fetches, so that however many ask, one request is under way; and whoever asks
//! is heard once in [`ASKED_EVERY`]. The path reads what is there and waits for no more than [`PATIENCE`].
//! It must never fetch an address that a token names (SECURITY 20).

mod key_set;

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
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
use crate::vault::random;

pub use key_set::IssuerKey;
pub use key_set::IssuerKeys;

/// How often an unknown key may make the issuer be asked.
const ASKED_EVERY: Duration = Duration::from_secs(30);
/// How long a request waits for keys: a little longer than fetching both documents commonly takes.
const PATIENCE: Duration = Duration::from_secs(5);
/// The least and the most that an issuer may say about how long its keys are good.
const MAX_AGE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(60 * 60);
/// After the first failure; twice as long after each further one, up to the usual time.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

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
        let mut failures = 0;
        loop {
            let pause = match self.fetch().await {
                Ok(max_age) => {
                    failures = 0;
                    max_age
                }
                Err(error) => {
                    tracing::warn!(
                        issuer = %self.config.name, %error,
                        "the keys of an issuer cannot be fetched; those that are known go on for a while"
                    );
                    failures = (failures + 1).min(16);
                    (AFTER_FAILURE * (1 << (failures - 1))).min(self.config.refresh)
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
        let fetched = self.request().await;
        let now = self.clock.now();
        let has_failed = fetched.is_err();
        let max_age = fetched.map(|(keys, max_age)| {
            let before = self.keys.load_full();
            let keys = match before {
                Some(before) => keys.after(&before),
                None => keys,
            };
            tracing::debug!(issuer = %self.config.name, keys = keys.len(), "the keys of an issuer are here");
            self.keys.store(Some(Arc::new(keys)));
            max_age
        });
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

    async fn request(&self) -> Result<(IssuerKeys, Duration), NoKeys> {
        let url = match &self.config.jwks_url {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        let Document { json, max_age } = self.outbound.get(&url).await?;
        let keys = IssuerKeys::read(&json, &self.config.algorithms, self.clock.now());
        if keys.len() == 0 {
            return Err(NoKeys::NoneFit);
        }
        let (least, most) = (*MAX_AGE.start(), *MAX_AGE.end());
        let max_age = max_age.map(|age| age.clamp(least, most));
        Ok((keys, max_age.unwrap_or(self.config.refresh)))
    }

    /// OpenID Connect Discovery §4; where there is no such document, RFC 8414 §3.
    async fn discover(&self) -> Result<Url, NoKeys> {
        let document = match self.outbound.get(&self.openid_document()?).await {
            Err(OutboundError::Status(_)) => self.outbound.get(&self.oauth_document()?).await,
            other => other,
        }?;
        let text = |name| document.json.get(name).and_then(|value| value.as_str());
        if text("issuer") != Some(&*self.config.url) {
            return Err(NoKeys::OtherIssuer);
        }
        let url = text("jwks_uri").and_then(|url| Url::parse(url).ok());
        url.ok_or(NoKeys::NoAddress)
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

/// A tenth of a time less at most, so that many gateways do not ask all at once.
fn scattered(time: Duration) -> Duration {
    let [random] = random::<1>();
    time.mul_f64(1.0 - f64::from(random) / 2560.0)
}
