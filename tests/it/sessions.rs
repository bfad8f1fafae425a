//! Sessions: refreshed, ended, and dead the moment they are ended.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use reqwest::RequestBuilder;
use serde_json::json;

use crate::harness::binary::portcullis;
use crate::harness::binary::portcullis_reading;
use crate::harness::caller::Answer;
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

async fn guarded() -> (Gateway, Upstream) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [tokens]
        refresh_grace = "10s"
        [routes.app]
        path = "/app"
        upstream = "{}"
        "#,
        app.url()
    ));
    (gateway, app)
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn refreshing_makes_both_tokens_new() {
    let (gateway, app) = guarded().await;
    let mut alice = gateway.signed_in("alice").await;
    let (access, refresh) = (alice.token().to_owned(), alice.refresh_token().to_owned());
    alice.refresh().await;
    assert_ne!(alice.token(), access);
    assert_ne!(alice.refresh_token(), refresh);
    alice.get("/app").await.expect(200);
    assert_eq!(app.only().header("x-auth-user"), "alice");
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn a_spent_refresh_token_gets_the_same_successor_within_the_grace() {
    let (gateway, _) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let first = alice.refresh_token();
    let successor = async || {
        let answer = alice.try_refresh(first).await.expect(200);
        answer.json()["refresh_token"].as_str().unwrap().to_owned()
    };
    let one = successor().await;
    assert_eq!(successor().await, one);
    gateway.clock().advance(Duration::from_secs(9));
    assert_eq!(successor().await, one);
    alice.try_refresh(&one).await.expect(200);
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_refreshes_have_one_successor() {
    let (gateway, _) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let mut refreshing = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let caller = gateway.anonymous();
        let token = alice.refresh_token().to_owned();
        refreshing.spawn(async move {
            let answer = caller.try_refresh(&token).await.expect(200);
            answer.json()["refresh_token"].as_str().unwrap().to_owned()
        });
    }
    let mut successors = refreshing.join_all().await;
    successors.dedup();
    assert_eq!(successors.len(), 1);
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn a_spent_refresh_token_that_comes_back_late_ends_the_session() {
    let (gateway, app) = guarded().await;
    let mut alice = gateway.signed_in("alice").await;
    let stolen = alice.refresh_token().to_owned();
    alice.refresh().await;
    alice.get("/app").await.expect(200);
    app.only();

    gateway.clock().advance(Duration::from_secs(11));
    alice
        .try_refresh(&stolen)
        .await
        .expect_problem(401, "invalid_refresh_token");
    alice.get("/app").await.expect_problem(401, "invalid_token");
    alice
        .try_refresh(alice.refresh_token())
        .await
        .expect_problem(401, "invalid_refresh_token");
    app.assert_untouched();
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn a_spent_refresh_token_is_not_forgiven_once_its_successor_was_used() {
    let (gateway, app) = guarded().await;
    let mut alice = gateway.signed_in("alice").await;
    let stolen = alice.refresh_token().to_owned();
    alice.refresh().await;
    alice.refresh().await;
    alice
        .try_refresh(&stolen)
        .await
        .expect_problem(401, "invalid_refresh_token");
    alice.get("/app").await.expect_problem(401, "invalid_token");
    app.assert_untouched();
}

/// A body of no bytes, of which nobody knows beforehand that it is empty.
struct EmptyAfterAll;

impl http_body::Body for EmptyAfterAll {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_needs_no_body_however_it_is_not_sent() {
    let (gateway, _) = guarded().await;
    for caller in [gateway.anonymous(), gateway.anonymous_http2()] {
        let logout = async |with: fn(RequestBuilder) -> RequestBuilder| {
            let alice = gateway.signed_in("alice").await;
            let caller = caller.with_token(alice.token());
            let request = caller.request(reqwest::Method::POST, "/auth/logout");
            Answer::of(with(request)).await
        };
        for empty in [
            (|request| request) as fn(RequestBuilder) -> RequestBuilder,
            |request| request.header("content-type", "application/json"),
            |request| request.body(reqwest::Body::wrap(EmptyAfterAll)),
        ] {
            logout(empty).await.expect(204);
        }
        logout(|request| request.body("{}"))
            .await
            .expect_problem(415, "not_json");
        logout(|request| request.json(&json!({ "everything": true })))
            .await
            .expect_problem(422, "unexpected_json");
        logout(|request| request.json(&"x".repeat(17 * 1024)))
            .await
            .expect_problem(413, "body_too_large");
    }
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn after_a_logout_the_very_next_request_is_refused() {
    let (gateway, app) = guarded().await;
    let here = gateway.signed_in("alice").await;
    let there = gateway.signed_in("alice").await;
    // Known by heart on both cores before it ends.
    for _ in 0..10 {
        gateway
            .anonymous()
            .with_token(here.token())
            .get("/app")
            .await
            .expect(200);
        app.only();
    }
    let out = here.request(reqwest::Method::POST, "/auth/logout");
    Answer::of(out).await.expect(204);
    for _ in 0..10 {
        let refused = gateway
            .anonymous()
            .with_token(here.token())
            .get("/app")
            .await;
        refused.expect_problem(401, "invalid_token");
    }
    here.try_refresh(here.refresh_token())
        .await
        .expect_problem(401, "invalid_refresh_token");
    here.get("/auth/me")
        .await
        .expect_problem(401, "invalid_token");
    app.assert_untouched();

    there.get("/app").await.expect(200);
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn all_sessions_of_a_user_can_be_ended_at_once() {
    let (gateway, app) = guarded().await;
    let here = gateway.signed_in("alice").await;
    let there = gateway.signed_in("alice").await;
    let bob = gateway.signed_in("bob").await;
    here.post("/auth/logout", &json!({ "all": true }))
        .await
        .expect(204);
    for caller in [&here, &there] {
        caller
            .get("/app")
            .await
            .expect_problem(401, "invalid_token");
        caller.try_refresh(caller.refresh_token()).await.expect(401);
    }
    app.assert_untouched();
    bob.get("/app").await.expect(200);
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_neither_the_living_nor_the_dead() {
    let (mut gateway, app) = guarded().await;
    let living = gateway.signed_in("alice").await;
    let dead = gateway.signed_in("alice").await;
    dead.post("/auth/logout", &json!({})).await.expect(204);

    gateway.restart();
    let caller = gateway.anonymous();
    caller
        .with_token(dead.token())
        .get("/app")
        .await
        .expect_problem(401, "invalid_token");
    caller.try_refresh(dead.refresh_token()).await.expect(401);
    app.assert_untouched();
    caller
        .with_token(living.token())
        .get("/app")
        .await
        .expect(200);
    caller.try_refresh(living.refresh_token()).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_of_itself_however_often_it_is_refreshed() {
    let (gateway, _) = guarded().await;
    let mut alice = gateway.signed_in("alice").await;
    for _ in 0..5 {
        gateway
            .clock()
            .advance(Duration::from_secs(5 * 24 * 60 * 60));
        alice.refresh().await;
    }
    gateway
        .clock()
        .advance(Duration::from_secs(6 * 24 * 60 * 60));
    let refused = alice.try_refresh(alice.refresh_token()).await;
    refused.expect_problem(401, "invalid_refresh_token");
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_ends_is_felt_here() {
    let (gateway, app) = guarded().await;
    for (user, arguments) in [
        ("alice", vec!["user", "disable", "alice"]),
        ("bob", vec!["user", "logout", "bob"]),
        ("carol", vec!["user", "delete", "carol", "--yes"]),
    ] {
        let caller = gateway.signed_in(user).await;
        caller.get("/app").await.expect(200);
        portcullis(gateway.folder(), &arguments).expect(0);
        eventually("the end of a session", async || {
            (caller.get("/app").await.status == 401).then_some(())
        })
        .await;
        caller.try_refresh(caller.refresh_token()).await.expect(401);
        let seen = app.requests().len();
        caller
            .get("/app")
            .await
            .expect_problem(401, "invalid_token");
        assert_eq!(app.requests().len(), seen);
    }
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn any_token_can_be_revoked_from_the_command_line() {
    let (gateway, _) = guarded().await;
    for kind in ["access", "refresh"] {
        let caller = gateway.signed_in("alice").await;
        let token = if kind == "access" {
            caller.token()
        } else {
            caller.refresh_token()
        };
        let arguments = ["token", "revoke", "-"];
        portcullis_reading(gateway.folder(), &arguments, &format!("{token}\n")).expect(0);
        eventually("the end of a session", async || {
            (caller.get("/app").await.status == 401).then_some(())
        })
        .await;
    }
    let garbage = portcullis_reading(gateway.folder(), &["token", "revoke", "-"], "garbage\n");
    garbage.expect(1);
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_refresh_says_nothing_about_why() {
    let (gateway, _) = guarded().await;
    let mut seen = Vec::new();
    let mut refused = async |what: &str, token: &str| {
        let answer = gateway.anonymous().try_refresh(token).await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        let answer = answer.expect_problem(401, "invalid_refresh_token");
        let mut problem = answer.json();
        problem["request_id"].take();
        let mut headers = answer.headers;
        for changes in ["date", "x-request-id"] {
            headers.remove(changes).expect(changes);
        }
        seen.push((problem, format!("{headers:?}")));
    };
    refused("noise", "x").await;
    for (name, arguments) in [
        ("disabled", &["user", "disable", "disabled"][..]),
        ("deleted", &["user", "delete", "deleted", "--yes"]),
        ("ended", &["user", "logout", "ended"]),
    ] {
        let caller = gateway.signed_in(name).await;
        portcullis(gateway.folder(), arguments).expect(0);
        refused(name, caller.refresh_token()).await;
    }
    let mut reused = gateway.signed_in("reused").await;
    let spent = reused.refresh_token().to_owned();
    reused.refresh().await;
    reused.refresh().await;
    refused("reused", &spent).await;
    refused("of an ended family", reused.refresh_token()).await;
    let old = gateway.signed_in("old").await;
    gateway
        .clock()
        .advance(Duration::from_secs(31 * 24 * 60 * 60));
    refused("expired", old.refresh_token()).await;
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:#?}");
}
