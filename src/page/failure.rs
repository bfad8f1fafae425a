//! The error page, and what a refusal looks like to browsers.
//!
//! It says no more than the problem does: the cause that only operators may see stays in the log.

use askama::Template;
use http::Response;
use http::StatusCode;

use crate::page::Form;
use crate::page::Link;
use crate::page::Look;
use crate::page::View;
use crate::page::answer;
use crate::problem::Problem;

/// Something did not work, and no form can be shown again.
#[derive(Clone, Debug, Template)]
#[template(path = "failure.html")]
pub struct Failure<'a> {
    /// How pages look.
    pub look: &'a Look,
    /// A few words.
    pub title: String,
    /// What is wrong and what would be right.
    pub sentence: String,
    /// The stable word for it.
    pub code: String,
    /// The request's id: what an operator finds it by.
    pub request_id: String,
    /// A way on.
    pub back: Option<Link>,
}

impl<'a> Failure<'a> {
    /// What a refusal says, with no way on.
    pub fn new(look: &'a Look, problem: &Problem, request_id: &str) -> Self {
        Self {
            look,
            title: title(problem.status).to_owned(),
            sentence: problem.detail.clone().into_owned(),
            code: problem.code.to_owned(),
            request_id: request_id.to_owned(),
            back: None,
        }
    }

    /// A refusal as a page, with the refusal's own status and headers. The headers of the page win.
    pub fn answer<B: From<String>>(
        look: &'a Look,
        problem: Problem,
        request_id: &str,
    ) -> Response<B> {
        Self::with_way_on(look, problem, request_id, None)
    }

    /// The same, with a link that leads on.
    pub fn with_way_on<B: From<String>>(
        look: &'a Look,
        problem: Problem,
        request_id: &str,
        back: Option<Link>,
    ) -> Response<B> {
        let view = Self {
            back,
            ..Self::new(look, &problem, request_id)
        };
        let mut response = answer(problem.status, &view);
        for (name, value) in problem.headers {
            if !response.headers().contains_key(&name) || name == http::header::WWW_AUTHENTICATE {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}

fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "You need to sign in",
        StatusCode::FORBIDDEN => "You may not open this",
        StatusCode::NOT_FOUND => "There is nothing here",
        StatusCode::TOO_MANY_REQUESTS => "That was too fast",
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => "The app does not answer",
        StatusCode::SERVICE_UNAVAILABLE => "Not right now",
        status if status.is_server_error() => "Something went wrong here",
        _ => "This request cannot be answered",
    }
}

impl View for Failure<'_> {
    fn forms(&self) -> Vec<&Form> {
        Vec::new()
    }
}
