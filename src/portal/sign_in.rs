//! `GET login` and `POST login` with a form: the sign-in page.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::account::login::sign_in_browser;
use crate::config::Registration;
use crate::domain::Password;
use crate::page::Notice;
use crate::page::SignIn;
use crate::portal::Declined;
use crate::portal::Portal;
use crate::portal::Posted;
use crate::portal::ReturnTo;
use crate::portal::Visit;
use crate::portal::see_other;
use crate::portal::visit::see_other_with;

/// Shows the page. Whoever is signed in goes on at once, unless the link asks for a sign-in all the same
/// (`prompt=login`; that and `login_hint` as in OpenID Connect Core
/// §3.1.2.1).
///
/// # Errors
///
/// 400 where `return_to` is not ours, 503.
pub async fn show(State(portal): State<Arc<Portal>>, visit: Visit) -> Result<Response, Declined> {
    let query = visit.query(&portal)?;
    let goal = ReturnTo::read(&portal, query);
    let goal = goal.map_err(|problem| visit.decline(&portal, problem))?;
    if visit.signed_in.is_some() && query.get("prompt") != Some("login") {
        return Ok(see_other(goal.as_seen(&portal)));
    }
    let mut view = view(&portal, &visit, &goal).await;
    if let Some(hint) = query.get("login_hint") {
        hint.clone_into(&mut view.identifier);
    }
    Ok(visit.show(StatusCode::OK, &view))
}

/// Signs in, and goes on.
///
/// # Errors
///
/// 400, 403 for a form that is not ours. What the person can mend is said on the page itself: 401, 503.
pub async fn post(
    State(portal): State<Arc<Portal>>,
    Posted { visit, mut fields }: Posted,
) -> Result<Response, Declined> {
    let goal = ReturnTo::read(&portal, &fields);
    let goal = goal.map_err(|problem| visit.decline(&portal, problem))?;
    let identifier = fields.take("identifier").unwrap_or_default();
    let identifier = identifier.trim();
    let password = Password::new(fields.take("password").unwrap_or_default());
    let (origin, headers) = (&visit.origin, &visit.headers);
    let signing_in = sign_in_browser(&portal.accounts, identifier, password, origin, headers);
    match signing_in.await {
        Ok(signed_in) => Ok(see_other_with(goal.as_seen(&portal), signed_in.cookie)),
        Err(problem) => {
            let mut view = view(&portal, &visit, &goal).await;
            identifier.clone_into(&mut view.identifier);
            view.notice = Some(Notice::error(problem.detail.clone()));
            Ok(visit.show_again(problem, &view))
        }
    }
}

async fn view<'a>(portal: &'a Portal, visit: &Visit, goal: &ReturnTo) -> SignIn<'a> {
    let mut form = visit.form(portal, portal.path("login"));
    form.kept = vec![(ReturnTo::NAME, goal.as_seen(portal).to_owned())];
    form.leads_to = goal.leads_to(portal);
    let is_open = portal.accounts.rules.registration == Registration::Open;
    SignIn {
        look: &portal.look,
        form,
        identifier: String::new(),
        notice: None,
        continue_to: goal.on_behalf_of(portal).await,
        providers: Vec::new(),
        register: is_open.then(|| goal.by_way_of(portal, "register")),
    }
}
