//! Ends of every kind: what was promised is kept, and what is under way is finished.

use std::time::Duration;

use portcullis::store::CHANGES_KEPT;
use portcullis::store::Change;
use portcullis::store::Open;
use portcullis::store::Store;
use rustix::process::Signal;
use serde_json::json;
use tokio::net::TcpStream;

use crate::harness::binary::Served;
use crate::harness::caller::Answer;
use crate::harness::caller::PASSWORD;
use crate::harness::eventually;
use crate::harness::gateway::Folder;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::RawUpstream;

const ROUTE: &str = r#"
    [routes.app]
    path = "/app"
    upstream = "echo"
"#;

// SECURITY 49
#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_an_end_without_warning() {
    let folder = Folder::with(ROUTE);
    let served = Served::start(&folder).await;
    let body = json!({ "username": "alice", "password": PASSWORD });
    served
        .anonymous()
        .post("/auth/register", &body)
        .await
        .expect(201);
    served.kill();

    let served = Served::start(&folder).await;
    let mut alice = served.anonymous();
    alice.log_in("alice").await;
    let spent = alice.refresh_token().to_owned();
    alice.refresh().await;
    served.kill();

    let served = Served::start(&folder).await;
    let mut again = served.anonymous().with_token(alice.token());
    again.get("/app").await.expect(200);
    again.keep(&again.try_refresh(alice.refresh_token()).await.expect(200));
    let late = again.try_refresh(&spent).await;
    late.expect_problem(401, "invalid_refresh_token");
    again.log_in("alice").await;
    Answer::of(again.request(reqwest::Method::POST, "/auth/logout"))
        .await
        .expect(204);
    served.kill();

    let served = Served::start(&folder).await;
    let dead = served.anonymous().with_token(again.token());
    dead.get("/app").await.expect_problem(401, "invalid_token");
    dead.try_refresh(again.refresh_token()).await.expect(401);
}

// SECURITY 51
#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_what_is_under_way_is_finished() {
    for signal in [Signal::TERM, Signal::INT] {
        let app = RawUpstream::start().await;
        let folder = Folder::with(&format!(
            r#"
            [routes.app]
            path = "/app"
            auth = "none"
            upstream = "{}"
            "#,
            app.url()
        ));
        let served = Served::start(&folder).await;
        let caller = served.anonymous();
        let asked = tokio::spawn(async move { caller.get("/app").await });
        let mut link = app.accept().await;
        link.head().await;
        link.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
            .await;

        served.signal(signal);
        let address = served.address();
        eventually("the listener to close", async || {
            TcpStream::connect(address).await.is_err().then_some(())
        })
        .await;
        link.send("after").await;
        let answer = asked.await.unwrap().expect(200);
        assert_eq!(&answer.body[..], b"firstafter");
        assert_eq!(served.ended().await.code(), Some(0));
        let log = std::fs::read_to_string(folder.path("stdout")).unwrap();
        assert_eq!(log.lines().count(), 1, "{log}");
    }
}

// SECURITY 51
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_and_readiness_ends() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.app]
        path = "/app"
        auth = "none"
        upstream = "{}"
        "#,
        app.url()
    ));
    let mut idle = gateway.raw().await;
    let answer = idle
        .ask("GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(answer.status(), 404);
    let caller = gateway.anonymous();
    let asked = tokio::spawn(async move { caller.get("/app").await });
    let mut link = app.accept().await;
    link.head().await;
    assert_eq!(gateway.ask_admin("/readyz").0, 200);

    gateway.begin_to_drain();
    idle.assert_closed().await;
    eventually("readiness to end", async || {
        (gateway.ask_admin("/readyz").0 == 503).then_some(())
    })
    .await;
    assert_eq!(gateway.ask_admin("/livez").0, 200);
    link.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    asked.await.unwrap().expect(200);
}

// SECURITY 51
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_end_is_broken_off_at_the_limit() {
    let app = RawUpstream::start().await;
    let folder = Folder::with(&format!(
        r#"
        [connections]
        drain_timeout = "1s"
        [routes.app]
        path = "/app"
        auth = "none"
        upstream = "{}"
        "#,
        app.url()
    ));
    let served = Served::start(&folder).await;
    let caller = served.anonymous();
    let asked =
        tokio::spawn(
            async move { Answer::try_of(caller.request(reqwest::Method::GET, "/app")).await },
        );
    let mut link = app.accept().await;
    link.head().await;
    served.signal(Signal::TERM);
    assert_eq!(served.ended().await.code(), Some(0));
    assert!(asked.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_starts_forgets_what_no_token_can_remember() {
    let mut gateway = Gateway::start(ROUTE);
    let alice = gateway.signed_in("alice").await;
    alice.post("/auth/logout", &json!({})).await.expect(204);
    let path = gateway.folder().path("data/portcullis.db");
    let changes = async || {
        let store = Store::open(&path, Open::Existing).await.unwrap();
        let changes = store.changes_after(0).await.unwrap().changes;
        let ended = |change: &_| matches!(change, (Change::SessionEnded(_), _));
        changes.iter().any(ended)
    };
    assert!(changes().await);

    gateway
        .clock()
        .advance(CHANGES_KEPT + Duration::from_secs(60));
    gateway.restart();
    eventually("the table of changes to be pruned", async || {
        (!changes().await).then_some(())
    })
    .await;
}
