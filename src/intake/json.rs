//! Bodies of requests: JSON and nothing else (SECURITY 34: no type that a foreign form can post).

use std::fmt;
use std::marker::PhantomData;

use axum::body::Body;
use axum::body::Bytes;
use axum::extract::FromRequest;
use axum::extract::Request;
use http::HeaderMap;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;

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
        let detail = "Send the body as JSON in UTF-8, with one Content-Type: application/json.";
        let json = HeaderValue::from_static("application/json");
        return Err(wrong_type("not_json", detail).with_header(header::ACCEPT, json));
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        let detail = "Send the body without Content-Encoding.";
        let plain = HeaderValue::from_static("identity");
        return Err(wrong_type("encoded_body", detail).with_header(header::ACCEPT_ENCODING, plain));
    }
    let parsed = serde_json::from_slice(body).map(|Object(value)| value);
    parsed.map_err(|error| {
        if error.is_data() {
            let detail = format!("The body is JSON, but not what this endpoint takes: {error}.");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unexpected_json", detail)
        } else {
            let detail = format!("The body is not JSON: {error}.");
            Problem::new(StatusCode::BAD_REQUEST, "bad_json", detail)
        }
    })
}

/// Said once, and in no other charset than JSON's own (RFC 8259 §8.1): two parties that read one
/// body in two ways are a way in.
fn is_json(headers: &HeaderMap) -> bool {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else {
        return false;
    };
    let mut parts = kind.to_str().unwrap_or_default().split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    is_json && parts.all(is_harmless_parameter)
}

fn is_harmless_parameter(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return parameter.is_empty();
    };
    let is_utf8 = value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8");
    is_utf8 || !name.trim().eq_ignore_ascii_case("charset")
}

/// An object and nothing else: a derived struct would also be read from an array of its members.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}
