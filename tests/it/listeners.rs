//! What each listener speaks, and what it must not.

use portcullis::config::ListenerKind;

use crate::harness::gateway::Gateway;
use crate::harness::raw::Raw;
use crate::harness::upstream::Upstream;

async fn everything_open() -> (Gateway, Upstream) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.app]
        path = "/app"
        auth = "none"
        upstream = "{}"
        "#,
        app.url()
    ));
    (gateway, app)
}

// SECURITY 57
#[tokio::test(flavor = "multi_thread")]
async fn plain_http_only_redirects() {
    let (gateway, app) = everything_open().await;
    let plain = gateway.listener(ListenerKind::Redirect);
    for (request, location) in [
        (
            "GET /app?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "https://localhost/app?x=1",
        ),
        (
            "GET /app HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
            "https://localhost/app",
        ),
        (
            "POST /auth/login HTTP/1.1\r\nHost: app.example.com\r\nContent-Length: 0\r\n\r\n",
            "https://app.example.com/auth/login",
        ),
        (
            "GET //evil.example.com HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "https://localhost//evil.example.com",
        ),
    ] {
        let answer = Raw::connect(plain).await.ask(request).await;
        assert_eq!(answer.status(), 308, "{request}");
        assert_eq!(answer.header("location"), location);
    }
    for bad in [
        "GET /app HTTP/1.1\r\n\r\n",
        "GET /app HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /app HTTP/1.1\r\nHost: evil.example.com/x\r\n\r\n",
    ] {
        let answer = Raw::connect(plain).await.ask(bad).await;
        assert_eq!(answer.status(), 400, "{bad}");
        assert_eq!(answer.header("location"), "");
    }
    app.assert_untouched();
}

// SECURITY 57
#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_on_a_listener_of_their_own() {
    let (gateway, app) = everything_open().await;
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(gateway.ask_admin(path).0, 200, "{path}");
        gateway
            .anonymous()
            .get(path)
            .await
            .expect_problem(404, "no_route");
    }
    for path in ["/app", "/auth/login", "/.well-known/jwks.json", "/"] {
        assert_eq!(gateway.ask_admin(path).0, 404, "{path}");
    }
    assert!(gateway.admin().ip().is_loopback());
    app.assert_untouched();
}

// SECURITY 57
#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_not_understood_where_tls_is_spoken() {
    let (gateway, app) = everything_open().await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("GET /app HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let rest = String::from_utf8_lossy(&raw.rest().await).into_owned();
    assert!(!rest.contains("HTTP/"), "{rest:?}");
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_on_loopback_may_end_tls() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        listeners = [{{ address = "127.0.0.1:0" }}, {{ address = "127.0.0.1:0", tls = false }}]
        [gateway]
        trusted_proxies = ["127.0.0.1"]
        [routes.app]
        path = "/app"
        auth = "none"
        upstream = "{}"
        "#,
        app.url()
    ));
    let plain = gateway.listener(ListenerKind::Plain);
    let request = "GET /app HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Proto: https\r\n\r\n";
    assert_eq!(Raw::connect(plain).await.ask(request).await.status(), 200);
    assert_eq!(app.only().header("x-forwarded-proto"), "https");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_are_spoken_over_tls() {
    let (gateway, app) = everything_open().await;
    for (caller, protocol) in [
        (gateway.anonymous(), "HTTP/1.1"),
        (gateway.anonymous_http2(), "HTTP/2.0"),
    ] {
        let answer = caller.get("/app").await.expect(200);
        let line = gateway.log_line(answer.header("x-request-id")).await;
        assert_eq!(line["protocol"], protocol);
    }
    assert_eq!(app.requests().len(), 2);
}
