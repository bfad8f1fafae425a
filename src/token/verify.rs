//! JWT in, claims out: the one place where a token is judged.

use crate::domain::{ClientId, DisplayName, EmailAddress, Role, Scopes, SessionId, Subject};
use crate::keys::KeySet;
use std::time::SystemTime;

/// What a verified access token says. Only [`Verifier::verify`] makes one.
#[derive(Clone, Debug)]
pub struct Claims {
    /// `sub`
    pub subject: Subject,
    /// `sid`
    pub session: SessionId,
    /// `client_id`
    pub client: ClientId,
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
    /// Which key signed it.
    pub kid: String,
}

/// Why a token is refused: for the log and the metrics; a caller only learns `invalid_token`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Invalid {
    /// Not three base64url parts with JSON in them, or too large.
    #[error("malformed")]
    Malformed,
    /// Another `typ`, an unknown `crit`.
    #[error("wrong_type")]
    WrongType,
    /// No such `kid`, or another algorithm than the key's.
    #[error("unknown_key")]
    UnknownKey,
    /// Signature.
    #[error("bad_signature")]
    BadSignature,
    /// `exp`
    #[error("expired")]
    Expired,
    /// `nbf`
    #[error("not_yet_valid")]
    NotYetValid,
    /// `iss` or `aud`
    #[error("wrong_audience")]
    WrongAudience,
    /// A required claim is missing or of a wrong form.
    #[error("bad_claims")]
    BadClaims,
}

impl Invalid {
    /// The label in logs and metrics.
    pub fn reason(self) -> &'static str {
        todo!()
    }
}

/// Judges access tokens.
#[derive(Clone, Debug)]
pub struct Verifier {}

impl Verifier {
    /// Longer tokens are refused unread.
    pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
    /// How far clocks may differ.
    pub const LEEWAY: std::time::Duration = std::time::Duration::from_secs(30);
    /// `issuer` is also the required audience.
    pub fn new(issuer: &str) -> Self {
        todo!()
    }
    /// Judges a token.
    pub fn verify(&self, keys: &KeySet, token: &str, now: SystemTime) -> Result<Claims, Invalid> {
        todo!()
    }
}
