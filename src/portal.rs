//! Pages as people meet them: sign in, register, the account, sign out.
//!
//! Each page is a file: what was asked, what the rooms below say to it, which view answers. Whoever signs in
//! goes on to where they were (`return_to`). It must never act on a form that is not our own (see
//! [`Posted`]), nor send a browser to a place that is not of this house (see [`ReturnTo`]).

pub mod accept;
pub mod account;
mod csrf;
mod declined;
mod device_name;
mod posted;
pub mod register;
mod return_to;
pub mod sign_in;
pub mod sign_out;
mod visit;

use std::sync::Arc;

use axum::response::IntoResponse as _;
use axum::response::Response;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use url::Url;

use crate::account::Accounts;
use crate::config::Gateway;
use crate::config::OwnHosts;
use crate::page::Look;
use crate::portal::csrf::FormKey;

pub use declined::Declined;
pub use posted::Posted;
pub use return_to::ReturnTo;
pub use visit::Visit;

/// What pages stand on.
#[derive(Debug)]
pub struct Portal {
    /// The accounts.
    pub accounts: Arc<Accounts>,
    /// How pages look.
    pub look: Arc<Look>,
    forms: FormKey,
    hosts: Arc<OwnHosts>,
    public_url: Url,
    prefix: String,
}

impl Portal {
    /// Pages live on `public_url`, below the prefix; whoever signs in there may go on to all hosts of ours.
    pub fn new(
        accounts: Arc<Accounts>,
        look: Arc<Look>,
        gateway: &Gateway,
        hosts: Arc<OwnHosts>,
    ) -> Self {
        Self {
            forms: FormKey::new(&accounts.vault),
            hosts,
            accounts,
            look,
            public_url: gateway.public_url.clone(),
            prefix: gateway.prefix.clone(),
        }
    }

    /// The path of an endpoint of ours.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    /// `public_url`: where pages live.
    pub fn public_url(&self) -> &Url {
        &self.public_url
    }

    /// The same target on `public_url`.
    fn url_of(&self, target: &str) -> String {
        self.hosts.public(target)
    }

    /// Whether pages live on this host: lower case, without a port.
    fn is_at(&self, host: &str) -> bool {
        self.hosts.is_public(host)
    }
}

/// 303: whatever was posted is not posted again there (SECURITY 40).
pub fn see_other(url: &str) -> Response {
    let location = HeaderValue::try_from(url).unwrap_or(HeaderValue::from_static("/"));
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}
