//! What people are shown in place of a problem that programs read: a page that says the same.
//!
//! The status and the headers stay those of the refusal: nothing here decides about a request.

use http::Response;

use crate::gate::Gate;
use crate::gate::answer::AnswerBody;
use crate::gate::answer::Record;
use crate::page::Failure;
use crate::problem::Problem;

impl Gate {
    /// A refusal for people. They have no token to send, but may sign in.
    pub(super) fn page(&self, mut problem: Problem, request_id: &str) -> Response<AnswerBody> {
        let is_absent = problem.code == "unauthenticated";
        if is_absent {
            problem.detail = SIGN_IN_FIRST.into();
        }
        let way_on = is_absent.then(|| self.sign_in.link());
        Failure::with_way_on(&self.look, problem, request_id, way_on)
    }

    /// What an endpoint of our own refuses in the words of programs becomes a page for whoever looks at it in a
    /// browser; every other answer stays as it is.
    pub(super) fn show_to_people(&self, record: &Record, response: &mut Response<AnswerBody>) {
        if let Some(problem) = response.extensions_mut().remove::<Problem>()
            && record.is_page()
        {
            *response = self.page(problem, record.request_id().as_str());
        }
    }
}

const SIGN_IN_FIRST: &str = "Only somebody who is signed in may do this, and nothing was done. Sign in, go back, and try \
                             again.";
