//! Clients that take their time: each is cut off, and meanwhile holds up nobody else.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::http2::CANCEL;
use crate::harness::http2::CONTINUATION;
use crate::harness::http2::DATA;
use crate::harness::http2::HEADERS;
use crate::harness::http2::Http2;
use crate::harness::http2::INITIAL_WINDOW_SIZE;
use crate::harness::http2::Outcome;
use crate::harness::http2::block;
use crate::harness::http2::frame;
use crate::harness::in_time;
use crate::harness::raw::Raw;
use crate::harness::raw::tls;
use crate::harness::upstream::RawUpstream;
use crate::harness::upstream::Upstream;

/// One core, so that whoever is held up is seen to be.
fn impatient(routes: &str) -> Gateway {
    Gateway::start(&format!(
        r#"
        [gateway]
        threads = 1
        [connections]
        handshake_timeout = "2s"
        header_timeout = "2s"
        body_timeout = "2s"
        [defaults]
        auth = "none"
        {routes}
        "#
    ))
}

fn app_at(path: &str, url: &str) -> String {
    let name = path.trim_start_matches('/');
    format!("[routes.{name}]\npath = \"{path}\"\nupstream = \"{url}\"\n")
}

const POST: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/app"),
];

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/app"),
];

/// Insists that a request of somebody else is answered now.
async fn assert_others_are_served(gateway: &Gateway) {
    gateway.anonymous().get("/auth/me").await.expect(401);
    gateway.anonymous_http2().get("/auth/me").await.expect(401);
}

// SECURITY 10
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_has_a_deadline() {
    let app = Upstream::start().await;
    let gateway = impatient(&app_at("/app", &app.url()));
    let connect = async || Raw::new(TcpStream::connect(gateway.address()).await.unwrap());
    let mut silent = connect().await;
    let mut trickling = connect().await;
    trickling.send([0x16, 0x03, 0x01, 0x01, 0x00, 0x01]).await;

    let (told, ..) = tokio::join!(
        trickling.trickle([0]),
        silent.assert_closed(),
        assert_others_are_served(&gateway),
    );
    assert_eq!(told, b"");
    assert!(gateway.metric(r#"portcullis_tls_handshakes_total{result="timeout"}"#) >= 1.0);
    app.assert_untouched();
}

// SECURITY 10
#[tokio::test(flavor = "multi_thread")]
async fn a_header_block_has_a_deadline() {
    let app = Upstream::start().await;
    let gateway = impatient(&app_at("/app", &app.url()));
    let mut silent = gateway.raw().await;
    let mut request_line = gateway.raw().await;
    request_line.send("GET /app").await;
    let mut headers = gateway.raw().await;
    headers
        .send("GET /app HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        .await;

    let (request_line, headers, ..) = tokio::join!(
        request_line.trickle(b"a"),
        headers.trickle(b"a"),
        silent.assert_closed(),
        assert_others_are_served(&gateway),
    );
    for told in [request_line, headers] {
        let told = String::from_utf8(told).unwrap();
        let is_timeout = told.starts_with("HTTP/1.1 408");
        assert!(told.is_empty() || is_timeout, "{told}");
    }
    app.assert_untouched();
}

// SECURITY 10
#[tokio::test(flavor = "multi_thread")]
async fn a_header_block_has_a_deadline_over_http2() {
    let (app, hanging) = (Upstream::start().await, RawUpstream::start().await);
    let routes = app_at("/app", &app.url()) + &app_at("/hanging", &hanging.url());
    let gateway = impatient(&routes);
    let mut silent = Raw::new(tls(gateway.address(), &gateway.authority(), b"h2").await);
    let mut idle = Http2::connect(&gateway).await;
    let mut unfinished = Http2::connect(&gateway).await;
    unfinished.send(HEADERS, 0, 1, &block(&GET)).await;
    // Another stream keeps this connection busy; and the frame that goes on has only just begun.
    let mut trickling = Http2::connect(&gateway).await;
    let waiting = [GET[0], GET[1], GET[2], (":path", "/hanging")];
    trickling.headers(1, 1, &waiting).await;
    let mut link = hanging.accept().await;
    link.head().await;
    trickling.send(HEADERS, 0, 3, &block(&GET)).await;
    let begun = &frame(CONTINUATION, 0, 3, &[0; 1000])[..9];
    trickling.raw().send(begun).await;

    assert_others_are_served(&gateway).await;
    in_time("the end of a silent connection", silent.rest()).await;
    assert!(matches!(idle.outcome(1).await, Outcome::Closed(_)));
    let end = unfinished.raw().rest();
    in_time("the end of an unfinished header block", end).await;
    trickling.raw().trickle([0]).await;
    app.assert_untouched();
}

// SECURITY 10
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_idles_between_two_requests_is_closed() {
    let app = Upstream::start().await;
    let gateway = impatient(&app_at("/app", &app.url()));
    let mut http1 = gateway.raw().await;
    let mut http2 = Http2::connect(&gateway).await;
    // Not while requests come one after the other.
    for stream in [1, 3, 5] {
        let asked = http1.ask("GET /app HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(asked.await.status(), 200);
        assert_eq!(http2.ask(stream, &GET).await, Outcome::answered(200, ""));
    }
    assert_others_are_served(&gateway).await;
    // Nothing is said of it: there is no request that it could be the answer to.
    http1.assert_closed().await;
    assert_eq!(http2.outcome(7).await, Outcome::Closed(None));
    assert_eq!(app.requests().len(), 6);
}

// SECURITY 10
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_is_a_408() {
    let app = Upstream::start().await;
    let gateway = impatient(&app_at("/app", &app.url()));
    for path in ["/app", "/auth/login"] {
        let mut http1 = gateway.raw().await;
        http1
            .send(format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\na"
            ))
            .await;
        let mut http2 = Http2::connect(&gateway).await;
        let post = [POST[0], POST[1], POST[2], (":path", path)];
        http2.headers(1, 0, &post).await;

        let piece = frame(DATA, 0, 1, b"a");
        let (told, outcome, ()) = tokio::join!(
            http1.trickle(b"a"),
            http2.trickle(1, &piece),
            assert_others_are_served(&gateway),
        );
        let told = String::from_utf8(told).unwrap();
        assert!(told.starts_with("HTTP/1.1 408"), "{path}: {told}");
        assert!(told.contains("\"code\":\"body_timeout\""), "{path}: {told}");
        assert_eq!(outcome, Outcome::answered(408, "body_timeout"), "{path}");
    }
    assert!(app.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn once_the_answer_has_begun_an_upload_may_take_its_time() {
    let app = RawUpstream::start().await;
    let gateway = impatient(&app_at("/app", &app.url()));
    let mut raw = gateway.raw().await;
    raw.send(
        "POST /app HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
    )
    .await;
    let mut link = app.accept().await;
    link.until(b"1\r\na\r\n").await;
    link.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    assert_eq!(raw.head().await.status(), 200);
    // Longer in all than a body may take, and far less than a client has to send for that.
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        raw.send("1\r\nb\r\n").await;
        link.until(b"1\r\nb\r\n").await;
        link.send("1\r\nc\r\n").await;
        raw.until(b"1\r\nc\r\n").await;
    }
    raw.send("0\r\n\r\n").await;
    link.until(b"0\r\n\r\n").await;
}

/// An app whose answer has no end, until the gateway hangs up.
async fn answer_without_end(mut link: Raw) {
    link.head().await;
    link.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    while link.send(&chunk).await {}
}

// SECURITY 10 and 53
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_reads_is_given_up() {
    let app = RawUpstream::start().await;
    let gateway = impatient(&app_at("/app", &app.url()));
    let mut http1 = gateway.raw().await;
    http1
        .send("GET /app HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let first = tokio::spawn(answer_without_end(app.accept().await));
    // This one reads whatever comes, but lets nothing of the answer come.
    let mut http2 = Http2::connect_with(&gateway, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    http2.headers(1, 1, &GET).await;
    let second = tokio::spawn(answer_without_end(app.accept().await));

    assert_others_are_served(&gateway).await;
    assert_eq!(http2.outcome(1).await, Outcome::Reset(CANCEL));
    in_time("the end of an answer over HTTP/2", second)
        .await
        .unwrap();
    in_time("the end of an answer over HTTP/1.1", first)
        .await
        .unwrap();
    // Nothing has happened to the other streams of that connection.
    let head = [(":method", "HEAD"), GET[1], GET[2], (":path", "/auth/none")];
    assert_eq!(http2.ask(3, &head).await, Outcome::answered(404, ""));
}

// SECURITY 53
#[tokio::test(flavor = "multi_thread")]
async fn slow_uploads_do_not_keep_an_app_from_others() {
    let app = Upstream::start().await;
    let gateway = impatient(&format!(
        r#"
        [upstreams.app]
        targets = ["{}"]
        connections = 2
        timeouts = {{ connect = "10s" }}
        [routes.app]
        path = "/app"
        upstream = "app"
        "#,
        app.url()
    ));
    let mut uploads = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let mut upload = gateway.raw().await;
        upload
            .send("POST /app HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\na")
            .await;
        uploads.spawn(async move { upload.trickle(b"a").await });
    }
    eventually("both uploads at the app", async || {
        (app.connections() == 2).then_some(())
    })
    .await;
    gateway.anonymous().get("/app").await.expect(200);
    for told in uploads.join_all().await {
        assert!(told.starts_with(b"HTTP/1.1 408"));
    }
    assert_eq!(app.only().method, "GET");
}
