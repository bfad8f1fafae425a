//! `GET me`: who the caller is, and how they proved it.

use std::sync::Arc;

use axum::extract::Extension;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderValue;
use http::header;

use crate::account::Accounts;
use crate::account::SignedIn;
use crate::account::unavailable;
use crate::authenticate::Reason;
use crate::authenticate::Unauthenticated;
use crate::domain::Handle;
use crate::intake::Origin;
use crate::intake::Refusal;

/// The endpoint; read from the store, so that it shows what is true now.
///
/// # Errors
///
/// 401, 503.
pub async fn me(
    State(accounts): State<Arc<Accounts>>,
    Extension(origin): Extension<Origin>,
    signed_in: SignedIn,
) -> Result<Response, Refusal> {
    let user = accounts.store.user(&Handle::Id(signed_in.user)).await;
    let user = user
        .map_err(|error| Refusal::new(&origin, unavailable(&error)))?
        .ok_or_else(|| {
            let gone = Unauthenticated::Refused(Reason::AccountChanged);
            Refusal::unauthenticated(&origin, gone)
        })?;
    let claims = signed_in.identity.claims();
    let body = serde_json::json!({
        "id": user.id.to_string(),
        "username": user.username.as_ref().map(|username| username.as_str()),
        "email": user.email.as_ref().map(|email| email.as_str()),
        "email_verified": user.email_verified,
        "name": user.name.as_ref().map(|name| name.as_str()),
        "roles": user.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>(),
        "scope": claims.scopes.to_string(),
        "session": signed_in.session.to_string(),
        "auth_time": claims.authenticated_at,
        "amr": claims.methods,
        "created_at": humantime::format_rfc3339_seconds(user.created_at).to_string(),
    });
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((headers, axum::Json(body)).into_response())
}
