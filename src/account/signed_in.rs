//! Endpoints that only a sign-in of the user's own may call.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::StatusCode;
use http::header;
use http::request::Parts;

use crate::account::Accounts;
use crate::authenticate::Identity;
use crate::authenticate::Unauthenticated;
use crate::domain::SessionId;
use crate::domain::Subject;
use crate::domain::UserId;
use crate::intake::Origin;
use crate::intake::Refusal;
use crate::problem::Problem;

/// A caller with a first-party access token: judged by the same judge that guards the routes.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// Who.
    pub user: UserId,
    /// In which session.
    pub session: SessionId,
    /// What the token says.
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
        let identity = accounts
            .judge
            .identify(parts.headers.get(header::AUTHORIZATION))
            .map_err(|why: Unauthenticated| Refusal::unauthenticated(&origin, why))?;
        let claims = identity.claims();
        match (&claims.subject, claims.session) {
            (Subject::User(user), Some(session)) if claims.client.is_first_party() => Ok(Self {
                user: *user,
                session,
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
