//! Making accounts, signing in, and changing the password.

use serde_json::Value;
use serde_json::json;

use crate::harness::binary::portcullis;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Gateway;

const ROUTE: &str = r#"
    [routes.app]
    path = "/app"
    upstream = "echo"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_a_username_an_address_or_both() {
    let gateway = Gateway::start(ROUTE);
    let caller = gateway.anonymous();
    let made = caller
        .try_register(
            &json!({ "username": "Alice", "email": "alice@example.com", "name": "Alice L.",
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

    caller
        .try_register(&json!({ "username": "bob", "password": PASSWORD }))
        .await
        .expect(201);
    caller
        .try_register(&json!({ "email": "carol@example.com", "password": PASSWORD }))
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
        let granted = caller.try_log_in(&login_as).await.expect(200);
        assert_eq!(granted.header("cache-control"), "no-store");
        let granted = granted.json();
        assert_eq!(granted["token_type"], "Bearer");
        assert_eq!(granted["expires_in"], 900);
        assert_eq!(granted["scope"], "notes:read notes:write");
    }
}

// SECURITY 28
#[tokio::test(flavor = "multi_thread")]
async fn a_password_counts_to_its_last_byte_and_has_a_bound_that_is_named() {
    let gateway = Gateway::start(ROUTE);
    let caller = gateway.anonymous();
    // As long as may be, and unlike any other only at its end.
    let long = |last: &str| {
        let mut text = "Zwölf Boxkämpfer ".to_owned() + &"jump over the hedge; ".repeat(60);
        text.truncate(1024 - last.len());
        text + last
    };
    let named = |password: &str| json!({ "username": "alice", "password": password });
    for (password, words) in [
        ("x".to_owned(), "at least 12 characters"),
        (String::new(), "at least 12 characters"),
        (long("a") + "b", "at most 1024 bytes"),
        (long("a").repeat(10), "at most 1024 bytes"),
    ] {
        let refused = caller.try_register(&named(&password)).await;
        let refused = refused.expect_problem(422, "bad_fields");
        let error = refused.json()["errors"][0].clone();
        assert_eq!(error["field"], "password");
        assert!(error["detail"].as_str().unwrap().contains(words), "{error}");
    }
    caller.try_register(&named(&long("a"))).await.expect(201);

    let granted = caller.try_log_in(&named(&long("a"))).await.expect(200);
    let mut alice = caller.clone();
    alice.keep(&granted);
    for other in [
        long("b"),
        long(""),
        long("a") + "a",
        long("a").repeat(10),
        "x".into(),
    ] {
        let refused = caller.try_log_in(&named(&other)).await;
        refused.expect_problem(401, "bad_credentials");
    }
    let change = async |current: &str, new: &str| {
        let body = json!({ "current_password": current, "new_password": new });
        alice.post("/auth/password", &body).await
    };
    let refused = change(&long("b"), &long("c")).await;
    refused.expect_problem(403, "wrong_password");
    let refused = change(&long("a").repeat(10), &long("c")).await;
    refused.expect_problem(403, "wrong_password");
    let refused = change(&long("a"), &(long("a") + "c")).await;
    let refused = refused.expect_problem(422, "bad_fields");
    assert!(refused.text().contains("at most 1024 bytes"));
    change(&long("a"), &long("c")).await.expect(204);
    caller.try_log_in(&named(&long("c"))).await.expect(200);
    caller.try_log_in(&named(&long("a"))).await.expect(401);
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
        let refused = caller
            .try_register(&body)
            .await
            .expect_problem(422, "bad_fields");
        assert_eq!(refused.json()["errors"][0]["field"], "password");
        assert!(!refused.text().contains(weak) || weak == "short");
    }
    let body = json!({ "username": "no good", "email": "nobody", "password": "x" });
    let refused = caller
        .try_register(&body)
        .await
        .expect_problem(422, "bad_fields");
    let errors = refused.json()["errors"].as_array().unwrap().clone();
    let fields: Vec<_> = errors
        .iter()
        .map(|error| error["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["username", "email", "password"]);

    let body = json!({ "password": PASSWORD });
    caller
        .try_register(&body)
        .await
        .expect_problem(422, "bad_fields");
    // Long, with blanks and beyond ASCII: as good as any other.
    let long = "Ein Pferd ißt keinen Gürkensalat ".repeat(3);
    let body = json!({ "username": "christine", "password": long });
    caller.try_register(&body.clone()).await.expect(201);
    caller.try_log_in(&body).await.expect(200);
    let cut = json!({ "username": "christine", "password": long.trim_end() });
    caller
        .try_log_in(&cut)
        .await
        .expect_problem(401, "bad_credentials");
}

// SECURITY 30
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_login_says_nothing_about_why() {
    let gateway = Gateway::start(ROUTE);
    let caller = gateway.anonymous();
    let body = json!({ "username": "alice", "email": "a@example.com", "password": PASSWORD });
    caller.try_register(&body).await.expect(201);
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
        json!({ "username": "ALICE", "password": "wrong" }),
        json!({ "username": "alice", "password": "x".repeat(10_000) }),
        json!({ "username": "nobody", "password": "x".repeat(10_000) }),
        json!({ "username": "x".repeat(10_000), "password": "wrong" }),
        json!({ "username": "", "password": "" }),
        json!({ "username": "admin", "password": PASSWORD }),
    ]
    .into_iter()
    .enumerate()
    {
        let before = gateway.metric("portcullis_password_hash_seconds_count");
        let refused = caller
            .try_log_in(&body.clone())
            .await
            .expect_problem(401, "bad_credentials");
        // The same work whoever it was: one hash.
        let after = gateway.metric("portcullis_password_hash_seconds_count");
        assert_eq!(after - before, 1.0, "{hashes}: {body}");
        let mut problem = refused.json();
        problem["request_id"].take();
        // Every header there is; of two only that it is there.
        let mut headers: Vec<_> = refused
            .headers
            .iter()
            .map(|(name, value)| match name.as_str() {
                "x-request-id" | "date" => format!("{name}"),
                _ => format!("{name}: {value:?}"),
            })
            .collect();
        headers.sort_unstable();
        seen.push((problem, headers));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:#?}");

    let both = json!({ "username": "alice", "email": "a@example.com", "password": PASSWORD });
    caller
        .try_log_in(&both)
        .await
        .expect_problem(422, "bad_fields");
    caller
        .try_log_in(&json!({ "password": PASSWORD }))
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
    gateway.anonymous().try_log_in(&old).await.expect(401);
    let new = json!({ "username": "alice", "password": new });
    gateway.anonymous().try_log_in(&new).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_can_be_off() {
    let gateway = Gateway::start(&format!("[accounts]\nregistration = 'off'\n{ROUTE}"));
    let body = json!({ "username": "alice", "password": PASSWORD });
    let refused = gateway.anonymous().try_register(&body).await;
    refused.expect_problem(403, "registration_off");
}
