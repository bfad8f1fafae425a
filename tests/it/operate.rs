//! What an operator watches.

use serde_json::Value;
use serde_json::json;

use crate::harness::gateway::Gateway;

const ROUTES: &str = r#"
    [routes.app]
    path = "/app"
    upstream = "echo"
    [routes.limited]
    path = "/limited"
    auth = "none"
    limit = "1 per hour"
    upstream = "echo"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_gateway_is_live_and_ready() {
    let gateway = Gateway::start(ROUTES);
    for (path, status) in [("/livez", "live"), ("/readyz", "ready")] {
        let (code, body) = gateway.ask_admin(path);
        assert_eq!(code, 200);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["status"], status);
    }
    assert_eq!(gateway.ask_admin("/nothing").0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_move_with_what_happens() {
    let gateway = Gateway::start(ROUTES);
    let alice = gateway.signed_in("alice").await;
    alice.get("/app").await.expect(200);
    gateway.anonymous().get("/app").await.expect(401);
    gateway.anonymous().get("/nowhere").await.expect(404);
    gateway.anonymous().get("/limited").await.expect(200);
    gateway.anonymous().get("/limited").await.expect(429);
    let wrong = json!({ "username": "alice", "password": "x" });
    gateway
        .anonymous()
        .post("/auth/login", &wrong)
        .await
        .expect(401);

    let metrics = gateway.ask_admin("/metrics").1;
    for (name, at_least) in [
        (
            r#"requests_total{route="app",method="GET",status="2xx",decision="allow",reason=""}"#,
            1.0,
        ),
        (
            r#"requests_total{route="app",method="GET",status="4xx",decision="unauthenticated",reason="no_credential"}"#,
            1.0,
        ),
        (
            r#"requests_total{route="(none)",method="GET",status="4xx",decision="not_found",reason="no_route"}"#,
            1.0,
        ),
        (
            r#"requests_total{route="limited",method="GET",status="4xx",decision="limited",reason="limited"}"#,
            1.0,
        ),
        (r#"request_duration_seconds_count{route="app"}"#, 2.0),
        (r#"logins_total{result="ok"}"#, 1.0),
        (r#"logins_total{result="bad_credentials"}"#, 1.0),
        (
            r#"limit_decisions_total{policy="limited/user",result="refused"}"#,
            1.0,
        ),
        (
            r#"limit_decisions_total{policy="limited/user",result="admitted"}"#,
            1.0,
        ),
        (r#"tls_handshakes_total{result="ok"}"#, 5.0),
        ("password_hash_seconds_count", 3.0),
        ("connections_total", 5.0),
        ("store_available", 1.0),
    ] {
        let value = gateway.metric(&format!("portcullis_{name}"));
        assert!(value >= at_least, "{name} is {value}\n{metrics}");
    }
    for name in [
        "panics_total",
        "log_lines_dropped_total",
        "hashes_shed_total",
        "hash_queue_depth",
    ] {
        assert!(
            metrics.contains(&format!("portcullis_{name} 0")),
            "{name}\n{metrics}"
        );
    }
    // Neither a user nor an address: those are for the log.
    let me = alice.get("/auth/me").await.expect(200).json();
    for personal in ["alice", me["id"].as_str().unwrap(), "127.0.0.1"] {
        assert!(!metrics.contains(personal), "{personal}");
    }
    assert!(metrics.trim_end().ends_with("# EOF"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_an_id_of_its_own() {
    let gateway = Gateway::start(ROUTES);
    let mut ids = Vec::new();
    for path in [
        "/app",
        "/nowhere",
        "/limited",
        "/auth/me",
        "/.well-known/jwks.json",
        "/a%00",
    ] {
        let answer = gateway.anonymous().get(path).await;
        let id = answer.header("x-request-id").to_owned();
        assert_eq!(id.len(), 32, "{path}");
        ids.push(id);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}
