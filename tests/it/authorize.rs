//! `oauth/authorize` and the consent page: who asks, where the answer goes, whether the person may and wants to.

mod bounds;

use std::time::Duration;

use reqwest::Method;

use crate::harness::app::App;
use crate::harness::app::CHALLENGE;
use crate::harness::app::HOUSE;
use crate::harness::app::LINES;
use crate::harness::app::NATIVE;
use crate::harness::app::NOTES;
use crate::harness::app::OTHER;
use crate::harness::app::STAFF;
use crate::harness::app::claims;
use crate::harness::app::said;
use crate::harness::app::with_alice;
use crate::harness::binary::portcullis;
use crate::harness::caller::Answer;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Gateway;
use crate::harness::person::FormBody as _;
use crate::harness::person::Person;

/// Insists on an error that is sent to the client at this place, with its state and who says so.
// SECURITY 39, 40: see the tests that use it.
#[track_caller]
fn expect_error(answer: Answer, place: &str, error: &str) {
    let answer = answer.expect(303);
    let location = answer.header("location").to_owned();
    assert!(location.starts_with(place), "{location}");
    let told = said(&answer);
    assert_eq!(told["error"], error, "{location}");
    assert_eq!(told["state"], "xyz");
    assert_eq!(told["iss"], "https://localhost");
    assert!(!told.contains_key("code"));
    let description = &told["error_description"];
    let legal = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    assert!(
        description.bytes().all(legal),
        "RFC 6749 §4.1.2.1: {description}"
    );
}

// SECURITY 39, 40, 43
#[tokio::test(flavor = "multi_thread")]
async fn somebody_signs_in_to_an_app_and_is_asked_first() {
    let gateway = Gateway::start(LINES);
    let caller = gateway.anonymous();
    caller.register("alice").await;
    let person = Person::new(caller.clone());

    let asked = person
        .open(&NOTES.request("openid notes:read", &[("login_hint", "alice")]))
        .await;
    let page = person.follow(asked).await.expect(200);
    assert!(
        page.text().contains("<strong>Notes</strong>"),
        "{}",
        page.text()
    );
    assert!(page.text().contains("value=\"alice\""));
    let policy = page.header("content-security-policy");
    assert!(
        policy.contains("form-action 'self' https://notes.example.com"),
        "{policy}"
    );

    let filled = [("identifier", "alice"), ("password", PASSWORD)];
    let signed_in = person
        .submit(&page.form("/auth/login"), &filled)
        .await
        .expect(303);
    assert!(
        signed_in
            .header("location")
            .starts_with("/auth/oauth/authorize?")
    );
    let page = person.follow(signed_in).await.expect(200);
    for words in [
        "Allow Notes to use your account?",
        "notes.example.com",
        "alice",
        "Know that it is you",
        "Read your notes",
    ] {
        assert!(page.text().contains(words), "{words}: {}", page.text());
    }
    assert!(!page.text().contains("Change your notes"));

    let form = page.form("/auth/oauth/consent");
    let answer = person
        .submit(&form, &[("decision", "allow")])
        .await
        .expect(303);
    let told = said(&answer);
    assert!(
        answer
            .header("location")
            .starts_with("https://notes.example.com/callback?code=")
    );
    assert_eq!(told["state"], "xyz");
    assert_eq!(told["iss"], "https://localhost");
    assert_eq!(told.len(), 3);
    assert_eq!(answer.header("cache-control"), "no-store");
    let tokens = NOTES
        .redeem(&caller, &told["code"])
        .await
        .expect(200)
        .json();
    assert_eq!(tokens["scope"], "notes:read openid");

    // Remembered, and for no more than that.
    person
        .open(&NOTES.request("openid notes:read", &[]))
        .await
        .expect(303);
    person
        .open(&NOTES.request("notes:read", &[]))
        .await
        .expect(303);
    let more = person
        .open(&NOTES.request("openid notes:write", &[]))
        .await
        .expect(200);
    assert!(more.text().contains("Change your notes"));
    let denied = person
        .submit(&more.form("/auth/oauth/consent"), &[("decision", "deny")])
        .await;
    expect_error(denied, NOTES.redirect_uri, "access_denied");
    let again = NOTES.request("openid notes:read", &[("prompt", "consent")]);
    person.open(&again).await.expect(200);
    person.open(&OTHER.request("openid", &[])).await.expect(200);
}

// SECURITY 35
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_goes_to_a_registered_place_or_nowhere() {
    let (gateway, person, _) = with_alice().await;
    for (app, places) in [
        (
            NOTES,
            &[
                "",
                "https://notes.example.com/callback/",
                "https://notes.example.com/Callback",
                "https://notes.example.com/callback?x=1",
                "https://notes.example.com/callback#x",
                "https://notes.example.com/callback/../other",
                "https://notes.example.com/%63allback",
                "https://notes.example.com:443/callback",
                "https://NOTES.example.com/callback",
                "https://notes.example.com./callback",
                "https://notes.example.com@evil.example/callback",
                "https://evil.example/https://notes.example.com/callback",
                "https://notes.example.com.evil.example/callback",
                "http://notes.example.com/callback",
                "https://notes.example.com/callback\n",
                " https://notes.example.com/callback",
                "//notes.example.com/callback",
                "/callback",
                "javascript:alert(1)",
                "https://other.example.com/callback?app=other",
            ][..],
        ),
        (
            OTHER,
            &[
                "https://other.example.com/callback",
                "https://other.example.com/callback?app=other&x=1",
            ],
        ),
        (
            NATIVE,
            &[
                "http://127.0.0.1/other",
                "http://127.0.0.2/cb",
                "http://127.0.0.1:8000@evil.example/cb",
                "http://127.0.0.1:99999/cb",
                "http://127.0.0.1:80:80/cb",
                "http://localhost/cb",
                "https://127.0.0.1/cb",
                "com.example.notes:/other",
                "com.example.notes://cb",
            ],
        ),
    ] {
        for place in places {
            let target = app.request("openid", &[("redirect_uri", place)]);
            let answer = person.open(&target).await;
            answer.expect_page(400, "redirect_uri_refused");
        }
    }
    for place in [
        "http://127.0.0.1:1/cb",
        "http://127.0.0.1:49152/cb",
        "http://127.0.0.1/cb",
        "com.example.notes:/cb",
    ] {
        let page = person
            .open(&NATIVE.request("openid", &[("redirect_uri", place)]))
            .await
            .expect(200);
        let form = page.form("/auth/oauth/consent");
        let answer = person
            .submit(&form, &[("decision", "allow")])
            .await
            .expect(303);
        assert!(
            answer
                .header("location")
                .starts_with(&format!("{place}?code=")),
            "{place}"
        );
        // Whatever says to be a native app is asked for each time (RFC 8252 §8.6).
        person
            .open(&NATIVE.request("openid", &[("redirect_uri", place)]))
            .await
            .expect(200);
    }
    for (name, value) in [
        ("client_id", "nobody"),
        ("client_id", ""),
        ("client_id", "portcullis"),
        ("client_id", "a b"),
    ] {
        let answer = person
            .open(&NOTES.request("openid", &[(name, value)]))
            .await;
        answer.expect_page(400, "unknown_client");
    }
    // No redirect either where it is not clear which of two is meant.
    for twice in [
        "client_id=other-web",
        "redirect_uri=https%3A%2F%2Fevil.example",
        "x=%ff",
    ] {
        let target = format!("{}&{twice}", NOTES.request("openid", &[]));
        person.open(&target).await.expect_page(400, "bad_form");
    }
    // One that is left out is the one that there is.
    let target = HOUSE.request("openid", &[("redirect_uri", "")]);
    let answer = person.open(&target).await.expect(303);
    assert!(
        answer
            .header("location")
            .starts_with("https://house.example.com/cb?code=")
    );
    drop(gateway);
}

// SECURITY 36, 38, 39, 40
#[tokio::test(flavor = "multi_thread")]
async fn every_other_error_is_the_clients() {
    let (_gateway, person, _) = with_alice().await;
    let long = "n".repeat(513);
    let short = &CHALLENGE[..42];
    for (name, value, error) in [
        ("response_type", "", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
        ("response_type", "id_token", "unsupported_response_type"),
        ("response_type", "code token", "unsupported_response_type"),
        (
            "response_type",
            "code id_token",
            "unsupported_response_type",
        ),
        ("response_type", "none", "unsupported_response_type"),
        ("response_mode", "fragment", "invalid_request"),
        ("response_mode", "form_post", "invalid_request"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge", short, "invalid_request"),
        (
            "code_challenge",
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk=",
            "invalid_request",
        ),
        ("code_challenge_method", "", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge_method", "s256", "invalid_request"),
        ("scope", "openid admin", "invalid_scope"),
        ("scope", "openid  notes:read", "invalid_scope"),
        ("scope", "Openid", "invalid_scope"),
        (
            "resource",
            "https://elsewhere.example.com",
            "invalid_target",
        ),
        ("prompt", "none login", "invalid_request"),
        ("prompt", "create", "invalid_request"),
        ("max_age", "-1", "invalid_request"),
        ("max_age", "soon", "invalid_request"),
        ("nonce", &long, "invalid_request"),
        ("request", "eyJ", "request_not_supported"),
        (
            "request_uri",
            "https://notes.example.com/r",
            "request_uri_not_supported",
        ),
        ("registration", "{}", "registration_not_supported"),
    ] {
        let answer = person
            .open(&NOTES.request("openid", &[(name, value)]))
            .await;
        expect_error(answer, &format!("{}?error=", NOTES.redirect_uri), error);
    }
    for twice in [
        "scope=openid",
        "state2=1&state2=1",
        "code_challenge=x",
        "prompt=login&prompt=login",
        "%C3%A9%22%5C%0A=1&%C3%A9%22%5C%0A=1",
    ] {
        let target = format!("{}&{twice}", NOTES.request("openid", &[]));
        let answer = person.open(&target).await;
        expect_error(answer, NOTES.redirect_uri, "invalid_request");
    }
    let answer = person.open(&OTHER.request("openid email", &[])).await;
    expect_error(
        answer,
        "https://other.example.com/callback?app=other&error=",
        "invalid_scope",
    );
    let answer = person.open(&STAFF.request("openid", &[])).await;
    expect_error(answer, STAFF.redirect_uri, "access_denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_lets_people_sign_in_where_the_client_asks_for_one() {
    let (gateway, person, _) = with_alice().await;
    let folder = gateway.folder();
    portcullis(folder, &["user", "set", "alice", "--add-role", "admin"]).expect(0);
    person.open(&STAFF.request("openid", &[])).await.expect(200);
}

/// OpenID Connect Core §3.1.2.1.
// SECURITY 45
#[tokio::test(flavor = "multi_thread")]
async fn a_client_says_whether_people_are_to_be_bothered() {
    let gateway = Gateway::start(LINES);
    let caller = gateway.anonymous();
    let nobody = Person::new(caller.clone());
    let silent = |app: &App| app.request("openid", &[("prompt", "none")]);
    expect_error(
        nobody.open(&silent(&NOTES)).await,
        NOTES.redirect_uri,
        "login_required",
    );

    let person = Person::signed_in(caller.clone(), "alice").await;
    expect_error(
        person.open(&silent(&NOTES)).await,
        NOTES.redirect_uri,
        "consent_required",
    );
    NOTES.code(&person, "openid").await;
    assert!(said(&person.open(&silent(&NOTES)).await.expect(303)).contains_key("code"));
    assert!(said(&person.open(&silent(&HOUSE)).await.expect(303)).contains_key("code"));

    // A sign-in of now is asked for, is had, and is enough: it does not go round in circles.
    gateway.clock().advance(Duration::from_secs(100));
    for more in [
        ("prompt", "login"),
        ("prompt", "select_account"),
        ("max_age", "0"),
        ("max_age", "99"),
    ] {
        let answer = person
            .open(&HOUSE.request("openid", &[more]))
            .await
            .expect(303);
        assert!(
            answer.header("location").contains("/auth/login?"),
            "{more:?}"
        );
        let page = person.follow(answer).await.expect(200);
        let filled = [("identifier", "alice"), ("password", PASSWORD)];
        let answer = person
            .submit(&page.form("/auth/login"), &filled)
            .await
            .expect(303);
        let answer = person.open(answer.header("location")).await.expect(303);
        let tokens = HOUSE
            .redeem(&caller, &said(&answer)["code"])
            .await
            .expect(200)
            .json();
        let claims = claims(tokens["id_token"].as_str().unwrap());
        let age = claims["iat"].as_u64().unwrap() - claims["auth_time"].as_u64().unwrap();
        assert!(age < 50, "{claims}");
        let stale = HOUSE.request("openid", &[("prompt", "none"), ("max_age", "50")]);
        assert!(said(&person.open(&stale).await.expect(303)).contains_key("code"));
        gateway.clock().advance(Duration::from_secs(100));
        expect_error(
            person.open(&stale).await,
            HOUSE.redirect_uri,
            "login_required",
        );
    }
    person
        .open(&HOUSE.request("openid", &[("max_age", "500")]))
        .await
        .expect(303);
}

/// OpenID Connect Core §3.1.2.1: tokens of somebody else are no answer.
// SECURITY 45
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_means_somebody_gets_nobody_else() {
    let (_gateway, person, caller) = with_alice().await;
    let tokens = HOUSE.tokens(&caller, &person, "openid").await;
    let alices = tokens["id_token"].as_str().unwrap();
    let meant = |more: &[(&str, &str)]| {
        let hint = [("id_token_hint", alices)];
        HOUSE.request("openid", &[&hint, more].concat())
    };
    let silent = meant(&[("prompt", "none")]);
    assert!(said(&person.open(&silent).await.expect(303)).contains_key("code"));

    caller.register("bob").await;
    person.sign_in("bob").await.expect(303);
    expect_error(
        person.open(&silent).await,
        HOUSE.redirect_uri,
        "login_required",
    );
    // Bob is led to the sign-in page, and when he is Bob all the same, the client is told.
    let answer = person.open(&meant(&[])).await.expect(303);
    assert!(answer.header("location").contains("/auth/login?"));
    let page = person.follow(answer).await.expect(200);
    let filled = [("identifier", "bob"), ("password", PASSWORD)];
    let form = page.form("/auth/login");
    let answer = person.submit(&form, &filled).await.expect(303);
    let answer = person.open(answer.header("location")).await;
    expect_error(answer, HOUSE.redirect_uri, "login_required");
    let answer = person.open(&meant(&[])).await.expect(303);
    let page = person.follow(answer).await.expect(200);
    let filled = [("identifier", "alice"), ("password", PASSWORD)];
    let form = page.form("/auth/login");
    let answer = person.submit(&form, &filled).await.expect(303);
    let answer = person.open(answer.header("location")).await;
    assert!(said(&answer.expect(303)).contains_key("code"));

    // Another client's token, and what is none, say nothing.
    person.sign_in("bob").await.expect(303);
    for hint in ["x", "", "eyJhbGciOiJub25lIn0.e30."] {
        let target = HOUSE.request("openid", &[("id_token_hint", hint)]);
        assert!(said(&person.open(&target).await.expect(303)).contains_key("code"));
    }
}

// SECURITY 34, 43
#[tokio::test(flavor = "multi_thread")]
async fn nobody_allows_anything_in_anothers_name() {
    let (_gateway, alice, caller) = with_alice().await;
    let target = NOTES.request("openid", &[]);
    let form = alice
        .open(&target)
        .await
        .expect(200)
        .form("/auth/oauth/consent");

    // Another site's page, with the person's cookies.
    let forged = [
        ("request", form.hidden["request"].as_str()),
        ("person", form.hidden["person"].as_str()),
        ("decision", "allow"),
    ];
    alice
        .post("/auth/oauth/consent", &forged, &[])
        .await
        .expect_page(403, "cross_site");
    let origin = [("origin", "https://evil.example")];
    let with_csrf = [&forged[..], &[("csrf", form.hidden["csrf"].as_str())]].concat();
    alice
        .post("/auth/oauth/consent", &with_csrf, &origin)
        .await
        .expect_page(403, "cross_site");

    // Another's page, sent when somebody else has signed in to the same browser.
    caller.register("bob").await;
    alice.sign_in("bob").await.expect(303);
    let page = alice
        .submit(&form, &[("decision", "allow")])
        .await
        .expect(200);
    assert!(page.text().contains("bob"), "it is asked again");
    alice.sign_in("alice").await.expect(303);

    // A request that was changed on the way is judged again.
    for (from, to, code) in [
        ("notes-web", "nobody", "unknown_client"),
        ("callback", "evil", "redirect_uri_refused"),
    ] {
        let mut changed = form.clone();
        let request = form.hidden["request"].replace(from, to);
        changed.hidden.insert("request".to_owned(), request);
        alice
            .submit(&changed, &[("decision", "allow")])
            .await
            .expect_page(400, code);
    }
    // Neither is no answer.
    for decision in ["", "maybe", "Allow"] {
        alice
            .submit(&form, &[("decision", decision)])
            .await
            .expect(200);
    }
    alice
        .submit(&form, &[("decision", "allow")])
        .await
        .expect(303);
    let blank = Person::new(caller);
    blank.open(&target).await.expect(303);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_be_posted() {
    let (_gateway, person, caller) = with_alice().await;
    let target = HOUSE.request("openid", &[]);
    let (_, query) = target.split_once('?').unwrap();
    let fields: Vec<_> = url::form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    let request = caller
        .request(Method::POST, "/auth/oauth/authorize")
        .form_of(&fields);
    let answer = Answer::of(request.header("origin", "https://house.example.com"))
        .await
        .expect(303);
    assert_eq!(answer.header("location"), target);
    let answer = person.open(answer.header("location")).await.expect(303);
    assert!(said(&answer).contains_key("code"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_a_command_made_signs_people_in_until_it_is_disabled() {
    let (gateway, person, caller) = with_alice().await;
    let folder = gateway.folder();
    let add = [
        "client",
        "add",
        "wiki",
        "--name",
        "The Wiki",
        "--redirect-uri",
        "https://wiki.example.com/cb",
        "--scope",
        "openid",
        "--grant",
        "authorization_code",
    ];
    let secret = portcullis(folder, &add).expect(0).stdout.trim().to_owned();
    let wiki = App {
        id: "wiki",
        secret: Some(secret.leak()),
        redirect_uri: "https://wiki.example.com/cb",
    };
    let page = person.open(&wiki.request("openid", &[])).await.expect(200);
    assert!(page.text().contains("The Wiki"));
    let tokens = wiki.tokens(&caller, &person, "openid").await;
    let access = caller.with_token(tokens["access_token"].as_str().unwrap());
    access.get("/auth/oauth/userinfo").await.expect(200);
    let account = person.open("/auth/account").await.expect(200);
    assert!(account.text().contains("The Wiki"));
    portcullis(folder, &["client", "disable", "wiki"]).expect(0);
    person
        .open(&wiki.request("openid", &[]))
        .await
        .expect_page(400, "unknown_client");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_disconnected_on_the_account_page() {
    let (_gateway, person, caller) = with_alice().await;
    let tokens = NOTES
        .tokens(&caller, &person, "openid offline_access notes:read")
        .await;
    let access = caller.with_token(tokens["access_token"].as_str().unwrap());
    access.get("/notes").await.expect(200);
    let page = person.open("/auth/account").await.expect(200);
    assert!(page.text().contains("Notes") && page.text().contains("Read your notes"));
    let done = person
        .submit(&page.form("/auth/connections/notes-web"), &[])
        .await
        .expect(303);
    let page = person.follow(done).await.expect(200);
    assert!(page.text().contains("No app has access to your account."));
    access.get("/notes").await.expect(401);
    let refresh = tokens["refresh_token"].as_str().unwrap();
    NOTES.refresh(&caller, refresh).await.expect(400);
    person.open(&NOTES.request("openid", &[])).await.expect(200);
}
