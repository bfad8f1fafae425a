//! What still works when something is down, and what says that it does not.

use std::net::TcpListener;

use serde_json::json;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

// SECURITY 50
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_store_stops_sign_ins_and_no_request_with_a_token() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        "[routes.app]\npath = \"/app\"\nupstream = \"{}\"",
        app.url()
    ));
    let mut alice = gateway.signed_in("alice").await;
    let database = gateway.folder().path("data/portcullis.db");
    let options = SqliteConnectOptions::new().filename(database);
    let mut other = options.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();

    let spent = alice.refresh_token().to_owned();
    let registering = json!({ "username": "bob", "password": PASSWORD });
    let logging_in = json!({ "username": "alice", "password": PASSWORD });
    let logging_out = json!({});
    let everywhere = json!({ "all": true });
    let changing =
        json!({ "current_password": PASSWORD, "new_password": "quartz-lantern-drizzle-48" });
    let refused = tokio::join!(
        alice.post("/auth/register", &registering),
        alice.post("/auth/login", &logging_in),
        alice.try_refresh(&spent),
        alice.post("/auth/logout", &logging_out),
        alice.post("/auth/logout", &everywhere),
        alice.post("/auth/password", &changing),
    );
    let (one, two, three, four, five, six) = refused;
    for answer in [one, two, three, four, five, six] {
        assert_eq!(answer.header("retry-after"), "5", "{answer:?}");
        answer.expect_problem(503, "store_unavailable");
    }
    alice.get("/app").await.expect(200);
    app.only();

    // Nothing was half-done: the name is free, the token unspent, the session alive, the password
    // the old one.
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    alice.post("/auth/register", &registering).await.expect(201);
    alice.refresh().await;
    alice.get("/app").await.expect(200);
    alice.log_in("alice").await;
    alice.post("/auth/logout", &everywhere).await.expect(204);
    alice.get("/app").await.expect_problem(401, "invalid_token");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_app_that_is_down_is_no_other_ones_trouble() {
    let app = Upstream::start().await;
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let gateway = Gateway::start(&format!(
        r#"
        [defaults]
        auth = "none"
        [routes.gone]
        path = "/gone"
        upstream = "{gone}"
        [routes.app]
        path = "/app"
        upstream = "{}"
        "#,
        app.url()
    ));
    let caller = gateway.anonymous();
    let answer = caller.get("/gone").await;
    let shown = String::from_utf8_lossy(&answer.body).into_owned();
    answer.expect_problem(502, "upstream_unreachable");
    assert!(!shown.contains("127.0.0.1"), "{shown}");
    caller.get("/app").await.expect(200);
}
