//! Callers who are known by a personal token.
//!
//! A forged one dies in memory; a genuine one is read from the store once, behind the door. It comes with
//! the request's own header, never by itself as a cookie does, so that no page can have it sent.

use std::sync::Arc;

use crate::authenticate::Found;
use crate::authenticate::Identity;
use crate::authenticate::Reason;
use crate::authenticate::ShownToken;
use crate::authenticate::Unauthenticated;
use crate::config::Auth;
use crate::domain::SessionId;
use crate::gate::Gate;
use crate::gate::inbound::Inbound;
use crate::gate::reject::Rejection;
use crate::gate::route::Route;
use crate::token::verify::Invalid;

impl Gate {
    /// Whose the personal token is, where the route asks.
    pub(super) async fn known_by_token<B>(
        &self,
        shown: ShownToken,
        route: &Arc<Route>,
        inbound: &Inbound<B>,
    ) -> Result<Option<Identity>, Rejection> {
        route.admit(&inbound.source().address)?;
        if route.config().auth == Auth::None {
            return Ok(None);
        }
        let refused = |reason| Rejection::from(Unauthenticated::Refused(reason));
        match shown {
            ShownToken::Other => Ok(None),
            ShownToken::Forged => Err(refused(Reason::Invalid(Invalid::BadSignature))),
            ShownToken::Genuine(session) => {
                let known = self.known_by_session(session).await?;
                let known = known.ok_or_else(|| refused(Reason::SessionEnded));
                known.map(Some)
            }
        }
    }

    /// Whose a session is that something opaque names; none where it is dead. What is not remembered is read
    /// from the store.
    pub(super) async fn known_by_session(
        &self,
        session: SessionId,
    ) -> Result<Option<Identity>, Rejection> {
        match self.sessions.find(session) {
            Found::Alive(identity) => Ok(Some(identity)),
            Found::Dead => Ok(None),
            Found::Unknown => self.door.recall(&self.sessions, session).await,
        }
    }
}
