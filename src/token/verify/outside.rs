//! Tokens of other issuers: chosen by their exact `iss`, and then judged like our own, by the keys and
//! the rules that the file has for that issuer.
//!
//! What is read before the signature was checked chooses among issuers of the file, and nothing else.

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Map;
use serde_json::Value;

use crate::config;
use crate::domain::Audience;
use crate::domain::ClientId;
use crate::domain::DisplayName;
use crate::domain::EmailAddress;
use crate::domain::Outside;
use crate::domain::Role;
use crate::domain::Scope;
use crate::domain::Subject;
use crate::issuers::Freshness;
use crate::issuers::Issuer;
use crate::issuers::Issuers;
use crate::token::verify::Claims;
use crate::token::verify::Invalid;
use crate::token::verify::Members;
use crate::token::verify::Verifier;
use crate::token::verify::is_header_word;
use crate::token::verify::read_header;
use crate::token::verify::refusal;
use crate::token::verify::texts;
use crate::token::verify::times::Times;
use crate::token::verify::validation;

/// Why a token of another issuer is not good, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOutside {
    /// No issuer of the file has made it.
    Stranger,
    /// It says that it is of an issuer that is not admitted where it was sent.
    NotAdmitted,
    /// It is not good.
    Invalid(Invalid),
    /// The keys of this one, by its place, must be asked for before anything can be said.
    KeysWanted(usize),
    /// They cannot be had.
    Unavailable,
}

/// Judges a token that is none of ours: what it says, and the generation of the keys that it was judged by.
/// Of an issuer that is not among `admitted`, by name, it is not judged, and no key is asked for.
///
/// # Errors
///
/// The first thing that is wrong with it.
pub fn verify(
    issuers: &Issuers,
    admitted: &[Arc<str>],
    token: &str,
    now: SystemTime,
) -> Result<(Claims, u64), NotOutside> {
    if token.len() > Verifier::TOKEN_BYTES_MAX {
        return Err(NotOutside::Stranger);
    }
    let (place, issuer) = issuer_of(issuers, token).ok_or(NotOutside::Stranger)?;
    let config = issuer.config();
    if !admitted.contains(&config.name) {
        return Err(NotOutside::NotAdmitted);
    }
    let header = read_header(token, &config.types).map_err(NotOutside::Invalid)?;
    let better = |none: NotOutside| match issuer.freshness(now) {
        Freshness::MayAsk => NotOutside::KeysWanted(place),
        Freshness::Failed => NotOutside::Unavailable,
        Freshness::Answered => none,
    };
    let keys = issuer
        .keys(now)
        .ok_or_else(|| better(NotOutside::Unavailable))?;
    let key = keys
        .find(&header.kid)
        .ok_or_else(|| better(NotOutside::Invalid(Invalid::UnknownKey)))?;
    if header.algorithm != Some(key.algorithm()) {
        return Err(NotOutside::Invalid(Invalid::UnknownKey));
    }
    let audiences = config.audiences.iter().cloned().collect();
    let validation = validation(key.algorithm(), &config.url, Some(audiences));
    let Members(claims) = jsonwebtoken::decode::<Members>(token, key.verifying(), &validation)
        .map_err(|error| NotOutside::Invalid(refusal(error.kind())))?
        .claims;
    if is_of_another_kind(&claims) {
        return Err(NotOutside::Invalid(Invalid::WrongType));
    }
    let claims = read(issuer, &claims, header.kid, now).map_err(NotOutside::Invalid)?;
    Ok((claims, keys.generation()))
}

/// By what a token says of itself: nothing of it is believed yet.
fn issuer_of<'a>(issuers: &'a Issuers, token: &str) -> Option<(usize, &'a Arc<Issuer>)> {
    let payload = token.split('.').nth(1)?;
    let json = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let Members(claims) = serde_json::from_slice(&json).ok()?;
    issuers.by_url(claims.get("iss")?.as_str()?)
}

/// Where access tokens call themselves `JWT`, so do others, and only what they say tells them apart
/// (RFC 8725 §3.12): ID tokens (OpenID Connect Core §3.1.3.6 and §3.3.2.11), security events and logout
/// tokens (RFC 8417 §2.2), and what Keycloak calls by other names.
fn is_of_another_kind(claims: &Map<String, Value>) -> bool {
    let others = ["at_hash", "c_hash", "events"];
    let kind = claims.get("typ").and_then(Value::as_str);
    others.iter().any(|claim| claims.contains_key(*claim))
        || kind.is_some_and(|kind| ["ID", "Refresh", "Offline", "Logout"].contains(&kind))
}

/// Into the alphabets of our own (SECURITY 16). Whatever opens nothing by being left out is left out where
/// it does not fit: issuers have roles and names of every kind.
fn read(
    issuer: &Issuer,
    claims: &Map<String, Value>,
    kid: String,
    now: SystemTime,
) -> Result<Claims, Invalid> {
    let config = issuer.config();
    let times = Times::read(claims, now)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let subject = text("sub").ok_or(Invalid::BadClaims)?;
    let subject = Outside::new(config.name.clone(), subject).map_err(|_| Invalid::BadClaims)?;

    let said = |path: &[String]| at(claims, path).and_then(Value::as_str);
    let paths = &config.claims;
    let roles = words(at(claims, &paths.roles));
    let scopes = words(at(claims, &paths.scopes));
    let is_verified = claims.get("email_verified") == Some(&Value::Bool(true));
    let user = said(&paths.user).filter(|user| is_header_word(user));
    Ok(Claims {
        preferred_username: user.map(|user| format!("{}:{user}", config.name)),
        subject: Subject::Outside(Box::new(subject)),
        session: None,
        client: ClientId::first_party(),
        audience: audience(config, claims.get("aud")),
        scopes: scopes.filter_map(|word| Scope::parse(word).ok()).collect(),
        roles: roles.filter_map(|word| Role::parse(word).ok()).collect(),
        name: said(&paths.name).and_then(|name| DisplayName::parse(name).ok()),
        email: said(&paths.email)
            .filter(|_| is_verified)
            .and_then(|email| EmailAddress::parse(email).ok()),
        user_version: 0,
        authenticated_at: times.authenticated_at.unwrap_or(times.issued_at),
        methods: Vec::new(),
        expires_at: times.expires_at,
        kid: Some(kid),
        issuer: Some(config.url.clone()),
    })
}

/// One of what the file expects was found in the token already. An audience that is a route's stands for
/// that route there as well: who got the token there must not be able to use it on others (RFC 9700 §4.10.2).
fn audience(config: &config::Issuer, named: Option<&Value>) -> Audience {
    let is_named = |text: &str| texts(named).any(|named| named == text);
    let is_of_a_route = |text: &str| config.resources.iter().any(|it| it.as_str() == text);
    let mut expected = config.audiences.iter();
    if expected.any(|expected| is_named(expected) && !is_of_a_route(expected)) {
        return Audience::Gateway;
    }
    let resources = config.resources.iter();
    let named = resources.filter(|resource| is_named(resource.as_str()));
    Audience::Resources(named.cloned().collect())
}

/// What stands at the end of a path; nothing at the end of none.
pub fn at<'a>(claims: &'a Map<String, Value>, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let start = claims.get(first)?;
    rest.iter().try_fold(start, |value, name| value.get(name))
}

/// A list of texts, or one text with blanks between its words.
pub fn words(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let listed = value.and_then(Value::as_array).into_iter().flatten();
    let text = value.and_then(Value::as_str).into_iter();
    listed
        .filter_map(Value::as_str)
        .chain(text.flat_map(|text| text.split(' ')))
}
