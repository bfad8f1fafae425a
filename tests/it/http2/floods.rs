//! Frames that cost next to nothing to send: whoever sends too many is cut off, and nobody else.

use std::process::Command;

use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::http2::ACK;
use crate::harness::http2::CONTINUATION;
use crate::harness::http2::DATA;
use crate::harness::http2::END_HEADERS;
use crate::harness::http2::END_STREAM;
use crate::harness::http2::ENHANCE_YOUR_CALM;
use crate::harness::http2::HEADERS;
use crate::harness::http2::Http2;
use crate::harness::http2::INITIAL_WINDOW_SIZE;
use crate::harness::http2::Outcome;
use crate::harness::http2::PADDED;
use crate::harness::http2::PING;
use crate::harness::http2::PRIORITY;
use crate::harness::http2::RESET;
use crate::harness::http2::SETTINGS;
use crate::harness::http2::WINDOW_UPDATE;
use crate::harness::http2::block;
use crate::harness::http2::frame;
use crate::harness::raw::Raw;
use crate::harness::upstream::RawUpstream;
use crate::harness::upstream::Upstream;

use super::AUTHORITY;
use super::METHOD;
use super::PATH;
use super::SCHEME;
use super::open_route;

const GET: [(&str, &str); 4] = [METHOD, SCHEME, AUTHORITY, PATH];
const POST: [(&str, &str); 4] = [(":method", "POST"), SCHEME, AUTHORITY, PATH];

const ONE: [u8; 4] = 1_u32.to_be_bytes();

/// More frames than anybody is to be listened to.
const BATCH: usize = 1000;
const BATCHES: usize = 200;

/// One core, and nothing to spend but what is the default.
fn gateway_before(url: &str) -> Gateway {
    Gateway::start(&format!("[gateway]\nthreads = 1\n{}", open_route(url)))
}

// SECURITY 9
#[tokio::test(flavor = "multi_thread")]
async fn floods_of_control_frames_are_cut_off() {
    let app = RawUpstream::start().await;
    let gateway = gateway_before(&app.url());
    let padding = [&[254][..], &[0; 254]].concat();
    let floods = [
        frame(SETTINGS, 0, 0, &[]),
        frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]),
        frame(SETTINGS, ACK, 0, &[]),
        frame(PING, 0, 0, &[0; 8]),
        frame(PING, ACK, 0, &[0; 8]),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 15]),
        frame(PRIORITY, 0, 9, &[0, 0, 0, 0, 15]),
        frame(WINDOW_UPDATE, 0, 0, &ONE),
        frame(WINDOW_UPDATE, 0, 1, &ONE),
        frame(DATA, 0, 1, &[]),
        frame(DATA, PADDED, 1, &padding),
        frame(CONTINUATION + 1, 0, 0, &[]),
        frame(200, 0, 1, &[0; 64]),
    ];
    let mut cut_off = 0.0;
    for flood in floods {
        let mut http2 = Http2::connect(&gateway).await;
        // Something is under way all the while, so that it is no idle connection that ends.
        http2.headers(1, 0, &POST).await;
        let mut link = app.accept().await;
        link.head().await;
        let outcome = http2.flood(&flood.repeat(BATCH), BATCHES).await;
        assert!(matches!(outcome, Some(Outcome::Closed(_))), "{flood:?}");
        if outcome == Some(Outcome::Closed(None)) {
            cut_off += 1.0;
        }
        assert!(link.rest().await.is_empty());
    }
    // The others broke a rule of the protocol, or of the library, before they had spent all.
    assert!(cut_off >= 10.0);
    eventually("all of them to be counted", async || {
        (gateway.metric("portcullis_http2_floods_total") == cut_off).then_some(())
    })
    .await;
    gateway.anonymous_http2().get("/auth/me").await.expect(401);
}

// SECURITY 9
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_taken_back_at_once_are_cut_off() {
    let app = Upstream::start().await;
    let gateway = gateway_before(&app.url());
    let mut http2 = Http2::connect(&gateway).await;
    let mut rapid = Vec::new();
    for stream in (1..2001).step_by(2) {
        rapid.extend(frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &block(&GET),
        ));
        rapid.extend(frame(RESET, 0, stream, &8_u32.to_be_bytes()));
    }
    http2.raw().send(rapid).await;
    assert_eq!(
        http2.outcome(u32::MAX).await,
        Outcome::Closed(Some(ENHANCE_YOUR_CALM))
    );
    assert!(app.requests().len() < 200);
    gateway.anonymous_http2().get("/x").await.expect(200);
}

/// CVE-2025-8671: a stream that the client makes the server reset does not count as the client's.
// SECURITY 9
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_we_are_made_to_reset_are_cut_off() {
    let app = Upstream::start().await;
    let gateway = gateway_before(&app.url());
    let to_be_reset: [fn(u32) -> Vec<u8>; 5] = [
        |stream| frame(WINDOW_UPDATE, 0, stream, &[0; 4]),
        |stream| frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]),
        |stream| frame(DATA, 0, stream, b"a"),
        |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&GET)),
        |stream| frame(HEADERS, END_HEADERS, stream, &block(&[("x", "y")])),
    ];
    for provoke in to_be_reset {
        let mut http2 = Http2::connect(&gateway).await;
        let mut made = Vec::new();
        for stream in (1..2001).step_by(2) {
            made.extend(frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                stream,
                &block(&GET),
            ));
            made.extend(provoke(stream));
        }
        http2.raw().send(made).await;
        let outcome = http2.outcome(u32::MAX).await;
        assert!(matches!(outcome, Outcome::Closed(_)), "{outcome:?}");
        assert!(app.requests().len() < 200);
    }
    gateway.anonymous_http2().get("/x").await.expect(200);
}

// SECURITY 9
#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_header_are_cut_off() {
    let app = Upstream::start().await;
    let gateway = gateway_before(&app.url());
    let mut http2 = Http2::connect(&gateway).await;
    let mut empty = Vec::new();
    for stream in (1..2001).step_by(2) {
        empty.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &[]));
    }
    http2.raw().send(empty).await;
    let outcome = http2.outcome(u32::MAX).await;
    assert_eq!(outcome, Outcome::Closed(Some(ENHANCE_YOUR_CALM)));
    // Fields without a name and without a value, as many as can be written down.
    let mut http2 = Http2::connect(&gateway).await;
    let fields = [0, 0, 0].repeat(5000);
    http2.send(HEADERS, 0, 1, &fields).await;
    for _ in 0..1000 {
        http2.send(CONTINUATION, 0, 1, &fields).await;
    }
    assert!(matches!(http2.outcome(1).await, Outcome::Closed(_)));
    app.assert_untouched();
}

/// An answer in pieces of one byte, each for a frame that opens the window by that (CVE-2019-9511).
// SECURITY 9
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_not_given_byte_by_byte() {
    let app = RawUpstream::start().await;
    let gateway = gateway_before(&app.url());
    let mut http2 = Http2::connect_with(&gateway, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    http2.headers(1, END_STREAM, &GET).await;
    let endless = tokio::spawn(answer_without_end(app.accept().await));
    let dribble = frame(WINDOW_UPDATE, 0, 1, &ONE);
    let outcome = http2.flood(&dribble.repeat(100), 10 * BATCHES).await;
    assert_eq!(outcome, Some(Outcome::Closed(None)));
    endless.await.unwrap();
}

async fn answer_without_end(mut link: Raw) {
    link.head().await;
    link.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    while link.send(&chunk).await {}
}

/// With as little as can be configured: what belongs to requests and answers is never too much.
#[tokio::test(flavor = "multi_thread")]
async fn frames_that_belong_to_something_are_never_too_many() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&format!(
        "connections.control_frames = 100\n{}",
        open_route(&app.url())
    ));
    let mut http2 = Http2::connect(&gateway).await;
    http2.headers(1, 0, &POST).await;
    let mut link = app.accept().await;
    link.head().await;
    // A call of gRPC that asks for the time it takes with each message, both ways.
    let asking = [
        frame(DATA, 0, 1, b"message"),
        frame(PING, 0, 0, &[0; 8]),
        frame(DATA, 0, 1, b"another"),
    ];
    for _ in 0..500 {
        http2.raw().send(asking.concat()).await;
        link.until(b"another\r\n").await;
    }
    link.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let opening = [
        frame(WINDOW_UPDATE, 0, 0, &7_u32.to_be_bytes()),
        frame(WINDOW_UPDATE, 0, 1, &7_u32.to_be_bytes()),
        frame(PING, 0, 0, &[0; 8]),
    ];
    for _ in 0..500 {
        link.send("7\r\nmessage\r\n").await;
        http2.until_data(1).await;
        http2.raw().send(opening.concat()).await;
    }
    http2.send(DATA, END_STREAM, 1, &[]).await;
    link.send("0\r\n\r\n").await;
    assert_eq!(http2.outcome(1).await.status(), 200);
    // Requests, each with its priority, its window and its end.
    for stream in (3..1003).step_by(2) {
        http2.send(PRIORITY, 0, stream, &[0, 0, 0, 0, 15]).await;
        let unauthenticated = [METHOD, SCHEME, AUTHORITY, (":path", "/auth/me")];
        assert_eq!(http2.ask(stream, &unauthenticated).await.status(), 401);
        let window = frame(WINDOW_UPDATE, 0, 0, &1000_u32.to_be_bytes());
        http2.raw().send(window.repeat(3)).await;
    }
    assert_eq!(gateway.metric("portcullis_http2_floods_total"), 0.0);
}

/// With curl, which opens windows by its own lights.
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_are_no_flood() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&format!(
        "defaults.max_body = \"64MiB\"\nconnections.control_frames = 100\n{}",
        open_route(&app.url())
    ));
    let large = gateway.folder().path("large");
    let answer = gateway.folder().path("answer");
    std::fs::write(&large, vec![b'a'; 32 << 20]).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--http2", "--max-time", "60"])
        .args(["-H", "Expect:", "--cacert"])
        .arg(gateway.folder().path("certs/ca.pem"))
        .arg("--output")
        .arg(&answer)
        .arg("--data-binary")
        .arg(format!("@{}", large.display()))
        .arg(format!("https://localhost:{}/x", gateway.address().port()));
    let mut asking = curl.spawn().unwrap();
    let mut link = app.accept().await;
    let upload = link.message().await;
    link.send("HTTP/1.1 200 OK\r\nContent-Length: 33554432\r\n\r\n")
        .await;
    link.send(&upload.body).await;
    let ended = tokio::task::block_in_place(|| asking.wait()).unwrap();
    assert!(ended.success());
    assert_eq!(std::fs::metadata(&answer).unwrap().len(), 32 << 20);
    assert_eq!(gateway.metric("portcullis_http2_floods_total"), 0.0);
}
