//! `GET register` and `POST register` with a form: the page that makes an account, and signs it in.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::account::login::Shown;
use crate::account::login::SignedInBrowser;
use crate::account::login::open_browser_session;
use crate::account::register::Registering;
use crate::account::register::create;
use crate::account::register::refuse_closed;
use crate::account::unavailable;
use crate::domain::Handle;
use crate::domain::Password;
use crate::domain::User;
use crate::page::Field;
use crate::page::Notice;
use crate::page::Register;
use crate::portal::Declined;
use crate::portal::Portal;
use crate::portal::Posted;
use crate::portal::ReturnTo;
use crate::portal::Visit;
use crate::portal::see_other;
use crate::problem::Problem;

/// Shows the page.
///
/// # Errors
///
/// 400 where `return_to` is not ours, 403 where registration is off.
pub async fn show(State(portal): State<Arc<Portal>>, visit: Visit) -> Result<Response, Declined> {
    let goal = visit.goal(&portal, visit.query(&portal)?)?;
    let open = refuse_closed(&portal.accounts);
    open.map_err(|problem| visit.decline(&portal, problem))?;
    let view = view(&portal, &visit, &goal, &Typed::default());
    Ok(visit.show(StatusCode::OK, &view))
}

/// Makes the account, and goes on signed in.
///
/// # Errors
///
/// 400, 403. What the person can mend is said on the page itself: 409, 422, 503.
pub async fn post(
    State(portal): State<Arc<Portal>>,
    Posted { visit, mut fields }: Posted,
) -> Result<Response, Declined> {
    let goal = visit.goal(&portal, &fields)?;
    let mut said = |name| fields.take(name);
    let password = Password::new(said("password").unwrap_or_default());
    let mut typed = |name| said(name).map(|text| text.trim().to_owned());
    let typed = Typed {
        email: typed("email"),
        username: typed("username"),
        name: typed("name"),
    };
    let registering = Registering {
        email: typed.email.clone(),
        username: typed.username.clone(),
        name: typed.name.clone(),
        password,
    };
    match create(&portal.accounts, registering).await {
        Ok(user) => match sign_in(&portal, &visit, &user).await {
            Ok(signed_in) => Ok(goal.go_on_signed_in(&portal, signed_in).await),
            // The account is there all the same.
            Err(_) => Ok(see_other(&goal.sign_in(&portal))),
        },
        Err(problem) => {
            let mut view = view(&portal, &visit, &goal, &typed);
            view.blame(&problem.fields);
            if problem.fields.is_empty() {
                view.notice = Some(Notice::error(problem.detail.clone()));
            }
            Ok(visit.show_again(problem, &view))
        }
    }
}

/// What was typed, but for the password.
#[derive(Default)]
struct Typed {
    email: Option<String>,
    username: Option<String>,
    name: Option<String>,
}

/// Nobody has to type again at once what they have just chosen.
async fn sign_in(portal: &Portal, visit: &Visit, user: &User) -> Result<SignedInBrowser, Problem> {
    let accounts = &portal.accounts;
    let found = accounts.store.credentials(&Handle::Id(user.id)).await;
    let found = found.map_err(|error| unavailable(&error))?;
    let found = found.ok_or_else(Problem::store_unavailable)?;
    let scopes = accounts.rules.login_scopes.clone();
    let shown = Shown::by_password(accounts);
    let (origin, headers) = (&visit.origin, &visit.headers);
    open_browser_session(accounts, &found, scopes, shown, origin, headers).await
}

fn view<'a>(portal: &'a Portal, visit: &Visit, goal: &ReturnTo, typed: &Typed) -> Register<'a> {
    let mut form = visit.form(portal, portal.path("register"));
    form.kept = goal.kept(portal);
    form.leads_to = goal.leads_to(portal);
    let field = |value: &Option<String>| Field {
        value: value.clone().unwrap_or_default(),
        error: None,
    };
    Register {
        look: &portal.look,
        form,
        notice: None,
        email: field(&typed.email),
        username: field(&typed.username),
        name: field(&typed.name),
        password: Field::default(),
        password_length_min: portal.accounts.rules.password_length_min,
        sign_in: goal.sign_in(portal),
    }
}
