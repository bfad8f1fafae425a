//! `POST oauth/revoke` (RFC 7009): a client gives up a token of its own.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::intake::no_store;
use crate::oauth::OAuth;
use crate::oauth::error::OAuthError;
use crate::oauth::form::Form;
use crate::store::Change;

/// The endpoint: 200 whatever the token was, so that nobody learns of tokens that are not theirs
/// (RFC 7009 §2.2, SECURITY 42). A token that is theirs is refused at the very next request.
///
/// # Errors
///
/// Those of RFC 6749 §5.2; 503.
pub async fn revoke(State(oauth): State<Arc<OAuth>>, form: Form) -> Result<Response, OAuthError> {
    let client = oauth.authenticate(&form).await?.client;
    let own = oauth.own_token(&client, form.required("token")?);
    if let Some(session) = own.and_then(|identity| identity.claims().session) {
        let accounts = &oauth.accounts;
        let now = accounts.clock.now();
        let ended = accounts.store.end_session(session, now).await;
        ended.map_err(|error| OAuthError::unavailable(&error))?;
        accounts
            .revocations
            .apply(Change::SessionEnded(session), now);
        tracing::info!(client.id = %client.id, session.id = %session, "a client revoked its token");
    }
    Ok(no_store().into_response())
}
