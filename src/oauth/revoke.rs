//! `POST oauth/revoke` (RFC 7009): a client gives up what it has.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::domain::SessionId;
use crate::intake::no_store;
use crate::oauth::OAuth;
use crate::oauth::error::OAuthError;
use crate::oauth::form::Form;
use crate::token::opaque::RefreshToken;

/// The endpoint: 200 whatever the token was, so that nobody learns of tokens that are not theirs
/// (RFC 7009 §2.2, SECURITY 42). Of an access token and of a refresh token alike the session is ended, so that
/// neither is worth anything at the very next request.
///
/// # Errors
///
/// Those of RFC 6749 §5.2; 503.
pub async fn revoke(State(oauth): State<Arc<OAuth>>, form: Form) -> Result<Response, OAuthError> {
    let client = oauth.authenticate(&form).await?.client;
    if let Some(session) = oauth.session_of(form.required("token")?) {
        let accounts = &oauth.accounts;
        let now = accounts.clock.now();
        let ending = accounts
            .store
            .end_session_of_client(session, &client.id, now);
        let ended = ending.await;
        let ended = ended.map_err(|error| OAuthError::unavailable(&error))?;
        if !ended.is_empty() {
            tracing::info!(client.id = %client.id, session.id = %session, "a client revoked its tokens");
        }
        accounts.bury(ended, now);
    }
    Ok(no_store().into_response())
}

impl OAuth {
    /// The session of a token that was ours, whosever it is; a refresh token that is spent says it as well.
    fn session_of(&self, token: &str) -> Option<SessionId> {
        match RefreshToken::parse(&self.accounts.vault, token) {
            Some(refresh) => Some(refresh.session()),
            None => {
                let identity = self.accounts.judge.identify_token(token).ok()?;
                identity.claims().session
            }
        }
    }
}
