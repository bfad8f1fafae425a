//! An open route for everything beside a guarded one: there is no spelling, method, host or protocol
//! by which a request for the guarded app is taken for one that is open.

use reqwest::Method;

use crate::harness::caller::Answer;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

/// The open app must never see a request that any app could read as one for `/admin`.
async fn open_beside_guarded(open_allows: &str) -> (Gateway, Upstream) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.open]
        path = "/"
        auth = "none"
        path_allow = [{open_allows}]
        upstream = "{0}"
        [routes.admin]
        path = "/admin"
        upstream = "{0}"
        [routes.read]
        path = "/read"
        methods = ["GET"]
        upstream = "{0}"
        "#,
        app.url()
    ));
    (gateway, app)
}

const SPELLINGS: [&str; 35] = [
    "/admin",
    "/admin/",
    "/admin?x",
    "/admin/x",
    "/%61dmin",
    "/admi%6E",
    "/%61%64%6d%69%6e",
    "/ADMIN",
    "/Admin/x",
    "/%41dmin",
    "/admin;",
    "/admin;x=1/y",
    "/;/admin",
    "/admin%3b",
    "//admin",
    "/admin//",
    "///admin/x",
    "/./admin",
    "/x/../admin",
    "/x/%2e%2e/admin",
    "/x/..;/admin",
    "/x/%2e%2e;y/admin",
    "/%2e/admin",
    "/x%2f..%2fadmin",
    "/x/..%5cadmin",
    "/%2fadmin",
    "/%5cadmin",
    "/%252fadmin",
    "/%2561dmin",
    "/x/%252e%252e/admin",
    "/admin%00",
    "/admin%0a",
    "/admin%2f",
    "/admin%c0%af",
    "/%ef%bc%8fadmin%ff",
];

// SECURITY 6 and 7
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_leads_around_the_guarded_route() {
    for open_allows in [
        "",
        "\"double_slash\", \"encoded_slash\", \"semicolon\", \"double_encoding\"",
    ] {
        let (gateway, app) = open_beside_guarded(open_allows).await;
        for method in [
            "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "get",
        ] {
            for path in SPELLINGS {
                let what = format!("{method} {path} ({open_allows})");
                let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
                let mut raw = gateway.raw().await;
                raw.send(request).await;
                let status = raw.head().await.status();
                assert!(matches!(status, 400 | 401), "{what}: {status}");
                app.assert_untouched();
            }
        }
    }
}

// SECURITY 6
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_leads_around_it_over_http2_either() {
    let (gateway, app) = open_beside_guarded("").await;
    let caller = gateway.anonymous_http2();
    for path in SPELLINGS {
        // What the client itself would resolve is tried over a bare connection above.
        if path.contains("..") || path.contains("/./") || path.contains("%2e") {
            continue;
        }
        let answer = caller.get(path).await;
        assert!(matches!(answer.status, 400 | 401), "{path}: {answer:?}");
        app.assert_untouched();
    }
}

// SECURITY 6
#[tokio::test(flavor = "multi_thread")]
async fn another_case_is_refused_and_the_refusal_names_the_key() {
    let (gateway, app) = open_beside_guarded("").await;
    let caller = gateway.anonymous();
    let refused = caller.get("/ADMIN").await;
    assert!(
        refused.text().contains("path_allow = [\\\"case\\\"]"),
        "{}",
        refused.text()
    );
    refused.expect_problem(400, "path_refused");
    app.assert_untouched();
    // Letters that lead nowhere else are nobody's concern.
    for path in ["/Administrators", "/a/ADMIN", "/README.md"] {
        caller.get(path).await.expect(200);
        assert_eq!(app.only().target, path);
    }

    let (gateway, app) = open_beside_guarded("\"case\"").await;
    gateway.anonymous().get("/ADMIN").await.expect(200);
    assert_eq!(app.only().target, "/ADMIN");
}

// SECURITY 7
#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_the_narrow_route_does_not_serve_does_not_fall_to_the_wide_one() {
    let (gateway, app) = open_beside_guarded("").await;
    let caller = gateway.signed_in("alice").await;
    for method in [Method::POST, Method::PUT, Method::OPTIONS, Method::DELETE] {
        let answer = Answer::of(caller.request(method.clone(), "/read/x")).await;
        assert_eq!(answer.header("allow"), "GET, HEAD", "{method}");
        answer.expect_problem(405, "method_not_allowed");
    }
    app.assert_untouched();
}
