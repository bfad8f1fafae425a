//! `GET logout` asks whether it is meant, `POST logout` with a form does it, `GET signed-out` says that it is
//! done.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::account::logout::sign_out;
use crate::authenticate::OpaqueSessions;
use crate::page::AskedBy;
use crate::page::SignOut;
use crate::page::SignedOut;
use crate::portal::Declined;
use crate::portal::Portal;
use crate::portal::Posted;
use crate::portal::Visit;
use crate::portal::see_other;
use crate::portal::visit::see_other_with;

/// Asks: a link of another site must not sign anybody out.
///
/// # Errors
///
/// 503.
pub async fn show(State(portal): State<Arc<Portal>>, visit: Visit) -> Result<Response, Declined> {
    let Some(signed_in) = &visit.signed_in else {
        return Ok(see_other(&portal.path("signed-out")));
    };
    let view = SignOut {
        look: &portal.look,
        form: visit.form(&portal, portal.path("logout")),
        asked_by: AskedBy::Person,
        signed_in_as: signed_in.shown(),
        cancel: portal.path("account"),
    };
    Ok(visit.show(StatusCode::OK, &view))
}

/// Ends the session of this browser, and what hangs on it.
///
/// # Errors
///
/// 400, 403, 503.
pub async fn post(
    State(portal): State<Arc<Portal>>,
    Posted { visit, .. }: Posted,
) -> Result<Response, Declined> {
    if let Some(signed_in) = &visit.signed_in {
        let ended = sign_out(&portal.accounts, signed_in, false).await;
        ended.map_err(|problem| visit.decline(&portal, problem))?;
    }
    let done = portal.path("signed-out");
    Ok(see_other_with(&done, OpaqueSessions::clear_cookie()))
}

/// Says that it is done.
///
/// # Errors
///
/// 503.
pub async fn done(State(portal): State<Arc<Portal>>, visit: Visit) -> Result<Response, Declined> {
    if visit.signed_in.is_some() {
        return Ok(see_other(&portal.path("account")));
    }
    let view = SignedOut {
        look: &portal.look,
        sign_in: portal.path("login"),
        back: None,
    };
    Ok(visit.show(StatusCode::OK, &view))
}
