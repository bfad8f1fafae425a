//! `/.well-known/oauth-authorization-server` (RFC 8414): where everything is, and what there is.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderValue;
use http::header;
use serde_json::Value;

use crate::config::Config;
use crate::oauth::OAuth;

/// The document, made once.
#[derive(Debug)]
pub(super) struct Places {
    issuer: String,
    document: Value,
}

impl Places {
    pub(super) fn new(config: &Config) -> Self {
        let (issuer, prefix) = (config.gateway.issuer(), &config.gateway.prefix);
        let at = |name: &str| format!("{issuer}{prefix}/oauth/{name}");
        let scopes = config.scopes.iter().map(|(scope, _)| scope.as_str());
        let scopes: Vec<_> = scopes.collect();
        let methods = ["client_secret_basic", "client_secret_post"];
        let document = serde_json::json!({
            "issuer": issuer,
            "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
            "token_endpoint": at("token"),
            "token_endpoint_auth_methods_supported": methods,
            "revocation_endpoint": at("revoke"),
            "revocation_endpoint_auth_methods_supported": methods,
            "introspection_endpoint": at("introspect"),
            "introspection_endpoint_auth_methods_supported": methods,
            "grant_types_supported": ["client_credentials"],
            // Required (RFC 8414 §2); there is no authorization endpoint yet.
            "response_types_supported": [],
            "scopes_supported": scopes,
        });
        Self {
            issuer: issuer.to_owned(),
            document,
        }
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }
}

/// The endpoint.
pub async fn metadata(State(oauth): State<Arc<OAuth>>) -> Response {
    let cache = HeaderValue::from_static("public, max-age=300");
    let headers = [(header::CACHE_CONTROL, cache)];
    (headers, axum::Json(oauth.places.document.clone())).into_response()
}
