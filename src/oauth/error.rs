//! The errors of RFC 6749 §5.2, in its own words and form.

use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderValue;
use http::StatusCode;
use http::header;

use crate::domain::Grant;
use crate::intake::no_store;
use crate::limiter::TooMany;
use crate::problem::Problem;
use crate::store::Unavailable;

/// A refusal of the token, revocation or introspection endpoint.
#[derive(Debug)]
pub enum OAuthError {
    /// The request itself: a parameter is missing, repeated or of a wrong form.
    InvalidRequest(String),
    /// Who asks is unknown, or has not proven it. The same words for both.
    InvalidClient,
    /// What is shown for tokens is not good, or not this client's. The same words for all that may be wrong.
    InvalidGrant(&'static str),
    /// The client may not get tokens in this way.
    UnauthorizedClient(String),
    /// The client may not hold a scope that it asks for.
    InvalidScope(String),
    /// A `grant_type` that there is not.
    UnsupportedGrantType,
    /// A `resource` that there is not (RFC 8707 §2).
    InvalidTarget(String),
    /// Nobody has let the device in yet (RFC 8628 §3.5).
    AuthorizationPending,
    /// Nor did the device wait: it is to wait longer from now on.
    SlowDown,
    /// Somebody has refused the device.
    AccessDenied,
    /// Nobody has let the device in in time.
    ExpiredToken,
    /// A limit is spent.
    TooMany(TooMany),
    /// The store does not answer; nothing was done.
    Unavailable,
}

impl OAuthError {
    /// From the store, and the cause into the log.
    pub(super) fn unavailable(error: &Unavailable) -> Self {
        tracing::error!(%error, "the store does not answer");
        Self::Unavailable
    }

    fn parts(&self) -> (StatusCode, &'static str, String) {
        let bad = StatusCode::BAD_REQUEST;
        match self {
            Self::InvalidRequest(why) => (bad, "invalid_request", why.clone()),
            Self::InvalidClient => (
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                "The client is unknown or its secret is wrong.".to_owned(),
            ),
            Self::InvalidGrant(why) => (bad, "invalid_grant", (*why).to_owned()),
            Self::UnauthorizedClient(why) => (bad, "unauthorized_client", why.clone()),
            Self::InvalidScope(why) => (bad, "invalid_scope", why.clone()),
            Self::UnsupportedGrantType => (
                bad,
                "unsupported_grant_type",
                format!(
                    "This gateway grants {}.",
                    Grant::ALL.map(Grant::grant_type).join(", ")
                ),
            ),
            Self::InvalidTarget(why) => (bad, "invalid_target", why.clone()),
            Self::AuthorizationPending => (
                bad,
                "authorization_pending",
                "Nobody has let the device in yet: wait, and ask again.".to_owned(),
            ),
            Self::SlowDown => (
                bad,
                "slow_down",
                "The device did not wait: from now on it waits 5 seconds longer.".to_owned(),
            ),
            Self::AccessDenied => (
                bad,
                "access_denied",
                "The device was refused: do not ask again.".to_owned(),
            ),
            Self::ExpiredToken => (
                bad,
                "expired_token",
                "Nobody has let the device in in time: begin again.".to_owned(),
            ),
            // RFC 8628 has no word for it; a client that knows neither waits because of the status.
            Self::TooMany(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "slow_down",
                "This address has asked for too many codes: wait, and ask again.".to_owned(),
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                Problem::store_unavailable().detail.into_owned(),
            ),
        }
    }
}

/// A description in the characters of RFC 6749 §4.1.2.1 and §5.2: it may repeat what was sent.
pub(super) fn described(text: &str) -> String {
    let legal = |letter: char| match letter {
        '"' => '\'',
        ' '..='~' if letter != '\\' => letter,
        _ => '?',
    };
    text.chars().map(legal).collect()
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let (status, error, description) = self.parts();
        let description = described(&description);
        let body = serde_json::json!({"error": error, "error_description": description});
        let mut response = (status, no_store(), axum::Json(body)).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6749 §5.2: in the scheme that the client used, or could have used.
            let basic = HeaderValue::from_static("Basic realm=\"portcullis\", charset=\"UTF-8\"");
            headers.insert(header::WWW_AUTHENTICATE, basic);
        }
        match self {
            Self::Unavailable => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(5));
            }
            Self::TooMany(too_many) => headers.extend(too_many.headers()),
            _ => {}
        }
        response
    }
}
