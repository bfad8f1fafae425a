//! Bodies of requests: JSON and nothing else (SECURITY 34: no type that a foreign form can post).

use axum::body::Bytes;
use axum::extract::FromRequest;
use axum::extract::Request;
use http::HeaderMap;
use http::StatusCode;
use http::header;
use serde::de::DeserializeOwned;

use crate::intake::Origin;
use crate::intake::Refusal;
use crate::problem::Problem;

/// A JSON object as the body; unknown, repeated and mistyped members are refused by name.
#[derive(Clone, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let origin = request.extensions().get::<Origin>().cloned();
        let origin = origin.unwrap_or_else(Origin::unknown);
        let refuse = |status, code, detail: String| {
            Err(Refusal::new(&origin, Problem::new(status, code, detail)))
        };
        if !is_json(request.headers()) {
            let detail = "Send the body as JSON, with Content-Type: application/json.".to_owned();
            return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail);
        }
        if request.headers().contains_key(header::CONTENT_ENCODING) {
            let detail = "Send the body without Content-Encoding.".to_owned();
            return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoded_body", detail);
        }
        // The door has read the body to its end, within bounds.
        let Ok(body) = Bytes::from_request(request, state).await else {
            let detail = "The body broke off or is badly framed.".to_owned();
            return refuse(StatusCode::BAD_REQUEST, "body_broken", detail);
        };
        match serde_json::from_slice(&body) {
            Ok(value) => Ok(Self(value)),
            Err(error) if error.is_data() => {
                let detail =
                    format!("The body is JSON, but not what this endpoint takes: {error}.");
                refuse(StatusCode::UNPROCESSABLE_ENTITY, "unexpected_json", detail)
            }
            Err(error) => {
                let detail = format!("The body is not JSON: {error}.");
                refuse(StatusCode::BAD_REQUEST, "bad_json", detail)
            }
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
