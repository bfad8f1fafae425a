//! `GET login` and `POST login` with a form: the sign-in page.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::account::login::sign_in_browser;
use crate::config::Registration;
use crate::domain::Password;
use crate::page::Link;
use crate::page::Notice;
use crate::page::SignIn;
use crate::portal::Declined;
use crate::portal::Portal;
use crate::portal::Posted;
use crate::portal::ReturnTo;
use crate::portal::Visit;
use crate::providers::Provider;

/// Shows the page. Whoever is signed in goes on at once, unless the link asks for a sign-in all the same
/// (`prompt=login`; that and `login_hint` as in OpenID Connect Core §3.1.2.1).
///
/// # Errors
///
/// 400 where `return_to` is not ours, 503.
pub async fn show(State(portal): State<Arc<Portal>>, visit: Visit) -> Result<Response, Declined> {
    let query = visit.query(&portal)?;
    let goal = visit.goal(&portal, query)?;
    if let Some(signed_in) = &visit.signed_in
        && query.get("prompt") != Some("login")
    {
        let going_on = goal.go_on(&portal, signed_in.session).await;
        return going_on.map_err(|problem| visit.decline(&portal, problem));
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
    let goal = visit.goal(&portal, &fields)?;
    let identifier = fields.take("identifier").unwrap_or_default();
    let identifier = identifier.trim();
    let password = Password::new(fields.take("password").unwrap_or_default());
    let (origin, headers) = (&visit.origin, &visit.headers);
    let signing_in = sign_in_browser(&portal.accounts, identifier, password, origin, headers);
    match signing_in.await {
        Ok(signed_in) => Ok(goal.go_on_signed_in(&portal, signed_in).await),
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
    form.kept = goal.kept(portal);
    form.leads_to = goal.leads_to(portal);
    let is_open = portal.accounts.rules.registration == Registration::Open;
    SignIn {
        look: &portal.look,
        form,
        identifier: String::new(),
        notice: None,
        continue_to: goal.on_behalf_of(portal).await,
        providers: providers(portal, visit, goal),
        register: is_open.then(|| goal.by_way_of(portal, "register")),
    }
}

/// Where signing in with each begins. Whoever is to sign in once more is to do so there as well.
fn providers(portal: &Portal, visit: &Visit, goal: &ReturnTo) -> Vec<Link> {
    let again = match visit
        .query(portal)
        .ok()
        .and_then(|query| query.get("prompt"))
    {
        Some("login") => "&prompt=login",
        _ => "",
    };
    let providers = portal.providers.list().iter();
    let link = |provider: &Arc<Provider>| {
        let config = provider.config();
        let url = goal.by_way_of(portal, &format!("provider/{}", config.name));
        Link {
            text: format!("Continue with {}", config.label),
            url: url + again,
        }
    };
    providers.map(link).collect()
}
