//! Sessions of browsers, by cookie: whom it makes known, to whom, and when it is worth nothing any more.

mod ends;
mod origin;

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::caller::Answer;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Gateway;
use crate::harness::http2::Http2;
use crate::harness::http2::Outcome;
use crate::harness::tab::SESSION;
use crate::harness::tab::Tab;
use crate::harness::upstream::Recorded;
use crate::harness::upstream::Upstream;

/// What takes the cookie away.
const CLEARED: &str = "__Host-portcullis=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax";

fn routes(url: &str) -> String {
    format!(
        r#"
        [sessions]
        idle = "10m"
        max = "1h"
        [routes.app]
        path = "/app"
        upstream = "{url}"
        [routes.optional]
        path = "/optional"
        auth = "optional"
        upstream = "{url}"
        [routes.open]
        path = "/open"
        auth = "none"
        upstream = "{url}"
        [routes.forward]
        path = "/forward"
        authorization = "forward"
        upstream = "{url}"
        [routes.cors]
        path = "/cors"
        auth = "optional"
        cors = {{ origins = ["https://spa.example.com"], credentials = true }}
        upstream = "{url}"
        [routes.cors_without]
        path = "/cors/without"
        auth = "optional"
        cors = {{ origins = ["https://spa.example.com"] }}
        upstream = "{url}"
        "#
    )
}

async fn guarded() -> (Gateway, Upstream) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    (gateway, app)
}

async fn alice(gateway: &Gateway) -> Tab {
    Tab::signed_in(gateway.anonymous(), "alice").await
}

/// The cookie is worth nothing any more, and is taken away.
#[track_caller]
fn assert_dead(answer: Answer) {
    let answer = answer.expect_problem(401, "unauthenticated");
    assert_eq!(answer.header("set-cookie"), CLEARED);
    assert_eq!(answer.header("cache-control"), "no-store");
}

// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_asks_for_a_cookie_gets_one_and_a_new_one_each_time() {
    let (gateway, app) = guarded().await;
    let caller = gateway.anonymous();
    caller.register("alice").await;
    let tab = Tab::new(caller);
    let wrong = json!({ "username": "alice", "password": "x", "session": "cookie" });
    let refused = tab.post("/auth/login", &wrong).await;
    assert_eq!(refused.header("set-cookie"), "");
    refused.expect_problem(401, "bad_credentials");

    let answer = tab.sign_in("alice").await.expect(204);
    assert!(answer.body.is_empty());
    assert_eq!(answer.header("cache-control"), "no-store");
    let first = tab.cookie(SESSION).unwrap();
    assert_eq!(first.len(), 43);
    assert_eq!(
        answer.header("set-cookie"),
        format!("{SESSION}={first}; Max-Age=3600; Path=/; Secure; HttpOnly; SameSite=Lax")
    );
    tab.get("/app").await.expect(200);
    app.only();

    // A wrong password ends nothing.
    tab.post("/auth/login", &wrong).await.expect(401);
    tab.get("/app").await.expect(200);
    app.only();
    // Another one may sign in where the first has not signed out.
    tab.sign_in("alice").await.expect(204);
    assert_ne!(tab.cookie(SESSION).unwrap(), first);
    tab.get("/app").await.expect(200);
    app.only();
    let old = Tab::new(gateway.anonymous());
    old.put(SESSION, &first);
    assert_dead(old.get("/app").await);
    assert_eq!(old.cookie(SESSION), None);
    app.assert_untouched();

    let other = json!({ "username": "alice", "password": PASSWORD, "session": "token" });
    let refused = tab.post("/auth/login", &other).await;
    refused.expect_problem(422, "unexpected_json");
}

// SECURITY 17 and 58
#[tokio::test(flavor = "multi_thread")]
async fn the_app_learns_who_it_is_and_never_sees_the_cookie() {
    let (gateway, app) = guarded().await;
    let tab = alice(&gateway).await;
    let session = tab.get("/auth/me").await.expect(200).json()["session"].clone();
    let value = tab.cookie(SESSION).unwrap();
    let others = [" a=\"1, 2\";b=", "  c==; d=e f;__Host-portcullis2=y;é"];
    let mut raw = gateway.raw().await;
    for (path, is_known) in [("/app", true), ("/optional", true), ("/open", false)] {
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n").into_bytes();
        let cookie = format!(
            "Cookie:{};{SESSION}={value};{}\r\n\r\n",
            others[0], others[1]
        );
        request.extend(cookie.as_bytes());
        assert_eq!(raw.ask(request).await.status(), 200);
        let seen = app.only();
        let cookies: Vec<_> = seen.headers.get_all("cookie").iter().collect();
        assert_eq!(
            cookies,
            [format!("{};{}", others[0], others[1]).trim()],
            "{path}"
        );
        let who = if is_known { "alice" } else { "" };
        assert_eq!(seen.header("x-auth-user"), who, "{path}");
        assert!(!format!("{seen:?}").contains(&value), "{path}");
    }
    let answer = tab.get("/app").await.expect(200);
    assert_eq!(answer.header("set-cookie"), "");
    // A cache in front knows nothing of cookies.
    assert_eq!(answer.header("cache-control"), "private");
    let seen = app.only();
    assert!(!seen.headers.contains_key("cookie"));
    assert_eq!(seen.header("x-auth-session"), session.as_str().unwrap());
    assert_eq!(seen.header("x-auth-method"), "pwd");
    assert_eq!(seen.header("x-auth-scopes"), "notes:read notes:write");
    assert!(!seen.header("x-auth-assertion").is_empty());
    let line = gateway.log_line(answer.header("x-request-id")).await;
    assert_eq!(line["session"], session);
    assert!(!gateway.log_text().contains(&value));
}

// SECURITY 17
#[tokio::test(flavor = "multi_thread")]
async fn over_http2_the_cookie_is_found_in_any_line() {
    let (gateway, app) = guarded().await;
    let value = alice(&gateway).await.cookie(SESSION).unwrap();
    let ours = format!("{SESSION}={value}");
    let mut http2 = Http2::connect(&gateway).await;
    // RFC 9113 §8.2.3: a client may split them as it likes, and the app sees them as one.
    for (stream, lines) in [
        (1, ["a=1", &*ours, "b=2"]),
        (3, [&*ours, "a=1; b=2", ""]),
        (5, ["a=1", &*format!("b=2; {ours}"), ""]),
    ] {
        let mut fields = vec![
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", "/app"),
        ];
        fields.extend(
            lines
                .iter()
                .filter(|line| !line.is_empty())
                .map(|line| ("cookie", *line)),
        );
        assert_eq!(http2.ask(stream, &fields).await, Outcome::answered(200, ""));
        let seen = app.only();
        assert_eq!(seen.header("x-auth-user"), "alice");
        assert_eq!(seen.header("cookie"), "a=1; b=2");
    }
}

// SECURITY 17
#[tokio::test(flavor = "multi_thread")]
async fn an_app_can_neither_give_nor_take_the_cookie() {
    let answer = |_: &Recorded| {
        let mut response = Response::new(Full::<Bytes>::from("ok"));
        for cookie in [
            "__Host-portcullis=forged; Path=/; Secure",
            "own=1; Path=/",
            "__Host-portcullis=; Max-Age=0; Path=/; Secure",
            "=__Host-portcullis=forged",
            " __HOST-portcullis = forged",
        ] {
            response
                .headers_mut()
                .append("set-cookie", cookie.parse().unwrap());
        }
        response
    };
    let app = Upstream::answering(answer).await;
    let gateway = Gateway::start(&routes(&app.url()));
    let tab = alice(&gateway).await;
    for path in ["/app", "/optional", "/open"] {
        let answer = tab.get(path).await.expect(200);
        assert_eq!(answer.header("set-cookie"), "own=1; Path=/", "{path}");
    }
    // What the gateway says itself stands beside what the app says.
    tab.put(SESSION, "forged");
    let answer = tab.get("/optional").await.expect(200);
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["own=1; Path=/", CLEARED]);
}

// SECURITY 23
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_living_cookie_of_this_host_counts_as_absent_and_is_cleared() {
    let (gateway, app) = guarded().await;
    let good = alice(&gateway).await.cookie(SESSION).unwrap();
    let foreign = {
        let caller = gateway.anonymous();
        let body = json!({ "username": "alice", "password": PASSWORD, "session": "cookie" });
        let login = caller.request(Method::POST, "/auth/login").json(&body);
        let answer = Answer::of(login.header("host", "other.example.com"))
            .await
            .expect(204);
        let cookie = answer.header("set-cookie");
        cookie[SESSION.len() + 1..][..43].to_owned()
    };
    let ended = {
        let tab = alice(&gateway).await;
        let ended = tab.cookie(SESSION).unwrap();
        tab.post("/auth/logout", &json!({})).await.expect(204);
        ended
    };
    let mut flipped = good.clone().into_bytes();
    flipped[20] = if flipped[20] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    for (what, cookie) in [
        ("forged", format!("{SESSION}=forged")),
        ("empty", format!("{SESSION}=")),
        ("bare", SESSION.to_owned()),
        ("cut", format!("{SESSION}={}", &good[..42])),
        ("longer", format!("{SESSION}={good}A")),
        ("padded", format!("{SESSION}={good}=")),
        ("quoted", format!("{SESSION}=\"{good}\"")),
        ("flipped", format!("{SESSION}={flipped}")),
        ("of another host", format!("{SESSION}={foreign}")),
        ("of a session that has ended", format!("{SESSION}={ended}")),
        (
            "one of two",
            format!("{SESSION}={good}; {SESSION}={foreign}"),
        ),
        (
            "one of two that are the same",
            format!("{SESSION}={good}; {SESSION}={good}"),
        ),
    ] {
        let ask = async |path: &str| {
            let anybody = gateway.anonymous();
            let answer = anybody.get_with(path, &[("cookie", &cookie)]).await;
            let cleared = if path == "/open" { "" } else { CLEARED };
            assert_eq!(answer.header("set-cookie"), cleared, "{what}, {path}");
            answer
        };
        assert_dead(ask("/app").await);
        assert_dead(ask("/forward").await);
        assert_dead(ask("/auth/me").await);
        app.assert_untouched();
        for path in ["/optional", "/open"] {
            ask(path).await.expect(200);
            let seen = app.only();
            assert_eq!(seen.header("x-auth-user"), "", "{what}");
            assert!(!seen.headers.contains_key("cookie"), "{what}");
        }
    }
    // And the good one is good, there and here.
    let tab = Tab::new(gateway.anonymous());
    tab.put(SESSION, &good);
    tab.get("/app").await.expect(200);
    assert_eq!(app.only().header("x-auth-user"), "alice");
    let request = gateway.anonymous().request(Method::GET, "/app");
    let request = request.header("host", "Other.Example.com.:1");
    Answer::of(request.header("cookie", format!("{SESSION}={foreign}")))
        .await
        .expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_beats_the_cookie() {
    let (gateway, app) = guarded().await;
    let tab = alice(&gateway).await;
    let bob = gateway.signed_in("bob").await;
    for path in ["/app", "/optional"] {
        let request = tab.request(Method::GET, path).bearer_auth(bob.token());
        tab.send(request).await.expect(200);
        assert_eq!(app.only().header("x-auth-user"), "bob");
        // A bad one is bad, however good the cookie.
        let request = tab.request(Method::GET, path).bearer_auth("x");
        let answer = tab.send(request).await.expect_invalid_token(path);
        assert_eq!(answer.header("set-cookie"), "");
    }
    let me = tab
        .request(Method::GET, "/auth/me")
        .bearer_auth(bob.token());
    assert_eq!(tab.send(me).await.expect(200).json()["username"], "bob");
    app.assert_untouched();
    // Nobody takes a token along by mistake, so that no page has to vouch for it.
    let post = tab.request(Method::POST, "/app").bearer_auth(bob.token());
    tab.send(post.header("origin", "https://evil.example.com"))
        .await
        .expect(200);
    assert_eq!(app.only().header("x-auth-user"), "bob");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_authorization_is_the_apps_own_the_cookie_alone_says_who_calls() {
    let (gateway, app) = guarded().await;
    let tab = alice(&gateway).await;
    let bob = gateway.signed_in("bob").await;
    let own = format!("Bearer {}", bob.token());
    for authorization in ["Basic YTpi", &*own] {
        let request = tab.request(Method::GET, "/forward");
        tab.send(request.header("authorization", authorization))
            .await
            .expect(200);
        let seen = app.only();
        assert_eq!(seen.header("x-auth-user"), "alice");
        assert_eq!(seen.header("authorization"), authorization);
    }
    bob.get("/forward")
        .await
        .expect_problem(401, "unauthenticated");
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_idles_away_unless_it_is_in_use_and_ends_in_any_case() {
    let (mut gateway, app) = guarded().await;
    let minutes = |count: u64| Duration::from_secs(count * 60);
    let idle = alice(&gateway).await;
    idle.get("/app").await.expect(200);
    let never_used = alice(&gateway).await;
    gateway.clock().advance(minutes(10));
    assert_dead(idle.get("/app").await);
    assert_dead(never_used.get("/auth/me").await);

    let mut tab = alice(&gateway).await;
    for turn in 0..9 {
        gateway.clock().advance(minutes(6));
        if turn == 4 {
            gateway.restart();
            tab = tab.with(gateway.anonymous());
        }
        // Whoever is asked, it is in use.
        let path = if turn % 2 == 0 { "/app" } else { "/auth/me" };
        tab.get(path).await.expect(200);
    }
    let served = app.requests().len();
    gateway.clock().advance(minutes(6));
    assert_dead(tab.get("/app").await);
    assert_eq!(app.requests().len(), served);
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_neither_the_living_nor_the_dead() {
    let (mut gateway, app) = guarded().await;
    let living = alice(&gateway).await;
    let dead = alice(&gateway).await;
    let value = dead.cookie(SESSION).unwrap();
    dead.post("/auth/logout", &json!({})).await.expect(204);
    gateway.restart();

    dead.put(SESSION, &value);
    assert_dead(dead.with(gateway.anonymous()).get("/app").await);
    app.assert_untouched();
    // A page that asks for many things at once, none of which is known yet.
    let living = living.with(gateway.anonymous());
    let mut asking = JoinSet::new();
    for _ in 0..50 {
        let living = living.clone();
        asking.spawn(async move { living.get("/app").await });
    }
    for answer in asking.join_all().await {
        answer.expect(200);
    }
    let seen = app.requests();
    assert_eq!(seen.len(), 50);
    assert!(
        seen.iter()
            .all(|seen| seen.header("x-auth-user") == "alice")
    );
}

// SECURITY 50
#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_down_those_that_were_seen_before_go_on() {
    let (gateway, app) = guarded().await;
    let seen = alice(&gateway).await;
    seen.get("/app").await.expect(200);
    let unseen = alice(&gateway).await;
    let ended = alice(&gateway).await;
    let value = ended.cookie(SESSION).unwrap();
    ended.post("/auth/logout", &json!({})).await.expect(204);
    ended.put(SESSION, &value);
    app.only();

    gateway
        .behind_its_back("ALTER TABLE sessions RENAME TO gone")
        .await;
    for path in ["/app", "/optional", "/forward", "/auth/me"] {
        let answer = unseen.get(path).await;
        assert_eq!(answer.header("retry-after"), "5", "{path}");
        assert_eq!(answer.header("set-cookie"), "", "{path}");
        let answer = answer.expect_problem(503, "store_unavailable");
        assert!(!answer.text().contains("sessions"), "{answer:?}");
    }
    // Who it is cannot be said, but it can of these.
    assert_dead(ended.get("/app").await);
    let forged = gateway.anonymous();
    let cookie = format!("{SESSION}=forged");
    assert_dead(forged.get_with("/app", &[("cookie", &cookie)]).await);
    app.assert_untouched();
    for _ in 0..5 {
        seen.get("/app").await.expect(200);
        assert_eq!(app.only().header("x-auth-user"), "alice");
    }
    unseen.get("/open").await.expect(200);
    app.only();
    let answer = seen.sign_in("alice").await;
    assert_eq!(answer.header("set-cookie"), "");
    answer.expect_problem(503, "store_unavailable");
    seen.post("/auth/logout", &json!({}))
        .await
        .expect_problem(503, "store_unavailable");
    seen.get("/app").await.expect(200);
    app.only();

    gateway
        .behind_its_back("ALTER TABLE gone RENAME TO sessions")
        .await;
    unseen.get("/app").await.expect(200);
    seen.post("/auth/logout", &json!({})).await.expect(204);
}
