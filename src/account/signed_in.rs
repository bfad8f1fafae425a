//! Endpoints that only a sign-in of the user's own may call.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use axum::extract::FromRequestParts;
use http::Method;
use http::StatusCode;
use http::header;
use http::request::Parts;

use crate::account::Accounts;
use crate::account::unavailable;
use crate::authenticate::Identity;
use crate::authenticate::OpaqueSessions;
use crate::authenticate::Reason;
use crate::authenticate::ShownToken;
use crate::authenticate::Unauthenticated;
use crate::clock::unix_seconds;
use crate::domain::SessionId;
use crate::domain::Subject;
use crate::domain::UserId;
use crate::intake::Origin;
use crate::intake::Refusal;
use crate::intake::Site;
use crate::problem::Problem;

/// How long a sign-in is fresh: as long as it takes to do what it was for.
pub const FRESH: Duration = Duration::from_mins(10);

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
        let refuse = |problem| Refusal::new(&origin, problem);
        let authorization = parts.headers.get(header::AUTHORIZATION);
        if authorization.is_none() && origin.session.is_some() {
            let known = Self::by_cookie(accounts, &origin).await.map_err(refuse)?;
            let known = known.ok_or_else(|| {
                let cleared = OpaqueSessions::clear_cookie();
                let absent = Unauthenticated::Absent.problem();
                refuse(absent.with_header(header::SET_COOKIE, cleared))
            })?;
            let method = &parts.method;
            let is_safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
            if !is_safe && origin.site != Site::Same {
                return Err(refuse(Problem::cross_site()));
            }
            return Ok(known);
        }
        let identity = match accounts.sessions.shown_by(authorization) {
            ShownToken::Genuine(token) => {
                let known = accounts.sessions.recall(token).await;
                let known = known.map_err(|error| refuse(unavailable(&error)))?;
                known.ok_or(Unauthenticated::Refused(Reason::SessionEnded))
            }
            ShownToken::Forged | ShownToken::Other => accounts.judge.identify(authorization),
        };
        let identity = identity.map_err(|why| Refusal::unauthenticated(&origin, why))?;
        Self::first_party(identity, false).ok_or_else(|| {
            let detail = "Only a sign-in of the user's own may manage the account.";
            refuse(Problem::new(
                StatusCode::FORBIDDEN,
                "first_party_only",
                detail,
            ))
        })
    }
}

impl SignedIn {
    /// Whom the cookie is of; a dead one counts as none.
    ///
    /// # Errors
    ///
    /// 503 where the store does not answer.
    pub async fn by_cookie(accounts: &Accounts, origin: &Origin) -> Result<Option<Self>, Problem> {
        let Some(session) = origin.session else {
            return Ok(None);
        };
        let known = accounts.sessions.recall(session).await;
        let known = known.map_err(|error| unavailable(&error))?;
        Ok(known.and_then(|identity| Self::first_party(identity, true)))
    }

    /// Whether they have proven who they are so lately that they may do what outlasts the session: connect
    /// another way to sign in, make a token. A browser that was left open, or a stolen cookie, must not make
    /// itself at home.
    pub fn is_fresh(&self, now: SystemTime) -> bool {
        let since = self.identity.claims().authenticated_at;
        unix_seconds(now) <= since.saturating_add(FRESH.as_secs())
    }

    /// What the person is called on a page of ours: the username, the verified address, or the id.
    pub fn shown(&self) -> String {
        let name = self.identity.claims().preferred_username.clone();
        name.unwrap_or_else(|| self.user.to_string())
    }

    fn first_party(identity: Identity, by_cookie: bool) -> Option<Self> {
        let claims = identity.claims();
        match (&claims.subject, claims.session) {
            (Subject::User(user), Some(session)) if claims.client.is_first_party() => Some(Self {
                user: *user,
                session,
                by_cookie,
                identity,
            }),
            _ => None,
        }
    }
}
