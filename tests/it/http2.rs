//! HTTP/2: frames that no library would send.

mod conformance;
mod floods;

use crate::harness::gateway::Gateway;
use crate::harness::http2::CONTINUATION;
use crate::harness::http2::DATA;
use crate::harness::http2::END_HEADERS;
use crate::harness::http2::END_STREAM;
use crate::harness::http2::ENHANCE_YOUR_CALM;
use crate::harness::http2::FRAME_SIZE_ERROR;
use crate::harness::http2::HEADERS;
use crate::harness::http2::Http2;
use crate::harness::http2::Outcome;
use crate::harness::http2::PROTOCOL_ERROR;
use crate::harness::http2::block;
use crate::harness::http2::frame;
use crate::harness::upstream::RawUpstream;
use crate::harness::upstream::Upstream;

/// What every request here has, and the last of which a case may leave out.
const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "https");
const AUTHORITY: (&str, &str) = (":authority", "localhost");
const PATH: (&str, &str) = (":path", "/x");

fn open_route(url: &str) -> String {
    format!("[routes.all]\npath = \"/\"\nauth = \"none\"\nupstream = \"{url}\"")
}

/// Sends each request on a connection of its own and insists on what becomes of it, and that the app
/// hears of none.
async fn refused(cases: &[(&[(&str, &str)], Outcome)]) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    for (fields, expected) in cases {
        let outcome = Http2::connect(&gateway).await.ask(1, fields).await;
        assert_eq!(outcome, *expected, "{fields:?}");
    }
    app.assert_untouched();

    let good = [METHOD, SCHEME, AUTHORITY, PATH];
    let outcome = Http2::connect(&gateway).await.ask(1, &good).await;
    assert_eq!(outcome, Outcome::answered(200, ""));
    assert_eq!(app.only().target, "/x");
}

// SECURITY 5 and 8
#[tokio::test(flavor = "multi_thread")]
async fn fields_that_are_none_are_refused_over_http2() {
    // Those that the decoder refuses end the connection; the others end their stream.
    let closed = [
        ("X-Upper", "1"),
        ("x y", "1"),
        ("x:y", "1"),
        ("x\0", "1"),
        ("x\r\ny", "1"),
        ("", "1"),
        ("é", "1"),
        (":unknown", "1"),
        ("x-lf", "a\nx-auth-user: root"),
        ("x-crlf", "a\r\nx-auth-user: root"),
        ("x-cr", "a\rb"),
        ("x-null", "a\0b"),
        ("x-control", "a\u{1}b"),
    ];
    let reset = [
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("upgrade", "websocket"),
        ("transfer-encoding", "chunked"),
        ("te", "gzip"),
        (":path", "/late"),
        ("content-length", "5"),
        ("content-length", "+0"),
        ("content-length", "-1"),
        ("content-length", "0, 0"),
        ("content-length", "x"),
        ("content-length", "99999999999999999999999"),
    ];
    let with = |field| [METHOD, SCHEME, AUTHORITY, PATH, ("accept", "*/*"), field];
    let closed = closed.map(|field| (with(field), Outcome::Closed(Some(PROTOCOL_ERROR))));
    let reset = reset.map(|field| (with(field), Outcome::Reset(PROTOCOL_ERROR)));
    let cases: Vec<_> = closed
        .iter()
        .chain(&reset)
        .map(|(fields, outcome)| (&fields[..], outcome.clone()))
        .collect();
    refused(&cases).await;
}

// SECURITY 4 and 6
#[tokio::test(flavor = "multi_thread")]
async fn pseudo_fields_name_one_method_one_host_and_one_path() {
    let reset = || Outcome::Reset(PROTOCOL_ERROR);
    let host = || Outcome::answered(400, "host_refused");
    let path = || Outcome::answered(400, "path_refused");
    let method = || Outcome::answered(405, "method_refused");
    refused(&[
        (&[SCHEME, AUTHORITY, PATH], reset()),
        (&[METHOD, AUTHORITY, PATH], reset()),
        (&[METHOD, SCHEME, AUTHORITY], reset()),
        (&[METHOD, METHOD, SCHEME, AUTHORITY, PATH], reset()),
        (&[METHOD, SCHEME, SCHEME, AUTHORITY, PATH], reset()),
        (&[METHOD, SCHEME, AUTHORITY, AUTHORITY, PATH], reset()),
        (&[METHOD, SCHEME, AUTHORITY, PATH, PATH], reset()),
        (
            &[METHOD, SCHEME, AUTHORITY, PATH, (":status", "200")],
            reset(),
        ),
        (
            &[METHOD, SCHEME, AUTHORITY, PATH, (":protocol", "websocket")],
            reset(),
        ),
        // One host, wherever it is said.
        (&[METHOD, SCHEME, PATH], host()),
        (&[METHOD, SCHEME, PATH, ("host", "")], host()),
        (&[METHOD, SCHEME, PATH, ("host", "a@localhost")], host()),
        (&[METHOD, SCHEME, PATH, ("host", "localhost#x")], host()),
        (
            &[
                METHOD,
                SCHEME,
                PATH,
                ("host", "localhost"),
                ("host", "localhost"),
            ],
            host(),
        ),
        (
            &[METHOD, SCHEME, AUTHORITY, PATH, ("host", "other")],
            host(),
        ),
        (
            &[METHOD, SCHEME, AUTHORITY, PATH, ("host", "localhost:443")],
            host(),
        ),
        (
            &[
                METHOD,
                SCHEME,
                AUTHORITY,
                PATH,
                ("host", "localhost"),
                ("host", "localhost"),
            ],
            host(),
        ),
        (
            &[METHOD, SCHEME, (":authority", "a@localhost"), PATH],
            host(),
        ),
        (
            &[METHOD, SCHEME, (":authority", "a:b@localhost"), PATH],
            host(),
        ),
        (
            &[METHOD, SCHEME, (":authority", "localhost:"), PATH],
            host(),
        ),
        (&[METHOD, SCHEME, (":authority", ""), PATH], reset()),
        (
            &[METHOD, SCHEME, (":authority", "localhost#x"), PATH],
            reset(),
        ),
        (
            &[METHOD, SCHEME, (":authority", "localhost/x"), PATH],
            reset(),
        ),
        (
            &[METHOD, SCHEME, (":authority", "local host"), PATH],
            reset(),
        ),
        (
            &[METHOD, SCHEME, (":authority", "localhost:x"), PATH],
            host(),
        ),
        // One path that starts with a slash.
        (&[METHOD, SCHEME, ("host", "localhost")], path()),
        (
            &[METHOD, SCHEME, ("host", "localhost"), (":path", "/x")],
            reset(),
        ),
        (&[METHOD, SCHEME, AUTHORITY, (":path", "")], reset()),
        (&[METHOD, SCHEME, AUTHORITY, (":path", "x")], reset()),
        (
            &[METHOD, SCHEME, AUTHORITY, (":path", "https://localhost/x")],
            reset(),
        ),
        (&[METHOD, SCHEME, AUTHORITY, (":path", "/a b")], reset()),
        (&[METHOD, SCHEME, AUTHORITY, (":path", "/a\r\nb")], reset()),
        (&[METHOD, SCHEME, AUTHORITY, (":path", "/a\0")], reset()),
        (&[METHOD, SCHEME, AUTHORITY, (":path", "*")], path()),
        (&[METHOD, SCHEME, AUTHORITY, (":path", "/../x")], path()),
        (&[METHOD, SCHEME, AUTHORITY, (":path", "/%2e%2e/x")], path()),
        (&[METHOD, SCHEME, AUTHORITY, (":path", "//x")], path()),
        // Methods for other kinds of proxies.
        (&[(":method", "CONNECT"), AUTHORITY], method()),
        (&[(":method", "TRACE"), SCHEME, AUTHORITY, PATH], method()),
        (
            &[
                (":method", "CONNECT"),
                (":protocol", "connect-udp"),
                SCHEME,
                AUTHORITY,
                PATH,
            ],
            method(),
        ),
        (
            &[
                METHOD,
                SCHEME,
                AUTHORITY,
                PATH,
                ("authorization", "a"),
                ("authorization", "b"),
            ],
            Outcome::answered(400, "two_credentials"),
        ),
    ])
    .await;
}

// SECURITY 4
#[tokio::test(flavor = "multi_thread")]
async fn a_host_may_be_said_in_either_way_or_in_both() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    let host = ("host", "localhost");
    for good in [
        &[METHOD, SCHEME, AUTHORITY, PATH][..],
        &[METHOD, SCHEME, PATH, host],
        &[METHOD, SCHEME, AUTHORITY, PATH, host],
    ] {
        let outcome = Http2::connect(&gateway).await.ask(1, good).await;
        assert_eq!(outcome, Outcome::answered(200, ""), "{good:?}");
        assert_eq!(app.only().header("host"), "localhost", "{good:?}");
    }
}

// SECURITY 1
#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_another_length_than_it_says_never_arrives_whole() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    let post = [
        (":method", "POST"),
        SCHEME,
        AUTHORITY,
        PATH,
        ("content-length", "5"),
    ];
    for body in ["abc", "abcdef"] {
        let mut http2 = Http2::connect(&gateway).await;
        http2.headers(1, 0, &post).await;
        http2.send(DATA, END_STREAM, 1, body.as_bytes()).await;
        assert_eq!(
            http2.outcome(1).await,
            Outcome::Reset(PROTOCOL_ERROR),
            "{body}"
        );
        assert!(app.requests().is_empty(), "{body}");
    }

    let mut http2 = Http2::connect(&gateway).await;
    http2.headers(1, 0, &post).await;
    http2.send(DATA, END_STREAM, 1, b"abcde").await;
    assert_eq!(http2.outcome(1).await, Outcome::answered(200, ""));
    let arrived = app.requests();
    assert_eq!(arrived.len(), 1);
    assert_eq!(&arrived[0].body[..], b"abcde");
}

// SECURITY 1
#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_is_said_twice_arrives_once() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    let length = ("content-length", "1");
    let post = [(":method", "POST"), SCHEME, AUTHORITY, PATH, length, length];
    let mut http2 = Http2::connect(&gateway).await;
    http2.headers(1, 0, &post).await;
    http2.send(DATA, END_STREAM, 1, b"a").await;
    let mut link = app.accept().await;
    let arrived = link.message().await;
    assert_eq!(arrived.header("content-length"), "1");
    assert_eq!(arrived.header("transfer-encoding"), "");
    assert_eq!(arrived.body, b"a");
}

// SECURITY 17
#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_cookie_is_taken_out_of_crumbs() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    for (crumbs, arrives) in [
        (&["a=1", "__Host-portcullis=secret", "b=2"][..], "a=1; b=2"),
        (
            &["__Host-portcullis=secret", "b=2; __Host-portcullis=too"],
            "b=2",
        ),
        (&["__Host-portcullis=secret"], ""),
        (&["a=1", "b=2"], "a=1; b=2"),
    ] {
        let cookies = crumbs.iter().map(|crumb| ("cookie", *crumb));
        let request = [METHOD, SCHEME, AUTHORITY, PATH];
        let fields: Vec<_> = request.into_iter().chain(cookies).collect();
        let outcome = Http2::connect(&gateway).await.ask(1, &fields).await;
        assert_eq!(outcome, Outcome::answered(200, ""), "{crumbs:?}");
        assert_eq!(app.only().header("cookie"), arrives, "{crumbs:?}");
    }
}

// SECURITY 9 and 11
#[tokio::test(flavor = "multi_thread")]
async fn a_header_list_over_http2_has_its_bounds() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    let ask = async |path: &str, more: &[(&str, &str)]| {
        let mut fields = vec![METHOD, SCHEME, AUTHORITY, (":path", path)];
        fields.extend(more);
        Http2::connect(&gateway).await.ask(1, &fields).await
    };
    let of = |bytes: usize| "a".repeat(bytes);
    let path = |bytes: usize| format!("/{}", "a".repeat(bytes));

    assert_eq!(
        ask("/x", &[("x-fits", &of(16 << 10))]).await,
        Outcome::answered(200, "")
    );
    assert_eq!(ask(&path(8 << 10), &[]).await, Outcome::answered(200, ""));
    assert_eq!(app.requests().len(), 2);

    let too_many = Outcome::answered(431, "too_many_headers");
    assert_eq!(ask("/x", &[("x-many", "1"); 101]).await, too_many);
    assert_eq!(
        ask(&path(20_000), &[]).await,
        Outcome::answered(414, "target_too_long")
    );
    // Of a list that is too long nothing is kept, so that there is nobody to be told more.
    let too_large = Outcome::answered(431, "");
    assert_eq!(ask(&path(40_000), &[]).await, too_large);
    assert_eq!(ask("/x", &[("x-long", &of(100_000))]).await, too_large);
    assert_eq!(ask("/x", &[("x-many", "1"); 10_000]).await, too_large);
    // One that has no end is not read to its end.
    let closed = Outcome::Closed(Some(ENHANCE_YOUR_CALM));
    assert_eq!(ask("/x", &[("x-many", "1"); 100_000]).await, closed);

    // Claims that nothing is allocated for: a frame, a field, and frames without end.
    let mut http2 = Http2::connect(&gateway).await;
    http2
        .raw()
        .send([0xff, 0xff, 0xff, HEADERS, 0, 0, 0, 0, 1])
        .await;
    assert_eq!(
        http2.outcome(1).await,
        Outcome::Closed(Some(FRAME_SIZE_ERROR))
    );
    let mut http2 = Http2::connect(&gateway).await;
    let field_of_a_gigabyte = [0x00, 0x7f, 0x81, 0xff, 0xff, 0xff, 0x03, b'x'];
    http2
        .send(HEADERS, END_HEADERS, 1, &field_of_a_gigabyte)
        .await;
    assert_eq!(
        http2.outcome(1).await,
        Outcome::Closed(Some(PROTOCOL_ERROR))
    );
    let mut http2 = Http2::connect(&gateway).await;
    http2
        .send(HEADERS, 0, 1, &block(&[METHOD, SCHEME, AUTHORITY, PATH]))
        .await;
    for _ in 0..100 {
        http2.send(CONTINUATION, 0, 1, &[]).await;
    }
    assert_eq!(http2.outcome(1).await, closed);
    assert_eq!(app.requests().len(), 2);
}

// SECURITY 55
#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_odd_frames_make_nothing_panic() {
    let gateway = Gateway::start(&open_route("echo"));
    // From a seed, so that a failure comes back.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    let request = [
        (":method", "POST"),
        SCHEME,
        AUTHORITY,
        (":path", "/a%20b?c"),
        ("authorization", "Bearer a.b.c"),
        ("cookie", "a=b"),
        ("x-auth-user", "x"),
    ];
    let mut whole = frame(HEADERS, END_HEADERS, 1, &block(&request));
    whole.extend(frame(DATA, END_STREAM, 1, b"abc"));
    for _ in 0..200 {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            let at = usize::from(next()) % bytes.len();
            bytes[at] = next();
        }
        let mut http2 = Http2::connect(&gateway).await;
        http2.raw().send(&bytes).await;
        http2.raw().send(&whole).await;
    }
    gateway.anonymous_http2().get("/").await.expect(200);
    assert_eq!(gateway.metric("portcullis_panics_total"), 0.0);
}

/// With curl, because it is what people use, and because it gives up on a stream that is reset.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_still_sending_can_read_the_refusal() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.guarded]
        path = "/guarded"
        upstream = "{0}"
        [routes.small]
        path = "/small"
        auth = "none"
        max_body = "1KiB"
        upstream = "{0}"
        "#,
        app.url()
    ));
    let large = gateway.folder().path("large");
    std::fs::write(&large, vec![b'a'; 3 << 20]).unwrap();
    for (path, expected) in [
        ("/guarded", r#""code":"unauthenticated""#),
        ("/small", r#""code":"body_too_large""#),
        ("/auth/login", r#""code":"body_too_large""#),
        ("/none", r#""code":"no_route""#),
    ] {
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--show-error", "--http2", "--max-time", "20"])
            .args(["-H", "Expect:", "-H", "Content-Type: application/json"])
            .arg("--cacert")
            .arg(gateway.folder().path("certs/ca.pem"))
            .arg("--data-binary")
            .arg(format!("@{}", large.display()))
            .arg(format!(
                "https://localhost:{}{path}",
                gateway.address().port()
            ));
        let said = tokio::task::block_in_place(|| curl.output()).unwrap();
        assert!(said.status.success(), "{path}: {said:?}");
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(said.contains(expected), "{path}: {said}");
    }
    app.assert_untouched();
}
