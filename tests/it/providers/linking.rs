//! Accounts that are here already, and what must be shown before a provider opens them.

use std::time::Duration;

use http::Response;
use http_body_util::Full;
use portcullis::clock::unix_seconds;
use serde_json::json;

use super::KEPT;
use super::ROLES;
use super::SESSION;
use super::away;
use super::sign_in;
use super::started;
use super::told;
use crate::harness::browser::browse;
use crate::harness::caller::Answer;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Gateway;
use crate::harness::person::Person;
use crate::harness::provider::Provider;
use crate::harness::upstream::Upstream;

/// An account with the very address that the provider vouches for.
async fn with_an_account(more: &str) -> (Provider, Gateway) {
    let (provider, gateway) = started(more).await;
    let body = json!({"email": "Alice@corp.example", "password": PASSWORD});
    gateway.anonymous().try_register(&body).await.expect(201);
    (provider, gateway)
}

async fn come_back(provider: &Provider, person: &Person) -> Answer {
    let back = sign_in(provider, person).await.expect(303);
    assert_eq!(back.header("location"), "/auth/provider/corp/link");
    assert_eq!(person.cookie("localhost", SESSION), None);
    person.open("/auth/provider/corp/link").await.expect(200)
}

// SECURITY 30
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_here_is_opened_only_after_its_own_password() {
    let (provider, gateway) = with_an_account(ROLES).await;
    let person = Person::new(gateway.anonymous());
    let page = come_back(&provider, &person).await;
    assert!(page.text().contains("Is this your account?"));
    // Nobody has verified the account's own address: it may as well be somebody else who gave it.
    assert!(page.text().contains("If it is not, somebody else"));
    let form = page.form("/auth/provider/corp/link");
    let wrong = person.submit(&form, &[("password", "a wrong one")]).await;
    let wrong = wrong.expect(401);
    assert!(wrong.text().contains("The password is wrong."));
    assert_eq!(person.cookie("localhost", SESSION), None);
    let right = person.submit(&form, &[("password", PASSWORD)]).await;
    assert_eq!(right.expect(303).header("location"), "/app/notes?page=2");
    assert_eq!(person.cookie("localhost", KEPT), None);
    let told_first = told(&person).await;
    assert_eq!(told_first["x-auth-roles"], "admin,editor,viewer");
    assert_eq!(told_first["x-auth-method"], "pwd");
    // The provider vouches for the address, and the account for its owner.
    assert_eq!(told_first["x-auth-email"], "Alice@corp.example");

    // From now on nothing is asked.
    let other = Person::new(gateway.anonymous());
    let back = sign_in(&provider, &other).await.expect(303);
    assert_eq!(back.header("location"), "/app/notes?page=2");
    let told_again = told(&other).await;
    assert_eq!(told_again["x-auth-user-id"], told_first["x-auth-user-id"]);
}

// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn the_proof_is_the_browsers_own_and_does_not_last() {
    let (provider, gateway) = with_an_account(ROLES).await;
    let person = Person::new(gateway.anonymous());
    let page = come_back(&provider, &person).await;
    let form = page.form("/auth/provider/corp/link");

    // Somebody else's browser has not come back from anywhere.
    let stranger = Person::new(gateway.anonymous());
    stranger.open("/auth/login").await.expect(200);
    stranger
        .open("/auth/provider/corp/link")
        .await
        .expect_page(400, "sign_in_lost");
    stranger
        .submit(&form, &[("password", PASSWORD)])
        .await
        .expect_page(403, "cross_site");
    let origin = [("origin", "https://evil.example")];
    let csrf = form.hidden["csrf"].clone();
    let fields = [("password", PASSWORD), ("csrf", csrf.as_str())];
    person
        .post("/auth/provider/corp/link", &fields, &origin)
        .await
        .expect_page(403, "cross_site");
    gateway.clock().advance(Duration::from_secs(601));
    person
        .submit(&form, &[("password", PASSWORD)])
        .await
        .expect_page(400, "sign_in_lost");
    assert_eq!(person.cookie("localhost", SESSION), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_nobody_verified_leads_to_no_account() {
    let (provider, gateway) = with_an_account(ROLES).await;
    provider.say(|says| says.claims["email_verified"] = json!(false));
    let person = Person::new(gateway.anonymous());
    let back = sign_in(&provider, &person).await.expect(303);
    assert_eq!(back.header("location"), "/app/notes?page=2");
    let told = told(&person).await;
    assert_eq!(
        (&told["x-auth-user"], &told["x-auth-email"]),
        (&json!("alice"), &json!(null))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_another_provider_is_not_opened_by_its_address() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let lines = [
        super::ROUTE,
        &first.lines(ROLES),
        &second.lines_of("other", "create_accounts = true"),
    ];
    let gateway = Gateway::start(&lines.concat());
    let person = Person::new(gateway.anonymous());
    sign_in(&first, &person).await.expect(303);

    let other = Person::new(gateway.anonymous());
    let sent = other.open("/auth/provider/other").await.expect(303);
    let back = second.approve(sent.header("location"));
    other.open(&back).await.expect_page(403, "link_refused");
    assert_eq!(other.cookie("localhost", SESSION), None);
}

/// Where the page that connects a provider sends the browser.
#[track_caller]
fn sent_on(page: Answer) -> String {
    let page = page.expect(200);
    let url = page.header("refresh").strip_prefix("0; url=").unwrap();
    let link = format!("href=\"{}\"", url.replace('&', "&#38;"));
    assert!(page.text().contains(&link), "{}", page.text());
    url.to_owned()
}

/// Connects by the account page.
async fn connect(provider: &Provider, person: &Person) -> Answer {
    let page = person.open("/auth/account").await.expect(200);
    let form = page.form("/auth/provider/corp");
    let sent = sent_on(person.submit(&form, &[]).await);
    person.open(&provider.approve(&sent)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_connected_and_disconnected_on_the_account_page() {
    let (provider, gateway) = started(ROLES.replace("create_accounts = true\n", "").as_str()).await;
    let person = Person::signed_in(gateway.anonymous(), "bob").await;
    let back = connect(&provider, &person).await.expect(303);
    assert_eq!(back.header("location"), "/auth/account?done=connected");
    let page = person.follow(back).await.expect(200);
    assert!(page.text().contains("Connected as alice@corp.example"));
    assert!(page.text().contains("you can sign in with it as well"));
    assert_eq!(told(&person).await["x-auth-roles"], "admin,editor,viewer");
    let other = Person::new(gateway.anonymous());
    sign_in(&provider, &other).await.expect(303);
    assert_eq!(told(&other).await["x-auth-user"], "bob");

    let form = page.form("/auth/provider/corp/disconnect");
    let gone = person.submit(&form, &[]).await.expect(303);
    let page = person.follow(gone).await.expect(200);
    assert!(page.text().contains("Not connected"), "{}", page.text());
    assert_eq!(told(&person).await["x-auth-roles"], json!(null));
    // Whoever came in by it is out, and stays out.
    other.open("/auth/account").await.expect(303);
    sign_in(&provider, &other)
        .await
        .expect_page(403, "no_account");
    person
        .submit(&form, &[])
        .await
        .expect_page(404, "not_connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_their_last_way_in_away() {
    let (provider, gateway) = started(ROLES).await;
    let person = Person::new(gateway.anonymous());
    sign_in(&provider, &person).await.expect(303);
    let page = person.open("/auth/account").await.expect(200);
    let form = page.form("/auth/provider/corp/disconnect");
    person.submit(&form, &[]).await.expect_page(403, "last_way");
    let other = Person::new(gateway.anonymous());
    sign_in(&provider, &other).await.expect(303);
}

// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_connected_only_from_our_page_with_the_session_that_asked_and_is_fresh() {
    let (provider, gateway) = started("").await;
    let person = Person::signed_in(gateway.anonymous(), "bob").await;
    // From another site's page.
    person
        .post(
            "/auth/provider/corp",
            &[],
            &[("origin", "https://evil.example")],
        )
        .await
        .expect_page(403, "cross_site");
    // A sign-in that somebody else's link began connects nothing.
    sign_in(&provider, &person)
        .await
        .expect_page(403, "no_account");

    // Somebody else has signed in to this browser meanwhile.
    let page = person.open("/auth/account").await.expect(200);
    let form = page.form("/auth/provider/corp");
    let sent = sent_on(person.submit(&form, &[]).await);
    let back = provider.approve(&sent);
    gateway.anonymous().register("carol").await;
    person.sign_in("carol").await.expect(303);
    person.open(&back).await.expect_page(403, "link_refused");
    let page = person.open("/auth/account").await.expect(200);
    assert!(page.text().contains("Not connected"));

    // A browser that was left open decides nothing.
    gateway.clock().advance(Duration::from_secs(901));
    let form = page.form("/auth/provider/corp");
    let again = person.submit(&form, &[]).await.expect(303);
    let login = "/auth/login?return_to=%2Fauth%2Faccount&prompt=login";
    assert_eq!(again.header("location"), login);
}

/// Browsers hold the redirects of a form's answer to the page's policy, wherever those lead: nobody can name
/// beforehand where a provider has people sign in.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_connects_a_provider_that_sends_it_on_elsewhere() {
    let place = Upstream::start().await;
    let elsewhere = format!("{}/in", place.url());
    let location = elsewhere.clone();
    let front = Upstream::answering(move |_| {
        let answer = Response::builder().status(302);
        let answer = answer.header("location", &location);
        answer.body(Full::default()).unwrap()
    })
    .await;
    let provider = Provider::start().await;
    let endpoint = format!("{}/authorize", front.url());
    provider.say(|says| says.metadata = json!({ "authorization_endpoint": endpoint }));
    let lines = format!("{}{}", super::ROUTE, provider.lines(""));
    let gateway = Gateway::start_at_its_url(&lines);
    gateway.anonymous().register("bob").await;
    let told = json!({
        "origin": gateway.url(),
        "origins": [front.url(), place.url()],
        "username": "bob",
        "password": PASSWORD,
        "provider": "Corp",
    });
    let Some(answer) = browse("providers.mjs", &told).await else {
        return;
    };
    assert_eq!(answer, json!({ "wrong": [], "at": elsewhere }));
}

// SECURITY 45
#[tokio::test(flavor = "multi_thread")]
async fn whoever_a_provider_knew_already_has_not_signed_in_just_now() {
    let (provider, gateway) = started(ROLES).await;
    let signed_in = async |person: &Person, seconds_ago: u64| {
        let at = unix_seconds(gateway.clock().now()) - seconds_ago;
        provider.say(|says| says.claims["auth_time"] = json!(at));
        sign_in(&provider, person).await.expect(303);
        let me = person.open("/auth/me").await.expect(200).json();
        (me["auth_time"].as_u64().unwrap(), at)
    };
    let person = Person::new(gateway.anonymous());
    let (shown, said) = signed_in(&person, 3600).await;
    assert_eq!(shown, said);
    // A browser that was left open at the provider makes nobody at home here.
    let page = person.open("/auth/account").await.expect(200);
    let form = page.form("/auth/provider/corp/disconnect");
    let again = person.submit(&form, &[]).await.expect(303);
    let login = "/auth/login?return_to=%2Fauth%2Faccount&prompt=login";
    assert_eq!(again.header("location"), login);

    let (shown, said) = signed_in(&person, 0).await;
    assert!(shown >= said);
    person.submit(&form, &[]).await.expect_page(403, "last_way");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_of_a_provider_has_one_account_here_and_an_account_one_person() {
    let (provider, gateway) = started(ROLES).await;
    let bob = Person::signed_in(gateway.anonymous(), "bob").await;
    connect(&provider, &bob).await.expect(303);
    let carol = Person::signed_in(gateway.anonymous(), "carol").await;
    connect(&provider, &carol)
        .await
        .expect_page(403, "link_refused");
    assert_eq!(told(&carol).await["x-auth-user"], "carol");

    // Another person of the provider, with the account that is taken.
    provider.say(|says| says.claims["sub"] = json!("2"));
    let page = bob.open("/auth/account").await.expect(200);
    let form = page.form("/auth/provider/corp/disconnect");
    let csrf = form.hidden["csrf"].clone();
    let csrf = [("csrf", csrf.as_str())];
    let sent = sent_on(bob.post("/auth/provider/corp", &csrf, &[]).await);
    let back = provider.approve(&sent);
    bob.open(&back).await.expect_page(403, "link_refused");

    // Two browsers at once make one account of one newcomer.
    provider.say(|says| {
        says.claims["sub"] = json!("3");
        says.claims["email"] = json!("dave@corp.example");
        says.claims["preferred_username"] = json!("dave");
    });
    let both = [(); 2].map(|()| Person::new(gateway.anonymous()));
    let mut backs = Vec::new();
    for person in &both {
        backs.push(away(&provider, person).await);
    }
    let answers = futures_util::future::join(both[0].open(&backs[0]), both[1].open(&backs[1]));
    let answers = <[Answer; 2]>::from(answers.await);
    assert!(answers.iter().any(|answer| answer.status == 303));
    let again = Person::new(gateway.anonymous());
    sign_in(&provider, &again).await.expect(303);
    assert_eq!(told(&again).await["x-auth-user"], "dave");
}
