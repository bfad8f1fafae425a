//! Accounts as their owners meet them: register, login, refresh, logout, who am I, new password.
//!
//! Each endpoint is a file. What they share is [`Accounts`]: the store, the hashing threads, the
//! tokens. Order when a session ends: commit, insert into the map of what is dead, answer.

pub mod jwks;
pub mod login;
pub mod logout;
pub mod me;
pub mod pace;
pub mod password;
pub mod provider;
pub mod refresh;
pub mod register;
pub mod sessions;
mod signed_in;
pub mod tokens;

use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;

use crate::account::pace::Pace;
use crate::authenticate::Judge;
use crate::authenticate::OpaqueSessions;
use crate::clock::Clock;
use crate::config;
use crate::domain::SessionId;
use crate::keys::SharedKeys;
use crate::password::Hasher;
use crate::problem::Problem;
use crate::revocations::Revocations;
use crate::store::Change;
use crate::store::Store;
use crate::store::Unavailable;
use crate::telemetry::metrics::Metrics;
use crate::token::issue::AccessTokens;
use crate::vault::Vault;

pub use signed_in::FRESH;
pub use signed_in::SignedIn;

/// What the endpoints of accounts stand on.
#[derive(Debug)]
pub struct Accounts {
    /// `[accounts]`
    pub rules: config::Accounts,
    /// Whether a personal token without a scope opens anything: a route lists it under `clients`.
    pub admits_bare_tokens: bool,
    /// Which host is that of `public_url`.
    pub hosts: Arc<config::OwnHosts>,
    /// `[tokens]`
    pub tokens: config::Tokens,
    /// The database.
    pub store: Store,
    /// Secrets of opaque tokens.
    pub vault: Arc<Vault>,
    /// Signing keys.
    pub keys: SharedKeys,
    /// Access tokens.
    pub access: AccessTokens,
    /// The same judge that guards the routes.
    pub judge: Judge,
    /// Sessions of browsers and of personal tokens.
    pub sessions: Arc<OpaqueSessions>,
    /// What is dead.
    pub revocations: Arc<Revocations>,
    /// How fast users may have things made.
    pub pace: Arc<Pace>,
    /// Hashing threads.
    pub hasher: Hasher,
    /// Time.
    pub clock: Clock,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Accounts {
    /// Makes it felt here, before the answer, that sessions have ended.
    pub fn bury(&self, sessions: impl IntoIterator<Item = SessionId>, now: SystemTime) {
        for session in sessions {
            self.revocations.apply(Change::SessionEnded(session), now);
        }
    }

    /// Ends what is named by this id, as it was sent, if `ending` finds it.
    ///
    /// # Errors
    ///
    /// `unknown` where there is none; 503.
    async fn end_named(
        &self,
        id: &str,
        unknown: fn() -> Problem,
        ending: impl AsyncFnOnce(SessionId, SystemTime) -> Result<Vec<SessionId>, Unavailable>,
    ) -> Result<SessionId, Problem> {
        let session = SessionId::parse(id).map_err(|_| unknown())?;
        let now = self.clock.now();
        let ended = ending(session, now).await;
        let ended = ended.map_err(|error| unavailable(&error))?;
        if ended.is_empty() {
            return Err(unknown());
        }
        self.bury(ended, now);
        Ok(session)
    }
}

/// 503: the hashing queue is full or too slow (SECURITY 27).
fn busy() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "busy",
        "Too many passwords are being checked right now; nothing was done. Try again shortly.",
    )
    .retry_after(2)
}

/// 503, and the cause into the log: the one place where a failing store is reported to callers.
pub fn unavailable(error: &Unavailable) -> Problem {
    tracing::error!(%error, "the store does not answer");
    Problem::store_unavailable()
}
