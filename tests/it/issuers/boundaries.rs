//! Where another issuer's word ends: other issuers' routes, routes that admit none, our own endpoints, and
//! tokens that are not for access.

use http::Method;

use super::*;

/// Two issuers that call their keys alike, and a route for each.
async fn two() -> (Issuer, Issuer, Gateway, Upstream) {
    let (one, other) = (Issuer::start().await, Issuer::start().await);
    let app = Upstream::start().await;
    assert_eq!(one.signer.kid, other.signer.kid);
    let lines = |name: &str, issuer: &Issuer| {
        format!(
            r#"
            [issuers.{name}]
            issuer = "{}"
            audiences = ["{AUDIENCE}"]
            [routes.{name}]
            path = "/{name}"
            issuers = ["{name}"]
            upstream = "{}"
            "#,
            issuer.server.url(),
            app.url(),
        )
    };
    let gateway = Gateway::start(&format!("{}{}", lines("one", &one), lines("other", &other)));
    (one, other, gateway, app)
}

// SECURITY 20
#[tokio::test]
async fn an_issuer_speaks_for_its_own_callers_on_its_own_routes() {
    let (one, other, gateway, app) = two().await;
    let token = one.token(&gateway).signed_by(&one.signer);
    ask(&gateway, "/one", &token).await.expect(200);
    assert_eq!(app.only().header("x-auth-user"), "one:alice");
    ask(&gateway, "/other", &token)
        .await
        .expect_problem(403, "issuer_not_admitted");

    // With the name of the other and its own key; and with its own name and the other's key.
    let claims = json!({"iss": other.server.url()});
    for (path, forged) in [
        ("/other", one.token(&gateway).with_claims(&claims)),
        ("/other", other.token(&gateway)),
    ] {
        ask(&gateway, path, &forged.signed_by(&one.signer))
            .await
            .expect_invalid_token("signed by one in the name of the other");
    }
    let stranger = one.token(&gateway).signed_by(&other.signer);
    ask(&gateway, "/one", &stranger)
        .await
        .expect_invalid_token("signed by the other in the name of one");
    app.assert_untouched();

    let token = other.token(&gateway).signed_by(&other.signer);
    ask(&gateway, "/other", &token).await.expect(200);
    assert_eq!(app.only().header("x-auth-user"), "other:alice");
}

// SECURITY 20
#[tokio::test]
async fn where_an_issuer_is_not_admitted_its_tokens_make_nobody_ask_for_keys() {
    let (issuer, gateway, app) = started().await;
    let good = issuer.token(&gateway);
    ask(&gateway, "/notes", &good.signed_by(&issuer.signer))
        .await
        .expect(200);
    app.only();
    let before = issuer.fetches();
    let unknown = good.with_header(&json!({"kid": "made-up"}));
    let unknown = unknown.signed_by(&issuer.signer);
    gateway.clock().advance(Duration::from_secs(60));
    for token in [&unknown, &good.unsigned(), &good.signed_by(&issuer.signer)] {
        ask(&gateway, "/own", token)
            .await
            .expect_problem(403, "issuer_not_admitted");
    }
    gateway.clock().advance(Duration::from_secs(60));
    ask(&gateway, "/notes", &unknown)
        .await
        .expect_invalid_token("a key that nobody has");
    assert_eq!(issuer.fetches(), before + 1);

    // Nor does it matter there that keys cannot be had.
    issuer.is_down(true);
    gateway.clock().advance(Duration::from_secs(48 * 60 * 60));
    let token = issuer.token(&gateway).signed_by(&issuer.signer);
    ask(&gateway, "/own", &token)
        .await
        .expect_problem(403, "issuer_not_admitted");
    ask(&gateway, "/notes", &token)
        .await
        .expect_problem(503, "issuer_unavailable");
    app.assert_untouched();
}

// SECURITY 20 and 44
#[tokio::test]
async fn endpoints_of_our_own_know_no_other_issuer() {
    const SECRET: &str = "Xq2v8mK4tR9wZ1bN6cL3pS7dF5gH0jYa";
    let (issuer, app) = (Issuer::start().await, Upstream::start().await);
    let client =
        format!("[clients.notes-sync]\nsecret = \"{SECRET}\"\ngrants = [\"client_credentials\"]\n");
    let gateway = Gateway::start(&format!("{}{client}", issuer.lines(&app, "")));
    let token = issuer.token(&gateway).signed_by(&issuer.signer);
    ask(&gateway, "/notes", &token).await.expect(200);
    let caller = gateway.anonymous().with_token(&token);
    for (method, path) in [
        (Method::GET, "/auth/me"),
        (Method::GET, "/auth/sessions"),
        (Method::DELETE, "/auth/sessions/0"),
        (Method::POST, "/auth/logout"),
        (Method::POST, "/auth/password"),
    ] {
        let request = caller.request(method, path).json(&json!({}));
        Answer::of(request).await.expect_invalid_token(path);
    }
    let request = gateway
        .anonymous()
        .request(Method::POST, "/auth/oauth/introspect")
        .basic_auth("notes-sync", Some(SECRET))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("token={token}"));
    let answer = Answer::of(request).await.expect(200);
    assert_eq!(answer.json(), json!({"active": false}));
}

// SECURITY 22
#[tokio::test]
async fn what_else_calls_itself_jwt_is_no_access_token() {
    let (issuer, app) = (Issuer::start().await, Upstream::start().await);
    let gateway = Gateway::start(&issuer.lines(&app, "typ = [\"JWT\"]"));
    let token = issuer.token(&gateway).with_header(&json!({"typ": "JWT"}));
    for claims in [
        json!({"at_hash": "77QmUPtjPfzWtF2AnpK9RQ"}),
        json!({"c_hash": "77QmUPtjPfzWtF2AnpK9RQ"}),
        json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
        json!({"typ": "ID"}),
        json!({"typ": "Refresh"}),
    ] {
        let other = token.with_claims(&claims).signed_by(&issuer.signer);
        ask(&gateway, "/notes", &other)
            .await
            .expect_invalid_token(&claims.to_string());
    }
    app.assert_untouched();
    let token = token.with_claims(&json!({"typ": "Bearer", "nonce": "n"}));
    ask(&gateway, "/notes", &token.signed_by(&issuer.signer))
        .await
        .expect(200);
}

// SECURITY 44
#[tokio::test]
async fn a_machine_of_another_portcullis_is_nobodys_user_and_none_of_our_machines() {
    const SECRET: &str = "b7Q1sD4fG9hJ2kL6zX3cV8nM5wE0rTyU";
    let client = format!(
        "[clients.sync]\nsecret = \"{SECRET}\"\nscopes = [\"notes:read\"]\n\
         grants = [\"client_credentials\"]\n"
    );
    let outside = Gateway::start(&format!(
        "[gateway]\npublic_url = \"https://outside.localhost\"\n{client}"
    ));
    let request = outside
        .anonymous()
        .request(Method::POST, "/auth/oauth/token")
        .basic_auth("sync", Some(SECRET))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("grant_type=client_credentials&scope=notes:read");
    let answer = Answer::of(request).await.expect(200);
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();

    let app = Upstream::start().await;
    let ca = outside.folder().path("certs/ca.pem");
    let gateway = Gateway::start(&format!(
        r#"
        {client}
        [issuers.outside]
        issuer = "https://outside.localhost"
        audiences = ["https://outside.localhost"]
        jwks_url = "https://localhost:{}/.well-known/jwks.json"
        ca = "{}"
        [routes.notes]
        path = "/notes"
        issuers = ["outside"]
        scopes = ["notes:read"]
        upstream = "{app}"
        [routes.sync]
        path = "/sync"
        issuers = ["outside"]
        clients = ["sync"]
        scopes = ["notes:write"]
        upstream = "{app}"
        "#,
        outside.address().port(),
        ca.display(),
        app = app.url(),
    ));
    ask(&gateway, "/notes", &token).await.expect(200);
    let seen = app.only();
    assert_eq!(seen.header("x-auth-user-id"), "outside|client:sync");
    assert_eq!(seen.header("x-auth-method"), "outside");
    for name in ["x-auth-user", "x-auth-client", "x-auth-session"] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
    // A client of ours has that id as well, and its route is not the other's.
    ask(&gateway, "/sync", &token)
        .await
        .expect_problem(403, "insufficient_scope");
    app.assert_untouched();
}
