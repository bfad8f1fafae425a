//! Apps that lie about their answers: the client gets a 502 or an answer that visibly breaks off, the
//! connection is not used again, and whoever asks next gets bytes that are meant for him.

use reqwest::Method;

use crate::harness::caller::Answer;
use crate::harness::gateway::Gateway;
use crate::harness::raw::Raw;
use crate::harness::upstream::RawUpstream;

/// One core and one connection at a time: whoever asks next would get the very connection.
async fn open_route() -> (RawUpstream, Gateway) {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [gateway]
        threads = 1
        [upstreams.app]
        targets = ["{}"]
        connections = 1
        [routes.app]
        path = "/app"
        auth = "none"
        upstream = "app"
        "#,
        app.url()
    ));
    (app, gateway)
}

fn ask(gateway: &Gateway, method: Method) -> tokio::task::JoinHandle<reqwest::Result<Answer>> {
    let caller = gateway.anonymous();
    tokio::spawn(async move { Answer::try_of(caller.request(method, "/app")).await })
}

/// Whoever asks next is answered over a new connection, with what is said there.
async fn next_is_answered(app: &RawUpstream, gateway: &Gateway) {
    let next = ask(gateway, Method::GET);
    let mut link = app.accept().await;
    link.head().await;
    link.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nnext")
        .await;
    let answer = next.await.unwrap().unwrap();
    assert_eq!((answer.status, &*answer.body), (200, &b"next"[..]));
}

/// An answer that would be of somebody else's request, if anybody took it for one.
const SMUGGLED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";

// SECURITY 54
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_a_header_that_is_none_is_a_502_and_the_end_of_its_connection() {
    let (app, gateway) = open_route().await;
    let many = "X-Many: a\r\n".repeat(2000);
    for header in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3\r\ncontent-length: 3",
        "Content-Length: +3",
        "Content-Length: 0x3",
        "Content-Length: 3 3",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: identity\r\nContent-Length: 3",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "X-Null: a\0b",
        "X-Return: a\rb",
        "X-Return: a\rX-Injected: b",
        "X Name: a",
        "X-Name : a",
        ": a",
        "no colon",
        "X-Folded: a\r\n b",
        many.as_str(),
    ] {
        let asked = ask(&gateway, Method::GET);
        let mut link = app.accept().await;
        link.head().await;
        link.send(format!(
            "HTTP/1.1 200 OK\r\n{}\r\n\r\nabc",
            header.trim_end()
        ))
        .await;
        let refused = asked.await.unwrap().unwrap();
        assert_eq!(refused.status, 502, "{header:?}");
        refused.expect_problem(502, "upstream_invalid");
        link.assert_closed().await;
        next_is_answered(&app, &gateway).await;
    }
}

// SECURITY 54
#[tokio::test(flavor = "multi_thread")]
async fn a_first_line_that_is_none_is_a_502_and_the_end_of_its_connection() {
    let (app, gateway) = open_route().await;
    let long = format!("HTTP/1.1 200 {}\r\n\r\n", "a".repeat(200_000));
    for answer in [
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/3.0 200 OK\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "\0\0\0\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2p1\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        long.as_str(),
    ] {
        let asked = ask(&gateway, Method::GET);
        let mut link = app.accept().await;
        link.head().await;
        link.send(answer).await;
        let refused = asked.await.unwrap().unwrap();
        let start = answer.get(..40).unwrap_or(answer);
        assert_eq!(refused.status, 502, "{start:?}");
        refused.expect_problem(502, "upstream_invalid");
        link.assert_closed().await;
        next_is_answered(&app, &gateway).await;
    }
}

// SECURITY 54
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_or_is_broken_never_looks_whole() {
    let (app, gateway) = open_route().await;
    for (framing, body, closes) in [
        ("Content-Length: 10", "abc", true),
        ("Transfer-Encoding: chunked", "3\r\nabc\r\n", true),
        ("Transfer-Encoding: chunked", "5\r\nabc", true),
        ("Transfer-Encoding: chunked", "3\r\nabc\r\nzz\r\n", false),
        (
            "Transfer-Encoding: chunked",
            "3\r\nabcd\r\n0\r\n\r\n",
            false,
        ),
        (
            "Transfer-Encoding: chunked",
            "3\r\nabc\r\n-1\r\n\r\n",
            false,
        ),
        (
            "Transfer-Encoding: chunked",
            "3\r\nabc\r\n0x1\r\na\r\n0\r\n\r\n",
            false,
        ),
        (
            "Transfer-Encoding: chunked",
            "3\r\nabc\r\n11111111111111111\r\n",
            false,
        ),
        (
            "Transfer-Encoding: chunked",
            "3\r\nabc\r\n0\r\nno colon\r\n\r\n",
            false,
        ),
        ("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n", true),
    ] {
        let asked = ask(&gateway, Method::GET);
        let mut link = app.accept().await;
        link.head().await;
        link.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{body}"))
            .await;
        if closes {
            drop(link);
        } else {
            link.assert_closed().await;
        }
        let whole = asked
            .await
            .unwrap()
            .is_ok_and(|answer| answer.status == 200);
        assert!(!whole, "{framing} {body:?}");
        next_is_answered(&app, &gateway).await;
    }
}

// SECURITY 54
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_behind_an_answer_is_nobodys() {
    let (app, gateway) = open_route().await;
    for (method, answer) in [
        (
            Method::GET,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ),
        (
            Method::GET,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        (Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            Method::GET,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 8\r\n\r\n",
        ),
        (Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"),
    ] {
        let asked = ask(&gateway, method.clone());
        let mut link = app.accept().await;
        link.head().await;
        link.send(format!("{answer}{SMUGGLED}")).await;
        let body = asked.await.unwrap().unwrap().body;
        assert!(body.is_empty() || body == "ok", "{answer:?}: {body:?}");
        link.assert_closed().await;
        next_is_answered(&app, &gateway).await;

        // The same once the connection is back in its pool.
        let asked = ask(&gateway, method);
        let mut link = app.accept().await;
        link.head().await;
        link.send(answer).await;
        asked.await.unwrap().unwrap();
        link.send(SMUGGLED).await;
        link.assert_closed().await;
        next_is_answered(&app, &gateway).await;
    }
}

// SECURITY 54
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_speaks_of_the_answer_for_ever_is_a_502() {
    let (app, gateway) = open_route().await;
    for endless in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n",
        "HTTP/1.1 199 Whatever\r\nX-Much: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n",
        "\r\n",
    ] {
        let asked = ask(&gateway, Method::GET);
        let mut link = app.accept().await;
        link.head().await;
        let piece = endless.repeat(8192 / endless.len());
        while link.send(&piece).await {}
        let refused = asked.await.unwrap().unwrap();
        assert_eq!(refused.status, 502, "{endless:?}");
        refused.expect_problem(502, "upstream_invalid");
        next_is_answered(&app, &gateway).await;
    }
    // A few of them are nothing unusual.
    let asked = ask(&gateway, Method::GET);
    let mut link = app.accept().await;
    link.head().await;
    link.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(10))
        .await;
    link.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        .await;
    assert_eq!(asked.await.unwrap().unwrap().body, "ok");
}

// SECURITY 54
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_half_a_request_ends_its_connection() {
    let (app, gateway) = open_route().await;
    let mut client: Raw = gateway.raw().await;
    client
        .send("POST /app HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nxyz")
        .await;
    let mut link = app.accept().await;
    link.until(b"xyz").await;
    link.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")
        .await;
    assert_eq!(client.head().await.status(), 200);
    // What is left of the body must never be the beginning of somebody else's request.
    drop(client);
    link.assert_closed().await;
    next_is_answered(&app, &gateway).await;
}
