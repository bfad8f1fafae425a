//! `GET account`: the account page, and what its forms do.

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::account::SignedIn;
use crate::account::password::Changing;
use crate::account::password::replace;
use crate::account::sessions::end_one;
use crate::account::sessions::end_others;
use crate::account::unavailable;
use crate::authenticate::OpaqueSessions;
use crate::domain::Client;
use crate::domain::ClientId;
use crate::domain::EmailAddress;
use crate::domain::Handle;
use crate::domain::Password;
use crate::domain::RedirectUri;
use crate::domain::Role;
use crate::domain::Username;
use crate::page::Account;
use crate::page::App;
use crate::page::ConnectedApp;
use crate::page::Field;
use crate::page::Notice;
use crate::page::Profile;
use crate::page::SessionRow;
use crate::page::When;
use crate::portal::Declined;
use crate::portal::Portal;
use crate::portal::Posted;
use crate::portal::ReturnTo;
use crate::portal::Visit;
use crate::portal::device_name::device_name;
use crate::portal::provider;
use crate::portal::see_other;
use crate::portal::tokens;
use crate::portal::visit::see_other_with;
use crate::problem::Problem;

/// Shows the page.
///
/// # Errors
///
/// The way to the sign-in page; 503.
pub async fn show(State(portal): State<Arc<Portal>>, visit: Visit) -> Result<Response, Declined> {
    let signed_in = visit.must_be_signed_in(&portal)?;
    let mut view = view(&portal, &visit, signed_in).await?;
    view.notice = match visit.query(&portal)?.get("done") {
        Some("password") => Some("Your password is changed, and every other session has ended."),
        Some("session") => Some("The session has ended."),
        Some("connected") => Some("From now on you can sign in with it as well."),
        Some("disconnected") => {
            Some("It opens your account no more, and every other session has ended.")
        }
        Some("connection") => Some("The app has no access to your account any more."),
        Some("sessions") => Some("All other sessions have ended."),
        Some("token") => Some("The token opens nothing any more."),
        _ => None,
    }
    .map(Notice::done);
    Ok(visit.show(StatusCode::OK, &view))
}

/// `POST password` with a form.
///
/// # Errors
///
/// The way to the sign-in page; 400, 403. What the person can mend is said on the page itself.
pub async fn change_password(
    State(portal): State<Arc<Portal>>,
    Posted { visit, mut fields }: Posted,
) -> Result<Response, Declined> {
    let signed_in = visit.must_be_signed_in_still(&portal)?;
    let mut password = |name| Password::new(fields.take(name).unwrap_or_default());
    let changing = Changing {
        current_password: password("current_password"),
        new_password: password("new_password"),
    };
    let Err(problem) = replace(&portal.accounts, signed_in, changing).await else {
        return Ok(done(&portal, "password"));
    };
    let mut view = view(&portal, &visit, signed_in).await?;
    let weak = problem.fields.iter().find(|it| it.name == "new_password");
    match (problem.code, weak) {
        ("wrong_password", _) => view.current_password.error = Some(problem.detail.to_string()),
        (_, Some(weak)) => view.new_password.error = Some(weak.detail.to_string()),
        _ => view.notice = Some(Notice::error(problem.detail.clone())),
    }
    Ok(visit.show_again(problem, &view))
}

/// `POST sessions/{id}` with a form: ends it.
///
/// # Errors
///
/// The way to the sign-in page; 400, 403, 404, 503.
pub async fn end_session(
    State(portal): State<Arc<Portal>>,
    Path(id): Path<String>,
    Posted { visit, .. }: Posted,
) -> Result<Response, Declined> {
    let signed_in = visit.must_be_signed_in_still(&portal)?;
    let ended = end_one(&portal.accounts, signed_in, &id).await;
    let ended = ended.map_err(|problem| visit.decline(&portal, problem))?;
    if ended == signed_in.session {
        let cleared = OpaqueSessions::clear_cookie();
        return Ok(see_other_with(&portal.path("signed-out"), cleared));
    }
    Ok(done(&portal, "session"))
}

/// `POST sessions` with a form: ends all but the one of this browser.
///
/// # Errors
///
/// The way to the sign-in page; 400, 403, 503.
pub async fn end_other_sessions(
    State(portal): State<Arc<Portal>>,
    Posted { visit, .. }: Posted,
) -> Result<Response, Declined> {
    let signed_in = visit.must_be_signed_in_still(&portal)?;
    let ended = end_others(&portal.accounts, signed_in).await;
    ended.map_err(|problem| visit.decline(&portal, problem))?;
    Ok(done(&portal, "sessions"))
}

/// `POST connections/{client}` with a form: takes back what the client was allowed, and ends what it has.
///
/// # Errors
///
/// The way to the sign-in page; 400, 403, 503.
pub async fn disconnect(
    State(portal): State<Arc<Portal>>,
    Path(client): Path<String>,
    Posted { visit, .. }: Posted,
) -> Result<Response, Declined> {
    let signed_in = visit.must_be_signed_in_still(&portal)?;
    if let Ok(client) = ClientId::parse(&client) {
        let accounts = &portal.accounts;
        let now = accounts.clock.now();
        let user = signed_in.user;
        let ended = accounts.store.disconnect_client(user, &client, now).await;
        let ended = ended.map_err(|error| visit.decline(&portal, unavailable(&error)))?;
        tracing::info!(user.id = %user, client.id = %client, sessions.ended = ended.len(), "disconnected a client");
        accounts.bury(ended, now);
    }
    Ok(done(&portal, "connection"))
}

/// The way to a fresh sign-in, and back to the page.
pub(super) fn sign_in_again(portal: &Portal) -> String {
    let goal = ReturnTo::page(portal, &portal.path("account"));
    format!("{}&prompt=login", goal.sign_in(portal))
}

/// What may act for the person.
async fn apps(
    portal: &Portal,
    visit: &Visit,
    signed_in: &SignedIn,
) -> Result<Vec<ConnectedApp>, Declined> {
    let accounts = &portal.accounts;
    let decline = |error| visit.decline(portal, unavailable(&error));
    let now = accounts.clock.now();
    let connected = accounts.store.connected_clients(signed_in.user, now).await;
    let mut apps = Vec::new();
    for connected in connected.map_err(decline)? {
        let client = portal.client(&connected.client).await.map_err(decline)?;
        let title = client.as_ref().map(Client::title);
        let redirect = client
            .as_ref()
            .and_then(|client| client.redirect_uris.first());
        let redirect = redirect.and_then(RedirectUri::url);
        apps.push(ConnectedApp {
            app: App {
                name: title
                    .unwrap_or_else(|| connected.client.as_str())
                    .to_owned(),
                host: redirect.as_ref().map(App::place),
            },
            scopes: portal.words(&connected.scopes),
            since: When::past(connected.since, now),
            disconnect: visit.form(
                portal,
                portal.path(&format!("connections/{}", connected.client)),
            ),
        });
    }
    Ok(apps)
}

/// Back to the page, which says what was done.
pub(super) fn done(portal: &Portal, what: &str) -> Response {
    see_other(&format!("{}?done={what}", portal.path("account")))
}

/// The page as it is now.
pub(super) async fn view<'a>(
    portal: &'a Portal,
    visit: &Visit,
    signed_in: &SignedIn,
) -> Result<Account<'a>, Declined> {
    let accounts = &portal.accounts;
    let decline = |problem| visit.decline(portal, problem);
    let now = accounts.clock.now();
    let found = accounts
        .store
        .credentials(&Handle::Id(signed_in.user))
        .await;
    let found = found.map_err(|error| decline(unavailable(&error)))?;
    // Deleted since a moment ago.
    let found = found.ok_or_else(|| decline(Problem::store_unavailable()))?;
    let (user, has_password) = (found.user, !found.password.is_nothing());
    let idle = accounts.sessions.rules().idle;
    let sessions = accounts.store.sessions_of(signed_in.user, now, idle).await;
    let mut sessions = sessions.map_err(|error| decline(unavailable(&error)))?;
    // What apps hold is listed with the apps.
    sessions.retain(|session| session.client.is_first_party());
    sessions.sort_by_key(|session| session.id != signed_in.session);
    let post = |name: &str| visit.form(portal, portal.path(name));
    let rows = sessions.iter().map(|session| SessionRow {
        device: device_name(session.user_agent.as_deref()),
        address: session.address.to_string(),
        last_seen: When::past(session.last_seen_at, now),
        since: When::past(session.authenticated_at, now),
        is_this: session.id == signed_in.session,
        end: post(&format!("sessions/{}", session.id)),
    });
    Ok(Account {
        look: &portal.look,
        notice: None,
        profile: Profile {
            name: user.name.as_ref().map(|name| name.as_str().to_owned()),
            username: user.username.as_ref().map(Username::to_string),
            email: user.email.as_ref().map(EmailAddress::to_string),
            is_email_verified: user.email_verified,
            roles: user.roles.iter().map(Role::to_string).collect(),
        },
        sessions: rows.collect(),
        end_others: (sessions.len() > 1).then(|| post("sessions")),
        password: has_password.then(|| post("password")),
        current_password: Field::default(),
        new_password: Field::default(),
        password_length_min: accounts.rules.password_length_min,
        apps: apps(portal, visit, signed_in).await?,
        providers: provider::rows(portal, visit, signed_in).await?,
        tokens: tokens::section(portal, visit, signed_in).await?,
        sign_out: post("logout"),
    })
}
