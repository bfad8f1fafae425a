//! Too much at once: what is shed, and what must not notice.

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::caller::Answer;
use crate::harness::caller::PASSWORD;
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::raw::Raw;
use crate::harness::raw::connect_from;
use crate::harness::raw::tls_over;
use crate::harness::upstream::RawUpstream;
use crate::harness::upstream::Upstream;

// SECURITY 27
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_sign_ins_is_shed_and_stalls_no_app() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [hashing]
        memory = "64MiB"
        iterations = 4
        threads = 1
        queue = 1
        deadline = "100ms"
        [routes.app]
        path = "/app"
        auth = "none"
        upstream = "{}"
        "#,
        app.url()
    ));
    let mut callers = Vec::new();
    for _ in 0..30 {
        let caller = gateway.anonymous();
        // Connected beforehand, so that they arrive together.
        caller.get("/auth/me").await.expect(401);
        callers.push(caller);
    }
    let mut flood = JoinSet::new();
    let mut proxied = JoinSet::new();
    for caller in callers {
        let asking = caller.clone();
        flood.spawn(async move {
            let body = json!({ "username": "alice", "password": PASSWORD });
            asking.post("/auth/login", &body).await
        });
        proxied.spawn(async move { caller.get("/app").await.status });
    }
    assert!(proxied.join_all().await.iter().all(|status| *status == 200));
    let answers = flood.join_all().await;
    let (shed, judged): (Vec<_>, Vec<_>) = answers.into_iter().partition(|it| it.status == 503);
    assert!(!shed.is_empty() && !judged.is_empty());
    for answer in judged {
        answer.expect_problem(401, "bad_credentials");
    }
    for answer in &shed {
        let wait: u32 = answer.header("retry-after").parse().unwrap();
        assert!(wait >= 1);
        answer.clone().expect_problem(503, "busy");
    }
    assert_eq!(
        gateway.metric("portcullis_hashes_shed_total"),
        shed.len() as f64
    );
}

// SECURITY 27
#[tokio::test(flavor = "multi_thread")]
async fn after_a_flood_sign_ins_work_again() {
    let gateway = Gateway::start(
        r#"
        [hashing]
        threads = 1
        queue = 1
        [routes.app]
        path = "/app"
        upstream = "echo"
        "#,
    );
    gateway.anonymous().register("alice").await;
    let mut flood = JoinSet::new();
    for _ in 0..20 {
        let caller = gateway.anonymous();
        let body = json!({ "username": "alice", "password": "wrong" });
        flood.spawn(async move { caller.post("/auth/login", &body).await.status });
    }
    let statuses = flood.join_all().await;
    assert!(
        statuses.iter().all(|status| matches!(status, 401 | 503)),
        "{statuses:?}"
    );
    let alice = gateway.signed_in("alice").await;
    alice.get("/app").await.expect(200);
}

// SECURITY 53
#[tokio::test(flavor = "multi_thread")]
async fn an_app_gets_no_more_connections_than_it_was_promised() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [gateway]
        threads = 1
        [upstreams.app]
        targets = ["{}"]
        connections = 1
        timeouts = {{ connect = "100ms" }}
        [routes.app]
        path = "/app"
        auth = "none"
        upstream = "app"
        "#,
        app.url()
    ));
    let caller = gateway.anonymous();
    let first = tokio::spawn(async move { caller.get("/app").await });
    let mut link = app.accept().await;
    link.head().await;
    let refused = gateway.anonymous().get("/app").await;
    assert_ne!(refused.header("retry-after"), "");
    refused.expect_problem(503, "upstream_busy");
    link.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    first.await.unwrap().expect(200);
}

// SECURITY 11 and 53
#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_take_all_connections() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        "connections.max = 50\n[routes.app]\npath = \"/app\"\nauth = \"none\"\nupstream = \"{}\"",
        app.url()
    ));
    let connect_from = async |address| connect_from(gateway.address(), address).await;
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(Raw::new(connect_from([127, 0, 0, 1]).await));
    }
    // In the order in which they came: when the last one has been closed, all have been judged.
    held.pop().unwrap().assert_closed().await;
    let refused = gateway.metric("portcullis_connections_refused_total");
    // Less than half of them were granted: a place is kept ready for each of the two listeners.
    assert_eq!(refused, 36.0);

    let request = "GET /app HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for _ in 0..5 {
        let stream = connect_from([127, 0, 0, 2]).await;
        let stream = tls_over(stream, &gateway.authority(), b"http/1.1").await;
        assert_eq!(Raw::new(stream).ask(request).await.status(), 200);
    }
    drop(held);
    eventually("a place for the first address again", async || {
        let answer = Answer::try_of(gateway.anonymous().request(Method::GET, "/app")).await;
        answer.ok().filter(|answer| answer.status == 200)
    })
    .await;
}

// SECURITY 11 and 53
#[tokio::test(flavor = "multi_thread")]
async fn how_many_one_address_may_hold_can_be_said() {
    let gateway = Gateway::start(
        r#"
        connections.per_address = 2
        limits.exempt = ["127.0.0.3"]
        "#,
    );
    let mut held = Vec::new();
    for _ in 0..2 {
        let stream = connect_from(gateway.address(), [127, 0, 0, 2]).await;
        held.push(tls_over(stream, &gateway.authority(), b"http/1.1").await);
    }
    let third = connect_from(gateway.address(), [127, 0, 0, 2]).await;
    Raw::new(third).assert_closed().await;
    for _ in 0..4 {
        let stream = connect_from(gateway.address(), [127, 0, 0, 3]).await;
        held.push(tls_over(stream, &gateway.authority(), b"http/1.1").await);
    }
    assert_eq!(gateway.metric("portcullis_connections_refused_total"), 1.0);
}

// SECURITY 53
#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_take_an_app_from_others_by_slow_uploads() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [gateway]
        threads = 1
        [upstreams.app]
        targets = ["{}"]
        connections = 16
        timeouts.connect = "200ms"
        [routes.app]
        path = "/app"
        auth = "none"
        upstream = "app"
        "#,
        app.url()
    ));
    let begin = async |address| {
        let stream = connect_from(gateway.address(), address).await;
        let mut upload = Raw::new(tls_over(stream, &gateway.authority(), b"http/1.1").await);
        upload
            .send("POST /app HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\na")
            .await;
        upload
    };
    let mut under_way = Vec::new();
    for _ in 0..8 {
        under_way.push((begin([127, 0, 0, 2]).await, app.accept().await));
    }
    for _ in 0..4 {
        let refused = begin([127, 0, 0, 2]).await.message().await.answer();
        refused.expect_problem(503, "upstream_busy");
    }
    // Somebody else still gets through; and whoever has been answered may begin again.
    let other = (begin([127, 0, 0, 3]).await, app.accept().await);
    for (mut upload, mut link) in [other, under_way.remove(0)] {
        upload.send("b").await;
        link.until(b"\r\n\r\nab").await;
        link.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .await;
        assert_eq!(upload.message().await.status(), 200);
    }
    let _again = begin([127, 0, 0, 2]).await;
    app.accept().await.until(b"\r\n\r\na").await;
}

// SECURITY 55
#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_odd_requests_make_nothing_panic() {
    let gateway = Gateway::start(
        r#"
        [routes.app]
        path = "/"
        auth = "optional"
        upstream = "echo"
        "#,
    );
    // From a seed, so that a failure comes back.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    let whole = b"POST /a%20b;c?d HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer a.b.c\r\n\
                  X-Auth-User: x\r\nCookie: a=b\r\nTransfer-Encoding: chunked\r\n\r\n\
                  3\r\nabc\r\n0\r\n\r\n";
    for _ in 0..300 {
        let mut bytes = whole.to_vec();
        for _ in 0..4 {
            let at = usize::from(next()) % bytes.len();
            bytes[at] = next();
        }
        let mut raw = gateway.raw().await;
        raw.send(&bytes).await;
        raw.send("\r\n\r\n\r\n0\r\n\r\n").await;
        raw.end().await;
    }
    gateway.anonymous().get("/").await.expect(200);
    assert_eq!(gateway.metric("portcullis_panics_total"), 0.0);
}
