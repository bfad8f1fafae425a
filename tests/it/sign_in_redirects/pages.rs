//! What the gate refuses, it tells people on a page and programs in JSON.

use reqwest::Method;

use super::NAVIGATION;
use super::ask;
use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::RawUpstream;

const ROUTES: &str = r#"
    [limits]
    per_address = "off"
    [routes.app]
    path = "/app"
    on_unauthenticated = "401"
    upstream = "echo"
    [routes.editors]
    path = "/editors"
    roles = ["editor"]
    upstream = "echo"
    [routes.read]
    path = "/read"
    methods = ["GET"]
    auth = "none"
    upstream = "echo"
    [routes.small]
    path = "/small"
    auth = "none"
    max_body = "16B"
    upstream = "echo"
    [routes.few]
    path = "/few"
    auth = "none"
    limits = [{ by = "route", rate = "2 per hour" }]
    upstream = "echo"
    [routes.away]
    path = "/away"
    auth = "none"
    upstream = "http://127.0.0.1:1"
    [routes.broken]
    path = "/broken"
    auth = "none"
    upstream = "http://127.0.0.1:1"
"#;

/// The same refusal, once for a person and once for a program.
async fn check(caller: &Caller, method: Method, path: &str, status: u16, code: &str) {
    let page = ask(caller, &method, path, &NAVIGATION).await;
    let told = ask(caller, &method, path, &[("accept", "*/*")]).await;
    for name in [
        "www-authenticate",
        "allow",
        "connection",
        "ratelimit-policy",
    ] {
        assert_eq!(page.header(name), told.header(name), "{path}: {name}");
    }
    assert_eq!(
        page.header("retry-after").is_empty(),
        told.header("retry-after").is_empty()
    );
    let told = told.expect_problem(status, code);
    let page = page.expect_page(status, code);
    assert_page(&page);
    if code == "unauthenticated" {
        // A person has no token to send, but may sign in.
        let link = "href=\"https://localhost/auth/login\"";
        assert!(page.text().contains(link), "{}", page.text());
        return;
    }
    let detail = told.json()["detail"].as_str().unwrap().to_owned();
    let start: String = detail
        .chars()
        .take_while(|it| *it != '\'' && *it != '"')
        .collect();
    assert!(page.text().contains(&start), "{start}: {}", page.text());
}

/// It has our look, our rules, and what an operator finds it by.
#[track_caller]
fn assert_page(page: &Answer) {
    assert!(page.text().contains(page.header("x-request-id")));
    assert!(page.text().contains("/auth/assets/"));
    assert_eq!(page.header("cache-control"), "no-store");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'none'"));
}

// SECURITY 46
#[tokio::test(flavor = "multi_thread")]
async fn what_the_gate_refuses_is_a_page_for_people_and_a_problem_for_programs() {
    let gateway = Gateway::start(ROUTES);
    let alice = gateway.signed_in("alice").await;
    let nobody = gateway.anonymous();
    check(&nobody, Method::GET, "/nothing/here", 404, "no_route").await;
    check(&nobody, Method::POST, "/nothing/here", 404, "no_route").await;
    check(&nobody, Method::GET, "/app/%00x", 400, "path_refused").await;
    check(&nobody, Method::GET, "/app/a%2fx", 400, "path_refused").await;
    check(&nobody, Method::GET, "/app", 401, "unauthenticated").await;
    check(&nobody, Method::POST, "/editors", 401, "unauthenticated").await;
    check(
        &nobody.with_token("x"),
        Method::GET,
        "/app",
        401,
        "invalid_token",
    )
    .await;
    check(&alice, Method::GET, "/editors", 403, "insufficient_role").await;
    check(&nobody, Method::POST, "/read", 405, "method_not_allowed").await;
    check(&nobody, Method::GET, "/away", 502, "upstream_unreachable").await;
    let few = Method::GET;
    for _ in 0..2 {
        ask(&nobody, &few, "/few", &NAVIGATION).await.expect(200);
    }
    check(&nobody, Method::GET, "/few", 429, "limited").await;

    let body = "a".repeat(17);
    let request = nobody.request(Method::POST, "/small").body(body);
    let request = request.header("sec-fetch-mode", "navigate");
    assert_page(&Answer::of(request).await.expect_page(413, "body_too_large"));

    // Of HEAD only the header, and that of the page.
    let head = ask(&nobody, &Method::HEAD, "/nothing", &NAVIGATION)
        .await
        .expect(404);
    assert_eq!(head.header("content-type"), "text/html; charset=utf-8");
    assert!(head.body.is_empty());
}

// SECURITY 46
#[tokio::test(flavor = "multi_thread")]
async fn our_own_endpoints_refuse_people_on_a_page_as_well() {
    let gateway = Gateway::start(ROUTES);
    for nobody in [gateway.anonymous(), gateway.anonymous_http2()] {
        for (method, path, status, code) in [
            (Method::GET, "/auth", 404, "no_endpoint"),
            (Method::GET, "/auth/nothing/here", 404, "no_endpoint"),
            (Method::POST, "/auth/nothing/here", 404, "no_endpoint"),
            (Method::GET, "/auth/assets/nothing.css", 404, "no_endpoint"),
            (Method::GET, "/auth/verify", 404, "no_endpoint"),
            (Method::PUT, "/auth/login", 405, "method_not_allowed"),
            (Method::GET, "/auth/refresh", 405, "method_not_allowed"),
            (Method::GET, "/auth/oauth/token", 405, "method_not_allowed"),
            (Method::GET, "/auth/me", 401, "unauthenticated"),
        ] {
            check(&nobody, method, path, status, code).await;
        }
        let head = ask(&nobody, &Method::HEAD, "/auth/nothing", &NAVIGATION).await;
        let head = head.expect(404);
        assert_eq!(head.header("content-type"), "text/html; charset=utf-8");
        assert!(head.body.is_empty());
    }
    // At every host.
    let elsewhere = gateway.anonymous().at("127.0.0.1");
    check(&elsewhere, Method::GET, "/auth/x", 404, "no_endpoint").await;
    let dead = [NAVIGATION[0], ("cookie", "__Host-portcullis=dead")];
    let answer = ask(&gateway.anonymous(), &Method::GET, "/auth/me", &dead).await;
    assert!(
        answer
            .header("set-cookie")
            .starts_with("__Host-portcullis=; Max-Age=0")
    );
    answer.expect_page(401, "unauthenticated");
    // What a program posts is answered as to a program, whatever it says that it accepts.
    let body = serde_json::json!({ "username": "alice", "password": "x" });
    let login = gateway.anonymous().request(Method::POST, "/auth/login");
    let login = login.header("accept", "text/html, */*").json(&body);
    Answer::of(login)
        .await
        .expect_problem(401, "bad_credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_fails_is_told_of_on_a_page() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&ROUTES.replace(
        "path = \"/broken\"\n    auth = \"none\"\n    upstream = \"http://127.0.0.1:1\"",
        &format!(
            "path = \"/broken\"\n    auth = \"none\"\n    upstream = \"{}\"",
            app.url()
        ),
    ));
    let caller = gateway.anonymous();
    let asking = ask(&caller, &Method::GET, "/broken", &NAVIGATION);
    let failing = async {
        let mut connection = app.accept().await;
        connection.until(b"\r\n\r\n").await;
        connection.send("nonsense\r\n\r\n").await;
    };
    let (answer, ()) = tokio::join!(asking, failing);
    assert_page(&answer.expect_page(502, "upstream_invalid"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_answers_stays_as_it_is() {
    let gateway = Gateway::start(ROUTES);
    let answer = ask(&gateway.anonymous(), &Method::GET, "/read", &NAVIGATION)
        .await
        .expect(200);
    assert_eq!(answer.header("content-security-policy"), "");
    answer.json();
    // A script of a page reads problems.
    let script = [("sec-fetch-mode", "cors"), ("accept", "text/html")];
    let answer = ask(&gateway.anonymous(), &Method::GET, "/nothing", &script).await;
    answer.expect_problem(404, "no_route");
}
