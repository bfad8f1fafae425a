//! Tokens for a person who has let a device in (RFC 8628 §3.4): the device asks again and again until then.

use std::time::Duration;

use axum::response::Response;

use crate::oauth::OAuth;
use crate::oauth::client::Proven;
use crate::oauth::error::OAuthError;
use crate::oauth::form::Form;
use crate::oauth::grant::Granted;
use crate::oauth::grant::Proposed;
use crate::store::DevicePoll;
use crate::store::Polled;
use crate::token::one_use::Kind;
use crate::token::one_use::OneUse;

/// How much longer a device waits that did not wait (RFC 8628 §3.5).
const PATIENCE: Duration = Duration::from_secs(5);

/// One use, as of an authorization code.
pub(in crate::oauth) async fn fetch(
    oauth: &OAuth,
    proven: &Proven,
    form: &Form,
) -> Result<Response, OAuthError> {
    let (client, accounts) = (&proven.client, &oauth.accounts);
    let code = form.required("device_code")?;
    let target = oauth.target(client, form)?;
    // A forged code dies here, before the database.
    let code = OneUse::parse(&accounts.vault, Kind::DeviceCode, code);
    let code = code.ok_or(NOT_GOOD)?;
    let Proposed { session, refresh } = oauth.propose(client, form);
    let now = session.now;
    let poll = DevicePoll {
        code: code.hash(),
        client: client.id.clone(),
        proof: proven.proof(),
        target,
        patience: PATIENCE,
        session,
    };
    let polled = accounts.store.poll_device(&poll).await;
    match polled.map_err(|error| OAuthError::unavailable(&error))? {
        Polled::Opened { user, session } => {
            let session = oauth.still_granted(client, &user, session).await?;
            tracing::info!(
                client.id = %client.id, user.id = %user.id, session.id = %session.id,
                "a device got tokens for a user"
            );
            let granted = Granted {
                user: &user,
                session: &session,
                refresh: refresh.as_ref(),
                nonce: None,
            };
            Ok(granted.answer(oauth))
        }
        Polled::Pending => Err(OAuthError::AuthorizationPending),
        Polled::TooSoon => Err(OAuthError::SlowDown),
        Polled::Denied => Err(OAuthError::AccessDenied),
        Polled::Expired => Err(OAuthError::ExpiredToken),
        Polled::OtherTarget => Err(OAuthError::InvalidTarget(
            "What was allowed is for another resource.".to_owned(),
        )),
        Polled::Refused => Err(NOT_GOOD),
        Polled::Replayed(ended) => {
            tracing::warn!(
                client.id = %client.id, client = %form.origin.address, sessions.ended = ended.len(),
                "a spent device code came back; what it had opened was ended"
            );
            accounts.bury(ended, now);
            Err(NOT_GOOD)
        }
    }
}

const NOT_GOOD: OAuthError = OAuthError::InvalidGrant(
    "The device_code is unknown, spent or another client's, or the account that let the device in is closed: \
     begin again.",
);
