//! What was sent to an endpoint, before anybody reads it as something.

use axum::body::Body;
use axum::body::Bytes;
use axum::extract::FromRequest;
use axum::extract::Request;
use http::HeaderMap;
use http::header;

use crate::intake::Origin;

/// A request whose body has arrived: the door has read it, within bounds.
#[derive(Debug)]
pub struct Sent {
    /// Where it came from.
    pub origin: Origin,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Sent {
    /// Takes the body in.
    ///
    /// # Errors
    ///
    /// Where it broke off or is badly framed; the origin is what is left to refuse.
    pub async fn take<S: Send + Sync>(request: Request, state: &S) -> Result<Self, Origin> {
        let (parts, body) = request.into_parts();
        let origin = parts.extensions.get::<Origin>().cloned();
        let origin = origin.unwrap_or_else(Origin::unknown);
        let bare = Request::<Body>::new(body);
        match Bytes::from_request(bare, state).await {
            Ok(body) => Ok(Self {
                origin,
                headers: parts.headers,
                body,
            }),
            Err(_) => Err(origin),
        }
    }

    /// Whether the body is said to be of this media type: once, and in no other charset than UTF-8. Two
    /// parties that read one body in two ways are a way in.
    pub fn is(&self, media_type: &str) -> bool {
        let mut kinds = self.headers.get_all(header::CONTENT_TYPE).iter();
        let (Some(kind), None) = (kinds.next(), kinds.next()) else {
            return false;
        };
        let mut parts = kind.to_str().unwrap_or_default().split(';').map(str::trim);
        let is_it = parts
            .next()
            .is_some_and(|kind| kind.eq_ignore_ascii_case(media_type));
        is_it && parts.all(is_harmless_parameter)
    }
}

fn is_harmless_parameter(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return parameter.is_empty();
    };
    let is_utf8 = value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8");
    is_utf8 || !name.trim().eq_ignore_ascii_case("charset")
}
