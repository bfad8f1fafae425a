//! Tokens for the client itself, by its own credentials (RFC 6749 §4.4).

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

/// No refresh token (RFC 6749 §4.4.3): who has the secret can ask again.
pub(in crate::oauth) async fn issue(
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
    let opening = accounts
        .store
        .open_machine_session(&session, proven.proof(), now);
    // Disabled, deleted or given another secret since it has shown this one.
    if !opening
        .await
        .map_err(|error| OAuthError::unavailable(&error))?
    {
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

/// All that the client may hold for itself, or less where it asks for less (SECURITY 44).
fn scopes(client: &Client, asked: Option<&str>) -> Result<Scopes, OAuthError> {
    let may_hold = client.machine_scopes();
    let Some(asked) = asked else {
        return Ok(may_hold);
    };
    match Scopes::parse(asked) {
        Ok(scopes) if scopes.is_subset_of(&may_hold) => Ok(scopes),
        _ => Err(OAuthError::InvalidScope(format!(
            "This client may hold these scopes: {may_hold}."
        ))),
    }
}
