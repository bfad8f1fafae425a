//! `oauth/logout` (OpenID Connect RP-Initiated Logout 1.0): apps that sign people out, and links that only say so.

use std::time::Duration;

use http::Method;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use crate::harness::app::App;
use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::gateway::Gateway;
use crate::harness::person::FormBody as _;
use crate::harness::person::Person;

const LINES: &str = r#"
    [clients.notes]
    name = "Notes"
    public = true
    redirect_uris = ["https://notes.example.com/cb"]
    post_logout_redirect_uris = ["https://notes.example.com/bye", "https://notes.example.com/bye?lang=en"]
    scopes = ["openid", "offline_access", "notes:read"]
    grants = ["authorization_code", "refresh_token"]
    consent = "skip"
    [clients.tv]
    name = "TV"
    public = true
    scopes = ["openid"]
    grants = ["device_code"]
    [clients.shop]
    name = "Shop"
    public = true
    redirect_uris = ["https://shop.example.com/cb"]
    post_logout_redirect_uris = ["https://shop.example.com/bye"]
    scopes = ["openid"]
    grants = ["authorization_code"]
    consent = "skip"
    [routes.notes]
    path = "/notes"
    scopes = ["notes:read"]
    upstream = "echo"
    [routes.own]
    path = "/own"
    upstream = "echo"
"#;

const NOTES: App = App {
    id: "notes",
    secret: None,
    redirect_uri: "https://notes.example.com/cb",
};
const SHOP: App = App {
    id: "shop",
    secret: None,
    redirect_uri: "https://shop.example.com/cb",
};
const BYE: (&str, &str) = ("post_logout_redirect_uri", "https://notes.example.com/bye");
const CLIENT: (&str, &str) = ("client_id", "notes");
/// What the page calls the app.
const NAME: &str = "<strong>Notes</strong>";
const CONFIRM: &str = "/auth/oauth/logout/confirm";
const SESSION: &str = "__Host-portcullis";

async fn started() -> (Gateway, Caller, Person) {
    let gateway = Gateway::start(LINES);
    let caller = gateway.anonymous();
    let alice = Person::signed_in(caller.clone(), "alice").await;
    (gateway, caller, alice)
}

/// The link of an app.
fn link(said: &[(&str, &str)]) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(said)
        .finish();
    format!("/auth/oauth/logout?{query}")
}

/// An ID token that an app gets for whoever is signed in there.
async fn id_token(app: App, caller: &Caller, person: &Person) -> String {
    let tokens = app.tokens(caller, person, "openid").await;
    tokens["id_token"].as_str().unwrap().to_owned()
}

async fn is_signed_in(person: &Person) -> bool {
    let answer = person.open("/own").await;
    assert!(matches!(answer.status, 200 | 303 | 401), "{answer:?}");
    answer.status == 200
}

/// Insists that nobody was signed out, and that it is asked whether that is meant.
async fn is_asked(person: &Person, answer: Answer, app: &str) -> Answer {
    let page = answer.expect(200);
    let said = format!("<p>{app} asks to sign you out.");
    assert!(page.text().contains(&said), "{}", page.text());
    assert!(
        page.header("content-security-policy")
            .contains("frame-ancestors 'none'")
    );
    assert!(is_signed_in(person).await);
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_signs_somebody_out_whom_it_has_signed_in_here() {
    let (_gateway, caller, alice) = started().await;
    let tokens = NOTES.tokens(&caller, &alice, "openid notes:read").await;
    let offline = NOTES
        .tokens(&caller, &alice, "openid notes:read offline_access")
        .await;
    let hint = ("id_token_hint", tokens["id_token"].as_str().unwrap());
    let state = ("state", "a b&c=d");
    let left = alice
        .open(&link(&[hint, BYE, state, CLIENT]))
        .await
        .expect(303);
    let bye = "https://notes.example.com/bye?state=a+b%26c%3Dd";
    assert_eq!(left.header("location"), bye);
    assert_eq!(left.header("cache-control"), "no-store");
    assert_eq!(alice.cookie("localhost", SESSION), None);
    assert!(!is_signed_in(&alice).await);
    // What the app has ends with it, but for what it may do when nobody is there.
    let with =
        |tokens: &serde_json::Value| caller.with_token(tokens["access_token"].as_str().unwrap());
    with(&tokens)
        .get("/notes")
        .await
        .expect_invalid_token("signed out");
    with(&offline).get("/notes").await.expect(200);

    // Whoever is signed out already is sent on all the same.
    let again = alice.open(&link(&[hint, BYE])).await.expect(303);
    assert_eq!(again.header("location"), BYE.1);
    let again = alice.open(&link(&[CLIENT, BYE])).await.expect(303);
    assert_eq!(again.header("location"), BYE.1);
    let plain = alice.open(&link(&[])).await.expect(303);
    let page = alice.follow(plain).await.expect(200);
    assert!(page.text().contains("You are signed out"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_place_keeps_its_query_and_none_is_needed() {
    let (_gateway, caller, alice) = started().await;
    let token = id_token(NOTES, &caller, &alice).await;
    let hint = ("id_token_hint", token.as_str());
    let english = (BYE.0, "https://notes.example.com/bye?lang=en");
    let left = alice.open(&link(&[hint, english, ("state", "x")])).await;
    let place = "https://notes.example.com/bye?lang=en&state=x";
    assert_eq!(left.expect(303).header("location"), place);

    alice.sign_in("alice").await.expect(303);
    let token = id_token(NOTES, &caller, &alice).await;
    let left = alice
        .open(&link(&[("id_token_hint", &token)]))
        .await
        .expect(303);
    assert_eq!(left.header("location"), "/auth/signed-out");
    assert!(!is_signed_in(&alice).await);
}

/// §4: an ID token that has expired, and one whose tokens the app has given up before.
#[tokio::test(flavor = "multi_thread")]
async fn a_hint_does_not_age_while_the_browser_is_the_same() {
    let (gateway, caller, alice) = started().await;
    let token = id_token(NOTES, &caller, &alice).await;
    gateway.clock().advance(Duration::from_secs(3 * 3600));
    let left = alice.open(&link(&[("id_token_hint", &token), BYE])).await;
    assert_eq!(left.expect(303).header("location"), BYE.1);
    assert!(!is_signed_in(&alice).await);

    alice.sign_in("alice").await.expect(303);
    let tokens = NOTES.tokens(&caller, &alice, "openid").await;
    let given_up = [("token", tokens["refresh_token"].as_str().unwrap())];
    NOTES.ask(&caller, "revoke", &given_up).await.expect(200);
    assert!(is_signed_in(&alice).await);
    let hint = ("id_token_hint", tokens["id_token"].as_str().unwrap());
    alice.open(&link(&[hint])).await.expect(303);
    assert!(!is_signed_in(&alice).await);
}

/// What outlives a browser was got in one all the same, and says nothing in any other; a device's was got in none.
// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn what_outlives_browsers_signs_nobody_out_of_others() {
    let (_gateway, caller, alice) = started().await;
    let elsewhere = Person::signed_in(caller.clone(), "alice").await;
    let tokens = NOTES
        .tokens(&caller, &elsewhere, "openid offline_access")
        .await;
    let offline = tokens["id_token"].as_str().unwrap();
    for hint in [offline, &id_token_of_a_tv(&caller, &alice).await] {
        let answer = alice.open(&link(&[("id_token_hint", hint)])).await;
        answer.expect(200).form(CONFIRM);
        assert!(is_signed_in(&alice).await);
    }
    // Whoever signs in again is in the same browser still.
    elsewhere.sign_in("alice").await.expect(303);
    let left = elsewhere.open(&link(&[("id_token_hint", offline)])).await;
    left.expect(303);
    assert!(!is_signed_in(&elsewhere).await);
}

/// An ID token that a device gets, which somebody has let in.
async fn id_token_of_a_tv(caller: &Caller, person: &Person) -> String {
    const PAGE: &str = "/auth/oauth/device";
    let tv = App {
        id: "tv",
        secret: None,
        redirect_uri: "",
    };
    let codes = tv.ask(caller, "device_authorization", &[]).await;
    let codes = codes.expect(200).json();
    let [device_code, user_code] =
        ["device_code", "user_code"].map(|name| codes[name].as_str().unwrap());
    let page = person.open(PAGE).await.expect(200);
    let typed = [("user_code", user_code)];
    let page = person.submit(&page.form(PAGE), &typed).await.expect(200);
    let allowed = [("decision", "allow")];
    let done = person.submit(&page.form(PAGE), &allowed).await;
    done.expect(303);
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("device_code", device_code),
    ];
    let tokens = tv.token(caller, &form).await.expect(200).json();
    tokens["id_token"].as_str().unwrap().to_owned()
}

/// A link of anybody's signs nobody out (RFC 9700 §4.7 of requests, this one of sign-outs).
// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_signed_out_unasked_but_by_an_app_of_this_browser() {
    let (_gateway, caller, alice) = started().await;
    let bob = Person::signed_in(caller.clone(), "bob").await;
    let elsewhere = Person::signed_in(caller.clone(), "alice").await;
    let foreign = id_token(NOTES, &caller, &bob).await;
    let of_elsewhere = id_token(NOTES, &caller, &elsewhere).await;
    let tokens = NOTES.tokens(&caller, &alice, "openid").await;
    let own = tokens["id_token"].as_str().unwrap();
    let (head, _) = own.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", "A".repeat(86));
    let unsigned = format!(
        "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.",
        own.split('.').nth(1).unwrap()
    );
    let access = tokens["access_token"].as_str().unwrap();
    for hint in [&foreign, &of_elsewhere, &forged, &unsigned, access, "x", ""] {
        let said = [("id_token_hint", hint), CLIENT, BYE];
        let answer = alice.open(&link(&said)).await;
        is_asked(&alice, answer, NAME).await;
    }
    let answer = alice.open(&link(&[])).await;
    is_asked(&alice, answer, "An app").await;
    let answer = alice.open("/auth/oauth/logout").await;
    is_asked(&alice, answer, "An app").await;

    // Who means it is signed out, and gets where they were to be sent.
    let page = alice
        .open(&link(&[CLIENT, BYE, ("state", "x")]))
        .await
        .expect(200);
    assert!(page.text().contains("href=\"/auth/account\""));
    let policy = page.header("content-security-policy");
    let leads = "form-action 'self' https://notes.example.com https:";
    assert!(policy.ends_with(leads), "{policy}");
    let left = alice.submit(&page.form(CONFIRM), &[]).await.expect(303);
    assert_eq!(left.header("location"), format!("{}?state=x", BYE.1));
    assert!(!is_signed_in(&alice).await);
    assert!(is_signed_in(&bob).await && is_signed_in(&elsewhere).await);

    // Of one's next sign-in the old token says nothing.
    alice.sign_in("alice").await.expect(303);
    let answer = alice.open(&link(&[("id_token_hint", own), BYE])).await;
    is_asked(&alice, answer, NAME).await;
}

// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_whether_it_is_meant_is_the_persons_own() {
    let (_gateway, caller, alice) = started().await;
    let page = alice.open(&link(&[CLIENT, BYE])).await.expect(200);
    let form = page.form(CONFIRM);
    let fields: Vec<_> = form
        .hidden
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    for origin in ["https://evil.example", "null"] {
        let forged = alice.post(CONFIRM, &fields, &[("origin", origin)]).await;
        forged.expect_page(403, "cross_site");
    }
    let mut without = form.clone();
    without.hidden.remove("csrf");
    alice
        .submit(&without, &[])
        .await
        .expect_page(403, "cross_site");
    // Nor is the place believed that the form carries.
    let mut bent = form.clone();
    let elsewhere = link(&[CLIENT, (BYE.0, "https://evil.example/")]);
    let query = elsewhere.split_once('?').unwrap().1.to_owned();
    bent.hidden.insert("request".to_owned(), query);
    let refused = alice.submit(&bent, &[]).await;
    refused.expect_page(400, "redirect_uri_refused");
    assert!(is_signed_in(&alice).await);
    // Shown to Alice, sent when Bob is there: he is asked.
    caller.register("bob").await;
    alice.sign_in("bob").await.expect(303);
    let asked = alice.submit(&form, &[]).await;
    let asked = is_asked(&alice, asked, NAME).await;
    assert!(asked.text().contains("bob"));
}

// SECURITY 35
#[tokio::test(flavor = "multi_thread")]
async fn it_leads_nowhere_that_is_not_registered() {
    let (_gateway, caller, alice) = started().await;
    let token = id_token(NOTES, &caller, &alice).await;
    let hint = ("id_token_hint", token.as_str());
    let of_shop = id_token(SHOP, &caller, &alice).await;
    let to = |uri: &'static str| ("post_logout_redirect_uri", uri);
    let refused = "redirect_uri_refused";
    let unknown = "unknown_client";
    for (said, code) in [
        (vec![hint, to("https://evil.example/bye")], refused),
        (vec![hint, to("https://notes.example.com/bye/")], refused),
        (vec![hint, to("https://notes.example.com/bye?x=1")], refused),
        (vec![hint, to("https://notes.example.com/bye#x")], refused),
        (vec![hint, to("https://NOTES.example.com/bye")], refused),
        (vec![hint, to("https://notes.example.com:443/bye")], refused),
        (vec![hint, to("https://notes.example.com/cb")], refused),
        (vec![hint, to("https://shop.example.com/bye")], refused),
        (vec![hint, to("//notes.example.com/bye")], refused),
        (vec![hint, to("/auth/account")], refused),
        (vec![hint, to("javascript:alert(1)")], refused),
        // Whose place it would be is not said, or not shown.
        (vec![BYE], refused),
        (vec![BYE, ("id_token_hint", "x")], refused),
        (vec![BYE, ("client_id", "nobody")], unknown),
        (vec![BYE, ("client_id", "portcullis")], unknown),
        (vec![BYE, ("client_id", "a b")], unknown),
        (vec![BYE, hint, ("client_id", "shop")], unknown),
        (vec![BYE, CLIENT, ("id_token_hint", &of_shop)], unknown),
        (vec![BYE, CLIENT, to("https://evil.example/")], "bad_form"),
        (vec![hint, BYE, ("state", "x"), ("state", "y")], "bad_form"),
    ] {
        for visitor in [&alice, &Person::new(caller.clone())] {
            let answer = visitor.open(&link(&said)).await.expect_page(400, code);
            assert_eq!(answer.header("location"), "", "{said:?}");
        }
        assert!(is_signed_in(&alice).await, "{said:?}");
    }
    // It is the app's mistake: a person can still go.
    let answer = alice
        .open(&link(&[hint, to("https://evil.example/")]))
        .await;
    assert!(answer.text().contains("href=\"/auth/logout\""));
}

/// §2: apps may post as well. A browser sends no cookie along with that.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_as_long_as_our_page_can_carry() {
    let (_gateway, _caller, alice) = started().await;
    let of = |bytes| link(&[CLIENT, BYE, ("state", &"s".repeat(bytes))]);
    let carried = |link: &str| {
        let query = link.split_once('?').unwrap().1;
        let carried: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        carried.len()
    };
    let longest = 10 * 1024 - carried(&of(0));
    let page = is_asked(&alice, alice.open(&of(longest)).await, NAME).await;
    let beyond = alice.open(&of(longest + 1)).await;
    let refused = beyond.expect_page(400, "bad_form");
    assert!(refused.text().contains("10 KiB"), "{}", refused.text());
    let done = alice.submit(&page.form(CONFIRM), &[]).await.expect(303);
    assert!(
        done.header("location")
            .starts_with("https://notes.example.com/bye?state=ss")
    );
    assert!(!is_signed_in(&alice).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_may_post() {
    let (_gateway, caller, alice) = started().await;
    let token = id_token(NOTES, &caller, &alice).await;
    let said = [("id_token_hint", token.as_str()), BYE, ("state", "x&y")];
    let request = caller
        .request(Method::POST, "/auth/oauth/logout")
        .form_of(&said);
    let request = request.header("origin", "https://notes.example.com");
    let posted = Answer::of(request.header("sec-fetch-site", "cross-site")).await;
    let posted = posted.expect(303);
    assert_eq!(posted.header("location"), link(&said));
    assert!(is_signed_in(&alice).await);
    let left = alice.open(posted.header("location")).await.expect(303);
    assert_eq!(left.header("location"), format!("{}?state=x%26y", BYE.1));
    assert!(!is_signed_in(&alice).await);

    let post = || caller.request(Method::POST, "/auth/oauth/logout");
    let json = post().json(&serde_json::json!({"client_id": "notes"}));
    Answer::of(json).await.expect_page(400, "bad_form");
    let twice = post().form_of(&[CLIENT, CLIENT]);
    Answer::of(twice).await.expect_page(400, "bad_form");
    let put = Answer::of(caller.request(Method::PUT, "/auth/oauth/logout")).await;
    put.expect_problem(405, "method_not_allowed");
}

// SECURITY 50
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_store_signs_nobody_out_and_says_so() {
    let (gateway, caller, alice) = started().await;
    let token = id_token(NOTES, &caller, &alice).await;
    let path = gateway.folder().path("data/portcullis.db");
    let options = SqliteConnectOptions::new().filename(path);
    let mut other = options.connect().await.unwrap();
    let begin = sqlx::query("BEGIN IMMEDIATE").execute(&mut other);
    begin.await.unwrap();
    let target = link(&[("id_token_hint", &token), BYE]);
    let refused = alice.open(&target).await;
    refused.expect_page(503, "store_unavailable");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    assert!(is_signed_in(&alice).await);
    alice.open(&target).await.expect(303);
    assert!(!is_signed_in(&alice).await);
}

// SECURITY 45
#[tokio::test]
async fn discovery_names_the_logout() {
    let gateway = Gateway::start(LINES);
    let caller = gateway.anonymous();
    let document = caller.get("/.well-known/openid-configuration").await;
    let document = document.expect(200).json();
    let endpoint = &document["end_session_endpoint"];
    assert_eq!(endpoint, "https://localhost/auth/oauth/logout");
}
