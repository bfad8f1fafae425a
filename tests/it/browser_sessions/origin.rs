//! A cookie comes along with whatever a page makes the browser send: what it then does for whom.

use reqwest::Method;
use serde_json::json;
use tokio_tungstenite::tungstenite::Error;

use crate::browser_sessions::alice;
use crate::browser_sessions::guarded;
use crate::browser_sessions::routes;
use crate::harness::caller::Answer;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Gateway;
use crate::harness::tab::SESSION;
use crate::harness::tab::Tab;
use crate::harness::upstream::Upstream;
use crate::websockets::App;
use crate::websockets::assert_alive;
use crate::websockets::assert_ended;
use crate::websockets::open;

const SPA: &str = "https://spa.example.com";
const EVIL: &str = "https://evil.example.com";

type Headers<'a> = Vec<(&'static str, &'a str)>;

/// What a page of the same origin, or a person's own hand, has a browser say.
fn of_own_pages(origin: &str) -> Vec<Headers<'_>> {
    vec![
        vec![("origin", origin)],
        vec![("origin", origin), ("sec-fetch-site", "same-origin")],
        vec![("sec-fetch-site", "same-origin")],
        vec![("sec-fetch-site", "none")],
    ]
}

/// What everybody else says, or leaves out.
fn of_others<'a>(
    http: &'a str,
    other_port: &'a str,
    longer: &'a str,
    slash: &'a str,
) -> Vec<Headers<'a>> {
    vec![
        vec![],
        vec![("origin", EVIL)],
        vec![("origin", "null")],
        vec![("origin", "")],
        vec![("origin", "https://localhost")],
        vec![("origin", "https://sub.localhost")],
        vec![("origin", http)],
        vec![("origin", other_port)],
        vec![("origin", longer)],
        vec![("origin", slash)],
        vec![("origin", EVIL), ("sec-fetch-site", "same-origin")],
        vec![("origin", "null"), ("sec-fetch-site", "none")],
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site")],
        vec![("sec-fetch-site", "Same-Origin")],
        vec![("referer", "https://localhost/")],
    ]
}

async fn ask(tab: &Tab, method: &str, path: &str, headers: &Headers<'_>) -> Answer {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = tab.request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request).await
}

// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn what_may_do_harm_passes_for_pages_of_the_same_origin_alone() {
    let (gateway, app) = guarded().await;
    let plain = alice(&gateway).await;
    let http2 = plain.with(gateway.anonymous_http2());
    for tab in [&plain, &http2] {
        let origin = tab.origin();
        let http = origin.replace("https", "http");
        let (other_port, longer, slash) = (
            "https://localhost:1",
            format!("{origin}0"),
            format!("{origin}/"),
        );
        for headers in of_own_pages(&origin) {
            for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "GET"] {
                ask(tab, method, "/app", &headers).await.expect(200);
                assert_eq!(app.only().header("x-auth-user"), "alice");
            }
        }
        for headers in of_others(&http, other_port, &longer, &slash) {
            for path in ["/app", "/optional", "/forward"] {
                for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"] {
                    let answer = ask(tab, method, path, &headers).await;
                    assert_eq!(answer.header("set-cookie"), "");
                    answer.expect_problem(403, "cross_site");
                }
            }
            app.assert_untouched();
            // What is only read does no harm, and a link from elsewhere is a link.
            ask(tab, "GET", "/app", &headers).await.expect(200);
            assert_eq!(app.only().header("x-auth-user"), "alice");
            // Where nobody is known there is nothing to be protected.
            ask(tab, "POST", "/open", &headers).await.expect(200);
            assert_eq!(app.only().header("x-auth-user"), "");
        }
    }
    let dead = Tab::new(gateway.anonymous());
    dead.put(SESSION, "forged");
    ask(&dead, "POST", "/optional", &vec![("origin", EVIL)])
        .await
        .expect(200);
    assert_eq!(app.only().header("x-auth-user"), "");
}

// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn two_origins_are_none() {
    let (gateway, app) = guarded().await;
    let tab = alice(&gateway).await;
    let origin = tab.origin();
    for pair in [
        [&*origin, EVIL],
        [EVIL, &*origin],
        [&*origin, &*origin],
        [SPA, SPA],
    ] {
        let headers = pair.map(|origin| ("origin", origin)).to_vec();
        for path in ["/app", "/cors"] {
            let answer = ask(&tab, "POST", path, &headers).await;
            answer.expect_problem(403, "cross_site");
        }
    }
    app.assert_untouched();
}

// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_a_route_admits_with_cookies_is_as_good() {
    let (gateway, app) = guarded().await;
    let tab = alice(&gateway).await;
    let spa = vec![("origin", SPA), ("sec-fetch-site", "same-site")];
    let answer = ask(&tab, "POST", "/cors", &spa).await.expect(200);
    assert_eq!(app.only().header("x-auth-user"), "alice");
    assert_eq!(answer.header("access-control-allow-origin"), SPA);
    assert_eq!(answer.header("access-control-allow-credentials"), "true");
    for (path, headers) in [
        ("/cors", vec![("origin", EVIL)]),
        ("/cors", vec![("origin", "https://SPA.example.com")]),
        ("/cors/without", spa.clone()),
        ("/app", spa.clone()),
    ] {
        let answer = ask(&tab, "POST", path, &headers).await;
        answer.expect_problem(403, "cross_site");
    }
    app.assert_untouched();
}

// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn our_own_endpoints_are_no_exception() {
    let (gateway, _) = guarded().await;
    let tab = alice(&gateway).await;
    let origin = tab.origin();
    let id = tab.get("/auth/me").await.expect(200).json()["session"].clone();
    let ended = format!("/auth/sessions/{}", id.as_str().unwrap());
    let (http, slash) = (origin.replace("https", "http"), format!("{origin}/"));
    for headers in of_others(&http, "https://localhost:1", EVIL, &slash) {
        for (method, path) in [("POST", "/auth/logout"), ("DELETE", &*ended)] {
            let answer = ask(&tab, method, path, &headers).await;
            assert_eq!(answer.header("set-cookie"), "");
            answer.expect_problem(403, "cross_site");
        }
        ask(&tab, "GET", "/auth/me", &headers).await.expect(200);
    }
    // No page of somebody else signs anybody in; a program that is no browser may.
    let body = json!({ "username": "alice", "password": PASSWORD, "session": "cookie" });
    let fresh = Tab::new(gateway.anonymous());
    let login = |headers: &[(&str, &str)]| {
        let mut request = fresh.request(Method::POST, "/auth/login").json(&body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request)
    };
    for headers in [
        [("origin", EVIL)],
        [("origin", "null")],
        [("sec-fetch-site", "same-site")],
    ] {
        let answer = login(&headers).await;
        assert_eq!(answer.header("set-cookie"), "");
        answer.expect_problem(403, "cross_site");
    }
    login(&[]).await.expect(204);
    login(&[("origin", &origin)]).await.expect(204);
    tab.get("/app").await.expect(200);
}

// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_opens_for_pages_of_the_same_origin_alone() {
    let app = App::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let tab = alice(&gateway).await;
    let value = tab.cookie(SESSION).unwrap();
    let cookie = format!("a=1; {SESSION}={value}");
    let cookie = ("cookie", &*cookie);
    for (path, origin) in [
        ("/app", "https://localhost"),
        ("/cors", SPA),
        ("/forward", "https://localhost"),
    ] {
        let headers = [cookie, ("origin", origin)];
        let (opened, (said, server)) = tokio::join!(open(&gateway, path, &headers), app.accept());
        let (mut client, mut server) = (opened.unwrap().0, server);
        assert_eq!(said["x-auth-user"], "alice");
        assert_eq!(said["cookie"], "a=1");
        assert_alive(&mut client, &mut server).await;
        drop(client);
    }
    let untouched = Upstream::start().await;
    let strict = Gateway::start(&routes(&untouched.url()));
    let value = alice(&strict).await.cookie(SESSION).unwrap();
    let value = format!("{SESSION}={value}");
    for (path, origin) in [
        ("/app", Some(EVIL)),
        ("/app", Some("null")),
        ("/app", Some("http://localhost")),
        ("/app", None),
        ("/app", Some(SPA)),
        ("/optional", Some(EVIL)),
        ("/cors", Some(EVIL)),
        ("/cors/without", Some(SPA)),
        ("/forward", Some(EVIL)),
    ] {
        let mut headers = vec![("cookie", &*value)];
        headers.extend(origin.map(|origin| ("origin", origin)));
        let refused = open(&strict, path, &headers).await.unwrap_err();
        let Error::Http(response) = refused else {
            panic!("{path}, {origin:?}: {refused:?}");
        };
        assert_eq!(response.status(), 403, "{path}, {origin:?}");
    }
    untouched.assert_untouched();

    // Once open it ends with the session.
    let headers = [cookie, ("origin", "https://localhost")];
    let (opened, (_, server)) = tokio::join!(open(&gateway, "/app", &headers), app.accept());
    tab.post("/auth/logout", &json!({})).await.expect(204);
    assert_ended(opened.unwrap().0, server).await;
}
