//! `POST refresh`: a refresh token for two new tokens.
//!
//! A spent token gets the very same successor again for a few seconds, because answers get lost and
//! tabs race; after that its coming back ends the session (RFC 9700 §4.14.2).

use std::sync::Arc;

use axum::extract::Extension;
use axum::extract::State;
use axum::response::Response;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use serde::Deserialize;

use crate::account::Accounts;
use crate::account::login::granted;
use crate::account::unavailable;
use crate::domain::ClientId;
use crate::intake::Json;
use crate::intake::Origin;
use crate::intake::Refusal;
use crate::problem::Problem;
use crate::store::Rotated;
use crate::store::Rotation;
use crate::token::opaque::RefreshToken;

/// The token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refreshing {
    refresh_token: String,
}

/// The endpoint.
///
/// # Errors
///
/// 401 where the token is not good any more, or never was; 503.
pub async fn refresh(
    State(accounts): State<Arc<Accounts>>,
    Extension(origin): Extension<Origin>,
    Json(refreshing): Json<Refreshing>,
) -> Result<Response, Refusal> {
    let refuse = |problem| Refusal::new(&origin, problem);
    // A forged token dies here, before the database.
    let presented = RefreshToken::parse(&accounts.vault, &refreshing.refresh_token)
        .ok_or_else(|| refuse(not_good()))?;
    let successor = presented.successor(&accounts.vault);
    let now = accounts.clock.now();
    let rotated = accounts.store.rotate_refresh(Rotation {
        session: presented.session(),
        // What a client has for a person is renewed by that client, at its own endpoint.
        client: ClientId::first_party(),
        asked: None,
        target: None,
        parent_idle: accounts.sessions.rules().idle,
        presented: presented.hash(),
        successor: successor.hash(),
        now,
        grace: accounts.tokens.refresh_grace,
    });
    match rotated.await {
        Ok(Rotated::Current(user, mut session)) => {
            // What sign-ins may hold no more is taken from those that were made before.
            session.scopes = session.scopes.within(&accounts.rules.login_scopes);
            Ok(granted(&accounts, &user, &session, &successor))
        }
        Ok(Rotated::Dead | Rotated::TooMuch(_) | Rotated::OtherTarget) => Err(refuse(not_good())),
        Ok(Rotated::Reused) => {
            accounts.bury([presented.session()], now);
            tracing::warn!(
                session.id = %presented.session(),
                client = %origin.address,
                "a spent refresh token came back; its session was ended"
            );
            Err(refuse(not_good()))
        }
        Err(error) => Err(refuse(unavailable(&error))),
    }
}

fn not_good() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "invalid_refresh_token",
        "The refresh token is not valid any more: log in again.",
    )
    .with_header(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer realm=\"portcullis\""),
    )
}
