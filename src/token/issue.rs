//! Signing: access tokens (RFC 9068) and identity assertions.

use crate::domain::Session;
use crate::domain::User;
use crate::keys::KeySet;
use std::time::SystemTime;

/// Issues access tokens.
#[derive(Clone, Debug)]
pub struct AccessTokens {/* issuer (= audience): Arc<str>, ttl: Duration */}

impl AccessTokens {
    /// `issuer` is also the audience (`public_url`).
    pub fn new(issuer: &str, ttl: std::time::Duration) -> Self {
        todo!()
    }
    /// How long a token lives, in seconds: `expires_in`.
    pub fn expires_in(&self) -> u64 {
        todo!()
    }
    /// A token of this session, for the user as just read from the store.
    pub fn issue(&self, keys: &KeySet, user: &User, session: &Session, now: SystemTime) -> String {
        todo!()
    }
}

/// What an assertion says.
pub struct AssertionClaims<'a> {
    /// The audience: the route's name.
    pub route: &'a str,
    /// `preferred_username`, `email` (verified), `name`, `roles`, `scope` as in the access token
    pub claims: &'a crate::token::verify::Claims,
    /// `htm` and `htu` for `assertion = "request"`.
    pub request: Option<(&'a http::Method, &'a str)>,
}

/// Signs an assertion: `typ: portcullis-assertion+jwt`, 60 s.
pub fn assertion(
    keys: &KeySet,
    issuer: &str,
    claims: &AssertionClaims<'_>,
    now: SystemTime,
) -> String {
    todo!()
}
