//! Personal tokens on the account page: which there are, a form for a new one, and the page that shows it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Path;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::account::SignedIn;
use crate::account::tokens::Asked;
use crate::account::tokens::LIFETIME;
use crate::account::tokens::LIFETIME_MAX;
use crate::account::tokens::make_one;
use crate::account::tokens::revoke_one;
use crate::account::unavailable;
use crate::clock::unix_seconds;
use crate::domain::Scope;
use crate::domain::Scopes;
use crate::domain::SessionId;
use crate::intake::Fields;
use crate::page::Field;
use crate::page::Lifetime;
use crate::page::Link;
use crate::page::NewToken;
use crate::page::Notice;
use crate::page::PersonalToken;
use crate::page::ScopeChoice;
use crate::page::TokenForm;
use crate::page::TokenMade;
use crate::page::Tokens;
use crate::page::When;
use crate::portal::Declined;
use crate::portal::Portal;
use crate::portal::Posted;
use crate::portal::Visit;
use crate::portal::account;
use crate::portal::posted::not_as_shown;
use crate::problem::Problem;
use crate::vault::fresh_id;

/// `POST tokens` with a form: makes one, and shows it on the very answer: it stands in no address, and
/// nobody keeps it to show it later. Which one it is to be stands in the form, so that it makes no other when it
/// is sent again.
///
/// # Errors
///
/// The way to the sign-in page; 400, 403. What the person can mend is said on the account page.
pub async fn make(
    State(portal): State<Arc<Portal>>,
    Posted { visit, fields }: Posted,
) -> Result<Response, Declined> {
    let signed_in = visit.must_be_signed_in_still(&portal)?;
    let id = promised(&portal, &visit, &fields);
    let id = id.ok_or_else(|| visit.decline(&portal, not_as_shown()))?;
    let ticked = |scope: &&Scope| fields.get(&box_name(scope)).is_some();
    let may_hold = &signed_in.identity.claims().scopes;
    let asked = Asked {
        name: fields.get("name").unwrap_or_default().to_owned(),
        scopes: may_hold
            .iter()
            .filter(ticked)
            .map(Scope::to_string)
            .collect(),
        // What is no number is as wrong as one that is out of bounds.
        expires_in: fields.get("expires_in").map(|it| it.parse().unwrap_or(0)),
    };
    let made = make_one(&portal.accounts, signed_in, &asked, id, &visit.origin).await;
    let problem = match made {
        Ok(made) => {
            let now = portal.accounts.clock.now();
            let view = TokenMade {
                look: &portal.look,
                name: made.token.name.as_str().to_owned(),
                token: made.text.as_str().to_owned(),
                scopes: portal.words(&made.token.scopes),
                until: When::ahead(made.token.expires_at, now),
                back: portal.path("account"),
            };
            return Ok(visit.show(StatusCode::OK, &view));
        }
        Err(problem) => problem,
    };
    let mut view = account::view(&portal, &visit, signed_in).await?;
    match view.tokens.as_mut().map(|tokens| &mut tokens.new) {
        Some(NewToken::Form(form)) if !problem.fields.is_empty() => {
            fill_again(form, &asked, &problem);
            // The form is at the end of a long page.
            let text = "No token was made: see below what is missing.";
            view.notice = Some(Notice::error(text));
        }
        _ => view.notice = Some(Notice::error(problem.detail.clone())),
    }
    Ok(visit.show_again(problem, &view))
}

/// Says beside each field what is wrong with it, and leaves what was right as it was.
fn fill_again(form: &mut TokenForm, asked: &Asked, problem: &Problem) {
    let of = |name| problem.fields.iter().find(|field| field.name == name);
    let error = |name| of(name).map(|field| field.detail.to_string());
    form.name.value.clone_from(&asked.name);
    form.name.error = error("name");
    form.scopes_error = match asked.scopes.is_empty() {
        true => of("scopes").map(|_| "Choose at least one: it would open nothing.".to_owned()),
        false => error("scopes"),
    };
    for choice in &mut form.scopes {
        let is_it = |scope: &String| choice.name == box_name(scope);
        choice.is_ticked = asked.scopes.iter().any(is_it);
    }
    form.lifetime_error = error("expires_in");
    if form.lifetime_error.is_none() {
        let chosen = asked.expires_in.unwrap_or(LIFETIME.as_secs());
        for lifetime in &mut form.lifetimes {
            lifetime.is_chosen = lifetime.seconds == chosen;
        }
    }
}

/// `POST tokens/{id}` with a form: ends it.
///
/// # Errors
///
/// The way to the sign-in page; 400, 403, 404, 503.
pub async fn revoke(
    State(portal): State<Arc<Portal>>,
    Path(id): Path<String>,
    Posted { visit, .. }: Posted,
) -> Result<Response, Declined> {
    let signed_in = visit.must_be_signed_in_still(&portal)?;
    let revoked = revoke_one(&portal.accounts, signed_in, &id).await;
    revoked.map_err(|problem| visit.decline(&portal, problem))?;
    Ok(account::done(&portal, "token"))
}

/// The section of the account page; none where a token could open nothing and there is none.
pub(super) async fn section(
    portal: &Portal,
    visit: &Visit,
    signed_in: &SignedIn,
) -> Result<Option<Tokens>, Declined> {
    let accounts = &portal.accounts;
    let now = accounts.clock.now();
    let tokens = accounts.store.personal_tokens(Some(signed_in.user), now);
    let tokens = tokens.await;
    let tokens = tokens.map_err(|error| visit.decline(portal, unavailable(&error)))?;
    let may_hold = &signed_in.identity.claims().scopes;
    let opens_something = !may_hold.is_empty() || accounts.admits_bare_tokens;
    if tokens.is_empty() && !opens_something {
        return Ok(None);
    }
    let rows = tokens.iter().map(|token| PersonalToken {
        name: token.name.as_str().to_owned(),
        scopes: portal.words(&token.scopes),
        since: When::past(token.created_at, now),
        last_used: token.last_used_at.map(|at| When::past(at, now)),
        until: When::ahead(token.expires_at, now),
        revoke: visit.form(portal, portal.path(&format!("tokens/{}", token.id))),
    });
    let new = if !opens_something {
        NewToken::Nowhere
    } else if signed_in.is_fresh(now) {
        NewToken::Form(Box::new(form(portal, visit, may_hold)))
    } else {
        NewToken::SignInFirst(Link {
            text: "Sign in again to make one".to_owned(),
            url: account::sign_in_again(portal),
        })
    };
    Ok(Some(Tokens {
        list: rows.collect(),
        new,
    }))
}

fn form(portal: &Portal, visit: &Visit, may_hold: &Scopes) -> TokenForm {
    let choice = |scope: &Scope| ScopeChoice {
        name: box_name(scope),
        words: portal.word(scope.as_str()),
        is_ticked: false,
    };
    let lifetime = |(time, words): (Duration, &'static str)| Lifetime {
        seconds: time.as_secs(),
        words,
        is_chosen: time == LIFETIME,
    };
    let mut form = visit.form(portal, portal.path("tokens"));
    let id = SessionId::new(fresh_id(portal.accounts.clock.now()));
    form.kept = vec![(ID, portal.forms.promise(&visit.browser, id))];
    TokenForm {
        form,
        name: Field::default(),
        scopes: may_hold.iter().map(choice).collect(),
        scopes_error: None,
        lifetimes: LIFETIMES.map(lifetime).into(),
        lifetime_error: None,
    }
}

/// Which one a form is to make, if it was shown to this browser lately: what has ended is not kept for ever, and
/// would be made again.
fn promised(portal: &Portal, visit: &Visit, fields: &Fields) -> Option<SessionId> {
    let id = portal.forms.promised(&visit.browser, fields.get(ID)?)?;
    let (shown, _) = id.uuid().get_timestamp()?.to_unix();
    let now = unix_seconds(portal.accounts.clock.now());
    (now < shown.saturating_add(SHOWN_MAX.as_secs())).then_some(id)
}

/// The hidden field.
const ID: &str = "id";
/// Longer than a sign-in is fresh, and shorter than any row is kept.
const SHOWN_MAX: Duration = Duration::from_hours(1);

/// The checkbox of a scope.
fn box_name(scope: impl fmt::Display) -> String {
    format!("scope:{scope}")
}

const LIFETIMES: [(Duration, &str); 4] = [
    (Duration::from_hours(7 * 24), "7 days"),
    (LIFETIME, "30 days"),
    (Duration::from_hours(90 * 24), "90 days"),
    (LIFETIME_MAX, "1 year"),
];
