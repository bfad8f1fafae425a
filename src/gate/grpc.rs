//! Refusals that a gRPC client understands.
//!
//! It reads `grpc-status`, and of the status of HTTP only that it is 200: a refusal is an answer of nothing
//! but headers ("Trailers-Only" in gRPC's "PROTOCOL-HTTP2"), with the reason in words of gRPC. Whoever
//! does not speak gRPC must never get one.

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Response;
use http::Version;
use http::header;

use crate::authenticate::Unauthenticated;
use crate::authenticate::percent_encode;
use crate::body::BodyError;
use crate::gate::answer::AnswerBody;
use crate::gate::inbound::Malformed;
use crate::gate::reject::Rejection;
use crate::gate::route::Unrouted;
use crate::problem::Problem;
use crate::upstream::UpstreamError;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// A status of gRPC ("Status codes and their use in gRPC").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// Whether a request is a call: a POST of `application/grpc`, or that with a message format behind a `+`.
/// `application/grpc-web` is something else, and reads the status of HTTP.
pub fn is_call(method: &Method, version: Version, headers: &HeaderMap) -> bool {
    const KIND: &[u8] = b"application/grpc";
    if version != Version::HTTP_2 || method != Method::POST {
        return false;
    }
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| {
        let (start, rest) = kind.split_at_checked(KIND.len())?;
        start.eq_ignore_ascii_case(KIND).then_some(rest)
    });
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Whether an answer says everything in its headers. It has to end with them: a client finds no status
/// in headers that something follows.
pub fn is_only_trailers(headers: &HeaderMap) -> bool {
    headers.contains_key(STATUS)
}

/// The answer, except for what every answer carries. What the problem says in headers of HTTP stays:
/// `Retry-After`, `RateLimit`, `WWW-Authenticate`.
pub fn refusal(rejection: &Rejection, problem: Problem) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::empty());
    let headers = response.headers_mut();
    headers.extend(problem.headers);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    say(headers, code(rejection), &problem.detail);
    response
}

/// The trailers of a call whose caller may not go on: it learns why, and that what it got is not all.
pub fn session_ended() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    let detail = "The session was ended while the call was under way.";
    say(&mut trailers, Code::Unauthenticated, detail);
    trailers
}

fn say(headers: &mut HeaderMap, code: Code, detail: &str) {
    headers.insert(STATUS, HeaderValue::from(code as u16));
    if let Ok(message) = HeaderValue::try_from(percent_encode(detail)) {
        headers.insert(MESSAGE, message);
    }
}

/// As gRPC maps the statuses of HTTP ("HTTP to gRPC Status Code Mapping"), with two exceptions. 429 and 413
/// are `RESOURCE_EXHAUSTED`, which says what is meant. An app that did not answer in time is
/// `DEADLINE_EXCEEDED`: it may have done what was asked, and `UNAVAILABLE` is what clients are told to
/// try again.
fn code(rejection: &Rejection) -> Code {
    match rejection {
        Rejection::Unauthenticated(
            Unauthenticated::KeysWanted(_) | Unauthenticated::IssuerUnavailable,
        ) => Code::Unavailable,
        Rejection::Unauthenticated(_)
        | Rejection::SignIn(_)
        | Rejection::Body(BodyError::Ended) => Code::Unauthenticated,
        Rejection::Forbidden(_) | Rejection::Origin | Rejection::CrossSite => {
            Code::PermissionDenied
        }
        Rejection::Limited(_) | Rejection::Body(BodyError::TooLarge) => Code::ResourceExhausted,
        Rejection::Unrouted(
            Unrouted::NotFound | Unrouted::VerifyOnly | Unrouted::MethodNotAllowed(_),
        )
        | Rejection::Malformed(Malformed::Method) => Code::Unimplemented,
        Rejection::Upstream(UpstreamError::Timeout) | Rejection::Body(BodyError::Idle) => {
            Code::DeadlineExceeded
        }
        Rejection::Upstream(
            UpstreamError::Down
            | UpstreamError::Unreachable
            | UpstreamError::Busy
            | UpstreamError::Invalid,
        )
        | Rejection::StoreUnavailable
        | Rejection::Busy => Code::Unavailable,
        Rejection::Malformed(_)
        | Rejection::Unrouted(_)
        | Rejection::Undescribed(_)
        | Rejection::Brought(_)
        | Rejection::Body(BodyError::Broken)
        | Rejection::Panicked => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpc_itself_is_a_call() {
        let is = |version, kind| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            is_call(&Method::POST, version, &headers)
        };
        for kind in [
            "application/grpc",
            "application/grpc+proto",
            "Application/GRPC+json",
            "application/grpc;charset=utf-8",
        ] {
            assert!(is(Version::HTTP_2, kind), "{kind}");
            assert!(!is(Version::HTTP_11, kind), "{kind}");
        }
        for kind in [
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpcx",
            "application/json",
            "application/grp",
            "",
        ] {
            assert!(!is(Version::HTTP_2, kind), "{kind}");
        }
        assert!(!is_call(&Method::POST, Version::HTTP_2, &HeaderMap::new()));
        // To a CONNECT a status of 200 would mean something else.
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        assert!(!is_call(&Method::CONNECT, Version::HTTP_2, &headers));
    }
}
