//! Every refusal of the path, and the answer it becomes.

use std::borrow::Cow;

use http::HeaderValue;
use http::StatusCode;
use http::header;

use crate::authenticate::Unauthenticated;
use crate::body::BodyError;
use crate::gate::inbound::Malformed;
use crate::gate::limit::Limited;
use crate::gate::route::Forbidden;
use crate::gate::route::Unrouted;
use crate::problem::Problem;
use crate::telemetry::access::Decision;
use crate::upstream::UpstreamError;

/// Why a request was not forwarded, or its answer not given.
#[derive(Clone, Debug)]
pub enum Rejection {
    /// Not a request we would understand in one way only.
    Malformed(Malformed),
    /// Over a limit.
    Limited(Limited),
    /// No route, or not this way.
    Unrouted(Unrouted),
    /// No credential, or one that is not good.
    Unauthenticated(Unauthenticated),
    /// A caller who may not.
    Forbidden(Forbidden),
    /// The request's body.
    Body(BodyError),
    /// The upstream.
    Upstream(UpstreamError),
    /// A preflight from an origin that the route does not admit.
    Origin,
    /// Too many requests for our own endpoints at once.
    Busy,
    /// A bug of ours, contained.
    Panicked,
}

impl Rejection {
    /// What the log and the metrics call it.
    pub fn decision(&self) -> Decision {
        let (verdict, reason) = match self {
            Self::Malformed(_) => ("refused", self.code()),
            Self::Limited(_) => ("limited", "limited"),
            Self::Unrouted(Unrouted::NotFound) => ("not_found", "no_route"),
            Self::Unrouted(_) => ("refused", self.code()),
            Self::Unauthenticated(Unauthenticated::Absent) => ("unauthenticated", "no_credential"),
            Self::Unauthenticated(Unauthenticated::Refused(reason)) => {
                ("unauthenticated", reason.label())
            }
            Self::Forbidden(Forbidden::Anonymous) => ("unauthenticated", "no_credential"),
            Self::Forbidden(_) => ("forbidden", self.code()),
            Self::Body(_) | Self::Origin => ("refused", self.code()),
            Self::Upstream(_) => ("upstream_failed", self.code()),
            Self::Busy | Self::Panicked => ("unavailable", self.code()),
        };
        Decision { verdict, reason }
    }

    /// The answer, except for what every answer carries.
    pub fn problem(&self) -> Problem {
        let (status, detail) = self.status_and_detail();
        let problem = Problem::new(status, self.code(), detail);
        match self {
            Self::Unauthenticated(Unauthenticated::Absent)
            | Self::Forbidden(Forbidden::Anonymous) => {
                // RFC 6750 §3.1: without a credential, no error code.
                challenge(problem, "Bearer realm=\"portcullis\"")
            }
            Self::Unauthenticated(Unauthenticated::Refused(_)) => challenge(
                problem,
                "Bearer realm=\"portcullis\", error=\"invalid_token\", \
                 error_description=\"The access token is malformed, expired or revoked\"",
            ),
            Self::Forbidden(Forbidden::Scopes(scopes)) => challenge(
                problem,
                &format!(
                    "Bearer realm=\"portcullis\", error=\"insufficient_scope\", scope=\"{scopes}\""
                ),
            ),
            Self::Forbidden(Forbidden::Delegated) => challenge(
                problem,
                "Bearer realm=\"portcullis\", error=\"insufficient_scope\"",
            ),
            Self::Limited(limited) => {
                let problem = problem
                    .retry_after(limited.retry_after_seconds)
                    .with_header(RATE_LIMIT_POLICY, limited.policy.clone());
                match &limited.state {
                    Some(state) => problem.with_header(RATE_LIMIT, state.clone()),
                    None => problem,
                }
            }
            Self::Unrouted(Unrouted::MethodNotAllowed(allowed)) => allow(problem, allowed),
            Self::Malformed(Malformed::Method) => {
                allow(problem, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
            }
            Self::Upstream(UpstreamError::Busy) | Self::Busy => problem.retry_after(1),
            _ => problem,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Malformed(Malformed::Path(_)) => "path_refused",
            Self::Malformed(Malformed::Host) => "host_refused",
            Self::Malformed(Malformed::Method) => "method_refused",
            Self::Malformed(Malformed::TwoCredentials) => "two_credentials",
            Self::Malformed(Malformed::Upgrade) => "upgrade_refused",
            Self::Limited(_) => "limited",
            Self::Unrouted(Unrouted::NotFound) => "no_route",
            Self::Unrouted(Unrouted::MethodNotAllowed(_)) => "method_not_allowed",
            Self::Unrouted(Unrouted::Oddity(_) | Unrouted::Ambiguous | Unrouted::Path(_)) => {
                "path_refused"
            }
            Self::Unauthenticated(Unauthenticated::Absent)
            | Self::Forbidden(Forbidden::Anonymous) => "unauthenticated",
            Self::Unauthenticated(Unauthenticated::Refused(_)) => "invalid_token",
            Self::Forbidden(Forbidden::Scopes(_) | Forbidden::Delegated) => "insufficient_scope",
            Self::Forbidden(Forbidden::Roles) => "insufficient_role",
            Self::Body(BodyError::TooLarge) => "body_too_large",
            Self::Body(BodyError::Idle) => "body_timeout",
            Self::Body(BodyError::Broken) => "body_broken",
            Self::Upstream(UpstreamError::Unreachable) => "upstream_unreachable",
            Self::Upstream(UpstreamError::Busy) => "upstream_busy",
            Self::Upstream(UpstreamError::Timeout) => "upstream_timeout",
            Self::Upstream(UpstreamError::Invalid) => "upstream_invalid",
            Self::Origin => "origin_refused",
            Self::Busy => "busy",
            Self::Panicked => "internal_error",
        }
    }

    fn status_and_detail(&self) -> (StatusCode, Cow<'static, str>) {
        match self {
            Self::Malformed(malformed) => {
                let status = match malformed {
                    Malformed::Method => StatusCode::METHOD_NOT_ALLOWED,
                    Malformed::Upgrade => StatusCode::NOT_IMPLEMENTED,
                    Malformed::Path(_) | Malformed::Host | Malformed::TwoCredentials => {
                        StatusCode::BAD_REQUEST
                    }
                };
                (status, malformed.to_string().into())
            }
            Self::Limited(limited) => (
                StatusCode::TOO_MANY_REQUESTS,
                format!(
                    "Too many requests: the limit is {}. Try again in {} s.",
                    limited.policy.to_str().unwrap_or_default(),
                    limited.retry_after_seconds
                )
                .into(),
            ),
            Self::Unrouted(Unrouted::NotFound) => (
                StatusCode::NOT_FOUND,
                "No route of this gateway serves this host and path.".into(),
            ),
            Self::Unrouted(Unrouted::MethodNotAllowed(allowed)) => (
                StatusCode::METHOD_NOT_ALLOWED,
                format!("This path is served for {allowed} only.").into(),
            ),
            Self::Unrouted(Unrouted::Oddity(key)) => (
                StatusCode::BAD_REQUEST,
                format!(
                    "The path has a spelling that apps read in different ways; the route would \
                     have to allow it with path_allow = [\"{key}\"]."
                )
                .into(),
            ),
            Self::Unrouted(Unrouted::Ambiguous) => (
                StatusCode::BAD_REQUEST,
                "The path could be read as the path of another route.".into(),
            ),
            Self::Unrouted(Unrouted::Path(refusal)) => {
                (StatusCode::BAD_REQUEST, refusal.to_string().into())
            }
            Self::Unauthenticated(Unauthenticated::Absent)
            | Self::Forbidden(Forbidden::Anonymous) => (
                StatusCode::UNAUTHORIZED,
                "This needs an access token: Authorization: Bearer <token>.".into(),
            ),
            Self::Unauthenticated(Unauthenticated::Refused(_)) => (
                StatusCode::UNAUTHORIZED,
                "The access token is malformed, expired or revoked: refresh it or log in again."
                    .into(),
            ),
            Self::Forbidden(Forbidden::Scopes(scopes)) => (
                StatusCode::FORBIDDEN,
                format!("The access token needs these scopes: {scopes}.").into(),
            ),
            Self::Forbidden(Forbidden::Delegated) => (
                StatusCode::FORBIDDEN,
                "Only a sign-in of the user's own may pass here, not a token of an app.".into(),
            ),
            Self::Forbidden(Forbidden::Roles) => (
                StatusCode::FORBIDDEN,
                "The account has none of the roles that may pass here.".into(),
            ),
            Self::Body(BodyError::TooLarge) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "The request's body is larger than allowed here.".into(),
            ),
            Self::Body(BodyError::Idle) => (
                StatusCode::REQUEST_TIMEOUT,
                "The request's body did not arrive in time.".into(),
            ),
            Self::Body(BodyError::Broken) => (
                StatusCode::BAD_REQUEST,
                "The request's body broke off or is badly framed.".into(),
            ),
            Self::Upstream(UpstreamError::Unreachable) => (
                StatusCode::BAD_GATEWAY,
                "The app behind this route cannot be reached.".into(),
            ),
            Self::Upstream(UpstreamError::Invalid) => (
                StatusCode::BAD_GATEWAY,
                "The app behind this route broke off or gave an answer that is not HTTP.".into(),
            ),
            Self::Upstream(UpstreamError::Timeout) => (
                StatusCode::GATEWAY_TIMEOUT,
                "The app behind this route did not answer in time.".into(),
            ),
            Self::Upstream(UpstreamError::Busy) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The app behind this route has too many requests under way.".into(),
            ),
            Self::Origin => (
                StatusCode::FORBIDDEN,
                "This route's cors does not admit the origin of the request.".into(),
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many requests for accounts are under way.".into(),
            ),
            Self::Panicked => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "The gateway failed at this request; others are not affected.".into(),
            ),
        }
    }
}

/// `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10 §3).
pub const RATE_LIMIT_POLICY: http::HeaderName = http::HeaderName::from_static("ratelimit-policy");
/// `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10 §4).
pub const RATE_LIMIT: http::HeaderName = http::HeaderName::from_static("ratelimit");

fn challenge(problem: Problem, text: &str) -> Problem {
    match HeaderValue::from_str(text) {
        Ok(value) => problem.with_header(header::WWW_AUTHENTICATE, value),
        Err(_) => problem,
    }
}

fn allow(problem: Problem, methods: &str) -> Problem {
    match HeaderValue::from_str(methods) {
        Ok(value) => problem.with_header(header::ALLOW, value),
        Err(_) => problem,
    }
}

macro_rules! rejection_from {
    ($($variant:ident($cause:ty)),* $(,)?) => {
        $(impl From<$cause> for Rejection {
            fn from(cause: $cause) -> Self {
                Self::$variant(cause)
            }
        })*
    };
}

rejection_from! {
    Malformed(Malformed),
    Limited(Limited),
    Unrouted(Unrouted),
    Unauthenticated(Unauthenticated),
    Forbidden(Forbidden),
    Body(BodyError),
    Upstream(UpstreamError),
}
