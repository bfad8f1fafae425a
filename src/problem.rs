//! Refusals as `application/problem+json` (RFC 9457).
//!
//! A problem says what is wrong and what would be right; the cause that only operators may see
//! stays in the log. It must never hold an upstream's address, a token or a password.

use std::borrow::Cow;

use http::HeaderName;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use serde::Serialize;

/// One refusal, before it is written for a particular request.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The status.
    pub status: StatusCode,
    /// A stable word for programs: `limited`, `invalid_token`.
    pub code: &'static str,
    /// A sentence for people: what is wrong and what would be right.
    pub detail: Cow<'static, str>,
    /// Fields of a body that were wrong (422).
    pub fields: Vec<Field>,
    /// Headers that belong to the refusal: `WWW-Authenticate`, `Allow`, `Retry-After`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// One wrong field of a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Its name.
    #[serde(rename = "field")]
    pub name: &'static str,
    /// What is wrong and what would be right.
    pub detail: Cow<'static, str>,
}

impl Problem {
    /// A problem without extra headers.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            fields: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// With one header more.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With `Retry-After` in seconds (RFC 9110 §10.2.3).
    pub fn retry_after(self, seconds: u32) -> Self {
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// 503 because the store does not answer; nothing was done.
    pub fn store_unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store_unavailable",
            "Accounts cannot be read or written right now; nothing was changed. Try again shortly.",
        )
        .retry_after(5)
    }

    /// 403: the browser's cookie came along with a request that another site made it send.
    pub fn cross_site() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "cross_site",
            "A request that a cookie vouches for must come from a page of this very origin, and say so: \
             Origin, or Sec-Fetch-Site.",
        )
    }

    /// Writes the answer.
    pub fn into_response<B: From<String>>(self, request_id: &str) -> Response<B> {
        let document = Document {
            kind: format!("urn:portcullis:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            request_id,
            errors: &self.fields,
        };
        // Strings and numbers only: there is nothing in it that could fail to be written.
        let body = serde_json::to_string(&document).unwrap_or_default();
        let mut response = Response::new(B::from(body + "\n"));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// The members of RFC 9457 §3.1, and our own.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[Field]>::is_empty")]
    errors: &'a [Field],
}
