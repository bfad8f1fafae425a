//! What a client got for a person, renewed (RFC 6749 §6). Tokens rotate, as those of the gateway's own login
//! do: a spent one that comes back ends the session (RFC 9700 §4.14.2).

use axum::response::Response;

use crate::domain::Scopes;
use crate::domain::Session;
use crate::oauth::OAuth;
use crate::oauth::client::Proven;
use crate::oauth::error::OAuthError;
use crate::oauth::form::Form;
use crate::oauth::grant::Granted;
use crate::store::Rotated;
use crate::store::Rotation;
use crate::token::opaque::RefreshToken;

/// `scope` may ask for less, for this one access token; never for more (SECURITY 43).
pub(in crate::oauth) async fn renew(
    oauth: &OAuth,
    proven: &Proven,
    form: &Form,
) -> Result<Response, OAuthError> {
    let (client, accounts) = (&proven.client, &oauth.accounts);
    let presented = form.required("refresh_token")?;
    let asked = form.get("scope").map(Scopes::parse).transpose();
    let asked = asked.map_err(|_| {
        OAuthError::InvalidScope("scope must be scopes separated by one blank each.".to_owned())
    })?;
    let target = oauth.target(client, form)?;
    // A forged token dies here, before the database.
    let presented = RefreshToken::parse(&accounts.vault, presented).ok_or(NOT_GOOD)?;
    let successor = presented.successor(&accounts.vault);
    let now = accounts.clock.now();
    let rotated = accounts.store.rotate_refresh(Rotation {
        session: presented.session(),
        client: client.id.clone(),
        asked: asked.clone(),
        target,
        parent_idle: accounts.sessions.rules().idle,
        presented: presented.hash(),
        successor: successor.hash(),
        now,
        grace: accounts.tokens.refresh_grace,
    });
    match rotated
        .await
        .map_err(|error| OAuthError::unavailable(&error))?
    {
        Rotated::Current(user, session) => {
            let session = oauth.still_granted(client, &user, session).await?;
            let session = match &asked {
                Some(asked) => Session {
                    scopes: session.scopes.within(asked),
                    ..session
                },
                None => session,
            };
            let granted = Granted {
                user: &user,
                session: &session,
                refresh: Some(&successor),
                nonce: None,
            };
            Ok(granted.answer(oauth))
        }
        Rotated::TooMuch(scopes) => Err(OAuthError::InvalidScope(format!(
            "What was granted are these scopes: {scopes}."
        ))),
        Rotated::OtherTarget => Err(OAuthError::InvalidTarget(
            "What was granted is for another resource.".to_owned(),
        )),
        Rotated::Dead => Err(NOT_GOOD),
        Rotated::Reused => {
            accounts.bury([presented.session()], now);
            tracing::warn!(
                client.id = %client.id, session.id = %presented.session(), client = %form.origin.address,
                "a spent refresh token came back; its session was ended"
            );
            Err(NOT_GOOD)
        }
    }
}

const NOT_GOOD: OAuthError = OAuthError::InvalidGrant(
    "The refresh token is unknown, spent, expired, revoked, or another client's: let the person sign in again.",
);
