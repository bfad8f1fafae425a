//! Bodies of requests: JSON and nothing else (SECURITY 34: no type that a foreign form can post).

use std::fmt;
use std::marker::PhantomData;

use axum::extract::FromRequest;
use axum::extract::Request;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;

use crate::intake::Refusal;
use crate::intake::Sent;
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
        let sent = take(request, state).await?;
        parse(&sent)
            .map(Self)
            .map_err(|problem| Refusal::new(&sent.origin, problem))
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for JsonOrNothing<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let sent = take(request, state).await?;
        if sent.body.is_empty() {
            return Ok(Self(T::default()));
        }
        parse(&sent)
            .map(Self)
            .map_err(|problem| Refusal::new(&sent.origin, problem))
    }
}

async fn take<S: Send + Sync>(request: Request, state: &S) -> Result<Sent, Refusal> {
    Sent::take(request, state).await.map_err(|origin| {
        let detail = "The body broke off or is badly framed.";
        let problem = Problem::new(StatusCode::BAD_REQUEST, "body_broken", detail);
        Refusal::new(&origin, problem)
    })
}

fn parse<T: DeserializeOwned>(sent: &Sent) -> Result<T, Problem> {
    let wrong_type = |code, detail| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, detail);
    // JSON has no other charset than its own (RFC 8259 §8.1).
    if !sent.is("application/json") {
        let detail = "Send the body as JSON in UTF-8, with one Content-Type: application/json.";
        let json = HeaderValue::from_static("application/json");
        return Err(wrong_type("not_json", detail).with_header(header::ACCEPT, json));
    }
    if sent.headers.contains_key(header::CONTENT_ENCODING) {
        let detail = "Send the body without Content-Encoding.";
        let plain = HeaderValue::from_static("identity");
        return Err(wrong_type("encoded_body", detail).with_header(header::ACCEPT_ENCODING, plain));
    }
    let parsed = serde_json::from_slice(&sent.body).map(|Object(value)| value);
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
