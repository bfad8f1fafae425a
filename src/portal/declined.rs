//! What a page refuses with: a page.

use axum::response::IntoResponse;
use axum::response::Response;

use crate::intake::Origin;
use crate::page::Failure;
use crate::portal::Portal;
use crate::problem::Problem;

/// The answer to somebody who does not get the page that they asked for: a page that says why, or another
/// place.
#[derive(Debug)]
pub struct Declined(Box<Response>);

impl Declined {
    /// A page that says why.
    pub fn new(portal: &Portal, origin: &Origin, problem: Problem) -> Self {
        Self::with(Failure::answer(&portal.look, problem, &origin.request_id))
    }

    /// Any other answer.
    pub fn with(response: Response) -> Self {
        Self(Box::new(response))
    }
}

impl IntoResponse for Declined {
    fn into_response(self) -> Response {
        *self.0
    }
}
