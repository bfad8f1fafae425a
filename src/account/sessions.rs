//! `GET sessions` and `DELETE sessions/{id}`: where a user is signed in, and an end to one of it.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::Extension;
use axum::extract::Path;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use serde_json::Value;

use crate::account::Accounts;
use crate::account::SignedIn;
use crate::account::unavailable;
use crate::authenticate::OpaqueSessions;
use crate::domain::ClientId;
use crate::domain::SessionId;
use crate::intake::Origin;
use crate::intake::Refusal;
use crate::problem::Problem;
use crate::store::ListedSession;

/// The list, the session seen last first.
///
/// # Errors
///
/// 401, 503.
pub async fn list(
    State(accounts): State<Arc<Accounts>>,
    Extension(origin): Extension<Origin>,
    signed_in: SignedIn,
) -> Result<Response, Refusal> {
    let now = accounts.clock.now();
    let idle = accounts.sessions.rules().idle;
    let sessions = accounts.store.sessions_of(signed_in.user, now, idle).await;
    let sessions = sessions.map_err(|error| Refusal::new(&origin, unavailable(&error)))?;
    let shown = |session: &ListedSession| shown(session, signed_in.session);
    let sessions: Vec<_> = sessions.iter().map(shown).collect();
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    let body = serde_json::json!({ "sessions": sessions });
    Ok((headers, axum::Json(body)).into_response())
}

/// The end of one. Its cookie and its tokens are refused at the very next request.
///
/// # Errors
///
/// 401, 403, 404 where it is no living session of the caller's own, 503.
pub async fn end(
    State(accounts): State<Arc<Accounts>>,
    Extension(origin): Extension<Origin>,
    signed_in: SignedIn,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let ended = end_one(&accounts, &signed_in, &id).await;
    let session = ended.map_err(|problem| Refusal::new(&origin, problem))?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    if signed_in.by_cookie && signed_in.session == session {
        let cleared = OpaqueSessions::clear_cookie();
        response.headers_mut().insert(header::SET_COOKIE, cleared);
    }
    Ok(response)
}

/// Ends one of the caller's own, by its id as it was sent.
///
/// # Errors
///
/// As the endpoint's.
pub async fn end_one(
    accounts: &Accounts,
    signed_in: &SignedIn,
    id: &str,
) -> Result<SessionId, Problem> {
    let (store, user) = (&accounts.store, signed_in.user);
    let ending = async |session, now| store.end_session_of(user, session, now).await;
    let session = accounts.end_named(id, no_session, ending).await?;
    tracing::info!(user.id = %signed_in.user, session.id = %session, "ended a session");
    Ok(session)
}

fn no_session() -> Problem {
    let detail = "There is no such living session of yours: GET sessions lists them.";
    Problem::new(StatusCode::NOT_FOUND, "no_session", detail)
}

/// Ends all of the caller's own but the one that they ask in.
///
/// # Errors
///
/// 503: nothing has ended.
pub async fn end_others(accounts: &Accounts, signed_in: &SignedIn) -> Result<(), Problem> {
    let (user, keep) = (signed_in.user, Some(signed_in.session));
    let now = accounts.clock.now();
    let ended = accounts.store.end_sessions(user, keep, now).await;
    let ended = ended.map_err(|error| unavailable(&error))?;
    tracing::info!(user.id = %user, sessions.ended = ended.len(), "ended all other sessions");
    accounts.bury(ended, now);
    Ok(())
}

fn shown(session: &ListedSession, current: SessionId) -> Value {
    let time = |at: SystemTime| humantime::format_rfc3339_seconds(at).to_string();
    let client = Some(&session.client).filter(|client| !client.is_first_party());
    let client = client.map(ClientId::as_str);
    let kind = match (session.is_browser, client) {
        (true, _) => "browser",
        (false, None) => "tokens",
        (false, Some(_)) => "app",
    };
    serde_json::json!({
        "id": session.id.to_string(),
        "kind": kind,
        "client": client,
        "device": session.user_agent,
        "address": session.address.to_string(),
        "auth_time": time(session.authenticated_at),
        "last_seen_at": time(session.last_seen_at),
        "expires_at": time(session.expires_at),
        "current": session.id == current,
    })
}
