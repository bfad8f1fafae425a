//! `GET provider/{name}/link` asks whoever came back for the password of the account that has their address,
//! `POST` takes it: the provider's word alone opens no account that is here.

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::header;

use crate::account::provider::prove;
use crate::domain::EmailAddress;
use crate::domain::Password;
use crate::page::LinkAccount;
use crate::page::Notice;
use crate::portal::Declined;
use crate::portal::Portal;
use crate::portal::Posted;
use crate::portal::Visit;
use crate::portal::provider::failed;
use crate::portal::provider::find;
use crate::portal::provider::goal_of;
use crate::portal::provider::kept;
use crate::portal::provider::kept::Unproven;
use crate::problem::Problem;
use crate::providers::Person;
use crate::providers::Provider;
use crate::token::cookie::PROVIDER_COOKIE;

/// Shows the page.
///
/// # Errors
///
/// 400 where nobody came back in this browser, 404.
pub async fn show(
    State(portal): State<Arc<Portal>>,
    Path(name): Path<String>,
    visit: Visit,
) -> Result<Response, Declined> {
    let provider = find(&portal, &visit, &name)?;
    let (unproven, _, email) = unproven(&portal, &visit, provider)?;
    let goal = goal_of(&portal, &visit, &unproven.goal)?;
    let mut view = view(&portal, &visit, provider, &email);
    view.form.leads_to = goal.leads_to(&portal);
    Ok(visit.show(StatusCode::OK, &view))
}

/// Takes the password, and goes on signed in.
///
/// # Errors
///
/// 400, 403, 404. What the person can mend is said on the page itself: 401, 503.
pub async fn post(
    State(portal): State<Arc<Portal>>,
    Path(name): Path<String>,
    Posted { visit, mut fields }: Posted,
) -> Result<Response, Declined> {
    let provider = find(&portal, &visit, &name)?;
    let (unproven, person, email) = unproven(&portal, &visit, provider)?;
    let goal = goal_of(&portal, &visit, &unproven.goal)?;
    let password = Password::new(fields.take("password").unwrap_or_default());
    let (accounts, origin) = (&portal.accounts, &visit.origin);
    let proving = prove(
        accounts,
        email.clone(),
        password,
        &person,
        origin,
        &visit.headers,
    );
    match proving.await {
        Ok(signed_in) => {
            let mut answer = goal.go_on_signed_in(&portal, signed_in).await;
            let headers = answer.headers_mut();
            headers.append(header::SET_COOKIE, kept::clear_cookie());
            Ok(answer)
        }
        Err(problem) => {
            let mut view = view(&portal, &visit, provider, &email);
            view.form.leads_to = goal.leads_to(&portal);
            view.notice = Some(Notice::error(match problem.code {
                "bad_credentials" => "The password is wrong.".into(),
                _ => problem.detail.clone(),
            }));
            Ok(visit.show_again(problem, &view))
        }
    }
}

/// Who came back in this browser, and the address of the account that is to be proven.
fn unproven(
    portal: &Portal,
    visit: &Visit,
    provider: &Provider,
) -> Result<(Unproven, Person, EmailAddress), Declined> {
    let accounts = &portal.accounts;
    let cookie = visit.origin.cookies.get(PROVIDER_COOKIE);
    let unproven = Unproven::read(&accounts.vault, cookie, accounts.clock.now());
    let unproven = unproven.filter(|unproven| unproven.provider == *provider.config().name);
    let read = unproven.and_then(|unproven| {
        let person = unproven.person()?;
        let email = EmailAddress::parse(&unproven.email).ok()?;
        Some((unproven, person, email))
    });
    read.ok_or_else(|| {
        let detail = "You have not come from a provider in this browser, or more than ten minutes ago. Start \
                      the sign-in once more.";
        let problem = Problem::new(StatusCode::BAD_REQUEST, "sign_in_lost", detail);
        failed(portal, visit, false, problem)
    })
}

fn view<'a>(
    portal: &'a Portal,
    visit: &Visit,
    provider: &Provider,
    email: &EmailAddress,
) -> LinkAccount<'a> {
    let config = provider.config();
    let action = portal.path(&format!("provider/{}/link", config.name));
    LinkAccount {
        look: &portal.look,
        form: visit.form(portal, action),
        notice: None,
        provider: config.label.clone(),
        email: email.to_string(),
        cancel: portal.path("login"),
    }
}
