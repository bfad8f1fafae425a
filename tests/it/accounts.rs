//! Making accounts, signing in, and changing the password.

use reqwest::Method;
use serde_json::Value;
use serde_json::json;

use crate::harness::binary::portcullis;
use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Gateway;

const ROUTE: &str = r#"
    [routes.app]
    path = "/app"
    upstream = "echo"
"#;

async fn register(caller: &Caller, body: Value) -> Answer {
    caller.post("/auth/register", &body).await
}

async fn login(caller: &Caller, body: Value) -> Answer {
    caller.post("/auth/login", &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_a_username_an_address_or_both() {
    let gateway = Gateway::start(ROUTE);
    let caller = gateway.anonymous();
    let made = register(
        &caller,
        json!({ "username": "Alice", "email": "alice@example.com", "name": "Alice L.",
                "password": PASSWORD }),
    )
    .await
    .expect(201);
    assert_eq!(made.header("cache-control"), "no-store");
    let made = made.json();
    assert_eq!(made["username"], "Alice");
    assert_eq!(made["email"], "alice@example.com");
    assert!(made["id"].is_string() && made["message"].is_string());
    assert!(!made.to_string().contains(PASSWORD));

    register(&caller, json!({ "username": "bob", "password": PASSWORD }))
        .await
        .expect(201);
    register(
        &caller,
        json!({ "email": "carol@example.com", "password": PASSWORD }),
    )
    .await
    .expect(201);

    for login_as in [
        json!({ "username": "Alice", "password": PASSWORD }),
        json!({ "username": "alice", "password": PASSWORD }),
        json!({ "email": "alice@example.com", "password": PASSWORD }),
        json!({ "username": "alice@example.com", "password": PASSWORD }),
        json!({ "username": "bob", "password": PASSWORD }),
        json!({ "email": "carol@example.com", "password": PASSWORD }),
    ] {
        let granted = login(&caller, login_as).await.expect(200);
        assert_eq!(granted.header("cache-control"), "no-store");
        let granted = granted.json();
        assert_eq!(granted["token_type"], "Bearer");
        assert_eq!(granted["expires_in"], 900);
        assert_eq!(granted["scope"], "notes:read notes:write");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_given_once_however_it_is_spelt() {
    let gateway = Gateway::start(ROUTE);
    let caller = gateway.anonymous();
    let body = json!({ "username": "alice", "email": "a@example.com", "password": PASSWORD });
    register(&caller, body).await.expect(201);
    for taken in [
        json!({ "username": "alice", "password": PASSWORD }),
        json!({ "username": "ALICE", "password": PASSWORD }),
        json!({ "username": "other", "email": "a@example.com", "password": PASSWORD }),
        json!({ "email": "A@Example.COM", "password": PASSWORD }),
    ] {
        register(&caller, taken).await.expect_problem(409, "taken");
    }
    for reserved in ["admin", "Admin", "root", "portcullis"] {
        let body = json!({ "username": reserved, "password": PASSWORD });
        register(&caller, body)
            .await
            .expect_problem(422, "bad_fields");
    }
}

// SECURITY 29
#[tokio::test(flavor = "multi_thread")]
async fn a_weak_password_is_refused_and_everything_wrong_is_named() {
    let gateway = Gateway::start(ROUTE);
    let caller = gateway.anonymous();
    for weak in [
        "short",
        "password123",
        "123456789012",
        "qwertyuiop123",
        "aaaaaaaaaaaaaaaa",
        "christine-christine",
    ] {
        let body = json!({ "username": "christine", "password": weak });
        let refused = register(&caller, body)
            .await
            .expect_problem(422, "bad_fields");
        assert_eq!(refused.json()["errors"][0]["field"], "password");
        assert!(!refused.text().contains(weak) || weak == "short");
    }
    let body = json!({ "username": "no good", "email": "nobody", "password": "x" });
    let refused = register(&caller, body)
        .await
        .expect_problem(422, "bad_fields");
    let errors = refused.json()["errors"].as_array().unwrap().clone();
    let fields: Vec<_> = errors
        .iter()
        .map(|error| error["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["username", "email", "password"]);

    let body = json!({ "password": PASSWORD });
    register(&caller, body)
        .await
        .expect_problem(422, "bad_fields");
    // Long, with blanks and beyond ASCII: as good as any other.
    let long = "Ein Pferd ißt keinen Gürkensalat ".repeat(3);
    let body = json!({ "username": "christine", "password": long });
    register(&caller, body.clone()).await.expect(201);
    login(&caller, body).await.expect(200);
    let cut = json!({ "username": "christine", "password": long.trim_end() });
    login(&caller, cut)
        .await
        .expect_problem(401, "bad_credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn own_endpoints_take_json_of_their_form_and_nothing_else() {
    let gateway = Gateway::start(ROUTE);
    let caller = gateway.anonymous();
    let post = async |path: &str, kind: &str, body: &str| {
        let request = caller
            .request(Method::POST, path)
            .header("content-type", kind);
        Answer::of(request.body(body.to_owned())).await
    };
    let fine = json!({ "username": "alice", "password": PASSWORD }).to_string();
    for path in ["/auth/register", "/auth/login", "/auth/refresh"] {
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "",
        ] {
            post(path, kind, &fine)
                .await
                .expect_problem(415, "not_json");
        }
        for broken in ["", "{", "{\"", "nul", "'a'", "\u{feff}{}"] {
            let refused = post(path, "application/json", broken).await;
            refused.expect_problem(400, "bad_json");
        }
        for odd in [
            "[]".to_owned(),
            "null".to_owned(),
            "\"text\"".to_owned(),
            "{\"username\": 1, \"password\": 2, \"refresh_token\": 3}".to_owned(),
            "{\"username\":\"a\",\"username\":\"b\",\"password\":\"c\"}".to_owned(),
            "{\"unknown\":\"a\"}".to_owned(),
            format!("{{\"a\":{}1{}}}", "[".repeat(100), "]".repeat(100)),
        ] {
            let refused = post(path, "application/json", &odd).await;
            refused.expect_problem(422, "unexpected_json");
        }
        let large = format!("{{\"username\":\"{}\"}}", "a".repeat(20_000));
        post(path, "application/json", &large)
            .await
            .expect_problem(413, "body_too_large");
        let refused = caller.get(path).await;
        assert_eq!(refused.header("allow"), "POST");
        refused.expect_problem(405, "method_not_allowed");
    }
    post("/auth/register", "application/json; charset=utf-8", &fine)
        .await
        .expect(201);
    for path in ["/auth/me", "/.well-known/jwks.json"] {
        let refused = Answer::of(caller.request(Method::DELETE, path)).await;
        assert_eq!(refused.header("allow"), "GET, HEAD");
        refused.expect_problem(405, "method_not_allowed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_or_is_packed_is_refused() {
    let gateway = Gateway::start(ROUTE);
    let caller = gateway.anonymous();
    let fine = json!({ "username": "alice", "password": PASSWORD });
    let packed = caller
        .request(Method::POST, "/auth/register")
        .header("content-encoding", "gzip")
        .json(&fine);
    Answer::of(packed).await.expect_problem(415, "encoded_body");

    let head = "POST /auth/register HTTP/1.1\r\nHost: localhost\r\n\
                Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let broken = gateway
        .raw()
        .await
        .ask(format!("{head}5\r\n{{\"us\r\nzz\r\n"))
        .await;
    assert_eq!(broken.status(), 400);
    let mut gone = gateway.raw().await;
    gone.send(format!("{head}5\r\n{{\"us")).await;
    drop(gone);

    // Nothing of it made an account.
    register(&caller, fine).await.expect(201);
}

// SECURITY 30
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_login_says_nothing_about_why() {
    let gateway = Gateway::start(ROUTE);
    let caller = gateway.anonymous();
    let body = json!({ "username": "alice", "email": "a@example.com", "password": PASSWORD });
    register(&caller, body).await.expect(201);
    caller.register("mallory").await;
    portcullis(gateway.folder(), &["user", "disable", "mallory"]).expect(0);

    let mut seen = Vec::new();
    for (hashes, body) in [
        json!({ "username": "alice", "password": "wrong" }),
        json!({ "email": "a@example.com", "password": "wrong" }),
        json!({ "username": "nobody", "password": PASSWORD }),
        json!({ "email": "nobody@example.com", "password": PASSWORD }),
        json!({ "username": "not even a name", "password": PASSWORD }),
        json!({ "email": "not an address", "password": PASSWORD }),
        json!({ "username": "mallory", "password": PASSWORD }),
        json!({ "username": "alice", "password": "" }),
    ]
    .into_iter()
    .enumerate()
    {
        let before = gateway.metric("portcullis_password_hash_seconds_count");
        let refused = login(&caller, body.clone())
            .await
            .expect_problem(401, "bad_credentials");
        // The same work whoever it was: one hash.
        let after = gateway.metric("portcullis_password_hash_seconds_count");
        assert_eq!(after - before, 1.0, "{hashes}: {body}");
        let mut problem = refused.json();
        problem["request_id"].take();
        let mut headers: Vec<_> = refused
            .headers
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "x-request-id" | "date"))
            .map(|(name, value)| format!("{name}: {value:?}"))
            .collect();
        headers.sort_unstable();
        seen.push((problem, headers));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:#?}");

    let both = json!({ "username": "alice", "email": "a@example.com", "password": PASSWORD });
    login(&caller, both).await.expect_problem(422, "bad_fields");
    login(&caller, json!({ "password": PASSWORD }))
        .await
        .expect_problem(422, "bad_fields");
}

#[tokio::test(flavor = "multi_thread")]
async fn me_is_the_caller() {
    let gateway = Gateway::start(ROUTE);
    let alice = gateway.signed_in("alice").await;
    let me = alice.get("/auth/me").await.expect(200);
    assert_eq!(me.header("cache-control"), "no-store");
    let me = me.json();
    assert_eq!(me["username"], "alice");
    assert_eq!(me["amr"], json!(["pwd"]));
    assert_eq!(me["roles"], json!([]));
    assert_eq!(me["email"], Value::Null);

    gateway
        .anonymous()
        .get("/auth/me")
        .await
        .expect_problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_password_ends_every_other_session() {
    let gateway = Gateway::start(ROUTE);
    let here = gateway.signed_in("alice").await;
    let there = gateway.signed_in("alice").await;
    let new = "quartz-lantern-drizzle-48";
    let change = async |current: &str, new: &str| {
        let body = json!({ "current_password": current, "new_password": new });
        here.post("/auth/password", &body).await
    };
    change("wrong", new)
        .await
        .expect_problem(403, "wrong_password");
    change(PASSWORD, "password123")
        .await
        .expect_problem(422, "bad_fields");
    there.get("/app").await.expect(200);

    change(PASSWORD, new).await.expect(204);
    there.get("/app").await.expect_problem(401, "invalid_token");
    there.try_refresh(there.refresh_token()).await.expect(401);
    let mut here = here.clone();
    here.refresh().await;
    here.get("/app").await.expect(200);
    let old = json!({ "username": "alice", "password": PASSWORD });
    login(&gateway.anonymous(), old).await.expect(401);
    let new = json!({ "username": "alice", "password": new });
    login(&gateway.anonymous(), new).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_can_be_off() {
    let gateway = Gateway::start(&format!("[accounts]\nregistration = 'off'\n{ROUTE}"));
    let body = json!({ "username": "alice", "password": PASSWORD });
    let refused = register(&gateway.anonymous(), body).await;
    refused.expect_problem(403, "registration_off");
}
