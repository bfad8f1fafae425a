//! What the client is told, by way of the browser (RFC 6749 §4.1.2; RFC 9207): a code or an error, the client's
//! `state`, and always who says so.

use axum::response::Response;

use crate::limiter::TooMany;
use crate::oauth::OAuth;
use crate::oauth::error::described;
use crate::oauth::relay::with_parameters;
use crate::portal::see_other;
use crate::problem::Problem;
use crate::store::Unavailable;
use crate::token::one_use::OneUse;

/// Where the answer goes. It was compared with what is registered before this is made.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
}

/// An error for the client: RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6, RFC 8707 §2.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Denial {
    pub(super) error: &'static str,
    description: String,
}

impl Denial {
    pub(super) fn new(error: &'static str, description: impl Into<String>) -> Self {
        let description = description.into();
        Self { error, description }
    }

    /// A redirect cannot be a 503, hence its own word.
    pub(super) fn unavailable(error: &Unavailable) -> Self {
        tracing::error!(%error, "the store does not answer");
        let detail = Problem::store_unavailable().detail;
        Self::new("temporarily_unavailable", detail)
    }

    /// Nor can it be a 429.
    pub(super) fn too_many(too_many: &TooMany) -> Self {
        let seconds = too_many.retry_after_seconds;
        let why = format!("This account got too many codes: try again in {seconds} seconds.");
        Self::new("temporarily_unavailable", why)
    }
}

impl OAuth {
    pub(super) fn grant(&self, reply: &Reply, code: &OneUse) -> Response {
        self.reply(reply, &[("code", &code.reveal())])
    }

    pub(super) fn deny(&self, reply: &Reply, denial: &Denial) -> Response {
        let description = described(&denial.description);
        self.reply(
            reply,
            &[("error", denial.error), ("error_description", &description)],
        )
    }

    /// 303, so that nothing that was posted to us is posted to the client (SECURITY 40).
    fn reply(&self, reply: &Reply, said: &[(&str, &str)]) -> Response {
        let mut said: Vec<_> = said.to_vec();
        if let Some(state) = &reply.state {
            said.push(("state", state));
        }
        // SECURITY 39: a client that talks to several servers knows which one this is from.
        said.push(("iss", self.places.issuer()));
        see_other(&with_parameters(&reply.redirect_uri, &said))
    }
}
