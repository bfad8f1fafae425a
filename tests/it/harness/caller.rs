//! Callers: people and programs in front of the gateway, with a real HTTP client over real TLS.

use std::net::SocketAddr;

use bytes::Bytes;
use http::HeaderMap;
use reqwest::Certificate;
use reqwest::Client;
use reqwest::Method;
use reqwest::RequestBuilder;
use reqwest::dns::Addrs;
use reqwest::dns::Name;
use reqwest::dns::Resolve;
use reqwest::dns::Resolving;
use reqwest::redirect::Policy;
use serde_json::Value;
use serde_json::json;

/// What everybody's password is unless a test says otherwise: long, and not among the common ones.
pub(crate) const PASSWORD: &str = "plum-tractor-wobbles-91";

/// Which protocol a caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// Somebody who sends requests. Cheap to clone; clones share connections.
#[derive(Clone)]
pub(crate) struct Caller {
    client: Client,
    port: u16,
    host: String,
    token: Option<String>,
    refresh: Option<String>,
}

/// An answer that has arrived to its last byte.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Caller {
    /// Trusts `authority` alone, and looks for every host on loopback.
    pub(crate) fn new(address: SocketAddr, authority: &[u8], protocol: Protocol) -> Self {
        let builder = Client::builder()
            .tls_certs_only([Certificate::from_pem(authority).unwrap()])
            .dns_resolver(Loopback)
            .redirect(Policy::none())
            .no_proxy();
        let builder = match protocol {
            Protocol::Http1 => builder.http1_only(),
            Protocol::Http2 => builder.http2_prior_knowledge(),
        };
        Self {
            client: builder.build().unwrap(),
            port: address.port(),
            host: "localhost".to_owned(),
            token: None,
            refresh: None,
        }
    }

    /// The same caller, for another host.
    pub(crate) fn at(&self, host: &str) -> Self {
        Self {
            host: host.to_owned(),
            ..self.clone()
        }
    }

    /// The host that it asks.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The same client with another access token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// The access token.
    pub(crate) fn token(&self) -> &str {
        self.token.as_deref().expect("the caller has logged in")
    }

    /// The refresh token.
    pub(crate) fn refresh_token(&self) -> &str {
        self.refresh.as_deref().expect("the caller has logged in")
    }

    /// A request to be completed; it carries the access token, if there is one.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("https://{}:{}{path}", self.host, self.port);
        let request = self.client.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// What a browser calls the origin of its pages.
    pub(crate) fn origin(&self) -> String {
        format!("https://{}:{}", self.host, self.port)
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    /// GET with some headers more.
    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.request(Method::GET, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request).await
    }

    /// POST of JSON.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body)).await
    }

    /// Asks for an account.
    pub(crate) async fn try_register(&self, body: &Value) -> Answer {
        self.post("/auth/register", body).await
    }

    /// Asks for tokens.
    pub(crate) async fn try_log_in(&self, body: &Value) -> Answer {
        self.post("/auth/login", body).await
    }

    /// Makes an account, unless there is one of that name.
    pub(crate) async fn register(&self, username: &str) {
        let body = json!({ "username": username, "password": PASSWORD });
        let answer = self.try_register(&body).await;
        assert!(matches!(answer.status, 201 | 409), "{answer:?}");
    }

    /// Logs in and keeps the tokens.
    pub(crate) async fn log_in(&mut self, username: &str) {
        let body = json!({ "username": username, "password": PASSWORD });
        let answer = self.try_log_in(&body).await.expect(200);
        self.keep(&answer);
    }

    /// Uses the refresh token and keeps the new ones.
    pub(crate) async fn refresh(&mut self) {
        let answer = self.try_refresh(self.refresh_token()).await.expect(200);
        self.keep(&answer);
    }

    /// Uses a refresh token.
    pub(crate) async fn try_refresh(&self, token: &str) -> Answer {
        self.post("/auth/refresh", &json!({ "refresh_token": token }))
            .await
    }

    /// Keeps the tokens of an answer.
    pub(crate) fn keep(&mut self, answer: &Answer) {
        let tokens = answer.json();
        self.token = tokens["access_token"].as_str().map(str::to_owned);
        self.refresh = tokens["refresh_token"].as_str().map(str::to_owned);
    }
}

impl Answer {
    /// Sends a request and reads its answer to the end.
    #[track_caller]
    pub(crate) fn of(request: RequestBuilder) -> impl Future<Output = Self> {
        let caller = std::panic::Location::caller();
        async move {
            let answered = Self::try_of(request).await;
            answered.unwrap_or_else(|error| panic!("no answer at {caller}: {error:?}"))
        }
    }

    /// As [`Answer::of`], where there may be none.
    pub(crate) async fn try_of(request: RequestBuilder) -> reqwest::Result<Self> {
        let response = request.send().await?;
        Ok(Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await?,
        })
    }

    /// Insists on a status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Insists on a problem with this status and code, in the form of RFC 9457.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem = answer.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["request_id"], answer.header("x-request-id"));
        answer
    }

    /// Insists on what a credential that is not good is answered with, whatever was wrong with it.
    #[track_caller]
    pub(crate) fn expect_invalid_token(self, what: &str) -> Self {
        assert_eq!(self.status, 401, "{what}: {}", self.text());
        assert_eq!(self.challenge(), INVALID_TOKEN, "{what}");
        self.expect_problem(401, "invalid_token")
    }

    /// The challenge, without the metadata of the gateway that those of routes end with (RFC 9728 §5.1).
    #[track_caller]
    pub(crate) fn challenge(&self) -> &str {
        let challenge = self.header("www-authenticate");
        challenge.strip_suffix(METADATA).unwrap_or(challenge)
    }

    /// A header that is there once; empty where it is not there.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().unwrap());
        assert_eq!(values.next(), None, "{name} is there twice");
        value.unwrap_or_default()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What RFC 6750 §3.1 has for a token that is not good.
const INVALID_TOKEN: &str = "Bearer realm=\"portcullis\", error=\"invalid_token\", \
     error_description=\"The access token is malformed, expired or revoked\"";

/// Of a gateway that is known as `https://localhost`.
const METADATA: &str =
    ", resource_metadata=\"https://localhost/.well-known/oauth-protected-resource\"";

/// Every name is on this machine.
struct Loopback;

impl Resolve for Loopback {
    fn resolve(&self, _name: Name) -> Resolving {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let addresses: Addrs = Box::new(std::iter::once(address));
        Box::pin(async { Ok(addresses) })
    }
}
