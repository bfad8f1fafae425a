//! `GET session/accept`: a sign-in arrives on another host than that of `public_url`.
//!
//! It comes with a ticket, in an address, which somebody else may have written or seen: it counts once, for a
//! short time, on the host that it was made for, and in the browser that was sent away from there.

use std::sync::Arc;

use axum::extract::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::Uri;
use http::header;

use crate::account::SignedIn;
use crate::account::unavailable;
use crate::intake::Fields;
use crate::intake::Origin;
use crate::portal::Declined;
use crate::portal::Portal;
use crate::portal::see_other;
use crate::problem::Problem;
use crate::store::StoredTicket;
use crate::token::binding::Binding;
use crate::token::cookie::BINDING_COOKIE;
use crate::token::one_use::Kind;
use crate::token::one_use::OneUse;

/// The parameter that holds the ticket.
pub(super) const TICKET: &str = "ticket";

/// Sets the session's cookie for this host, and goes on.
///
/// # Errors
///
/// 400 where the ticket is not good here, 503.
pub async fn accept(
    State(portal): State<Arc<Portal>>,
    Extension(origin): Extension<Origin>,
    uri: Uri,
) -> Result<Response, Declined> {
    let decline = |problem| Declined::new(&portal, &origin, problem);
    let accounts = &portal.accounts;
    let (sent, fault) = Fields::with_fault(uri.query().unwrap_or_default());
    let sent = sent.get(TICKET).filter(|_| fault.is_none());
    let ticket = sent.and_then(|sent| OneUse::parse(&accounts.vault, Kind::Ticket, sent));
    let ticket = ticket.ok_or_else(|| decline(refused()))?;

    // Taken whatever comes of it: a ticket that somebody else has had in their hands is worth nothing.
    let taken = accounts
        .store
        .take_ticket(ticket.hash(), accounts.clock.now());
    let taken = taken.await.map_err(|error| decline(unavailable(&error)))?;
    let taken = taken.filter(|ticket| is_for(ticket, &origin));
    let ticket = taken.ok_or_else(|| decline(refused()))?;

    // Judged as its cookie will be.
    let with_session = Origin {
        session: Some(ticket.session),
        ..origin.clone()
    };
    let alive = SignedIn::by_cookie(accounts, &with_session).await;
    alive.map_err(decline)?.ok_or_else(|| decline(refused()))?;
    let mut response = see_other(&ticket.return_to);
    let cookie = accounts.sessions.set_cookie(ticket.session, &origin.host);
    let headers = response.headers_mut();
    headers.append(header::SET_COOKIE, cookie);
    headers.append(header::SET_COOKIE, Binding::clear_cookie());
    Ok(response)
}

/// On its host, in its browser. One that has the session here already, from a ticket of another tab, is none
/// other.
fn is_for(ticket: &StoredTicket, origin: &Origin) -> bool {
    let browser = Binding::known_by(origin.cookies.get(BINDING_COOKIE));
    let is_bound = browser.is_some_and(|browser| browser.hash() == ticket.binding);
    ticket.host == origin.host && (is_bound || origin.session == Some(ticket.session))
}

fn refused() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "ticket_refused",
        "This address works once, for half a minute, and only in the browser that was on its way to sign in, \
         which must keep cookies. Open the app again: if you have signed in, it goes on without asking.",
    )
}
