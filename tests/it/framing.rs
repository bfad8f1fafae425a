//! Where one request ends and the next begins: bytes that no library would send.

use bytes::Bytes;
use http::HeaderValue;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;

use crate::harness::gateway::Gateway;
use crate::harness::raw::tls;
use crate::harness::upstream::RawUpstream;
use crate::harness::upstream::Upstream;

fn open_route(url: &str) -> String {
    format!(
        r#"
        [routes.app]
        path = "/"
        auth = "none"
        upstream = "{url}"
        "#
    )
}

/// Sends bytes to a gateway and insists on a status, a closed connection, and an untouched app.
async fn refused(bytes: &[u8], status: u16) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    let mut raw = gateway.raw().await;
    let shown = String::from_utf8_lossy(bytes);
    assert_eq!(raw.ask(bytes).await.status(), status, "{shown}");
    raw.assert_closed().await;
    app.assert_untouched();
}

// SECURITY 1
#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_both_framings_arrives_as_one_clean_request() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    let mut raw = gateway.raw().await;
    raw.send(
        "POST /first HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    .await;

    let mut link = app.accept().await;
    let first = link.message().await;
    assert_eq!(first.start_line, "POST /first HTTP/1.1");
    let framings = ["content-length", "transfer-encoding"]
        .map(|name| first.headers.get_all(name).iter().count());
    assert_eq!(framings.iter().sum::<usize>(), 1, "{first:?}");
    assert!(first.body.is_empty());
    link.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
        .await;

    // RFC 9112 §6.3: after such a request the connection is closed, and what came behind it is
    // nobody's request.
    assert_eq!(raw.message().await.body, b"first");
    raw.assert_closed().await;
    drop(gateway);
    link.assert_closed().await;
}

// SECURITY 1
#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_framed_anew() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    let mut raw = gateway.raw().await;
    let answer = raw
        .ask(
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
             Trailer: X-Late\r\n\r\n5;ext=\"a\"\r\nhello\r\n1\r\n!\r\n0\r\nX-Late: 1\r\n\r\n",
        )
        .await;
    assert_eq!(answer.status(), 200);
    let arrived = app.only();
    assert_eq!(&arrived.body[..], b"hello!");
    assert_eq!(arrived.trailers, None);
    assert_eq!(arrived.header("trailer"), "");
}

// SECURITY 1
#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_one_by_one() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    let mut raw = gateway.raw().await;
    raw.send(
        "GET /1 HTTP/1.1\r\nHost: localhost\r\n\r\n\
         POST /2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc\
         GET /3 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    .await;
    for _ in 0..3 {
        assert_eq!(raw.message().await.status(), 200);
    }
    let requests = app.requests();
    let targets: Vec<_> = requests.iter().map(|request| &*request.target).collect();
    assert_eq!(targets, ["/1", "/2", "/3"]);
    assert_eq!(&requests[1].body[..], b"abc");
}

// SECURITY 3
#[tokio::test(flavor = "multi_thread")]
async fn framing_errors_are_a_400_and_end_the_connection() {
    for bad in [
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3, 4",
        "Content-Length: -1",
        "Content-Length: +3",
        "Content-Length: 3a",
        "Content-Length: 99999999999999999999999",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding : chunked",
        "X-Folded: a\r\n b",
        "X Y: z",
        "X(: z",
        ": z",
        "X-Null: a\0b",
        "X-Return: a\rb",
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\n{bad}\r\n\r\nabcd\
             GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
        );
        refused(request.as_bytes(), 400).await;
    }
    refused(
        b"GET / HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    )
    .await;
    refused(b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400).await;
    refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", 400).await;
}

// SECURITY 3
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_chunk_never_ends_a_request_well() {
    for broken in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
    ] {
        let app = Upstream::start().await;
        let gateway = Gateway::start(&open_route(&app.url()));
        let mut raw = gateway.raw().await;
        raw.send(format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{broken}\
             GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ))
        .await;
        assert_eq!(raw.message().await.status(), 400, "{broken:?}");
        raw.assert_closed().await;
        // Its header may have arrived; a whole request, or a second one, has not.
        assert!(
            app.requests().is_empty(),
            "{broken:?}: {:?}",
            app.requests()
        );
    }
}

// SECURITY 4
#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_exactly_one_valid_host() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    for good in [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: LOCALHOST:443\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:443\r\n\r\n",
        "GET https://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        assert_eq!(gateway.raw().await.ask(good).await.status(), 200, "{good}");
        app.only();
    }
    for bad in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost, other\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost/x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost:x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost:99999\r\n\r\n",
        "GET https://other/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET https://user@localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        assert_eq!(gateway.raw().await.ask(bad).await.status(), 400, "{bad}");
    }
    app.assert_untouched();
}

// SECURITY 4
#[tokio::test(flavor = "multi_thread")]
async fn methods_for_other_kinds_of_proxies_are_refused() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    for bad in [
        "TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n",
    ] {
        assert_eq!(gateway.raw().await.ask(bad).await.status(), 405, "{bad}");
    }
    let star = "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(gateway.raw().await.ask(star).await.status(), 400);
    let upgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\n\
                   Upgrade: websocket\r\n\r\n";
    assert_eq!(gateway.raw().await.ask(upgrade).await.status(), 501);
    app.assert_untouched();

    let odd = "PURGE / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(gateway.raw().await.ask(odd).await.status(), 200);
    assert_eq!(app.only().method, "PURGE");
}

// SECURITY 11
#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_too_large_is_a_431() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    let with = |extra: &str| format!("GET / HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n");

    let fits = with(&format!("X-Long: {}\r\n", "a".repeat(16 * 1024)));
    assert_eq!(gateway.raw().await.ask(fits).await.status(), 200);
    app.only();

    let long = with(&format!("X-Long: {}\r\n", "a".repeat(70 * 1024)));
    let many = with(&"X-Many: a\r\n".repeat(200));
    for too_large in [long, many] {
        let mut raw = gateway.raw().await;
        assert_eq!(raw.ask(too_large).await.status(), 431);
        let _ = raw.rest().await;
    }
    app.assert_untouched();
}

// SECURITY 10
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_is_cut_off_and_blocks_nobody() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [connections]
        header_timeout = "1s"
        body_timeout = "1s"
        handshake_timeout = "1s"
        {}
        "#,
        open_route(&app.url())
    ));
    let silent = tokio::net::TcpStream::connect(gateway.address())
        .await
        .unwrap();
    let mut silent = crate::harness::raw::Raw::new(silent);
    let mut half_a_header = gateway.raw().await;
    half_a_header.send("GET / HTTP/1.1\r\nHost: loc").await;
    let mut half_a_body = gateway.raw().await;
    half_a_body
        .send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc")
        .await;

    gateway.anonymous().get("/").await.expect(200);
    assert_eq!(app.requests().len(), 1);

    silent.assert_closed().await;
    let told = String::from_utf8(half_a_header.rest().await).unwrap();
    assert!(
        told.is_empty() || told.starts_with("HTTP/1.1 408"),
        "{told}"
    );
    assert_eq!(half_a_body.message().await.status(), 408);
    let _ = half_a_body.rest().await;
    assert_eq!(app.requests().len(), 1);
}

// SECURITY 4
#[tokio::test(flavor = "multi_thread")]
async fn over_http2_there_is_one_valid_host_too() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    let stream = tls(gateway.address(), &gateway.authority(), b"h2").await;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let ask = async |url: &str, headers: &[(&'static str, &'static str)]| {
        let mut request = Request::get(url).body(Empty::<Bytes>::new()).unwrap();
        for (name, value) in headers {
            request
                .headers_mut()
                .append(*name, HeaderValue::from_static(value));
        }
        let response = sender.clone().send_request(request).await.unwrap();
        response.status().as_u16()
    };
    assert_eq!(ask("https://localhost/", &[]).await, 200);
    app.only();
    assert_eq!(
        ask("https://localhost/", &[("host", "localhost")]).await,
        200
    );
    app.only();

    for hosts in [
        &[("host", "other")][..],
        &[("host", "localhost"), ("host", "localhost")],
        &[("host", "localhost"), ("host", "other")],
    ] {
        assert_eq!(ask("https://localhost/", hosts).await, 400, "{hosts:?}");
    }
    assert_eq!(ask("https://user@localhost/", &[]).await, 400);
    let two = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
    assert_eq!(ask("https://localhost/", &two).await, 400);
    app.assert_untouched();
}
