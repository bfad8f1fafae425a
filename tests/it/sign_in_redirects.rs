//! Who is sent to the sign-in page, and comes back from there; who is not.

mod hosts;
mod pages;
mod tickets;

use reqwest::Method;
use serde_json::json;

use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Gateway;
use crate::harness::person::Person;
use crate::harness::upstream::Upstream;

const SESSION: &str = "__Host-portcullis";
const BINDING: &str = "__Host-portcullis-binding";

/// What browsers send with what they show as a page.
const NAVIGATION: [(&str, &str); 3] = [
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
    ("accept", "text/html,*/*;q=0.8"),
];

fn routes(url: &str) -> String {
    format!(
        r#"
        [routes.app]
        path = "/app"
        path_allow = ["double_slash"]
        upstream = "{url}"
        [routes.forward]
        path = "/forward"
        authorization = "forward"
        upstream = "{url}"
        [routes.redirect]
        path = "/redirect"
        on_unauthenticated = "redirect"
        upstream = "{url}"
        [routes.refuse]
        path = "/refuse"
        on_unauthenticated = "401"
        upstream = "{url}"
        [routes.optional]
        path = "/optional"
        auth = "optional"
        on_unauthenticated = "redirect"
        upstream = "{url}"
        [routes.open]
        path = "/open"
        auth = "none"
        on_unauthenticated = "redirect"
        upstream = "{url}"
        "#
    )
}

/// The sign-in page that leads back to this place.
fn sign_in_page(place: &str) -> String {
    let place: String = url::form_urlencoded::byte_serialize(place.as_bytes()).collect();
    format!("https://localhost/auth/login?return_to={place}")
}

/// Fills in the page.
async fn sign_in_on(person: &Person, page: &Answer, username: &str) -> Answer {
    let filled = [("identifier", username), ("password", PASSWORD)];
    person.submit(&page.form("/auth/login"), &filled).await
}

async fn ask(caller: &Caller, method: &Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = caller.request(method.clone(), path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_goes_to_a_guarded_page_signs_in_and_comes_back() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    gateway.anonymous().register("alice").await;
    let person = Person::new(gateway.anonymous());
    let sent = person.open("/app/notes?page=2&x=%20%26").await.expect(303);
    let place = "https://localhost/app/notes?page=2&x=%20%26";
    assert_eq!(sent.header("location"), sign_in_page(place));
    assert_eq!(sent.header("cache-control"), "no-store");
    assert_eq!(sent.header("set-cookie"), "");
    assert_eq!(sent.header("www-authenticate"), "");
    assert!(sent.body.is_empty());
    app.assert_untouched();

    let line = gateway.log_line(sent.header("x-request-id")).await;
    assert_eq!(line["decision"], "redirect");
    assert_eq!(line["reason"], "no_credential");
    assert_eq!(
        (&line["route"], &line["status"]),
        (&json!("app"), &json!(303))
    );
    let metrics = gateway.ask_admin("/metrics").1;
    assert!(metrics.contains("decision=\"redirect\""), "{metrics}");

    let page = person.follow(sent).await.expect(200);
    let back = sign_in_on(&person, &page, "alice").await.expect(303);
    assert_eq!(back.header("location"), "/app/notes?page=2&x=%20%26");
    person.follow(back).await.expect(200);
    let seen = app.only();
    assert_eq!(seen.target, "/app/notes?page=2&x=%20%26");
    assert_eq!(seen.header("x-auth-user"), "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_browser_that_goes_to_a_page_is_sent_away() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let caller = gateway.anonymous();
    let get = Method::GET;
    let html = ("accept", "text/html");
    let mode = |mode| {
        vec![
            ("sec-fetch-mode", mode),
            ("sec-fetch-dest", "document"),
            html,
        ]
    };
    for sent in [
        NAVIGATION.to_vec(),
        mode("navigate"),
        vec![html],
        vec![("sec-fetch-mode", "navigate")],
    ] {
        for path in ["/app", "/forward", "/redirect"] {
            ask(&caller, &get, path, &sent).await.expect(303);
        }
    }
    let frame = [
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "iframe"),
        html,
    ];
    let handshake = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-fetch-mode", "websocket"),
    ];
    let refused = [
        (&get, vec![]),
        (&get, vec![("accept", "*/*")]),
        (&get, vec![("accept", "application/json, text/plain, */*")]),
        (&get, mode("cors")),
        (&get, mode("no-cors")),
        (&get, frame.to_vec()),
        (&get, handshake.to_vec()),
        (&get, vec![html, ("x-requested-with", "XMLHttpRequest")]),
        (&Method::HEAD, NAVIGATION.to_vec()),
        (&Method::POST, NAVIGATION.to_vec()),
        (&Method::PUT, vec![html]),
    ];
    for (method, sent) in refused {
        for path in ["/app", "/forward", "/refuse"] {
            let answer = ask(&caller, method, path, &sent).await.expect(401);
            assert_eq!(answer.header("location"), "", "{method} {sent:?}");
            assert!(!answer.header("www-authenticate").is_empty());
        }
    }
    ask(&caller, &get, "/refuse", &NAVIGATION)
        .await
        .expect_page(401, "unauthenticated");
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_may_send_every_get_away_and_nothing_else() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let caller = gateway.anonymous();
    for sent in [&[][..], &[("sec-fetch-mode", "cors")], &NAVIGATION] {
        let answer = ask(&caller, &Method::GET, "/redirect/x", sent)
            .await
            .expect(303);
        let place = "https://localhost/redirect/x";
        let port = caller.origin().replace("https://localhost", "");
        assert!(
            !port.is_empty(),
            "the client says a port, and the page is where the file says"
        );
        assert_eq!(answer.header("location"), sign_in_page(place));
    }
    for method in [Method::HEAD, Method::POST, Method::DELETE, Method::OPTIONS] {
        ask(&caller, &method, "/redirect", &NAVIGATION)
            .await
            .expect(401);
    }
    let handshake = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    ask(&caller, &Method::GET, "/redirect", &handshake)
        .await
        .expect(401);
    app.assert_untouched();
    // Nobody has to be anybody there.
    for path in ["/optional", "/open"] {
        ask(&caller, &Method::GET, path, &NAVIGATION)
            .await
            .expect(200);
        app.only();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_is_not_good_is_refused_and_a_dead_cookie_is_none() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let caller = gateway.anonymous();
    let bad = caller.with_token("x");
    for path in ["/app", "/redirect", "/optional"] {
        let answer = ask(&bad, &Method::GET, path, &NAVIGATION).await;
        answer.expect_page(401, "invalid_token");
    }
    let person = Person::signed_in(caller.clone(), "alice").await;
    let cookie = person.cookie("localhost", SESSION).unwrap();
    person.open("/app").await.expect(200);
    app.only();
    let account = person.open("/auth/account").await.expect(200);
    person
        .submit(&account.form("/auth/logout"), &[])
        .await
        .expect(303);

    let cookie = format!("{SESSION}={cookie}");
    for cookie in [&*cookie, "__Host-portcullis=forged"] {
        let sent = [&NAVIGATION[..], &[("cookie", cookie)]].concat();
        let answer = ask(&caller, &Method::GET, "/app", &sent).await.expect(303);
        assert_eq!(
            answer.header("location"),
            sign_in_page("https://localhost/app")
        );
        let cleared = answer.header("set-cookie");
        assert!(
            cleared.starts_with("__Host-portcullis=; Max-Age=0"),
            "{cleared}"
        );
    }
    app.assert_untouched();
}

/// RFC 9700 §4.11.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_chooses_where_the_sign_in_page_is_or_leads() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let caller = gateway.anonymous();
    let location = async |caller: &Caller, path: &str, more: &[(&str, &str)]| {
        let sent = [&NAVIGATION[..], more].concat();
        let answer = ask(caller, &Method::GET, path, &sent).await.expect(303);
        assert_eq!(answer.header("set-cookie"), "");
        answer.header("location").to_owned()
    };
    let expected = sign_in_page("https://localhost/app");
    for more in [
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-port", "444"),
        ("x-forwarded-proto", "http"),
        ("forwarded", "host=evil.example;proto=http"),
        ("x-original-url", "https://evil.example/"),
        ("referer", "https://evil.example/"),
        ("host", "evil.example"),
        ("host", "localhost:444"),
    ] {
        assert_eq!(
            location(&caller, "/app", &[more]).await,
            expected,
            "{more:?}"
        );
    }
    // The route is there for any host, that of the public URL as well.
    let elsewhere = caller.at("127.0.0.1");
    assert_eq!(location(&elsewhere, "/app", &[]).await, expected);

    // A path that looks like a host stays a path, there and back.
    let odd = location(&caller, "/app//evil.example/x", &[]).await;
    assert_eq!(odd, sign_in_page("https://localhost/app//evil.example/x"));

    let long = format!("/app?x={}", "a".repeat(9000));
    let forgotten = location(&caller, &long, &[]).await;
    assert_eq!(forgotten, "https://localhost/auth/login");
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_gateway_has_no_prefix_the_page_has_none() {
    let gateway = Gateway::start(
        "[gateway]\nprefix = \"\"\n[routes.app]\npath = \"/app\"\nupstream = \"echo\"",
    );
    let person = Person::new(gateway.anonymous());
    let answer = person.open("/app").await.expect(303);
    let location = sign_in_page("https://localhost/app").replace("/auth/", "/");
    assert_eq!(answer.header("location"), location);
    person.follow(answer).await.expect(200).form("/login");
}
