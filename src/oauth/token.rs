//! `POST oauth/token`: tokens for the client itself (RFC 6749 §4.4).

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::domain::Client;
use crate::domain::MachineSession;
use crate::domain::Scopes;
use crate::domain::SessionId;
use crate::intake::no_store;
use crate::oauth::OAuth;
use crate::oauth::client::Proven;
use crate::oauth::error::OAuthError;
use crate::oauth::form::Form;
use crate::vault::fresh_id;

/// The endpoint.
///
/// # Errors
///
/// Those of RFC 6749 §5.2; 503.
pub async fn token(State(oauth): State<Arc<OAuth>>, form: Form) -> Result<Response, OAuthError> {
    let proven = oauth.authenticate(&form).await?;
    match form.required("grant_type")? {
        "client_credentials" => client_credentials(&oauth, &proven, &form).await,
        _ => Err(OAuthError::UnsupportedGrantType),
    }
}

/// No refresh token (RFC 6749 §4.4.3): who has the secret can ask again.
async fn client_credentials(
    oauth: &OAuth,
    proven: &Proven,
    form: &Form,
) -> Result<Response, OAuthError> {
    let client = &proven.client;
    let scopes = scopes(client, form.get("scope"))?;
    let audience = oauth.resource(client, form.get("resource"))?;
    let accounts = &oauth.accounts;
    let now = accounts.clock.now();
    let session = MachineSession {
        id: SessionId::new(fresh_id(now)),
        client: client.id.clone(),
        scopes,
        audience,
        expires_at: accounts.access.expiry(now),
        address: form.origin.address,
    };
    let opened = accounts
        .store
        .open_machine_session(&session, proven.secret(), now)
        .await;
    // Disabled, deleted or given another secret since it has shown this one.
    if !opened.map_err(|error| OAuthError::unavailable(&error))? {
        return Err(OAuthError::InvalidClient);
    }
    tracing::info!(client.id = %client.id, session.id = %session.id, "a client got a token");

    let keys = accounts.keys.load();
    let mut body = serde_json::json!({
        "access_token": accounts.access.issue_to_machine(&keys, &session, now),
        "token_type": "Bearer",
        "expires_in": accounts.access.expires_in(),
    });
    if !session.scopes.is_empty()
        && let Some(members) = body.as_object_mut()
    {
        members.insert("scope".to_owned(), session.scopes.to_string().into());
    }
    Ok((no_store(), axum::Json(body)).into_response())
}

/// All that the client may hold, or less where it asks for less.
fn scopes(client: &Client, asked: Option<&str>) -> Result<Scopes, OAuthError> {
    let may_hold = &client.scopes;
    let Some(asked) = asked else {
        return Ok(may_hold.clone());
    };
    match Scopes::parse(asked) {
        Ok(scopes) if scopes.is_subset_of(may_hold) => Ok(scopes),
        _ => Err(OAuthError::InvalidScope(format!(
            "This client may hold these scopes: {may_hold}."
        ))),
    }
}
