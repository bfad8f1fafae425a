//! Whether a browser sends a request from the site itself: what a cookie alone does not say.
//!
//! A cookie comes along with whatever page makes the browser send something. `Origin` (RFC 6454 §7)
//! says which page that was; where there is none, `Sec-Fetch-Site` (Fetch Metadata §2.4) does.

use http::HeaderValue;
use http::Method;
use http::header;

use crate::gate::inbound::Inbound;
use crate::intake::Site;

/// From where a request was sent.
pub(super) fn site_of<B>(inbound: &Inbound<B>) -> Site {
    let headers = inbound.headers();
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (Some(origin), None) if is_of(inbound, origin) => Site::Same,
        (Some(_), _) => Site::Cross,
        (None, _) => match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
            None => Site::Unsaid,
            Some(b"same-origin" | b"none") => Site::Same,
            Some(_) => Site::Cross,
        },
    }
}

/// Whether what is asked for may change something (RFC 9110 §9.2.1).
pub(super) fn is_unsafe(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn is_of<B>(inbound: &Inbound<B>, origin: &HeaderValue) -> bool {
    let (scheme, host) = (inbound.scheme(), inbound.host());
    let usual = if scheme == "https" { 443 } else { 80 };
    let expected = match host.port() {
        Some(port) if port != usual => format!("{scheme}://{}:{port}", host.name()),
        _ => format!("{scheme}://{}", host.name()),
    };
    origin.as_bytes() == expected.as_bytes()
}
