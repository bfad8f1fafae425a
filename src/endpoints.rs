//! Our own endpoints: the table of all of them, and what they have in common.
//!
//! They run on the ordinary runtime, behind the door of the path. They may take their time; they
//! must never decide about a request to an app.

use std::sync::Arc;

use axum::Router;
use axum::extract::Extension;
use axum::extract::Request;
use axum::extract::State;
use axum::response::IntoResponse as _;
use axum::routing::MethodRouter;
use axum::routing::delete;
use axum::routing::get;
use axum::routing::post;
use axum::routing::post_service;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::Uri;
use http::header;
use tower::ServiceExt as _;
use tower::service_fn;

use crate::account;
use crate::account::Accounts;
use crate::config::Gateway;
use crate::config::OWN_ENDPOINTS;
use crate::domain::PROTECTED_RESOURCE;
use crate::intake::Fields;
use crate::intake::Origin;
use crate::intake::Refusal;
use crate::oauth;
use crate::oauth::OAuth;
use crate::page::Look;
use crate::portal;
use crate::portal::Portal;
use crate::problem::Problem;

/// What `Allow` says of an endpoint (RFC 9110 §10.2.1); what answers GET answers HEAD.
const GET: &str = "GET, HEAD";
const POST: &str = "POST";
const GET_POST: &str = "GET, HEAD, POST";

/// Everything under the prefix, and what stands at the root whatever the prefix.
pub fn router(
    gateway: &Gateway,
    accounts: &Arc<Accounts>,
    oauth: &Arc<OAuth>,
    portal: &Arc<Portal>,
) -> Router {
    let prefix = &gateway.prefix;
    let of_accounts = |service: MethodRouter<_>| service.with_state(Arc::clone(accounts));
    let for_clients = |service: MethodRouter<_>| service.with_state(Arc::clone(oauth));
    let pages = |service: MethodRouter<_>| service.with_state(Arc::clone(portal));
    let mut router = Router::new();
    for name in OWN_ENDPOINTS {
        let (allowed, service) = match name {
            "register" => (
                GET_POST,
                pages(get(portal::register::show)).merge(posted(
                    pages(post(portal::register::post)),
                    of_accounts(post(account::register::register)),
                )),
            ),
            "login" => (
                GET_POST,
                pages(get(portal::sign_in::show)).merge(posted(
                    pages(post(portal::sign_in::post)),
                    of_accounts(post(account::login::login)),
                )),
            ),
            "refresh" => (POST, of_accounts(post(account::refresh::refresh))),
            "logout" => (
                GET_POST,
                pages(get(portal::sign_out::show)).merge(posted(
                    pages(post(portal::sign_out::post)),
                    of_accounts(post(account::logout::logout)),
                )),
            ),
            "signed-out" => (GET, pages(get(portal::sign_out::done))),
            "me" => (GET, of_accounts(get(account::me::me))),
            "account" => (GET, pages(get(portal::account::show))),
            "password" => (
                POST,
                posted(
                    pages(post(portal::account::change_password)),
                    of_accounts(post(account::password::change)),
                ),
            ),
            "sessions" => (
                GET_POST,
                of_accounts(get(account::sessions::list))
                    .merge(pages(post(portal::account::end_other_sessions))),
            ),
            "sessions/{id}" => (
                "DELETE, POST",
                of_accounts(delete(account::sessions::end))
                    .merge(pages(post(portal::account::end_session))),
            ),
            "tokens" => (
                GET_POST,
                of_accounts(get(account::tokens::list)).merge(posted(
                    pages(post(portal::tokens::make)),
                    of_accounts(post(account::tokens::make)),
                )),
            ),
            "tokens/{id}" => (
                "DELETE, POST",
                of_accounts(delete(account::tokens::revoke))
                    .merge(pages(post(portal::tokens::revoke))),
            ),
            // HEAD would spend the ticket.
            "session/accept" => ("GET", pages(get(portal::accept::accept))),
            "provider/{id}" => (
                GET_POST,
                pages(get(portal::provider::begin).post(portal::provider::connect)),
            ),
            // HEAD would spend the code.
            "provider/{id}/callback" => ("GET", pages(get(portal::provider::callback))),
            "provider/{id}/link" => (
                GET_POST,
                pages(get(portal::provider::show_link).post(portal::provider::prove)),
            ),
            "provider/{id}/disconnect" => (POST, pages(post(portal::provider::disconnect))),
            "connections/{client}" => (POST, pages(post(portal::account::disconnect))),
            "oauth/authorize" => (
                GET_POST,
                for_clients(get(oauth::authorize::show).post(oauth::authorize::post)),
            ),
            "oauth/consent" => (POST, for_clients(post(oauth::authorize::consent))),
            "oauth/device_authorization" => {
                (POST, for_clients(post(oauth::device_authorization::issue)))
            }
            "oauth/device" => (
                GET_POST,
                for_clients(get(oauth::device::show).post(oauth::device::post)),
            ),
            "oauth/token" => (POST, for_clients(post(oauth::token::token))),
            "oauth/revoke" => (POST, for_clients(post(oauth::revoke::revoke))),
            "oauth/introspect" => (POST, for_clients(post(oauth::introspect::introspect))),
            "oauth/userinfo" => (
                GET_POST,
                for_clients(get(oauth::userinfo::userinfo).post(oauth::userinfo::userinfo)),
            ),
            "oauth/logout" => (
                GET_POST,
                for_clients(get(oauth::logout::show).post(oauth::logout::post)),
            ),
            "oauth/logout/confirm" => (POST, for_clients(post(oauth::logout::confirm))),
            // `verify` is answered before there is an endpoint to lead to.
            _ => continue,
        };
        router = router.route(&format!("{prefix}/{name}"), only(allowed, service));
    }
    let jwks = only(GET, of_accounts(get(account::jwks::jwks)));
    let metadata = || only(GET, for_clients(get(oauth::metadata::metadata)));
    let resource = only(GET, for_clients(get(oauth::resource::metadata)));
    router
        .route("/.well-known/jwks.json", jwks)
        .route("/.well-known/oauth-authorization-server", metadata())
        .route("/.well-known/openid-configuration", metadata())
        .route(PROTECTED_RESOURCE, resource.clone())
        .route(&format!("{PROTECTED_RESOURCE}/{{*path}}"), resource)
        .merge(assets(gateway, Arc::clone(&portal.look)))
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
        .route(&path, only(GET, get(file)))
        .with_state(look)
}

/// What is posted as a form comes from a page, everything else from a program; and so does what brings a token,
/// which no form can.
fn posted(form: MethodRouter, program: MethodRouter) -> MethodRouter {
    post_service(service_fn(move |request: Request| {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.as_bytes().split(|byte| *byte == b';').next());
        let is_form = kind.is_some_and(|kind| {
            let form = Fields::FORM.as_bytes();
            kind.trim_ascii().eq_ignore_ascii_case(form)
        });
        let is_form = is_form && !request.headers().contains_key(header::AUTHORIZATION);
        let service = if is_form { &form } else { &program };
        service.clone().oneshot(request)
    }))
}

/// Refuses every other method than those that the service has; HEAD as well, unless it is named: the router
/// would take it for GET, with all that this does.
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
    let service = if allowed.contains("HEAD") {
        service
    } else {
        service.head(refuse)
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
