//! Debian's nginx and Caddy, set up by the very files of `examples/forward-auth`, in front of an app that
//! believes its headers.

use std::net::SocketAddr;

use reqwest::Method;
use serde_json::json;

use crate::forward_auth::told;
use crate::harness::caddy::Caddy;
use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::caller::PASSWORD;
use crate::harness::caller::Protocol;
use crate::harness::gateway::Folder;
use crate::harness::gateway::Gateway;
use crate::harness::goes_without;
use crate::harness::http2_upstream::Authority;
use crate::harness::nginx::Nginx;
use crate::harness::person::Person;
use crate::harness::raw::Message;
use crate::harness::raw::Raw;
use crate::harness::raw::connect_from;
use crate::harness::raw::tls_to;
use crate::harness::upstream::Recorded;
use crate::harness::upstream::Upstream;

const NGINX: &str = include_str!("../../../examples/forward-auth/nginx.conf");
const CADDY: &str = include_str!("../../../examples/forward-auth/Caddyfile");

const HOST: &str = "app.example.com";

/// What a browser keeps beside its session.
const HELPERS: &str =
    "__Host-portcullis-form=x; __Host-portcullis-binding=y; __Host-portcullis-provider=z";

/// A proxy, and what is behind it.
struct Front {
    server: Server,
    gateway: Gateway,
    app: Upstream,
    authority: Vec<u8>,
}

enum Server {
    Nginx(Nginx),
    Caddy(Caddy),
}

impl Front {
    /// All that are there, each with a gateway and an app of its own.
    async fn all(lines: &str) -> Vec<Self> {
        let mut all = Vec::new();
        if Nginx::is_there() {
            all.push(Self::start(lines, true).await);
        } else {
            goes_without("nginx");
        }
        if Caddy::is_there() {
            all.push(Self::start(lines, false).await);
        } else {
            goes_without("caddy");
        }
        all
    }

    async fn start(lines: &str, is_nginx: bool) -> Self {
        let mirror = |request: &Recorded| http::Response::new(request.body.clone().into());
        let app = Upstream::answering(mirror).await;
        let gateway = Gateway::start(&format!(
            r#"
            gateway.trusted_proxies = ["127.0.0.1"]
            {lines}
            [verify]
            callers = ["127.0.0.1"]
            [routes.app]
            path = "/app"
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
            addresses = ["127.0.0.2"]
            "#
        ));
        let (folder, authority) = (Folder::new(), Authority::new());
        authority.write(&folder, "ca.pem");
        authority.sign(&folder, "app", HOST);
        let path = |name: &str| folder.path(name).display().to_string();
        let ca = gateway.folder().path("certs/ca.pem").display().to_string();
        let (backend, upstream) = (gateway.address().to_string(), app.url());
        let upstream = upstream.trim_start_matches("http://");
        let server = if is_nginx {
            let configured = |address: SocketAddr| {
                let text = with(NGINX, "127.0.0.1:8443", &backend);
                let text = with(&text, "127.0.0.1:5000", upstream);
                let text = with(&text, "listen 443", &format!("listen {address}"));
                let text = with(&text, "/etc/nginx/certs/app.pem", &path("app.pem"));
                let text = with(&text, "/etc/nginx/certs/app.key", &path("app.key"));
                with(&text, "/etc/nginx/certs/portcullis-ca.pem", &ca)
            };
            Server::Nginx(Nginx::start_with(&folder, configured).await)
        } else {
            let configured = |address: SocketAddr| {
                let text = with(CADDY, "127.0.0.1:8443", &backend);
                let text = with(&text, "127.0.0.1:5000", upstream);
                let tls = format!("\ttls {} {}", path("app.pem"), path("app.key"));
                let site = format!("{HOST}:{} {{\n{tls}\n", address.port());
                let text = with(&text, &format!("{HOST} {{\n"), &site);
                with(&text, "/etc/caddy/portcullis-ca.pem", &ca)
            };
            Server::Caddy(Caddy::start(&folder, configured).await)
        };
        Self {
            server,
            gateway,
            app,
            authority: std::fs::read(folder.path("ca.pem")).unwrap(),
        }
    }

    fn address(&self) -> SocketAddr {
        match &self.server {
            Server::Nginx(nginx) => nginx.address(),
            Server::Caddy(caddy) => caddy.address(),
        }
    }

    fn is_nginx(&self) -> bool {
        matches!(self.server, Server::Nginx(_))
    }

    /// nginx says of all that is not a lack of a credential, a limit or a route that it is forbidden.
    fn status(&self, status: u16) -> u16 {
        match status {
            400 | 405 if self.is_nginx() => 403,
            _ => status,
        }
    }

    fn anonymous(&self, protocol: Protocol) -> Caller {
        Caller::new(self.address(), &self.authority, protocol).at(HOST)
    }

    /// Somebody who has signed in through the proxy.
    async fn signed_in(&self) -> Caller {
        let mut alice = self.anonymous(Protocol::Http1);
        alice.register("alice").await;
        alice.log_in("alice").await;
        alice
    }

    /// From another address than the gateway's own callers have.
    async fn raw(&self) -> Raw {
        let stream = connect_from(self.address(), [127, 0, 0, 2]).await;
        Raw::new(tls_to(HOST, stream, &self.authority, b"http/1.1").await)
    }

    async fn ask_raw(&self, target: &str, lines: &str) -> Message {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n");
        self.raw().await.ask(request).await
    }
}

/// With something in it replaced, which is there.
#[track_caller]
fn with(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "{old} is not in the example");
    text.replace(old, new)
}

// SECURITY 13, 17
#[tokio::test(flavor = "multi_thread")]
async fn the_app_learns_who_is_calling_and_not_how_they_proved_it() {
    for front in Front::all("").await {
        let alice = front.signed_in().await;
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let caller = front.anonymous(protocol).with_token(alice.token());
            let request = caller.request(Method::POST, "/app/x?y=%2f");
            let request = request.header("cookie", "a=1").body("hello");
            assert_eq!(Answer::of(request).await.expect(200).text(), "hello");
            let arrived = front.app.only();
            assert_eq!(
                (&*arrived.method, &*arrived.target),
                ("POST", "/app/x?y=%2f")
            );
            let told = told(&arrived.headers);
            assert_eq!(told["x-auth-user"], "alice");
            assert_eq!(told["x-auth-scopes"], "notes:read notes:write");
            assert!(told.contains_key("x-auth-session"));
            assert_eq!(arrived.header("x-auth-assertion").split('.').count(), 3);
            assert!(
                !arrived.headers.contains_key("authorization"),
                "{arrived:?}"
            );
            assert_eq!(arrived.header("cookie"), "a=1");
        }
        alice.get("/notes").await.expect(200);
        assert_eq!(front.app.only().header("x-auth-user"), "alice");
    }
}

// SECURITY 13
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_to_the_app_as_somebody() {
    for front in Front::all("").await {
        let alice = front.signed_in().await;
        for (caller, path) in [
            (&alice, "/open"),
            (&front.anonymous(Protocol::Http2), "/maybe"),
        ] {
            caller.get(path).await.expect(200);
            let arrived = front.app.only();
            assert_eq!(told(&arrived.headers).len(), 0, "{arrived:?}");
            let assertion = arrived.headers.get("x-auth-assertion");
            assert!(assertion.is_none_or(|it| it.is_empty()), "{arrived:?}");
        }
    }
}

// SECURITY 13
#[tokio::test(flavor = "multi_thread")]
async fn no_identity_of_a_clients_own_reaches_the_app() {
    for front in Front::all("").await {
        let alice = front.signed_in().await;
        for name in [
            "X-Auth-User",
            "X-Auth-Roles",
            "X-Auth-Assertion",
            "x_auth_user",
            "X.Auth.User",
            "X--Auth-User",
        ] {
            for (caller, path) in [
                (&alice, "/app"),
                (&front.anonymous(Protocol::Http1), "/open"),
                (&front.anonymous(Protocol::Http1), "/maybe"),
            ] {
                let answer = caller.get_with(path, &[(name, "root")]).await;
                let dropped_by_nginx = front.is_nginx() && name.contains(['_', '.']);
                if dropped_by_nginx {
                    answer.expect(200);
                    let arrived = front.app.only();
                    let brought = arrived.headers.values().any(|value| value == "root");
                    assert!(!brought, "{name}: {arrived:?}");
                } else {
                    answer.expect(front.status(400));
                    front.app.assert_untouched();
                }
            }
        }
    }
}

// SECURITY 7
#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_refuses_never_reaches_the_app() {
    for front in Front::all("").await {
        let nobody = front.anonymous(Protocol::Http1);
        let answer = nobody.get("/app").await.expect(401);
        assert_eq!(
            answer.header("www-authenticate"),
            "Bearer realm=\"portcullis\""
        );
        nobody
            .with_token("no.such.token")
            .get("/maybe")
            .await
            .expect(401);
        let alice = front.signed_in().await;
        alice.get("/staff").await.expect(403);
        alice.get("/nowhere").await.expect(404);
        let post = alice.request(Method::POST, "/notes");
        Answer::of(post).await.expect(front.status(405));
        let overridden = [("X-HTTP-Method-Override", "DELETE")];
        let answer = alice.get_with("/notes", &overridden).await;
        answer.expect(front.status(400));
        front.app.assert_untouched();
        for _ in 0..2 {
            alice.get("/few").await.expect(200);
            front.app.only();
        }
        let answer = alice.get("/few").await.expect(429);
        assert_ne!(answer.header("retry-after"), "");
        front.app.assert_untouched();

        let out = alice.request(Method::POST, "/auth/logout");
        Answer::of(out).await.expect(204);
        alice.get("/app").await.expect(401);
        front.app.assert_untouched();
    }
}

// SECURITY 15
#[tokio::test(flavor = "multi_thread")]
async fn a_client_describes_no_other_request_than_its_own() {
    for front in Front::all("").await {
        for lines in [
            format!("X-Original-URL: https://{HOST}/open\r\nX-Original-Method: GET\r\n"),
            "X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /open\r\n".to_owned(),
            "X-Forwarded-Uri: /open\r\nX-Forwarded-Uri: /open\r\n".to_owned(),
            format!("X-Forwarded-Host: {HOST}\r\nX-Forwarded-Proto: https\r\n"),
            "Connection: X-Original-URL, X-Forwarded-Uri, X-Forwarded-For\r\n".to_owned(),
            "Content-Length: 0\r\n".to_owned(),
        ] {
            let answer = front.ask_raw("/app", &lines).await;
            assert!(
                [400, 401, 403].contains(&answer.status()),
                "{lines} {answer:?}"
            );
            front.app.assert_untouched();
        }
        // The address is the one that the proxy sees, whatever is written to the left of it.
        for lines in [
            "",
            "X-Forwarded-For: 10.0.0.1\r\n",
            "X-Real-IP: 10.0.0.1\r\n",
        ] {
            assert_eq!(front.ask_raw("/near", lines).await.status(), 200, "{lines}");
            front.app.only();
        }
        let forged = [("X-Forwarded-For", "127.0.0.2")];
        let nobody = front.anonymous(Protocol::Http1);
        nobody.get_with("/near", &forged).await.expect(403);
        nobody.get("/near").await.expect(403);
        front.app.assert_untouched();
        // And nobody asks in the proxy's name.
        for target in [
            "/auth/verify",
            "/auth/%76erify",
            "/auth/verify/envoy/open",
            "/.portcullis",
        ] {
            let lines = format!(
                "X-Original-URL: https://{HOST}/open\r\nX-Original-Method: GET\r\n\
                 X-Forwarded-Proto: https\r\nX-Real-IP: 127.0.0.2\r\n"
            );
            let answer = front.ask_raw(target, &lines).await;
            assert!(
                [401, 403, 404].contains(&answer.status()),
                "{target} {answer:?}"
            );
            assert!(!answer.headers.contains_key("x-auth-user"), "{answer:?}");
        }
        front.app.assert_untouched();
    }
}

// SECURITY 6
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_path_leads_around_the_gateway() {
    for front in Front::all("").await {
        for target in [
            "/open/../app",
            "/open/%2e%2e/app",
            "/open/..%2fapp",
            "/open%2f..%2fapp",
            "/open/..;/app",
            "/open/%5c..%5capp",
            "/open//../app",
            "//app",
            "/app#/../open",
            "/open#/../../app",
            "/open/%252e%252e/app",
        ] {
            let answer = front.ask_raw(target, "").await;
            assert!((300..500).contains(&answer.status()), "{target} {answer:?}");
            front.app.assert_untouched();
        }
        let absolute = format!("https://{HOST}/app");
        assert_eq!(front.ask_raw(&absolute, "").await.status(), 401);
        front.app.assert_untouched();
        assert_eq!(front.ask_raw("/open/a%20b?c=/../d", "").await.status(), 200);
        assert_eq!(front.app.only().target, "/open/a%20b?c=/../d");
    }
}

// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn a_browsers_cookie_is_for_the_gateway_alone() {
    for front in Front::all("").await {
        let caller = front.anonymous(Protocol::Http1);
        caller.register("alice").await;
        let body = json!({ "username": "alice", "password": PASSWORD, "session": "cookie" });
        let signed_in = caller.try_log_in(&body).await.expect(204);
        let cookie = signed_in.header("set-cookie").split(';').next().unwrap();
        for (sent, left) in [
            (cookie.to_owned(), ""),
            (format!("{cookie}; b=2"), "b=2"),
            (format!("a=1; {cookie}; b=2"), "a=1; b=2"),
            (format!("a=1; {cookie}"), "a=1"),
            (format!("{cookie}; {HELPERS}; b=2"), "b=2"),
            (format!("{HELPERS}; {cookie}"), ""),
            (
                format!("a=1; {HELPERS}; b=2; {cookie}; c=3"),
                "a=1; b=2; c=3",
            ),
        ] {
            caller
                .get_with("/app", &[("cookie", &sent)])
                .await
                .expect(200);
            let arrived = front.app.only();
            assert_eq!(arrived.header("x-auth-user"), "alice");
            let cookies = arrived.header("cookie").trim_end_matches([' ', ';']);
            assert_eq!(cookies, left);
        }
        // Nobody is known by two.
        let twice = format!("{cookie}; a=1; {cookie}");
        let open = caller.get_with("/open", &[("cookie", &twice)]).await;
        open.expect(200);
        let arrived = front.app.only();
        assert!(
            !arrived.header("cookie").contains("portcullis"),
            "{arrived:?}"
        );
        let post = |origin: String| {
            let request = caller.request(Method::POST, "/app");
            Answer::of(request.header("cookie", cookie).header("origin", origin))
        };
        post("https://evil.example".to_owned()).await.expect(403);
        post(format!("https://{HOST}")).await.expect(403);
        front.app.assert_untouched();
        let port = front.address().port();
        post(format!("https://{HOST}:{port}")).await.expect(200);
        front.app.only();

        let dead = [("cookie", "__Host-portcullis=dead")];
        let answer = caller.get_with("/app", &dead).await.expect(401);
        let cleared = answer.header("set-cookie");
        assert!(
            cleared.starts_with("__Host-portcullis=; Max-Age=0"),
            "{answer:?}"
        );
        front.app.assert_untouched();
    }
}

/// To the sign-in page on another host, and back to the app by a ticket, also where the browser still has the
/// cookie of a session that is over.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_signs_in_through_the_proxy_and_comes_back() {
    let hosted = format!("[routes.hosted]\nhost = \"{HOST}\"\npath = \"/hosted\"");
    for front in Front::all(&hosted).await {
        front.gateway.anonymous().register("alice").await;
        let here = Person::new(front.gateway.anonymous());
        let there = Person::new(front.anonymous(Protocol::Http2));
        let place = format!("https://{HOST}/hosted/x?y=1");
        for _ in 0..2 {
            let sent = there.open(&place).await.expect(303);
            let page = here.open(sent.header("location")).await.expect(200);
            let filled = [("identifier", "alice"), ("password", PASSWORD)];
            let onward = here.submit(&page.form("/auth/login"), &filled).await;
            let arrived = there.open(onward.header("location")).await.expect(303);
            assert_eq!(arrived.header("location"), place);
            front.app.assert_untouched();
            there.open(&place).await.expect(200);
            let seen = front.app.only();
            assert_eq!(seen.header("x-auth-user"), "alice");
            assert!(!format!("{seen:?}").contains("__Host-"), "{seen:?}");
            let account = here.open("/auth/account").await.expect(200);
            let left = here.submit(&account.form("/auth/logout"), &[]).await;
            left.expect(303);
        }
    }
}

// SECURITY 46
#[tokio::test(flavor = "multi_thread")]
async fn people_are_shown_pages() {
    for front in Front::all("").await {
        let alice = front.signed_in().await;
        let navigation = [("sec-fetch-mode", "navigate")];
        let answer = alice.get_with("/staff", &navigation).await.expect(403);
        let kind = answer.header("content-type");
        assert!(kind.starts_with("text/html"), "{kind}");
        assert!(!answer.text().contains("urn:portcullis"), "{answer:?}");
        if !front.is_nginx() {
            let page = answer.expect_page(403, "insufficient_role");
            let policy = page.header("content-security-policy");
            assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
            let (_, style) = page.text().split_once("href=\"/auth/assets/").unwrap();
            let style = style.split('"').next().unwrap();
            alice
                .get(&format!("/auth/assets/{style}"))
                .await
                .expect(200);
        }
        front.app.assert_untouched();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_down_lets_nobody_pass() {
    for mut front in Front::all("").await {
        let alice = front.signed_in().await;
        alice.get("/app").await.expect(200);
        front.app.only();
        front.gateway.stop();
        for path in ["/app", "/open"] {
            let answer = alice.get(path).await;
            assert!(answer.status >= 500, "{answer:?}");
        }
        front.app.assert_untouched();
    }
}
