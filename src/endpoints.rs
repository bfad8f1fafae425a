//! Our own endpoints: the table of all of them, and what they have in common.
//!
//! They run on the ordinary runtime, behind the door of the path. They may take their time; they
//! must never decide about a request to an app.

use std::sync::Arc;

use axum::Router;
use axum::extract::Extension;
use axum::extract::State;
use axum::response::IntoResponse as _;
use axum::routing::MethodRouter;
use axum::routing::delete;
use axum::routing::get;
use axum::routing::post;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::Uri;
use http::header;

use crate::account;
use crate::account::Accounts;
use crate::config::Gateway;
use crate::config::OWN_ENDPOINTS;
use crate::domain::PROTECTED_RESOURCE;
use crate::intake::Origin;
use crate::intake::Refusal;
use crate::oauth;
use crate::oauth::OAuth;
use crate::page::Look;
use crate::problem::Problem;

/// Everything under the prefix, and what stands at the root whatever the prefix.
pub fn router(
    gateway: &Gateway,
    accounts: &Arc<Accounts>,
    oauth: Arc<OAuth>,
    look: Arc<Look>,
) -> Router {
    let prefix = &gateway.prefix;
    let of_accounts = |allowed, service| only(allowed, service).with_state(Arc::clone(accounts));
    let for_clients = |service| only("POST", service).with_state(Arc::clone(&oauth));
    let mut router = Router::new();
    for name in OWN_ENDPOINTS {
        let service = match name {
            "register" => of_accounts("POST", post(account::register::register)),
            "login" => of_accounts("POST", post(account::login::login)),
            "refresh" => of_accounts("POST", post(account::refresh::refresh)),
            "logout" => of_accounts("POST", post(account::logout::logout)),
            "me" => of_accounts("GET, HEAD", get(account::me::me)),
            "password" => of_accounts("POST", post(account::password::change)),
            "sessions" => of_accounts("GET, HEAD", get(account::sessions::list)),
            "sessions/{id}" => of_accounts("DELETE", delete(account::sessions::end)),
            "oauth/token" => for_clients(post(oauth::token::token)),
            "oauth/revoke" => for_clients(post(oauth::revoke::revoke)),
            "oauth/introspect" => for_clients(post(oauth::introspect::introspect)),
            _ => continue,
        };
        router = router.route(&format!("{prefix}/{name}"), service);
    }
    let jwks = of_accounts("GET, HEAD", get(account::jwks::jwks));
    let metadata = only("GET, HEAD", get(oauth::metadata::metadata));
    let metadata = metadata.with_state(Arc::clone(&oauth));
    let resource = only("GET, HEAD", get(oauth::resource::metadata)).with_state(oauth);
    router
        .route("/.well-known/jwks.json", jwks)
        .route("/.well-known/oauth-authorization-server", metadata)
        .route(PROTECTED_RESOURCE, resource.clone())
        .route(&format!("{PROTECTED_RESOURCE}/{{*path}}"), resource)
        .merge(assets(gateway, look))
        .fallback(not_found)
}

/// The files that pages need. Anybody may have them.
fn assets(gateway: &Gateway, look: Arc<Look>) -> Router {
    let path = format!("{}/{{name}}", gateway.assets());
    let file = async |State(look): State<Arc<Look>>,
                      Extension(origin): Extension<Origin>,
                      uri: Uri| match look.asset(uri.path()) {
        Some(asset) => asset.answer(),
        None => not_found(Extension(origin)).await.into_response(),
    };
    Router::new()
        .route(&path, only("GET, HEAD", get(file)))
        .with_state(look)
}

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
