//! Pages in use: signing in and out, making an account, the account page. Without a browser: what a browser
//! would send and is sent.

use http::HeaderValue;
use http::Response;
use http::header;
use http_body_util::Full;
use reqwest::Method;
use serde_json::Value;
use serde_json::json;

use crate::harness::browser::browse;
use crate::harness::browser::screenshots;
use crate::harness::caller::Answer;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Gateway;
use crate::harness::person::FormBody as _;
use crate::harness::person::Person;
use crate::harness::upstream::Upstream;

const ROUTE: &str = r#"
    [routes.app]
    path = "/app"
    upstream = "echo"
"#;

const SESSION: &str = "__Host-portcullis";

#[tokio::test(flavor = "multi_thread")]
async fn somebody_registers_and_uses_the_app_and_signs_out() {
    let gateway = Gateway::start(ROUTE);
    let person = Person::new(gateway.anonymous());
    let page = person
        .open("/auth/login?return_to=%2Fapp%2Fnotes%3Fpage%3D2")
        .await
        .expect(200);
    assert!(
        page.text()
            .contains("/auth/register?return_to=%2Fapp%2Fnotes%3Fpage%3D2")
    );
    let page = person
        .open("/auth/register?return_to=%2Fapp%2Fnotes%3Fpage%3D2")
        .await
        .expect(200);
    let filled = [
        ("username", "alice"),
        ("email", ""),
        ("name", "Alice"),
        ("password", PASSWORD),
    ];
    let made = person
        .submit(&page.form("/auth/register"), &filled)
        .await
        .expect(303);
    assert_eq!(made.header("location"), "/app/notes?page=2");
    assert_eq!(made.header("cache-control"), "no-store");
    let seen = person.follow(made).await.expect(200).json();
    assert_eq!(seen["headers"]["x-auth-user"], "alice");
    assert_eq!(seen["target"], "/app/notes?page=2");

    let account = person.open("/auth/account").await.expect(200);
    assert!(account.text().contains("Hello, Alice"));
    let left = person
        .submit(&account.form("/auth/logout"), &[])
        .await
        .expect(303);
    assert_eq!(left.header("location"), "/auth/signed-out");
    assert_eq!(person.cookie("localhost", SESSION), None);
    let page = person.follow(left).await.expect(200);
    assert!(page.text().contains("signed out"), "{}", page.text());
    person.open("/auth/account").await.expect(303);
}

// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn every_sign_in_has_a_session_of_its_own() {
    let gateway = Gateway::start(ROUTE);
    let person = Person::signed_in(gateway.anonymous(), "alice").await;
    let first = person.cookie("localhost", SESSION).unwrap();
    let page = person.open("/auth/login").await.expect(303);
    assert_eq!(page.header("location"), "/auth/account");
    let answer = person.sign_in("alice").await.expect(303);
    assert_eq!(answer.header("location"), "/auth/account");
    let second = person.cookie("localhost", SESSION).unwrap();
    assert_ne!(first, second);
    let cookie = format!("{SESSION}={first}");
    let caller = gateway.anonymous();
    caller
        .get_with("/app", &[("cookie", &cookie)])
        .await
        .expect(401);
    person.open("/app").await.expect(200);
}

// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn a_form_counts_only_from_our_page_in_the_browser_that_it_was_shown_to() {
    let gateway = Gateway::start(ROUTE);
    let caller = gateway.anonymous();
    caller.register("alice").await;
    let person = Person::new(caller.clone());
    let page = person.open("/auth/login").await.expect(200);
    let csrf = page.form("/auth/login").hidden["csrf"].clone();
    let good = [
        ("identifier", "alice"),
        ("password", PASSWORD),
        ("csrf", csrf.as_str()),
    ];
    let without = [("identifier", "alice"), ("password", PASSWORD)];
    let refuse = |answer: Answer| {
        answer.expect_page(403, "cross_site");
        assert_eq!(person.cookie("localhost", SESSION), None);
    };

    refuse(person.post("/auth/login", &without, &[]).await);
    let origin = [("origin", "https://evil.example")];
    refuse(person.post("/auth/login", &good, &origin).await);
    refuse(
        person
            .post("/auth/login", &good, &[("origin", "null")])
            .await,
    );

    // Another browser's form, as an attacker has one of their own.
    let other = Person::new(caller.clone());
    let shown = other.open("/auth/login").await.expect(200);
    let others = shown.form("/auth/login").hidden["csrf"].clone();
    let foreign = [
        ("identifier", "alice"),
        ("password", PASSWORD),
        ("csrf", others.as_str()),
    ];
    refuse(person.post("/auth/login", &foreign, &[]).await);
    let blank = Person::new(caller.clone());
    blank
        .post("/auth/login", &good, &[])
        .await
        .expect_page(403, "cross_site");

    // Two cookies, one of them put there by somebody else.
    let jar = Person::new(caller.clone());
    jar.open("/auth/login").await.expect(200);
    let planted = other.cookie("localhost", "__Host-portcullis-form").unwrap();
    let own = jar.cookie("localhost", "__Host-portcullis-form").unwrap();
    let both = format!("__Host-portcullis-form={planted}; __Host-portcullis-form={own}");
    let request = caller
        .request(Method::POST, "/auth/login")
        .form_of(&foreign);
    let request = request
        .header("origin", caller.origin())
        .header("cookie", both);
    Answer::of(request).await.expect_page(403, "cross_site");

    person.post("/auth/login", &good, &[]).await.expect(303);
    person.open("/app").await.expect(200);
}

// SECURITY 30
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_fails_says_so_on_the_page_and_not_why() {
    let gateway = Gateway::start(ROUTE);
    gateway.anonymous().register("alice").await;
    let person = Person::new(gateway.anonymous());
    let page = person.open("/auth/login?return_to=/app").await.expect(200);
    let form = page.form("/auth/login");
    let mut seen = Vec::new();
    for (name, password) in [
        ("alice", "wrong-password-1"),
        ("nobody", PASSWORD),
        ("a b", PASSWORD),
        ("", ""),
    ] {
        let filled = [("identifier", name), ("password", password)];
        let answer = person.submit(&form, &filled).await.expect(401);
        assert!(answer.text().contains("The name or the password is wrong."));
        assert!(!answer.text().contains(password) || password.is_empty());
        assert_eq!(answer.form("/auth/login").hidden["return_to"], "/app");
        seen.push(
            answer
                .text()
                .replace(&format!("value=\"{name}\""), "value=\"\""),
        );
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    let filled = [("identifier", " alice "), ("password", PASSWORD)];
    let answer = person.submit(&form, &filled).await.expect(303);
    assert_eq!(answer.header("location"), "/app");
}

/// RFC 9700 §4.11: open redirectors.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_sent_to_a_place_that_is_not_ours() {
    let gateway = Gateway::start(ROUTE);
    let caller = gateway.anonymous();
    caller.register("alice").await;
    let person = Person::new(caller.clone());
    let signed_in = Person::signed_in(caller, "alice").await;
    let form = person
        .open("/auth/login")
        .await
        .expect(200)
        .form("/auth/login");
    for place in [
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        " https://evil.example",
        "https://evil.example",
        "https:evil.example",
        "https:/evil.example",
        "http://localhost/",
        "https://localhost:444/",
        "https://localhost@evil.example/",
        "https://user@localhost/",
        "https://localhost.evil.example/",
        "javascript:alert(1)",
        "data:text/html,x",
        "app",
        "?x",
        "https://[::1",
        "/é",
    ] {
        let kept: String = url::form_urlencoded::byte_serialize(place.as_bytes()).collect();
        for page in ["login", "register"] {
            for visitor in [&person, &signed_in] {
                let answer = visitor
                    .open(&format!("/auth/{page}?return_to={kept}"))
                    .await;
                answer.expect_page(400, "return_to_refused");
            }
        }
        let mut forged = form.clone();
        forged
            .hidden
            .insert("return_to".to_owned(), place.to_owned());
        let filled = [("identifier", "alice"), ("password", PASSWORD)];
        let answer = person.submit(&forged, &filled).await;
        answer.expect_page(400, "return_to_refused");
        assert_eq!(person.cookie("localhost", SESSION), None);
    }
    for (place, lands) in [
        ("/app", "/app"),
        (
            "/app?next=https://evil.example",
            "/app?next=https://evil.example",
        ),
        ("https://localhost/app#x", "/app#x"),
        ("https://LOCALHOST:443/app", "/app"),
        ("/app/..//evil.example", "//evil.example"),
    ] {
        let kept: String = url::form_urlencoded::byte_serialize(place.as_bytes()).collect();
        let answer = signed_in
            .open(&format!("/auth/login?return_to={kept}"))
            .await;
        let location = answer.expect(303).header("location").to_owned();
        // A path that begins with two slashes would be another host.
        if lands.starts_with("//") {
            assert_eq!(location, format!("https://localhost{lands}"));
        } else {
            assert_eq!(location, lands);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_be_made_is_said_field_by_field() {
    let gateway = Gateway::start(ROUTE);
    gateway.anonymous().register("alice").await;
    let person = Person::new(gateway.anonymous());
    let form = person
        .open("/auth/register")
        .await
        .expect(200)
        .form("/auth/register");
    let fill = |username, password| {
        [
            ("username", username),
            ("password", password),
            ("name", "<b>x</b>"),
        ]
    };
    let answer = person
        .submit(&form, &fill("ALICE", PASSWORD))
        .await
        .expect(409);
    assert!(answer.text().contains("The username is taken"));
    assert!(answer.text().contains("value=\"ALICE\""));
    assert!(!answer.text().contains("<b>"), "it is escaped");
    let answer = person
        .submit(&form, &fill("root", "short"))
        .await
        .expect(422);
    assert!(answer.text().contains("reserved"));
    assert!(answer.text().contains("aria-invalid"));
    assert!(!answer.text().contains("short\""));
    person
        .submit(&form, &fill("bob", PASSWORD))
        .await
        .expect(303);
    person.open("/app").await.expect(200);

    let closed = Gateway::start("[accounts]\nregistration = \"off\"");
    let person = Person::new(closed.anonymous());
    person
        .open("/auth/register")
        .await
        .expect_page(403, "registration_off");
    let page = person.open("/auth/login").await.expect(200);
    assert!(!page.text().contains("/auth/register"));
    let mut form = page.form("/auth/login");
    "/auth/register".clone_into(&mut form.action);
    let answer = person
        .submit(&form, &fill("bob", PASSWORD))
        .await
        .expect(403);
    assert!(answer.text().contains("made by the administrator"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_is_set_on_the_account_page() {
    let gateway = Gateway::start(ROUTE);
    let person = Person::signed_in(gateway.anonymous(), "alice").await;
    let elsewhere = Person::signed_in(gateway.anonymous(), "alice").await;
    let new = "another-walrus-on-42-bikes";
    let form = person
        .open("/auth/account")
        .await
        .expect(200)
        .form("/auth/password");
    let fill = |current, new| [("current_password", current), ("new_password", new)];
    let answer = person.submit(&form, &fill("wrong", new)).await.expect(403);
    assert!(answer.text().contains("The current password is wrong."));
    let answer = person
        .submit(&form, &fill(PASSWORD, "short"))
        .await
        .expect(422);
    assert!(answer.text().contains("new_password-error"));
    elsewhere.open("/app").await.expect(200);
    let done = person.submit(&form, &fill(PASSWORD, new)).await.expect(303);
    let page = person.follow(done).await.expect(200);
    assert!(page.text().contains("Your password is changed"));
    elsewhere.open("/app").await.expect(303);
    let body = json!({ "username": "alice", "password": new });
    gateway.anonymous().try_log_in(&body).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_ended_on_the_account_page() {
    let gateway = Gateway::start(ROUTE);
    let person = Person::signed_in(gateway.anonymous(), "alice").await;
    let one = Person::signed_in(gateway.anonymous(), "alice").await;
    let two = Person::signed_in(gateway.anonymous(), "alice").await;
    let bob = Person::signed_in(gateway.anonymous(), "bob").await;
    let page = person.open("/auth/account").await.expect(200);
    let ends: Vec<_> = page
        .forms()
        .into_iter()
        .filter(|form| form.action.starts_with("/auth/sessions/"))
        .collect();
    assert_eq!(
        ends.len(),
        2,
        "the one of this browser is ended by signing out"
    );
    let end = bob
        .open("/auth/account")
        .await
        .expect(200)
        .form("/auth/logout");
    let mut foreign = ends[0].clone();
    foreign.hidden = end.hidden;
    bob.submit(&foreign, &[])
        .await
        .expect_page(404, "no_session");
    for (form, left) in ends.iter().zip([1, 0]) {
        let done = person.submit(form, &[]).await.expect(303);
        let page = person.follow(done).await.expect(200);
        assert!(page.text().contains("The session has ended."));
        let alive = [one.open("/app").await, two.open("/app").await];
        assert_eq!(
            alive.iter().filter(|answer| answer.status == 200).count(),
            left
        );
    }
    one.sign_in("alice").await.expect(303);
    let page = person.open("/auth/account").await.expect(200);
    let done = person
        .submit(&page.form("/auth/sessions"), &[])
        .await
        .expect(303);
    person.follow(done).await.expect(200);
    one.open("/app").await.expect(303);
    person.open("/app").await.expect(200);
    bob.open("/app").await.expect(200);
}

/// RFC 9700 §4.12: what was posted must not be posted again elsewhere.
// SECURITY 40
#[tokio::test(flavor = "multi_thread")]
async fn pages_live_on_the_public_url_and_send_browsers_there() {
    let other = "[routes.other]\nhost = \"app.example.com\"\npath = \"/\"\nupstream = \"echo\"";
    let gateway = Gateway::start(&format!("{ROUTE}\n{other}"));
    let person = Person::new(gateway.anonymous());
    let answer = person
        .open("https://app.example.com/auth/login?return_to=/app")
        .await
        .expect(303);
    assert_eq!(
        answer.header("location"),
        "https://localhost/auth/login?return_to=/app"
    );
    let answer = person
        .post("https://app.example.com/auth/login", &[("csrf", "x")], &[])
        .await;
    answer.expect_page(403, "cross_site");
}

// SECURITY 46
#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_refused_are_pages() {
    let gateway = Gateway::start(ROUTE);
    let person = Person::new(gateway.anonymous());
    person
        .open("/auth/login?return_to=/a&return_to=/b")
        .await
        .expect_page(400, "bad_form");
    let page = person.open("/auth/login").await.expect(200);
    let policy = page.header("content-security-policy");
    assert!(policy.contains("form-action 'self'") && policy.contains("frame-ancestors 'none'"));
    let form = page.form("/auth/login");
    let twice = [
        ("csrf", form.hidden["csrf"].as_str()),
        ("identifier", "a"),
        ("identifier", "b"),
    ];
    person
        .post("/auth/login", &twice, &[])
        .await
        .expect_page(400, "bad_form");
    let refused = gateway.anonymous().request(Method::PUT, "/auth/login");
    let refused = Answer::of(refused)
        .await
        .expect_problem(405, "method_not_allowed");
    assert_eq!(refused.header("allow"), "GET, HEAD, POST");
}

// SECURITY 46
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_goes_through_it_all_without_javascript() {
    let gateway = Gateway::start_at_its_url(ROUTE);
    for (width, scheme) in [(390, "light"), (1280, "dark")] {
        let told = json!({
            "origin": gateway.url(),
            "app": "/app?from=chromium",
            "username": format!("alice{width}"),
            "password": PASSWORD,
            "next": "another-walrus-on-42-bikes",
            "width": width,
            "scheme": scheme,
            "folder": screenshots(),
        });
        let Some(answer) = browse("portal.mjs", &told).await else {
            return;
        };
        assert_eq!(answer["wrong"], json!([]), "{answer:#}");
        let seen = &answer["seen"];
        assert_eq!(seen["app"]["at"], "/app?from=chromium");
        let echoed = seen["app"]["text"].as_str().unwrap();
        let echoed: Value = serde_json::from_str(echoed).unwrap();
        assert_eq!(echoed["headers"]["x-auth-user"], format!("alice{width}"));
        assert!(!echoed.to_string().contains("__Host-"), "{echoed}");
        let token = seen["token"].as_str().unwrap();
        assert!(token.starts_with("ptc_pat_"), "{token}");
        let kept = seen["token-kept"]["text"].as_str().unwrap();
        assert!(kept.contains("Nightly backup") && !kept.contains(token));
        let revoked = seen["token-revoked"]["text"].as_str().unwrap();
        assert!(!revoked.contains("Nightly backup"), "{revoked}");
        assert_eq!(seen["back"]["at"], "/auth/account");
        assert_eq!(seen["signed-out"]["at"], "/auth/signed-out");
        let cookies = seen["cookies"].as_array().unwrap();
        assert_eq!(cookies.len(), 2);
        for cookie in cookies {
            assert_eq!(cookie["secure"], true);
            assert_eq!(cookie["httpOnly"], true);
            assert_eq!(cookie["sameSite"], "Lax");
            assert_eq!(cookie["path"], "/");
        }
    }
}

/// As sign-in libraries of single-page apps do it.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_may_have_people_sign_in_in_a_window_of_its_own() {
    let app = Upstream::answering(|_| {
        let mut page = Response::new(Full::from("<!doctype html><title>App</title>"));
        let html = HeaderValue::from_static("text/html");
        page.headers_mut().insert(header::CONTENT_TYPE, html);
        page
    })
    .await;
    let url = app.url();
    let route = format!("[routes.app]\npath = \"/app\"\nupstream = \"{url}\"");
    let gateway = Gateway::start_at_its_url(&route);
    gateway.anonymous().register("alice").await;
    let told = json!({
        "origin": gateway.url(),
        "opener": url,
        "username": "alice",
        "password": PASSWORD,
    });
    let Some(answer) = browse("popup.mjs", &told).await else {
        return;
    };
    assert_eq!(answer, json!({ "at": "/app", "knows": true }));
}
