//! Every refusal of the path: what the caller is told, and what the log keeps.

use std::fmt::Display;

use http::HeaderName;
use http::HeaderValue;
use http::StatusCode;
use http::header;

use crate::authenticate::Unauthenticated;
use crate::body::BodyError;
use crate::gate::described::Undescribed;
use crate::gate::inbound::Malformed;
use crate::gate::limit::Limited;
use crate::gate::resource::DescribedResource;
use crate::gate::route::Forbidden;
use crate::gate::route::Route;
use crate::gate::route::Unrouted;
use crate::gate::sign_in::Departure;
use crate::gate::websocket::NoHandshake;
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
    /// No credential, and a browser that can be sent to get one.
    SignIn(Box<Departure>),
    /// A caller who may not.
    Forbidden(Forbidden),
    /// The request's body.
    Body(BodyError),
    /// The upstream.
    Upstream(UpstreamError),
    /// A preflight from an origin that the route does not admit.
    Origin,
    /// Somebody asks about a request, and does not say what it is.
    Undescribed(Undescribed),
    /// A request that is only asked about has a header that would reach the app, and apps believe.
    Brought(HeaderName),
    /// A page of another site had a browser send something in its user's name.
    CrossSite,
    /// The session is not known here, and the store does not answer.
    StoreUnavailable,
    /// Too many requests for our own endpoints at once.
    Busy,
    /// A bug of ours, contained.
    Panicked,
}

impl Rejection {
    /// What the log and the metrics call it: the verdict, and the code of the problem or, for a
    /// credential, what the caller is not told.
    pub fn decision(&self, problem: &Problem) -> Decision {
        let verdict = match self {
            Self::Malformed(_) | Self::Body(_) | Self::Origin | Self::CrossSite => "refused",
            Self::Limited(_) => "limited",
            Self::Unrouted(Unrouted::NotFound | Unrouted::VerifyOnly | Unrouted::OwnEndpoint) => {
                "not_found"
            }
            Self::Unrouted(_) | Self::Undescribed(_) | Self::Brought(_) => "refused",
            Self::Unauthenticated(_) => "unauthenticated",
            Self::SignIn(_) => "redirect",
            Self::Forbidden(_) => "forbidden",
            Self::Upstream(_) => "upstream_failed",
            Self::StoreUnavailable | Self::Busy | Self::Panicked => "unavailable",
        };
        let reason = match self {
            Self::Unauthenticated(why) => why.label(),
            Self::SignIn(_) => Unauthenticated::Absent.label(),
            _ => problem.code,
        };
        Decision { verdict, reason }
    }

    /// The answer, except for what every answer carries.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Malformed(malformed) => of_malformed(*malformed),
            Self::Limited(limited) => of_limited(limited),
            Self::Unrouted(unrouted) => of_unrouted(unrouted),
            Self::Unauthenticated(why) => why.problem(),
            Self::SignIn(departure) => departure.problem(),
            Self::Forbidden(forbidden) => of_forbidden(forbidden),
            Self::Body(error) => of_body(*error),
            Self::Upstream(error) => of_upstream(*error),
            Self::Origin => Problem::new(
                StatusCode::FORBIDDEN,
                "origin_refused",
                "This route's cors does not admit the origin of the request.",
            ),
            Self::Undescribed(undescribed) => Problem::new(
                StatusCode::BAD_REQUEST,
                "not_described",
                undescribed.to_string(),
            ),
            Self::Brought(header) => Problem::new(
                StatusCode::BAD_REQUEST,
                "header_refused",
                format!(
                    "The app could take {header} for what the gateway says; the request must come \
                     without it."
                ),
            ),
            Self::CrossSite => Problem::cross_site(),
            Self::StoreUnavailable => Problem::store_unavailable(),
            Self::Busy => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "Too many requests for accounts are under way.",
            )
            .retry_after(1),
            Self::Panicked => Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal_error",
                "The gateway failed at this request; others are not affected.",
            ),
        }
    }
}

/// A refusal: what the caller would be told, and what the log would keep.
#[derive(Debug)]
pub struct Refused {
    /// The answer.
    pub problem: Problem,
    /// What became of the request.
    pub decision: Decision,
}

impl Refused {
    /// `route` is the request's, as far as that was found; `is_for` says whether the request is for the
    /// route's resource.
    pub fn new(
        rejection: &Rejection,
        route: Option<&Route>,
        is_for: impl FnOnce(&DescribedResource) -> bool,
    ) -> Self {
        let mut problem = rejection.problem();
        let may_challenge = matches!(
            rejection,
            Rejection::Unauthenticated(_) | Rejection::Forbidden(_)
        );
        if let Some(resource) = route.and_then(Route::resource)
            && may_challenge
            && is_for(resource)
        {
            resource.name_in(&mut problem);
        }
        let decision = rejection.decision(&problem);
        Self { problem, decision }
    }
}

impl From<Rejection> for Refused {
    /// Of a request that no route was found for.
    fn from(rejection: Rejection) -> Self {
        Self::new(&rejection, None, |_| false)
    }
}

fn of_malformed(malformed: Malformed) -> Problem {
    let (status, code) = match malformed {
        Malformed::Path(_) => (StatusCode::BAD_REQUEST, "path_refused"),
        Malformed::Host => (StatusCode::BAD_REQUEST, "host_refused"),
        Malformed::TransferEncoding => (StatusCode::BAD_REQUEST, "framing_refused"),
        Malformed::TargetTooLong => (StatusCode::URI_TOO_LONG, "target_too_long"),
        Malformed::TooManyHeaders => (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "too_many_headers",
        ),
        Malformed::TwoCredentials => (StatusCode::BAD_REQUEST, "two_credentials"),
        Malformed::NoHandshake(NoHandshake::Version) => {
            (StatusCode::UPGRADE_REQUIRED, "websocket_refused")
        }
        Malformed::NoHandshake(_) => (StatusCode::BAD_REQUEST, "websocket_refused"),
        Malformed::Method => (StatusCode::METHOD_NOT_ALLOWED, "method_refused"),
    };
    let problem = Problem::new(status, code, malformed.to_string());
    match malformed {
        Malformed::Method => with(
            problem,
            header::ALLOW,
            "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        ),
        // RFC 6455 §4.4 and RFC 9110 §15.5.22: what would be right, in headers.
        Malformed::NoHandshake(NoHandshake::Version) => {
            let problem = with(problem, header::SEC_WEBSOCKET_VERSION, "13");
            with(
                with(problem, header::UPGRADE, "websocket"),
                header::CONNECTION,
                "Upgrade",
            )
        }
        // Nothing behind a body whose end is in doubt is a request (SECURITY 3).
        Malformed::TransferEncoding => with(problem, header::CONNECTION, "close"),
        Malformed::Path(_)
        | Malformed::Host
        | Malformed::TargetTooLong
        | Malformed::TooManyHeaders
        | Malformed::TwoCredentials
        | Malformed::NoHandshake(
            NoHandshake::Request | NoHandshake::Key | NoHandshake::Protocol | NoHandshake::Unserved,
        ) => problem,
    }
}

fn of_limited(limited: &Limited) -> Problem {
    let Limited { rate, too_many } = limited;
    let seconds = too_many.retry_after_seconds;
    too_many.problem(format!(
        "Too many requests: {rate} are allowed. Try again in {seconds} s."
    ))
}

fn of_unrouted(unrouted: &Unrouted) -> Problem {
    let path = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "path_refused", detail);
    match unrouted {
        Unrouted::NotFound => Problem::new(
            StatusCode::NOT_FOUND,
            "no_route",
            "No route of this gateway serves this host and path.",
        ),
        Unrouted::MethodNotAllowed(allowed) => {
            let detail = format!("This path is served for {allowed} only.");
            let problem =
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
            with(problem, header::ALLOW, allowed)
        }
        Unrouted::VerifyOnly => Problem::new(
            StatusCode::NOT_FOUND,
            "verify_only",
            "This host and path are served by another server, which asks this gateway about its \
             requests; they are not served here.",
        ),
        Unrouted::OwnEndpoint => Problem::new(
            StatusCode::NOT_FOUND,
            "own_endpoint",
            "This path is the gateway's own: the proxy in front has to forward it to the gateway, \
             without asking.",
        ),
        Unrouted::Oddity(key) => path(format!(
            "The path has a spelling that apps read in different ways; the route would have to \
             allow it with path_allow = [\"{key}\"]."
        )),
        Unrouted::Ambiguous => {
            path("The path could be read as the path of another route.".to_owned())
        }
        Unrouted::Path(refusal) => path(refusal.to_string()),
    }
}

/// RFC 6750 §3.1 for scopes; roles are no matter of tokens and have no challenge.
fn of_forbidden(forbidden: &Forbidden) -> Problem {
    let refuse = |code, detail: String| Problem::new(StatusCode::FORBIDDEN, code, detail);
    const INSUFFICIENT: &str = "Bearer realm=\"portcullis\", error=\"insufficient_scope\"";
    match forbidden {
        Forbidden::Anonymous => Unauthenticated::Absent.problem(),
        Forbidden::Audience => Unauthenticated::FOR_ANOTHER.problem(),
        Forbidden::Scopes(scopes) => with(
            refuse(
                "insufficient_scope",
                format!("The access token needs these scopes: {scopes}."),
            ),
            header::WWW_AUTHENTICATE,
            format!("{INSUFFICIENT}, scope=\"{scopes}\""),
        ),
        Forbidden::Delegated => with(
            refuse(
                "insufficient_scope",
                "Only a sign-in of the user's own may pass here, neither a token of an app nor a personal one.".to_owned(),
            ),
            header::WWW_AUTHENTICATE,
            INSUFFICIENT,
        ),
        Forbidden::Roles => refuse(
            "insufficient_role",
            "The account has none of the roles that may pass here.".to_owned(),
        ),
        Forbidden::User => refuse(
            "user_not_admitted",
            "The account is none of those that may pass here.".to_owned(),
        ),
        Forbidden::Issuer => Unauthenticated::IssuerNotAdmitted.problem(),
        Forbidden::Address => refuse(
            "address_not_admitted",
            "Requests from this address may not pass here, whoever makes them.".to_owned(),
        ),
        Forbidden::Certificate => refuse(
            "client_certificate_required",
            "Only connections with a client certificate that is admitted here may pass.".to_owned(),
        ),
    }
}

fn of_body(error: BodyError) -> Problem {
    let (status, code, detail) = match error {
        BodyError::TooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "The request's body is larger than allowed here.",
        ),
        BodyError::Idle => (
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            "The request's body did not arrive in time.",
        ),
        BodyError::Ended => (
            StatusCode::UNAUTHORIZED,
            "session_ended",
            "The session was ended while the request's body was under way.",
        ),
        BodyError::Broken => (
            StatusCode::BAD_REQUEST,
            "body_broken",
            "The request's body broke off or is badly framed.",
        ),
    };
    Problem::new(status, code, detail)
}

/// Which side failed, and never where it is.
fn of_upstream(error: UpstreamError) -> Problem {
    match error {
        UpstreamError::Down => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "upstream_down",
            "The app behind this route is down.",
        )
        .retry_after(5),
        UpstreamError::Unreachable => Problem::new(
            StatusCode::BAD_GATEWAY,
            "upstream_unreachable",
            "The app behind this route cannot be reached.",
        ),
        UpstreamError::Invalid => Problem::new(
            StatusCode::BAD_GATEWAY,
            "upstream_invalid",
            "The app behind this route broke off or gave an answer that is not HTTP.",
        ),
        UpstreamError::Timeout => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "upstream_timeout",
            "The app behind this route did not answer in time.",
        ),
        UpstreamError::Busy => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "upstream_busy",
            "The app behind this route has too many requests under way.",
        )
        .retry_after(1),
    }
}

/// Every text here is made of legal bytes: scopes, methods and names were parsed. One that were
/// not would be left out.
fn with(problem: Problem, name: HeaderName, text: impl Display) -> Problem {
    match HeaderValue::try_from(text.to_string()) {
        Ok(value) => problem.with_header(name, value),
        Err(_) => problem,
    }
}

macro_rules! rejection_from {
    ($($variant:ident),* $(,)?) => {
        $(impl From<$variant> for Rejection {
            fn from(cause: $variant) -> Self {
                Self::$variant(cause)
            }
        })*
    };
}

rejection_from!(Malformed, Limited, Unrouted, Undescribed);

impl From<Unauthenticated> for Rejection {
    /// A token that does not pass here whatever it says is no credential that is not good.
    fn from(why: Unauthenticated) -> Self {
        match why {
            Unauthenticated::IssuerNotAdmitted => Self::Forbidden(Forbidden::Issuer),
            Unauthenticated::Absent
            | Unauthenticated::Refused(_)
            | Unauthenticated::KeysWanted(_)
            | Unauthenticated::IssuerUnavailable => Self::Unauthenticated(why),
        }
    }
}

impl From<Forbidden> for Rejection {
    /// A caller who may not because nobody said who it is is asked to say; and a token for another resource
    /// is none here (RFC 6750 §3.1, RFC 9068 §4).
    fn from(forbidden: Forbidden) -> Self {
        match forbidden {
            Forbidden::Anonymous => Self::Unauthenticated(Unauthenticated::Absent),
            Forbidden::Audience => Self::Unauthenticated(Unauthenticated::FOR_ANOTHER),
            Forbidden::Scopes(_)
            | Forbidden::Roles
            | Forbidden::User
            | Forbidden::Issuer
            | Forbidden::Address
            | Forbidden::Certificate
            | Forbidden::Delegated => Self::Forbidden(forbidden),
        }
    }
}

impl From<BodyError> for Rejection {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl From<UpstreamError> for Rejection {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(error)
    }
}
