//! Personal tokens on the account page.

use std::time::Duration;

use serde_json::json;

use crate::harness::caller::Answer;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Gateway;
use crate::harness::person::Form;
use crate::harness::person::Person;
use crate::harness::tab::Tab;

use super::NOTHING_TO_LEND;
use super::guarded;

const FILLED: [(&str, &str); 3] = [
    ("name", "My <backup>"),
    ("scope:notes:read", "on"),
    ("expires_in", "604800"),
];

/// The form of the account page.
async fn offered(person: &Person) -> Form {
    let page = person.open("/auth/account").await.expect(200);
    page.form("/auth/tokens")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_is_made_shown_once_and_revoked() {
    let (gateway, app) = guarded().await;
    let person = Person::signed_in(gateway.anonymous(), "alice").await;
    let page = person.open("/auth/account").await.expect(200);
    let made = person.submit(&page.form("/auth/tokens"), &FILLED).await;
    assert_eq!(made.header("cache-control"), "no-store");
    let made = made.expect(200);
    assert!(
        made.text().contains("My &#60;backup&#62;"),
        "{}",
        made.text()
    );
    let begins = made.text().find("ptc_pat_").unwrap();
    let token = made.text()[begins..].split('<').next().unwrap();
    let script = gateway.anonymous().with_token(token);
    script.get("/notes").await.expect(200);
    assert_eq!(app.only().header("x-auth-scopes"), "notes:read");

    let page = person.open("/auth/account").await.expect(200);
    assert!(!page.text().contains("ptc_pat_"));
    assert!(page.text().contains("My &#60;backup&#62;"));
    let forms = page.forms();
    let revoke = forms
        .iter()
        .find(|it| it.action.starts_with("/auth/tokens/"));
    let revoke = revoke.unwrap();
    let bob = Person::signed_in(gateway.anonymous(), "bob").await;
    let of_bob = bob
        .open("/auth/account")
        .await
        .expect(200)
        .form("/auth/logout");
    let mut foreign = revoke.clone();
    foreign.hidden = of_bob.hidden;
    bob.submit(&foreign, &[]).await.expect_page(404, "no_token");
    script.get("/notes").await.expect(200);
    let done = person.submit(revoke, &[]).await.expect(303);
    let page = person.follow(done).await.expect(200);
    assert!(page.text().contains("The token opens nothing any more."));
    script
        .get("/notes")
        .await
        .expect_problem(401, "invalid_token");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_beside_it_and_what_was_right_stays() {
    let (gateway, _) = guarded().await;
    let person = Person::signed_in(gateway.anonymous(), "alice").await;
    let form = offered(&person).await;
    let wrong = [
        ("name", " "),
        ("scope:notes:write", "on"),
        ("expires_in", "never"),
    ];
    let page = person.submit(&form, &wrong).await.expect(422);
    for id in ["token_name-error", "token_expires_in-error"] {
        assert!(page.text().contains(id), "{id}");
    }
    assert!(
        page.text()
            .contains("name=\"scope:notes:write\" value=\"on\" checked")
    );
    assert!(page.text().contains("<title>Error: "));
    // Nobody's token lives longer than they said because something else was missing.
    let short = [("name", " "), ("expires_in", "604800")];
    let page = person.submit(&form, &short).await.expect(422);
    let chosen = |seconds: &str| {
        let chosen = format!("<option value=\"{seconds}\" selected>");
        page.text().contains(&chosen)
    };
    assert!(chosen("604800") && !chosen("2592000"), "{}", page.text());
    // What is not offered is not given.
    let more = [("name", "x"), ("scope:notes:share", "on")];
    let made = person.submit(&form, &more).await.expect(200);
    assert!(!made.text().contains("Share your notes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_one_needs_a_fresh_sign_in() {
    let (gateway, _) = guarded().await;
    let person = Person::signed_in(gateway.anonymous(), "alice").await;
    let form = offered(&person).await;
    gateway.clock().advance(Duration::from_secs(601));
    let refused = person.submit(&form, &FILLED).await.expect(401);
    assert!(refused.text().contains("ten minutes"), "{}", refused.text());
    let page = person.open("/auth/account").await.expect(200);
    assert!(!page.forms().iter().any(|it| it.action == "/auth/tokens"));
    let text = page.text();
    let begins = text
        .find("/auth/login?return_to=%2Fauth%2Faccount")
        .unwrap();
    let link = text[begins..]
        .split('"')
        .next()
        .unwrap()
        .replace("&#38;", "&");
    let page = person.open(&link).await.expect(200);
    let again = [("identifier", "alice"), ("password", PASSWORD)];
    let done = person
        .submit(&page.form("/auth/login"), &again)
        .await
        .expect(303);
    let page = person.follow(done).await.expect(200);
    person
        .submit(&page.form("/auth/tokens"), &FILLED)
        .await
        .expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_token_could_open_nothing_the_page_speaks_of_none() {
    let gateway = Gateway::start(NOTHING_TO_LEND);
    let person = Person::signed_in(gateway.anonymous(), "alice").await;
    let page = person.open("/auth/account").await.expect(200);
    assert!(!page.text().contains("Personal tokens"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_left_to_lend_those_that_there_are_can_be_revoked() {
    let gateway = Gateway::start(
        r#"
        [accounts]
        registration = "open"
        login_scopes = ["notes:read"]
        [scopes]
        "notes:read" = "Read your notes"
        [routes.app]
        path = "/app"
        scopes = ["notes:read"]
        upstream = "echo"
        "#,
    );
    let alice = gateway.signed_in("alice").await;
    super::made(&alice, &["notes:read"]).await;
    let tab = Tab::new(gateway.anonymous());
    let login = json!({
        "username": "alice", "password": PASSWORD, "scope": "", "session": "cookie",
    });
    tab.post("/auth/login", &login).await.expect(204);
    let page = tab.get("/auth/account").await.expect(200);
    assert!(page.text().contains("Backup script"));
    assert!(page.text().contains("action=\"/auth/tokens/"));
    // Whatever were filled in, it could make none.
    assert!(!page.text().contains("Make a token"), "{}", page.text());
}

// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn only_our_own_form_makes_one() {
    let (gateway, _) = guarded().await;
    let person = Person::signed_in(gateway.anonymous(), "alice").await;
    person
        .post("/auth/tokens", &FILLED, &[])
        .await
        .expect_page(403, "cross_site");
    let page = person.open("/auth/account").await.expect(200);
    let csrf = page.form("/auth/tokens").hidden["csrf"].clone();
    let filled = [&FILLED[..], &[("csrf", csrf.as_str())]].concat();
    let elsewhere = [("origin", "https://evil.example")];
    person
        .post("/auth/tokens", &filled, &elsewhere)
        .await
        .expect_page(403, "cross_site");
}

/// Some browsers ask whether to send the form again, and people say yes.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_sent_again_makes_no_other() {
    let (gateway, _) = guarded().await;
    let person = Person::signed_in(gateway.anonymous(), "alice").await;
    let page = person.open("/auth/account").await.expect(200);
    let form = page.form("/auth/tokens");
    person.submit(&form, &FILLED).await.expect(200);
    let again = person.submit(&form, &FILLED).await.expect(409);
    assert!(again.text().contains("made before"), "{}", again.text());
    assert!(!again.text().contains("ptc_pat_"));
    let revoking = |page: &Answer| {
        let forms = page.forms();
        let of_tokens = forms.iter();
        let of_tokens = of_tokens.filter(|it| it.action.starts_with("/auth/tokens/"));
        of_tokens.cloned().collect::<Vec<_>>()
    };
    assert_eq!(revoking(&again).len(), 1);
    // Also where it was revoked meanwhile, and whatever else is filled in.
    person.submit(&revoking(&again)[0], &[]).await.expect(303);
    let other = [&FILLED[1..], &[("name", "Other")]].concat();
    let again = person.submit(&form, &other).await.expect(409);
    assert!(revoking(&again).is_empty());

    // The page as it is now has another form, and so has one that says what is wrong.
    let form = again.form("/auth/tokens");
    let wrong = person.submit(&form, &[("name", "")]).await.expect(422);
    let form = wrong.form("/auth/tokens");
    person.submit(&form, &FILLED).await.expect(200);

    // Nobody says themselves which it is to be, nor brings the form of another browser or of yesterday.
    let page = person.open("/auth/account").await.expect(200);
    let mut made_up = page.form("/auth/tokens");
    let id = made_up.hidden["id"].clone();
    let (first, rest) = id.split_at(1);
    let other = if first == "0" { "1" } else { "0" };
    made_up
        .hidden
        .insert("id".to_owned(), format!("{other}{rest}"));
    let refused = person.submit(&made_up, &FILLED).await.expect(403);
    refused.expect_page(403, "cross_site");
    let mut without = page.form("/auth/tokens");
    without.hidden.remove("id");
    person
        .submit(&without, &FILLED)
        .await
        .expect_page(403, "cross_site");
    let old = page.form("/auth/tokens");
    gateway.clock().advance(Duration::from_secs(3601));
    person.sign_in("alice").await.expect(303);
    person
        .submit(&old, &FILLED)
        .await
        .expect_page(403, "cross_site");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_signed_out_meanwhile_signs_in_and_is_at_the_page_again() {
    let (gateway, _) = guarded().await;
    let person = Person::signed_in(gateway.anonymous(), "alice").await;
    for action in ["/auth/tokens", "/auth/password"] {
        let page = person.open("/auth/account").await.expect(200);
        let form = page.form(action);
        let mut elsewhere = gateway.anonymous();
        elsewhere.log_in("alice").await;
        let all = json!({ "all": true });
        elsewhere.post("/auth/logout", &all).await.expect(204);
        let sent = person.submit(&form, &FILLED).await.expect(303);
        let page = person.follow(sent).await.expect(200);
        let filled = [("identifier", "alice"), ("password", PASSWORD)];
        let done = person.submit(&page.form("/auth/login"), &filled).await;
        let page = person.follow(done.expect(303)).await.expect(200);
        assert!(
            page.text().contains("Hello, alice"),
            "{action}: {}",
            page.text()
        );
    }
}
