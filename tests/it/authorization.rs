//! Who may pass: scopes say what a token may do, roles what a user may do.

use serde_json::json;

use crate::harness::binary::portcullis;
use crate::harness::caller::Caller;
use crate::harness::caller::PASSWORD;
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

async fn guarded() -> (Gateway, Upstream) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.read]
        path = "/read"
        scopes = ["notes:read"]
        upstream = "{0}"
        [routes.both]
        path = "/both"
        scopes = ["notes:read", "notes:write"]
        upstream = "{0}"
        [routes.nobody]
        path = "/nobody"
        scopes = ["notes"]
        upstream = "{0}"
        [routes.staff]
        path = "/staff"
        roles = ["editor", "admin"]
        upstream = "{0}"
        [routes.staff.paths."/staff/help"]
        roles = []
        "#,
        app.url()
    ));
    (gateway, app)
}

async fn with_scope(gateway: &Gateway, scope: &str) -> Caller {
    let mut caller = gateway.anonymous();
    caller.register("alice").await;
    let body = json!({ "username": "alice", "password": PASSWORD, "scope": scope });
    let answer = caller.post("/auth/login", &body).await.expect(200);
    assert_eq!(answer.json()["scope"], scope);
    caller.keep(&answer);
    caller
}

// SECURITY 26
#[tokio::test(flavor = "multi_thread")]
async fn a_token_must_carry_every_scope() {
    let (gateway, app) = guarded().await;
    let everything = gateway.signed_in("alice").await;
    let reader = with_scope(&gateway, "notes:read").await;
    let nothing = with_scope(&gateway, "").await;

    for (caller, path) in [
        (&everything, "/read"),
        (&everything, "/both"),
        (&reader, "/read"),
    ] {
        caller.get(path).await.expect(200);
        app.only();
    }
    for (caller, path, scopes) in [
        (&reader, "/both", "notes:read notes:write"),
        (&nothing, "/read", "notes:read"),
        // Whole words: `notes:read` is not `notes`.
        (&everything, "/nobody", "notes"),
    ] {
        let refused = caller.get(path).await;
        assert_eq!(
            refused.header("www-authenticate"),
            format!(
                "Bearer realm=\"portcullis\", error=\"insufficient_scope\", scope=\"{scopes}\""
            )
        );
        let refused = refused.expect_problem(403, "insufficient_scope");
        assert!(refused.text().contains(scopes));
    }
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_gets_at_most_what_logins_may_hold() {
    let (gateway, app) = guarded().await;
    let caller = gateway.anonymous();
    caller.register("alice").await;
    for scope in [
        "admin",
        "notes:read admin",
        "notes",
        "notes:read\nadmin",
        "\"",
        "é",
    ] {
        let body = json!({ "username": "alice", "password": PASSWORD, "scope": scope });
        let refused = caller.post("/auth/login", &body).await;
        refused.expect_problem(400, "invalid_scope");
    }
    // Refreshing does not widen what a login asked for.
    let mut reader = with_scope(&gateway, "notes:read").await;
    reader.refresh().await;
    reader
        .get("/both")
        .await
        .expect_problem(403, "insufficient_scope");
    app.assert_untouched();
    reader.get("/read").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_must_have_one_of_the_roles() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    alice
        .get("/staff")
        .await
        .expect_problem(403, "insufficient_role");
    app.assert_untouched();
    alice.get("/staff/help").await.expect(200);
    app.only();

    portcullis(
        gateway.folder(),
        &["user", "set", "alice", "--add-role", "editor"],
    )
    .expect(0);
    let alice = gateway.signed_in("alice").await;
    alice.get("/staff").await.expect(200);
    assert_eq!(app.only().header("x-auth-roles"), "editor");
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_taken_away_is_gone_from_tokens_that_are_about() {
    let (gateway, app) = guarded().await;
    gateway.anonymous().register("alice").await;
    portcullis(
        gateway.folder(),
        &["user", "set", "alice", "--add-role", "admin"],
    )
    .expect(0);
    let alice = gateway.signed_in("alice").await;
    alice.get("/staff").await.expect(200);
    app.only();

    portcullis(
        gateway.folder(),
        &["user", "set", "alice", "--remove-role", "admin"],
    )
    .expect(0);
    eventually("the change to be felt", async || {
        (alice.get("/staff").await.status == 401).then_some(())
    })
    .await;
    let mut alice = alice;
    alice.refresh().await;
    alice
        .get("/staff")
        .await
        .expect_problem(403, "insufficient_role");
}
