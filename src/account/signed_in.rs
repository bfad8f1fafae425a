//! Endpoints that only a sign-in of the user's own may call.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::Method;
use http::StatusCode;
use http::header;
use http::request::Parts;

use crate::account::Accounts;
use crate::account::unavailable;
use crate::authenticate::BrowserSessions;
use crate::authenticate::Found;
use crate::authenticate::Identity;
use crate::authenticate::Unauthenticated;
use crate::domain::SessionId;
use crate::domain::Subject;
use crate::domain::UserId;
use crate::intake::Origin;
use crate::intake::Refusal;
use crate::intake::Site;
use crate::problem::Problem;

/// A caller with a first-party access token, or else with the cookie of a browser: judged by the same
/// judge that guards the routes.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// Who.
    pub user: UserId,
    /// In which session.
    pub session: SessionId,
    /// Whether a cookie said so.
    pub by_cookie: bool,
    /// What the token says, or would say.
    pub identity: Identity,
}

impl FromRequestParts<Arc<Accounts>> for SignedIn {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        accounts: &Arc<Accounts>,
    ) -> Result<Self, Refusal> {
        let origin = parts.extensions.get::<Origin>().cloned();
        let origin = origin.unwrap_or_else(Origin::unknown);
        let authorization = parts.headers.get(header::AUTHORIZATION);
        let (identity, by_cookie) = match (authorization, origin.session) {
            (None, Some(session)) => {
                let known = by_cookie(accounts, &origin, session, &parts.method).await;
                (
                    known.map_err(|problem| Refusal::new(&origin, problem))?,
                    true,
                )
            }
            _ => {
                let known = accounts.judge.identify(authorization);
                let known = known.map_err(|why| Refusal::unauthenticated(&origin, why))?;
                (known, false)
            }
        };
        let claims = identity.claims();
        match (&claims.subject, claims.session) {
            (Subject::User(user), Some(session)) if claims.client.is_first_party() => Ok(Self {
                user: *user,
                session,
                by_cookie,
                identity,
            }),
            _ => {
                let detail = "Only a sign-in of the user's own may manage the account.";
                let problem = Problem::new(StatusCode::FORBIDDEN, "first_party_only", detail);
                Err(Refusal::new(&origin, problem))
            }
        }
    }
}

/// A dead cookie counts as none and is taken away; a living one does nothing for a page of another site.
async fn by_cookie(
    accounts: &Accounts,
    origin: &Origin,
    session: SessionId,
    method: &Method,
) -> Result<Identity, Problem> {
    let known = match accounts.sessions.find(session) {
        Found::Alive(identity) => Some(identity),
        Found::Dead => None,
        Found::Unknown => {
            let recalled = accounts.sessions.recall(session).await;
            recalled.map_err(|error| unavailable(&error))?
        }
    };
    let known = known.ok_or_else(|| {
        let cleared = BrowserSessions::clear_cookie();
        let absent = Unauthenticated::Absent.problem();
        absent.with_header(header::SET_COOKIE, cleared)
    })?;
    let is_safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if !is_safe && origin.site != Site::Same {
        return Err(Problem::cross_site());
    }
    Ok(known)
}
