//! gRPC: refused in its own words.

mod real;

use reqwest::Method;

use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::gateway::Gateway;
use crate::harness::http2::DATA;
use crate::harness::http2::END_STREAM;
use crate::harness::http2::HEADERS;
use crate::harness::http2::Http2;
use crate::harness::upstream::RawUpstream;
use crate::harness::upstream::Upstream;

/// A call as `caller` makes it, with a message of no bytes.
async fn call(caller: &Caller, path: &str, kind: &str) -> Answer {
    let request = caller.request(Method::POST, path);
    let request = request.header("content-type", kind);
    Answer::of(request.body(vec![0; 5])).await
}

fn routes(url: &str) -> String {
    format!(
        r#"
        [upstreams.app]
        targets = ["{url}"]
        timeouts.response = "300ms"
        timeouts.connect = "300ms"
        [upstreams.away]
        targets = ["http://127.0.0.1:1"]
        [routes.app]
        path = "/app"
        upstream = "app"
        [routes.wider]
        path = "/wider"
        scopes = ["notes:admin"]
        upstream = "app"
        [routes.open]
        path = "/open"
        auth = "none"
        max_body = "16B"
        upstream = "app"
        [routes.away]
        path = "/away"
        auth = "none"
        upstream = "away"
        [routes.few]
        path = "/few"
        auth = "none"
        limits = [{{ by = "address", rate = "1 per hour" }}]
        upstream = "app"
        [scopes]
        "notes:admin" = "Everything"
        "#
    )
}

#[track_caller]
fn assert_status(answer: &Answer, status: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("grpc-status"), status, "{answer:?}");
    assert!(!answer.header("grpc-message").is_empty(), "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/grpc");
    assert_eq!(answer.header("x-request-id").len(), 32);
    assert!(answer.body.is_empty(), "{answer:?}");
}

// SECURITY 26
#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_refused_in_words_of_grpc() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let alice = gateway.signed_in("alice").await;
    let anonymous = gateway.anonymous_http2();
    let known = anonymous.with_token(alice.token());
    let kind = "application/grpc+proto";

    let absent = call(&anonymous, "/app", kind).await;
    assert_status(&absent, "16");
    assert!(absent.header("www-authenticate").starts_with("Bearer"));
    let bad = call(&anonymous.with_token("x"), "/app", kind).await;
    assert_status(&bad, "16");
    assert!(bad.header("www-authenticate").contains("invalid_token"));
    let narrow = call(&known, "/wider", "application/grpc").await;
    assert_status(&narrow, "7");
    let challenge = narrow.header("www-authenticate");
    assert!(challenge.contains("scope=\"notes:admin\""), "{challenge}");
    assert_status(&call(&known, "/none", kind).await, "12");
    assert_status(&call(&known, "/app/x%00", kind).await, "13");
    let large = anonymous.request(Method::POST, "/open");
    let large = large.header("content-type", kind).body(vec![0; 17]);
    assert_status(&Answer::of(large).await, "8");
    app.assert_untouched();

    call(&anonymous, "/few", kind).await.expect(200);
    app.only();
    let limited = call(&anonymous, "/few", kind).await;
    assert_status(&limited, "8");
    assert!(limited.header("retry-after").parse::<u32>().unwrap() > 0);
    assert!(limited.header("ratelimit").contains("r=0"));
    app.assert_untouched();

    call(&known, "/app", kind).await.expect(200);
    assert_eq!(app.only().header("x-auth-user"), "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_fails_is_unavailable_and_one_that_is_late_is_late() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let caller = gateway.anonymous_http2();
    let kind = "application/grpc";
    assert_status(&call(&caller, "/away", kind).await, "14");
    let (late, mut link) = tokio::join!(call(&caller, "/open", kind), app.accept());
    assert_status(&late, "4");
    link.head().await;
    let (broken, _) = tokio::join!(call(&caller, "/open", kind), async {
        let mut link = app.accept().await;
        link.head().await;
        link.send("nonsense\r\n\r\n").await;
    });
    assert_status(&broken, "14");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_speak_grpc_gets_a_problem() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    for kind in ["application/grpc-web+proto", "application/json"] {
        let refused = call(&gateway.anonymous_http2(), "/app", kind).await;
        refused.expect_problem(401, "unauthenticated");
    }
    // gRPC is spoken over HTTP/2 alone.
    let refused = call(&gateway.anonymous(), "/app", "application/grpc").await;
    refused.expect_problem(401, "unauthenticated");
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_ends_with_its_headers_although_the_client_still_sends() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let mut http2 = Http2::connect(&gateway).await;
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/app"),
        ("content-type", "application/grpc"),
    ];
    http2.headers(1, 0, &fields).await;
    http2.send(DATA, 0, 1, &[0; 5]).await;
    let frame = http2.frame_of(1).await;
    assert_eq!(frame.kind, HEADERS, "{frame:?}");
    assert_ne!(frame.flags & END_STREAM, 0, "{frame:?}");
    app.assert_untouched();
}
