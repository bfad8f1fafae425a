//! `request_headers` and `response_headers`.

use http::Response;

use crate::harness::gateway::Gateway;
use crate::harness::upstream::RawUpstream;
use crate::harness::upstream::Upstream;

/// A route with these keys, before an app that says a little of everything.
async fn gateway(keys: &str) -> (Gateway, Upstream) {
    let app = Upstream::answering(|_| {
        Response::builder()
            .header("server", "old/1.0")
            .header("x-frame-options", "ALLOWALL")
            .header("x-frame-options", "SAMEORIGIN")
            .header("x-powered-by", "old")
            .header("set-cookie", "a=1")
            .body("ok".into())
            .unwrap()
    })
    .await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.app]
        path = "/app"
        upstream = "{}"
        {keys}
        "#,
        app.url()
    ));
    (gateway, app)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_gets_what_is_set_and_not_what_is_removed() {
    let keys = "request_headers = { set = { X-Tenant = \"acme\", User-Agent = \"gate\" }, remove = [\"Accept-Encoding\", \"X-Debug\"] }";
    let (gateway, app) = gateway(keys).await;
    let alice = gateway.signed_in("alice").await;
    let headers = [
        ("x-tenant", "globex"),
        ("x-tenant", "initech"),
        ("x_tenant", "umbrella"),
        ("user-agent", "curl"),
        ("accept-encoding", "gzip"),
        ("x-debug", "1"),
        ("x-debug", "2"),
        ("x-other", "stays"),
    ];
    alice.get_with("/app", &headers).await.expect(200);
    let arrived = app.only();
    assert_eq!(arrived.header("x-tenant"), "acme");
    assert_eq!(arrived.header("user-agent"), "gate");
    for gone in ["accept-encoding", "x-debug", "x_tenant"] {
        assert_eq!(arrived.header(gone), "", "{gone}");
    }
    // All else is as it would be without.
    assert_eq!(arrived.header("x-other"), "stays");
    assert_eq!(arrived.header("x-auth-user"), "alice");
    assert_eq!(arrived.header("authorization"), "");

    gateway
        .anonymous()
        .get_with("/app", &headers)
        .await
        .expect(401);
    app.assert_untouched();
}

// SECURITY 13
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_what_is_set_or_removed_reaches_the_app() {
    let keys = "request_headers = { set = { X-Tenant = \"acme\", X--Zone = \"1\" }, remove = [\"X-Debug\"] }";
    let (gateway, app) = gateway(keys).await;
    let alice = gateway.signed_in("alice").await;
    let others = [
        "x--tenant",
        "x---tenant",
        "x_tenant",
        "x.tenant",
        "x-zone",
        "x--debug",
    ];
    let forged = others.map(|name| (name, "globex"));
    let fine = [("x-tenants", "1"), ("xtenant", "2"), ("x--other", "3")];
    let headers = [&forged[..], &fine].concat();
    alice.get_with("/app", &headers).await.expect(200);
    let arrived = app.only();
    for gone in others {
        assert_eq!(arrived.header(gone), "", "{gone}");
    }
    for (name, value) in fine
        .into_iter()
        .chain([("x-tenant", "acme"), ("x--zone", "1")])
    {
        assert_eq!(arrived.header(name), value, "{name}");
    }
}

// SECURITY 17
#[tokio::test(flavor = "multi_thread")]
async fn a_credential_for_the_app_takes_the_place_of_the_callers() {
    let keys = "request_headers = { set = { Authorization = \"Basic YTpi\" } }";
    let (gateway, app) = gateway(keys).await;
    let alice = gateway.signed_in("alice").await;
    alice.get("/app").await.expect(200);
    assert_eq!(app.only().header("authorization"), "Basic YTpi");
}

// SECURITY 17
#[tokio::test(flavor = "multi_thread")]
async fn the_echo_does_not_show_what_the_file_keeps_secret() {
    let gateway = Gateway::start(
        "[routes.echo]\npath = \"/echo\"\nauth = \"none\"\nupstream = \"echo\"\n\
         request_headers = { set = { X-Key = \"${env:NONE:-qL0T9xVd}\", X-Plain = \"1\" } }\n\
         response_headers = { set = { X-Answer = \"2\" } }",
    );
    let answer = gateway.anonymous().get("/echo").await.expect(200);
    assert_eq!(answer.header("x-answer"), "2");
    let seen = answer.json()["headers"].clone();
    assert_eq!(
        (seen["x-key"].as_str(), seen["x-plain"].as_str()),
        (Some("(a secret)"), Some("1"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_gets_what_is_set_and_not_what_is_removed() {
    let keys = r#"
        cors = { origins = ["https://spa.example.com"] }
        response_headers = { set = { X-Frame-Options = "DENY", Cache-Control = "no-store" }, remove = ["Server", "X-Powered-By", "Set-Cookie"] }
    "#;
    let (gateway, _app) = gateway(keys).await;
    let alice = gateway.signed_in("alice").await;
    let headers = [("origin", "https://spa.example.com")];
    let answer = alice.get_with("/app", &headers).await.expect(200);
    assert_eq!(answer.header("x-frame-options"), "DENY");
    assert_eq!(answer.header("cache-control"), "no-store");
    for gone in ["server", "x-powered-by", "set-cookie"] {
        assert_eq!(answer.header(gone), "", "{gone}");
    }
    // What the gateway says itself comes after.
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "https://spa.example.com"
    );
    assert!(!answer.header("x-request-id").is_empty());
    assert!(!answer.header("ratelimit-policy").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_answers_of_the_app_are_changed() {
    let keys = "response_headers = { set = { X-Frame-Options = \"DENY\", Content-Type = \"text/plain\" } }";
    let (gateway, app) = gateway(keys).await;
    let refused = gateway.anonymous().get("/app").await;
    let refused = refused.expect_problem(401, "unauthenticated");
    assert_eq!(refused.header("x-frame-options"), "");
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_app_are_its_answers_too() {
    let app = Upstream::answering(|_| {
        let answer = Response::builder().status(500).header("server", "old");
        answer.body("oops".into()).unwrap()
    })
    .await;
    let gateway = Gateway::start(&format!(
        "[routes.app]\npath = \"/app\"\nauth = \"none\"\nupstream = \"{}\"\n\
         response_headers = {{ set = {{ X-Frame-Options = \"DENY\" }}, remove = [\"Server\"] }}",
        app.url()
    ));
    let answer = gateway.anonymous_http2().get("/app").await.expect(500);
    assert_eq!(
        (answer.header("x-frame-options"), answer.header("server")),
        ("DENY", "")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routes_own_word_on_https_wins_over_the_gateways() {
    let app = Upstream::start().await;
    let lines = |keys: &str| {
        format!(
            "[gateway]\npublic_url = \"https://gate.example.com\"\nhsts = \"365d\"\n\
             [routes.app]\npath = \"/app\"\nauth = \"none\"\nupstream = \"{}\"\n{keys}",
            app.url()
        )
    };
    for (keys, said) in [
        ("", "max-age=31536000"),
        (
            "response_headers = { set = { Strict-Transport-Security = \"max-age=60; includeSubDomains\" } }",
            "max-age=60; includeSubDomains",
        ),
        (
            "response_headers = { remove = [\"Strict-Transport-Security\"] }",
            "max-age=31536000",
        ),
    ] {
        let gateway = Gateway::start(&lines(keys));
        let answer = gateway.anonymous().at("gate.example.com").get("/app").await;
        assert_eq!(
            answer.expect(200).header("strict-transport-security"),
            said,
            "{keys}"
        );
    }
}

/// What a trailer says is about the body that the app has sent, and stays with it.
// SECURITY 13
#[tokio::test(flavor = "multi_thread")]
async fn an_app_cannot_name_the_request_in_its_trailers() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&format!(
        "[routes.app]\npath = \"/app\"\nauth = \"none\"\nupstream = \"{}\"\n\
         response_headers = {{ remove = [\"X-Sum\"] }}",
        app.url()
    ));
    let mut client = gateway.raw().await;
    client
        .send("GET /app HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\n\r\n")
        .await;
    let mut link = app.accept().await;
    link.message().await;
    link.send(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Request-Id, X-Sum\r\n\r\n\
         2\r\nok\r\n0\r\nX-Request-Id: forged\r\nX-Sum: 1\r\n\r\n",
    )
    .await;
    let answer = client.until(b"\r\n0\r\n").await;
    let trailers = client.until(b"\r\n\r\n").await;
    let (answer, trailers) = (
        String::from_utf8(answer).unwrap(),
        String::from_utf8(trailers).unwrap(),
    );
    assert!(answer.contains("x-request-id: "), "{answer}");
    assert!(
        trailers.to_ascii_lowercase().contains("x-sum: 1"),
        "{trailers}"
    );
    assert!(!trailers.contains("forged"), "{trailers}");
}
