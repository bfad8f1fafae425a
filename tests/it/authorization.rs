//! Who may pass: scopes say what a token may do, roles what a user may do.

use portcullis::store::KeyPurpose;
use serde_json::json;

use crate::harness::binary::portcullis;
use crate::harness::caller::Caller;
use crate::harness::caller::PASSWORD;
use crate::harness::eventually;
use crate::harness::forge::Signer;
use crate::harness::forge::Token;
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

/// Tokens of OAuth clients, which nothing issues yet: signed with the gateway's own key.
async fn delegated(gateway: &Gateway, client: &str, scope: &str) -> Caller {
    let alice = gateway.signed_in("alice").await;
    let access = Signer::stolen(gateway, KeyPurpose::Access).await;
    let claims = json!({ "client_id": client, "scope": scope });
    let token = Token::read(alice.token()).with_claims(&claims);
    alice.with_token(&token.signed_by(&access))
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
            refused.challenge(),
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

// SECURITY 26
#[tokio::test(flavor = "multi_thread")]
async fn a_delegated_token_opens_only_what_names_its_scope_or_its_client() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.read]
        path = "/read"
        scopes = ["notes:read"]
        upstream = "{0}"
        [routes.listed]
        path = "/listed"
        clients = ["notes-sync"]
        upstream = "{0}"
        [routes.any]
        path = "/any"
        clients = ["*"]
        upstream = "{0}"
        [routes.plain]
        path = "/plain"
        upstream = "{0}"
        [routes.optional]
        path = "/optional"
        auth = "optional"
        upstream = "{0}"
        "#,
        app.url()
    ));
    let sync = delegated(&gateway, "notes-sync", "notes:read").await;
    let other = delegated(&gateway, "other", "notes:write").await;
    for (caller, client, path) in [
        (&sync, "notes-sync", "/read"),
        (&sync, "notes-sync", "/listed"),
        (&sync, "notes-sync", "/any"),
        (&other, "other", "/any"),
    ] {
        caller.get(path).await.expect(200);
        assert_eq!(app.only().header("x-auth-client"), client, "{path}");
    }
    for (caller, path) in [
        (&sync, "/plain"),
        (&sync, "/optional"),
        (&other, "/plain"),
        (&other, "/read"),
        (&other, "/listed"),
        (&delegated(&gateway, "Notes-Sync", "").await, "/listed"),
        (&delegated(&gateway, "notes-sync2", "").await, "/listed"),
        (&delegated(&gateway, "Portcullis", "").await, "/plain"),
    ] {
        let refused = caller.get(path).await;
        assert!(
            refused
                .header("www-authenticate")
                .starts_with("Bearer realm=\"portcullis\", error=\"insufficient_scope\"")
        );
        refused.expect_problem(403, "insufficient_scope");
    }
    // Nor may it manage the account.
    let body = json!({ "current_password": PASSWORD, "new_password": "quartz-lantern-drizzle-48" });
    for caller in [&sync, &other] {
        let refused = caller.get("/auth/me").await;
        refused.expect_problem(403, "first_party_only");
        for (path, body) in [
            ("/auth/logout", json!({ "all": true })),
            ("/auth/password", body.clone()),
        ] {
            let refused = caller.post(path, &body).await;
            refused.expect_problem(403, "first_party_only");
        }
    }
    app.assert_untouched();
    gateway
        .signed_in("alice")
        .await
        .get("/plain")
        .await
        .expect(200);
}
