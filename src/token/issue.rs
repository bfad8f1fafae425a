//! Signing: access tokens (RFC 9068) and identity assertions.
//!
//! It must only say what the store just said: whoever calls has read the user from there.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde::Serialize;

use crate::clock::unix_seconds;
use crate::domain::DisplayName;
use crate::domain::EmailAddress;
use crate::domain::MachineSession;
use crate::domain::Resource;
use crate::domain::Role;
use crate::domain::Scope;
use crate::domain::Session;
use crate::domain::Subject;
use crate::domain::User;
use crate::keys::KeySet;
use crate::token::verify::Claims;
use crate::vault::random;

/// How long an assertion lives.
pub const ASSERTION_TTL: Duration = Duration::from_secs(60);

/// Issues access tokens.
#[derive(Clone, Debug)]
pub struct AccessTokens {
    issuer: Arc<str>,
    ttl: Duration,
}

impl AccessTokens {
    /// `issuer` is also the audience (`public_url`), unless a session has another.
    pub fn new(issuer: &str, ttl: Duration) -> Self {
        Self {
            issuer: issuer.into(),
            ttl,
        }
    }

    /// How long a token lives, in seconds: `expires_in`.
    pub fn expires_in(&self) -> u64 {
        self.ttl.as_secs()
    }

    /// A token of this session, for the user as just read from the store.
    pub fn issue(&self, keys: &KeySet, user: &User, session: &Session, now: SystemTime) -> String {
        // A client may read its token: name and address are told where its scopes allow. The rest is what routes
        // judge and apps are told by, and so is told whatever the scopes: roles without `profile`, and who it is
        // by the username, or by the verified address of a person who has none, without `email`.
        let tells = |scope| session.client.is_first_party() || session.scopes.has(scope);
        let name = user.name.as_ref().filter(|_| tells(Scope::PROFILE));
        let person = Person {
            roles: names(&user.roles),
            preferred_username: user.preferred_username(),
            name: name.map(DisplayName::as_str),
            email: verified_email(user).filter(|_| tells(Scope::EMAIL)),
            auth_time: unix_seconds(session.authenticated_at),
            amr: session.amr.methods(),
            user_version: user.version,
        };
        let claims = AccessClaims {
            iss: &self.issuer,
            sub: user.id.to_string(),
            aud: self.audience(session.audience.as_ref()),
            exp: unix_seconds(self.expiry(now)),
            iat: unix_seconds(now),
            jti: fresh_id(),
            sid: session.id.to_string(),
            scope: session.scopes.to_string(),
            client_id: session.client.as_str(),
            person: Some(person),
        };
        keys.access().sign(ACCESS_TYPE, &claims)
    }

    /// A machine's token (RFC 6749 §4.4): its subject is the client, and it says nothing of a person
    /// (SECURITY 44).
    pub fn issue_to_machine(
        &self,
        keys: &KeySet,
        session: &MachineSession,
        now: SystemTime,
    ) -> String {
        let claims = AccessClaims {
            iss: &self.issuer,
            sub: Subject::Client(session.client.clone()).to_string(),
            aud: self.audience(session.audience.as_ref()),
            exp: unix_seconds(session.expires_at),
            iat: unix_seconds(now),
            jti: fresh_id(),
            sid: session.id.to_string(),
            scope: session.scopes.to_string(),
            client_id: session.client.as_str(),
            person: None,
        };
        keys.access().sign(ACCESS_TYPE, &claims)
    }

    /// RFC 8707 §2.2: the resource that was asked for; else ourselves.
    fn audience<'a>(&'a self, resource: Option<&'a Resource>) -> &'a str {
        resource.map_or(&*self.issuer, Resource::as_str)
    }

    /// When a token that is issued now expires.
    pub fn expiry(&self, now: SystemTime) -> SystemTime {
        now + self.ttl
    }
}

/// What an assertion says.
#[derive(Clone, Copy, Debug)]
pub struct AssertionClaims<'a> {
    /// The audience: the route's name.
    pub route: &'a str,
    /// Whom it speaks of: what the caller's access token says.
    pub caller: &'a Claims,
    /// `htm` and `htu` (RFC 9449 §4.2) for `assertion = "request"`.
    pub request: Option<(&'a Method, &'a str)>,
}

/// Signs an assertion: `typ: portcullis-assertion+jwt`, 60 s.
pub fn assertion(
    keys: &KeySet,
    issuer: &str,
    claims: &AssertionClaims<'_>,
    now: SystemTime,
) -> String {
    let caller = claims.caller;
    // A personal token acts for somebody, who was not there to sign in when it was used, nor always when it
    // was made: no app may take it for a fresh sign-in.
    let has_signed_in = matches!(caller.subject, Subject::User(_)) && !caller.client.is_personal();
    let signed = Assertion {
        iss: issuer,
        aud: claims.route,
        sub: caller.subject.to_string(),
        sid: caller.session.map(|session| session.to_string()),
        client_id: (!caller.client.is_first_party()).then(|| caller.client.as_str()),
        scope: caller.scopes.to_string(),
        roles: names(&caller.roles),
        preferred_username: caller.preferred_username.as_deref(),
        name: caller.name.as_ref().map(DisplayName::as_str),
        email: caller.email.as_ref().map(EmailAddress::as_str),
        outside_issuer: caller.issuer.as_deref(),
        amr: &caller.methods,
        auth_time: has_signed_in.then_some(caller.authenticated_at),
        iat: unix_seconds(now),
        exp: unix_seconds(now + ASSERTION_TTL),
        jti: fresh_id(),
        htm: claims.request.map(|(method, _)| method.as_str()),
        htu: claims.request.map(|(_, url)| url),
    };
    keys.assertion().sign(ASSERTION_TYPE, &signed)
}

#[derive(Serialize)]
struct AccessClaims<'a> {
    iss: &'a str,
    sub: String,
    aud: &'a str,
    exp: u64,
    iat: u64,
    jti: String,
    sid: String,
    // An empty scope is no scope (RFC 6749 §3.3).
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    client_id: &'a str,
    #[serde(flatten)]
    person: Option<Person<'a>>,
}

/// What only a person's token says.
#[derive(Serialize)]
struct Person<'a> {
    roles: Vec<&'a str>,
    preferred_username: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    auth_time: u64,
    amr: &'a [String],
    user_version: u64,
}

#[derive(Serialize)]
struct Assertion<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    roles: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    /// Who vouches for the caller, where that is another issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    outside_issuer: Option<&'a str>,
    amr: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
    iat: u64,
    exp: u64,
    jti: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    htm: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    htu: Option<&'a str>,
}

fn names(roles: &[Role]) -> Vec<&str> {
    roles.iter().map(Role::as_str).collect()
}

fn verified_email(user: &User) -> Option<&str> {
    let email = user.email.as_ref().filter(|_| user.email_verified);
    email.map(EmailAddress::as_str)
}

fn fresh_id() -> String {
    URL_SAFE_NO_PAD.encode(random::<16>())
}

/// RFC 9068 §2.1.
const ACCESS_TYPE: &str = "at+jwt";
const ASSERTION_TYPE: &str = "portcullis-assertion+jwt";
