//! Other OpenID providers that people sign in with (OpenID Connect Core §3.1): where a browser is sent, and
//! who it was that came back.
//!
//! What a provider publishes is fetched in the background and kept; only a code that came back to the browser
//! that was sent away makes us ask more. It must never believe an answer that another provider may have
//! given, nor one that was made for another sign-in.

mod metadata;
mod person;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use url::Url;

use crate::certificates::CertificateError;
use crate::clock::Clock;
use crate::config;
use crate::issuers::IssuerKeys;
use crate::outbound::Outbound;
use crate::outbound::OutboundError;
use crate::providers::metadata::ClientAuthentication;
use crate::providers::metadata::Metadata;
use crate::token::verify::Expected;
use crate::token::verify::Invalid;
use crate::token::verify::claim_at;
use crate::token::verify::verify_id_token;
use crate::vault::random;

pub use person::Person;

/// How long what it publishes is good without being asked for again, and how long while it cannot be had.
const FRESH: Duration = Duration::from_secs(10 * 60);
const STALE: Duration = Duration::from_secs(60 * 60);
/// How often it may be asked for what it publishes, however many people wait for it.
const ASKED_EVERY: Duration = Duration::from_secs(5);
/// How many sign-ins may be waiting for its answers at once.
const AT_ONCE: usize = 64;

/// Why there is no way to sign in with a provider just now.
#[derive(Debug, thiserror::Error)]
pub enum NoProvider {
    /// It cannot be asked.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// OpenID Connect Discovery §4.3: or we would ask another's endpoints.
    #[error("its discovery document is that of another issuer")]
    OtherIssuer,
    /// By name.
    #[error("its discovery document has no {0} that is https")]
    NoAddress(&'static str),
    /// Nor a way that we know.
    #[error("it takes neither client_secret_basic nor client_secret_post")]
    NoAuthentication,
    /// What it answered says nothing of its keys.
    #[error("its answer is no set of keys")]
    NoSet,
    /// Those that were there before are not believed any more either.
    #[error("none of its keys is fit: each needs a kid, and an algorithm that is allowed")]
    NoKeys,
    /// [`ASKED_EVERY`]
    #[error("it was asked just now, in vain")]
    AskedJustNow,
    /// [`AT_ONCE`]
    #[error("too many sign-ins wait for it")]
    Busy,
}

/// Why somebody who came back is not signed in.
#[derive(Debug, thiserror::Error)]
pub enum NotSignedIn {
    /// Nothing can be said.
    #[error(transparent)]
    Unavailable(#[from] NoProvider),
    /// The code is not good (RFC 6749 §5.2): it was used before, or is another client's.
    #[error("it refuses the code")]
    CodeRefused,
    /// It refuses us, by this word.
    #[error("it refuses this gateway: {0}")]
    ClientRefused(String),
    /// Its answer has no tokens of the right kind.
    #[error("its answer is not one of OpenID Connect: {0}")]
    NoTokens(&'static str),
    /// Its ID token is not good.
    #[error("its ID token is refused: {0}")]
    BadToken(#[from] Invalid),
    /// `allow_domains`
    #[error("the person's verified address is of no domain that is allowed")]
    NotAdmitted,
}

/// Every provider of the file.
#[derive(Debug, Default)]
pub struct Providers {
    list: Vec<Arc<Provider>>,
}

/// One of them.
pub struct Provider {
    config: config::Provider,
    redirect_uri: String,
    outbound: Outbound,
    clock: Clock,
    known: ArcSwapOption<Known>,
    /// When it was last asked for what it publishes.
    asked: Mutex<Option<SystemTime>>,
    places: Semaphore,
}

/// What it publishes.
struct Known {
    metadata: Metadata,
    keys: IssuerKeys,
}

/// What ties an answer to the browser that was sent away: its browser keeps it until it comes back.
#[derive(Clone, Serialize, Deserialize)]
pub struct Ties {
    /// RFC 6749 §10.12.
    pub state: String,
    /// OpenID Connect Core §15.5.2.
    pub nonce: String,
    /// RFC 7636 §4.1.
    pub verifier: String,
}

impl Ties {
    /// New ones, that nobody can guess.
    pub fn fresh() -> Self {
        let word = || URL_SAFE_NO_PAD.encode(random::<32>());
        Self {
            state: word(),
            nonce: word(),
            verifier: word(),
        }
    }
}

impl fmt::Debug for Ties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ties(..)")
    }
}

impl Providers {
    /// Reads the authorities of each. Below `base` are our own endpoints.
    ///
    /// # Errors
    ///
    /// Each that cannot be used, with its place in the file.
    pub fn new(
        providers: &[config::Provider],
        base: &str,
        clock: &Clock,
    ) -> Result<Self, Vec<(config::Position, CertificateError)>> {
        let mut list = Vec::new();
        let mut wrong = Vec::new();
        for provider in providers {
            match Outbound::new(&provider.trust) {
                Ok(outbound) => list.push(Arc::new(Provider {
                    redirect_uri: format!("{base}/provider/{}/callback", provider.name),
                    config: provider.clone(),
                    outbound,
                    clock: clock.clone(),
                    known: ArcSwapOption::empty(),
                    asked: Mutex::default(),
                    places: Semaphore::new(AT_ONCE),
                })),
                Err(error) => wrong.push((place(provider), error)),
            }
        }
        if wrong.is_empty() {
            Ok(Self { list })
        } else {
            Err(wrong)
        }
    }

    /// All of them, in the order of the file.
    pub fn list(&self) -> &[Arc<Provider>] {
        &self.list
    }

    /// The one of this name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<Provider>> {
        let mut list = self.list.iter();
        list.find(|provider| *provider.config.name == *name)
    }
}

/// Where a file that cannot be used is named.
fn place(provider: &config::Provider) -> config::Position {
    match provider.trust {
        config::UpstreamTrust::File { position, .. } => position,
        config::UpstreamTrust::System | config::UpstreamTrust::Nobody => provider.position,
    }
}

impl Provider {
    /// What the file says of it.
    pub fn config(&self) -> &config::Provider {
        &self.config
    }

    /// Where a browser is sent to sign in (OpenID Connect Core §3.1.2.1). `again`: also if it is signed in
    /// there already.
    ///
    /// # Errors
    ///
    /// Where it is not known.
    pub async fn authorization_url(&self, ties: &Ties, again: bool) -> Result<Url, NoProvider> {
        let known = self.known(None).await?;
        let challenge = digest::digest(&digest::SHA256, ties.verifier.as_bytes());
        let mut url = known.metadata.authorization_endpoint.clone();
        let mut pairs = url.query_pairs_mut();
        pairs
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("scope", &self.config.scopes.join(" "))
            .append_pair("state", &ties.state)
            .append_pair("nonce", &ties.nonce)
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(challenge))
            .append_pair("code_challenge_method", "S256");
        if again {
            pairs.append_pair("prompt", "login");
        }
        drop(pairs);
        Ok(url)
    }

    /// Whether an answer may be this provider's, by its `iss` (RFC 9207 §2.4).
    ///
    /// # Errors
    ///
    /// Where it is not known whether it must say so.
    pub async fn may_have_answered(&self, iss: Option<&str>) -> Result<bool, NoProvider> {
        let known = self.known(None).await?;
        Ok(match iss {
            Some(iss) => *iss == *self.config.url,
            None => !known.metadata.says_iss,
        })
    }

    /// Exchanges a code for who it is that came back.
    ///
    /// # Errors
    ///
    /// Where that cannot be said, or is not to be believed.
    pub async fn redeem(&self, code: &str, ties: &Ties) -> Result<Person, NotSignedIn> {
        let _place = self.places.try_acquire().map_err(|_| NoProvider::Busy)?;
        let known = self.known(None).await?;
        let answer = self.exchange(&known.metadata, code, ties).await?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        let access_token = text("access_token").ok_or(NotSignedIn::NoTokens("no access_token"))?;
        let token = text("id_token").ok_or(NotSignedIn::NoTokens("no id_token"))?;
        let expected = Expected {
            issuer: &self.config.url,
            client_id: &self.config.client_id,
            nonce: &ties.nonce,
            access_token,
        };
        let judge = |known: &Known| {
            let now = self.clock.now();
            verify_id_token(&known.keys, &expected, token, now)
        };
        let claims = match judge(&known) {
            Err(Invalid::UnknownKey) => match self.known(Some(&known)).await {
                Ok(newer) => judge(&newer)?,
                // There are no newer ones.
                Err(NoProvider::AskedJustNow) => return Err(Invalid::UnknownKey.into()),
                Err(error) => return Err(error.into()),
            },
            judged => judged?,
        };
        let more = match &known.metadata.userinfo_endpoint {
            Some(url) if self.wants_more(&claims) => {
                self.userinfo(url, access_token, &claims).await?
            }
            _ => Map::new(),
        };
        let person = Person::read(&self.config, &claims, &more);
        let person = person.ok_or(NotSignedIn::BadToken(Invalid::BadClaims))?;
        if person.is_admitted(&self.config) {
            Ok(person)
        } else {
            Err(NotSignedIn::NotAdmitted)
        }
    }

    /// RFC 6749 §4.1.3, RFC 7636 §4.5.
    async fn exchange(
        &self,
        metadata: &Metadata,
        code: &str,
        ties: &Ties,
    ) -> Result<Value, NotSignedIn> {
        let id = &self.config.client_id;
        let secret = self.config.client_secret.expose_secret();
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", &ties.verifier),
        ];
        let authorization = match metadata.authentication {
            ClientAuthentication::Basic => Some(basic(id, secret)),
            ClientAuthentication::Post => {
                fields.extend([("client_id", id.as_str()), ("client_secret", secret)]);
                None
            }
        };
        let url = &metadata.token_endpoint;
        let asked = self.outbound.post_form(url, &fields, authorization).await;
        let (status, answer) = asked.map_err(NoProvider::from)?;
        if status == StatusCode::OK {
            return Ok(answer);
        }
        match answer.get("error").and_then(Value::as_str) {
            Some("invalid_grant") => Err(NotSignedIn::CodeRefused),
            Some(error) => Err(NotSignedIn::ClientRefused(error_word(error))),
            None => Err(NoProvider::from(OutboundError::Status(status)).into()),
        }
    }

    /// Whether the ID token leaves out what is to be known. Many providers have addresses and groups at the
    /// userinfo endpoint alone (OpenID Connect Core §5.4).
    fn wants_more(&self, claims: &Map<String, Value>) -> bool {
        let asks = |scope: &str| self.config.scopes.iter().any(|asked| asked == scope);
        let roles = &self.config.roles_claim;
        (asks("email") && !claims.contains_key("email"))
            || (!roles.is_empty() && claim_at(claims, roles).is_none())
    }

    async fn userinfo(
        &self,
        url: &Url,
        access_token: &str,
        claims: &Map<String, Value>,
    ) -> Result<Map<String, Value>, NotSignedIn> {
        let asked = self.outbound.get_with_token(url, access_token).await;
        let Value::Object(more) = asked.map_err(NoProvider::from)?.json else {
            return Err(NotSignedIn::NoTokens("its userinfo is no object"));
        };
        // §5.3.2: or the access token may be somebody else's.
        if more.get("sub") != claims.get("sub") {
            return Err(NotSignedIn::NoTokens("its userinfo is of somebody else"));
        }
        Ok(more)
    }

    /// Fetches what it publishes now and again, for as long as it is polled: nobody who signs in waits for
    /// that then.
    pub async fn follow(self: Arc<Self>) {
        loop {
            // What went wrong is in the log.
            let _ = self.known(None).await;
            sleep(FRESH / 2).await;
        }
    }

    /// What it publishes. `outdated` is what was there and is of no use any more, however new.
    async fn known(&self, outdated: Option<&Arc<Known>>) -> Result<Arc<Known>, NoProvider> {
        let is_outdated =
            |known: &Arc<Known>| outdated.is_some_and(|outdated| Arc::ptr_eq(outdated, known));
        let there = |age_max: Duration| {
            let known = self.known.load_full()?;
            let age = self.clock.now().duration_since(known.keys.fetched_at());
            let is_good = age.unwrap_or_default() < age_max && !is_outdated(&known);
            is_good.then_some(known)
        };
        if let Some(known) = there(FRESH) {
            return Ok(known);
        }
        let mut asked = match self.asked.try_lock() {
            Ok(asked) => asked,
            // Whoever comes while it is being asked goes by what was there, or waits for what will be: not
            // too many, who would take the places of all others at the door.
            Err(_) => {
                if let Some(known) = there(STALE) {
                    return Ok(known);
                }
                let _place = self.places.try_acquire().map_err(|_| NoProvider::Busy)?;
                self.asked.lock().await
            }
        };
        if let Some(known) = there(FRESH) {
            return Ok(known);
        }
        let now = self.clock.now();
        let just_now = asked.is_some_and(|asked| {
            now.duration_since(asked)
                .is_ok_and(|since| since < ASKED_EVERY)
        });
        if just_now {
            return there(STALE).ok_or(NoProvider::AskedJustNow);
        }
        let fetched = self.fetch().await;
        *asked = Some(self.clock.now());
        match fetched {
            Ok(known) => {
                let known = Arc::new(known);
                self.known.store(Some(Arc::clone(&known)));
                Ok(known)
            }
            // It has taken its keys back: they are not believed any more.
            Err(NoProvider::NoKeys) => {
                self.known.store(None);
                Err(NoProvider::NoKeys)
            }
            Err(error) => {
                tracing::warn!(provider.name = %self.config.name, %error, "a provider cannot be asked");
                there(STALE).ok_or(error)
            }
        }
    }

    async fn fetch(&self) -> Result<Known, NoProvider> {
        let base = self.config.url.trim_end_matches('/');
        let url = Url::parse(&format!("{base}/.well-known/openid-configuration"));
        let url = url.map_err(|_| NoProvider::NoAddress("address"))?;
        let metadata = Metadata::read(&self.config.url, &self.outbound.get(&url).await?.json)?;
        let document = self.outbound.get(&metadata.jwks_uri).await?;
        let now = self.clock.now();
        let keys = IssuerKeys::read(&document.json, &self.config.algorithms, now);
        let keys = keys.ok_or(NoProvider::NoSet)?;
        if keys.is_empty() {
            return Err(NoProvider::NoKeys);
        }
        Ok(Known { metadata, keys })
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({})", self.config.name)
    }
}

/// `client_secret_basic`: both are form-encoded first (RFC 6749 §2.3.1).
fn basic(id: &str, secret: &str) -> String {
    let encode =
        |text: &str| -> String { url::form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let pair = format!("{}:{}", encode(id), encode(secret));
    format!("Basic {}", STANDARD.encode(pair))
}

/// The word of an error as logs and pages may show it: somebody else has written it.
pub fn error_word(error: &str) -> String {
    let legal = |letter: &char| letter.is_ascii_alphanumeric() || "_-.".contains(*letter);
    error.chars().filter(legal).take(64).collect()
}

#[cfg(test)]
mod tests;
