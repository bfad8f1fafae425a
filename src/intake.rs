//! What our own endpoints are given, and how they refuse.
//!
//! The only facts that an endpoint has beside its request are in [`Origin`]. This room must never
//! know what an endpoint does.

mod json;
mod refusal;
mod sent;

use std::net::IpAddr;
use std::net::Ipv4Addr;

use http::HeaderName;
use http::HeaderValue;
use http::header;

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
}

impl Origin {
    /// Of a request that did not come through the door; there is none.
    pub fn unknown() -> Self {
        Self {
            address: Ipv4Addr::UNSPECIFIED.into(),
            request_id: String::new(),
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
