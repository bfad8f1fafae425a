//! A browser as far as its cookies go: it keeps them by host, and says which page sends a request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

use http::HeaderMap;
use reqwest::Method;
use reqwest::RequestBuilder;
use serde_json::Value;
use serde_json::json;

use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::caller::PASSWORD;

/// The cookie of a session.
pub(crate) const SESSION: &str = "__Host-portcullis";

/// One tab. Clones share their cookies.
#[derive(Clone)]
pub(crate) struct Tab {
    caller: Caller,
    jar: Arc<Mutex<BTreeMap<(String, String), String>>>,
}

impl Tab {
    /// Of a new browser.
    pub(crate) fn new(caller: Caller) -> Self {
        Self {
            caller,
            jar: Arc::default(),
        }
    }

    /// Of a new browser, in which somebody signs in who has an account by then.
    pub(crate) async fn signed_in(caller: Caller, username: &str) -> Self {
        caller.register(username).await;
        let tab = Self::new(caller);
        tab.sign_in(username).await.expect(204);
        tab
    }

    /// The same browser, at a gateway that listens elsewhere by now.
    pub(crate) fn with(&self, caller: Caller) -> Self {
        Self {
            caller,
            jar: Arc::clone(&self.jar),
        }
    }

    /// The origin of its pages.
    pub(crate) fn origin(&self) -> String {
        self.caller.origin()
    }

    /// Signs in.
    pub(crate) async fn sign_in(&self, username: &str) -> Answer {
        let body = json!({ "username": username, "password": PASSWORD, "session": "cookie" });
        self.post("/auth/login", &body).await
    }

    /// The value of a cookie of this host.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        let key = (self.caller.host().to_owned(), name.to_owned());
        self.jar.lock().unwrap().get(&key).cloned()
    }

    /// Puts a cookie of this host in.
    pub(crate) fn put(&self, name: &str, value: &str) {
        let key = (self.caller.host().to_owned(), name.to_owned());
        self.jar.lock().unwrap().insert(key, value.to_owned());
    }

    /// A request with the cookies of its host, of which nobody says which page sends it.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.caller.request(method, path);
        let jar = self.jar.lock().unwrap();
        let of_host = jar
            .iter()
            .filter(|((host, _), _)| host == self.caller.host());
        let pairs: Vec<_> = of_host
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        match pairs.is_empty() {
            true => request,
            false => request.header("cookie", pairs.join("; ")),
        }
    }

    /// Sends it, and keeps the cookies of the answer.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let answer = Answer::of(request).await;
        self.keep(&answer.headers);
        answer
    }

    /// GET, by a page of the same origin.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// POST of JSON, by a page of the same origin.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path).json(body);
        self.send(request.header("origin", self.caller.origin()))
            .await
    }

    /// DELETE, by a page of the same origin.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        let request = self.request(Method::DELETE, path);
        self.send(request.header("origin", self.caller.origin()))
            .await
    }

    fn keep(&self, headers: &HeaderMap) {
        for line in headers.get_all("set-cookie") {
            let line = line.to_str().unwrap();
            let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
            let (name, value) = pair.split_once('=').unwrap();
            let key = (self.caller.host().to_owned(), name.to_owned());
            let mut jar = self.jar.lock().unwrap();
            if attributes.contains("Max-Age=0;") {
                jar.remove(&key);
            } else {
                jar.insert(key, value.to_owned());
            }
        }
    }
}
