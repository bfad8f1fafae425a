//! `POST logout`: ends this session, or all of them.

use std::sync::Arc;

use axum::extract::Extension;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use http::StatusCode;
use http::header;
use serde::Deserialize;

use crate::account::Accounts;
use crate::account::SignedIn;
use crate::account::unavailable;
use crate::authenticate::OpaqueSessions;
use crate::intake::JsonOrNothing;
use crate::intake::Origin;
use crate::intake::Refusal;
use crate::problem::Problem;

/// `{"all": true}`, or nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoggingOut {
    #[serde(default)]
    all: bool,
}

/// The endpoint. The tokens of an ended session are refused at the very next request.
///
/// # Errors
///
/// 400, 415 and 422 for what is no such body, 401, 503.
pub async fn logout(
    State(accounts): State<Arc<Accounts>>,
    Extension(origin): Extension<Origin>,
    signed_in: SignedIn,
    JsonOrNothing(logging_out): JsonOrNothing<LoggingOut>,
) -> Result<Response, Refusal> {
    let ended = sign_out(&accounts, &signed_in, logging_out.all).await;
    ended.map_err(|problem| Refusal::new(&origin, problem))?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    if signed_in.by_cookie {
        let cleared = OpaqueSessions::clear_cookie();
        response.headers_mut().insert(header::SET_COOKIE, cleared);
    }
    Ok(response)
}

/// Ends the session, or all of its user's.
///
/// # Errors
///
/// 503: nothing has ended.
pub async fn sign_out(accounts: &Accounts, signed_in: &SignedIn, all: bool) -> Result<(), Problem> {
    let now = accounts.clock.now();
    let session = signed_in.session;
    let ended = if all {
        accounts.store.end_sessions(signed_in.user, None, now).await
    } else {
        accounts.store.end_session(session, now).await
    };
    let ended = ended.map_err(|error| unavailable(&error))?;
    // The caller's own session in any case: committed, then buried, then answered.
    accounts.bury(ended.into_iter().chain([session]), now);
    tracing::info!(user.id = %signed_in.user, session.id = %session, all, "signed out");
    Ok(())
}
