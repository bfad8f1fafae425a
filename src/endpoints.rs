//! Our own endpoints: the table of all of them, and what they have in common.
//!
//! They run on the ordinary runtime, behind the door of the path. They may take their time; they
//! must never decide about a request to an app.

use std::sync::Arc;

use axum::Router;
use axum::extract::Extension;
use axum::routing::MethodRouter;
use axum::routing::delete;
use axum::routing::get;
use axum::routing::post;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::header;

use crate::account;
use crate::account::Accounts;
use crate::config::OWN_ENDPOINTS;
use crate::intake::Origin;
use crate::intake::Refusal;
use crate::oauth;
use crate::oauth::OAuth;
use crate::problem::Problem;

/// Everything under the prefix, and what stands at the root whatever the prefix.
pub fn router(prefix: &str, accounts: Arc<Accounts>, oauth: Arc<OAuth>) -> Router {
    let named = OWN_ENDPOINTS.into_iter().filter_map(|name| {
        let service = match name {
            "register" => only("POST", post(account::register::register)),
            "login" => only("POST", post(account::login::login)),
            "refresh" => only("POST", post(account::refresh::refresh)),
            "logout" => only("POST", post(account::logout::logout)),
            "me" => only("GET, HEAD", get(account::me::me)),
            "password" => only("POST", post(account::password::change)),
            "sessions" => only("GET, HEAD", get(account::sessions::list)),
            "sessions/{id}" => only("DELETE", delete(account::sessions::end)),
            _ => return None,
        };
        Some((name, service))
    });
    let mut router = Router::new();
    for (name, service) in named {
        router = router.route(&format!("{prefix}/{name}"), service);
    }
    let jwks = only("GET, HEAD", get(account::jwks::jwks));
    router
        .route("/.well-known/jwks.json", jwks)
        .with_state(accounts)
        .merge(for_clients(prefix, oauth))
        .fallback(not_found)
}

/// What OAuth clients ask.
fn for_clients(prefix: &str, oauth: Arc<OAuth>) -> Router {
    let metadata = only("GET, HEAD", get(oauth::metadata::metadata));
    let mut router = Router::new().route(METADATA, metadata);
    for name in OWN_ENDPOINTS {
        let service = match name {
            "oauth/token" => post(oauth::token::token),
            "oauth/revoke" => post(oauth::revoke::revoke),
            "oauth/introspect" => post(oauth::introspect::introspect),
            _ => continue,
        };
        router = router.route(&format!("{prefix}/{name}"), only("POST", service));
    }
    router.with_state(oauth)
}

const METADATA: &str = "/.well-known/oauth-authorization-server";

/// Refuses every other method than those that the service has.
fn only<S: Clone + Send + Sync + 'static>(
    allowed: &'static str,
    service: MethodRouter<S>,
) -> MethodRouter<S> {
    let refuse = async move |method: Method, Extension(origin): Extension<Origin>| {
        let detail = format!("This endpoint is served for {allowed}, not for {method}.");
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
            .with_header(header::ALLOW, HeaderValue::from_static(allowed));
        Refusal::new(&origin, problem)
    };
    service.fallback(refuse)
}

async fn not_found(Extension(origin): Extension<Origin>) -> Refusal {
    let detail = "There is no such endpoint of the gateway.";
    Refusal::new(
        &origin,
        Problem::new(StatusCode::NOT_FOUND, "no_endpoint", detail),
    )
}
