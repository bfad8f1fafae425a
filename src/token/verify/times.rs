//! The times of tokens that others have issued.

use std::time::SystemTime;

use serde_json::Map;
use serde_json::Value;

use crate::clock::unix_seconds;
use crate::token::verify::Invalid;
use crate::token::verify::refuse_other_times;

/// In seconds since the epoch.
pub(super) struct Times {
    /// `exp`
    pub(super) expires_at: u64,
    /// `iat`
    pub(super) issued_at: u64,
    /// `auth_time`
    pub(super) authenticated_at: Option<u64>,
}

impl Times {
    /// Reads them, and judges whether the token is good now. Nothing but numbers are times, and `exp` and `iat`
    /// must be there.
    pub(super) fn read(claims: &Map<String, Value>, now: SystemTime) -> Result<Self, Invalid> {
        let time = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(value) => seconds(value).map(Some).ok_or(Invalid::BadClaims),
        };
        let read = Self {
            expires_at: time("exp")?.ok_or(Invalid::BadClaims)?,
            issued_at: time("iat")?.ok_or(Invalid::BadClaims)?,
            authenticated_at: time("auth_time")?,
        };
        let not_before = time("nbf")?.unwrap_or_default();
        refuse_other_times(
            unix_seconds(now),
            read.expires_at,
            read.issued_at,
            not_before,
        )?;
        Ok(read)
    }
}

/// RFC 7519 §2: a NumericDate may have a fraction.
pub fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let seconds = value.as_f64()?;
        let is_time = seconds.is_finite() && (0.0..1e12).contains(&seconds);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "its range was checked, and the fraction is meant to go"
        )]
        is_time.then_some(seconds as u64)
    })
}
