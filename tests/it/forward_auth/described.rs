//! What is asked about: descriptions that are none, paths and headers that mean more than they say, and
//! cookies.

use reqwest::Method;

use crate::forward_auth::PROXIES;
use crate::forward_auth::Proxy;
use crate::forward_auth::asked;
use crate::forward_auth::cookie;
use crate::harness::caller::Answer;
use crate::harness::gateway::Gateway;
use crate::harness::raw::Raw;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

// SECURITY 15
#[tokio::test(flavor = "multi_thread")]
async fn a_description_that_is_none_is_refused_and_says_what_is_missing() {
    let (gateway, app) = asked("").await;
    let alice = gateway.signed_in("alice").await;
    let ask = async |path: &str, lines: &[(&str, &str)]| {
        let asked = alice.get_with(path, lines).await;
        let said = asked.text().to_owned();
        (asked, said)
    };
    let nginx = [
        ("x-original-url", "https://localhost/open"),
        ("x-original-method", "GET"),
        ("x-forwarded-for", "203.0.113.9"),
    ];
    let traefik = [
        ("x-forwarded-method", "GET"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "localhost"),
        ("x-forwarded-uri", "/open"),
        ("x-forwarded-for", "203.0.113.9"),
    ];
    let envoy = [("x-forwarded-proto", "https"), ("x-real-ip", "203.0.113.9")];
    let (verify, below) = ("/auth/verify", "/auth/verify/envoy/open");
    for (proxy, path, lines) in [
        (Proxy::Nginx, verify, &nginx[..]),
        (Proxy::Traefik, verify, &traefik[..]),
        (Proxy::Envoy, below, &envoy[..]),
    ] {
        ask(path, lines).await.0.expect(200);
        for line in lines {
            let mut less = lines.to_vec();
            less.retain(|other| other != line);
            let (answer, said) = ask(path, &less).await;
            proxy.refused(answer, 400, "not_described");
            assert!(said.contains(&format!("{} is missing", line.0)), "{said}");

            let twice = [lines, &[*line]].concat();
            let (answer, said) = ask(path, &twice).await;
            proxy.refused(answer, 400, "not_described");
            assert!(
                said.contains(&format!("{} is there more than", line.0)),
                "{said}"
            );
        }
    }
    // Whatever a client writes for another kind of proxy.
    for line in &traefik[..4] {
        let both = [&nginx[..], &[*line]].concat();
        let (answer, said) = ask(verify, &both).await;
        Proxy::Nginx.refused(answer, 400, "not_described");
        assert!(said.contains(line.0), "{said}");
    }
    for line in &nginx[..2] {
        let both = [&traefik[..], &[*line]].concat();
        Proxy::Nginx.refused(ask(verify, &both).await.0, 400, "not_described");
        let both = [&envoy[..], &[*line]].concat();
        Proxy::Envoy.refused(ask(below, &both).await.0, 400, "not_described");
    }
    let (answer, said) = ask(verify, &[]).await;
    Proxy::Traefik.refused(answer, 400, "not_described");
    assert!(said.contains("x-forwarded-for is missing"), "{said}");
    app.assert_untouched();
}

// SECURITY 6
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_path_is_vouched_for_as_another() {
    let (gateway, _) = asked("").await;
    let nobody = gateway.anonymous();
    for path in [
        "/open/../app",
        "/open/%2e%2e/app",
        "/open/.%2E/app",
        "/open/./app",
        "/open%2f..%2fapp",
        "/open/%5c..%5capp",
        "/open//app",
        "/open/%252e%252e/app",
        "/open/..;/app",
        "/open/%00",
        "/open/%zz",
        "/open/%ff",
    ] {
        for proxy in [Proxy::Nginx, Proxy::Traefik] {
            let answer = proxy.ask(&nobody, path).await;
            assert_eq!(answer.header("x-auth-user"), "", "{path}");
            proxy.refused(answer, 400, "path_refused");
        }
        let request = format!(
            "GET /auth/verify/envoy{path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Proto: https\r\n\
             X-Real-IP: 203.0.113.9\r\n\r\n"
        );
        let answer = gateway.raw().await.ask(request).await.answer();
        answer.expect_problem(400, "path_refused");
    }
    // What goes on to the app is all of it.
    for proxy in [Proxy::Nginx, Proxy::Traefik] {
        let answer = proxy.ask(&nobody, "/open#/../app").await;
        proxy.refused(answer, 400, "not_described");
        proxy.ask(&nobody, "/slashes/a%2fb").await.expect(200);
        // A route knows only its own spelling.
        let answer = proxy.ask(&nobody, "/slashes%2f..%2fapp").await;
        proxy.refused(answer, 400, "path_refused");
        for path in ["//app", "/open;/app", "/OPEN"] {
            let answer = proxy.ask(&nobody, path).await;
            proxy.refused(answer, 404, "no_route");
        }
    }
}

// SECURITY 4
#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_host() {
    let gateway = Gateway::start(
        r#"
        verify.callers = ["127.0.0.1"]
        [routes.one]
        host = "one.example.com"
        path = "/"
        auth = "none"
        [routes.other]
        host = "other.example.com"
        path = "/"
        "#,
    );
    let nobody = gateway.anonymous();
    let nginx = async |url: &str| {
        let request = nobody
            .request(Method::GET, "/auth/verify")
            .header("x-original-url", url)
            .header("x-original-method", "GET")
            .header("x-forwarded-for", "203.0.113.9");
        Answer::of(request).await
    };
    nginx("https://one.example.com/x").await.expect(200);
    nginx("https://ONE.example.com.:8443/").await.expect(200);
    let refused = |answer, status, code| Proxy::Nginx.refused(answer, status, code);
    refused(
        nginx("https://other.example.com/").await,
        401,
        "unauthenticated",
    );
    refused(nginx("https://third.example.com/").await, 404, "no_route");
    for url in [
        "https://one.example.com@other.example.com/",
        "https://one.example.com\\.other.example.com/",
        "https:///x",
    ] {
        refused(nginx(url).await, 400, "host_refused");
    }
    let envoy = "GET /auth/verify/envoy/ HTTP/1.1\r\nHost: one.example.com\r\n";
    let rest = "X-Forwarded-Proto: https\r\nX-Real-IP: 203.0.113.9\r\n\r\n";
    let answer = gateway.raw().await.ask(format!("{envoy}{rest}")).await;
    answer.answer().expect(200);
    let twice = format!("{envoy}Host: other.example.com\r\n{rest}");
    assert_eq!(gateway.raw().await.ask(twice).await.status(), 400);
}

// SECURITY 13
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_brings_an_identity_is_refused_in_every_spelling() {
    let (gateway, _) = asked("[identity]\nheaders = { user = \"X-WebAuth-User\" }").await;
    let alice = gateway.signed_in("alice").await;
    for name in [
        "X-Auth-User",
        "x_auth_user",
        "X.Auth.User",
        "X--Auth-Roles",
        "X-Auth-Assertion",
        "x-webauth_user",
    ] {
        for proxy in PROXIES {
            for path in ["/asked", "/open"] {
                let asks = proxy.asks(&alice, &Method::GET, path);
                let answer = Answer::of(asks.header(name, "root")).await;
                let said = answer.text().to_ascii_lowercase();
                assert!(said.contains(&name.to_ascii_lowercase()), "{name}: {said}");
                proxy.refused(answer, 400, "header_refused");
            }
        }
    }
    for proxy in PROXIES {
        let answer = proxy.ask(&alice, "/asked").await.expect(200);
        assert_eq!(answer.header("x-webauth-user"), "alice");
        assert!(!answer.headers.contains_key("x-auth-user"));
    }
}

// SECURITY 13
#[tokio::test(flavor = "multi_thread")]
async fn no_header_asks_a_route_of_some_methods_for_another() {
    let (gateway, _) = asked("").await;
    let alice = gateway.signed_in("alice").await;
    for proxy in PROXIES {
        for name in [
            "X-HTTP-Method-Override",
            "x_http_method",
            "X-Method-Override",
        ] {
            let asks = |path| {
                let asks = proxy.asks(&alice, &Method::GET, path);
                Answer::of(asks.header(name, "DELETE"))
            };
            proxy.refused(asks("/notes").await, 400, "header_refused");
            asks("/asked").await.expect(200);
        }
    }
}

// SECURITY 23
#[tokio::test(flavor = "multi_thread")]
async fn two_credentials_are_refused() {
    let (gateway, _) = asked("").await;
    let alice = gateway.signed_in("alice").await;
    for proxy in PROXIES {
        let asks = proxy.asks(&alice, &Method::GET, "/asked");
        let answer = Answer::of(asks.header("authorization", "Bearer other")).await;
        proxy.refused(answer, 400, "two_credentials");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_paths_are_nobodys_to_ask_about() {
    let gateway = Gateway::start(
        "verify.callers = [\"127.0.0.1\"]\n[routes.all]\npath = \"/\"\nauth = \"none\"",
    );
    let nobody = gateway.anonymous();
    for proxy in PROXIES {
        for path in [
            "/auth/login",
            "/auth/verify",
            "/auth/x",
            "/.well-known/jwks.json",
        ] {
            let answer = proxy.ask(&nobody, path).await;
            proxy.refused(answer, 404, "own_endpoint");
        }
        proxy.ask(&nobody, "/login").await.expect(200);
    }
}

// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_is_known_as_it_would_be_here() {
    let (gateway, _) = asked("").await;
    let cookie = cookie(&gateway, "alice").await;
    let nobody = gateway.anonymous();
    for proxy in PROXIES {
        let asks = |method: Method, path: &str, lines: &[(&str, &str)]| {
            let mut asks = proxy.asks(&nobody, &method, path);
            asks = asks.header("cookie", format!("a=1; {cookie}; b=2"));
            for (name, value) in lines {
                asks = asks.header(*name, *value);
            }
            Answer::of(asks)
        };
        let answer = asks(Method::GET, "/asked", &[]).await.expect(200);
        assert_eq!(answer.header("x-auth-user"), "alice");
        assert!(!answer.headers.contains_key("set-cookie"));
        let origin = match proxy {
            // The Host of its question is that of its client's request.
            Proxy::Envoy => format!("https://localhost:{}", gateway.address().port()),
            Proxy::Nginx | Proxy::Traefik => "https://localhost".to_owned(),
        };
        let own = [("origin", &*origin)];
        asks(Method::POST, "/asked", &own).await.expect(200);
        for foreign in [
            &[][..],
            &[("origin", "https://evil.example")][..],
            &[("origin", "https://localhost:8443")][..],
            &[("origin", "http://localhost")][..],
            &[("sec-fetch-site", "cross-site")][..],
        ] {
            let answer = asks(Method::POST, "/asked", foreign).await;
            proxy.refused(answer, 403, "cross_site");
            let handshake = [
                foreign,
                &[("sec-websocket-key", KEY), ("sec-websocket-version", "13")],
            ]
            .concat();
            // Envoy's Content-Length is of its question, and a handshake has none either.
            let answer = asks(Method::GET, "/asked", &handshake).await;
            proxy.refused(answer, 403, "cross_site");
            // RFC 8441 §5: over HTTP/2 there is no key, and to Envoy's filters it is a GET.
            let extended = [foreign, &[("sec-websocket-version", "13")]].concat();
            let answer = asks(Method::GET, "/asked", &extended).await;
            proxy.refused(answer, 403, "cross_site");
        }
        let handshake = [
            ("origin", &*origin),
            ("sec-websocket-key", KEY),
            ("sec-websocket-version", "13"),
        ];
        asks(Method::GET, "/asked", &handshake).await.expect(200);
        let extended = [("origin", &*origin), ("sec-websocket-version", "13")];
        asks(Method::GET, "/asked", &extended).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_cookie_is_taken_away_where_the_proxy_passes_that_on() {
    let (gateway, _) = asked("").await;
    let nobody = gateway.anonymous();
    for proxy in PROXIES {
        for (path, status) in [("/maybe", 200), ("/asked", 401)] {
            let asks = proxy.asks(&nobody, &Method::GET, path);
            let asks = asks.header("cookie", "__Host-portcullis=dead");
            let answer = Answer::of(asks).await.expect(status);
            let cleared = answer.header("set-cookie");
            assert!(
                cleared.starts_with("__Host-portcullis=; Max-Age=0"),
                "{cleared}"
            );
        }
    }
}

/// nginx has one variable for all lines of a header: since 1.23 it joins them by a comma, and a browser would
/// read of two cookies one that dies at once.
#[tokio::test(flavor = "multi_thread")]
async fn nginx_is_given_one_cookie_to_pass_on() {
    let gateway = Gateway::start(
        "verify.callers = [\"127.0.0.1\"]\n[routes.app]\nhost = \"app.example.com\"\npath = \"/\"",
    );
    let nobody = gateway.anonymous();
    let cookies = async |described: &[(&str, &str)]| {
        let mut asks = nobody.request(Method::GET, "/auth/verify");
        for (name, value) in described {
            asks = asks.header(*name, *value);
        }
        let asks = asks
            .header("x-forwarded-for", "203.0.113.9")
            .header("sec-fetch-mode", "navigate")
            .header("cookie", "__Host-portcullis=dead");
        let answer = Answer::of(asks).await;
        assert_ne!(answer.header("location"), "");
        let cookies = answer.headers.get_all("set-cookie").iter();
        let cookies = cookies.map(|cookie| cookie.to_str().unwrap().to_owned());
        cookies.collect::<Vec<_>>()
    };
    let nginx = [
        ("x-original-url", "https://app.example.com/x"),
        ("x-original-method", "GET"),
    ];
    // The sign-in that leads back from there replaces the dead one.
    let given = cookies(&nginx).await;
    assert_eq!(given.len(), 1, "{given:?}");
    assert!(given[0].starts_with("__Host-portcullis-binding="));
    // The others have a line for each.
    let traefik = [
        ("x-forwarded-method", "GET"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "app.example.com"),
        ("x-forwarded-uri", "/x"),
    ];
    assert_eq!(cookies(&traefik).await.len(), 2);
}

/// gRPC is told by 200 that it is refused; a proxy would take that for leave to pass.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_refused_is_no_200() {
    let (gateway, _) = asked("").await;
    for caller in [gateway.anonymous(), gateway.anonymous_http2()] {
        for proxy in PROXIES {
            let asks = proxy.asks(&caller, &Method::POST, "/asked");
            let answer = Answer::of(asks.header("content-type", "application/grpc")).await;
            proxy.refused(answer, 401, "unauthenticated");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_framed_for_who_asks_and_not_for_who_is_asked_about() {
    let (gateway, _) = asked("").await;
    let about_head = "GET /auth/verify HTTP/1.1\r\nHost: localhost\r\nX-Original-URL: https://localhost/asked\r\n\
         X-Original-Method: HEAD\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n";
    let mut connection = gateway.raw().await;
    for _ in 0..2 {
        let answer = connection.ask(about_head).await;
        assert_eq!(answer.status(), 401);
        assert!(answer.body.ends_with(b"}\n"), "{answer:?}");
    }
    let asked_by_head = about_head
        .replacen("GET", "HEAD", 1)
        .replace(": HEAD", ": GET");
    for _ in 0..2 {
        connection.send(&asked_by_head).await;
        let answer = connection.head().await;
        assert_eq!(answer.status(), 401);
        assert_ne!(answer.header("content-length"), "0");
    }
    assert_eq!(connection.ask(about_head).await.status(), 401);
    // As nginx asks that was not told to speak HTTP/1.1.
    let old = about_head.replacen("HTTP/1.1", "HTTP/1.0", 1);
    let mut connection: Raw = gateway.raw().await;
    assert_eq!(connection.ask(old).await.status(), 401);
}
