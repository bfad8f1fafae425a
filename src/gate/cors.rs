//! Cross-origin reading (the Fetch standard, §3.2): which origins may read a route's answers.
//!
//! A preflight is answered here and reaches nothing; refusals carry the headers too, so that a
//! single-page app can read why it was refused.

use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::header;

use crate::config::Cors;

/// The origins of one route, ready to compare.
#[derive(Debug)]
pub struct CorsPolicy {
    origins: Vec<HeaderValue>,
    any: bool,
    credentials: bool,
}

impl CorsPolicy {
    /// Prepares a policy.
    pub fn new(cors: &Cors) -> Self {
        Self {
            any: cors.origins.iter().any(|origin| origin == "*"),
            origins: cors
                .origins
                .iter()
                .filter_map(|origin| HeaderValue::from_str(origin).ok())
                .collect(),
            credentials: cors.credentials,
        }
    }

    /// Whether it admits this origin.
    pub fn admits(&self, origin: &HeaderValue) -> bool {
        self.any || self.origins.contains(origin)
    }

    /// Whether it admits this origin by name, with the cookies of its user.
    pub fn admits_with_credentials(&self, origin: &HeaderValue) -> bool {
        self.credentials && self.origins.contains(origin)
    }

    /// Says on an answer who may read it, in place of what the app says of it. `Vary` stands there
    /// whoever asked: a cache must not show one origin's answer to another.
    pub fn apply(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        headers.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
        if !self.any {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = origin.filter(|origin| self.admits(origin)) else {
            return;
        };
        let allowed = if self.any {
            HeaderValue::from_static("*")
        } else {
            origin.clone()
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.credentials {
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        // Beside what the app itself exposes.
        headers.append(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(
                "WWW-Authenticate, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id",
            ),
        );
    }

    /// What a preflight's answer says beside [`CorsPolicy::apply`]: the method and the
    /// request headers that were asked for.
    pub fn preflight(methods: &HeaderValue, asked: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
        if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        headers.insert(
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from_static("600"),
        );
        headers
    }
}

/// What a preflight asks: `Origin` and the method it wants to use. `None` for any other request.
pub fn asked<'a>(method: &Method, headers: &'a HeaderMap) -> Option<(&'a HeaderValue, Method)> {
    if *method != Method::OPTIONS {
        return None;
    }
    let origin = headers.get(header::ORIGIN)?;
    let wanted = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    Some((origin, Method::from_bytes(wanted.as_bytes()).ok()?))
}
