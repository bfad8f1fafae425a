//! What ends the session of a browser: its owner, here or elsewhere, or whoever keeps the accounts.

use serde_json::Value;
use serde_json::json;

use crate::browser_sessions::CLEARED;
use crate::browser_sessions::alice;
use crate::browser_sessions::assert_dead;
use crate::browser_sessions::guarded;
use crate::browser_sessions::routes;
use crate::harness::binary::portcullis;
use crate::harness::caller::PASSWORD;
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::raw::Raw;
use crate::harness::tab::SESSION;
use crate::harness::tab::Tab;
use crate::harness::upstream::RawUpstream;

const NEW_PASSWORD: &str = "quartz-lantern-drizzle-48";

/// The same cookie in another browser, which keeps it whatever becomes of the first.
fn copy(gateway: &Gateway, tab: &Tab) -> Tab {
    let copy = Tab::new(gateway.anonymous());
    copy.put(SESSION, &tab.cookie(SESSION).unwrap());
    copy
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn after_a_logout_the_very_next_request_is_refused() {
    let (gateway, app) = guarded().await;
    let (here, there) = (alice(&gateway).await, alice(&gateway).await);
    let thief = copy(&gateway, &here);
    for _ in 0..5 {
        // Known to both cores.
        copy(&gateway, &here).get("/app").await.expect(200);
        app.only();
    }
    let out = here.post("/auth/logout", &json!({})).await.expect(204);
    assert_eq!(out.header("set-cookie"), CLEARED);
    assert_eq!(here.cookie(SESSION), None);
    here.get("/app")
        .await
        .expect_problem(401, "unauthenticated");
    for _ in 0..5 {
        let copy = copy(&gateway, &thief);
        assert_dead(copy.get("/app").await);
    }
    let again = thief.post("/auth/logout", &json!({})).await;
    assert_eq!(again.header("set-cookie"), CLEARED);
    again.expect_problem(401, "unauthenticated");
    app.assert_untouched();
    there.get("/app").await.expect(200);
    app.only();

    let bob = Tab::signed_in(gateway.anonymous(), "bob").await;
    let here = alice(&gateway).await;
    let tokens = gateway.signed_in("alice").await;
    here.post("/auth/logout", &json!({ "all": true }))
        .await
        .expect(204);
    assert_dead(there.get("/app").await);
    tokens
        .get("/app")
        .await
        .expect_problem(401, "invalid_token");
    app.assert_untouched();
    bob.get("/app").await.expect(200);
}

async fn listed(tab: &Tab) -> Vec<Value> {
    let answer = tab.get("/auth/sessions").await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()["sessions"].as_array().unwrap().clone()
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn a_user_sees_their_own_sessions_and_ends_any_of_them() {
    let (gateway, app) = guarded().await;
    let (here, there) = (alice(&gateway).await, alice(&gateway).await);
    let tokens = gateway.signed_in("alice").await;
    let bob = Tab::signed_in(gateway.anonymous(), "bob").await;

    let sessions = listed(&here).await;
    assert_eq!(sessions.len(), 3, "{sessions:?}");
    let kinds = |kind: &str| sessions.iter().filter(|it| it["kind"] == kind).count();
    assert_eq!((kinds("browser"), kinds("tokens")), (2, 1));
    assert!(sessions.iter().all(|it| it["address"] == "127.0.0.1"));
    let current: Vec<_> = sessions.iter().filter(|it| it["current"] == true).collect();
    let me = here.get("/auth/me").await.expect(200).json();
    assert_eq!(current.len(), 1);
    assert_eq!(current[0]["id"], me["session"]);
    assert!(!format!("{sessions:?}").contains(&here.cookie(SESSION).unwrap()));
    let of_bob = listed(&bob).await;
    assert_eq!(of_bob.len(), 1);
    let id = |session: &Value| session["id"].as_str().unwrap().to_owned();
    assert!(!sessions.iter().any(|it| it["id"] == of_bob[0]["id"]));

    // Another's is as little there as one that never was.
    for id in [
        &*id(&of_bob[0]),
        "01900000-0000-7000-8000-000000000000",
        "x",
    ] {
        let answer = here.delete(&format!("/auth/sessions/{id}")).await;
        answer.expect_problem(404, "no_session");
    }
    bob.get("/app").await.expect(200);
    app.only();

    let of_there = there.get("/auth/me").await.expect(200).json();
    let path = format!("/auth/sessions/{}", of_there["session"].as_str().unwrap());
    let ended = here.delete(&path).await.expect(204);
    assert_eq!(ended.header("set-cookie"), "");
    assert_dead(there.get("/app").await);
    here.delete(&path).await.expect_problem(404, "no_session");
    assert_eq!(listed(&here).await.len(), 2);

    let of_tokens = sessions.iter().find(|it| it["kind"] == "tokens").unwrap();
    here.delete(&format!("/auth/sessions/{}", id(of_tokens)))
        .await
        .expect(204);
    tokens
        .get("/app")
        .await
        .expect_problem(401, "invalid_token");
    let ended = here
        .delete(&format!("/auth/sessions/{}", id(current[0])))
        .await
        .expect(204);
    assert_eq!(ended.header("set-cookie"), CLEARED);
    app.assert_untouched();
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_every_other_session() {
    let (gateway, app) = guarded().await;
    let (here, there) = (alice(&gateway).await, alice(&gateway).await);
    let tokens = gateway.signed_in("alice").await;
    there.get("/app").await.expect(200);
    app.only();
    let change = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
    here.post("/auth/password", &change).await.expect(204);
    assert_dead(there.get("/app").await);
    tokens
        .get("/app")
        .await
        .expect_problem(401, "invalid_token");
    app.assert_untouched();
    here.get("/app").await.expect(200);
    app.only();

    // And one by a token ends those of browsers.
    let mut tokens = gateway.anonymous();
    let body = json!({ "username": "alice", "password": NEW_PASSWORD });
    tokens.keep(&tokens.try_log_in(&body).await.expect(200));
    let change = json!({ "current_password": NEW_PASSWORD, "new_password": PASSWORD });
    tokens.post("/auth/password", &change).await.expect(204);
    assert_dead(here.get("/app").await);
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_ends_is_felt_here() {
    let (gateway, app) = guarded().await;
    for (user, arguments) in [
        ("alice", ["user", "disable", "alice"].as_slice()),
        ("bob", &["user", "logout", "bob"]),
        ("carol", &["user", "delete", "carol", "--yes"]),
    ] {
        let tab = Tab::signed_in(gateway.anonymous(), user).await;
        let (copy, unseen) = (copy(&gateway, &tab), copy(&gateway, &tab));
        tab.get("/app").await.expect(200);
        portcullis(gateway.folder(), arguments).expect(0);
        eventually("the end of a session", async || {
            (tab.get("/app").await.status == 401).then_some(())
        })
        .await;
        let served = app.requests().len();
        assert_dead(copy.get("/app").await);
        assert_dead(unseen.get("/auth/me").await);
        assert_eq!(app.requests().len(), served);
        let answer = tab.sign_in(user).await;
        assert_eq!(
            answer.status,
            if user == "bob" { 204 } else { 401 },
            "{user}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_given_or_taken_is_felt_without_a_new_sign_in() {
    let (gateway, app) = guarded().await;
    let tab = alice(&gateway).await;
    for (change, roles) in [("--add-role", "editor"), ("--remove-role", "")] {
        let arguments = ["user", "set", "alice", change, "editor"];
        portcullis(gateway.folder(), &arguments).expect(0);
        eventually("a role to be felt", async || {
            tab.get("/app").await.expect(200);
            (app.only().header("x-auth-roles") == roles).then_some(())
        })
        .await;
    }
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_session_and_no_other_does() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let (here, there) = (alice(&gateway).await, alice(&gateway).await);
    let begin = async |tab: &Tab| -> (Raw, Raw) {
        let mut client = gateway.raw().await;
        let cookie = tab.cookie(SESSION).unwrap();
        client
            .send(format!(
                "GET /app HTTP/1.1\r\nHost: localhost\r\nCookie: {SESSION}={cookie}\r\n\r\n"
            ))
            .await;
        let mut link = app.accept().await;
        link.head().await;
        link.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
            .await;
        assert_eq!(client.head().await.status(), 200);
        client.until(b"one\r\n").await;
        (client, link)
    };
    let (mut client, mut link) = begin(&here).await;
    let (mut other_client, mut other_link) = begin(&there).await;
    here.post("/auth/logout", &json!({})).await.expect(204);
    client.assert_closed().await;
    link.assert_closed().await;
    other_link.send("3\r\ntwo\r\n").await;
    other_client.until(b"two\r\n").await;
    portcullis(gateway.folder(), &["user", "disable", "alice"]).expect(0);
    other_client.assert_closed().await;
    other_link.assert_closed().await;
}
