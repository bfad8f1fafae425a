//! The grants, one per file, and the answer that those for people have in common (RFC 6749 §5.1).

pub(super) mod client;
pub(super) mod code;
pub(super) mod device;
pub(super) mod refresh;

use axum::response::IntoResponse;
use axum::response::Response;
use serde::Serialize;

use crate::domain::Client;
use crate::domain::Grant;
use crate::domain::Resource;
use crate::domain::Scope;
use crate::domain::Session;
use crate::domain::SessionId;
use crate::domain::User;
use crate::intake::no_store;
use crate::oauth::OAuth;
use crate::oauth::error::OAuthError;
use crate::oauth::form::Form;
use crate::store::NewDelegatedSession;
use crate::token::id_token::IdToken;
use crate::token::opaque::RefreshToken;
use crate::vault::fresh_id;

/// What a client gets for a person.
struct Granted<'a> {
    /// The person, as just read from the store.
    user: &'a User,
    /// The session, with the scopes that these tokens are to hold.
    session: &'a Session,
    /// For a client that may renew them.
    refresh: Option<&'a RefreshToken>,
    /// What the ID token repeats.
    nonce: Option<&'a str>,
}

#[derive(Serialize)]
struct Body {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
}

impl Granted<'_> {
    fn answer(&self, oauth: &OAuth) -> Response {
        let accounts = &oauth.accounts;
        let now = accounts.clock.now();
        let keys = accounts.keys.load();
        let access = &accounts.access;
        let access_token = access.issue(&keys, self.user, self.session, now);
        let id_token = IdToken {
            issuer: oauth.places.issuer(),
            user: self.user,
            session: self.session,
            nonce: self.nonce,
            access_token: &access_token,
            ttl: accounts.tokens.access_ttl,
        };
        let is_openid = self.session.scopes.has(Scope::OPENID);
        let id_token = is_openid.then(|| id_token.sign(&keys, now));
        let body = Body {
            access_token,
            token_type: "Bearer",
            expires_in: access.expires_in(),
            refresh_token: self.refresh.map(RefreshToken::reveal),
            scope: self.session.scopes.to_string(),
            id_token,
        };
        (no_store(), axum::Json(body)).into_response()
    }
}

/// A session that a client may be about to get, and its first refresh token, where it may renew.
struct Proposed {
    session: NewDelegatedSession,
    refresh: Option<RefreshToken>,
}

impl OAuth {
    /// What a session would be that is opened by this request.
    fn propose(&self, client: &Client, form: &Form) -> Proposed {
        let accounts = &self.accounts;
        let now = accounts.clock.now();
        let id = SessionId::new(fresh_id(now));
        let is_renewable = client.may(Grant::RefreshToken);
        let refresh = is_renewable.then(|| RefreshToken::first(&accounts.vault, id));
        let session = NewDelegatedSession {
            id,
            address: form.origin.address,
            refresh: refresh.as_ref().map(RefreshToken::hash),
            ttl: if is_renewable {
                accounts.tokens.refresh_ttl
            } else {
                accounts.tokens.access_ttl
            },
            now,
        };
        Proposed { session, refresh }
    }

    /// What a request says that its tokens are for, if it says anything (RFC 8707 §2.2).
    fn target(&self, client: &Client, form: &Form) -> Result<Option<Option<Resource>>, OAuthError> {
        let asked = form.get("resource");
        asked
            .map(|asked| self.resource(client, Some(asked)))
            .transpose()
    }

    /// What a client may still give out of what it has for a person: scopes that were taken from it since are
    /// taken from its tokens. Ended is what is for a resource that it may not ask for any more, or for a person
    /// who may not sign in with it any more, because roles are others than they were.
    async fn still_granted(
        &self,
        client: &Client,
        user: &User,
        session: Session,
    ) -> Result<Session, OAuthError> {
        let audience = session.audience.as_ref().map(Resource::as_str);
        let audience = self.resource(client, audience);
        let why = if !client.admits(user) {
            "This person may not sign in with this client any more."
        } else if !audience.is_ok_and(|still| still == session.audience) {
            "This client may not ask for this resource any more."
        } else {
            let scopes = session.scopes.within(&client.scopes);
            return Ok(Session { scopes, ..session });
        };
        let now = self.accounts.clock.now();
        let ended = self.accounts.store.end_session(session.id, now).await;
        let ended = ended.map_err(|error| OAuthError::unavailable(&error))?;
        self.accounts.bury(ended, now);
        tracing::info!(
            client.id = %client.id, user.id = %user.id, session.id = %session.id, why,
            "what a client had for a user was ended"
        );
        Err(OAuthError::InvalidGrant(why))
    }
}
