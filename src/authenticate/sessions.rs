//! Sessions that something opaque names, shared by all cores: from a browser's cookie or a personal token
//! to an [`Identity`].
//!
//! A genuine one is read from the store once and then remembered, under the same map of what is dead as
//! access tokens are. What is remembered says only who a session was of when it was read: whether it
//! is alive is asked for every request. The path asks [`OpaqueSessions::find`], which never waits.

use std::array;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

use http::HeaderValue;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use crate::authenticate::Identity;
use crate::authenticate::Judge;
use crate::authenticate::Reason;
use crate::authenticate::SCHEME_BYTES;
use crate::authenticate::Unauthenticated;
use crate::authenticate::bearer;
use crate::clock::unix_seconds;
use crate::config;
use crate::domain::Scopes;
use crate::domain::SessionId;
use crate::recent::Recent;
use crate::store::Store;
use crate::store::Unavailable;
use crate::token::cookie;
use crate::token::cookie::SESSION_COOKIE;
use crate::token::cookie::SessionCookies;
use crate::token::personal::PersonalTokens;
use crate::token::verify::Claims;
use crate::vault::Vault;

/// The sessions of browsers and of personal tokens.
#[derive(Debug)]
pub struct OpaqueSessions {
    cookies: SessionCookies,
    tokens: PersonalTokens,
    judge: Judge,
    store: Store,
    rules: config::Sessions,
    /// What a sign-in may hold now: it may have been more when it was made.
    login_scopes: Scopes,
    shards: [Shard; SHARDS],
    /// What the store is being asked for: a page that has a browser ask for fifty things at once, with a
    /// cookie that is not known here, costs one read.
    asked: Mutex<HashMap<SessionId, Arc<Reading>>>,
    /// When sessions were last seen, in seconds since the epoch, until it is taken down.
    seen: Mutex<HashMap<SessionId, u64>>,
}

type Shard = Mutex<Recent<SessionId, Entry>>;

type Reading = OnceCell<Result<Option<Identity>, Arc<Unavailable>>>;

/// What is remembered, until when: that a session was dead, or whose it is.
#[derive(Clone, Debug)]
struct Entry {
    known: Option<Arc<Known>>,
    until: u64,
}

#[derive(Debug)]
struct Known {
    identity: Identity,
    /// Whether it ends when it is not seen for long.
    idles: bool,
    last_seen: AtomicU64,
    /// The last time that was put into `seen`.
    told: AtomicU64,
}

/// What is known of a session without asking the store.
#[derive(Clone, Debug)]
pub enum Found {
    /// It is alive, and was seen just now.
    Alive(Identity),
    /// It is dead.
    Dead,
    /// The store has to be asked: [`OpaqueSessions::recall`].
    Unknown,
}

/// What a caller shows in place of a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownToken {
    /// A personal token that was made here, and may have ended.
    Genuine(SessionId),
    /// What wants to be one.
    Forged,
    /// Something else, or nothing.
    Other,
}

impl OpaqueSessions {
    /// Remembers at most so many sessions.
    pub fn new(
        vault: &Vault,
        judge: Judge,
        store: Store,
        rules: config::Sessions,
        login_scopes: Scopes,
        remembered_max: usize,
    ) -> Self {
        let of_each = (remembered_max / SHARDS).max(1);
        Self {
            cookies: SessionCookies::new(vault),
            tokens: PersonalTokens::new(vault),
            judge,
            store,
            rules,
            login_scopes,
            shards: array::from_fn(|_| Mutex::new(Recent::new(of_each))),
            asked: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// `[sessions]`
    pub fn rules(&self) -> config::Sessions {
        self.rules
    }

    /// Which session a cookie names, if it is genuine and of this host.
    pub fn named_by(&self, cookie: &[u8], host: &str) -> Option<SessionId> {
        self.cookies.read(cookie, host)
    }

    /// What an `Authorization` header brings, as far as personal tokens go.
    pub fn shown_by(&self, authorization: Option<&HeaderValue>) -> ShownToken {
        // Asked for every request, and nearly always it is a JWT, or nothing.
        let begins = authorization.and_then(|header| header.as_bytes().get(SCHEME_BYTES));
        if !begins.is_some_and(|byte| PersonalTokens::may_begin_with(*byte)) {
            return ShownToken::Other;
        }
        match bearer(authorization) {
            Ok(token) if PersonalTokens::is_meant(token) => self
                .tokens
                .read(token)
                .map_or(ShownToken::Forged, ShownToken::Genuine),
            _ => ShownToken::Other,
        }
    }

    /// The text of a personal token, to be shown once.
    pub fn personal_token(&self, token: SessionId) -> Zeroizing<String> {
        self.tokens.reveal(token)
    }

    /// `Set-Cookie` for a session on this host (RFC 6265bis §4.1).
    pub fn set_cookie(&self, session: SessionId, host: &str) -> HeaderValue {
        let value = self.cookies.write(session, host);
        cookie::given(SESSION_COOKIE, &value, Some(self.rules.max))
    }

    /// `Set-Cookie` that takes the cookie away.
    pub fn clear_cookie() -> HeaderValue {
        cookie::taken_away(SESSION_COOKIE)
    }

    /// Asks what is remembered; never waits.
    pub fn find(&self, session: SessionId) -> Found {
        let now = unix_seconds(self.judge.clock.now());
        let entry = self.shard(session).get(&session).cloned();
        let Some(Entry { known, .. }) = entry.filter(|entry| entry.until > now) else {
            // That it has ended is known even while the store cannot be asked.
            let is_ended = self.judge.revocations.is_ended(session);
            return if is_ended {
                Found::Dead
            } else {
                Found::Unknown
            };
        };
        let Some(known) = known else {
            return Found::Dead;
        };
        let claims = known.identity.claims();
        if claims.expires_at <= now {
            return Found::Dead;
        }
        match self.judge.alive(claims) {
            Ok(()) => {}
            // The account is another now, and perhaps as good: its session goes on.
            Err(Unauthenticated::Refused(Reason::AccountChanged)) => return Found::Unknown,
            Err(_) => return Found::Dead,
        }
        // Judged before it is moved on: of two requests at once, neither may find a session that has idled
        // away alive because of the other.
        if known.idles && self.has_idled(known.last_seen.load(Ordering::Relaxed), now) {
            // Another gateway may have seen it since.
            return Found::Unknown;
        }
        known.last_seen.fetch_max(now, Ordering::Relaxed);
        self.note(session, &known, now);
        Found::Alive(known.identity.clone())
    }

    /// Asks the store for a session that is unknown here; `None` where it is dead.
    ///
    /// # Errors
    ///
    /// Where the store does not answer.
    pub async fn recall(&self, session: SessionId) -> Result<Option<Identity>, Arc<Unavailable>> {
        // Somebody else may have asked meanwhile.
        match self.find(session) {
            Found::Alive(identity) => return Ok(Some(identity)),
            Found::Dead => return Ok(None),
            Found::Unknown => {}
        }
        // What was read may be overtaken before it is judged, all the more where somebody else began to
        // read; whoever changes that often may wait.
        for _ in 0..ATTEMPTS {
            let Some(identity) = self.read_once(session).await? else {
                return Ok(None);
            };
            match self.judge.alive(identity.claims()) {
                Ok(()) => return Ok(Some(identity)),
                Err(Unauthenticated::Refused(Reason::AccountChanged)) => {}
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Takes down when sessions were last seen, all at once; what the store does not take is tried
    /// again the next time.
    pub async fn write_seen(&self) {
        let seen = std::mem::take(&mut *lock(&self.seen));
        if seen.is_empty() {
            return;
        }
        let at = |second: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let batch: Vec<_> = seen.iter().map(|(id, second)| (*id, at(*second))).collect();
        if let Err(error) = self.store.touch_sessions(&batch).await {
            tracing::warn!(%error, "cannot take down which sessions were seen; trying again");
            let mut waiting = lock(&self.seen);
            for (session, second) in seen {
                let latest = waiting.entry(session).or_insert(second);
                *latest = second.max(*latest);
            }
        }
    }

    /// Reads a session, or waits for whoever does so already.
    async fn read_once(&self, session: SessionId) -> Result<Option<Identity>, Arc<Unavailable>> {
        let reading = Arc::clone(lock(&self.asked).entry(session).or_default());
        let read = reading.get_or_init(|| self.read(session)).await.clone();
        // Whoever comes from now on reads anew.
        let mut asked = lock(&self.asked);
        let current = asked.get(&session);
        if current.is_some_and(|current| Arc::ptr_eq(current, &reading)) {
            asked.remove(&session);
        }
        read
    }

    async fn read(&self, session: SessionId) -> Result<Option<Identity>, Arc<Unavailable>> {
        let now = self.judge.clock.now();
        let seen_here = self.seen_here(session);
        // What was seen here is not taken down at once: until then the store may take it for idle.
        let idle = if self.has_idled(seen_here, unix_seconds(now)) {
            self.rules.idle
        } else {
            Duration::MAX
        };
        let read = self.store.opaque_session(session, now, idle).await;
        let kept = unix_seconds(now + KEPT);
        let dead_kept = unix_seconds(now + DEAD_KEPT);
        let now = unix_seconds(now);
        let known = read.map_err(Arc::new)?.map(|mut read| {
            read.session.scopes = read.session.scopes.within(&self.login_scopes);
            Arc::new(Known {
                identity: Identity::new(Claims::of_session(&read.user, &read.session), 0),
                idles: read.idles,
                // Whoever has it read uses it.
                last_seen: AtomicU64::new(now),
                told: AtomicU64::new(unix_seconds(read.last_seen_at)),
            })
        });
        if let Some(known) = &known {
            self.note(session, known, now);
        }
        let identity = known.as_ref().map(|known| known.identity.clone());
        let until = if known.is_some() { kept } else { dead_kept };
        let entry = Entry { known, until };
        self.shard(session).insert(session, entry, until, now);
        Ok(identity)
    }

    /// The second in which it was last seen, as far as is known here.
    fn seen_here(&self, session: SessionId) -> u64 {
        let entry = self.shard(session).get(&session).cloned();
        let known = entry.and_then(|entry| entry.known);
        let remembered = known.map_or(0, |known| known.last_seen.load(Ordering::Relaxed));
        let waiting = lock(&self.seen).get(&session).copied();
        remembered.max(waiting.unwrap_or_default())
    }

    fn has_idled(&self, last_seen: u64, now: u64) -> bool {
        last_seen.saturating_add(self.rules.idle.as_secs()) <= now
    }

    /// Not at every request, but often enough that no session idles away that is in use.
    fn note(&self, session: SessionId, known: &Known, now: u64) {
        let step = (self.rules.idle.as_secs() / 10).min(60);
        let told = known.told.load(Ordering::Relaxed);
        if now < told.saturating_add(step) {
            return;
        }
        let mut seen = lock(&self.seen);
        if seen.len() < SEEN_MAX {
            known.told.store(now, Ordering::Relaxed);
            seen.insert(session, now);
        }
    }

    #[expect(clippy::indexing_slicing, reason = "the index is below SHARDS")]
    fn shard(&self, session: SessionId) -> MutexGuard<'_, Recent<SessionId, Entry>> {
        // The last byte of a UUIDv7 is random (RFC 9562 §5.7).
        let [.., last] = session.uuid().into_bytes();
        lock(&self.shards[usize::from(last) % SHARDS])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So that cores do not meet at one lock.
const SHARDS: usize = 64;
/// Shorter than the map of what is dead remembers an end.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// An ended session never lives again, but one that idled here may have been seen elsewhere.
const DEAD_KEPT: Duration = Duration::from_secs(60);
/// As many as are told to the store at once.
const SEEN_MAX: usize = 100_000;
/// How often a session is read whose account is changed meanwhile.
const ATTEMPTS: usize = 3;

#[cfg(test)]
mod tests;
