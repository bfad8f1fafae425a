//! Resources: for which of them a client may ask (RFC 8707), and how each describes itself (RFC 9728).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::Extension;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderValue;
use http::StatusCode;
use http::Uri;
use http::header;
use serde_json::Value;
use url::Url;

use crate::config::Config;
use crate::domain::Client;
use crate::domain::PROTECTED_RESOURCE;
use crate::domain::Resource;
use crate::domain::Scope;
use crate::intake::Origin;
use crate::intake::Refusal;
use crate::oauth::OAuth;
use crate::oauth::error::OAuthError;
use crate::page::App;
use crate::problem::Problem;

impl OAuth {
    /// What a token is for whose client sends this `resource` (RFC 8707 §2): none is the gateway. The
    /// parameter may stand there once only, because a token that is for two resources is one that each
    /// can use on the other.
    ///
    /// # Errors
    ///
    /// `invalid_target` where the client may not ask for it, or there is no such resource: the same words
    /// for both.
    pub(super) fn resource(
        &self,
        client: &Client,
        asked: Option<&str>,
    ) -> Result<Option<Resource>, OAuthError> {
        let Some(asked) = asked else {
            return Ok(None);
        };
        let found = self.resources.find(asked, &client.resources);
        found.map_err(|_| {
            OAuthError::InvalidTarget(format!(
                "This client can ask for a token for {} or for the address of one of the APIs behind it.",
                self.resources.gateway
            ))
        })
    }

    /// Where people are told that a token is to be used, if that is not behind the gateway: the host of the
    /// resource, and the whole name of one that is no address.
    pub(super) fn used_at(&self, audience: Option<&Resource>) -> Option<String> {
        let is_behind = |resource: &&Resource| self.resources.of_routes.contains(resource);
        let outside = audience.filter(|resource| !is_behind(resource))?;
        let url = Url::parse(outside.as_str()).ok();
        let address = url.filter(|url| matches!(url.scheme(), "https" | "http"));
        Some(address.map_or_else(|| outside.to_string(), |url| App::place(&url)))
    }
}

/// The metadata of all resources, by host and path, made once.
#[derive(Debug)]
pub(super) struct Documents(BTreeMap<(String, String), Value>);

impl Documents {
    /// Of the gateway and of each `audience` that is an address.
    pub(super) fn new(config: &Config) -> Self {
        let resources = config.resources();
        let gateway = [resources.gateway].into_iter();
        let documents = gateway.chain(resources.of_routes).filter_map(|resource| {
            let place = resource.place()?;
            Some(((place.host, place.path), document(config, &resource)))
        });
        Self(documents.collect())
    }

    fn find(&self, host: &str, path: &str) -> Option<&Value> {
        let key = (host.to_owned(), path.to_owned());
        self.0.get(&key)
    }
}

/// RFC 9728 §2. Its routes are those of this `audience`, and of the gateway all: who has its token passes
/// any, as far as the rest of the token goes.
fn document(config: &Config, resource: &Resource) -> Value {
    let is_gateway = *resource == config.gateway.resource();
    let routes = config.routes.iter();
    let routes = routes.filter(|route| is_gateway || route.audience.as_ref() == Some(resource));
    let mut scopes: Vec<_> = routes.flat_map(|route| route.scopes.iter()).collect();
    scopes.sort_unstable();
    scopes.dedup();
    let mut document = serde_json::json!({
        "resource": resource.as_str(),
        "authorization_servers": [config.gateway.issuer()],
        "bearer_methods_supported": ["header"],
    });
    if let Some(members) = document.as_object_mut()
        && !scopes.is_empty()
    {
        let scopes = scopes.into_iter().map(Scope::as_str).collect();
        members.insert("scopes_supported".to_owned(), scopes);
    }
    document
}

/// `/.well-known/oauth-protected-resource`, and below it by the path of a resource (RFC 9728 §3.1): on the
/// resource's own host alone, because nobody may believe it anywhere else (RFC 9728 §3.3).
///
/// # Errors
///
/// 404 where there is no such resource on this host.
pub async fn metadata(
    State(oauth): State<Arc<OAuth>>,
    Extension(origin): Extension<Origin>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let path = uri.path().strip_prefix(PROTECTED_RESOURCE);
    let found = path.and_then(|path| oauth.documents.find(&origin.host, path));
    let document = found.ok_or_else(|| {
        let detail = "There is no such resource on this host.";
        let problem = Problem::new(StatusCode::NOT_FOUND, "no_endpoint", detail);
        Refusal::new(&origin, problem)
    })?;
    let cache = HeaderValue::from_static("public, max-age=300");
    let headers = [(header::CACHE_CONTROL, cache)];
    Ok((headers, axum::Json(document.clone())).into_response())
}
