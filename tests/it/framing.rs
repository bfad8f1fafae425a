//! Where one request ends and the next begins: bytes that no library would send.

use crate::harness::gateway::Gateway;
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

/// Sends each on a connection of its own and insists on a 400, a closed connection, and an untouched app.
async fn refused(requests: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    for bytes in requests {
        let bytes = bytes.as_ref();
        let mut raw = gateway.raw().await;
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(raw.ask(bytes).await.status(), 400, "{shown}");
        raw.assert_closed().await;
    }
    app.assert_untouched();
}

/// A request, its framing, and what an attacker would like to be another request.
fn smuggling(header: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n0\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
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

// SECURITY 1 and 5
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

// SECURITY 2 and 3
#[tokio::test(flavor = "multi_thread")]
async fn framing_errors_are_a_400_and_end_the_connection() {
    // These are refused by hyper, barely and before the gate.
    let bad = [
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3, 4",
        "Content-Length: 3, 3",
        "Content-Length: -1",
        "Content-Length: +3",
        "Content-Length: 3a",
        "Content-Length: 0x3",
        "Content-Length: 3 3",
        "Content-Length:",
        "Content-Length: 99999999999999999999999",
        "Content-Length : 3",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer-Encoding:\r\n chunked",
    ];
    refused(bad.map(smuggling)).await;
    refused([
        "GET / HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n",
    ])
    .await;
}

// SECURITY 2 and 3
#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_another_coding_than_chunked_alone_is_refused() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    for bad in [
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: , chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nTransfer-Encoding: gzip, chunked",
    ] {
        let mut raw = gateway.raw().await;
        let refused = raw.ask(smuggling(bad)).await.answer();
        assert_eq!(refused.status, 400, "{bad}");
        refused.expect_problem(400, "framing_refused");
        raw.assert_closed().await;
    }
    app.assert_untouched();

    let good = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: Chunked\r\n\r\n\
                3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(gateway.raw().await.ask(good).await.status(), 200);
    assert_eq!(&app.only().body[..], b"abc");
}

// SECURITY 5
#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_no_fields_are_a_400() {
    let bad = [
        "X-Folded: a\r\n b",
        "X-Folded: a\r\n\tb",
        "X-Folded: a\r\n X-Auth-User: root",
        "X Y: z",
        " X: z",
        "X\t: z",
        "X(: z",
        "X\0: z",
        "X\r: z",
        "é: z",
        ": z",
        "X",
        "X-Null: a\0b",
        "X-Return: a\rb",
        "X-Return: a\r X-Auth-User: root",
        "X-Control: a\u{1}b",
        "X-Delete: a\u{7f}b",
    ];
    refused(bad.map(smuggling)).await;
    let in_front = |bad| smuggling("").replacen("Host:", &format!("{bad}\r\nHost:"), 1);
    refused(bad.map(in_front)).await;
    let bad = [
        "GET /a b HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 x",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/11",
        "GET / http/1.1",
        "GET /",
        "GET /\0 HTTP/1.1",
        "GET /\u{1} HTTP/1.1",
        "GET x HTTP/1.1",
        "GET ?x HTTP/1.1",
        "GET #x HTTP/1.1",
        "G(T / HTTP/1.1",
        " GET / HTTP/1.1",
        "PRI * HTTP/2.0",
    ];
    refused(bad.map(|line| format!("{line}\r\nHost: localhost\r\n\r\n"))).await;
}

// SECURITY 2
#[tokio::test(flavor = "multi_thread")]
async fn bare_line_feeds_end_lines_and_hide_no_request() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    let mut raw = gateway.raw().await;
    // hyper takes a bare LF for the end of a line (RFC 9112 §2.2). One request goes on, with our own.
    raw.send("POST /1 HTTP/1.1\nHost: localhost\nX-A: 1\nContent-Length: 2\n\n\n\nGET /2 HTTP/1.1\nHost: localhost\n\n")
        .await;
    for _ in 0..2 {
        assert_eq!(raw.message().await.status(), 200);
    }
    let arrived = app.requests();
    assert_eq!(arrived.len(), 2);
    assert_eq!(
        (&*arrived[0].target, &arrived[0].body[..]),
        ("/1", &b"\n\n"[..])
    );
    assert_eq!(arrived[0].header("x-a"), "1");
    assert_eq!(arrived[1].target, "/2");
}

// SECURITY 3
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_chunk_never_ends_a_request_well() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    for broken in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3 3\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "0\r\nX Y: 1\r\n\r\n",
        "0\r\nX-Null: a\0b\r\n\r\n",
    ] {
        let mut raw = gateway.raw().await;
        raw.send(format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{broken}\
             GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ))
        .await;
        let refused = raw.message().await.answer();
        assert_eq!(refused.status, 400, "{broken:?}");
        refused.expect_problem(400, "body_broken");
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
        "GET https://localhost:443/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET ftp://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET https://localhost/ HTTP/1.1\r\n\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost#x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost:443:443\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: loc%61lhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: é\r\n\r\n",
    ] {
        let refused = gateway.raw().await.ask(bad).await.answer();
        assert_eq!(refused.status, 400, "{bad}");
        refused.expect_problem(400, "host_refused");
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
        let refused = gateway.raw().await.ask(bad).await.answer();
        refused.expect_problem(405, "method_refused");
    }
    let star = "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let refused = gateway.raw().await.ask(star).await.answer();
    refused.expect_problem(400, "path_refused");
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

    let long = with(&format!("X-Long: {}\r\n", "a".repeat(100_000)));
    let many = with(&"X-Many: a\r\n".repeat(101));
    let far_too_many = with(&"X-Many: a\r\n".repeat(10_000));
    let long_target = with("").replacen('/', &format!("/{}", "a".repeat(40_000)), 1);
    for too_large in [long, many, far_too_many, long_target] {
        let mut raw = gateway.raw().await;
        assert_eq!(raw.ask(too_large).await.status(), 431);
        let _ = raw.rest().await;
    }
    let long_target = with("").replacen('/', &format!("/{}", "a".repeat(20_000)), 1);
    let refused = gateway.raw().await.ask(long_target).await.answer();
    refused.expect_problem(414, "target_too_long");
    app.assert_untouched();
}

// SECURITY 11
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_refused_before_anything_is_read_for_it() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        "{}\n[routes.guarded]\npath = \"/guarded\"\nupstream = \"{}\"",
        open_route(&app.url()),
        app.url()
    ));
    for path in ["/", "/auth/login"] {
        let claim = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: 10000000000000\r\n\r\n"
        );
        let refused = gateway.raw().await.ask(claim).await.answer();
        refused.expect_problem(413, "body_too_large");
    }
    let token = "a".repeat(20_000);
    let bearer = format!(
        "GET /guarded HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let refused = gateway.raw().await.ask(bearer).await.answer();
    refused.expect_problem(401, "invalid_token");
    app.assert_untouched();
}
