//! A person with a browser that keeps cookies and fills in forms, without the browser.

use std::collections::BTreeMap;
use std::sync::Mutex;

use reqwest::Method;
use reqwest::RequestBuilder;

use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::caller::PASSWORD;

/// Somebody in front of pages. Cookies are kept by host, as `__Host-` cookies are.
pub(crate) struct Person {
    caller: Caller,
    cookies: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
}

/// One form of a page.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    pub(crate) action: String,
    pub(crate) hidden: BTreeMap<String, String>,
}

impl Person {
    /// With an empty browser.
    pub(crate) fn new(caller: Caller) -> Self {
        Self {
            caller,
            cookies: Mutex::default(),
        }
    }

    /// With an account and signed in by the page, on `localhost`.
    pub(crate) async fn signed_in(caller: Caller, username: &str) -> Self {
        caller.register(username).await;
        let person = Self::new(caller);
        person.sign_in(username).await.expect(303);
        person
    }

    /// Signs in by the page.
    pub(crate) async fn sign_in(&self, username: &str) -> Answer {
        let page = self.open("/auth/login?prompt=login").await.expect(200);
        let form = page.form("/auth/login");
        let filled = [("identifier", username), ("password", PASSWORD)];
        self.submit(&form, &filled).await
    }

    /// Goes to an address, a path on `localhost` or a whole URL, as a navigation does.
    pub(crate) async fn open(&self, url: &str) -> Answer {
        self.send(Method::GET, url, None, &[]).await
    }

    /// Goes to an address and on to wherever it leads within the gateway, at most ten times.
    pub(crate) async fn follow(&self, answer: Answer) -> Answer {
        let mut answer = answer;
        for _ in 0..10 {
            if answer.status != 303 {
                return answer;
            }
            let location = answer.header("location").to_owned();
            answer = self.open(&location).await;
        }
        panic!("it leads around in circles: {answer:?}");
    }

    /// Posts a form with what is filled in, from the page's own origin.
    pub(crate) async fn submit(&self, form: &Form, filled: &[(&str, &str)]) -> Answer {
        let mut fields: Vec<(&str, &str)> = filled.to_vec();
        for (name, value) in &form.hidden {
            fields.push((name, value));
        }
        self.post(&form.action, &fields, &[]).await
    }

    /// Posts fields with headers of one's own; `origin` is the page's unless they say otherwise.
    pub(crate) async fn post(
        &self,
        url: &str,
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Answer {
        self.send(Method::POST, url, Some(fields), headers).await
    }

    /// The value of a cookie on this host.
    pub(crate) fn cookie(&self, host: &str, name: &str) -> Option<String> {
        let cookies = self.cookies.lock().unwrap();
        cookies.get(host)?.get(name).cloned()
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        fields: Option<&[(&str, &str)]>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let (host, target) = split(url);
        let caller = self.caller.at(&host);
        let mut request = caller.request(method, &target);
        if !headers.iter().any(|(name, _)| *name == "sec-fetch-mode") {
            request = request
                .header("sec-fetch-mode", "navigate")
                .header("sec-fetch-dest", "document");
        }
        request = request.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        if let Some(fields) = fields {
            request = request.form_of(fields);
            let says_origin = headers.iter().any(|(name, _)| *name == "origin");
            if !says_origin {
                request = request.header("origin", caller.origin());
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent = {
            let cookies = self.cookies.lock().unwrap();
            let of_host = cookies.get(&host).into_iter().flatten();
            let pairs: Vec<_> = of_host
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            pairs.join("; ")
        };
        if !sent.is_empty() {
            request = request.header("cookie", sent);
        }
        let answer = Answer::of(request).await;
        self.keep(&host, &answer);
        answer
    }

    /// Takes the cookies of an answer as browsers do, and insists on what ours must say.
    fn keep(&self, host: &str, answer: &Answer) {
        let mut cookies = self.cookies.lock().unwrap();
        let of_host = cookies.entry(host.to_owned()).or_default();
        for line in answer.headers.get_all("set-cookie") {
            let line = line.to_str().unwrap();
            let (pair, attributes) = line.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if name.starts_with("__Host-") {
                for needed in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
                    assert!(
                        attributes.split(';').any(|it| it.trim() == needed),
                        "{line}"
                    );
                }
                assert!(
                    !attributes.to_ascii_lowercase().contains("domain"),
                    "{line}"
                );
            }
            if attributes.contains("Max-Age=0") {
                of_host.remove(name);
            } else {
                of_host.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

/// Host, and path with query.
fn split(url: &str) -> (String, String) {
    match url.strip_prefix("https://") {
        None => ("localhost".to_owned(), url.to_owned()),
        Some(rest) => {
            let (authority, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.split(':').next().unwrap();
            let target = if target.is_empty() { "/" } else { target };
            (host.to_owned(), target.to_owned())
        }
    }
}

/// A body as forms are posted.
pub(crate) trait FormBody {
    /// With these fields.
    fn form_of(self, fields: &[(&str, &str)]) -> Self;
}

impl FormBody for RequestBuilder {
    fn form_of(self, fields: &[(&str, &str)]) -> Self {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    }
}

impl Answer {
    /// The one form of a page that is posted to this path; a page without it fails the test.
    #[track_caller]
    pub(crate) fn form(&self, action: &str) -> Form {
        let found = self.forms().into_iter().find(|form| form.action == action);
        found.unwrap_or_else(|| panic!("no form for {action} in {}", self.text()))
    }

    /// All forms of a page.
    pub(crate) fn forms(&self) -> Vec<Form> {
        let pieces = self.text().split("<form ").skip(1);
        pieces
            .map(|piece| {
                let piece = piece.split("</form>").next().unwrap();
                let inputs = piece.split("<input type=\"hidden\" ").skip(1);
                Form {
                    action: attribute(piece, "action"),
                    hidden: inputs
                        .map(|input| (attribute(input, "name"), attribute(input, "value")))
                        .collect(),
                }
            })
            .collect()
    }

    /// Insists on a page of refusal with this status and code.
    #[track_caller]
    pub(crate) fn expect_page(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        assert!(answer.text().contains(code), "{}", answer.text());
        answer
    }
}

fn attribute(tag: &str, name: &str) -> String {
    let start = format!("{name}=\"");
    let value = tag
        .split(&start)
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let value = value.unwrap_or_default();
    let mut text = value.to_owned();
    for (written, meant) in [
        ("&#38;", "&"),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
        ("&#39;", "'"),
    ] {
        text = text.replace(written, meant);
    }
    text
}
