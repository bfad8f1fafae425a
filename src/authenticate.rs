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
use crate::domain::Audience;
use crate::domain::Outside;
use crate::domain::Subject;
use crate::issuers::Issuers;
use crate::keys::SharedKeys;
use crate::problem::Problem;
use crate::recent::Recent;
use crate::revocations::Revocations;
use crate::token::verify::Claims;
use crate::token::verify::IdTokenHint;
use crate::token::verify::Invalid;
use crate::token::verify::NotOutside;
use crate::token::verify::Verifier;
use crate::token::verify::verify_outside;

pub use sessions::Found;
pub use sessions::OpaqueSessions;
pub use sessions::ShownToken;
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
    /// It says that it is of another issuer, whose tokens are not admitted where it was sent.
    IssuerNotAdmitted,
    /// The keys of another issuer, by its place, are needed and not here: ask for them, and judge again.
    KeysWanted(usize),
    /// The keys of another issuer are not to be had.
    IssuerUnavailable,
}

impl Unauthenticated {
    /// A token that is good, and for another resource than where it was shown.
    pub const FOR_ANOTHER: Self = Self::Refused(Reason::Invalid(Invalid::WrongAudience));

    /// 401 as RFC 6750 §3.1 has it: no error code where there was no credential.
    pub fn problem(self) -> Problem {
        let (code, detail, challenge) = match self {
            Self::IssuerNotAdmitted => {
                return Problem::new(
                    StatusCode::FORBIDDEN,
                    "issuer_not_admitted",
                    "Access tokens of this issuer do not pass here.",
                );
            }
            Self::KeysWanted(_) | Self::IssuerUnavailable => {
                return Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "issuer_unavailable",
                    "The keys of the access token's issuer cannot be had now, so it can be neither \
                     accepted nor refused. Try again.",
                )
                .retry_after(30);
            }
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
            Self::IssuerNotAdmitted => "issuer_not_admitted",
            Self::KeysWanted(_) | Self::IssuerUnavailable => "issuer_unavailable",
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
    issuers: Arc<Issuers>,
    clock: Clock,
}

impl Judge {
    /// Puts a judge together.
    pub fn new(
        verifier: Verifier,
        keys: SharedKeys,
        revocations: Arc<Revocations>,
        issuers: Arc<Issuers>,
        clock: Clock,
    ) -> Self {
        Self {
            verifier,
            keys,
            revocations,
            issuers,
            clock,
        }
    }

    /// Judges an `Authorization` header, for an endpoint of our own: what is for a resource behind the
    /// gateway, or beside it, is not for the gateway itself.
    ///
    /// # Errors
    ///
    /// Where there is none, or it is not good.
    pub fn identify(
        &self,
        authorization: Option<&HeaderValue>,
    ) -> Result<Identity, Unauthenticated> {
        let token = token(bearer(authorization)?)?;
        let identity = self.judge(token, self.clock.now())?;
        match identity.claims().audience {
            Audience::Gateway => Ok(identity),
            Audience::Resources(_) => Err(Unauthenticated::FOR_ANOTHER),
        }
    }

    /// Judges a bare token, as a client shows it that asks about it, whatever it is for.
    ///
    /// # Errors
    ///
    /// Where it is not good.
    pub fn identify_token(&self, text: &str) -> Result<Identity, Unauthenticated> {
        self.judge(token(text.as_bytes())?, self.clock.now())
    }

    /// Reads an ID token of ours that a client shows, of whatever age.
    pub fn id_token_hint(&self, token: &str) -> Option<IdTokenHint> {
        self.verifier.id_token_hint(&self.keys.load(), token)
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

    /// A token that is none of ours: of the issuer that it names, or refused for what it was refused for
    /// among ours. Endpoints of our own take none, so that only routes ask.
    fn judge_outside(
        &self,
        token: &str,
        admitted: &[Arc<str>],
        refused: Unauthenticated,
        now: SystemTime,
    ) -> Result<Identity, Unauthenticated> {
        match verify_outside(&self.issuers, admitted, token, now) {
            Ok((claims, generation)) => Ok(Identity::new(claims, generation)),
            Err(NotOutside::Stranger) => Err(refused),
            Err(NotOutside::NotAdmitted) => Err(Unauthenticated::IssuerNotAdmitted),
            Err(NotOutside::Invalid(invalid)) => {
                Err(Unauthenticated::Refused(Reason::Invalid(invalid)))
            }
            Err(NotOutside::KeysWanted(place)) => Err(Unauthenticated::KeysWanted(place)),
            Err(NotOutside::Unavailable) => Err(Unauthenticated::IssuerUnavailable),
        }
    }

    /// Whether the keys that a token of another issuer was judged by are still its keys.
    fn holds_outside(&self, identity: &Identity, now: SystemTime) -> bool {
        let Subject::Outside(caller) = &identity.claims().subject else {
            return false;
        };
        let issuer = self.issuers.by_name(caller.issuer());
        let keys = issuer.and_then(|issuer| issuer.keys(now));
        keys.is_some_and(|keys| keys.generation() == identity.facts.generation)
    }

    /// Moves whenever somebody who might go on before may not go on any more.
    pub fn revision(&self) -> u64 {
        let keys = self.keys.load().generation();
        let keys = keys.wrapping_add(self.issuers.revision());
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
        let is_known = |kid| match &claims.subject {
            Subject::Outside(caller) => self.is_key_of(caller, kid),
            Subject::User(_) | Subject::Client(_) => keys.verifying(kid).is_some(),
        };
        (!claims.kid().is_none_or(is_known) && !has_run_out).then(|| Invalid::UnknownKey.reason())
    }

    /// Keys that cannot be had end nothing: nobody has said that they are gone.
    fn is_key_of(&self, caller: &Outside, kid: &str) -> bool {
        let issuer = self.issuers.by_name(caller.issuer());
        let keys = issuer.and_then(|issuer| issuer.keys(self.clock.now()));
        keys.is_none_or(|keys| keys.find(kid).is_some())
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
    /// Tokens of other issuers, apart: of our own nobody is to ask whose they are.
    outside: RefCell<Recent<Tail, Verified>>,
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
    /// Remembers at most `verified_max` tokens, at some 1.7 KiB each. Others' tokens are as large as they
    /// like, so that fewer of them are remembered.
    pub fn new(judge: Judge, verified_max: usize) -> Self {
        Self {
            judge,
            verified: RefCell::new(Recent::new(verified_max)),
            outside: RefCell::new(Recent::new(verified_max / OUTSIDE_SHARE)),
        }
    }

    /// For `auth = "required"`; `admitted` are the names of the other issuers whose tokens pass. Whether
    /// the token is for a route is for the route to say.
    ///
    /// # Errors
    ///
    /// Where there is no credential, or it is not good.
    pub fn identify(
        &self,
        authorization: Option<&HeaderValue>,
        admitted: &[Arc<str>],
    ) -> Result<Identity, Unauthenticated> {
        let sent = bearer(authorization)?;
        let now = self.judge.clock.now();
        if let Some(identity) = self.remembered(sent, now) {
            self.judge.alive(identity.claims())?;
            return Ok(identity);
        }
        match self.judge.judge(token(sent)?, now) {
            Ok(identity) => {
                remember(&self.verified, sent, &identity, now);
                Ok(identity)
            }
            Err(refused) if self.judge.issuers.list().is_empty() => Err(refused),
            Err(refused) => self.identify_outside(sent, admitted, refused, now),
        }
    }

    /// A token that our own keys did not sign.
    fn identify_outside(
        &self,
        sent: &[u8],
        admitted: &[Arc<str>],
        refused: Unauthenticated,
        now: SystemTime,
    ) -> Result<Identity, Unauthenticated> {
        if let Some(identity) = found(&self.outside, sent)
            && until(&identity) > unix_seconds(now)
            && self.judge.holds_outside(&identity, now)
        {
            return if is_of(&identity, admitted) {
                Ok(identity)
            } else {
                Err(Unauthenticated::IssuerNotAdmitted)
            };
        }
        let token = token(sent)?;
        let identity = self.judge.judge_outside(token, admitted, refused, now)?;
        if sent.len() <= OUTSIDE_BYTES_MAX {
            remember(&self.outside, sent, &identity, now);
        }
        Ok(identity)
    }

    /// Waits until the keys of another issuer, by its place, have been asked for.
    pub async fn keys_asked(&self, place: usize) {
        if let Some(issuer) = self.judge.issuers.list().get(place) {
            issuer.asked().await;
        }
    }

    /// For `auth = "optional"`: no credential is anonymous, a bad one is still refused.
    ///
    /// # Errors
    ///
    /// Where there is a credential that is not good.
    pub fn recognise(
        &self,
        authorization: Option<&HeaderValue>,
        admitted: &[Arc<str>],
    ) -> Result<Caller, Unauthenticated> {
        match self.identify(authorization, admitted) {
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

/// Whether a caller is one of these other issuers'.
fn is_of(identity: &Identity, admitted: &[Arc<str>]) -> bool {
    match &identity.claims().subject {
        Subject::Outside(caller) => admitted.contains(caller.issuer()),
        Subject::User(_) | Subject::Client(_) => false,
    }
}

/// Keeps a token that was judged good.
fn remember(
    memory: &RefCell<Recent<Tail, Verified>>,
    sent: &[u8],
    identity: &Identity,
    now: SystemTime,
) {
    if let Some(tail) = tail(sent) {
        let verified = Verified {
            token: sent.into(),
            identity: identity.clone(),
        };
        let mut memory = memory.borrow_mut();
        memory.insert(tail, verified, until(identity), unix_seconds(now));
    }
}

/// What is kept of these very bytes.
fn found(memory: &RefCell<Recent<Tail, Verified>>, sent: &[u8]) -> Option<Identity> {
    let memory = memory.borrow();
    let Verified { token, identity } = memory.get(&tail(sent)?)?;
    (**token == *sent).then(|| identity.clone())
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
    match header.as_bytes().split_at_checked(SCHEME_BYTES) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => Ok(token.trim_ascii()),
        _ => Err(MALFORMED),
    }
}

/// `Bearer `
const SCHEME_BYTES: usize = 7;

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

/// Of what is remembered of our own tokens, this part of other issuers'.
const OUTSIDE_SHARE: usize = 8;
/// Larger tokens of other issuers are judged each time.
const OUTSIDE_BYTES_MAX: usize = 4 * 1024;

const MALFORMED: Unauthenticated = Unauthenticated::Refused(Reason::Malformed);

#[cfg(test)]
mod tests;
