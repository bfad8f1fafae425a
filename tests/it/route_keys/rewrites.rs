//! `rewrite`, `strip_prefix` and `host_header`.

use serde_json::Value;

use crate::harness::binary::portcullis;
use crate::harness::gateway::Folder;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

/// A public route `/old/api` with these keys.
async fn gateway(keys: &str) -> (Gateway, Upstream) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.app]
        path = "/old/api"
        auth = "none"
        upstream = "{}"
        {keys}
        "#,
        app.url()
    ));
    (gateway, app)
}

// SECURITY 6
#[tokio::test(flavor = "multi_thread")]
async fn a_rewrite_replaces_the_routes_path_by_whole_segments() {
    let (gateway, app) = gateway("rewrite = \"/v2/über\"").await;
    for caller in [gateway.anonymous(), gateway.anonymous_http2()] {
        for (path, target) in [
            ("/old/api", "/v2/%C3%BCber"),
            ("/old/api/", "/v2/%C3%BCber/"),
            ("/old/api/x/y/", "/v2/%C3%BCber/x/y/"),
            (
                "/old/api?a=/old/api&b=%2f;",
                "/v2/%C3%BCber?a=/old/api&b=%2f;",
            ),
            ("/old/api/x?", "/v2/%C3%BCber/x?"),
            ("/old/api/old/api", "/v2/%C3%BCber/old/api"),
            // What is not replaced stays as it was sent; what is may be spelt in any way.
            ("/old/api/%41%20b/%c3%a9", "/v2/%C3%BCber/%41%20b/%c3%a9"),
            ("/%6fld/ap%69/x", "/v2/%C3%BCber/x"),
        ] {
            caller.get(path).await.expect(200);
            let arrived = app.only();
            assert_eq!(arrived.target, target, "{path}");
            // Nothing that stood before the app's path would make it the path that was asked for.
            assert_eq!(arrived.header("x-forwarded-prefix"), "", "{path}");
        }
        for path in [
            "/old/apis",
            "/old",
            "/v2",
            "/old/api/../x",
            "/old/api%2fx",
            "/old/api//x",
        ] {
            let refused = caller.get(path).await;
            assert!(matches!(refused.status, 400 | 404), "{path}: {refused:?}");
            app.assert_untouched();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_is_told_where_it_makes_the_apps_paths_those_outside() {
    for (rewrite, target, prefix) in [
        ("/api", "/api/x", "/old"),
        ("/", "/x", "/old/api"),
        ("/old/api", "/old/api/x", ""),
        ("/v2", "/v2/x", ""),
        ("/pi", "/pi/x", ""),
    ] {
        let (gateway, app) = gateway(&format!("rewrite = \"{rewrite}\"")).await;
        gateway.anonymous().get("/old/api/x").await.expect(200);
        let arrived = app.only();
        assert_eq!(arrived.target, target);
        assert_eq!(arrived.header("x-forwarded-prefix"), prefix, "{rewrite}");
    }
}

// SECURITY 6
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_path_is_never_odder_than_what_was_sent() {
    let allow = "path_allow = [\"double_slash\", \"semicolon\", \"encoded_slash\"]";
    let (stripped, app) = gateway(&format!("{allow}\nstrip_prefix = true")).await;
    let anonymous = stripped.anonymous();
    for (path, target) in [
        ("/old/api/a//b", "/a//b"),
        ("/old/api/;x", "/;x"),
        ("/old/api/a%2fb", "/a%2fb"),
        ("/old/api/a//", "/a//"),
    ] {
        anonymous.get(path).await.expect(200);
        assert_eq!(app.only().target, target, "{path}");
    }
    // `//evil.example` is another host to whoever takes it for a link, and so is `/\evil.example`.
    for path in ["/old/api//evil.example/x", "/old/api//", "/old/api///x"] {
        anonymous
            .get(path)
            .await
            .expect_problem(400, "path_refused");
        app.assert_untouched();
    }
    // Raw, because a library would make a slash of it.
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for path in ["/old/api/\\evil.example/x", "/old/api/\\"] {
        let refused = stripped.raw().await.ask(&request(path)).await;
        assert_eq!(refused.status(), 400, "{path}");
        app.assert_untouched();
    }
    let passed = stripped.raw().await.ask(&request("/old/api/a\\b")).await;
    assert_eq!(passed.status(), 200);
    assert_eq!(app.only().target, "/a\\b");
    let (rewritten, app) = gateway(&format!("{allow}\nrewrite = \"/v2\"")).await;
    rewritten.anonymous().get("/old/api//x").await.expect(200);
    assert_eq!(app.only().target, "/v2//x");
}

// SECURITY 6
#[tokio::test(flavor = "multi_thread")]
async fn what_is_judged_is_the_path_that_was_asked_for() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [defaults]
        upstream = "{}"
        [routes.open]
        path = "/open"
        auth = "none"
        rewrite = "/shelf"
        [routes.open.paths."/open/staff"]
        auth = "required"
        roles = ["admin"]
        [routes.shelf]
        path = "/shelf"
        "#,
        app.url()
    ));
    let anonymous = gateway.anonymous();
    for path in [
        "/shelf",
        "/shelf/x",
        "/open/staff",
        "/open/staff/x",
        "/open/st%61ff",
    ] {
        anonymous.get(path).await.expect(401);
        app.assert_untouched();
    }
    anonymous.get("/open/x").await.expect(200);
    assert_eq!(app.only().target, "/shelf/x");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_is_called_by_the_clients_name_or_by_its_own() {
    for (keys, own) in [
        ("", false),
        ("host_header = \"original\"", false),
        ("host_header = \"upstream\"", true),
    ] {
        let (gateway, app) = gateway(keys).await;
        for caller in [gateway.anonymous(), gateway.anonymous_http2()] {
            caller.get("/old/api").await.expect(200);
            let arrived = app.only();
            let asked = arrived.header("x-forwarded-host").to_owned();
            assert!(asked.starts_with("localhost:"), "{asked}");
            let app = app.url();
            let host = if own {
                app.trim_start_matches("http://")
            } else {
                &asked
            };
            assert_eq!(arrived.header("host"), host, "{keys}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_what_the_app_then_gets() {
    let keys = r#"
        rewrite = "/v2"
        host_header = "upstream"
        addresses = ["127.0.0.0/8"]
        request_headers = { set = { X-Tenant = "acme", X-Key = "${file:key}", Authorization = "Basic YTpi" }, remove = ["Accept"] }
    "#;
    let app = Upstream::start().await;
    let folder = Folder::new();
    folder.write("key", "qL0T9xVd7Zc3mW5y\n");
    folder.configure(&format!(
        "[routes.app]\npath = \"/old/api\"\nauth = \"none\"\nupstream = \"{}\"\n{keys}",
        app.url()
    ));
    let gateway = Gateway::start_in(&folder);
    gateway
        .anonymous()
        .get_with("/old/api/x?y", &[("accept", "text/html")])
        .await
        .expect(200);
    let arrived = app.only();
    assert_eq!(arrived.header("x-key"), "qL0T9xVd7Zc3mW5y");
    assert_eq!(arrived.header("authorization"), "Basic YTpi");
    assert_eq!(arrived.header("accept"), "");

    let url = "https://localhost/old/api/x?y";
    let explained = portcullis(&folder, &["explain", "--json", "GET", url]).expect(0);
    let explained: Value = serde_json::from_str(&explained.stdout).unwrap();
    assert_eq!(explained["request"]["target"], arrived.target.as_str());
    let fields = explained["request"]["headers"].as_array().unwrap();
    let mut names: Vec<_> = fields
        .iter()
        .map(|field| field[0].as_str().unwrap())
        .collect();
    let mut seen: Vec<_> = arrived.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    seen.sort_unstable();
    assert_eq!(names, seen);
    for field in fields {
        let (name, value) = (field[0].as_str().unwrap(), field[1].as_str().unwrap());
        match name {
            "x-key" | "authorization" => assert_eq!(value, "(a secret)"),
            "host" | "x-tenant" => assert_eq!(value, arrived.header(name)),
            _ => {}
        }
    }
    // Neither shows a secret, and one who asks from elsewhere is told so.
    for arguments in [
        &["explain", "GET", url][..],
        &["check"],
        &["check", "--json"],
    ] {
        let said = portcullis(&folder, arguments).expect(0);
        assert!(
            !said.stdout.contains("qL0T9x") && !said.stdout.contains("YTpi"),
            "{}",
            said.stdout
        );
    }
    let elsewhere =
        portcullis(&folder, &["explain", "--from", "203.0.113.9", "GET", url]).expect(1);
    assert!(
        elsewhere.stdout.contains("address_not_admitted"),
        "{}",
        elsewhere.stdout
    );
    assert!(
        elsewhere.stdout.contains("from      203.0.113.9\n"),
        "{}",
        elsewhere.stdout
    );
}
