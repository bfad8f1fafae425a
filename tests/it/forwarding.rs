//! Between a client and an app: bodies that stream, failures that are told apart.

use reqwest::Method;
use tokio::net::TcpListener;

use crate::harness::caller::Answer;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::RawUpstream;
use crate::harness::upstream::Upstream;

fn open_route(url: &str) -> String {
    format!(
        r#"
        [gateway]
        threads = 1
        [upstreams.app]
        targets = ["{url}"]
        [routes.app]
        path = "/app"
        auth = "none"
        max_body = "1KiB"
        upstream = "app"
        "#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_arrives_before_it_ends() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    let mut raw = gateway.raw().await;
    raw.send(
        "POST /app HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
    )
    .await;
    let mut link = app.accept().await;
    let head = link.head().await;
    assert_eq!(head.start_line, "POST /app HTTP/1.1");
    assert_eq!(head.header("transfer-encoding"), "chunked");
    link.until(b"first\r\n").await;
    raw.send("6\r\nsecond\r\n0\r\n\r\n").await;
    link.until(b"second\r\n0\r\n\r\n").await;
    link.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    assert_eq!(raw.message().await.body, b"ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_arrives_before_it_ends() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    let mut raw = gateway.raw().await;
    raw.send("GET /app HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\n\r\n")
        .await;
    let mut link = app.accept().await;
    assert_eq!(link.head().await.header("te"), "trailers");
    link.send(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Sum, Set-Cookie\r\n\r\n9\r\ndata: 1\n\n\r\n",
    )
    .await;
    let head = raw.head().await;
    assert_eq!(head.header("content-type"), "text/event-stream");
    raw.until(b"data: 1\n\n").await;
    link.send("9\r\ndata: 2\n\n\r\n").await;
    raw.until(b"data: 2\n\n").await;
    link.send("0\r\nX-Sum: 7\r\nSet-Cookie: a=b\r\n\r\n").await;
    let end = raw.until(b"\r\n\r\n").await;
    let end = String::from_utf8(end).unwrap().to_lowercase();
    assert!(
        end.contains("x-sum: 7") && !end.contains("set-cookie"),
        "{end}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_expects_to_be_told_to_continue_is() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    let mut raw = gateway.raw().await;
    raw.send(
        "POST /app HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    )
    .await;
    assert_eq!(raw.head().await.status(), 100);
    assert_eq!(raw.ask("abc").await.status(), 200);
    let arrived = app.only();
    assert_eq!(&arrived.body[..], b"abc");
    assert_eq!(arrived.header("expect"), "");
}

// SECURITY 12
#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_arrives_whole_over_both_protocols() {
    let content: Vec<u8> = (0..3_000_001_u32).map(|at| (at % 251) as u8).collect();
    let answer = bytes::Bytes::from(content.clone());
    let app = Upstream::answering(move |_| http::Response::new(answer.clone().into())).await;
    let gateway = Gateway::start(&open_route(&app.url()));
    for caller in [gateway.anonymous(), gateway.anonymous_http2()] {
        let answer = caller.get("/app").await.expect(200);
        assert_eq!(answer.header("content-length"), "3000001");
        assert!(answer.body == content, "{} bytes", answer.body.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_body_have_none() {
    let app = Upstream::answering(|request| {
        let (status, body) = match &*request.target {
            "/app/204" => (204, ""),
            "/app/304" => (304, ""),
            _ => (200, "hello"),
        };
        http::Response::builder()
            .status(status)
            .body(body.into())
            .unwrap()
    })
    .await;
    let gateway = Gateway::start(&open_route(&app.url()));
    let mut raw = gateway.raw().await;
    for (request, status, length) in [
        ("HEAD /app", 200, "5"),
        ("GET /app/204", 204, ""),
        ("GET /app/304", 304, ""),
    ] {
        raw.send(format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .await;
        let head = raw.head().await;
        assert_eq!(head.status(), status, "{request}");
        assert_eq!(head.header("content-length"), length, "{request}");
    }
    // On the very same connection: no stray byte is in between.
    let answer = raw
        .ask("GET /app HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(answer.body, b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn method_query_headers_and_body_arrive_as_sent() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    for caller in [gateway.anonymous(), gateway.anonymous_http2()] {
        let request = caller
            .request(Method::PUT, "/app/a%20b?x=1&y=%2F&z")
            .header("x-mine", "1")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body("body");
        Answer::of(request).await.expect(200);
        let arrived = app.only();
        assert_eq!(arrived.method, "PUT");
        assert_eq!(arrived.target, "/app/a%20b?x=1&y=%2F&z");
        assert_eq!(arrived.header("x-mine"), "1");
        assert_eq!(
            arrived.header("host"),
            format!("localhost:{}", gateway.address().port())
        );
        assert_eq!(&arrived.body[..], b"body");
        let cookies: Vec<_> = arrived.headers.get_all("cookie").iter().collect();
        assert!(
            cookies == ["a=1; b=2"] || cookies == ["a=1", "b=2"],
            "{cookies:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_be_as_large_as_the_route_says() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    let caller = gateway.anonymous();
    let post = async |bytes: usize| {
        Answer::of(caller.request(Method::POST, "/app").body(vec![b'a'; bytes])).await
    };
    post(1024).await.expect(200);
    assert_eq!(app.only().body.len(), 1024);
    post(1025).await.expect_problem(413, "body_too_large");
    app.assert_untouched();

    // Without a length it is only known on the way: the app never sees it whole.
    let mut raw = gateway.raw().await;
    let chunk = format!("400\r\n{}\r\n", "a".repeat(1024));
    let head = "POST /app HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(
        raw.ask(format!("{head}{chunk}0\r\n\r\n")).await.status(),
        200
    );
    app.only();
    assert_eq!(
        raw.ask(format!("{head}{chunk}1\r\na\r\n0\r\n\r\n"))
            .await
            .status(),
        413
    );
    assert!(app.requests().is_empty());
}

// SECURITY 53
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_down_is_a_502_and_its_address_stays_ours() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let gateway = Gateway::start(&open_route(&format!("http://{nobody}")));
    let refused = gateway.anonymous().get("/app").await;
    let refused = refused.expect_problem(502, "upstream_unreachable");
    assert!(
        !refused.text().contains(&nobody.port().to_string()),
        "{}",
        refused.text()
    );
    assert!(!refused.text().contains("127.0.0.1"), "{}", refused.text());
}

// SECURITY 53
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_hangs_is_a_504_and_delays_nobody_else() {
    let (hanging, fine) = (RawUpstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&format!(
        r#"
        [gateway]
        threads = 1
        [defaults]
        auth = "none"
        [upstreams.hanging]
        targets = ["{}"]
        timeouts = {{ response = "200ms" }}
        [routes.hanging]
        path = "/hanging"
        upstream = "hanging"
        [routes.fine]
        path = "/fine"
        upstream = "{}"
        "#,
        hanging.url(),
        fine.url()
    ));
    let caller = gateway.anonymous();
    let hung = caller.get("/hanging");
    let (hung, answered) = tokio::join!(hung, caller.get("/fine"));
    hung.expect_problem(504, "upstream_timeout");
    answered.expect(200);
}

// SECURITY 12
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_never_complete() {
    for start in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\nabc\r\n0\r\n\r\n",
    ] {
        let app = RawUpstream::start().await;
        let gateway = Gateway::start(&open_route(&app.url()));
        for caller in [gateway.anonymous(), gateway.anonymous_http2()] {
            let asked =
                tokio::spawn(
                    async move { Answer::try_of(caller.request(Method::GET, "/app")).await },
                );
            let mut link = app.accept().await;
            link.head().await;
            link.send(start).await;
            drop(link);
            let answer = asked.await.unwrap();
            assert!(answer.is_err(), "{start:?}: {answer:?}");
        }
    }
}

// SECURITY 54
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_http_is_a_502() {
    let large = format!(
        "HTTP/1.1 200 OK\r\nX-Large: {}\r\n\r\n",
        "a".repeat(100_000)
    );
    for answer in [
        "garbage\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnothing\r\n",
        &large,
        "HTTP/1.1 200 OK\r\nX-Null: a\0b\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "",
    ] {
        let app = RawUpstream::start().await;
        let gateway = Gateway::start(&open_route(&app.url()));
        let caller = gateway.anonymous();
        let asked = tokio::spawn(async move { caller.get("/app").await });
        let mut link = app.accept().await;
        link.head().await;
        link.send(answer).await;
        drop(link);
        let refused = asked.await.unwrap();
        assert_eq!(refused.status, 502, "{answer:?}");
        refused.expect_problem(502, "upstream_invalid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_apps_are_kept() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    for _ in 0..10 {
        gateway.anonymous().get("/app").await.expect(200);
    }
    assert_eq!(app.requests().len(), 10);
    assert_eq!(app.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_app_closed_is_replaced_unnoticed() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    for method in [Method::GET, Method::POST, Method::GET, Method::POST] {
        let caller = gateway.anonymous();
        let asked =
            tokio::spawn(
                async move { Answer::of(caller.request(method, "/app").body("abc")).await },
            );
        let mut link = app.accept().await;
        let arrived = link.message().await;
        assert_eq!(arrived.body, b"abc");
        link.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
        asked.await.unwrap().expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_that_is_stripped_is_told() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.app]
        path = "/team/app"
        auth = "none"
        strip_prefix = true
        upstream = "{}"
        "#,
        app.url()
    ));
    for (path, target, prefix) in [
        ("/team/app/x/y?z=/team/app", "/x/y?z=/team/app", "/team/app"),
        ("/team/app", "/", "/team/app"),
        ("/team/app/", "/", "/team/app"),
        ("/team/app?q", "/?q", "/team/app"),
        ("/te%61m/app/x", "/x", "/te%61m/app"),
    ] {
        gateway.anonymous().get(path).await.expect(200);
        let arrived = app.only();
        assert_eq!(arrived.target, target, "{path}");
        assert_eq!(arrived.header("x-forwarded-prefix"), prefix, "{path}");
    }
}

// SECURITY 17
#[tokio::test(flavor = "multi_thread")]
async fn an_app_cannot_set_the_gateways_cookie() {
    let app = Upstream::answering(|_| {
        http::Response::builder()
            .header("set-cookie", "a=1")
            .header("set-cookie", "__Host-portcullis=forged; Path=/; Secure")
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .header("keep-alive", "timeout=5")
            .body("ok".into())
            .unwrap()
    })
    .await;
    let gateway = Gateway::start(&open_route(&app.url()));
    for caller in [gateway.anonymous(), gateway.anonymous_http2()] {
        let answer = caller.get("/app").await.expect(200);
        assert_eq!(answer.header("set-cookie"), "a=1");
        for hop in ["connection", "x-hop", "keep-alive"] {
            assert_eq!(answer.header(hop), "", "{hop}");
        }
    }
}

// SECURITY 6
#[tokio::test(flavor = "multi_thread")]
async fn a_public_sub_path_does_not_open_what_its_route_guards() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.notes]
        path = "/notes"
        strip_prefix = true
        upstream = "{}"
        [routes.notes.paths."/notes/public"]
        auth = "none"
        "#,
        app.url()
    ));
    let anonymous = gateway.anonymous();
    anonymous.get("/notes/admin").await.expect(401);
    app.assert_untouched();
    anonymous.get("/notes/public/admin").await.expect(200);
    let arrived = app.only();
    assert_eq!(arrived.target, "/public/admin");
    assert_eq!(arrived.header("x-forwarded-prefix"), "/notes");
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_of_any_alphabet_arrive_as_they_were_sent() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&open_route(&app.url()));
    let mut raw = gateway.raw().await;
    raw.send("GET /app HTTP/1.1\r\nHost: localhost\r\nCookie: a=\u{e9}; b=1\r\n\r\n")
        .await;
    let arrived = app.accept().await.message().await;
    let cookie = arrived.headers.get("cookie").unwrap();
    assert_eq!(cookie.as_bytes(), "a=\u{e9}; b=1".as_bytes());
}
