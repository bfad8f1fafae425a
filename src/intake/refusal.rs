//! What endpoints refuse with: a problem that knows which request it answers.
//!
//! The problem itself goes along with the answer, for the gate to make a page of it where a person looks.

use axum::response::IntoResponse;
use axum::response::Response;

use crate::authenticate::Unauthenticated;
use crate::intake::Origin;
use crate::problem::Problem;

/// A problem and the request it answers.
#[derive(Clone, Debug)]
pub struct Refusal {
    problem: Problem,
    request_id: String,
}

impl Refusal {
    /// Refuses the request of this origin.
    pub fn new(origin: &Origin, problem: Problem) -> Self {
        Self {
            problem,
            request_id: origin.request_id.clone(),
        }
    }

    /// 401, in the very words of a guarded route.
    pub fn unauthenticated(origin: &Origin, why: Unauthenticated) -> Self {
        Self::new(origin, why.problem())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response: Response = self.problem.clone().into_response(&self.request_id);
        response.extensions_mut().insert(self.problem);
        response
    }
}
