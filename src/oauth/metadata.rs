//! `/.well-known/oauth-authorization-server` (RFC 8414) and `/.well-known/openid-configuration` (OpenID
//! Connect Discovery §3): where everything is, and what there is. One document (SECURITY 45).

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderValue;
use http::header;
use serde_json::Value;

use crate::config::Algorithm;
use crate::config::Config;
use crate::domain::Grant;
use crate::domain::Scope;
use crate::oauth::OAuth;
use crate::token::id_token::PersonClaims;

/// The document, made once.
#[derive(Debug)]
pub(super) struct Places {
    issuer: String,
    device_page: String,
    document: Value,
}

impl Places {
    pub(super) fn new(config: &Config) -> Self {
        let (issuer, prefix) = (config.gateway.issuer(), &config.gateway.prefix);
        let at = |name: &str| format!("{issuer}{prefix}/oauth/{name}");
        let built_in = Scope::BUILT_IN.map(|(scope, _)| scope);
        let declared = config.scopes.iter().map(|(scope, _)| scope.as_str());
        let declared = declared.filter(|scope| !built_in.contains(scope));
        let scopes: Vec<_> = built_in.into_iter().chain(declared).collect();
        let of_tokens = ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce"];
        let of_sessions = ["acr", "amr", "at_hash", "sid"];
        let claims = [&of_tokens[..], &of_sessions, &PersonClaims::NAMES].concat();
        let secrets = ["client_secret_basic", "client_secret_post"];
        let any = ["client_secret_basic", "client_secret_post", "none"];
        let algorithm = match config.tokens.algorithm {
            Algorithm::Es256 => "ES256",
            Algorithm::EdDsa => "EdDSA",
        };
        let document = serde_json::json!({
            "issuer": issuer,
            "authorization_endpoint": at("authorize"),
            "token_endpoint": at("token"),
            "userinfo_endpoint": at("userinfo"),
            "revocation_endpoint": at("revoke"),
            "introspection_endpoint": at("introspect"),
            "device_authorization_endpoint": at("device_authorization"),
            "end_session_endpoint": at("logout"),
            "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
            "scopes_supported": scopes,
            "claims_supported": claims,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": Grant::ALL.map(Grant::grant_type),
            "prompt_values_supported": ["none", "login", "consent", "select_account"],
            "acr_values_supported": ["1"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [algorithm],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": any,
            "revocation_endpoint_auth_methods_supported": any,
            "introspection_endpoint_auth_methods_supported": secrets,
            "authorization_response_iss_parameter_supported": true,
            "claims_parameter_supported": false,
            "request_parameter_supported": false,
            "request_uri_parameter_supported": false,
        });
        Self {
            issuer: issuer.to_owned(),
            device_page: at("device"),
            document,
        }
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where people type what their device shows.
    pub(super) fn device_page(&self) -> &str {
        &self.device_page
    }
}

/// The endpoint.
pub async fn metadata(State(oauth): State<Arc<OAuth>>) -> Response {
    let cache = HeaderValue::from_static("public, max-age=300");
    let headers = [(header::CACHE_CONTROL, cache)];
    (headers, axum::Json(oauth.places.document.clone())).into_response()
}
