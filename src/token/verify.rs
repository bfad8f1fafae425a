//! JWT in, claims out: the one place where a token is judged.
//!
//! It must never let the token choose how it is judged: the kid names one of our own keys, the key
//! has its one algorithm, and every key or address that a header brings along is ignored (RFC 8725
//! §3.1, §3.10).

mod hint;
mod id_token;
mod outside;
mod times;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use jsonwebtoken::Validation;
use jsonwebtoken::errors::ErrorKind;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::Map;
use serde_json::Value;

use crate::clock::unix_seconds;
use crate::domain::Audience;
use crate::domain::ClientId;
use crate::domain::DisplayName;
use crate::domain::EmailAddress;
use crate::domain::Malformed;
use crate::domain::Resource;
use crate::domain::Role;
use crate::domain::Scopes;
use crate::domain::Session;
use crate::domain::SessionId;
use crate::domain::Subject;
use crate::domain::User;
use crate::keys::KeySet;

pub use hint::IdTokenHint;
pub use id_token::Expected;
pub use id_token::verify as verify_id_token;
pub use outside::NotOutside;
pub use outside::at as claim_at;
pub use outside::verify as verify_outside;
pub use outside::words as claim_words;
pub use times::seconds as claim_seconds;

/// What a verified access token says. Only [`Verifier::verify`] and [`verify_outside`] make one,
/// and what was just read of a session in the store.
#[derive(Clone, Debug)]
pub struct Claims {
    /// `sub`
    pub subject: Subject,
    /// `sid`; every token of ours has one.
    pub session: Option<SessionId>,
    /// `client_id`. Of another issuer's token it is the gateway itself: which of the other's clients it
    /// was made for is no matter of our clients.
    pub client: ClientId,
    /// `aud`
    pub audience: Audience,
    /// `scope`
    pub scopes: Scopes,
    /// `roles`
    pub roles: Vec<Role>,
    /// `preferred_username`; printable ASCII. Never for a machine.
    pub preferred_username: Option<String>,
    /// `name`
    pub name: Option<DisplayName>,
    /// `email`, verified
    pub email: Option<EmailAddress>,
    /// `user_version`: older than the account's, the token is refused. 0 for a machine.
    pub user_version: u64,
    /// `auth_time`, seconds since the epoch
    pub authenticated_at: u64,
    /// `amr` (RFC 8176), e.g. `pwd`
    pub methods: Vec<String>,
    /// `exp`, seconds since the epoch
    pub expires_at: u64,
    /// `iss`, where that is another issuer.
    pub issuer: Option<Arc<str>>,
    /// Private, so that no other room can write a `Claims` down.
    kid: Option<String>,
}

impl Claims {
    /// What a token of this session would say, for a session that shows itself by a cookie: no key
    /// of ours signed that, and it lasts as long as the session.
    pub(crate) fn of_session(user: &User, session: &Session) -> Self {
        Self {
            subject: Subject::User(user.id),
            session: Some(session.id),
            client: session.client.clone(),
            audience: session.audience.clone().into(),
            scopes: session.scopes.clone(),
            roles: user.roles.clone(),
            preferred_username: Some(user.preferred_username()),
            name: user.name.clone(),
            email: user.email.clone().filter(|_| user.email_verified),
            user_version: user.version,
            authenticated_at: unix_seconds(session.authenticated_at),
            methods: session.amr.methods().to_vec(),
            expires_at: unix_seconds(session.expires_at),
            issuer: None,
            kid: None,
        }
    }

    /// Which of its issuer's keys signed it; none where it is no signed token.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }
}

/// Why a token is refused: for the log and the metrics; a caller only learns `invalid_token`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invalid {
    /// Not three base64url parts with JSON in them, or too large.
    Malformed,
    /// Another `typ`, or any `crit`.
    WrongType,
    /// No such `kid`, or another algorithm than the key's.
    UnknownKey,
    /// Signature.
    BadSignature,
    /// `exp`
    Expired,
    /// `nbf` or `iat`
    NotYetValid,
    /// `iss` or `aud`
    WrongAudience,
    /// A claim is missing, repeated or of a wrong form.
    BadClaims,
}

impl Invalid {
    /// The label in logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::WrongType => "wrong_type",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongAudience => "wrong_audience",
            Self::BadClaims => "bad_claims",
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Invalid {}

/// Judges access tokens.
#[derive(Clone, Debug)]
pub struct Verifier {
    issuer: Arc<str>,
}

impl Verifier {
    /// Longer tokens are refused unread.
    pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
    /// How far clocks may differ.
    pub const LEEWAY: Duration = Duration::from_secs(30);

    /// `issuer` is also the audience of most tokens; some are for a resource instead.
    pub fn new(issuer: &str) -> Self {
        Self {
            issuer: issuer.into(),
        }
    }

    /// Judges a token.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it; nothing in the payload is looked at before the
    /// signature was found good.
    pub fn verify(&self, keys: &KeySet, token: &str, now: SystemTime) -> Result<Claims, Invalid> {
        if token.len() > Self::TOKEN_BYTES_MAX {
            return Err(Invalid::Malformed);
        }
        let header = read_header(token, &ACCESS_TYPES)?;
        let key = keys.verifying(&header.kid).ok_or(Invalid::UnknownKey)?;
        if header.algorithm != Some(key.algorithm()) {
            return Err(Invalid::UnknownKey);
        }
        let validation = self.validation(key.algorithm());
        let payload = jsonwebtoken::decode::<Members>(token, key.verifying(), &validation)
            .map_err(|error| refusal(error.kind()))?
            .claims;
        let audience = self.audience(payload.0.get("aud"))?;
        let claims: Payload =
            serde_json::from_value(Value::Object(payload.0)).map_err(|_| Invalid::BadClaims)?;
        refuse_other_times(unix_seconds(now), claims.exp, claims.iat, claims.nbf)?;
        claims
            .into_domain(header.kid, audience)
            .map_err(|_| Invalid::BadClaims)
    }

    /// For whom a token is: for us, or for resources. Which resources there are is no question here: our own
    /// keys sign only what we issued, for a resource that its client could ask for then. There is no list to
    /// compare with that would be right, either: clients are made, changed and deleted while we run, and
    /// what they got must be found by whoever revokes it all the same. Nobody takes an [`Audience::Resources`]
    /// for themselves: a route admits only its own `audience`, our endpoints none. One for nobody is refused
    /// here.
    fn audience(&self, named: Option<&Value>) -> Result<Audience, Invalid> {
        if texts(named).any(|named| *named == *self.issuer) {
            return Ok(Audience::Gateway);
        }
        let resources = texts(named).filter_map(|named| Resource::parse(named).ok());
        match resources.collect::<Vec<_>>() {
            none if none.is_empty() => Err(Invalid::WrongAudience),
            resources => Ok(Audience::Resources(resources)),
        }
    }

    /// Of a token of ours. Its audience is not only right or wrong, and so not asked for here: see
    /// [`Self::audience`].
    fn validation(&self, algorithm: Algorithm) -> Validation {
        validation(algorithm, &self.issuer, None)
    }
}

/// Every option said out loud: a library's defaults are not our policy.
///
/// Times are not among them, because the library would ask the system's clock. They are
/// checked in [`refuse_other_times`], against the clock that the gateway hands around.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that may, because it leaves nothing at its default"
)]
fn validation(
    algorithm: Algorithm,
    issuer: &str,
    audiences: Option<HashSet<String>>,
) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.algorithms = vec![algorithm];
    validation.iss = Some(HashSet::from([issuer.to_owned()]));
    validation.validate_aud = audiences.is_some();
    validation.aud = audiences;
    validation.sub = None;
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.leeway = 0;
    validation.reject_tokens_expiring_in_less_than = 0;
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation
}

/// What of a header takes part in the judgement.
struct Header {
    kid: String,
    algorithm: Option<Algorithm>,
}

fn read_header(token: &str, types: &[impl AsRef<str>]) -> Result<Header, Invalid> {
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Invalid::Malformed);
    };
    let json = URL_SAFE_NO_PAD
        .decode(header)
        .map_err(|_| Invalid::Malformed)?;
    let Members(header) = serde_json::from_slice(&json).map_err(|_| Invalid::Malformed)?;
    let text = |name: &str| header.get(name).and_then(Value::as_str);

    // RFC 7515 §4.1.11: whoever does not understand what is critical must refuse, and we
    // understand no extension.
    let typ = text("typ").unwrap_or_default().to_ascii_lowercase();
    // A media type may be written with or without `application/` (RFC 7515 §4.1.9).
    let typ = typ.strip_prefix("application/").unwrap_or(&typ);
    if header.contains_key("crit") || !types.iter().any(|it| it.as_ref() == typ) {
        return Err(Invalid::WrongType);
    }
    Ok(Header {
        kid: text("kid").ok_or(Invalid::UnknownKey)?.to_owned(),
        algorithm: text("alg").and_then(|name| name.parse().ok()),
    })
}

fn refusal(kind: &ErrorKind) -> Invalid {
    match kind {
        ErrorKind::InvalidSignature => Invalid::BadSignature,
        ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience => Invalid::WrongAudience,
        ErrorKind::MissingRequiredClaim(_)
        | ErrorKind::InvalidClaimFormat(_)
        | ErrorKind::Json(_)
        | ErrorKind::Utf8(_) => Invalid::BadClaims,
        // The rest is about base64 and about keys, which were chosen here.
        _ => Invalid::Malformed,
    }
}

/// The claims as they are written, each of its one type.
#[derive(Deserialize)]
struct Payload {
    #[expect(
        dead_code,
        reason = "compared by `decode`, which would also take a list"
    )]
    iss: String,
    sub: String,
    exp: u64,
    iat: u64,
    #[serde(default)]
    nbf: u64,
    #[expect(dead_code, reason = "required by RFC 9068 §2.2")]
    jti: String,
    sid: String,
    #[serde(default)]
    scope: String,
    client_id: String,
    #[serde(default)]
    roles: Vec<String>,
    preferred_username: Option<String>,
    name: Option<String>,
    email: Option<String>,
    auth_time: Option<u64>,
    #[serde(default)]
    amr: Vec<String>,
    user_version: Option<u64>,
}

impl Payload {
    /// Through the same gates as at registration: what comes out may be put into headers
    /// (SECURITY 16).
    fn into_domain(self, kid: String, audience: Audience) -> Result<Claims, Malformed> {
        let subject = Subject::parse(&self.sub)?;
        let is_user = matches!(subject, Subject::User(_));
        if let Some(username) = &self.preferred_username
            && !(is_user && is_header_word(username))
        {
            return Err(Malformed("not a username"));
        }
        // Of a person both are said, of a machine neither: one cannot pass for the other (SECURITY 44).
        if [self.auth_time, self.user_version].map(|said| said.is_some()) != [is_user; 2] {
            return Err(Malformed("neither a person's nor a machine's"));
        }
        if !self.amr.iter().all(|method| is_header_word(method)) {
            return Err(Malformed("not a method"));
        }
        Ok(Claims {
            subject,
            session: Some(SessionId::parse(&self.sid)?),
            client: ClientId::parse(&self.client_id)?,
            audience,
            scopes: Scopes::parse(&self.scope)?,
            roles: self
                .roles
                .iter()
                .map(|role| Role::parse(role))
                .collect::<Result<_, _>>()?,
            preferred_username: self.preferred_username,
            name: self.name.as_deref().map(DisplayName::parse).transpose()?,
            email: self.email.as_deref().map(EmailAddress::parse).transpose()?,
            user_version: self.user_version.unwrap_or_default(),
            authenticated_at: self.auth_time.unwrap_or(self.iat),
            methods: self.amr,
            expires_at: self.exp,
            issuer: None,
            kid: Some(kid),
        })
    }
}

fn refuse_other_times(now: u64, exp: u64, iat: u64, nbf: u64) -> Result<(), Invalid> {
    let leeway = Verifier::LEEWAY.as_secs();
    let latest_start = now.saturating_add(leeway);
    // RFC 7519 §4.1.4: "on or after" its expiry a token is refused.
    if now >= exp.saturating_add(leeway) {
        return Err(Invalid::Expired);
    }
    if nbf > latest_start || iat > latest_start {
        return Err(Invalid::NotYetValid);
    }
    Ok(())
}

/// One text, or a list of them (RFC 7519 §4.1.3).
fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let listed = value.and_then(Value::as_array).into_iter().flatten();
    value.into_iter().chain(listed).filter_map(Value::as_str)
}

/// Visible ASCII without blanks.
fn is_header_word(text: &str) -> bool {
    (1..=254).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A JSON object without repeated names. Which of two would count is up to the parser (RFC 8259
/// §4), and two parsers that differ are a way in (RFC 7515 §4).
struct Members(Map<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;

        impl<'de> Visitor<'de> for Once {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object without repeated names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a repeated name"));
                    }
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Once)
    }
}

/// RFC 9068 §4.
const ACCESS_TYPES: [&str; 1] = ["at+jwt"];

#[cfg(test)]
mod tests;
