//! Which route a request takes: host, then longest path, then method; nothing falls through. And
//! the path that is authorised is the path that is forwarded.

use http::StatusCode;
use reqwest::Method;

use crate::harness::caller::Answer;
use crate::harness::gateway::Gateway;
use crate::harness::http2::Http2;
use crate::harness::http2::Outcome;
use crate::harness::upstream::Upstream;

// SECURITY 7
#[tokio::test(flavor = "multi_thread")]
async fn no_route_is_a_404_and_reaches_nothing() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.app]
        path = "/app"
        auth = "none"
        upstream = "{}"
        "#,
        app.url()
    ));
    let caller = gateway.anonymous();

    for path in ["/app", "/app/", "/app/x?y=z", "/%61pp"] {
        caller.get(path).await.expect(200);
        assert_eq!(app.only().target, path);
    }
    for path in ["/", "/other", "/appendix", "/App", "/ap/p"] {
        caller.get(path).await.expect_problem(404, "no_route");
    }
    app.assert_untouched();
}

// SECURITY 7
#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_path_never_falls_through_to_an_open_one() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.open]
        path = "/"
        auth = "none"
        upstream = "{0}"
        [routes.admin]
        path = "/admin"
        methods = ["GET"]
        upstream = "{0}"
        [routes.admin-host]
        path = "/"
        host = "admin.example.com"
        methods = ["GET"]
        upstream = "{0}"
        "#,
        app.url()
    ));
    let caller = gateway.anonymous();

    caller.get("/administrators").await.expect(200);
    app.only();

    for path in ["/admin", "/admin/", "/admin/x", "/%61dmin/x", "/admi%6e"] {
        caller
            .get(path)
            .await
            .expect_problem(401, "unauthenticated");
    }
    // Neither another method nor another spelling of the host leads to the wider route.
    let posted = Answer::of(caller.request(Method::POST, "/admin")).await;
    assert_eq!(posted.header("allow"), "GET, HEAD");
    posted.expect_problem(405, "method_not_allowed");
    for host in [
        "admin.example.com",
        "ADMIN.example.com",
        "admin.example.com.",
    ] {
        let at = format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(gateway.raw().await.ask(at).await.status(), 401, "{host}");
        let post = format!("POST /x HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(gateway.raw().await.ask(post).await.status(), 405, "{host}");
    }
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_decides_first_and_the_longest_path_after_it() {
    let mut apps = Vec::new();
    for _ in 0..5 {
        apps.push(Upstream::start().await);
    }
    let [exact, wildcard, any, long, short] = &apps[..] else {
        unreachable!("five were started");
    };
    let gateway = Gateway::start(&format!(
        r#"
        [defaults]
        auth = "none"
        [routes.exact]
        host = "app.example.com"
        path = "/"
        upstream = "{}"
        [routes.wildcard]
        host = "*.example.com"
        path = "/"
        upstream = "{}"
        [routes.any]
        path = "/"
        upstream = "{}"
        [routes.long]
        path = "/a/b"
        upstream = "{}"
        [routes.short]
        path = "/a"
        upstream = "{}"
        "#,
        exact.url(),
        wildcard.url(),
        any.url(),
        long.url(),
        short.url(),
    ));
    let caller = gateway.anonymous();
    let checks = [
        ("app.example.com", "/a/b", exact),
        ("other.example.com", "/a/b", wildcard),
        ("localhost", "/", any),
        ("localhost", "/b", any),
        ("localhost", "/a/b/c", long),
        ("localhost", "/a/bc", short),
        ("localhost", "/a", short),
    ];
    for (host, path, expected) in checks {
        caller.at(host).get(path).await.expect(200);
        assert_eq!(expected.only().target, path, "{host}{path}");
    }
    apps.iter().for_each(Upstream::assert_untouched);
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_choose_among_routes_of_one_path() {
    let (readers, writers) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&format!(
        r#"
        [defaults]
        auth = "none"
        [routes.read]
        path = "/notes"
        methods = ["GET"]
        upstream = "{}"
        [routes.write]
        path = "/notes"
        methods = ["POST"]
        upstream = "{}"
        "#,
        readers.url(),
        writers.url()
    ));
    let caller = gateway.anonymous();
    let send = async |method: Method| Answer::of(caller.request(method, "/notes")).await;

    send(Method::GET).await.expect(200);
    assert_eq!(readers.only().method, "GET");
    send(Method::HEAD).await.expect(200);
    assert_eq!(readers.only().method, "HEAD");
    send(Method::POST).await.expect(200);
    assert_eq!(writers.only().method, "POST");

    let refused = send(Method::DELETE).await;
    assert_eq!(refused.header("allow"), "GET, HEAD, POST");
    refused.expect_problem(405, "method_not_allowed");
    readers.assert_untouched();
    writers.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn own_endpoints_win_on_every_host() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.app]
        path = "/"
        host = ["app.example.com", "localhost"]
        auth = "none"
        upstream = "{}"
        "#,
        app.url()
    ));
    for host in ["localhost", "app.example.com"] {
        let caller = gateway.anonymous().at(host);
        caller
            .get("/auth/me")
            .await
            .expect_problem(401, "unauthenticated");
        for path in ["/auth", "/auth/nothing", "/%61uth/me", "/auth/%6de"] {
            caller.get(path).await.expect_problem(404, "no_endpoint");
        }
        caller.get("/.well-known/jwks.json").await.expect(200);
    }
    app.assert_untouched();

    gateway.anonymous().get("/authors").await.expect(200);
    assert_eq!(app.only().target, "/authors");
}

#[tokio::test(flavor = "multi_thread")]
async fn own_endpoints_without_a_prefix_leave_the_other_paths_to_apps() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [gateway]
        prefix = ""
        [routes.app]
        path = "/"
        auth = "none"
        upstream = "{}"
        "#,
        app.url()
    ));
    let caller = gateway.anonymous();
    caller
        .get("/me")
        .await
        .expect_problem(401, "unauthenticated");
    caller
        .get("/refresh")
        .await
        .expect_problem(405, "method_not_allowed");
    app.assert_untouched();

    for path in ["/", "/me/too", "/auth/me"] {
        caller.get(path).await.expect(200);
        assert_eq!(app.only().target, path);
    }
}

// SECURITY 6
#[tokio::test(flavor = "multi_thread")]
async fn spellings_that_apps_read_differently_are_refused() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.open]
        path = "/"
        auth = "none"
        upstream = "{0}"
        [routes.admin]
        path = "/admin"
        upstream = "{0}"
        "#,
        app.url()
    ));
    let never = [
        "/public/../admin",
        "/public/./admin",
        "/..",
        "/.",
        "/public/%2e%2e/admin",
        "/public/%2E./admin",
        "/public/..;x=y/admin",
        "/public/..%2fadmin",
        "/public/..%5cadmin",
        "/public\\..\\admin",
        "/%00admin",
        "/admin%00",
        "/admin%0a",
        "/admin%7f",
        "/admin%",
        "/admin%2",
        "/admin%zz",
        "/%ff%fe",
        "/%c0%ae%c0%ae/admin",
    ];
    let unless_allowed = [
        "/%2fadmin",
        "/x%2fadmin",
        "/x%5cadmin",
        "/\\admin",
        "/admin;x",
        "/;/admin",
        "/admin%3bx",
        "//admin",
        "/x//admin",
        "/%2561dmin",
        "/x%252fadmin",
    ];
    for path in never.iter().chain(&unless_allowed) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let refused = gateway.raw().await.ask(request).await.answer();
        assert_eq!(refused.status, 400, "{path}");
        refused.expect_problem(400, "path_refused");
    }
    app.assert_untouched();
}

// SECURITY 6
#[tokio::test(flavor = "multi_thread")]
async fn a_route_may_allow_a_spelling_but_never_for_the_path_of_another_route() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.open]
        path = "/"
        auth = "none"
        path_allow = ["encoded_slash", "semicolon", "double_slash", "double_encoding"]
        upstream = "{0}"
        [routes.admin]
        path = "/admin"
        upstream = "{0}"
        "#,
        app.url()
    ));
    for path in [
        "/a%2fb",
        "/a%5Cb",
        "/a;b=c",
        "//a///b",
        "/a%2520b",
        "/a%2Fadmin",
    ] {
        let request = format!("GET {path}?q=%2e HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = gateway.raw().await.ask(request).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(app.only().target, format!("{path}?q=%2e"));
    }
    for path in [
        "//admin",
        "/%2fadmin",
        "/;/admin",
        "/%2561dmin",
        "/admin;x",
        "/admin%2fx",
        "/a/..%2fadmin",
        "/a%252f..%252fadmin",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let status = gateway.raw().await.ask(request).await.status();
        assert!(matches!(status, 400 | 401), "{path}: {status}");
    }
    app.assert_untouched();
}

// SECURITY 6
#[tokio::test(flavor = "multi_thread")]
async fn what_is_behind_a_fragment_reaches_nobody() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.open]
        path = "/"
        auth = "none"
        upstream = "{0}"
        [routes.admin]
        path = "/admin"
        upstream = "{0}"
        "#,
        app.url()
    ));
    // The `http` crate cuts a fragment off while hyper and h2 read the request, so that the gate never sees
    // it and cannot refuse it. What is left is what is authorised and what is forwarded.
    for (target, arrives) in [
        ("/x#", Some("/x")),
        ("/x#/../admin", Some("/x")),
        ("/x#?y", Some("/x")),
        ("/x?y#z", Some("/x?y")),
        ("/x#y#z", Some("/x")),
        ("/admin#/x", None),
        ("/admin/#/../x", None),
        ("/%23", Some("/%23")),
        ("/x?%23", Some("/x?%23")),
    ] {
        let http1 = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let http1 = gateway.raw().await.ask(http1).await.status();
        check_arrived(&app, target, http1, arrives);
        let absolute = format!("GET https://localhost{target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let absolute = gateway.raw().await.ask(absolute).await.status();
        check_arrived(&app, target, absolute, arrives);
        let http2 = ask_http2(&gateway, target).await.status();
        check_arrived(&app, target, http2, arrives);
    }
    // Nothing is left of a fragment alone, and that is not the root; nor has a query alone a path.
    for target in ["#x", "#", "?x", "?", "#?x"] {
        let absolute = format!("GET https://localhost{target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let refused = gateway.raw().await.ask(absolute).await.answer();
        refused.expect_problem(400, "path_refused");
        let outcome = ask_http2(&gateway, target).await;
        assert_eq!(outcome, Outcome::answered(400, "path_refused"), "{target}");
    }
    app.assert_untouched();
}

#[track_caller]
fn check_arrived(app: &Upstream, target: &str, status: u16, arrives: Option<&str>) {
    assert_eq!(
        status,
        if arrives.is_some() { 200 } else { 401 },
        "{target}"
    );
    match arrives {
        Some(arrives) => assert_eq!(app.only().target, arrives, "{target}"),
        None => app.assert_untouched(),
    }
}

/// GET over HTTP/2, of a target as it stands.
async fn ask_http2(gateway: &Gateway, target: &str) -> Outcome {
    let request = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", target),
    ];
    Http2::connect(gateway).await.ask(1, &request).await
}

// SECURITY 6
#[tokio::test(flavor = "multi_thread")]
async fn nothing_around_a_public_prefix_leads_to_what_is_guarded() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.guarded]
        path = "/"
        upstream = "{0}"
        [routes.public]
        path = "/public"
        auth = "none"
        upstream = "{0}"
        "#,
        app.url()
    ));
    for path in [
        "/public/../admin",
        "/public/..",
        "/public/%2e%2e/admin",
        "/public/.%2E/admin",
        "/public/..%2fadmin",
        "/public/..%5cadmin",
        "/public%2f..%2fadmin",
        "/public/..;/admin",
        "/public/;/../admin",
        "/public;/../admin",
        "/public/%252e%252e/admin",
        "/public//../admin",
        "/x/../public/../admin",
        "/./public",
        "//public/../admin",
    ] {
        let http1 = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let http1 = gateway.raw().await.ask(http1).await.answer();
        assert_eq!(http1.status, 400, "{path}");
        http1.expect_problem(400, "path_refused");
        let outcome = ask_http2(&gateway, path).await;
        assert_eq!(outcome, Outcome::answered(400, "path_refused"), "{path}");
    }
    for path in [
        "/public%2fadmin",
        "/publicadmin",
        "/public%00/admin",
        "/public%20",
        "/.public",
    ] {
        let status = ask_http2(&gateway, path).await.status();
        assert!(matches!(status, 400 | 401), "{path}: {status}");
    }
    app.assert_untouched();
    for path in [
        "/public",
        "/public/",
        "/%70ublic/x",
        "/public/...",
        "/public?/../admin",
    ] {
        assert_eq!(ask_http2(&gateway, path).await.status(), 200, "{path}");
        assert_eq!(app.only().target, path);
    }
}

// SECURITY 6
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_key_that_would_allow_the_path() {
    let gateway = Gateway::start(
        r#"
        [routes.open]
        path = "/"
        auth = "none"
        upstream = "echo"
        "#,
    );
    let caller = gateway.anonymous();
    for (path, key) in [
        ("/a%2fb", "encoded_slash"),
        ("/a%5cb", "encoded_slash"),
        ("/a;b", "semicolon"),
        ("//a", "double_slash"),
        ("/a%252fb", "double_encoding"),
    ] {
        let refused = caller.get(path).await.expect_problem(400, "path_refused");
        assert!(refused.text().contains(key), "{path}: {}", refused.text());
    }
    let plain = caller.get("/a%20b/%C3%BC?x=../%2f;//").await;
    assert_eq!(plain.status, StatusCode::OK);
}

// SECURITY 7
#[tokio::test(flavor = "multi_thread")]
async fn the_issuers_documents_are_nobody_elses() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        "[routes.all]\npath = \"/\"\nauth = \"none\"\nupstream = \"{}\"",
        app.url()
    ));
    let openid = "/.well-known/openid-configuration";
    gateway.anonymous().get(openid).await.expect(200);
    let spelt = "/.well-known/%6fpenid-configuration";
    let answer = gateway.anonymous().get(spelt).await;
    answer.expect_problem(404, "no_endpoint");
    let metadata = "/.well-known/oauth-authorization-server";
    gateway.anonymous().get(metadata).await.expect(200);
    app.assert_untouched();
    gateway
        .anonymous()
        .get("/.well-known/security.txt")
        .await
        .expect(200);
}

// SECURITY 11
#[tokio::test(flavor = "multi_thread")]
async fn header_lines_are_counted_over_both_protocols() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        "connections.headers = 50\n[routes.all]\npath = \"/\"\nauth = \"none\"\nupstream = \"{}\"",
        app.url()
    ));
    for caller in [gateway.anonymous(), gateway.anonymous_http2()] {
        let with = |count: usize| {
            let request = caller.request(Method::GET, "/x");
            (0..count).fold(request, |request, n| request.header(format!("x-{n}"), "1"))
        };
        assert_eq!(Answer::of(with(60)).await.status, 431);
        app.assert_untouched();
        Answer::of(with(30)).await.expect(200);
        app.only();
    }
}
