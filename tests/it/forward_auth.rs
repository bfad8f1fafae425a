//! Forward-auth: proxies that hold a request back and ask what the gateway would say to it. nginx, Traefik
//! and Envoy as their documentation has it; the real nginx and the real Caddy are in a file of their own.

mod described;
mod real;

use std::collections::BTreeMap;

use http::HeaderMap;
use reqwest::Method;
use reqwest::RequestBuilder;
use serde_json::json;

use crate::harness::binary::portcullis;
use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Gateway;
use crate::harness::raw::Raw;
use crate::harness::raw::connect_from;
use crate::harness::raw::tls_over;
use crate::harness::upstream::Upstream;

/// Who asks, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proxy {
    /// `ngx_http_auth_request_module`, set up as `examples/forward-auth/nginx.conf` has it.
    Nginx,
    /// Traefik's ForwardAuth, "Forward-Request Headers"; Caddy's `forward_auth` says the same.
    Traefik,
    /// Envoy's `ext_authz` over HTTP with `path_prefix`: the client's method, host and path, no body, and its
    /// own address at the end of `X-Forwarded-For`.
    Envoy,
}

const PROXIES: [Proxy; 3] = [Proxy::Nginx, Proxy::Traefik, Proxy::Envoy];

/// Where clients of the proxies are.
const CLIENT: &str = "203.0.113.9";

impl Proxy {
    /// What it asks when somebody wants this of `localhost`.
    fn asks(self, caller: &Caller, method: &Method, path: &str) -> RequestBuilder {
        self.asks_from(caller, CLIENT, method, path)
    }

    /// As [`Proxy::asks`], for a client with this address.
    fn asks_from(
        self,
        caller: &Caller,
        client: &str,
        method: &Method,
        path: &str,
    ) -> RequestBuilder {
        let verify = caller.request(Method::GET, "/auth/verify");
        match self {
            Self::Nginx => verify
                .header("x-original-url", format!("https://localhost:443{path}"))
                .header("x-original-method", method.as_str())
                .header("x-forwarded-for", client),
            Self::Traefik => verify
                .header("x-forwarded-method", method.as_str())
                .header("x-forwarded-proto", "https")
                .header("x-forwarded-host", "localhost")
                .header("x-forwarded-uri", path)
                .header("x-forwarded-for", client)
                .header("x-forwarded-port", "443")
                .header("x-forwarded-server", "traefik")
                .header("x-real-ip", client),
            Self::Envoy => {
                let last = client.rsplit(", ").next().unwrap();
                caller
                    .request(method.clone(), &format!("/auth/verify/envoy{path}"))
                    .header("x-forwarded-proto", "https")
                    .header("x-forwarded-for", format!("{client},10.0.0.1"))
                    .header("x-real-ip", last)
                    .header("content-length", 0)
            }
        }
    }

    async fn ask(self, caller: &Caller, path: &str) -> Answer {
        Answer::of(self.asks(caller, &Method::GET, path)).await
    }

    /// Insists on a refusal, as this proxy can understand it.
    #[track_caller]
    fn refused(self, answer: Answer, status: u16, code: &str) -> Answer {
        if self != Self::Nginx {
            return answer.expect_problem(status, code);
        }
        assert_eq!(answer.header("x-auth-reason"), code, "{}", answer.text());
        answer.expect(if status == 401 { 401 } else { 403 })
    }
}

/// A gateway that proxies on 127.0.0.1 may ask, and an app that it has itself as well.
async fn asked(lines: &str) -> (Gateway, Upstream) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        {lines}
        [verify]
        callers = ["127.0.0.1"]
        [routes.app]
        path = "/app"
        upstream = "{}"
        [routes.asked]
        path = "/asked"
        [routes.staff]
        path = "/staff"
        roles = ["admin"]
        [routes.notes]
        path = "/notes"
        methods = ["GET"]
        scopes = ["notes:read"]
        [routes.open]
        path = "/open"
        auth = "none"
        [routes.maybe]
        path = "/maybe"
        auth = "optional"
        [routes.few]
        path = "/few"
        limit = "2 per minute"
        [routes.near]
        path = "/near"
        auth = "none"
        addresses = ["203.0.113.0/24"]
        [routes.slashes]
        path = "/slashes"
        auth = "none"
        path_allow = ["encoded_slash"]
        "#,
        app.url()
    ));
    (gateway, app)
}

/// Headers that say who is calling, but for the assertion, which is signed anew for each core.
fn told(headers: &HeaderMap) -> BTreeMap<String, String> {
    let identity = headers.iter().filter(|(name, value)| {
        let is_assertion = *name == "x-auth-assertion";
        name.as_str().starts_with("x-auth-") && !is_assertion && !value.is_empty()
    });
    identity
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect()
}

/// The session cookie of somebody who signs in with a browser.
async fn cookie(gateway: &Gateway, username: &str) -> String {
    let caller = gateway.anonymous();
    caller.register(username).await;
    let body = json!({ "username": username, "password": PASSWORD, "session": "cookie" });
    let answer = caller.try_log_in(&body).await.expect(204);
    let cookie = answer.header("set-cookie").split(';').next().unwrap();
    assert!(cookie.starts_with("__Host-portcullis="), "{cookie}");
    cookie.to_owned()
}

// SECURITY 13
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_told_what_the_app_would_be_and_nothing_else() {
    let (gateway, app) = asked("").await;
    let alice = gateway.signed_in("alice").await;
    alice.get("/app").await.expect(200);
    let arrived = app.only().headers;
    let expected = told(&arrived);
    assert_eq!(expected["x-auth-user"], "alice");
    assert!(arrived.contains_key("x-auth-assertion"));
    let over_http2 = gateway.anonymous_http2().with_token(alice.token());
    for proxy in PROXIES {
        for caller in [&alice, &over_http2] {
            let answer = proxy.ask(caller, "/app").await.expect(200);
            assert_eq!(told(&answer.headers), expected, "{proxy:?}");
            assert_eq!(answer.header("x-auth-assertion").split('.').count(), 3);
            assert_eq!(answer.text(), "");
            assert_eq!(answer.header("cache-control"), "no-store");
            assert!(!answer.headers.contains_key("authorization"));
            assert!(!answer.headers.contains_key("x-auth-reason"));
        }
    }
    app.assert_untouched();
}

// SECURITY 13
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_as_nobody() {
    let (gateway, _) = asked("").await;
    let alice = gateway.signed_in("alice").await;
    // A public route reads no credential, an optional one finds none.
    for (caller, path) in [(&alice, "/open"), (&gateway.anonymous(), "/maybe")] {
        for proxy in [Proxy::Nginx, Proxy::Traefik] {
            let answer = proxy.ask(caller, path).await.expect(200);
            for name in ["x-auth-user", "x-auth-roles", "x-auth-assertion"] {
                assert!(answer.headers[name].is_empty(), "{proxy:?} {path} {name}");
            }
        }
        let answer = Proxy::Envoy.ask(caller, path).await.expect(200);
        assert_eq!(told(&answer.headers), BTreeMap::new());
        let removed = answer.header("x-envoy-auth-headers-to-remove");
        let removed: Vec<_> = removed.split(',').collect();
        for name in [
            "x-auth-user",
            "x-auth-roles",
            "x-auth-assertion",
            "authorization",
        ] {
            assert!(removed.contains(&name), "{path}: {removed:?}");
        }
    }
    let answer = Proxy::Envoy.ask(&alice, "/notes").await.expect(200);
    let removed = answer.header("x-envoy-auth-headers-to-remove");
    assert!(removed.contains("x-http-method-override"), "{removed}");
    assert!(!removed.contains("x-auth-user,"), "{removed}");
}

// SECURITY 7
#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_those_of_a_request_that_came_here() {
    let (gateway, app) = asked("").await;
    let (alice, nobody) = (gateway.signed_in("alice").await, gateway.anonymous());
    let liar = nobody.with_token("not.a.token");
    for proxy in PROXIES {
        let answer = proxy.ask(&nobody, "/app").await;
        let answer = proxy.refused(answer, 401, "unauthenticated");
        let challenge = answer.header("www-authenticate");
        assert!(
            challenge.starts_with("Bearer realm=\"portcullis\""),
            "{challenge}"
        );
        let answer = proxy.ask(&liar, "/maybe").await;
        let answer = proxy.refused(answer, 401, "invalid_token");
        assert!(answer.header("www-authenticate").contains("invalid_token"));
        let answer = proxy.ask(&alice, "/staff").await;
        proxy.refused(answer, 403, "insufficient_role");
        let answer = proxy.ask(&alice, "/nowhere").await;
        proxy.refused(answer, 404, "no_route");
        let answer = Answer::of(proxy.asks(&alice, &Method::POST, "/notes")).await;
        proxy.refused(answer, 405, "method_not_allowed");
        let answer = Answer::of(proxy.asks(&alice, &Method::HEAD, "/notes")).await;
        answer.expect(200);
        proxy.ask(&alice, "/notes").await.expect(200);
    }
    let weaker = json!({ "username": "alice", "password": PASSWORD, "scope": "notes:write" });
    let mut weak = gateway.anonymous();
    weak.keep(&weak.try_log_in(&weaker).await.expect(200));
    for proxy in PROXIES {
        let answer = proxy.ask(&weak, "/notes").await;
        let answer = proxy.refused(answer, 403, "insufficient_scope");
        assert!(answer.header("www-authenticate").contains("notes:read"));
    }
    app.assert_untouched();
}

/// nginx understands no redirect here, but its configuration may make one of what it is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_sent_to_sign_in_through_its_proxy() {
    let (gateway, _) = asked("").await;
    let nobody = gateway.anonymous();
    let visit = async |proxy: Proxy, method: Method, path: &str| {
        let asks = proxy.asks(&nobody, &method, path);
        let asks = asks.header("sec-fetch-mode", "navigate");
        Answer::of(asks.header("sec-fetch-dest", "document")).await
    };
    for proxy in PROXIES {
        let answer = visit(proxy, Method::GET, "/asked/x?y=1").await;
        let back = "https%3A%2F%2Flocalhost%2Fasked%2Fx%3Fy%3D1";
        let location = format!("https://localhost/auth/login?return_to={back}");
        assert_eq!(answer.header("location"), location);
        assert_eq!(answer.header("cache-control"), "no-store");
        let is_challenge = !answer.header("www-authenticate").is_empty();
        assert_eq!(is_challenge, proxy == Proxy::Nginx);
        let line = gateway.log_line(answer.header("x-request-id")).await;
        assert_eq!(line["decision"], "redirect");
        answer.expect(if proxy == Proxy::Nginx { 401 } else { 303 });

        let answer = visit(proxy, Method::POST, "/asked").await;
        assert_eq!(answer.header("location"), "");
        if proxy == Proxy::Nginx {
            proxy.refused(answer, 401, "unauthenticated");
        } else {
            let page = answer.expect_page(401, "unauthenticated");
            assert!(page.text().contains("https://localhost/auth/login"));
        }
    }
}

/// nginx has a page of its own for every refusal.
// SECURITY 46
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_its_proxy_relays_is_a_page_for_people() {
    let (gateway, _) = asked("").await;
    let alice = gateway.signed_in("alice").await;
    for caller in [&alice, &gateway.anonymous_http2().with_token(alice.token())] {
        for proxy in PROXIES {
            for (method, path, status, code) in [
                (Method::GET, "/staff", 403, "insufficient_role"),
                (Method::GET, "/nowhere", 404, "no_route"),
                (Method::GET, "/auth/login", 404, "own_endpoint"),
                (Method::GET, "/open/%00", 400, "path_refused"),
                (Method::POST, "/notes", 405, "method_not_allowed"),
            ] {
                let asks = proxy.asks(caller, &method, path);
                let asks = asks.header("sec-fetch-mode", "navigate");
                let answer = Answer::of(asks).await;
                let allowed = if status == 405 { "GET, HEAD" } else { "" };
                assert_eq!(answer.header("allow"), allowed, "{proxy:?} {path}");
                if proxy == Proxy::Nginx {
                    assert_eq!(answer.header("content-type"), "application/problem+json");
                    proxy.refused(answer, status, code);
                } else {
                    let page = answer.expect_page(status, code);
                    assert_ne!(page.header("content-security-policy"), "");
                }
            }
        }
    }
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_ended_is_vouched_for_no_more() {
    let (gateway, _) = asked("").await;
    let alice = gateway.signed_in("alice").await;
    for proxy in PROXIES {
        proxy.ask(&alice, "/asked").await.expect(200);
    }
    let out = alice.request(Method::POST, "/auth/logout");
    Answer::of(out).await.expect(204);
    for proxy in PROXIES {
        let answer = proxy.ask(&alice, "/asked").await;
        proxy.refused(answer, 401, "invalid_token");
    }
}

// SECURITY 47
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_counts_the_client_and_never_the_proxy() {
    let (gateway, _) = asked("limits.per_address = \"3 per hour\"").await;
    let nobody = gateway.anonymous();
    for (number, proxy) in PROXIES.into_iter().enumerate() {
        let client = format!("198.51.100.{number}");
        let ask = |client: &str| {
            let asks = proxy.asks_from(&nobody, client, &Method::GET, "/open");
            Answer::of(asks)
        };
        for _ in 0..3 {
            ask(&client).await.expect(200);
        }
        let answer = proxy.refused(ask(&client).await, 429, "limited");
        assert_ne!(answer.header("retry-after"), "");
        // What somebody writes to the left of his own address is nobody else.
        let chain = format!("192.0.2.7, {client}");
        proxy.refused(ask(&chain).await, 429, "limited");
        ask(&format!("198.51.100.{}", number + 100))
            .await
            .expect(200);
    }
}

// SECURITY 47
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_the_route_counts_its_user_whoever_asks() {
    let (gateway, _) = asked("").await;
    let alice = gateway.signed_in("alice").await;
    Proxy::Nginx.ask(&alice, "/few").await.expect(200);
    Proxy::Envoy.ask(&alice, "/few").await.expect(200);
    for proxy in PROXIES {
        proxy.refused(proxy.ask(&alice, "/few").await, 429, "limited");
    }
    let bob = gateway.signed_in("bob").await;
    Proxy::Traefik.ask(&bob, "/few").await.expect(200);
}

// SECURITY 15
#[tokio::test(flavor = "multi_thread")]
async fn a_route_of_some_addresses_judges_the_client() {
    let (gateway, _) = asked("gateway.trusted_proxies = [\"198.51.100.0/24\"]").await;
    let nobody = gateway.anonymous();
    for proxy in PROXIES {
        let ask = |client: &'static str| {
            Answer::of(proxy.asks_from(&nobody, client, &Method::GET, "/near"))
        };
        ask("203.0.113.200").await.expect(200);
        for outside in ["192.0.2.1", "127.0.0.1", "203.0.113.200, 192.0.2.1"] {
            proxy.refused(ask(outside).await, 403, "address_not_admitted");
        }
        if proxy != Proxy::Envoy {
            // A proxy in front of the proxy, which is believed as it is anywhere.
            ask("203.0.113.200, 198.51.100.7").await.expect(200);
            let answer = ask("203.0.113.200, 192.0.2.1, 198.51.100.7").await;
            proxy.refused(answer, 403, "address_not_admitted");
        }
    }
}

/// What somebody who is not one of the callers is answered.
async fn as_a_stranger(gateway: &Gateway, headers: &str) -> Answer {
    let stream = connect_from(gateway.address(), [127, 0, 0, 2]).await;
    let stream = tls_over(stream, &gateway.authority(), b"http/1.1").await;
    let request = format!("GET /auth/verify{headers}\r\n\r\n");
    Raw::new(stream).ask(request).await.answer()
}

// SECURITY 15
#[tokio::test(flavor = "multi_thread")]
async fn to_a_stranger_there_is_no_such_endpoint() {
    let (gateway, _) = asked("gateway.trusted_proxies = [\"127.0.0.2\"]").await;
    let alice = gateway.signed_in("alice").await;
    let nginx = format!(
        " HTTP/1.1\r\nHost: localhost\r\nX-Original-URL: https://localhost/asked\r\n\
         X-Original-Method: GET\r\nX-Forwarded-For: 127.0.0.1\r\nAuthorization: Bearer {}",
        alice.token()
    );
    let envoy = format!(
        "/envoy/asked HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Proto: https\r\n\
         X-Real-IP: 127.0.0.1\r\nX-Forwarded-For: 127.0.0.1\r\nAuthorization: Bearer {}",
        alice.token()
    );
    for headers in [nginx, envoy] {
        let answer = as_a_stranger(&gateway, &headers).await;
        let answer = answer.expect_problem(404, "no_endpoint");
        assert_eq!(told(&answer.headers), BTreeMap::new());
    }
    Proxy::Nginx.ask(&alice, "/asked").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_callers_nobody_may_ask() {
    let gateway = Gateway::start("[routes.app]\npath = \"/app\"\nupstream = \"echo\"");
    let alice = gateway.signed_in("alice").await;
    for proxy in PROXIES {
        let answer = proxy.ask(&alice, "/app").await;
        answer.expect_problem(404, "no_endpoint");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_ask_where_the_prefix_is() {
    let gateway = Gateway::start(
        "gateway.prefix = \"\"\nverify.callers = [\"127.0.0.1\"]\n\
         [routes.app]\npath = \"/app\"\nauth = \"none\"",
    );
    let nobody = gateway.anonymous();
    let asks = |path: &str| {
        let request = nobody.request(Method::GET, path);
        request
            .header("x-forwarded-proto", "https")
            .header("x-real-ip", CLIENT)
    };
    Answer::of(asks("/verify/envoy/app")).await.expect(200);
    let nginx = asks("/verify")
        .header("x-original-url", "https://localhost/app")
        .header("x-original-method", "GET")
        .header("x-forwarded-for", CLIENT);
    // The scheme is said twice.
    let answer = Answer::of(nginx).await;
    Proxy::Nginx.refused(answer, 400, "not_described");
    Proxy::Traefik
        .ask(&nobody, "/app")
        .await
        .expect_problem(404, "no_route");
}

// SECURITY 7
#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_is_only_asked_about_serves_nothing_itself() {
    let (gateway, app) = asked("").await;
    let alice = gateway.signed_in("alice").await;
    for path in ["/asked", "/asked/deep", "/open", "/maybe", "/staff"] {
        alice.get(path).await.expect_problem(404, "verify_only");
        let answer = gateway.anonymous_http2().get(path).await;
        answer.expect_problem(404, "verify_only");
    }
    Proxy::Nginx.ask(&alice, "/asked/deep").await.expect(200);
    app.assert_untouched();

    let folder = gateway.folder();
    let url = "https://localhost/asked";
    let said = portcullis(folder, &["explain", "--as", "alice", "GET", url]);
    let said = said.expect(0).stdout;
    for words in ["upstream  verify", "decision  vouch", "x-auth-user: alice"] {
        assert!(said.contains(words), "{words} is not in {said}");
    }
    assert!(!said.contains("x-forwarded"), "{said}");
    let said = portcullis(folder, &["explain", "GET", url])
        .expect(1)
        .stdout;
    assert!(said.contains("401"), "{said}");
    let checked = portcullis(folder, &["check"]).expect(0).stdout;
    let line = checked.lines().find(|line| line.contains("/asked"));
    assert!(
        line.is_some_and(|line| line.ends_with("verify")),
        "{checked}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_which_request_was_asked_about() {
    let (gateway, _) = asked("").await;
    let alice = gateway.signed_in("alice").await;
    for proxy in PROXIES {
        for (path, caller, decision, status) in [
            ("/asked/it", &alice, "vouch", 200),
            ("/asked/it", &gateway.anonymous(), "unauthenticated", 401),
        ] {
            let asks = proxy.asks(caller, &Method::DELETE, &format!("{path}?secret=1"));
            let answer = Answer::of(asks).await.expect(status);
            let line = gateway.log_line(answer.header("x-request-id")).await;
            assert_eq!(line["method"], "DELETE", "{line}");
            assert_eq!(line["path"], path, "{line}");
            assert_eq!(line["route"], "asked", "{line}");
            assert_eq!(line["client"], CLIENT, "{line}");
            assert_eq!(line["decision"], decision, "{line}");
            assert_eq!(line["status"], status, "{line}");
        }
    }
    let log = gateway.log_text();
    assert!(!log.contains("secret=1") && !log.contains(alice.token()));
}
