//! When a personal token opens nothing any more, and what it outlives.

use std::time::Duration;

use serde_json::json;

use crate::harness::binary::portcullis;
use crate::harness::caller::PASSWORD;
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::tab::Tab;
use crate::harness::upstream::Upstream;
use crate::websockets::App;
use crate::websockets::assert_alive;
use crate::websockets::assert_ended;
use crate::websockets::open;

use super::asked;
use super::delete;
use super::guarded;
use super::listed;
use super::made;
use super::routes;

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_its_owner_says_so_and_no_one_elses_word_counts() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let bob = gateway.signed_in("bob").await;
    let (token, said) = made(&alice, &["notes:read"]).await;
    let (kept, _) = made(&alice, &["notes:read"]).await;
    let script = gateway.anonymous().with_token(&token);
    script.get("/notes").await.expect(200);
    app.only();
    let id = said["id"].as_str().unwrap();
    let path = format!("/auth/tokens/{id}");
    delete(&bob, &path).await.expect_problem(404, "no_token");
    let session = alice.get("/auth/me").await.expect(200).json();
    let session = session["session"].as_str().unwrap();
    for other in [session, "01900000-0000-7000-8000-000000000000", "x"] {
        let answer = delete(&alice, &format!("/auth/tokens/{other}")).await;
        answer.expect_problem(404, "no_token");
    }
    // Nor is it a session to be ended as one.
    delete(&alice, &format!("/auth/sessions/{id}"))
        .await
        .expect_problem(404, "no_session");
    script.get("/notes").await.expect(200);
    app.only();

    delete(&alice, &path).await.expect(204);
    script
        .get("/notes")
        .await
        .expect_problem(401, "invalid_token");
    delete(&alice, &path).await.expect_problem(404, "no_token");
    app.assert_untouched();
    gateway
        .anonymous()
        .with_token(&kept)
        .get("/notes")
        .await
        .expect(200);
    assert_eq!(listed(&alice).await.len(), 1);
}

// SECURITY 23, 24
#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_it_opened_ends_with_it_and_the_app_never_sees_it() {
    let app = App::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.app]
        path = "/app"
        clients = ["personal-token"]
        upstream = "{}"
        "#,
        app.url()
    ));
    let alice = gateway.signed_in("alice").await;
    let (token, said) = made(&alice, &[]).await;
    let (kept, _) = made(&alice, &[]).await;
    let opened = async |token: &str| {
        let offered = format!("chat, bearer, {token}");
        let headers = [("sec-websocket-protocol", &*offered)];
        let opening = open(&gateway, "/app", &headers);
        let (opened, (seen, server)) = tokio::join!(opening, app.accept());
        assert_eq!(seen["x-auth-user"], "alice");
        assert!(!format!("{seen:?}").contains(token), "{seen:?}");
        (opened.unwrap().0, server)
    };
    let (client, server) = opened(&token).await;
    let (mut other_client, mut other_server) = opened(&kept).await;
    let path = format!("/auth/tokens/{}", said["id"].as_str().unwrap());
    delete(&alice, &path).await.expect(204);
    assert_ended(client, server).await;
    assert_alive(&mut other_client, &mut other_server).await;
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn it_outlives_its_session_but_not_the_end_of_all_nor_the_password() {
    let (gateway, app) = guarded().await;
    let mut alice = gateway.signed_in("alice").await;
    let (token, _) = made(&alice, &["notes:read"]).await;
    let script = gateway.anonymous().with_token(&token);
    alice.post("/auth/logout", &json!({})).await.expect(204);
    script.get("/notes").await.expect(200);
    app.only();
    alice.log_in("alice").await;
    alice
        .post("/auth/logout", &json!({ "all": true }))
        .await
        .expect(204);
    script
        .get("/notes")
        .await
        .expect_problem(401, "invalid_token");

    alice.log_in("alice").await;
    let (token, _) = made(&alice, &["notes:read"]).await;
    let script = gateway.anonymous().with_token(&token);
    script.get("/notes").await.expect(200);
    app.only();
    let body =
        json!({ "current_password": PASSWORD, "new_password": "another-walrus-on-42-bikes" });
    alice.post("/auth/password", &body).await.expect(204);
    script
        .get("/notes")
        .await
        .expect_problem(401, "invalid_token");
    assert!(listed(&alice).await.is_empty());
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_by_itself() {
    let (gateway, _) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let body = json!({ "name": "x", "scopes": ["notes:read"], "expires_in": 60 });
    let said = alice.post("/auth/tokens", &body).await.expect(201).json();
    let script = gateway
        .anonymous()
        .with_token(said["token"].as_str().unwrap());
    script.get("/notes").await.expect(200);
    gateway.clock().advance(Duration::from_secs(61));
    script
        .get("/notes")
        .await
        .expect_problem(401, "invalid_token");
    assert!(listed(&alice).await.is_empty());
}

/// It has no idle end, and what is seen of it is taken down.
#[tokio::test(flavor = "multi_thread")]
async fn it_may_lie_about_for_weeks_and_its_use_is_seen() {
    let (gateway, _) = guarded().await;
    let mut alice = gateway.signed_in("alice").await;
    let (token, _) = made(&alice, &["notes:read"]).await;
    gateway.clock().advance(Duration::from_hours(29 * 24));
    let script = gateway.anonymous().with_token(&token);
    script.get("/notes").await.expect(200);
    alice.log_in("alice").await;
    let used = eventually("the use is taken down", async || {
        let listed = listed(&alice).await;
        listed[0]["last_used_at"].as_str().map(str::to_owned)
    });
    let used = used.await;
    assert!(*used > *listed(&alice).await[0]["created_at"].as_str().unwrap());
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_neither_the_living_nor_the_revoked() {
    let (mut gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let (living, _) = made(&alice, &["notes:read"]).await;
    let (dead, said) = made(&alice, &["notes:read"]).await;
    let path = format!("/auth/tokens/{}", said["id"].as_str().unwrap());
    delete(&alice, &path).await.expect(204);
    gateway.restart();
    let script = gateway.anonymous().with_token(&dead);
    script
        .get("/notes")
        .await
        .expect_problem(401, "invalid_token");
    app.assert_untouched();
    gateway
        .anonymous()
        .with_token(&living)
        .get("/notes")
        .await
        .expect(200);
    assert_eq!(app.only().header("x-auth-user"), "alice");
}

// SECURITY 50
#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_down_those_that_were_seen_before_go_on() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let (seen, _) = made(&alice, &["notes:read"]).await;
    let (unseen, _) = made(&alice, &["notes:read"]).await;
    let (ended, said) = made(&alice, &["notes:read"]).await;
    let path = format!("/auth/tokens/{}", said["id"].as_str().unwrap());
    delete(&alice, &path).await.expect(204);
    let with = |token: &str| gateway.anonymous().with_token(token);
    with(&seen).get("/notes").await.expect(200);
    app.only();

    gateway
        .behind_its_back("ALTER TABLE sessions RENAME TO gone")
        .await;
    for path in ["/notes", "/optional", "/auth/me"] {
        let answer = with(&unseen).get(path).await;
        answer.expect_problem(503, "store_unavailable");
    }
    with(&ended)
        .get("/notes")
        .await
        .expect_problem(401, "invalid_token");
    with("ptc_pat_x")
        .get("/notes")
        .await
        .expect_problem(401, "invalid_token");
    app.assert_untouched();
    with(&seen).get("/notes").await.expect(200);
    app.only();
    let answer = alice.post("/auth/tokens", &asked(&["notes:read"])).await;
    answer.expect_problem(503, "store_unavailable");

    gateway
        .behind_its_back("ALTER TABLE gone RENAME TO sessions")
        .await;
    with(&unseen).get("/notes").await.expect(200);
    assert_eq!(listed(&alice).await.len(), 2);
}

// SECURITY 26
#[tokio::test(flavor = "multi_thread")]
async fn what_sign_ins_may_hold_no_more_is_taken_from_what_was_made_before() {
    let app = Upstream::start().await;
    let before = routes(&app.url());
    let mut gateway = Gateway::start(&before);
    let mut alice = gateway.signed_in("alice").await;
    let tab = Tab::new(gateway.anonymous());
    tab.sign_in("alice").await.expect(204);
    let (token, _) = made(&alice, &["notes:read", "notes:write"]).await;
    let after = before.replace(
        r#"login_scopes = ["notes:read", "notes:write"]"#,
        r#"login_scopes = ["notes:read"]"#,
    );
    gateway.stop();
    gateway.folder().configure(&after);
    gateway.restart();

    let script = gateway.anonymous().with_token(&token);
    let tab = tab.with(gateway.anonymous());
    let refreshed = gateway.anonymous().try_refresh(alice.refresh_token()).await;
    alice = gateway.anonymous();
    alice.keep(&refreshed.expect(200));
    for answer in [
        script.get("/writing").await,
        tab.get("/writing").await,
        alice.get("/writing").await,
    ] {
        answer.expect_problem(403, "insufficient_scope");
    }
    app.assert_untouched();
    script.get("/notes").await.expect(200);
    tab.get("/notes").await.expect(200);
    alice.get("/notes").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_or_deleted_owners_opens_nothing_and_what_they_are_now_counts() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let (token, _) = made(&alice, &["notes:read"]).await;
    let script = gateway.anonymous().with_token(&token);
    script
        .get("/editors")
        .await
        .expect_problem(403, "insufficient_role");
    portcullis(
        gateway.folder(),
        &["user", "set", "alice", "--add-role", "editor"],
    )
    .expect(0);
    eventually("the role is felt", async || {
        (script.get("/editors").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(app.requests()[0].header("x-auth-roles"), "editor");
    portcullis(gateway.folder(), &["user", "disable", "alice"]).expect(0);
    eventually("the end is felt", async || {
        (script.get("/editors").await.status == 401).then_some(())
    })
    .await;
    let bob = gateway.signed_in("bob").await;
    let (token, _) = made(&bob, &["notes:read"]).await;
    let script = gateway.anonymous().with_token(&token);
    script.get("/notes").await.expect(200);
    portcullis(gateway.folder(), &["user", "delete", "bob", "--yes"]).expect(0);
    eventually("the end is felt", async || {
        (script.get("/notes").await.status == 401).then_some(())
    })
    .await;
}
