//! Limits of connections, each past its edge, where no other room of tests has it: `docs/limits.md` lists
//! them all.

use crate::harness::caller::Answer;
use crate::harness::gateway::Gateway;
use crate::harness::http2::CANCEL;
use crate::harness::http2::END_STREAM;
use crate::harness::http2::Http2;
use crate::harness::http2::Outcome;
use crate::harness::http2::REFUSED_STREAM;
use crate::harness::http2::RESET;
use crate::harness::in_time;
use crate::harness::raw::Raw;
use crate::harness::raw::tls;
use crate::harness::upstream::RawUpstream;
use crate::harness::upstream::Upstream;

const GET: &str = "GET /app HTTP/1.1\r\nHost: localhost\r\n\r\n";

// SECURITY 11 and 53
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_too_many_waits_and_is_served_when_a_place_is_free() {
    let app = Upstream::start().await;
    // A place is kept ready for the listener that only redirects: three are left for TLS.
    let gateway = Gateway::start(&format!(
        r#"
        connections.max = 4
        connections.per_address = 4
        [routes.app]
        path = "/app"
        auth = "none"
        upstream = "{}"
        "#,
        app.url()
    ));
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(gateway.raw().await);
    }
    let (address, authority) = (gateway.address(), gateway.authority());
    let waiting = tokio::spawn(async move { tls(address, &authority, b"http/1.1").await });
    // Those who have a place notice nothing.
    for _ in 0..5 {
        for raw in &mut held {
            assert_eq!(raw.ask(GET).await.status(), 200);
        }
        assert!(!waiting.is_finished());
    }
    assert_eq!(gateway.metric("portcullis_connections_open"), 3.0);

    held.pop();
    let served = in_time("a place", waiting).await.unwrap();
    assert_eq!(Raw::new(served).ask(GET).await.status(), 200);
    assert_eq!(gateway.metric("portcullis_connections_refused_total"), 0.0);
}

// SECURITY 9
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_too_many_is_refused_and_its_connection_lives() {
    let (hanging, app) = (RawUpstream::start().await, Upstream::start().await);
    for (line, max) in [("", 128), ("connections.streams = 3", 3)] {
        let gateway = Gateway::start(&format!(
            r#"
            {line}
            [defaults]
            auth = "none"
            [routes.hanging]
            path = "/hanging"
            upstream = "{}"
            [routes.app]
            path = "/app"
            upstream = "{}"
            "#,
            hanging.url(),
            app.url()
        ));
        let to = |path| {
            [
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "localhost"),
                (":path", path),
            ]
        };
        let mut http2 = Http2::connect(&gateway).await;
        let mut links = Vec::new();
        for number in 0..max {
            let stream = 2 * number + 1;
            http2.headers(stream, END_STREAM, &to("/hanging")).await;
            let mut link = hanging.accept().await;
            link.head().await;
            links.push(link);
        }
        let refused = http2.ask(2 * max + 1, &to("/app")).await;
        assert_eq!(refused, Outcome::Reset(REFUSED_STREAM), "{max}");
        app.assert_untouched();

        // The others are still there; and where one ends, there is room for another.
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert!(links[0].send(answer).await);
        assert_eq!(http2.outcome(1).await, Outcome::answered(200, ""));
        http2.send(RESET, 0, 3, &CANCEL.to_be_bytes()).await;
        for stream in [2 * max + 3, 2 * max + 5] {
            let next = http2.ask(stream, &to("/app")).await;
            assert_eq!(next, Outcome::answered(200, ""), "{max}");
            app.only();
        }
    }
}

// SECURITY 11
#[tokio::test(flavor = "multi_thread")]
async fn header_bytes_are_counted_over_both_protocols() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        connections.header_bytes = "8KiB"
        connections.headers = 16
        [routes.app]
        path = "/app"
        auth = "none"
        upstream = "{}"
        "#,
        app.url()
    ));
    for caller in [gateway.anonymous(), gateway.anonymous_http2()] {
        let long = |bytes: usize| "a".repeat(bytes);
        let in_a_header = |bytes| {
            caller
                .request(reqwest::Method::GET, "/app")
                .header("x-long", long(bytes))
        };
        let in_the_target =
            |bytes| caller.request(reqwest::Method::GET, &format!("/app?{}", long(bytes)));
        for fits in [in_a_header(7000), in_the_target(7000)] {
            Answer::of(fits).await.expect(200);
            app.only();
        }
        for too_long in [in_a_header(10_000), in_the_target(10_000)] {
            Answer::of(too_long).await.expect(431);
            app.assert_untouched();
        }
    }
}
