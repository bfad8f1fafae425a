//! `POST oauth/introspect` (RFC 7662): what a token of the client's own is worth.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::Value;

use crate::authenticate::Identity;
use crate::domain::Audience;
use crate::domain::Client;
use crate::domain::Resource;
use crate::intake::no_store;
use crate::oauth::OAuth;
use crate::oauth::error::OAuthError;
use crate::oauth::form::Form;

/// The endpoint. Of a token that is bad, ended or another's it says `active: false` and no more
/// (RFC 7662 §2.2, SECURITY 42).
///
/// # Errors
///
/// Those of RFC 6749 §5.2.
pub async fn introspect(
    State(oauth): State<Arc<OAuth>>,
    form: Form,
) -> Result<Response, OAuthError> {
    let client = oauth.authenticate(&form).await?.client;
    let body = match oauth.own_token(&client, form.required("token")?) {
        None => serde_json::json!({"active": false}),
        Some(identity) => {
            let claims = identity.claims();
            serde_json::json!({
                "active": true,
                "token_type": "Bearer",
                "iss": oauth.places.issuer(),
                "aud": oauth.audience(&claims.audience),
                "sub": identity.subject(),
                "client_id": claims.client.as_str(),
                "scope": claims.scopes.to_string(),
                "exp": claims.expires_at,
                "sid": identity.session(),
            })
        }
    };
    Ok((no_store(), axum::Json(body)).into_response())
}

impl OAuth {
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

    /// What a token says that is good and was issued to this client.
    pub(super) fn own_token(&self, client: &Client, token: &str) -> Option<Identity> {
        let identity = self.accounts.judge.identify_token(token).ok()?;
        (identity.claims().client == client.id).then_some(identity)
    }
}
