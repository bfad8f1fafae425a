//! From a credential to an [`Identity`]: verified, its session alive. The only maker of one.
//!
//! A guarded request with a token reads no database: signature, claims, and the map of what is dead are
//! enough.
//! This room must never say to a caller which part of a credential was wrong.

mod sessions;
mod told;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderValue;
use http::StatusCode;
use http::header;

use crate::clock::Clock;
use crate::clock::unix_seconds;
use crate::domain::Subject;
use crate::keys::SharedKeys;
use crate::problem::Problem;
use crate::recent::Recent;
use crate::revocations::Revocations;
use crate::token::verify::Claims;
use crate::token::verify::Invalid;
use crate::token::verify::Verifier;

pub use sessions::BrowserSessions;
pub use sessions::Found;
pub use told::Told;
pub use told::percent_encode;

/// Who is calling.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Nobody said.
    Anonymous,
    /// This one.
    Known(Identity),
}

/// A caller whose credential was verified and whose session is alive. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Identity {
    facts: Arc<Facts>,
}

#[derive(Debug)]
struct Facts {
    claims: Claims,
    told: Told,
    generation: u64,
}

impl Identity {
    /// What the credential says.
    pub fn claims(&self) -> &Claims {
        &self.facts.claims
    }

    /// The `sub`, as text.
    pub fn subject(&self) -> &str {
        text(&self.facts.told.user_id)
    }

    /// The `sid`, as text.
    pub fn session(&self) -> &str {
        text(&self.facts.told.session)
    }

    /// The values of its headers.
    pub fn told(&self) -> &Told {
        &self.facts.told
    }

    /// Two clones of one verification are the same; two verifications never are.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.facts, &other.facts)
    }

    /// A number that no other living identity has.
    pub fn address(&self) -> usize {
        Arc::as_ptr(&self.facts).addr()
    }

    /// An identity that nobody proved.
    #[cfg(test)]
    pub(crate) fn for_test(claims: Claims) -> Self {
        Self::new(claims, 0)
    }

    fn new(claims: Claims, generation: u64) -> Self {
        Self {
            facts: Arc::new(Facts {
                told: Told::new(&claims),
                claims,
                generation,
            }),
        }
    }
}

/// Why there is no identity; RFC 6750 §3.1 answers the two differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unauthenticated {
    /// No credential: ask for one.
    Absent,
    /// A credential that is not good, and why, for the log.
    Refused(Reason),
}

impl Unauthenticated {
    /// 401 as RFC 6750 §3.1 has it: no error code where there was no credential.
    pub fn problem(self) -> Problem {
        let (code, detail, challenge) = match self {
            Self::Absent => (
                "unauthenticated",
                "This needs an access token: Authorization: Bearer <token>.",
                "Bearer realm=\"portcullis\"",
            ),
            Self::Refused(_) => (
                "invalid_token",
                "The access token is malformed, expired or revoked: refresh it or log in again.",
                "Bearer realm=\"portcullis\", error=\"invalid_token\", \
                 error_description=\"The access token is malformed, expired or revoked\"",
            ),
        };
        Problem::new(StatusCode::UNAUTHORIZED, code, detail).with_header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        )
    }

    /// What log and metrics call it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Absent => "no_credential",
            Self::Refused(reason) => reason.label(),
        }
    }
}

/// Why a credential is not good: for log and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Another scheme than `Bearer`, or not one token.
    Malformed,
    /// The token itself.
    Invalid(Invalid),
    /// Its session was ended: logout, password change, disabled account.
    SessionEnded,
    /// The account has changed since: refresh to get a token that says how it is now.
    AccountChanged,
}

impl Reason {
    /// The label in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed_credential",
            Self::Invalid(invalid) => invalid.reason(),
            Self::SessionEnded => "session_ended",
            Self::AccountChanged => "account_changed",
        }
    }
}

/// The judge of credentials, shared by all threads.
#[derive(Clone, Debug)]
pub struct Judge {
    verifier: Verifier,
    keys: SharedKeys,
    revocations: Arc<Revocations>,
    clock: Clock,
}

impl Judge {
    /// Puts a judge together.
    pub fn new(
        verifier: Verifier,
        keys: SharedKeys,
        revocations: Arc<Revocations>,
        clock: Clock,
    ) -> Self {
        Self {
            verifier,
            keys,
            revocations,
            clock,
        }
    }

    /// Judges an `Authorization` header.
    ///
    /// # Errors
    ///
    /// Where there is none, or it is not good.
    pub fn identify(
        &self,
        authorization: Option<&HeaderValue>,
    ) -> Result<Identity, Unauthenticated> {
        let token = token(bearer(authorization)?)?;
        self.judge(token, self.clock.now())
    }

    /// Judges a bare token, as a client shows it that asks about it.
    ///
    /// # Errors
    ///
    /// Where it is not good.
    pub fn identify_token(&self, text: &str) -> Result<Identity, Unauthenticated> {
        self.judge(token(text.as_bytes())?, self.clock.now())
    }

    fn judge(&self, token: &str, now: SystemTime) -> Result<Identity, Unauthenticated> {
        let keys = self.keys.load();
        let claims = self
            .verifier
            .verify(&keys, token, now)
            .map_err(|invalid| Unauthenticated::Refused(Reason::Invalid(invalid)))?;
        let identity = Identity::new(claims, keys.generation());
        self.alive(identity.claims())?;
        Ok(identity)
    }

    /// Moves whenever somebody who might go on before may not go on any more.
    pub fn revision(&self) -> u64 {
        let keys = self.keys.load().generation();
        self.revocations.revision().wrapping_add(keys)
    }

    /// Why the caller of a request that is under way may not go on, in the words of the log: the session
    /// was ended, the account changed, the key revoked. A token that runs out ends nothing that it has
    /// begun, and neither does its key when it lapses after that.
    pub fn ends(&self, identity: &Identity) -> Option<&'static str> {
        let claims = identity.claims();
        if let Err(why) = self.alive(claims) {
            return Some(why.label());
        }
        let has_run_out = claims.expires_at < unix_seconds(self.clock.now());
        let keys = self.keys.load();
        let is_known = |kid| keys.verifying(kid).is_some();
        (!claims.kid().is_none_or(is_known) && !has_run_out).then(|| Invalid::UnknownKey.reason())
    }

    /// Asked for every request, however well known its token is.
    fn alive(&self, claims: &Claims) -> Result<(), Unauthenticated> {
        let is_ended = |session| self.revocations.is_ended(session);
        if claims.session.is_some_and(is_ended) {
            return Err(Unauthenticated::Refused(Reason::SessionEnded));
        }
        if let Subject::User(user) = claims.subject
            && self.revocations.is_outdated(user, claims.user_version)
        {
            return Err(Unauthenticated::Refused(Reason::AccountChanged));
        }
        Ok(())
    }
}

/// One core's authenticator: the judge, and the tokens it has lately judged good.
#[derive(Debug)]
pub struct Authenticator {
    judge: Judge,
    verified: RefCell<Recent<Tail, Verified>>,
}

#[derive(Debug)]
struct Verified {
    token: Box<[u8]>,
    identity: Identity,
}

/// The end of a token, by which it is found: twelve bytes of a signature that was good. Nobody but the
/// gateway makes those, so nobody can make many that fall together. A number, because the hasher takes
/// its time over every piece.
type Tail = u128;

fn tail(token: &[u8]) -> Option<Tail> {
    token.last_chunk().copied().map(Tail::from_ne_bytes)
}

impl Authenticator {
    /// Remembers at most `verified_max` tokens, at some 1.7 KiB each.
    pub fn new(judge: Judge, verified_max: usize) -> Self {
        Self {
            judge,
            verified: RefCell::new(Recent::new(verified_max)),
        }
    }

    /// For `auth = "required"`.
    ///
    /// # Errors
    ///
    /// Where there is no credential, or it is not good.
    pub fn identify(
        &self,
        authorization: Option<&HeaderValue>,
    ) -> Result<Identity, Unauthenticated> {
        let sent = bearer(authorization)?;
        let now = self.judge.clock.now();
        if let Some(identity) = self.remembered(sent, now) {
            self.judge.alive(identity.claims())?;
            return Ok(identity);
        }
        let identity = self.judge.judge(token(sent)?, now)?;
        if let Some(tail) = tail(sent) {
            let verified = Verified {
                token: sent.into(),
                identity: identity.clone(),
            };
            let until = until(&identity);
            let mut memory = self.verified.borrow_mut();
            memory.insert(tail, verified, until, unix_seconds(now));
        }
        Ok(identity)
    }

    /// For `auth = "optional"`: no credential is anonymous, a bad one is still refused.
    ///
    /// # Errors
    ///
    /// Where there is a credential that is not good.
    pub fn recognise(
        &self,
        authorization: Option<&HeaderValue>,
    ) -> Result<Caller, Unauthenticated> {
        match self.identify(authorization) {
            Ok(identity) => Ok(Caller::Known(identity)),
            Err(Unauthenticated::Absent) => Ok(Caller::Anonymous),
            Err(refused) => Err(refused),
        }
    }

    /// An entry says only that these very bytes verify until `exp` under these keys: found by their end,
    /// and compared whole.
    fn remembered(&self, sent: &[u8], now: SystemTime) -> Option<Identity> {
        let verified = self.verified.borrow();
        let Verified { token, identity } = verified.get(&tail(sent)?)?;
        let holds = **token == *sent
            && until(identity) > unix_seconds(now)
            && identity.facts.generation == self.judge.keys.load().generation();
        holds.then(|| identity.clone())
    }
}

/// The first second in which the token is refused.
fn until(identity: &Identity) -> u64 {
    let leeway = Verifier::LEEWAY.as_secs();
    identity.claims().expires_at.saturating_add(leeway)
}

/// Of a value that was made of text.
fn text(value: &Option<HeaderValue>) -> &str {
    let bytes = value.as_ref().map(HeaderValue::as_bytes);
    std::str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
}

/// What stands behind `Bearer` (RFC 6750 §2.1), without the blanks around it.
fn bearer(authorization: Option<&HeaderValue>) -> Result<&[u8], Unauthenticated> {
    let header = authorization.ok_or(Unauthenticated::Absent)?;
    match header.as_bytes().split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => Ok(token.trim_ascii()),
        _ => Err(MALFORMED),
    }
}

/// One token of the alphabet of RFC 6750 §2.1.
fn token(bytes: &[u8]) -> Result<&str, Unauthenticated> {
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    let text = std::str::from_utf8(bytes).map_err(|_| MALFORMED)?;
    if !text.is_empty() && bytes.iter().all(legal) {
        Ok(text)
    } else {
        Err(MALFORMED)
    }
}

const MALFORMED: Unauthenticated = Unauthenticated::Refused(Reason::Malformed);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use arc_swap::ArcSwap;
    use uuid::Uuid;

    use crate::config::Algorithm;
    use crate::domain::ClientId;
    use crate::domain::Scopes;
    use crate::domain::Session;
    use crate::domain::SessionId;
    use crate::domain::User;
    use crate::domain::UserId;
    use crate::domain::Username;
    use crate::keys::KeySet;
    use crate::store::Change;
    use crate::token::issue::AccessTokens;

    use super::*;

    const ISSUER: &str = "https://localhost:8443";
    const TTL: Duration = Duration::from_secs(60);

    /// An authenticator with room for two tokens, and what it judges by.
    struct Bench {
        clock: Clock,
        keys: SharedKeys,
        revocations: Arc<Revocations>,
        authenticator: Authenticator,
    }

    impl Bench {
        fn new() -> Self {
            let clock = Clock::default();
            let keys: SharedKeys =
                Arc::new(ArcSwap::from_pointee(KeySet::for_test(Algorithm::Es256)));
            let revocations = Arc::new(Revocations::default());
            let judge = Judge::new(
                Verifier::new(ISSUER),
                Arc::clone(&keys),
                Arc::clone(&revocations),
                clock.clone(),
            );
            Self {
                authenticator: Authenticator::new(judge, 2),
                clock,
                keys,
                revocations,
            }
        }

        fn token(&self, session: u128) -> String {
            let now = self.clock.now();
            let user = User {
                id: UserId::new(Uuid::from_u128(1)),
                username: Username::parse("alice").ok(),
                email: None,
                email_verified: false,
                name: None,
                roles: Vec::new(),
                disabled: false,
                version: 1,
                created_at: now,
            };
            let session = Session {
                id: SessionId::new(Uuid::from_u128(session)),
                user: user.id,
                client: ClientId::first_party(),
                scopes: Scopes::default(),
                authenticated_at: now,
                expires_at: now + TTL,
                address: Ipv4Addr::LOCALHOST.into(),
            };
            let tokens = AccessTokens::new(ISSUER, TTL);
            tokens.issue(&self.keys.load(), &user, &session, now)
        }

        fn ask(&self, token: &str) -> Result<Identity, Unauthenticated> {
            let header = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
            self.authenticator.identify(Some(&header))
        }
    }

    #[track_caller]
    fn refused(asked: Result<Identity, Unauthenticated>, reason: Reason) {
        assert_eq!(asked.unwrap_err(), Unauthenticated::Refused(reason));
    }

    // SECURITY 21
    #[test]
    fn a_token_is_remembered_by_all_of_its_bytes() {
        let bench = Bench::new();
        let token = bench.token(7);
        let first = bench.ask(&token).unwrap();
        assert!(first.same(&bench.ask(&token).unwrap()));
        for at in 0..token.len() {
            let other = if token.as_bytes()[at] == b'A' {
                "B"
            } else {
                "A"
            };
            let mut changed = token.clone();
            changed.replace_range(at..=at, other);
            let asked = bench.ask(&changed);
            assert!(matches!(asked, Err(Unauthenticated::Refused(_))), "{at}");
        }
        for (_, cut) in token
            .char_indices()
            .skip(1)
            .map(|(at, _)| token.split_at(at))
        {
            assert!(bench.ask(cut).is_err(), "{cut}");
        }
        assert!(bench.ask(&format!("A{token}")).is_err());
        assert!(first.same(&bench.ask(&token).unwrap()));
    }

    // SECURITY 21
    #[test]
    fn what_is_remembered_ends_with_its_token() {
        let bench = Bench::new();
        let token = bench.token(7);
        bench.ask(&token).unwrap();
        bench
            .clock
            .advance(TTL + Verifier::LEEWAY - Duration::from_secs(2));
        bench.ask(&token).unwrap();
        bench.clock.advance(Duration::from_secs(2));
        refused(bench.ask(&token), Reason::Invalid(Invalid::Expired));
    }

    #[test]
    fn what_is_remembered_ends_with_its_session() {
        let bench = Bench::new();
        let (token, other) = (bench.token(7), bench.token(8));
        bench.ask(&token).unwrap();
        bench.ask(&other).unwrap();
        let ended = Change::SessionEnded(SessionId::new(Uuid::from_u128(7)));
        bench.revocations.apply(ended, bench.clock.now());
        refused(bench.ask(&token), Reason::SessionEnded);
        bench.ask(&other).unwrap();
    }

    // SECURITY 20
    #[test]
    fn what_is_remembered_ends_with_its_keys() {
        let bench = Bench::new();
        let token = bench.token(7);
        bench.ask(&token).unwrap();
        bench
            .keys
            .store(Arc::new(KeySet::for_test(Algorithm::Es256)));
        refused(bench.ask(&token), Reason::Invalid(Invalid::UnknownKey));
    }

    #[test]
    fn what_is_forgotten_is_verified_again() {
        let bench = Bench::new();
        let tokens: Vec<_> = (0..5).map(|session| bench.token(session)).collect();
        for _ in 0..2 {
            for (session, token) in (0..).zip(&tokens) {
                let identity = bench.ask(token).unwrap();
                assert_eq!(identity.session(), Uuid::from_u128(session).to_string());
                assert_eq!(identity.subject(), Uuid::from_u128(1).to_string());
                assert_eq!(identity.told().user.as_ref().unwrap(), "alice");
            }
        }
    }

    #[test]
    fn a_credential_is_one_bearer_token() {
        let parse = |text: &'static str| {
            let header = HeaderValue::from_bytes(text.as_bytes()).unwrap();
            token(bearer(Some(&header))?).map(str::to_owned)
        };
        assert_eq!(parse("Bearer abc.def"), Ok("abc.def".to_owned()));
        assert_eq!(parse("bearer  abc"), Ok("abc".to_owned()));
        assert_eq!(bearer(None), Err(Unauthenticated::Absent));
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "abc",
            "Basic dTpw",
            "Bearer a b",
            "Bearer a,b",
            "Bearer é",
            "Bearer\tabc",
        ] {
            assert_eq!(
                parse(bad),
                Err(Unauthenticated::Refused(Reason::Malformed)),
                "{bad:?}"
            );
        }
    }
}
