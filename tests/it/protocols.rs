//! What is spoken with apps: HTTP/2, with and without TLS, and HTTP/1.1 over TLS.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::HeaderMap;
use http::Request;
use http::Response;
use http::Version;
use http_body::Frame;
use http_body_util::BodyExt as _;
use http_body_util::StreamBody;
use hyper::body::Incoming;
use reqwest::Method;
use tokio::sync::Notify;
use tokio::sync::mpsc;

use crate::harness::binary::portcullis;
use crate::harness::caller::Answer;
use crate::harness::eventually;
use crate::harness::gateway::Folder;
use crate::harness::gateway::Gateway;
use crate::harness::http2_upstream::Answered;
use crate::harness::http2_upstream::Authority;
use crate::harness::http2_upstream::Http2Upstream;
use crate::harness::http2_upstream::whole;
use crate::harness::upstream::RawUpstream;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn ok(_: Request<Incoming>) -> Answered {
    whole("ok")
}

/// Answers with what was sent.
async fn mirror(request: Request<Incoming>) -> Answered {
    whole(request.into_body().collect().await.unwrap().to_bytes())
}

fn routes(url: &str, more: &str) -> String {
    format!(
        r#"
        [gateway]
        threads = 1
        [upstreams.app]
        targets = ["{url}"]
        {more}
        [routes.app]
        path = "/app"
        upstream = "app"
        max_body = "64MiB"
        [routes.open]
        path = "/open"
        auth = "none"
        upstream = "app"
        "#
    )
}

/// A body that says what the other end of the channel says.
fn told(mut frames: mpsc::Receiver<Result<Frame<Bytes>, BoxError>>) -> Answered {
    let frames = futures_util::stream::poll_fn(move |context| frames.poll_recv(context));
    Response::new(StreamBody::new(frames).boxed())
}

// SECURITY 18
#[tokio::test(flavor = "multi_thread")]
async fn many_callers_share_one_connection_and_none_of_their_names() {
    let app = Http2Upstream::h2c(mirror).await;
    let gateway = Gateway::start(&routes(&app.url("h2c"), ""));
    let alice = gateway.signed_in("alice").await;
    let bob = gateway.signed_in("bob").await;
    for (caller, name) in [(&alice, "alice"), (&bob, "bob"), (&alice, "alice")] {
        let request = caller.request(Method::POST, "/app/x?y=1").body(name);
        let request = request
            .header("x-auth-user", "root")
            .header("te", "trailers");
        let answer = Answer::of(request).await.expect(200);
        assert_eq!(answer.text(), name);
        let heard = app.only();
        assert_eq!(heard.version, Version::HTTP_2);
        let host = format!("localhost:{}", gateway.address().port());
        assert_eq!(heard.uri, *format!("http://{host}/app/x?y=1"));
        assert_eq!(heard.headers["x-auth-user"], name);
        assert_eq!(heard.headers["x-forwarded-proto"], "https");
        assert_eq!(heard.headers["te"], "trailers");
        for gone in ["host", "authorization", "connection", "transfer-encoding"] {
            assert!(!heard.headers.contains_key(gone), "{heard:?}");
        }
    }
    gateway
        .anonymous()
        .get("/app")
        .await
        .expect_problem(401, "unauthenticated");
    app.assert_untouched();
    assert_eq!(app.connections(), 1);
}

// SECURITY 12
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_go_both_ways() {
    let app = Http2Upstream::h2c(mirror).await;
    let gateway = Gateway::start(&routes(&app.url("h2c"), ""));
    let alice = gateway.signed_in("alice").await;
    let much: Vec<u8> = (0..8 << 20).map(|at: u32| at.to_le_bytes()[1]).collect();
    let over_http2 = gateway.anonymous_http2().with_token(alice.token());
    for caller in [&alice, &over_http2] {
        let request = caller.request(Method::POST, "/app").body(much.clone());
        let answer = Answer::of(request).await.expect(200);
        assert!(answer.body == much, "{} bytes", answer.body.len());
    }
    let head = Answer::of(alice.request(Method::HEAD, "/app")).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

// SECURITY 53
#[tokio::test(flavor = "multi_thread")]
async fn another_connection_is_opened_only_where_all_are_full() {
    let released = Arc::new(Notify::new());
    let waiting = Arc::clone(&released);
    let app = Http2Upstream::start(None, 2, move |_| {
        let waiting = Arc::clone(&waiting);
        async move {
            waiting.notified().await;
            whole("ok")
        }
    })
    .await;
    let gateway = Gateway::start(&routes(&app.url("h2c"), "connections = 5"));
    let caller = gateway.anonymous_http2();
    let asked: Vec<_> = (1..=5)
        .map(|_| {
            let caller = caller.clone();
            tokio::spawn(async move { caller.get("/open").await })
        })
        .collect();
    let mut heard = 0;
    eventually("five requests", async || {
        heard += app.requests().len();
        (heard == 5).then_some(())
    })
    .await;
    assert_eq!(app.connections(), 3);
    // One more has to wait, and then is refused.
    let lines = routes(
        &app.url("h2c"),
        "connections = 1\ntimeouts.connect = \"100ms\"",
    );
    let narrow = Gateway::start(&lines);
    let first = narrow.anonymous();
    let first = tokio::spawn(async move { first.get("/open").await });
    eventually("a request", async || app.requests().pop()).await;
    narrow
        .anonymous()
        .get("/open")
        .await
        .expect_problem(503, "upstream_busy");
    eventually("all answers", async || {
        released.notify_waiters();
        (first.is_finished() && asked.iter().all(|asked| asked.is_finished())).then_some(())
    })
    .await;
    first.await.unwrap().expect(200);
    for asked in asked {
        asked.await.unwrap().expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_cancels_its_stream_and_no_other() {
    let gone = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&gone);
    let app = Http2Upstream::h2c(move |request: Request<Incoming>| {
        let gone = Gone(Arc::clone(&counted));
        async move {
            if request.uri().path() == "/open/ever" {
                std::future::pending::<()>().await;
            }
            drop(request);
            std::mem::forget(gone);
            whole("ok")
        }
    })
    .await;
    let gateway = Gateway::start(&routes(&app.url("h2c"), ""));
    let mut raw = gateway.raw().await;
    raw.send("GET /open/ever HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    eventually("a request", async || app.requests().pop()).await;
    drop(raw);
    eventually("the end of its stream", async || {
        (gone.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    gateway.anonymous().get("/open").await.expect(200);
    assert_eq!(app.connections(), 1);
}

/// Counts when it is dropped.
struct Gone(Arc<AtomicUsize>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

// SECURITY 12, 54
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_breaks_off_aborts_one_stream_and_no_other() {
    let begun = Arc::new(Notify::new());
    let is_begun = Arc::clone(&begun);
    let app = Http2Upstream::h2c(move |request: Request<Incoming>| {
        let is_begun = Arc::clone(&is_begun);
        async move {
            if request.uri().path() != "/open/half" {
                return whole("ok");
            }
            let (sender, frames) = mpsc::channel(4);
            tokio::spawn(async move {
                let _ = sender.send(Ok(Frame::data(Bytes::from("half")))).await;
                is_begun.notified().await;
                let _ = sender.send(Err("no more".into())).await;
            });
            told(frames)
        }
    })
    .await;
    let gateway = Gateway::start(&routes(&app.url("h2c"), ""));
    for caller in [gateway.anonymous(), gateway.anonymous_http2()] {
        let response = caller
            .request(Method::GET, "/open/half")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        begun.notify_one();
        assert!(response.bytes().await.is_err(), "it looked whole");
        caller.get("/open").await.expect(200);
    }
    assert_eq!(app.connections(), 1);
}

// SECURITY 5, 13
#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_an_answer_pass_and_are_filtered() {
    let app = Http2Upstream::h2c(|_| async {
        let (sender, frames) = mpsc::channel(4);
        let mut trailers = HeaderMap::new();
        for (name, value) in [
            ("grpc-status", "0"),
            ("grpc-message", "fine"),
            ("grpc-status-details-bin", "AA"),
            ("set-cookie", "a=1"),
            ("x-request-id", "forged"),
        ] {
            trailers.insert(name, value.parse().unwrap());
        }
        sender
            .send(Ok(Frame::data(Bytes::from("ok"))))
            .await
            .unwrap();
        sender.send(Ok(Frame::trailers(trailers))).await.unwrap();
        told(frames)
    })
    .await;
    let gateway = Gateway::start(&routes(&app.url("h2c"), ""));
    let caller = crate::websockets_http2::Connection::to(&gateway).await;
    let response = caller.get("/open").await;
    let body = response.into_body().collect().await.unwrap();
    let trailers = body.trailers().unwrap();
    let names: Vec<_> = trailers.keys().map(|name| name.as_str()).collect();
    assert_eq!(
        names,
        ["grpc-status", "grpc-message", "grpc-status-details-bin"]
    );
}

/// Frames of an app that the test plays itself.
mod frames {
    use crate::harness::http2::frame;
    use crate::harness::raw::Raw;

    pub(super) const SETTINGS: u8 = 4;
    pub(super) const RESET: u8 = 3;
    pub(super) const GO_AWAY: u8 = 7;
    pub(super) const HEADERS: u8 = 1;

    /// Reads the preface, says hello.
    pub(super) async fn hello(link: &mut Raw) {
        link.until(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        link.send(frame(SETTINGS, 0, 0, &[])).await;
    }

    /// Waits for the next request, and answers the settings and pings before it: its stream.
    pub(super) async fn request(link: &mut Raw) -> u32 {
        loop {
            let head = link.exactly(9).await;
            let length =
                usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let payload = link.exactly(length).await;
            match head[3] {
                SETTINGS if head[4] == 0 => {
                    link.send(frame(SETTINGS, 1, 0, &[])).await;
                }
                6 if head[4] == 0 => {
                    link.send(frame(6, 1, 0, &payload)).await;
                }
                HEADERS => return u32::from_be_bytes(head[5..9].try_into().unwrap()),
                _ => {}
            }
        }
    }
}

// SECURITY 54
#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_unseen_is_sent_again_and_nothing_else() {
    let app = RawUpstream::start().await;
    let url = app.url().replace("http", "h2c");
    let gateway = Gateway::start(&routes(&url, "timeouts.response = \"5s\""));
    let ask = |path: &'static str| {
        let caller = gateway.anonymous();
        tokio::spawn(async move { caller.get(path).await })
    };
    let ok = [&[0x88][..]].concat();
    let refused = 7_u32.to_be_bytes();
    // An open connection refuses a stream: the request goes over another one.
    let first = ask("/open");
    let mut link = app.accept().await;
    frames::hello(&mut link).await;
    let stream = frames::request(&mut link).await;
    link.send(crate::harness::http2::frame(
        frames::HEADERS,
        5,
        stream,
        &ok,
    ))
    .await;
    first.await.unwrap().expect(200);
    let again = ask("/open");
    let stream = frames::request(&mut link).await;
    link.send(crate::harness::http2::frame(
        frames::RESET,
        0,
        stream,
        &refused,
    ))
    .await;
    let mut next = app.accept().await;
    frames::hello(&mut next).await;
    let stream = frames::request(&mut next).await;
    next.send(crate::harness::http2::frame(
        frames::HEADERS,
        5,
        stream,
        &ok,
    ))
    .await;
    again.await.unwrap().expect(200);
    // One that ends says which streams it has not begun: those go over another one as well.
    let again = ask("/open");
    let stream = frames::request(&mut next).await;
    let last = [&(stream - 2).to_be_bytes()[..], &0_u32.to_be_bytes()].concat();
    next.send(crate::harness::http2::frame(frames::GO_AWAY, 0, 0, &last))
        .await;
    let mut third = app.accept().await;
    frames::hello(&mut third).await;
    let stream = frames::request(&mut third).await;
    third
        .send(crate::harness::http2::frame(
            frames::HEADERS,
            5,
            stream,
            &ok,
        ))
        .await;
    again.await.unwrap().expect(200);
    // Any other reset is an answer, of sorts.
    let broken = ask("/open");
    let stream = frames::request(&mut third).await;
    let internal = 2_u32.to_be_bytes();
    third
        .send(crate::harness::http2::frame(
            frames::RESET,
            0,
            stream,
            &internal,
        ))
        .await;
    broken
        .await
        .unwrap()
        .expect_problem(502, "upstream_invalid");
}

// SECURITY 54
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_over_http2_that_lies_is_none() {
    use crate::harness::http2::block;
    use crate::harness::http2::frame;

    let app = RawUpstream::start().await;
    let url = app.url().replace("http", "h2c");
    let gateway = Gateway::start(&routes(&url, "ejection = \"off\""));
    let large = "x".repeat(15_000);
    let many: Vec<(&str, &str)> = std::iter::repeat_n(("x-large", &*large), 5).collect();
    for fields in [
        &[("connection", "close")][..],
        &[("transfer-encoding", "chunked")],
        &[("content-length", "5"), ("content-length", "5")],
        &[("content-length", "+5")],
        &[("content-length", "0"), ("x-upper", "1"), ("X-Upper", "1")],
        &[("upgrade", "h2c")],
        &many,
    ] {
        let caller = gateway.anonymous();
        let asked = tokio::spawn(async move { caller.get("/open").await });
        let mut link = app.accept().await;
        frames::hello(&mut link).await;
        let stream = frames::request(&mut link).await;
        let status = [0x88];
        let head = [&status, &*block(fields)].concat();
        let mut pieces = head.chunks(16 * 1024).peekable();
        let mut kind = frames::HEADERS;
        while let Some(piece) = pieces.next() {
            let last = if pieces.peek().is_none() { 4 } else { 0 };
            link.send(frame(kind, last, stream, piece)).await;
            kind = 9;
        }
        link.send(frame(0, 1, stream, b"12345")).await;
        let answer = asked.await.unwrap();
        assert_eq!(answer.status, 502, "{fields:?}");
        drop(link);
    }
    // A length that is not kept is found out when the head is long gone.
    for (said, sent) in [("5", &b"123"[..]), ("2", b"12345")] {
        let caller = gateway.anonymous();
        let asked = tokio::spawn(async move {
            let response = caller.request(Method::GET, "/open").send().await;
            match response {
                Ok(response) if response.status() == 200 => response.bytes().await.is_err(),
                Ok(response) => response.status() == 502,
                Err(_) => true,
            }
        });
        let mut link = app.accept().await;
        frames::hello(&mut link).await;
        let stream = frames::request(&mut link).await;
        let head = [&[0x88][..], &block(&[("content-length", said)])].concat();
        link.send(frame(frames::HEADERS, 4, stream, &head)).await;
        link.send(frame(0, 1, stream, sent)).await;
        assert!(asked.await.unwrap(), "{said} looked whole");
        drop(link);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_speaks_something_else_is_unreachable() {
    let app = crate::harness::upstream::Upstream::start().await;
    let url = app.url().replace("http", "h2c");
    let gateway = Gateway::start(&routes(&url, "timeouts.connect = \"2s\""));
    let answer = gateway.anonymous().get("/open").await;
    answer.expect_problem(502, "upstream_unreachable");
    app.assert_untouched();
}

/// A gateway in front of an app with TLS, whose files are in the gateway's folder.
fn behind_tls(authority: &Authority, url: &str, tls: &str) -> Gateway {
    let folder = Folder::with(&routes(url, tls));
    authority.write(&folder, "app-ca.pem");
    authority.sign(&folder, "own", "gateway");
    Gateway::start_in(&folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_whatever_the_app_prefers_is_spoken() {
    let authority = Authority::new();
    for (protocols, version, connections) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2, 1),
        (&["http/1.1"], Version::HTTP_11, 1),
        (&[], Version::HTTP_11, 1),
    ] {
        let config = authority.server("localhost", protocols, false);
        let app = Http2Upstream::tls(config, mirror).await;
        let url = app.url("https");
        let gateway = behind_tls(&authority, &url, "tls = { ca = \"app-ca.pem\" }");
        let alice = gateway.signed_in("alice").await;
        for _ in 0..3 {
            let request = alice.request(Method::POST, "/app").body("there");
            assert_eq!(Answer::of(request).await.expect(200).text(), "there");
            let heard = app.only();
            assert_eq!(heard.version, version, "{protocols:?}");
            assert_eq!(heard.headers["x-auth-user"], "alice");
        }
        assert_eq!(app.connections(), connections, "{protocols:?}");
        gateway.anonymous().get("/app").await.expect(401);
        app.assert_untouched();
    }
}

// SECURITY 56
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_believed_only_where_it_can_be_checked() {
    let authority = Authority::new();
    let app = |subject: &'static str| {
        let config = authority.server(subject, &["h2"], false);
        Http2Upstream::tls(config, ok)
    };
    let (good, other) = (app("localhost").await, app("app.internal").await);
    let stranger = Authority::new();
    for (app, tls, by, is_believed) in [
        (&good, "tls = { ca = \"app-ca.pem\" }", &authority, true),
        (&good, "tls = { ca = \"app-ca.pem\" }", &stranger, false),
        (&good, "", &authority, false),
        (&good, "tls = { ca = \"system\" }", &authority, false),
        (
            &good,
            "tls = { insecure_skip_verify = true }",
            &stranger,
            true,
        ),
        (&other, "tls = { ca = \"app-ca.pem\" }", &authority, false),
        (
            &other,
            "tls = { ca = \"app-ca.pem\", server_name = \"app.internal\" }",
            &authority,
            true,
        ),
    ] {
        let gateway = behind_tls(by, &app.url("https"), tls);
        let answer = gateway.anonymous().get("/open").await;
        if is_believed {
            answer.expect(200);
            app.only();
        } else {
            answer.expect_problem(502, "upstream_unreachable");
            app.assert_untouched();
        }
    }
}

// SECURITY 56
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_asks_who_is_there_is_shown_a_certificate() {
    let authority = Authority::new();
    let config = authority.server("localhost", &["h2"], true);
    let app = Http2Upstream::tls(config, ok).await;
    let shown = "tls = { ca = \"app-ca.pem\", cert = \"own.pem\", key = \"own.key\" }";
    let gateway = behind_tls(&authority, &app.url("https"), shown);
    gateway.anonymous().get("/open").await.expect(200);
    app.only();
    assert_eq!(app.shown(), 1);
    let silent = behind_tls(
        &authority,
        &app.url("https"),
        "tls = { ca = \"app-ca.pem\" }",
    );
    let refused = silent.anonymous().get("/open").await;
    assert_eq!(refused.status, 502, "{refused:?}");
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_tls_is_resumed() {
    let authority = Authority::new();
    let config = authority.server("localhost", &["http/1.1"], false);
    let app = Http2Upstream::tls(config, |_| async {
        let mut answer = whole("ok");
        let close = http::HeaderValue::from_static("close");
        answer.headers_mut().insert("connection", close);
        answer
    })
    .await;
    let gateway = behind_tls(
        &authority,
        &app.url("https"),
        "tls = { ca = \"app-ca.pem\" }",
    );
    for _ in 0..3 {
        gateway.anonymous().get("/open").await.expect(200);
    }
    assert_eq!(app.connections(), 3);
    assert!(app.resumed() >= 1, "{}", app.resumed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_speaks_what_requests_speak() {
    let authority = Authority::new();
    let config = authority.server("localhost", &["h2"], false);
    for (app, scheme) in [
        (Http2Upstream::tls(config, ok).await, "https"),
        (Http2Upstream::h2c(ok).await, "h2c"),
    ] {
        let tls = if scheme == "https" {
            "tls = { ca = \"app-ca.pem\" }\n"
        } else {
            ""
        };
        let more = format!("{tls}health = {{ path = \"/healthz\", interval = \"100ms\" }}");
        let _gateway = behind_tls(&authority, &app.url(scheme), &more);
        let heard = eventually("a health check", async || app.requests().pop()).await;
        assert_eq!(heard.uri.path(), "/healthz");
        assert_eq!(heard.version, Version::HTTP_2);
    }
}

// SECURITY 59
#[test]
fn files_that_cannot_be_used_are_found_before_anything_is_served() {
    use std::os::unix::fs::PermissionsExt as _;

    let authority = Authority::new();
    let folder = Folder::new();
    authority.write(&folder, "ca.pem");
    authority.sign(&folder, "own", "gateway");
    authority.sign(&folder, "other", "gateway");
    authority.sign(&folder, "exposed", "gateway");
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(folder.path("exposed.key"), open).unwrap();
    folder.write("garbage.pem", "garbage");
    for (tls, words) in [
        ("ca = \"none.pem\"", "cannot read"),
        ("ca = \"garbage.pem\"", "no certificate in PEM form"),
        ("cert = \"none.pem\", key = \"own.key\"", "cannot read"),
        ("cert = \"own.pem\", key = \"own.pem\"", "mode"),
        (
            "cert = \"own.pem\", key = \"other.key\"",
            "cannot be used together",
        ),
        (
            "cert = \"exposed.pem\", key = \"exposed.key\"",
            "has mode 0644",
        ),
    ] {
        let lines = format!("targets = [\"https://app\"]\ntls = {{ {tls} }}");
        folder.write(
            "gateway.toml",
            &format!(
                "[gateway]\npublic_url = \"https://localhost\"\n[[listeners]]\n\
                 address = \"127.0.0.1:0\"\n[upstreams.a]\n{lines}\n"
            ),
        );
        for arguments in [&["check"][..], &["serve"]] {
            let refused = portcullis(&folder, arguments).expect(2);
            let said = &refused.stderr;
            assert!(said.contains("gateway.toml:7:"), "{tls}: {said}");
            assert!(said.contains(words), "{tls}: {said}");
        }
        portcullis(&folder, &["check", "--offline"]).expect(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checking_nothing_is_said_aloud() {
    let folder = Folder::with(&routes(
        "https://app",
        "tls = { insecure_skip_verify = true }",
    ));
    let checked = portcullis(&folder, &["check"]).expect(0);
    assert!(
        checked.stdout.contains("insecure_skip_verify"),
        "{}",
        checked.stdout
    );
    portcullis(&folder, &["check", "--strict"]).expect(1);
    let running = crate::harness::binary::Served::start(&folder).await;
    eventually("a warning", async || {
        running
            .said()
            .contains("insecure_skip_verify")
            .then_some(())
    })
    .await;
}
