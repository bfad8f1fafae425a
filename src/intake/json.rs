//! Bodies of requests: JSON and nothing else (SECURITY 34: no type that a foreign form can post).

use axum::body::Body;
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

/// The same, or nothing: an empty body is the default, whatever its headers announce.
#[derive(Clone, Debug)]
pub struct JsonOrNothing<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let Taken {
            origin,
            headers,
            body,
        } = Taken::from(request, state).await?;
        parse(&headers, &body)
            .map(Self)
            .map_err(|problem| Refusal::new(&origin, problem))
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for JsonOrNothing<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let Taken {
            origin,
            headers,
            body,
        } = Taken::from(request, state).await?;
        if body.is_empty() {
            return Ok(Self(T::default()));
        }
        parse(&headers, &body)
            .map(Self)
            .map_err(|problem| Refusal::new(&origin, problem))
    }
}

/// A request whose body has arrived: the door has read it, within bounds.
struct Taken {
    origin: Origin,
    headers: HeaderMap,
    body: Bytes,
}

impl Taken {
    async fn from<S: Send + Sync>(request: Request, state: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let origin = parts.extensions.get::<Origin>().cloned();
        let origin = origin.unwrap_or_else(Origin::unknown);
        let bare = Request::<Body>::new(body);
        let Ok(body) = Bytes::from_request(bare, state).await else {
            let detail = "The body broke off or is badly framed.";
            let problem = Problem::new(StatusCode::BAD_REQUEST, "body_broken", detail);
            return Err(Refusal::new(&origin, problem));
        };
        Ok(Self {
            origin,
            headers: parts.headers,
            body,
        })
    }
}

fn parse<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Problem> {
    let wrong_type = |code, detail| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, detail);
    if !is_json(headers) {
        let detail = "Send the body as JSON, with Content-Type: application/json.";
        return Err(wrong_type("not_json", detail));
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        let detail = "Send the body without Content-Encoding.";
        return Err(wrong_type("encoded_body", detail));
    }
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            let detail = format!("The body is JSON, but not what this endpoint takes: {error}.");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unexpected_json", detail)
        } else {
            let detail = format!("The body is not JSON: {error}.");
            Problem::new(StatusCode::BAD_REQUEST, "bad_json", detail)
        }
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
