//! Credentials: what is good, what is not, and what a refusal says.

use serde_json::json;

use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

async fn guarded() -> (Gateway, Upstream) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.required]
        path = "/required"
        upstream = "{0}"
        [routes.optional]
        path = "/optional"
        auth = "optional"
        upstream = "{0}"
        [routes.open]
        path = "/open"
        auth = "none"
        upstream = "{0}"
        "#,
        app.url()
    ));
    (gateway, app)
}

// SECURITY 26
#[tokio::test(flavor = "multi_thread")]
async fn without_a_credential_a_caller_is_asked_for_one() {
    let (gateway, app) = guarded().await;
    let refused = gateway.anonymous().get("/required").await;
    assert_eq!(refused.challenge(), "Bearer realm=\"portcullis\"");
    refused.expect_problem(401, "unauthenticated");
    app.assert_untouched();

    gateway
        .signed_in("alice")
        .await
        .get("/required")
        .await
        .expect(200);
    assert_eq!(app.only().header("x-auth-user"), "alice");
}

// SECURITY 23
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_credential_is_a_401_and_never_a_500() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let token = alice.token();
    let caller = gateway.anonymous();
    for bad in [
        "".to_owned(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        "Bearer x".to_owned(),
        "Bearer a.b.c".to_owned(),
        "Bearer ..".to_owned(),
        "Basic YWxpY2U6c2VjcmV0".to_owned(),
        "Token abc".to_owned(),
        token.to_owned(),
        format!("Bearer {token} {token}"),
        format!("Bearer {token},"),
        format!("Bearer\t{token}"),
        format!("Bearer:{token}"),
        format!("Bearer={token}"),
        format!("Bearer token={token}"),
        format!("Bearer {token}\tx"),
        format!("Bearer {token}; x"),
        format!("Bearer Bearer {token}"),
        format!("Bearer {token}, Bearer {token}"),
        format!("Bearer x, Bearer {token}"),
        format!("Basic x, Bearer {token}"),
        format!("DPoP {token}"),
        format!("Bearer\u{a0}{token}"),
        format!("Bearer {token}\u{e9}"),
        format!("Bearer <{token}>"),
        format!("Bearer '{token}'"),
        format!("Bearer \"{token}\""),
        format!("Bearer {}", "a".repeat(10_000)),
    ] {
        for path in ["/required", "/optional", "/auth/me"] {
            let answer = caller.get_with(path, &[("authorization", &bad)]).await;
            answer.expect_invalid_token(&bad);
        }
    }
    app.assert_untouched();

    // The scheme's name has no case, and more than one blank may follow it (RFC 9110 §11.4).
    for good in [format!("bearer {token}"), format!("BEARER  {token}")] {
        caller
            .get_with("/required", &[("authorization", &good)])
            .await
            .expect(200);
        app.only();
    }
}

// SECURITY 23
#[tokio::test(flavor = "multi_thread")]
async fn two_credentials_are_a_400() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let good = format!("Bearer {}", alice.token());
    let good = good.as_str();
    for (one, other) in [
        (good, good),
        (good, "Bearer x.y.z"),
        ("Bearer x.y.z", good),
        (good, "Basic YWxpY2U6c2VjcmV0"),
        ("Basic YWxpY2U6c2VjcmV0", good),
        (good, ""),
        ("", ""),
    ] {
        for path in ["/required", "/optional", "/open", "/auth/me"] {
            for caller in [gateway.anonymous(), gateway.anonymous_http2()] {
                let both = [("authorization", one), ("authorization", other)];
                let refused = caller.get_with(path, &both).await;
                assert_eq!(refused.status, 400, "{path}: {one:?} and {other:?}");
                refused.expect_problem(400, "two_credentials");
            }
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {one}\r\n\
                 X-Between: them\r\nauthorization: {other}\r\n\r\n"
            );
            let refused = gateway.raw().await.ask(request).await;
            assert_eq!(refused.status(), 400, "{path}: {one:?} and {other:?}");
        }
    }
    app.assert_untouched();
    alice.get("/required").await.expect(200);
}

// SECURITY 23
#[tokio::test(flavor = "multi_thread")]
async fn a_token_anywhere_else_is_no_credential() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let token = alice.token();
    let caller = gateway.anonymous();
    for path in [
        format!("/required?access_token={token}"),
        format!("/required?token={token}"),
        format!("/required?Authorization=Bearer%20{token}"),
    ] {
        caller
            .get(&path)
            .await
            .expect_problem(401, "unauthenticated");
    }
    let cookie = format!("access_token={token}; __Host-portcullis={token}");
    let answer = caller.get_with("/required", &[("cookie", &cookie)]).await;
    answer.expect_problem(401, "unauthenticated");
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_optional_route_knows_nobody_somebody_and_liars_apart() {
    let (gateway, app) = guarded().await;
    gateway.anonymous().get("/optional").await.expect(200);
    assert_eq!(app.only().header("x-auth-user"), "");

    let alice = gateway.signed_in("alice").await;
    alice.get("/optional").await.expect(200);
    assert_eq!(app.only().header("x-auth-user"), "alice");

    let liar = gateway.anonymous().with_token("x.y.z");
    liar.get("/optional").await.expect_invalid_token("x.y.z");
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_route_reads_no_credential() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    for caller in [&alice, &gateway.anonymous().with_token("garbage")] {
        caller.get("/open").await.expect(200);
        let arrived = app.only();
        assert_eq!(arrived.header("x-auth-user"), "");
        assert_eq!(arrived.header("authorization"), "");
    }
}

// SECURITY 26
#[tokio::test(flavor = "multi_thread")]
async fn whoever_changes_an_account_says_who_it_is_before_anything_else() {
    let (gateway, _) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let change = json!({
        "current_password": PASSWORD, "new_password": "quartz-lantern-drizzle-48",
    });
    for (path, body) in [
        ("/auth/logout", json!({ "all": true })),
        ("/auth/logout", json!({ "what": "is this" })),
        ("/auth/password", change),
        ("/auth/password", json!([])),
    ] {
        let refused = gateway.anonymous().post(path, &body).await;
        assert_eq!(
            refused.header("www-authenticate"),
            "Bearer realm=\"portcullis\""
        );
        refused.expect_problem(401, "unauthenticated");
        for bad in ["x.y.z", "", alice.refresh_token()] {
            let refused = gateway.anonymous().with_token(bad).post(path, &body).await;
            refused.expect_invalid_token(path);
        }
    }
    alice.get("/auth/me").await.expect(200);
    alice.try_refresh(alice.refresh_token()).await.expect(200);
    gateway.signed_in("alice").await;
}
