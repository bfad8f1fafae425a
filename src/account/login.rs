//! `POST login`: a password for an access token and a refresh token, or for the cookie of a browser.
//!
//! Whoever it was and whatever was wrong, the refusal is the same in words and in work: an unknown
//! name costs a hash too (SECURITY 30).

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use axum::extract::Extension;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderMap;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use serde::Deserialize;

use crate::account::Accounts;
use crate::account::busy;
use crate::account::unavailable;
use crate::domain::Amr;
use crate::domain::ClientId;
use crate::domain::EmailAddress;
use crate::domain::Handle;
use crate::domain::Password;
use crate::domain::Scopes;
use crate::domain::Session;
use crate::domain::SessionId;
use crate::domain::User;
use crate::domain::Username;
use crate::intake::Json;
use crate::intake::Origin;
use crate::intake::Refusal;
use crate::intake::Site;
use crate::intake::no_store;
use crate::password::Verdict;
use crate::problem::Problem;
use crate::store::Credentials;
use crate::store::NewBrowserSession;
use crate::store::NewSession;
use crate::store::Unavailable;
use crate::token::opaque::RefreshToken;
use crate::vault::fresh_id;

/// One of `email` and `username`, the password, and perhaps less than all scopes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoggingIn {
    email: Option<String>,
    username: Option<String>,
    password: Password,
    scope: Option<String>,
    session: Option<SessionKind>,
}

/// What is asked for in place of tokens.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SessionKind {
    Cookie,
}

/// The endpoint.
///
/// # Errors
///
/// 400 for a scope that a login may not hold, 401, 403 where a page of another site asks for a cookie,
/// 422 where neither or both names are given, 503.
pub async fn login(
    State(accounts): State<Arc<Accounts>>,
    Extension(origin): Extension<Origin>,
    headers: HeaderMap,
    Json(logging_in): Json<LoggingIn>,
) -> Result<Response, Refusal> {
    let refuse = |problem| Refusal::new(&origin, problem);
    // Nobody is to be signed in under another's name by a page of somebody else.
    if logging_in.session.is_some() && origin.site == Site::Cross {
        return Err(refuse(Problem::cross_site()));
    }
    let handle = handle(&logging_in).map_err(refuse)?;
    let scopes = scopes(&accounts, logging_in.scope.as_deref()).map_err(refuse)?;

    let verified = check_password(&accounts, handle.as_ref(), logging_in.password)
        .await
        .map_err(refuse)?;
    if let Some(SessionKind::Cookie) = logging_in.session {
        let shown = Shown::by_password(&accounts);
        let opening = open_browser_session(&accounts, &verified, scopes, shown, &origin, &headers);
        let cookie = opening.await.map_err(refuse)?.cookie;
        let headers = [
            (header::SET_COOKIE, cookie),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        return Ok((StatusCode::NO_CONTENT, headers).into_response());
    }
    let user = &verified.user;
    let (session, refresh) = open_session(&accounts, &verified, scopes, &origin, &headers)
        .await
        .map_err(refuse)?;
    accounts.metrics.login("ok");
    tracing::info!(user.id = %user.id, session.id = %session.id, "signed in");
    Ok(granted(&accounts, user, &session, &refresh))
}

/// Which account is meant. `None` where the name could not be anybody's: that is a wrong name like
/// any other, not a malformed request.
fn handle(logging_in: &LoggingIn) -> Result<Option<Handle>, Problem> {
    match (&logging_in.email, &logging_in.username) {
        (Some(email), None) => Ok(EmailAddress::parse(email).ok().map(Handle::Email)),
        (None, Some(name)) => Ok(named(name)),
        (None, None) | (Some(_), Some(_)) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_fields",
            "Send either email or username, and the password.",
        )),
    }
}

/// Whom a name means. People type their address into the box that says username.
fn named(name: &str) -> Option<Handle> {
    if name.contains('@') {
        EmailAddress::parse(name).ok().map(Handle::Email)
    } else {
        Username::parse(name).ok().map(Handle::Username)
    }
}

/// Signs a browser in by name or address and password, as the endpoint does, with all that a login may hold.
///
/// # Errors
///
/// 401, 503.
pub async fn sign_in_browser(
    accounts: &Accounts,
    name: &str,
    password: Password,
    origin: &Origin,
    headers: &HeaderMap,
) -> Result<SignedInBrowser, Problem> {
    let verified = check_password(accounts, named(name).as_ref(), password).await?;
    let scopes = accounts.rules.login_scopes.clone();
    let shown = Shown::by_password(accounts);
    open_browser_session(accounts, &verified, scopes, shown, origin, headers).await
}

/// How and when somebody has shown whose account it is.
#[derive(Clone, Debug)]
pub struct Shown {
    /// How.
    pub amr: Amr,
    /// When: a provider may know them from long ago.
    pub at: SystemTime,
}

impl Shown {
    /// By the account's password, just now.
    pub fn by_password(accounts: &Accounts) -> Self {
        Self {
            amr: Amr::password(),
            at: accounts.clock.now(),
        }
    }
}

/// A browser that was signed in just now.
#[derive(Clone, Debug)]
pub struct SignedInBrowser {
    /// Its session.
    pub session: SessionId,
    /// `Set-Cookie`
    pub cookie: HeaderValue,
}

fn scopes(accounts: &Accounts, asked: Option<&str>) -> Result<Scopes, Problem> {
    let may_hold = &accounts.rules.login_scopes;
    let Some(asked) = asked else {
        return Ok(may_hold.clone());
    };
    match Scopes::parse(asked) {
        Ok(scopes) if scopes.is_subset_of(may_hold) => Ok(scopes),
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_scope",
            format!("A login may hold these scopes: {may_hold}."),
        )),
    }
}

pub(super) async fn check_password(
    accounts: &Accounts,
    handle: Option<&Handle>,
    password: Password,
) -> Result<Credentials, Problem> {
    let found = match handle {
        Some(handle) => accounts.store.credentials(handle).await,
        None => Ok(None),
    };
    let found = found.map_err(|error| {
        accounts.metrics.login("unavailable");
        unavailable(&error)
    })?;
    let hash = found.as_ref().map(|found| found.password.clone());
    let verdict = accounts.hasher.verify(password, hash).await;
    let verdict = verdict.map_err(|_| {
        accounts.metrics.login("busy");
        busy()
    })?;
    match (verdict, found) {
        (Verdict::Matches { rehash }, Some(found)) if !found.user.disabled => {
            if let Some(new) = rehash {
                let (user, old) = (found.user.id, &found.password);
                if let Err(error) = accounts.store.rehash_password(user, old, new).await {
                    tracing::warn!(%error, "a stronger hash could not be stored; the old one stays");
                }
            }
            Ok(found)
        }
        (Verdict::Matches { .. }, _) => {
            accounts.metrics.login("disabled");
            Err(wrong_credentials())
        }
        (Verdict::Differs, _) => {
            accounts.metrics.login("bad_credentials");
            Err(wrong_credentials())
        }
    }
}

/// The same words whatever was wrong.
pub(super) fn wrong_credentials() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "bad_credentials",
        "The name or the password is wrong.",
    )
    .with_header(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer realm=\"portcullis\""),
    )
}

async fn open_session(
    accounts: &Accounts,
    verified: &Credentials,
    scopes: Scopes,
    origin: &Origin,
    headers: &HeaderMap,
) -> Result<(Session, RefreshToken), Problem> {
    let session = new_session(
        accounts,
        verified,
        scopes,
        Shown::by_password(accounts),
        origin,
        accounts.tokens.refresh_ttl,
    );
    let refresh = RefreshToken::first(&accounts.vault, session.id);
    let new = NewSession {
        session: session.clone(),
        user_agent: user_agent(headers),
        refresh: refresh.hash(),
        password_version: verified.password_version,
    };
    let opened = accounts.store.open_session(new).await;
    let opened = opened.map(|opened| opened.then_some(()));
    was_opened(accounts, opened).map(|()| (session, refresh))
}

/// Opens a session of a browser for somebody who has shown whose account it is: always a new one, and the
/// browser's old one is ended (SECURITY 34): whoever put their own cookie into a browser is not signed in with
/// its user.
///
/// # Errors
///
/// 401 where the account is another since the password was verified, 503.
pub async fn open_browser_session(
    accounts: &Accounts,
    verified: &Credentials,
    scopes: Scopes,
    shown: Shown,
    origin: &Origin,
    headers: &HeaderMap,
) -> Result<SignedInBrowser, Problem> {
    let max = accounts.sessions.rules().max;
    let session = new_session(accounts, verified, scopes, shown, origin, max);
    let (id, now) = (session.id, accounts.clock.now());
    let new = NewBrowserSession {
        session,
        opened_at: now,
        user_agent: user_agent(headers),
        password_version: verified.password_version,
        replaced: origin.session,
    };
    let opened = accounts.store.open_browser_session(new).await;
    let ended = was_opened(accounts, opened)?;
    accounts.bury(ended, now);
    accounts.metrics.login("ok");
    tracing::info!(user.id = %verified.user.id, session.id = %id, "signed in a browser");
    Ok(SignedInBrowser {
        session: id,
        cookie: accounts.sessions.set_cookie(id, &origin.host),
    })
}

fn new_session(
    accounts: &Accounts,
    verified: &Credentials,
    scopes: Scopes,
    shown: Shown,
    origin: &Origin,
    ttl: Duration,
) -> Session {
    let now = accounts.clock.now();
    Session {
        id: SessionId::new(fresh_id(now)),
        user: verified.user.id,
        client: ClientId::first_party(),
        scopes,
        audience: None,
        authenticated_at: shown.at,
        amr: shown.amr,
        expires_at: now + ttl,
        address: origin.address,
    }
}

fn was_opened<T>(
    accounts: &Accounts,
    opened: Result<Option<T>, Unavailable>,
) -> Result<T, Problem> {
    match opened {
        Ok(Some(opened)) => Ok(opened),
        // Disabled, deleted or given another password while this one was being checked.
        Ok(None) => {
            accounts.metrics.login("overtaken");
            Err(wrong_credentials())
        }
        Err(error) => {
            accounts.metrics.login("unavailable");
            Err(unavailable(&error))
        }
    }
}

fn user_agent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::USER_AGENT)?.to_str().ok()?;
    Some(text.chars().take(256).collect())
}

/// 200 with both tokens (RFC 6749 §5.1), never cached.
pub(super) fn granted(
    accounts: &Accounts,
    user: &User,
    session: &Session,
    refresh: &RefreshToken,
) -> Response {
    let now: SystemTime = accounts.clock.now();
    let keys = accounts.keys.load();
    let body = serde_json::json!({
        "access_token": accounts.access.issue(&keys, user, session, now),
        "token_type": "Bearer",
        "expires_in": accounts.access.expires_in(),
        "refresh_token": refresh.reveal(),
        "scope": session.scopes.to_string(),
    });
    (no_store(), axum::Json(body)).into_response()
}
