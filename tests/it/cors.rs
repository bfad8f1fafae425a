//! Which origins may read answers, in a browser's own words.

use reqwest::Method;

use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

const SPA: &str = "https://spa.example.com";
const EVIL: &str = "https://evil.example.com";

async fn guarded() -> (Gateway, Upstream) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [gateway]
        cors_origins = ["{SPA}"]
        [routes.app]
        path = "/app"
        methods = ["GET", "PUT"]
        cors = {{ origins = ["{SPA}"], credentials = true }}
        upstream = "{0}"
        [routes.any]
        path = "/any"
        auth = "none"
        cors = {{ origins = ["*"] }}
        upstream = "{0}"
        [routes.without]
        path = "/without"
        auth = "none"
        methods = ["GET"]
        upstream = "{0}"
        "#,
        app.url()
    ));
    (gateway, app)
}

async fn preflight(caller: &Caller, path: &str, origin: &str, method: &str) -> Answer {
    let request = caller
        .request(Method::OPTIONS, path)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", "authorization, x-mine");
    Answer::of(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_answered_here() {
    let (gateway, app) = guarded().await;
    let caller = gateway.anonymous();
    let answer = preflight(&caller, "/app", SPA, "PUT").await.expect(204);
    assert_eq!(answer.header("access-control-allow-origin"), SPA);
    assert_eq!(answer.header("access-control-allow-credentials"), "true");
    assert!(
        answer
            .header("access-control-allow-methods")
            .contains("PUT")
    );
    assert_eq!(
        answer.header("access-control-allow-headers"),
        "authorization, x-mine"
    );
    assert_eq!(answer.header("vary"), "Origin");
    let answer = preflight(&caller, "/any", EVIL, "GET").await.expect(204);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let answer = preflight(&caller, "/auth/login", SPA, "POST")
        .await
        .expect(204);
    assert_eq!(answer.header("access-control-allow-origin"), SPA);
    let answer = preflight(&caller, "/auth/sessions/x", SPA, "DELETE");
    let answer = answer.await.expect(204);
    let methods = answer.header("access-control-allow-methods");
    assert_eq!(methods, "GET, POST, DELETE");

    let refused = preflight(&caller, "/app", EVIL, "PUT").await;
    assert_eq!(refused.header("access-control-allow-origin"), "");
    refused.expect_problem(403, "origin_refused");
    preflight(&caller, "/app", SPA, "DELETE").await.expect(405);
    preflight(&caller, "/without", SPA, "GET").await.expect(405);
    let refused = preflight(&caller, "/auth/login", EVIL, "POST").await;
    assert_eq!(refused.header("access-control-allow-origin"), "");
    assert_ne!(refused.status, 204);
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_refusals_say_who_may_read_them() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let answer = alice.get_with("/app", &[("origin", SPA)]).await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), SPA);
    assert_eq!(app.only().header("origin"), SPA);

    let refused = gateway
        .anonymous()
        .get_with("/app", &[("origin", SPA)])
        .await
        .expect(401);
    assert_eq!(refused.header("access-control-allow-origin"), SPA);
    assert!(
        refused
            .header("access-control-expose-headers")
            .contains("WWW-Authenticate")
    );
    let refused = alice
        .get_with("/auth/refresh", &[("origin", SPA)])
        .await
        .expect(405);
    assert_eq!(refused.header("access-control-allow-origin"), SPA);

    for origin in [
        EVIL,
        "https://spa.example.com.evil.example.com",
        "http://spa.example.com",
        "null",
    ] {
        let refused = gateway
            .anonymous()
            .get_with("/app", &[("origin", origin)])
            .await
            .expect(401);
        assert_eq!(
            refused.header("access-control-allow-origin"),
            "",
            "{origin}"
        );
    }
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_does_not_widen_what_its_route_allows() {
    let app = Upstream::answering(|_| {
        http::Response::builder()
            .header("access-control-allow-origin", "*")
            .header("access-control-allow-credentials", "true")
            .body("ok".into())
            .unwrap()
    })
    .await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.app]
        path = "/app"
        auth = "none"
        cors = {{ origins = ["{SPA}"] }}
        upstream = "{}"
        "#,
        app.url()
    ));
    let answer = gateway
        .anonymous()
        .get_with("/app", &[("origin", SPA)])
        .await
        .expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), SPA);
    assert_eq!(answer.header("access-control-allow-credentials"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_come_before_the_route_can_be_read_too() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [limits]
        per_address = "2 per hour"
        [routes.app]
        path = "/app"
        methods = ["GET"]
        cors = {{ origins = ["{SPA}"] }}
        upstream = "{}"
        "#,
        app.url()
    ));
    let ask = async |method| {
        let request = gateway.anonymous().request(method, "/app");
        Answer::of(request.header("origin", SPA)).await
    };
    for (method, status) in [
        (Method::GET, 401),
        (Method::DELETE, 405),
        (Method::GET, 429),
    ] {
        let answer = ask(method).await.expect(status);
        assert_eq!(answer.header("access-control-allow-origin"), SPA);
    }
    let evil = gateway.anonymous().request(Method::GET, "/app");
    let evil = Answer::of(evil.header("origin", EVIL)).await.expect(429);
    assert_eq!(evil.header("access-control-allow-origin"), "");
    assert_eq!(evil.header("vary"), "Origin");
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_app_exposes_stays_exposed() {
    let app = Upstream::answering(|_| {
        http::Response::builder()
            .header("access-control-expose-headers", "X-Total-Count")
            .header("access-control-allow-origin", EVIL)
            .body("ok".into())
            .unwrap()
    })
    .await;
    let gateway = Gateway::start(&format!(
        "[routes.any]\npath = \"/any\"\nauth = \"none\"\ncors = {{ origins = [\"{SPA}\"] }}\nupstream = \"{}\"",
        app.url()
    ));
    let request = gateway.anonymous().request(Method::GET, "/any");
    let answer = Answer::of(request.header("origin", SPA)).await.expect(200);
    let exposed = answer.headers.get_all("access-control-expose-headers");
    let exposed: Vec<_> = exposed
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    assert!(
        exposed.contains(&"X-Total-Count") && exposed.len() == 2,
        "{exposed:?}"
    );
    assert_eq!(answer.header("access-control-allow-origin"), SPA);
}
