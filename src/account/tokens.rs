//! `GET|POST tokens` and `DELETE tokens/{id}`: what a user lends their scripts instead of a password.
//!
//! A personal token holds no more than the sign-in that it was made in, and opens only routes that ask for
//! what it holds, or that list it. A new one needs a sign-in that is fresh: whoever finds a browser open
//! must not be able to take a key of their own along. For the same reason a cookie makes one on the host of
//! `public_url` alone: a page of an app on a host of its own has its browser's cookie for that host, and would
//! get a key to all others.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use axum::extract::Extension;
use axum::extract::Path;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::account::Accounts;
use crate::account::FRESH;
use crate::account::SignedIn;
use crate::account::register::bad_fields;
use crate::account::register::field;
use crate::account::unavailable;
use crate::authenticate::Reason;
use crate::authenticate::Unauthenticated;
use crate::domain::DisplayName;
use crate::domain::Malformed;
use crate::domain::Scope;
use crate::domain::Scopes;
use crate::domain::SessionId;
use crate::domain::UserId;
use crate::intake::Json;
use crate::intake::Origin;
use crate::intake::Refusal;
use crate::intake::no_store;
use crate::limiter::TooMany;
use crate::problem::Problem;
use crate::store::ListedPersonalToken;
use crate::store::NewPersonalToken;
use crate::store::PersonalTokenMade;
use crate::vault::fresh_id;

/// How many living ones a user may have.
pub const TOKENS_MAX: u32 = 50;
/// How long one lives where nothing else is asked for.
pub const LIFETIME: Duration = Duration::from_hours(30 * 24);
/// How long one may live: a leap year.
pub const LIFETIME_MAX: Duration = Duration::from_hours(366 * 24);

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// What its owner is to know it by.
    pub name: String,
    /// What it is to hold.
    pub scopes: Vec<String>,
    /// For how many seconds; 30 days where that is left out.
    pub expires_in: Option<u64>,
}

/// A token that was just made.
pub struct Made {
    /// The text, to be shown this once.
    pub text: Zeroizing<String>,
    /// What is kept of it.
    pub token: ListedPersonalToken,
}

/// The list, the newest first. No token itself is among it.
///
/// # Errors
///
/// 401, 403, 503.
pub async fn list(
    State(accounts): State<Arc<Accounts>>,
    Extension(origin): Extension<Origin>,
    signed_in: SignedIn,
) -> Result<Response, Refusal> {
    let now = accounts.clock.now();
    let tokens = accounts.store.personal_tokens(Some(signed_in.user), now);
    let tokens = tokens.await;
    let tokens = tokens.map_err(|error| Refusal::new(&origin, unavailable(&error)))?;
    let tokens: Vec<_> = tokens.iter().map(shown).collect();
    let body = serde_json::json!({ "tokens": tokens });
    Ok((no_store(), axum::Json(body)).into_response())
}

/// A new one: 201 with the token, which nobody will be shown again.
///
/// # Errors
///
/// 401 where the sign-in is not fresh (RFC 9470 §3), 403, also for a cookie of another host, 409 where there are
/// too many, 422 with every bad field, 429 where too many were made, 503.
pub async fn make(
    State(accounts): State<Arc<Accounts>>,
    Extension(origin): Extension<Origin>,
    signed_in: SignedIn,
    Json(asked): Json<Asked>,
) -> Result<Response, Refusal> {
    let id = SessionId::new(fresh_id(accounts.clock.now()));
    let made = make_one(&accounts, &signed_in, &asked, id, &origin).await;
    let made = made.map_err(|problem| Refusal::new(&origin, problem))?;
    let mut body = shown(&made.token);
    if let Some(members) = body.as_object_mut() {
        members.insert("token".to_owned(), made.text.as_str().into());
    }
    Ok((StatusCode::CREATED, no_store(), axum::Json(body)).into_response())
}

/// The end of one. It is refused at the very next request.
///
/// # Errors
///
/// 401, 403, 404 where it is no living token of the caller's own, 503.
pub async fn revoke(
    State(accounts): State<Arc<Accounts>>,
    Extension(origin): Extension<Origin>,
    signed_in: SignedIn,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let revoked = revoke_one(&accounts, &signed_in, &id).await;
    revoked.map_err(|problem| Refusal::new(&origin, problem))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes one for the caller, of this id: the same one is not made twice.
///
/// # Errors
///
/// As the endpoint's.
pub async fn make_one(
    accounts: &Accounts,
    signed_in: &SignedIn,
    asked: &Asked,
    id: SessionId,
    origin: &Origin,
) -> Result<Made, Problem> {
    if signed_in.by_cookie && !accounts.hosts.is_public(&origin.host) {
        return Err(elsewhere(accounts));
    }
    let now = accounts.clock.now();
    if !signed_in.is_fresh(now) {
        return Err(not_fresh());
    }
    let may_hold = &signed_in.identity.claims().scopes;
    let token = asked.check(
        id,
        signed_in.user,
        may_hold,
        accounts.admits_bare_tokens,
        now,
    )?;
    // Those that were revoked again leave a row as well.
    let counted = accounts.pace.count_token(token.user);
    counted.map_err(|too_many| too_fast(&too_many))?;
    let new = NewPersonalToken {
        token: token.clone(),
        address: origin.address,
        asked_in: Some(signed_in.session),
        tokens_max: TOKENS_MAX,
    };
    let made = accounts.store.make_personal_token(new).await;
    match made.map_err(|error| unavailable(&error))? {
        PersonalTokenMade::Done => {}
        PersonalTokenMade::Before => return Err(made_before()),
        PersonalTokenMade::TooMany => return Err(too_many()),
        PersonalTokenMade::SignedOut => {
            return Err(Unauthenticated::Refused(Reason::SessionEnded).problem());
        }
    }
    tracing::info!(user.id = %token.user, session.id = %token.id, "made a personal token");
    let text = accounts.sessions.personal_token(token.id);
    Ok(Made { text, token })
}

/// Ends one of the caller's own, by its id as it was sent.
///
/// # Errors
///
/// As the endpoint's.
pub async fn revoke_one(
    accounts: &Accounts,
    signed_in: &SignedIn,
    id: &str,
) -> Result<(), Problem> {
    let (store, user) = (&accounts.store, Some(signed_in.user));
    let ending = async |token, now| store.end_personal_token(token, user, now).await;
    let token = accounts.end_named(id, no_token, ending).await?;
    tracing::info!(user.id = %signed_in.user, session.id = %token, "revoked a personal token");
    Ok(())
}

impl Asked {
    /// What would be made, of scopes that its owner may hold.
    ///
    /// # Errors
    ///
    /// 422 with every bad field.
    pub fn check(
        &self,
        id: SessionId,
        user: UserId,
        may_hold: &Scopes,
        may_hold_nothing: bool,
        now: SystemTime,
    ) -> Result<ListedPersonalToken, Problem> {
        let name = DisplayName::parse(&self.name).map_err(|why| field("name", why.to_string()));
        let scopes = scopes(&self.scopes, may_hold, may_hold_nothing);
        let scopes = scopes.map_err(|why| field("scopes", why));
        let lifetime = self.expires_in.map_or(LIFETIME, Duration::from_secs);
        let lives = !lifetime.is_zero() && lifetime <= LIFETIME_MAX;
        let lifetime = lives.then_some(lifetime).ok_or_else(|| {
            let why = "a personal token lives for 1 second to 366 days (31622400)";
            field("expires_in", why)
        });
        match (name, scopes, lifetime) {
            (Ok(name), Ok(scopes), Ok(lifetime)) => Ok(ListedPersonalToken {
                id,
                user,
                name,
                scopes,
                created_at: now,
                last_used_at: None,
                expires_at: now + lifetime,
            }),
            (name, scopes, lifetime) => {
                let bad = [name.err(), scopes.err(), lifetime.err()];
                Err(bad_fields(bad.into_iter().flatten().collect()))
            }
        }
    }
}

/// A token never holds more than the sign-in that it is made in (SECURITY 26).
fn scopes(asked: &[String], may_hold: &Scopes, may_hold_nothing: bool) -> Result<Scopes, String> {
    let held = match may_hold.is_empty() {
        true => "a sign-in here holds none (login_scopes)".to_owned(),
        false => format!("the sign-in holds: {may_hold}"),
    };
    let parsed: Result<Scopes, Malformed> = asked.iter().map(|it| Scope::parse(it)).collect();
    let scopes = parsed.map_err(|why| why.to_string())?;
    if let Some(other) = scopes.iter().find(|scope| !may_hold.contains(scope)) {
        return Err(format!("{other} is not held; {held}"));
    }
    if scopes.is_empty() && !may_hold_nothing {
        return Err(format!("without a scope it would open nothing; {held}"));
    }
    Ok(scopes)
}

fn no_token() -> Problem {
    let detail = "There is no such living personal token of yours: GET tokens lists them.";
    Problem::new(StatusCode::NOT_FOUND, "no_token", detail)
}

fn elsewhere(accounts: &Accounts) -> Problem {
    let url = accounts.hosts.public("/");
    let detail = format!("The cookie makes personal tokens at {url} only: nothing was done.");
    Problem::new(StatusCode::FORBIDDEN, "cross_site", detail)
}

/// RFC 9470 §3: what was shown is good, but too long ago.
fn not_fresh() -> Problem {
    let challenge = format!(
        "Bearer realm=\"portcullis\", error=\"insufficient_user_authentication\", \
         error_description=\"A fresh sign-in is needed\", max_age=\"{}\"",
        FRESH.as_secs()
    );
    let problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "insufficient_user_authentication",
        "A personal token is made within ten minutes of a sign-in: log in again.",
    );
    match HeaderValue::try_from(challenge) {
        Ok(challenge) => problem.with_header(header::WWW_AUTHENTICATE, challenge),
        Err(_) => problem,
    }
}

fn made_before() -> Problem {
    let detail = "This token was made before, and is not shown again. If you have no copy of it, revoke it \
                  and make another.";
    Problem::new(StatusCode::CONFLICT, "made_before", detail)
}

fn too_many() -> Problem {
    let detail =
        format!("You have {TOKENS_MAX} personal tokens: revoke one before you make another.");
    Problem::new(StatusCode::CONFLICT, "too_many_tokens", detail)
}

fn too_fast(too_many: &TooMany) -> Problem {
    let seconds = too_many.retry_after_seconds;
    too_many.problem(format!(
        "You have made too many personal tokens: try again in {seconds} s."
    ))
}

/// As JSON.
pub fn shown(token: &ListedPersonalToken) -> Value {
    let time = |at: SystemTime| humantime::format_rfc3339_seconds(at).to_string();
    let scopes = token.scopes.iter().map(Scope::as_str);
    serde_json::json!({
        "id": token.id.to_string(),
        "name": token.name.as_str(),
        "scopes": scopes.collect::<Vec<_>>(),
        "created_at": time(token.created_at),
        "last_used_at": token.last_used_at.map(time),
        "expires_at": time(token.expires_at),
    })
}
