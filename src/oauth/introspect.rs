//! `POST oauth/introspect` (RFC 7662): what a token of the client's own is worth.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::Value;

use crate::authenticate::Identity;
use crate::clock::unix_seconds;
use crate::domain::Audience;
use crate::domain::Client;
use crate::domain::Resource;
use crate::intake::no_store;
use crate::oauth::OAuth;
use crate::oauth::error::OAuthError;
use crate::oauth::form::Form;
use crate::token::opaque::RefreshToken;

/// The endpoint. Of a token that is bad, ended or another's it says `active: false` and no more
/// (RFC 7662 §2.2, SECURITY 42).
///
/// # Errors
///
/// Those of RFC 6749 §5.2; 503.
pub async fn introspect(
    State(oauth): State<Arc<OAuth>>,
    form: Form,
) -> Result<Response, OAuthError> {
    let client = oauth.authenticate(&form).await?.client;
    // RFC 7662 §2.1: whoever asks has proven who it is, which nobody has who has no secret.
    if client.is_public() {
        return Err(OAuthError::InvalidClient);
    }
    let token = form.required("token")?;
    let said = match RefreshToken::parse(&oauth.accounts.vault, token) {
        Some(refresh) => oauth.said_of_refresh(&client, &refresh).await?,
        None => oauth.said_of_access(&client, token),
    };
    let body = said.unwrap_or_else(|| serde_json::json!({"active": false}));
    Ok((no_store(), axum::Json(body)).into_response())
}

impl OAuth {
    fn said_of_access(&self, client: &Client, token: &str) -> Option<Value> {
        let identity: Identity = self.accounts.judge.identify_token(token).ok()?;
        let claims = identity.claims();
        (claims.client == client.id).then(|| {
            serde_json::json!({
                "active": true,
                "token_type": "Bearer",
                "iss": self.places.issuer(),
                "aud": self.audience(&claims.audience),
                "sub": identity.subject(),
                "client_id": claims.client.as_str(),
                "scope": claims.scopes.to_string(),
                "exp": claims.expires_at,
                "sid": identity.session(),
            })
        })
    }

    /// RFC 7662 §2.2: a text, or a list of them. A token of ours is for one.
    fn audience(&self, audience: &Audience) -> Value {
        match audience {
            Audience::Gateway => self.places.issuer().into(),
            Audience::Resources(named) => match named.as_slice() {
                [resource] => resource.as_str().into(),
                several => several.iter().map(Resource::as_str).collect(),
            },
        }
    }

    /// It has no `token_type`, which is about access tokens (RFC 7662 §2.2).
    async fn said_of_refresh(
        &self,
        client: &Client,
        refresh: &RefreshToken,
    ) -> Result<Option<Value>, OAuthError> {
        let accounts = &self.accounts;
        let finding = accounts.store.session_of_refresh(
            refresh.session(),
            refresh.hash(),
            &client.id,
            accounts.sessions.rules().idle,
            accounts.clock.now(),
        );
        let found = finding
            .await
            .map_err(|error| OAuthError::unavailable(&error))?;
        Ok(found.map(|session| {
            serde_json::json!({
                "active": true,
                "iss": self.places.issuer(),
                "sub": session.user.to_string(),
                "client_id": session.client.as_str(),
                "scope": session.scopes.within(&client.scopes).to_string(),
                "exp": unix_seconds(session.expires_at),
                "sid": session.id.to_string(),
            })
        }))
    }
}
