//! A form that was filled in on a page of ours, by the browser that it was shown to.

use axum::extract::FromRequest;
use axum::extract::FromRequestParts as _;
use axum::extract::Request;
use http::StatusCode;

use crate::intake::Fields;
use crate::intake::Sent;
use crate::intake::Site;
use crate::portal::Declined;
use crate::portal::HasPortal;
use crate::portal::Visit;
use crate::portal::visit::PERSON;
use crate::problem::Problem;

/// Its fields, and who posts it. What was not posted from our own page is refused before anybody reads it
/// (SECURITY 34).
pub struct Posted {
    /// Who, from where.
    pub visit: Visit,
    /// What was filled in.
    pub fields: Fields,
}

impl<S: HasPortal + Send + Sync> FromRequest<S> for Posted {
    type Rejection = Declined;

    async fn from_request(request: Request, state: &S) -> Result<Self, Declined> {
        let portal = state.portal();
        let (mut parts, body) = request.into_parts();
        let visit = Visit::from_request_parts(&mut parts, state).await?;
        let sent = Sent::take(Request::from_parts(parts, body), state).await;
        let bad = |detail: String| {
            let problem = Problem::new(StatusCode::BAD_REQUEST, "bad_form", detail);
            visit.decline(portal, problem)
        };
        let sent = sent.map_err(|_| bad("The form broke off on its way.".to_owned()))?;
        let mut fields = Fields::of_body(&sent).map_err(|error| bad(error.to_string()))?;
        let csrf = fields.take("csrf").unwrap_or_default();
        let is_known = !visit.browser.is_new() && portal.forms.is_genuine(&visit.browser, &csrf);
        if visit.origin.site == Site::Cross || !is_known {
            return Err(visit.decline(portal, not_as_shown()));
        }
        Ok(Self { visit, fields })
    }
}

impl Posted {
    /// Whether the person who was asked is the one who answers: a page may be sent when somebody else has
    /// signed in to the same browser.
    pub fn is_by_whom_it_was_shown_to(&self) -> bool {
        let signed_in = self.visit.signed_in.as_ref();
        let person = signed_in.map(|signed_in| signed_in.user.to_string());
        person.is_some() && self.fields.get(PERSON) == person.as_deref()
    }
}

/// 403: it is not the form that our page has shown, or not any more.
pub(super) fn not_as_shown() -> Problem {
    let detail = "This form does not come from our page as your browser was shown it, or your browser \
                  keeps no cookies. Go back, load the page again, and try once more.";
    Problem::new(StatusCode::FORBIDDEN, "cross_site", detail)
}
