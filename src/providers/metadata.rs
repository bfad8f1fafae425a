//! What a provider says of itself (OpenID Connect Discovery §3).

use serde_json::Value;
use url::Url;

use crate::providers::NoProvider;

/// Where its endpoints are, and what they expect.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) userinfo_endpoint: Option<Url>,
    pub(super) jwks_uri: Url,
    pub(super) authentication: ClientAuthentication,
    /// Every answer says whose it is (RFC 9207 §3).
    pub(super) says_iss: bool,
}

/// How a client shows its secret (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientAuthentication {
    Basic,
    Post,
}

impl Metadata {
    pub(super) fn read(issuer: &str, document: &Value) -> Result<Self, NoProvider> {
        let text = |name| document.get(name).and_then(Value::as_str);
        if text("issuer") != Some(issuer) {
            return Err(NoProvider::OtherIssuer);
        }
        // Nobody far away sends us, or a browser, to what listens on this machine alone.
        let is_secure = |url: &Url| url.scheme() == "https" || issuer.starts_with("http://");
        let address = |name| {
            let url = text(name).and_then(|url| Url::parse(url).ok());
            let url = url.filter(|url| url.has_host() && is_secure(url));
            url.ok_or(NoProvider::NoAddress(name))
        };
        let userinfo = "userinfo_endpoint";
        Ok(Self {
            authorization_endpoint: address("authorization_endpoint")?,
            token_endpoint: address("token_endpoint")?,
            userinfo_endpoint: text(userinfo).map(|_| address(userinfo)).transpose()?,
            jwks_uri: address("jwks_uri")?,
            authentication: authentication(document)?,
            says_iss: document.get("authorization_response_iss_parameter_supported")
                == Some(&Value::Bool(true)),
        })
    }
}

/// Basic unless it is left out of the list.
fn authentication(document: &Value) -> Result<ClientAuthentication, NoProvider> {
    let listed = document.get("token_endpoint_auth_methods_supported");
    let Some(listed) = listed.and_then(Value::as_array) else {
        return Ok(ClientAuthentication::Basic);
    };
    let has = |method: &str| listed.iter().any(|listed| listed == method);
    if has("client_secret_basic") {
        Ok(ClientAuthentication::Basic)
    } else if has("client_secret_post") {
        Ok(ClientAuthentication::Post)
    } else {
        Err(NoProvider::NoAuthentication)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://login.example";

    fn document(more: &Value) -> Value {
        let mut document = json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://login.example/authorize",
            "token_endpoint": "https://login.example/token",
            "jwks_uri": "https://keys.example/all",
        });
        let more = more.as_object().unwrap().clone();
        document.as_object_mut().unwrap().extend(more);
        document
    }

    #[track_caller]
    fn refused(more: &Value, why: &str) {
        let error = Metadata::read(ISSUER, &document(more)).unwrap_err();
        assert!(error.to_string().contains(why), "{more}: {error}");
    }

    #[test]
    fn a_provider_is_believed_about_itself_alone_and_over_https() {
        let read = Metadata::read(ISSUER, &document(&json!({}))).unwrap();
        assert_eq!(read.authentication, ClientAuthentication::Basic);
        assert!(!read.says_iss && read.userinfo_endpoint.is_none());
        refused(&json!({"issuer": "https://login.example/"}), "another");
        for name in [
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "userinfo_endpoint",
        ] {
            for bad in ["http://127.0.0.1:9900/", "javascript:alert(1)", "/x"] {
                refused(&json!({ name: bad }), name);
            }
        }
        let here =
            json!({"issuer": "http://127.0.0.1:1", "token_endpoint": "http://127.0.0.1:1/t"});
        assert!(Metadata::read("http://127.0.0.1:1", &document(&here)).is_ok());
    }

    #[test]
    fn a_secret_is_shown_as_the_provider_wants_it() {
        let name = "token_endpoint_auth_methods_supported";
        let read = |methods: Value| Metadata::read(ISSUER, &document(&json!({ name: methods })));
        let post = read(json!(["client_secret_post", "private_key_jwt"])).unwrap();
        assert_eq!(post.authentication, ClientAuthentication::Post);
        let both = read(json!(["client_secret_post", "client_secret_basic"])).unwrap();
        assert_eq!(both.authentication, ClientAuthentication::Basic);
        refused(&json!({ name: ["private_key_jwt"] }), "client_secret_basic");
    }
}
