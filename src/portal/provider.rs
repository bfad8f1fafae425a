//! `GET provider/{name}` sends a browser to another provider to sign in, `GET provider/{name}/callback` takes
//! it back.
//!
//! Whatever comes back is believed only in the browser that was sent away, from the provider that it was sent
//! to, once (RFC 9700 §4.4, §4.5, §4.7).

mod account;
mod kept;
mod link;

use std::borrow::Cow;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::Path;
use axum::extract::State;
use axum::response::IntoResponse as _;
use axum::response::Response;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use url::Url;

use crate::account::provider::CameIn;
use crate::account::provider::come_in;
use crate::account::provider::connect as connect_account;
use crate::domain::SessionId;
use crate::intake::Fields;
use crate::page::Failure;
use crate::page::Link;
use crate::portal::Declined;
use crate::portal::Portal;
use crate::portal::ReturnTo;
use crate::portal::Visit;
use crate::portal::provider::kept::Away;
use crate::portal::provider::kept::Unproven;
use crate::portal::see_other;
use crate::portal::visit::see_other_with;
use crate::problem::Problem;
use crate::providers::NoProvider;
use crate::providers::NotSignedIn;
use crate::providers::Person;
use crate::providers::Provider;
use crate::providers::error_word;
use crate::token::binding::Binding;
use crate::token::cookie::PROVIDER_COOKIE;

pub use account::connect;
pub use account::disconnect;
pub(super) use account::rows;
pub use link::post as prove;
pub use link::show as show_link;

/// What is kept of a query until somebody is back.
const KEPT: [&str; 2] = [ReturnTo::NAME, Binding::NAME];

/// Sends the browser away.
///
/// # Errors
///
/// 400 where `return_to` is not ours, 404, 503.
pub async fn begin(
    State(portal): State<Arc<Portal>>,
    Path(name): Path<String>,
    visit: Visit,
) -> Result<Response, Declined> {
    let provider = find(&portal, &visit, &name)?;
    let query = visit.query(&portal)?;
    visit.goal(&portal, query)?;
    let again = query.get("prompt") == Some("login");
    let (url, cookie) = send_away(&portal, &visit, provider, None, again).await?;
    Ok(see_other_with(url.as_str(), cookie))
}

/// Takes it back.
///
/// # Errors
///
/// 400 where it was not sent away, 403 where the person did not sign in or has no account here, 404, 502 and
/// 503 where the provider's word cannot be had.
pub async fn callback(
    State(portal): State<Arc<Portal>>,
    Path(name): Path<String>,
    visit: Visit,
) -> Result<Response, Declined> {
    let provider = find(&portal, &visit, &name)?;
    // What the browser keeps may be of another tab, whose person is still away: it stays.
    let away = sent_away(&portal, &visit, provider)?;
    let answer = come_back(&portal, &visit, provider, away).await;
    // Whatever became of it: nothing comes back twice.
    let mut answer = answer.into_response();
    let keeps = answer.headers().get_all(header::SET_COOKIE).iter();
    let is_kept = |cookie: &HeaderValue| cookie.as_bytes().starts_with(PROVIDER_COOKIE.as_bytes());
    if !keeps.into_iter().any(is_kept) {
        let headers = answer.headers_mut();
        headers.append(header::SET_COOKIE, kept::clear_cookie());
    }
    Ok(answer)
}

fn find<'a>(portal: &'a Portal, visit: &Visit, name: &str) -> Result<&'a Provider, Declined> {
    let provider = portal.providers.by_name(name);
    provider.map(AsRef::as_ref).ok_or_else(|| {
        let detail = "There is no such provider to sign in with.";
        let problem = Problem::new(StatusCode::NOT_FOUND, "no_provider", detail);
        visit.decline(portal, problem)
    })
}

/// Where the browser is sent, and what it keeps meanwhile.
async fn send_away(
    portal: &Portal,
    visit: &Visit,
    provider: &Provider,
    connect: Option<SessionId>,
    again: bool,
) -> Result<(Url, HeaderValue), Declined> {
    let now = portal.accounts.clock.now();
    let goal = goal(visit.query(portal)?);
    let away = Away::new(&provider.config().name, goal, connect, now);
    let Some(cookie) = away.cookie(&portal.accounts.vault) else {
        let detail = "The link that brought you here is too long to come back to. Go to the app and start \
                      from there.";
        let problem = Problem::new(StatusCode::BAD_REQUEST, "return_to_refused", detail);
        return Err(visit.decline(portal, problem));
    };
    let url = provider.authorization_url(&away.ties, again).await;
    let url = url.map_err(|error| {
        let problem = unavailable(provider, &error);
        failed(portal, visit, connect.is_some(), problem)
    })?;
    Ok((url, cookie))
}

/// What this browser was sent away with, if it was sent to this provider and comes back from there.
fn sent_away(portal: &Portal, visit: &Visit, provider: &Provider) -> Result<Away, Declined> {
    let accounts = &portal.accounts;
    let cookie = visit.origin.cookies.get(PROVIDER_COOKIE);
    let away = Away::read(&accounts.vault, cookie, accounts.clock.now());
    let query = visit.query(portal)?;
    let state = query.get("state").unwrap_or_default();
    let is_tied = |away: &Away| {
        let expected = away.ties.state.as_bytes();
        away.provider == *provider.config().name
            && verify_slices_are_equal(expected, state.as_bytes()).is_ok()
    };
    away.filter(is_tied).ok_or_else(|| {
        let detail = "This sign-in was not begun in this browser, or more than ten minutes ago, or another \
                      one has been begun since. Start it once more.";
        let problem = Problem::new(StatusCode::BAD_REQUEST, "sign_in_lost", detail);
        failed(portal, visit, false, problem)
    })
}

async fn come_back(
    portal: &Portal,
    visit: &Visit,
    provider: &Provider,
    away: Away,
) -> Result<Response, Declined> {
    let (accounts, query) = (&portal.accounts, visit.query(portal)?);
    let connects = away.connects();
    let fail = |problem| failed(portal, visit, connects.is_some(), problem);
    let person = who_came_back(query, provider, &away).await.map_err(fail)?;

    if let Some(session) = connects {
        let signed_in = visit.signed_in.as_ref();
        let Some(signed_in) = signed_in.filter(|signed_in| signed_in.session == session) else {
            let detail = "You have signed out meanwhile; nothing was connected.";
            let problem = Problem::new(StatusCode::FORBIDDEN, "link_refused", detail);
            return Err(fail(problem));
        };
        let connected = connect_account(accounts, signed_in, &person).await;
        connected.map_err(fail)?;
        let account = portal.path("account");
        return Ok(see_other(&format!("{account}?done=connected")));
    }

    let at = away.authenticated_at(person.authenticated_at, accounts.clock.now());
    let (origin, headers) = (&visit.origin, &visit.headers);
    let came_in = come_in(accounts, provider.config(), &person, at, origin, headers).await;
    match came_in.map_err(fail)? {
        CameIn::SignedIn(signed_in) => {
            let goal = goal_of(portal, visit, &away.goal)?;
            Ok(goal.go_on_signed_in(portal, signed_in).await)
        }
        CameIn::Unproven(email) => {
            let (name, now) = (&provider.config().name, accounts.clock.now());
            let keep = |goal: &str| {
                let kept = Unproven::new(name, &email, &person, goal.to_owned(), now);
                kept.cookie(&accounts.vault)
            };
            // Whoever has much to be kept goes to the account page afterwards.
            let cookie = keep(&away.goal).or_else(|| keep(""));
            let cookie = cookie.ok_or_else(|| {
                let detail = "The provider says more about you than your browser can keep.";
                fail(unbelievable(detail))
            })?;
            let page = portal.path(&format!("provider/{name}/link"));
            Ok(see_other_with(&page, cookie))
        }
    }
}

/// By the provider's answer, which is the browser's own.
async fn who_came_back(
    query: &Fields,
    provider: &Provider,
    away: &Away,
) -> Result<Person, Problem> {
    let config = provider.config();
    let label = &config.label;
    let is_theirs = provider.may_have_answered(query.get("iss")).await;
    if !is_theirs.map_err(|error| unavailable(provider, &error))? {
        let detail =
            format!("This is the answer of another provider than {label}, to which you were sent.");
        tracing::warn!(provider.name = %config.name, "an answer names another issuer");
        return Err(unbelievable(detail));
    }
    if let Some(error) = query.get("error") {
        let error = error_word(error);
        tracing::info!(provider.name = %config.name, %error, "a provider has signed nobody in");
        // OpenID Connect Core §3.1.2.6: these are the person's own doing, or another try mends them.
        let detail = match error.as_str() {
            "access_denied" => {
                format!("You were not signed in: {label} says that this was declined.")
            }
            "temporarily_unavailable" | "server_error" => {
                format!("{label} cannot sign anybody in right now ({error}). Try again shortly.")
            }
            _ => format!("{label} did not sign you in ({error})."),
        };
        let problem = Problem::new(StatusCode::FORBIDDEN, "provider_declined", detail);
        return Err(problem);
    }
    let Some(code) = query.get("code") else {
        return Err(unbelievable(format!(
            "{label} sent neither a code nor an error. Start once more."
        )));
    };
    let redeemed = provider.redeem(code, &away.ties).await;
    redeemed.map_err(|error| not_signed_in(provider, &error))
}

fn not_signed_in(provider: &Provider, error: &NotSignedIn) -> Problem {
    let config = provider.config();
    let label = &config.label;
    tracing::warn!(provider.name = %config.name, %error, "nobody is signed in by a provider");
    match error {
        NotSignedIn::Unavailable(error) => unavailable(provider, error),
        NotSignedIn::CodeRefused => {
            let detail = format!(
                "{label} does not confirm this sign-in: it was used before, or is too old. Start once more."
            );
            Problem::new(StatusCode::FORBIDDEN, "provider_declined", detail)
        }
        NotSignedIn::NotAdmitted => {
            let detail = format!(
                "Only people of certain domains may sign in with {label} here, and it says of no address of \
                 yours that it is one of them.",
            );
            Problem::new(StatusCode::FORBIDDEN, "no_account", detail)
        }
        NotSignedIn::ClientRefused(_) | NotSignedIn::NoTokens(_) | NotSignedIn::BadToken(_) => {
            unbelievable(format!(
                "What {label} says of you cannot be believed, so that you are not signed in. Whoever runs \
                 this site finds the reason in the log.",
            ))
        }
    }
}

fn unavailable(provider: &Provider, error: &NoProvider) -> Problem {
    let config = provider.config();
    tracing::warn!(provider.name = %config.name, %error, "a provider is not there");
    let detail = format!(
        "{} does not answer right now, so that nobody can sign in with it. Try again shortly.",
        config.label
    );
    let problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "provider_unavailable",
        detail,
    );
    problem.retry_after(5)
}

fn unbelievable(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, "provider_unbelievable", detail)
}

/// A page that says why not, and leads back to where another way can be tried.
fn failed(portal: &Portal, visit: &Visit, connects: bool, problem: Problem) -> Declined {
    let mut view = Failure::new(&portal.look, &problem, &visit.origin.request_id);
    let (title, text, page) = if connects {
        ("Nothing was connected", "Back to your account", "account")
    } else {
        ("You are not signed in", "Back to signing in", "login")
    };
    title.clone_into(&mut view.title);
    view.back = Some(Link {
        text: text.to_owned(),
        url: portal.path(page),
    });
    Declined::with(visit.show_again(problem, &view))
}

/// What of a query says where somebody goes on to.
fn goal(query: &Fields) -> String {
    let mut kept = url::form_urlencoded::Serializer::new(String::new());
    for name in KEPT {
        if let Some(value) = query.get(name) {
            kept.append_pair(name, value);
        }
    }
    kept.finish()
}

fn goal_of(portal: &Portal, visit: &Visit, kept: &str) -> Result<ReturnTo, Declined> {
    let (kept, _) = Fields::with_fault(kept);
    visit.goal(portal, &kept)
}
