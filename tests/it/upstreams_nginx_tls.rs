//! Debian's nginx as an app behind TLS, over HTTP/1.1 and HTTP/2, that wants to see a certificate: what it was
//! shown and what arrived, and everything that must keep a request from it.

use reqwest::Method;

use crate::harness::binary::Served;
use crate::harness::caller::Answer;
use crate::harness::eventually;
use crate::harness::gateway::Folder;
use crate::harness::gateway::Gateway;
use crate::harness::goes_without;
use crate::harness::http2_upstream::Authority;
use crate::harness::nginx::Nginx;
use crate::harness::upstream::Recorded;
use crate::harness::upstream::Upstream;

/// nginx by the name `app.internal`, and behind it an app that answers with what it was sent.
struct Bench {
    authority: Authority,
    app: Upstream,
    nginx: Nginx,
}

/// What a gateway is told that does everything right.
const RIGHT: &str =
    r#"{ ca = "app-ca.pem", cert = "own.pem", key = "own.key", server_name = "app.internal" }"#;

impl Bench {
    async fn start(listen: &str) -> Self {
        let mirror = |request: &Recorded| http::Response::new(request.body.clone().into());
        let app = Upstream::answering(mirror).await;
        let authority = Authority::new();
        let folder = Folder::new();
        authority.write(&folder, "ca.pem");
        authority.sign(&folder, "app", "app.internal");
        let server = format!(
            "ssl_certificate app.pem;
            ssl_certificate_key app.key;
            ssl_client_certificate ca.pem;
            ssl_verify_client on;
            location / {{
                proxy_pass {};
                proxy_set_header X-Protocol $server_protocol;
                proxy_set_header X-Verified $ssl_client_verify;
                proxy_set_header X-Server-Name $ssl_server_name;
            }}",
            app.url()
        );
        let nginx = Nginx::start(&folder, listen, &server).await;
        Self {
            authority,
            app,
            nginx,
        }
    }

    /// The files of a gateway that trusts `authority`, and has a certificate of its own.
    fn files(&self, authority: &Authority, tls: &str) -> Folder {
        let folder = Folder::with(&format!(
            r#"
            [upstreams.app]
            targets = ["https://{}"]
            tls = {tls}
            [routes.app]
            path = "/app"
            upstream = "app"
            [routes.open]
            path = "/open"
            auth = "none"
            upstream = "app"
            "#,
            self.nginx.address()
        ));
        authority.write(&folder, "app-ca.pem");
        self.authority.sign(&folder, "own", "gateway");
        Authority::new().sign(&folder, "strange", "gateway");
        folder
    }

    fn gateway(&self, authority: &Authority, tls: &str) -> Gateway {
        Gateway::start_in(&self.files(authority, tls))
    }
}

/// Both protocols that nginx speaks behind TLS, and how it calls them.
const LISTENING: [(&str, &str); 2] = [("ssl", "HTTP/1.1"), ("ssl http2", "HTTP/2.0")];

// SECURITY 56
#[tokio::test(flavor = "multi_thread")]
async fn it_is_asked_over_what_it_prefers_and_shown_a_certificate() {
    if !Nginx::is_there() {
        return goes_without("nginx");
    }
    for (listen, protocol) in LISTENING {
        let bench = Bench::start(listen).await;
        let gateway = bench.gateway(&bench.authority, RIGHT);
        let alice = gateway.signed_in("alice").await;
        let over_http2 = gateway.anonymous_http2().with_token(alice.token());
        let large = vec![b'a'; 300_000];
        for caller in [&alice, &over_http2] {
            for (method, body) in [
                (Method::GET, &[][..]),
                (Method::POST, b"there"),
                (Method::POST, &large),
                (Method::DELETE, &[]),
            ] {
                let request = caller.request(method.clone(), "/app?x=1");
                let answer = Answer::of(request.body(body.to_vec())).await.expect(200);
                assert_eq!(answer.body, body, "{listen}: {method}");
                let arrived = bench.app.only();
                assert_eq!(arrived.method, method.as_str());
                assert_eq!(arrived.target, "/app?x=1");
                assert_eq!(arrived.header("x-protocol"), protocol);
                assert_eq!(arrived.header("x-verified"), "SUCCESS");
                assert_eq!(arrived.header("x-server-name"), "app.internal");
                assert_eq!(arrived.header("x-auth-user"), "alice");
            }
        }
        for caller in [gateway.anonymous(), gateway.anonymous_http2()] {
            let request = caller.request(Method::POST, "/app").body("there");
            let refused = Answer::of(request).await;
            refused.expect_problem(401, "unauthenticated");
        }
        bench.app.assert_untouched();
    }
}

// SECURITY 56
#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_checked_is_sent_nothing() {
    if !Nginx::is_there() {
        return goes_without("nginx");
    }
    let stranger = Authority::new();
    for (listen, _) in LISTENING {
        let bench = Bench::start(listen).await;
        let without_name = RIGHT.replace(", server_name = \"app.internal\"", "");
        let other_name = RIGHT.replace("app.internal", "other.internal");
        for (authority, tls) in [
            (&stranger, RIGHT),
            (&bench.authority, &without_name),
            (&bench.authority, &other_name),
            (&bench.authority, &RIGHT.replace("app-ca.pem", "system")),
        ] {
            let gateway = bench.gateway(authority, tls);
            for caller in [gateway.anonymous(), gateway.anonymous_http2()] {
                let refused = caller.get("/open").await;
                refused.expect_problem(502, "upstream_unreachable");
            }
        }
        assert_eq!(bench.nginx.asked(0).await, [""; 0], "{listen}");
        bench.app.assert_untouched();
        let gateway = bench.gateway(&bench.authority, RIGHT);
        gateway.anonymous().get("/open").await.expect(200);
        bench.app.only();
    }
}

/// nginx finishes the handshake all the same and refuses in HTTP, so that is an answer of the app's.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_or_with_a_strange_one_it_refuses_itself() {
    if !Nginx::is_there() {
        return goes_without("nginx");
    }
    for (listen, _) in LISTENING {
        let bench = Bench::start(listen).await;
        let shows = "cert = \"own.pem\", key = \"own.key\", ";
        for (shown, said) in [
            ("", "No required SSL certificate was sent"),
            (
                "cert = \"strange.pem\", key = \"strange.key\", ",
                "The SSL certificate error",
            ),
        ] {
            let tls = RIGHT.replace(shows, shown);
            let gateway = bench.gateway(&bench.authority, &tls);
            let refused = gateway.anonymous().get("/open").await.expect(400);
            assert!(refused.text().contains(said), "{}", refused.text());
        }
        bench.app.assert_untouched();
    }
}

// SECURITY 56
#[tokio::test(flavor = "multi_thread")]
async fn one_that_nobody_checks_is_asked_and_that_is_said_aloud() {
    if !Nginx::is_there() {
        return goes_without("nginx");
    }
    let bench = Bench::start("ssl http2").await;
    let unchecked = r#"{ insecure_skip_verify = true, cert = "own.pem", key = "own.key" }"#;
    let folder = bench.files(&Authority::new(), unchecked);
    for _ in 0..2 {
        let running = Served::start(&folder).await;
        running.anonymous().get("/open").await.expect(200);
        assert_eq!(bench.app.only().header("x-verified"), "SUCCESS");
        eventually("a warning", async || {
            let said = running.said();
            said.contains("insecure_skip_verify").then_some(())
        })
        .await;
        running.kill();
    }
}
