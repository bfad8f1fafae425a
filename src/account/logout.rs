//! `POST logout`: ends this session, or all of them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Extension;
use axum::extract::FromRequest as _;
use axum::extract::Request;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use tokio::time::timeout;

use crate::account::Accounts;
use crate::account::SignedIn;
use crate::account::unavailable;
use crate::intake::Json;
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
/// 400, 408, 413, 415 and 422 for what is no such body, 401, 503.
pub async fn logout(
    State(accounts): State<Arc<Accounts>>,
    Extension(origin): Extension<Origin>,
    signed_in: SignedIn,
    request: Request,
) -> Result<StatusCode, Refusal> {
    let logging_out = body(request, &accounts, &origin).await?;
    let now = accounts.clock.now();
    let session = signed_in.identity.claims().session;
    let ended = if logging_out.all {
        accounts.store.end_sessions(signed_in.user, now).await
    } else {
        let ended = accounts.store.end_session(session, now).await;
        ended.map(|_| Vec::new())
    };
    let ended = ended.map_err(|error| Refusal::new(&origin, unavailable(&error)))?;
    // The caller's own session in any case: committed, then buried, then answered.
    accounts.bury(ended.into_iter().chain([session]), now);
    tracing::info!(user.id = %signed_in.user, session.id = %session, all = logging_out.all, "signed out");
    Ok(StatusCode::NO_CONTENT)
}

/// An empty body is the usual one and needs no content type. Only its end shows that it is empty: a
/// client may announce a type, or over HTTP/2 send a frame, for a body of no bytes.
async fn body(
    request: Request,
    accounts: &Arc<Accounts>,
    origin: &Origin,
) -> Result<LoggingOut, Refusal> {
    let (parts, body) = request.into_parts();
    let whole = Request::from_parts(parts.clone(), body);
    let status = match timeout(BODY_WITHIN, Bytes::from_request(whole, accounts)).await {
        Ok(Ok(body)) if body.is_empty() => return Ok(LoggingOut::default()),
        Ok(Ok(body)) => {
            let request = Request::from_parts(parts, body.into());
            let Json(logging_out) = Json::from_request(request, accounts).await?;
            return Ok(logging_out);
        }
        Ok(Err(rejection)) => rejection.status(),
        Err(_) => StatusCode::REQUEST_TIMEOUT,
    };
    let detail = "The body is larger than 16 KiB, broke off, or did not arrive in time.";
    Err(Refusal::new(
        origin,
        Problem::new(status, "body_broken", detail),
    ))
}

/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(15);
