//! What our own endpoints are given, and how they refuse.
//!
//! The only facts that an endpoint has beside its request are in [`Origin`]. This room must never
//! know what an endpoint does.

mod fields;
mod json;
mod refusal;
mod sent;

use std::net::IpAddr;
use std::net::Ipv4Addr;

use http::HeaderName;
use http::HeaderValue;
use http::header;

use crate::domain::SessionId;
use crate::token::cookie::OwnCookies;

pub use fields::Fields;
pub use fields::NoFields;
pub use json::Json;
pub use json::JsonOrNothing;
pub use refusal::Refusal;
pub use sent::Sent;

/// Where a request for one of our own endpoints came from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The address held responsible.
    pub address: IpAddr,
    /// The request's id.
    pub request_id: String,
    /// The host it is for: lower case, without a port.
    pub host: String,
    /// From which site a browser sent it.
    pub site: Site,
    /// Which session its cookie names. The cookie is genuine; the session may be dead.
    pub session: Option<SessionId>,
    /// The cookies of ours that came along, the session's among them.
    pub cookies: OwnCookies,
}

/// From where a browser sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// A page of the very origin that it is for, or the person's own hand.
    Same,
    /// A page of another.
    Cross,
    /// Not said: by no browser of today.
    Unsaid,
}

impl Origin {
    /// Of a request that did not come through the door; there is none.
    pub fn unknown() -> Self {
        Self {
            address: Ipv4Addr::UNSPECIFIED.into(),
            request_id: String::new(),
            host: String::new(),
            site: Site::Cross,
            session: None,
            cookies: OwnCookies::default(),
        }
    }
}

/// Of an answer with a token or about one: it is for no cache (RFC 6749 §5.1).
pub fn no_store() -> [(HeaderName, HeaderValue); 2] {
    [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::PRAGMA, HeaderValue::from_static("no-cache")),
    ]
}
