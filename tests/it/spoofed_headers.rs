//! What an app is told about its caller comes from the gateway, whatever a stranger sends.

use http::HeaderValue;

use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Gateway;
use crate::harness::http2::DATA;
use crate::harness::http2::END_STREAM;
use crate::harness::http2::Http2;
use crate::harness::http2::Outcome;
use crate::harness::upstream::Recorded;
use crate::harness::upstream::Upstream;

/// The marker by which a forged value is found wherever it turns up.
const FORGED: &str = "forged-by-a-stranger";

/// Every name by which some route's app knows its caller here.
const NAMES: [&str; 13] = [
    "X-Auth-User",
    "X-Auth-User-Id",
    "X-Auth-Name",
    "X-Auth-Email",
    "X-Auth-Roles",
    "X-Auth-Scopes",
    "X-Auth-Session",
    "X-Auth-Method",
    "X-Auth-Client",
    "X-Auth-Assertion",
    "X-Webauth-User",
    "X-Forwarded-User",
    "Remote-User",
];

/// A route of every kind, with names of the presets and of its own.
fn routes(url: &str) -> String {
    format!(
        r#"
        [routes.open]
        path = "/open"
        auth = "none"
        upstream = "{url}"
        [routes.optional]
        path = "/optional"
        auth = "optional"
        upstream = "{url}"
        [routes.required]
        path = "/required"
        upstream = "{url}"
        [routes.custom]
        path = "/custom"
        identity = {{ user = "X-WEBAUTH-USER" }}
        upstream = "{url}"
        [routes.other]
        path = "/other"
        identity = {{ user = "X-Forwarded-User", email = "Remote-Email", name = "Remote-User" }}
        upstream = "{url}"
        "#
    )
}

/// The spellings that some server takes for the same name.
fn spellings(name: &str) -> Vec<String> {
    vec![
        name.to_owned(),
        name.to_lowercase(),
        name.to_uppercase(),
        name.replace('-', "_"),
        name.replace('-', "."),
        name.replacen('-', "_", 1),
        name.replacen('-', "--", 1),
        name.replace('-', "__"),
    ]
}

#[track_caller]
fn assert_nothing_forged(arrived: &Recorded) {
    let forged = |value: &HeaderValue| value.as_bytes().windows(6).any(|it| it == b"forged");
    let found = arrived.headers.iter().find(|(_, value)| forged(value));
    assert!(found.is_none(), "{found:?} arrived at {}", arrived.target);
    assert_eq!(arrived.trailers, None);
}

/// Nothing that a stranger said; and of a caller who is known, one word from us.
#[track_caller]
fn assert_tells_only(is_known: bool, arrived: &Recorded) {
    assert_nothing_forged(arrived);
    let told = ["x-auth-user", "x-webauth-user", "x-forwarded-user"];
    let told: String = told.map(|name| arrived.header(name)).concat();
    let expected = if is_known { "alice" } else { "" };
    assert_eq!(told, expected, "{arrived:?}");
}

// SECURITY 13
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_an_identity_header_arrives_over_http1() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let alice = gateway.signed_in("alice").await;
    let bearer = format!("Authorization: Bearer {}\r\n", alice.token());

    for (path, credential) in [
        ("/open", ""),
        ("/optional", ""),
        ("/optional", &*bearer),
        ("/required", &*bearer),
        ("/custom", &*bearer),
        ("/other", &*bearer),
    ] {
        let mut raw = gateway.raw().await;
        for name in NAMES {
            let spellings = spellings(name);
            let lines: String = spellings
                .iter()
                .map(|spelling| format!("{spelling}: {FORGED}\r\n{spelling}: {FORGED}\r\n"))
                .collect();
            let nominated = format!("Connection: {}\r\n", spellings.join(", "));
            for connection in ["", &nominated] {
                let request = format!(
                    "GET {path} HTTP/1.1\r\nHost: localhost\r\n{credential}{connection}{lines}\r\n"
                );
                assert_eq!(raw.ask(request).await.status(), 200, "{path} {name}");
                assert_tells_only(!credential.is_empty(), &app.only());
            }
        }
    }
    assert!(gateway.metric(r#"portcullis_headers_dropped_total{reason="identity_alias"}"#) > 0.0);
}

// SECURITY 13
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_an_identity_header_arrives_over_http2() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let alice = gateway.signed_in("alice").await;
    let http2 = gateway.anonymous_http2();
    let signed_in = http2.with_token(alice.token());

    for (path, caller) in [
        ("/open", &http2),
        ("/optional", &http2),
        ("/optional", &signed_in),
        ("/required", &signed_in),
        ("/custom", &signed_in),
        ("/other", &signed_in),
    ] {
        for name in NAMES {
            let spellings = spellings(name);
            let headers: Vec<_> = spellings
                .iter()
                .map(|name| (name.as_str(), FORGED))
                .collect();
            caller.get_with(path, &headers).await.expect(200);
            let is_known = !std::ptr::eq(caller, &http2);
            assert_tells_only(is_known, &app.only());
        }
    }
}

// SECURITY 13
#[tokio::test(flavor = "multi_thread")]
async fn trailers_smuggle_no_identity_in() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let mut raw = gateway.raw().await;
    let mut http2 = Http2::connect(&gateway).await;
    for (stream, name) in (1..).step_by(2).zip(NAMES) {
        let spellings = spellings(name);
        let lines: String = spellings
            .iter()
            .map(|spelling| format!("{spelling}: {FORGED}\r\n"))
            .collect();
        let answer = raw
            .ask(format!(
                "POST /open HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
                 Trailer: {name}\r\nTE: trailers\r\n\r\n1\r\na\r\n0\r\n{lines}\r\n"
            ))
            .await;
        assert_eq!(answer.status(), 200, "{name}");
        assert_tells_only(false, &app.only());

        let request = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", "/open"),
            ("trailer", name),
            ("te", "trailers"),
        ];
        let spellings = spellings.iter().map(|spelling| spelling.to_lowercase());
        let spellings: Vec<_> = spellings.collect();
        let trailers = spellings.iter().map(|spelling| (spelling.as_str(), FORGED));
        let trailers: Vec<_> = trailers.collect();
        http2.headers(stream, 0, &request).await;
        http2.send(DATA, 0, stream, b"a").await;
        http2.headers(stream, END_STREAM, &trailers).await;
        let outcome = http2.outcome(stream).await;
        assert_eq!(outcome, Outcome::answered(200, ""), "{name}");
        assert_tells_only(false, &app.only());
    }
}

// SECURITY 13
#[tokio::test(flavor = "multi_thread")]
async fn connection_cannot_nominate_what_the_gateway_says() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let alice = gateway.signed_in("alice").await;
    let mut raw = gateway.raw().await;
    let answer = raw
        .ask(format!(
            "GET /required HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Connection: X-Auth-User, X-Auth-Assertion, X-Forwarded-For, X-Mine, Host\r\n\
             X-Mine: 1\r\nX-Auth-User: {FORGED}\r\n\r\n",
            alice.token()
        ))
        .await;
    assert_eq!(answer.status(), 200);
    let arrived = app.only();
    assert_nothing_forged(&arrived);
    assert_eq!(arrived.header("x-auth-user"), "alice");
    assert_ne!(arrived.header("x-auth-assertion"), "");
    assert_eq!(arrived.header("x-forwarded-for"), "127.0.0.1");
    assert_eq!(arrived.header("host"), "localhost");
    assert_eq!(arrived.header("x-mine"), "");
    assert_eq!(arrived.header("connection"), "");
}

// SECURITY 13
#[tokio::test(flavor = "multi_thread")]
async fn unusual_names_are_dropped_unless_a_route_lets_one_through() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.plain]
        path = "/plain"
        auth = "none"
        upstream = "{0}"
        [routes.allowed]
        path = "/allowed"
        auth = "none"
        allow_headers = ["api_key"]
        upstream = "{0}"
        "#,
        app.url()
    ));
    let caller = gateway.anonymous();
    let headers = [
        ("api_key", "1"),
        ("X_Other", "2"),
        ("x.third", "3"),
        ("X-Fine", "4"),
    ];

    caller.get_with("/plain", &headers).await.expect(200);
    let arrived = app.only();
    let seen = ["api_key", "x_other", "x.third", "x-fine"].map(|name| arrived.header(name));
    assert_eq!(seen, ["", "", "", "4"]);

    caller.get_with("/allowed", &headers).await.expect(200);
    let arrived = app.only();
    let seen = ["api_key", "x_other", "x.third", "x-fine"].map(|name| arrived.header(name));
    assert_eq!(seen, ["1", "", "", "4"]);
    assert!(gateway.metric(r#"portcullis_headers_dropped_total{reason="name"}"#) >= 6.0);
}

// SECURITY 18
#[tokio::test(flavor = "multi_thread")]
async fn identity_follows_the_request_and_never_the_connection() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let alice = gateway.signed_in("alice").await;
    let bob = gateway.signed_in("bob").await;
    let mut raw = gateway.raw().await;

    for (token, user) in [
        (alice.token(), "alice"),
        ("", ""),
        (bob.token(), "bob"),
        ("", ""),
        (alice.token(), "alice"),
    ] {
        let credential = match token {
            "" => String::new(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        let request = format!("GET /optional HTTP/1.1\r\nHost: localhost\r\n{credential}\r\n");
        assert_eq!(raw.ask(request).await.status(), 200);
        let arrived = app.only();
        assert_eq!(arrived.header("x-auth-user"), user);
        assert_eq!(
            arrived.header("x-auth-assertion").is_empty(),
            user.is_empty()
        );
    }
    // One connection to the app carried all of them.
    assert_eq!(app.connections(), 1);
}

// SECURITY 18
#[tokio::test(flavor = "multi_thread")]
async fn identity_follows_the_stream_over_http2() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let alice = gateway.signed_in("alice").await;
    let bob = gateway.signed_in("bob").await;
    let http2 = gateway.anonymous_http2();
    let (alice, bob) = (
        http2.with_token(alice.token()),
        http2.with_token(bob.token()),
    );

    let mut asked = tokio::task::JoinSet::new();
    let callers = [
        ("/optional?alice", &alice),
        ("/optional?bob", &bob),
        ("/optional?", &http2),
    ];
    for (path, caller) in callers.iter().cycle().take(30) {
        let (path, caller) = (path.to_string(), (*caller).clone());
        asked.spawn(async move { caller.get(&path).await.expect(200) });
    }
    asked.join_all().await;
    let arrived = app.requests();
    assert_eq!(arrived.len(), 30);
    for request in arrived {
        let expected = request.target.strip_prefix("/optional?").unwrap();
        assert_eq!(request.header("x-auth-user"), expected);
    }
}

// SECURITY 14
#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_told_who_calls_exactly_once() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let alice = gateway.signed_in("alice").await;
    alice.get("/required?x").await.expect(200);
    let arrived = app.only();
    let me = alice.get("/auth/me").await.expect(200).json();

    assert_eq!(arrived.header("x-auth-user"), "alice");
    assert_eq!(arrived.header("x-auth-user-id"), me["id"].as_str().unwrap());
    assert_eq!(
        arrived.header("x-auth-session"),
        me["session"].as_str().unwrap()
    );
    assert_eq!(
        arrived.header("x-auth-scopes"),
        me["scope"].as_str().unwrap()
    );
    assert_eq!(arrived.header("x-auth-method"), "pwd");
    // An address that was never verified, no role, no client: nothing to tell.
    for absent in [
        "x-auth-email",
        "x-auth-roles",
        "x-auth-client",
        "x-auth-name",
    ] {
        assert_eq!(arrived.header(absent), "", "{absent}");
    }

    let claims = claims(arrived.header("x-auth-assertion"));
    assert_eq!(claims["iss"], "https://localhost");
    assert_eq!(claims["aud"], "required");
    assert_eq!(claims["sub"], me["id"]);
    assert_eq!(claims["sid"], me["session"]);
    assert_eq!(
        claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
        60
    );

    // The app with names of its own hears them, and only them.
    alice.get("/custom").await.expect(200);
    assert_eq!(app.only().header("x-webauth-user"), "alice");
}

fn claims(token: &str) -> serde_json::Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn presets_use_the_names_that_apps_know() {
    for (preset, name) in [
        ("oauth2-proxy", "x-forwarded-preferred-username"),
        ("authelia", "remote-user"),
    ] {
        let app = Upstream::start().await;
        let gateway = Gateway::start(&format!(
            r#"
            [identity]
            headers = "{preset}"
            [routes.app]
            path = "/app"
            upstream = "{}"
            [routes.open]
            path = "/open"
            auth = "none"
            upstream = "{0}"
            "#,
            app.url()
        ));
        let alice = gateway.signed_in("alice").await;
        alice.get("/app").await.expect(200);
        assert_eq!(app.only().header(name), "alice", "{preset}");

        alice
            .get_with("/open", &[(name, FORGED), ("x-auth-user", FORGED)])
            .await
            .expect(200);
        assert_nothing_forged(&app.only());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_can_be_bound_to_the_request_or_left_out() {
    let app = Upstream::start().await;
    let with = |mode: &str| format!("[identity]\nassertion = '{mode}'\n{}", routes(&app.url()));
    let gateway = Gateway::start(&with("request"));
    let alice = gateway.signed_in("alice").await;
    alice.get("/required/x?y").await.expect(200);
    let claims = claims(app.only().header("x-auth-assertion"));
    assert_eq!(claims["htm"], "GET");
    let port = gateway.address().port();
    assert_eq!(
        claims["htu"],
        format!("https://localhost:{port}/required/x")
    );

    let gateway = Gateway::start(&with("off"));
    let alice = gateway.signed_in("alice").await;
    alice.get("/required").await.expect(200);
    let arrived = app.only();
    assert_eq!(arrived.header("x-auth-user"), "alice");
    assert_eq!(arrived.header("x-auth-assertion"), "");
}

// SECURITY 15
#[tokio::test(flavor = "multi_thread")]
async fn strangers_say_nothing_about_where_they_come_from() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let told = [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-forwarded-prefix",
        "x-forwarded-uri",
        "x-forwarded",
        "x-original-url",
        "x-rewrite-url",
        "x-real-ip",
        "x-client-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "cf-connecting-ipv6",
        "wl-proxy-client-ip",
        "x-forward-for",
        "x-scheme",
        "front-end-https",
        "x-client-cert",
        "x-ssl-client-dn",
        "x-remote-addr",
        "x-host",
        "client-cert",
        "proxy",
        "forwarded",
        "via",
        "x-request-id",
        "traceparent",
        "tracestate",
    ];
    let headers = told.map(|name| (name, FORGED));
    let answer = gateway
        .anonymous()
        .get_with("/open", &headers)
        .await
        .expect(200);
    let arrived = app.only();
    assert_nothing_forged(&arrived);
    let port = gateway.address().port();
    assert_eq!(arrived.header("x-forwarded-for"), "127.0.0.1");
    assert_eq!(arrived.header("x-forwarded-proto"), "https");
    assert_eq!(
        arrived.header("x-forwarded-host"),
        format!("localhost:{port}")
    );
    assert_eq!(arrived.header("x-forwarded-port"), port.to_string());
    assert_eq!(
        arrived.header("x-request-id"),
        answer.header("x-request-id")
    );
    assert!(gateway.metric(r#"portcullis_headers_dropped_total{reason="forwarding"}"#) > 0.0);
}

// SECURITY 15
#[tokio::test(flavor = "multi_thread")]
async fn nobody_sets_the_proxy_of_an_app_that_runs_as_cgi() {
    let app = Upstream::start().await;
    let trusting = "[gateway]\ntrusted_proxies = ['127.0.0.0/8']\n";
    for gateway in ["", trusting] {
        let gateway = Gateway::start(&format!("{gateway}{}", routes(&app.url())));
        for caller in [gateway.anonymous(), gateway.anonymous_http2()] {
            // httpoxy, CVE-2016-5385: in CGI's environment it would be HTTP_PROXY.
            let proxy = [("Proxy", FORGED), ("proxy", FORGED)];
            caller.get_with("/open", &proxy).await.expect(200);
            assert_nothing_forged(&app.only());
        }
    }
}

// SECURITY 6
#[tokio::test(flavor = "multi_thread")]
async fn a_route_of_some_methods_lets_no_header_ask_for_another() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [defaults]
        auth = "none"
        [routes.some]
        path = "/some"
        methods = ["GET"]
        upstream = "{0}"
        [routes.any]
        path = "/any"
        upstream = "{0}"
        "#,
        app.url()
    ));
    for name in [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
    ] {
        let headers = [(name, "DELETE")];
        gateway
            .anonymous()
            .get_with("/some", &headers)
            .await
            .expect(200);
        assert_eq!(app.only().header(name), "", "{name}");
        let doubled = name.replace('-', "--");
        let headers = [(doubled.as_str(), "DELETE")];
        let answer = gateway.anonymous().get_with("/some", &headers).await;
        answer.expect(200);
        assert_eq!(app.only().header(&doubled), "", "{doubled}");
        let headers = [(name, "DELETE")];
        gateway
            .anonymous()
            .get_with("/any", &headers)
            .await
            .expect(200);
        assert_eq!(app.only().header(name), "DELETE", "{name}");
    }
}

// SECURITY 15
#[tokio::test(flavor = "multi_thread")]
async fn trusted_proxies_are_continued() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        "[gateway]\ntrusted_proxies = ['127.0.0.0/8']\n{}",
        routes(&app.url())
    ));
    let headers = [
        ("x-forwarded-for", "6.6.6.6, 198.51.100.7"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "outside.example.com"),
        ("x-request-id", "from-the-balancer"),
        ("x-auth-user", FORGED),
    ];
    let answer = gateway
        .anonymous()
        .get_with("/open", &headers)
        .await
        .expect(200);
    let arrived = app.only();
    assert_nothing_forged(&arrived);
    assert_eq!(arrived.header("x-forwarded-for"), "198.51.100.7, 127.0.0.1");
    assert_eq!(arrived.header("x-forwarded-proto"), "http");
    assert_eq!(arrived.header("x-forwarded-host"), "outside.example.com");
    assert_eq!(arrived.header("x-request-id"), "from-the-balancer");
    let line = gateway.log_line(answer.header("x-request-id")).await;
    assert_eq!(line["client"], "198.51.100.7");
}

// SECURITY 15
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_none_is_nobodys_word() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        "[gateway]\ntrusted_proxies = ['127.0.0.0/8']\n{}",
        routes(&app.url())
    ));
    let own = gateway.address().port().to_string();
    for (said, told) in [
        ("8443", "8443"),
        ("65536", &own),
        ("-1", &own),
        ("443, 80", &own),
        ("443;", &own),
        ("https", &own),
        ("4 43", &own),
        ("", &own),
    ] {
        for caller in [gateway.anonymous(), gateway.anonymous_http2()] {
            let headers = [("x-forwarded-port", said)];
            caller.get_with("/open", &headers).await.expect(200);
            assert_eq!(app.only().header("x-forwarded-port"), told, "{said:?}");
        }
    }
}

// SECURITY 17
#[tokio::test(flavor = "multi_thread")]
async fn credentials_stay_at_the_gateway() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let alice = gateway.signed_in("alice").await;
    let cookie = [("cookie", "a=1; __Host-portcullis=secret; b=2")];

    for (caller, path) in [
        (&alice, "/required"),
        (&alice, "/optional"),
        (&alice, "/open"),
        (&gateway.anonymous().with_token("not-even-a-token"), "/open"),
    ] {
        caller.get_with(path, &cookie).await.expect(200);
        let arrived = app.only();
        assert_eq!(arrived.header("authorization"), "");
        assert_eq!(arrived.header("cookie"), "a=1; b=2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_may_leave_authorization_to_its_app() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.app]
        path = "/app"
        auth = "none"
        authorization = "forward"
        upstream = "{}"
        "#,
        app.url()
    ));
    let caller = gateway.anonymous();
    let basic = [("authorization", "Basic dXNlcjpwYXNz")];
    caller.get_with("/app", &basic).await.expect(200);
    assert_eq!(app.only().header("authorization"), "Basic dXNlcjpwYXNz");
}

// SECURITY 16
#[tokio::test(flavor = "multi_thread")]
async fn only_names_that_are_safe_in_a_header_become_accounts() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let caller = gateway.anonymous();
    for bad in [
        "a\r\nX-Auth-Roles: admin",
        "al ice",
        "al,ice",
        "alice@x",
        "älice",
        "alice\u{200b}",
        "",
    ] {
        let body = serde_json::json!({
            "username": bad, "password": PASSWORD,
        });
        let answer = caller.post("/auth/register", &body).await;
        answer.expect_problem(422, "bad_fields");
    }
    // A display name may hold anything that can be shown; in a header it is encoded.
    let body = serde_json::json!({
        "username": "ozgur", "name": "Özgür 100%", "password": PASSWORD,
    });
    caller.post("/auth/register", &body).await.expect(201);
    let ozgur = gateway.signed_in("ozgur").await;
    ozgur.get("/required").await.expect(200);
    assert_eq!(app.only().header("x-auth-name"), "%C3%96zg%C3%BCr 100%25");
}
