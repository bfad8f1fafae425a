//! `GET /.well-known/jwks.json`: the public keys (RFC 7517 §5).

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderValue;
use http::header;

use crate::account::Accounts;
use crate::keys::JWKS_MAX_AGE;

/// The endpoint; cacheable for as long as a new key is published before it signs.
pub async fn jwks(State(accounts): State<Arc<Accounts>>) -> Response {
    let cache = format!("public, max-age={}", JWKS_MAX_AGE.as_secs());
    let cache = HeaderValue::try_from(cache);
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/jwk-set+json"),
        ),
        (
            header::CACHE_CONTROL,
            cache.unwrap_or_else(|_| HeaderValue::from_static("no-cache")),
        ),
    ];
    (headers, accounts.keys.load().jwks().clone()).into_response()
}
