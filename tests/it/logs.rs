//! What is written down about a request, and what never is.

use serde_json::json;

use crate::harness::binary::Served;
use crate::harness::caller::PASSWORD;
use crate::harness::eventually;
use crate::harness::gateway::Folder;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::RawUpstream;

const ROUTE: &str = r#"
    [routes.app]
    path = "/app"
    upstream = "echo"
"#;

// SECURITY 58
#[tokio::test(flavor = "multi_thread")]
async fn one_line_per_request_says_who_asked_for_what_and_what_was_decided() {
    let gateway = Gateway::start(ROUTE);
    let alice = gateway.signed_in("alice").await;
    let me = alice.get("/auth/me").await.expect(200).json();
    let answer = alice.get("/app/x?query=hidden").await.expect(200);
    let line = gateway.log_line(answer.header("x-request-id")).await;
    for (field, value) in [
        ("client", json!("127.0.0.1")),
        ("method", json!("GET")),
        ("path", json!("/app/x")),
        ("protocol", json!("HTTP/1.1")),
        ("route", json!("app")),
        ("user", me["id"].clone()),
        ("session", me["session"].clone()),
        ("decision", json!("allow")),
        ("reason", json!("")),
        ("status", json!(200)),
        ("bytes", json!(answer.body.len())),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    assert!(line["time"].is_string() && line["duration_ms"].is_number());

    let anonymous = gateway.anonymous();
    let liar = anonymous.with_token("a.b.c");
    for (answer, decision, reason) in [
        (
            anonymous.get("/app").await,
            "unauthenticated",
            "no_credential",
        ),
        (liar.get("/app").await, "unauthenticated", "malformed"),
        (anonymous.get("/nowhere").await, "not_found", "no_route"),
        (anonymous.get("/app/%00").await, "refused", "path_refused"),
        (anonymous.get("/auth/me").await, "own", ""),
    ] {
        let line = gateway.log_line(answer.header("x-request-id")).await;
        assert_eq!(line["decision"], decision);
        assert_eq!(line["reason"], reason);
        assert_eq!(line["status"], answer.status);
        assert_eq!(line["user"], json!(null));
    }
}

// SECURITY 58
#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_exactly_one_line() {
    let gateway = Gateway::start(ROUTE);
    let mut ids = Vec::new();
    for path in ["/app", "/nowhere", "/auth/me", "/app?x", "/a%00"] {
        for caller in [gateway.anonymous(), gateway.anonymous_http2()] {
            let answer = caller.get(path).await;
            ids.push(answer.header("x-request-id").to_owned());
        }
    }
    for id in &ids {
        gateway.log_line(id).await;
    }
    let mut written: Vec<_> = gateway
        .log_lines()
        .iter()
        .map(|line| line["request_id"].as_str().unwrap().to_owned())
        .collect();
    written.sort_unstable();
    ids.sort_unstable();
    assert_eq!(written, ids);
}

// SECURITY 58
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_written_anywhere() {
    let folder = Folder::with(ROUTE);
    let served = Served::start(&folder).await;
    let mut alice = served.anonymous();
    alice.register("alice").await;
    alice.log_in("alice").await;
    let secret = [
        (
            "cookie",
            "__Host-portcullis=cookie-secret; other=cookie-secret",
        ),
        ("x-mine", "header-secret"),
        ("user-agent", "agent-secret"),
    ];
    alice
        .get_with("/app?token=query-secret", &secret)
        .await
        .expect(200);
    let tokens = [alice.token().to_owned(), alice.refresh_token().to_owned()];
    alice.refresh().await;
    alice.try_refresh(&tokens[1]).await.expect(200);
    let wrong = json!({ "username": "alice", "password": "password-secret-wrong" });
    alice.post("/auth/login", &wrong).await.expect(401);
    let mail = json!({ "email": "mail-secret@example.com", "password": PASSWORD });
    alice.post("/auth/register", &mail).await.expect(201);
    let stranger = alice.with_token("bearer-secret");
    stranger.get_with("/app", &secret).await.expect(401);
    let change = json!({ "current_password": PASSWORD, "new_password": "password123" });
    alice.post("/auth/password", &change).await.expect(422);
    alice.post("/auth/logout", &json!({})).await.expect(204);
    served.signal(rustix::process::Signal::TERM);
    assert!(served.ended().await.success());

    let written =
        ["stdout", "stderr"].map(|name| std::fs::read_to_string(folder.path(name)).unwrap());
    let written = written.concat();
    assert!(written.lines().count() > 10, "{written}");
    let never = [
        PASSWORD,
        "-secret",
        "password123",
        &*tokens[0],
        &*tokens[1],
        alice.token(),
    ];
    for secret in never.into_iter().chain([alice.refresh_token()]) {
        assert!(!written.contains(secret), "{secret}: {written}");
    }
    // Not a part of one either: a JWT begins so, and ours of the other kind so.
    assert!(
        !written.contains("eyJ") && !written.contains("ptc_rt_"),
        "{written}"
    );
}

// SECURITY 58
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_leaves_its_line() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&format!(
        "[routes.app]\npath = \"/app\"\nauth = \"none\"\nupstream = \"{}\"",
        app.url()
    ));
    let mut raw = gateway.raw().await;
    raw.send("GET /app/slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let mut link = app.accept().await;
    link.head().await;
    drop(raw);
    let line = eventually("the line of a client that went away", async || {
        let lines = gateway.log_lines();
        lines.into_iter().find(|line| line["path"] == "/app/slow")
    })
    .await;
    assert_eq!(line["decision"], "client_gone");
    assert_eq!(line["status"], 499);
    assert_eq!(line["route"], "app");
    // And the app is not kept busy for nobody.
    link.assert_closed().await;
}
