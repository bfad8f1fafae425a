//! `oauth/device` (RFC 8628 §3.3): the page on which somebody types what their device shows, sees what it would be
//! allowed, and says yes or no.
//!
//! Whoever sends a code to somebody else wants to be let into that person's account (RFC 8628 §5.4). So nothing
//! is allowed by an address alone, however complete it is, nor without being asked, whatever the client's
//! `consent` says.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::account::SignedIn;
use crate::account::unavailable;
use crate::domain::Client;
use crate::domain::Grant;
use crate::domain::Handle;
use crate::domain::UserCode;
use crate::limiter::TooMany;
use crate::oauth::OAuth;
use crate::page::App;
use crate::page::DeviceCode;
use crate::page::DeviceConfirm;
use crate::page::DeviceDone;
use crate::page::Field;
use crate::portal::Declined;
use crate::portal::Posted;
use crate::portal::ReturnTo;
use crate::portal::Visit;
use crate::portal::see_other;
use crate::problem::Problem;
use crate::store::DeviceDecision;
use crate::store::WaitingDevice;
use crate::token::one_use::user_code_mac;

/// `GET oauth/device`: asks for a code, filled in already if the address has it. Who has decided about that
/// very device is told what became of it; of no other device does the page say that there is one.
///
/// # Errors
///
/// The way to the sign-in page; 503.
pub async fn show(State(oauth): State<Arc<OAuth>>, visit: Visit) -> Result<Response, Declined> {
    let portal = &oauth.portal;
    let signed_in = visit.must_be_signed_in(portal)?;
    let code = visit.query(portal)?.get(CODE).and_then(UserCode::parse);
    if let Some(code) = code {
        let accounts = &oauth.accounts;
        let mac = user_code_mac(&accounts.vault, &code);
        let decided = accounts.store.decided_device(mac, signed_in.user).await;
        let decided = decided.map_err(|error| visit.decline(portal, unavailable(&error)))?;
        if let Some(decided) = decided {
            let client = oauth.client(&visit, decided.client.as_str()).await?;
            let name = client.as_ref().map(Client::title);
            let view = DeviceDone {
                look: &portal.look,
                app: name.unwrap_or_else(|| decided.client.as_str()).to_owned(),
                is_allowed: decided.is_allowed,
            };
            return Ok(visit.show(StatusCode::OK, &view));
        }
    }
    let typed = code.map(|code| code.to_string()).unwrap_or_default();
    Ok(visit.show(StatusCode::OK, &oauth.ask_for_code(&visit, typed, None)))
}

/// `POST oauth/device`: a code alone is answered with what it would allow; with a decision it is decided.
///
/// # Errors
///
/// The way to the sign-in page; 400, 403. What the person can mend is said on the page itself: 404, 422, 429,
/// 503.
pub async fn post(State(oauth): State<Arc<OAuth>>, posted: Posted) -> Result<Response, Declined> {
    let is_same = posted.is_by_whom_it_was_shown_to();
    let Posted { visit, fields } = posted;
    let (portal, accounts) = (&oauth.portal, &oauth.accounts);
    let signed_in = visit.must_be_signed_in(portal)?;
    let typed = fields.get(CODE).unwrap_or_default();
    let again = |problem: Problem| {
        let why = problem.detail.to_string();
        let view = oauth.ask_for_code(&visit, typed.to_owned(), Some(why));
        visit.show_again(problem, &view)
    };
    let Some(code) = UserCode::parse(typed) else {
        return Ok(again(no_code()));
    };
    // Before anything is looked up: a code is tried by whoever confirms one as well.
    let counted = oauth
        .guesses
        .count_try(signed_in.user, visit.origin.address);
    if let Err(too_many) = counted {
        return Ok(again(slow_down(&too_many)));
    }
    let user_code = user_code_mac(&accounts.vault, &code);
    let now = accounts.clock.now();
    let waiting = accounts.store.waiting_device(user_code, now).await;
    let waiting = waiting.map_err(|error| visit.decline(portal, unavailable(&error)))?;
    let Some(waiting) = waiting else {
        return Ok(again(unknown()));
    };
    let client = oauth.client(&visit, waiting.client.as_str()).await?;
    let Some(client) = client.filter(|client| client.may(Grant::DeviceCode)) else {
        return Ok(again(unknown()));
    };
    oauth.refuse_stranger(&visit, &client, signed_in).await?;
    let allow = match fields.get("decision").filter(|_| is_same) {
        Some("allow") => true,
        Some("deny") => false,
        _ => return Ok(oauth.confirm(&visit, &code, &client, &waiting, signed_in)),
    };
    let decision = DeviceDecision {
        user_code,
        user: signed_in.user,
        browser: signed_in.session,
        allow,
        now,
    };
    let decided = accounts.store.decide_device(&decision).await;
    if !decided.map_err(|error| visit.decline(portal, unavailable(&error)))? {
        return Ok(again(unknown()));
    }
    tracing::info!(
        client.id = %client.id, user.id = %signed_in.user, allowed = allow, "a user decided about a device"
    );
    Ok(see_other(&oauth.device_target(&code)))
}

impl OAuth {
    fn ask_for_code(&self, visit: &Visit, typed: String, error: Option<String>) -> DeviceCode<'_> {
        let portal = &self.portal;
        DeviceCode {
            look: &portal.look,
            form: visit.form(portal, portal.path(PAGE)),
            code: Field {
                value: typed,
                error,
            },
        }
    }

    fn confirm(
        &self,
        visit: &Visit,
        code: &UserCode,
        client: &Client,
        waiting: &WaitingDevice,
        signed_in: &SignedIn,
    ) -> Response {
        let portal = &self.portal;
        let kept = (CODE, code.to_string());
        let form = visit.form_for(portal, portal.path(PAGE), signed_in, kept);
        let again = ReturnTo::page(portal, &self.device_target(code));
        let view = DeviceConfirm {
            look: &portal.look,
            form,
            code: code.to_string(),
            app: App {
                name: client.title().to_owned(),
                host: None,
            },
            signed_in_as: signed_in.shown(),
            not_you: format!("{}&prompt=login", again.sign_in(portal)),
            scopes: portal.words(&waiting.scopes),
            used_at: self.used_at(waiting.audience.as_ref()),
        };
        visit.show(StatusCode::OK, &view)
    }

    /// Refuses whoever may not sign in with this client.
    async fn refuse_stranger(
        &self,
        visit: &Visit,
        client: &Client,
        signed_in: &SignedIn,
    ) -> Result<(), Declined> {
        let decline = |problem| visit.decline(&self.portal, problem);
        let user = self.accounts.store.user(&Handle::Id(signed_in.user)).await;
        let user = user.map_err(|error| decline(unavailable(&error)))?;
        if user.is_some_and(|user| client.admits(&user)) {
            return Ok(());
        }
        let detail = "Your account has none of the roles that may sign in to this app.";
        let problem = Problem::new(StatusCode::FORBIDDEN, "insufficient_role", detail);
        Err(decline(problem))
    }

    /// A client, if there is one of that id which is not disabled.
    pub(super) async fn client(&self, visit: &Visit, id: &str) -> Result<Option<Client>, Declined> {
        let found = self.find(id).await;
        let found = found.map_err(|_| visit.decline(&self.portal, Problem::store_unavailable()))?;
        Ok(found.map(|proven| proven.client))
    }

    fn device_target(&self, code: &UserCode) -> String {
        format!("{}?{CODE}={code}", self.portal.path(PAGE))
    }
}

fn no_code() -> Problem {
    let detail = "This is no code. It has eight letters, such as WDJB-MJHT.";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_code", detail)
}

/// The same words, whether there never was one, it was used, or it is too old.
fn unknown() -> Problem {
    let detail = "There is no such code, or it is too old. Your device can show another.";
    Problem::new(StatusCode::NOT_FOUND, "no_device", detail)
}

fn slow_down(too_many: &TooMany) -> Problem {
    too_many.problem("Too many codes were tried. Wait a few minutes, and try again.")
}

const PAGE: &str = "oauth/device";
/// The field with the code, and the parameter of `verification_uri_complete`.
const CODE: &str = "user_code";
