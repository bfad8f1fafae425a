//! Sign-ins that begin on another host than that of the public URL.

use bytes::Bytes;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http_body_util::Full;
use serde_json::Value;
use serde_json::json;

use super::BINDING;
use super::SESSION;
use super::sign_in_on;
use super::sign_in_page;
use crate::harness::browser::browse;
use crate::harness::caller::Answer;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Gateway;
use crate::harness::person::Person;
use crate::harness::tab::Tab;
use crate::harness::upstream::Upstream;

pub(super) const HOSTS: &str = r#"
    [routes.app]
    path = "/app"
    upstream = "echo"
    [routes.notes]
    host = "notes.example.com"
    path = "/"
    upstream = "echo"
    [routes.many]
    host = "*.apps.example.com"
    path = "/"
    upstream = "echo"
"#;

pub(super) async fn gateway_with_alice() -> Gateway {
    let gateway = Gateway::start(HOSTS);
    gateway.anonymous().register("alice").await;
    gateway
}

/// Goes to a page of an app without being signed in at all, up to the sign-in page.
pub(super) async fn led_to_sign_in(person: &Person, place: &str) -> Answer {
    let sent = person.open(place).await.expect(303);
    person.follow(sent).await.expect(200)
}

#[track_caller]
fn seen(answer: Answer) -> Value {
    let seen = answer.expect(200).json();
    assert!(!seen.to_string().contains("__Host-"), "{seen}");
    seen
}

// SECURITY 17, 23
#[tokio::test(flavor = "multi_thread")]
async fn one_sign_in_opens_every_host_and_one_sign_out_closes_them_all() {
    let gateway = gateway_with_alice().await;
    let person = Person::new(gateway.anonymous());
    let place = "https://notes.example.com/a?b=c&d=%20";
    let sent = person.open(place).await.expect(303);
    let location = sent.header("location").to_owned();
    let start = format!("{}&binding=", sign_in_page(place));
    assert!(location.starts_with(&start), "{location}");
    let binding = person.cookie("notes.example.com", BINDING).unwrap();
    assert!(!location.contains(&binding));
    let cookie = sent.header("set-cookie");
    let expected =
        format!("{BINDING}={binding}; Max-Age=600; Path=/; Secure; HttpOnly; SameSite=Lax");
    assert_eq!(cookie, expected);
    assert_eq!(person.cookie("localhost", BINDING), None);

    let page = person.follow(sent).await.expect(200);
    let policy = page.header("content-security-policy");
    assert!(
        policy.contains("form-action 'self' https://notes.example.com"),
        "{policy}"
    );
    let onward = sign_in_on(&person, &page, "alice").await.expect(303);
    let accept = onward.header("location");
    let start = "https://notes.example.com/auth/session/accept?ticket=ptc_st_";
    assert!(accept.starts_with(start), "{accept}");
    assert_eq!(onward.header("cache-control"), "no-store");
    assert_eq!(person.cookie("notes.example.com", SESSION), None);
    let arrived = person.open(accept).await.expect(303);
    assert_eq!(arrived.header("location"), place);
    assert_eq!(arrived.header("cache-control"), "no-store");
    assert_eq!(person.cookie("notes.example.com", BINDING), None);
    let here = seen(person.follow(arrived).await);
    assert_eq!(here["headers"]["x-auth-user"], "alice");
    assert_eq!(here["target"], "/a?b=c&d=%20");

    // The same session by another cookie, which is worth nothing elsewhere.
    let there = seen(person.open("/app").await);
    let session = |seen: &Value| seen["headers"]["x-auth-session"].clone();
    assert_eq!(session(&here), session(&there));
    let public = person.cookie("localhost", SESSION).unwrap();
    let notes = person.cookie("notes.example.com", SESSION).unwrap();
    assert_ne!(public, notes);

    // No form for the next one.
    let sent = person
        .open("https://b.apps.example.com/x")
        .await
        .expect(303);
    let many = seen(person.follow(sent).await);
    assert_eq!(session(&many), session(&here));
    assert_eq!(many["target"], "/x");

    let log = gateway.log_text();
    assert!(!log.contains("ptc_st_") && !log.contains(&binding), "{log}");

    // Signed out on the one, signed out on all, and the other way round as well.
    let tab = Tab::new(gateway.anonymous().at("notes.example.com"));
    tab.put(SESSION, &notes);
    tab.post("/auth/logout", &json!({})).await.expect(204);
    for place in [
        "/app",
        "https://notes.example.com/",
        "https://b.apps.example.com/x",
    ] {
        person.open(place).await.expect(303);
    }
    let page = led_to_sign_in(&person, place).await;
    let onward = sign_in_on(&person, &page, "alice").await.expect(303);
    seen(person.follow(onward).await);
    let account = person.open("/auth/account").await.expect(200);
    person
        .submit(&account.form("/auth/logout"), &[])
        .await
        .expect(303);
    person.open(place).await.expect(303);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_registers_on_the_way_goes_on_as_well() {
    let gateway = Gateway::start(HOSTS);
    let person = Person::new(gateway.anonymous());
    let page = led_to_sign_in(&person, "https://notes.example.com/a").await;
    let register = page
        .text()
        .split("href=\"")
        .find(|rest| rest.starts_with("/auth/register"));
    let register = register.and_then(|rest| rest.split('"').next()).unwrap();
    let page = person
        .open(&register.replace("&#38;", "&"))
        .await
        .expect(200);
    let filled = [
        ("username", "bob"),
        ("email", ""),
        ("name", ""),
        ("password", PASSWORD),
    ];
    // What was wrong the first time does not lose the way.
    let wrong = [
        ("username", "bob"),
        ("email", ""),
        ("name", ""),
        ("password", "short"),
    ];
    let page = person
        .submit(&page.form("/auth/register"), &wrong)
        .await
        .expect(422);
    let onward = person
        .submit(&page.form("/auth/register"), &filled)
        .await
        .expect(303);
    let arrived = seen(person.follow(onward).await);
    assert_eq!(arrived["headers"]["x-auth-user"], "bob");
    assert_eq!(arrived["target"], "/a");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_of_one_browser_both_arrive() {
    let gateway = gateway_with_alice().await;
    let person = Person::new(gateway.anonymous());
    let one = led_to_sign_in(&person, "https://notes.example.com/1").await;
    let two = led_to_sign_in(&person, "https://notes.example.com/2").await;
    let one = sign_in_on(&person, &one, "alice").await.expect(303);
    // The other one was reloaded after the sign-in, or signed in again.
    let way = two.form("/auth/login").hidden;
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("return_to", &way["return_to"])
        .append_pair("binding", &way["binding"])
        .finish();
    let two = person
        .open(&format!("/auth/login?{query}"))
        .await
        .expect(303);
    assert_eq!(seen(person.follow(one).await)["target"], "/1");
    assert_eq!(seen(person.follow(two).await)["target"], "/2");
}

/// RFC 9700 §4.11.
#[tokio::test(flavor = "multi_thread")]
async fn no_link_leads_to_a_host_that_is_not_ours() {
    let gateway = gateway_with_alice().await;
    let person = Person::new(gateway.anonymous());
    let signed_in = Person::signed_in(gateway.anonymous(), "alice").await;
    for place in [
        "https://evil.example/",
        "https://example.com/",
        "https://apps.example.com/",
        "https://xapps.example.com/",
        "https://notes.example.com.evil.example/",
        "https://notes.example.com@evil.example/",
        "https://notes.example.com%2eevil.example/",
        "https://notes.example.com%40evil.example/",
        "https://notes.example.com\\@evil.example/",
        "https://notes.example.com\\.apps.example.com/",
        "https://user@notes.example.com/",
        "https://notes.example.com:444/",
        "https://notes.example.com./",
        "http://notes.example.com/",
        "ftp://notes.example.com/",
        "//notes.example.com/",
        "//evil.example",
        "/\\evil.example",
        "%2F%2Fevil.example",
        "%68ttps://evil.example/",
        "javascript://notes.example.com/%0aalert(1)",
        "javascript:alert(1)",
        "127.0.0.1",
        "https://127.0.0.1/",
    ] {
        let kept: String = url::form_urlencoded::byte_serialize(place.as_bytes()).collect();
        let binding = "A".repeat(43);
        let link = format!("/auth/login?return_to={kept}&binding={binding}");
        for visitor in [&person, &signed_in] {
            let answer = visitor.open(&link).await;
            assert_eq!(answer.header("location"), "", "{place}");
            answer.expect_page(400, "return_to_refused");
        }
    }
    // Without a browser that waits there, the way is shown and nothing is given along.
    for (place, binding) in [
        ("https://notes.example.com/x", ""),
        ("https://NOTES.example.com:443/x", "&binding=x"),
        ("https://x.apps.example.com/x", "&binding="),
    ] {
        let kept: String = url::form_urlencoded::byte_serialize(place.as_bytes()).collect();
        let link = format!("/auth/login?return_to={kept}{binding}");
        let answer = signed_in.open(&link).await.expect(303);
        let plain = place.replace("NOTES", "notes").replace(":443", "");
        assert_eq!(answer.header("location"), plain);
        // There it is sent back with one, and arrives.
        seen(signed_in.follow(answer).await);
    }
}

/// Browsers hold the redirects of a form's answer to the page's policy, and cookies to their own rules.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_signs_in_on_one_host_for_another() {
    let gateway = Gateway::start_at_its_url(
        "[routes.notes]\nhost = \"notes.localhost\"\npath = \"/\"\nupstream = \"echo\"",
    );
    gateway.anonymous().register("alice").await;
    let origin = gateway.url();
    let other = origin.replace("localhost", "notes.localhost");
    let told = json!({
        "origin": origin,
        "other": other,
        "username": "alice",
        "password": PASSWORD,
    });
    let Some(answer) = browse("hosts.mjs", &told).await else {
        return;
    };
    assert_eq!(answer["wrong"], json!([]), "{answer:#}");
    assert_eq!(answer["at"], format!("{other}/a?b=c"));
    let echoed: Value = serde_json::from_str(answer["text"].as_str().unwrap()).unwrap();
    assert_eq!(echoed["headers"]["x-auth-user"], "alice");
    assert_eq!(answer["cookies"], json!([SESSION]));
    assert_eq!(answer["again"], 200);
    assert!(
        answer["missing"].as_str().unwrap().contains("no_endpoint"),
        "{answer:#}"
    );
}

/// An app may send people on at once, and to Chromium that still is an answer to the sign-in's form.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_goes_on_to_where_the_app_sends_it_after_signing_in() {
    let app = Upstream::answering(|request| {
        let mut response = Response::new(Full::<Bytes>::default());
        if request.target.starts_with("/a") && !request.target.starts_with("/again") {
            *response.status_mut() = StatusCode::FOUND;
            let host = request.header("host").replace("notes.", "www.");
            let place = format!("https://{host}/home");
            let place = HeaderValue::try_from(place).unwrap();
            response.headers_mut().insert("location", place);
        }
        response
    })
    .await;
    let gateway = Gateway::start_at_its_url(&format!(
        r#"
        [routes.notes]
        host = "notes.localhost"
        path = "/"
        upstream = "{}"
        [routes.www]
        host = "www.localhost"
        path = "/"
        upstream = "echo"
        "#,
        app.url()
    ));
    gateway.anonymous().register("alice").await;
    let origin = gateway.url();
    let told = json!({
        "origin": origin,
        "other": origin.replace("localhost", "notes.localhost"),
        "third": origin.replace("localhost", "www.localhost"),
        "username": "alice",
        "password": PASSWORD,
    });
    let Some(answer) = browse("hosts.mjs", &told).await else {
        return;
    };
    assert_eq!(answer["wrong"], json!([]), "{answer:#}");
    let home = format!("{}/home", told["third"].as_str().unwrap());
    assert_eq!(answer["at"], home);
    let echoed: Value = serde_json::from_str(answer["text"].as_str().unwrap()).unwrap();
    assert_eq!(echoed["headers"]["x-auth-user"], "alice");
}
