//! What is under way ends with the session of its caller, within a second of it, and nothing else does.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::harness::binary::portcullis;
use crate::harness::caller::Caller;
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::raw::Raw;
use crate::harness::upstream::RawUpstream;

/// A guarded app, and an open one, that speak as the test tells them to.
async fn guarded() -> (Gateway, RawUpstream) {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [upstreams.app]
        targets = ["{}"]
        [routes.app]
        path = "/app"
        upstream = "app"
        [routes.open]
        path = "/open"
        auth = "none"
        upstream = "app"
        "#,
        app.url()
    ));
    (gateway, app)
}

/// A stream of events that has begun: the client's end and the app's.
async fn events(gateway: &Gateway, app: &RawUpstream, path: &str, caller: &Caller) -> (Raw, Raw) {
    let mut client = gateway.raw().await;
    let token = caller.token();
    client
        .send(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        ))
        .await;
    let mut link = app.accept().await;
    link.head().await;
    link.send(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
         9\r\ndata: 1\n\n\r\n",
    )
    .await;
    assert_eq!(client.head().await.status(), 200);
    client.until(b"data: 1\n\n\r\n").await;
    (client, link)
}

/// Both ends are closed, and the client cannot take what he has for the whole.
async fn assert_broken_off(mut client: Raw, mut link: Raw) {
    client.assert_closed().await;
    link.assert_closed().await;
}

async fn assert_alive(client: &mut Raw, link: &mut Raw) {
    link.send("9\r\ndata: 2\n\n\r\n").await;
    client.until(b"data: 2\n\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_session_and_no_other_does() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let elsewhere = gateway.signed_in("alice").await;
    let (client, link) = events(&gateway, &app, "/app", &alice).await;
    let mut other = events(&gateway, &app, "/app", &elsewhere).await;
    let mut open = events(&gateway, &app, "/open", &alice).await;

    alice
        .post("/auth/logout", &serde_json::json!({}))
        .await
        .expect(204);
    assert_broken_off(client, link).await;
    assert_alive(&mut other.0, &mut other.1).await;
    assert_alive(&mut open.0, &mut open.1).await;

    let all = serde_json::json!({ "all": true });
    elsewhere.post("/auth/logout", &all).await.expect(204);
    assert_broken_off(other.0, other.1).await;
    assert_alive(&mut open.0, &mut open.1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_line_in_the_log_says_why_it_ended() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let mut client = gateway.raw().await;
    let token = alice.token();
    client
        .send(format!(
            "GET /app HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        ))
        .await;
    let mut link = app.accept().await;
    link.head().await;
    link.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        .await;
    let head = client.head().await;
    client.until(b"half").await;
    alice
        .post("/auth/logout", &serde_json::json!({}))
        .await
        .expect(204);
    assert_broken_off(client, link).await;
    let line = gateway.log_line(head.header("x-request-id")).await;
    assert_eq!(line["decision"], "ended");
    assert_eq!(line["reason"], "session_ended");
    assert_eq!(line["status"], 200);
    assert_eq!(line["bytes"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_ends_takes_its_streams_along() {
    let (gateway, app) = guarded().await;
    let mut reasons = Vec::new();
    for (user, arguments) in [
        ("alice", ["user", "disable", "alice"].as_slice()),
        ("bob", &["user", "logout", "bob"]),
        ("carol", &["user", "delete", "carol", "--yes"]),
        ("dora", &["user", "set", "dora", "--add-role", "admin"]),
    ] {
        let caller = gateway.signed_in(user).await;
        let (client, link) = events(&gateway, &app, "/app", &caller).await;
        portcullis(gateway.folder(), arguments).expect(0);
        assert_broken_off(client, link).await;
        reasons.push(match user {
            "dora" => "account_changed",
            _ => "session_ended",
        });
        let ended = eventually("the line of a stream that was ended", async || {
            let lines = gateway.log_lines().into_iter();
            let ended: Vec<_> = lines.filter(|line| line["decision"] == "ended").collect();
            (ended.len() == reasons.len()).then_some(ended)
        });
        let ended = ended.await;
        assert_eq!(
            ended.last().unwrap()["reason"],
            *reasons.last().unwrap(),
            "{user}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_ends_with_its_session_too() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let mut client = gateway.raw().await;
    let token = alice.token();
    client
        .send(format!(
            "POST /app HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
        ))
        .await;
    let mut link = app.accept().await;
    link.head().await;
    link.until(b"first\r\n").await;
    alice
        .post("/auth/logout", &serde_json::json!({}))
        .await
        .expect(204);
    let refused = client.message().await;
    assert_eq!(refused.status(), 401);
    let problem: serde_json::Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(problem["code"], "session_ended");
    // The app must not take what it has for the whole.
    link.assert_closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_over_http2_is_reset_and_its_connection_goes_on() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let bob = gateway.signed_in("bob").await;
    let connection = gateway.anonymous_http2();
    let ask = |caller: &Caller| {
        let caller = connection.with_token(caller.token());
        let asked = caller.request(reqwest::Method::GET, "/app").send();
        tokio::spawn(async move { asked.await.unwrap() })
    };
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf";
    let mut streams = Vec::new();
    for caller in [&alice, &bob] {
        let asked = ask(caller);
        let mut link = app.accept().await;
        link.head().await;
        link.send(HEAD).await;
        let mut answer = asked.await.unwrap();
        assert_eq!(answer.chunk().await.unwrap().unwrap(), "half");
        streams.push((answer, link));
    }
    let (mut of_bob, mut bobs_link) = streams.pop().unwrap();
    let (mut of_alice, mut alices_link) = streams.pop().unwrap();
    alice
        .post("/auth/logout", &serde_json::json!({}))
        .await
        .expect(204);
    assert!(of_alice.chunk().await.is_err());
    alices_link.assert_closed().await;
    bobs_link.send("more").await;
    assert_eq!(of_bob.chunk().await.unwrap().unwrap(), "more");
}

// SECURITY 25
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_takes_the_streams_of_its_tokens_with_it() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let header = alice.token().split('.').next().unwrap();
    let header = URL_SAFE_NO_PAD.decode(header).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    let kid = header["kid"].as_str().unwrap();
    let (client, link) = events(&gateway, &app, "/app", &alice).await;
    portcullis(gateway.folder(), &["key", "revoke", "--", kid]).expect(0);
    assert_broken_off(client, link).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_when_there_are_any_and_other_answers_do_not_pause_for_long() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [upstreams.app]
        targets = ["{}"]
        timeouts = {{ idle = "100ms", stream_idle = "1h" }}
        [routes.app]
        path = "/app"
        upstream = "app"
        "#,
        app.url()
    ));
    let alice = gateway.signed_in("alice").await;
    let mut silent = events(&gateway, &app, "/app", &alice).await;
    let paused = alice.request(reqwest::Method::GET, "/app").send();
    let paused = tokio::spawn(async move { paused.await.unwrap().bytes().await });
    let mut link = app.accept().await;
    link.head().await;
    link.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        .await;
    // By the time that this one is given up, the events have paused for longer.
    assert!(paused.await.unwrap().is_err());
    assert_alive(&mut silent.0, &mut silent.1).await;
}
