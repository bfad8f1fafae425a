//! What endpoints refuse with: a problem that knows which request it answers.

use axum::body::Body;
use axum::extract::Extension;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::header;

use crate::authenticate::Unauthenticated;
use crate::gate::door::Origin;
use crate::gate::reject::Rejection;
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
        Self::new(origin, Rejection::Unauthenticated(why).problem())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.problem
            .into_response::<Bytes>(&self.request_id)
            .map(|body| Body::from(body.0))
    }
}

/// [`Problem::into_response`] asks for a body made from bytes; axum's has no such `From`.
struct Bytes(bytes::Bytes);

impl From<bytes::Bytes> for Bytes {
    fn from(bytes: bytes::Bytes) -> Self {
        Self(bytes)
    }
}

pub(super) async fn not_found(Extension(origin): Extension<Origin>) -> Refusal {
    let detail = "There is no such endpoint of the gateway.";
    Refusal::new(
        &origin,
        Problem::new(StatusCode::NOT_FOUND, "no_endpoint", detail),
    )
}

pub(super) async fn method_not_allowed(
    method: Method,
    Extension(origin): Extension<Origin>,
    request: axum::extract::Request,
) -> Refusal {
    let reads = ["/me", "/jwks.json"];
    let reads = reads.iter().any(|end| request.uri().path().ends_with(end));
    let allowed = if reads { "GET, HEAD" } else { "POST" };
    let detail = format!("This endpoint is served for {allowed}, not for {method}.");
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        .with_header(header::ALLOW, HeaderValue::from_static(allowed));
    Refusal::new(&origin, problem)
}
