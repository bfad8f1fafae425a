//! Our own endpoints: the table of all of them, and what they have in common.
//!
//! They run on the ordinary runtime, behind the door of the path. They may take their time; they
//! must never decide about a request to an app.

mod answer;
mod json;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::MethodRouter;
use axum::routing::get;
use axum::routing::post;
use http::StatusCode;
use tower::ServiceBuilder;
use tower_http::timeout::TimeoutLayer;

use crate::account;
use crate::account::Accounts;
use crate::config::OWN_ENDPOINTS;

pub use answer::Refusal;
pub use json::Json;

/// The largest body that an endpoint of ours reads.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// No endpoint takes longer; a caller who waits longer has given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Everything under the prefix, and what stands at the root whatever the prefix.
pub fn router(prefix: &str, accounts: Arc<Accounts>) -> Router {
    let named = OWN_ENDPOINTS.into_iter().filter_map(|name| {
        let service: MethodRouter<Arc<Accounts>> = match name {
            "register" => post(account::register::register),
            "login" => post(account::login::login),
            "refresh" => post(account::refresh::refresh),
            "logout" => post(account::logout::logout),
            "me" => get(account::me::me),
            "password" => post(account::password::change),
            _ => return None,
        };
        Some((name, service))
    });
    let mut router = Router::new();
    for (name, service) in named {
        let service = service.fallback(answer::method_not_allowed);
        router = router.route(&format!("{prefix}/{name}"), service);
    }
    let jwks = get(account::jwks::jwks).fallback(answer::method_not_allowed);
    router
        .route("/.well-known/jwks.json", jwks)
        .fallback(answer::not_found)
        .layer(
            ServiceBuilder::new()
                .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
                .layer(TimeoutLayer::with_status_code(
                    StatusCode::SERVICE_UNAVAILABLE,
                    ANSWER_WITHIN,
                )),
        )
        .with_state(accounts)
}
