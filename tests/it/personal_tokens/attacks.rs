//! Personal tokens, and whoever tries to get more by them than they were given for.

use reqwest::Method;
use serde_json::json;

use crate::harness::binary::portcullis;
use crate::harness::caller::Answer;
use crate::harness::forge::Token;
use crate::harness::gateway::Gateway;
use crate::harness::person::FormBody as _;
use crate::harness::person::Person;
use crate::harness::tab::SESSION;
use crate::harness::tab::Tab;

use super::ISSUE;
use super::asked;
use super::guarded;
use super::made;

/// A page of an app on a host of its own may have its browser send that host's cookie, which is of the same
/// sign-in as everywhere.
// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn no_app_on_a_host_of_its_own_makes_one_by_the_cookie() {
    let gateway = Gateway::start(
        r#"
        [accounts]
        registration = "open"
        login_scopes = ["notes:read"]
        [scopes]
        "notes:read" = "Read your notes"
        [routes.notes]
        host = "notes.example.com"
        path = "/"
        upstream = "echo"
        [routes.app]
        path = "/app"
        scopes = ["notes:read"]
        upstream = "echo"
        "#,
    );
    let person = Person::signed_in(gateway.anonymous(), "alice").await;
    let sent = person.open("https://notes.example.com/").await.expect(303);
    person.follow(sent).await.expect(200);
    let there = Tab::new(gateway.anonymous().at("notes.example.com"));
    let cookie = |host| person.cookie(host, SESSION).unwrap();
    there.put(SESSION, &cookie("notes.example.com"));
    let refused = there.post("/auth/tokens", &asked(&["notes:read"])).await;
    refused.expect_problem(403, "cross_site");
    let here = Tab::new(gateway.anonymous());
    here.put(SESSION, &cookie("localhost"));
    let tokens = here.get("/auth/tokens").await.expect(200).json();
    assert_eq!(tokens["tokens"], json!([]));
    let done = here.post("/auth/tokens", &asked(&["notes:read"])).await;
    done.expect(201);

    // Whoever holds an access token has more than the cookie, wherever they are.
    let mut alice = gateway.anonymous();
    alice.log_in("alice").await;
    made(&alice.at("notes.example.com"), &["notes:read"]).await;
}

/// An app may ask for a fresh sign-in before what is dangerous.
// SECURITY 14
#[tokio::test(flavor = "multi_thread")]
async fn no_app_takes_one_for_a_sign_in() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let (own, _) = made(&alice, &["notes:read"]).await;
    let issued = portcullis(gateway.folder(), &ISSUE).expect(0).stdout;
    for token in [&*own, issued.trim_end()] {
        let script = gateway.anonymous().with_token(token);
        script.get("/notes").await.expect(200);
        let told = Token::read(app.only().header("x-auth-assertion")).payload;
        assert_eq!(told["client_id"], "personal-token");
        assert_eq!(told["amr"], json!([]));
        assert_eq!(told.get("auth_time"), None, "{told}");
    }
    alice.get("/notes").await.expect(200);
    let told = Token::read(app.only().header("x-auth-assertion")).payload;
    assert!(told["auth_time"].is_u64(), "{told}");
}

/// Before there were personal tokens, a client might be called as they are now.
// SECURITY 44
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_had_their_name_passes_for_none_of_them() {
    let (gateway, _) = guarded().await;
    gateway
        .behind_its_back(
            "INSERT INTO clients (id, name, secret, redirect_uris, post_logout_redirect_uris, scopes, \
             grants, consent, roles, disabled, created_at) VALUES ('personal-token', NULL, \
             x'2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b', '', '', 'notes:read', \
             'client_credentials', 'ask', '', 0, 0)",
        )
        .await;
    let asking = gateway
        .anonymous()
        .request(Method::POST, "/auth/oauth/token")
        .basic_auth("personal-token", Some("secret"))
        .form_of(&[("grant_type", "client_credentials")]);
    let refused = Answer::of(asking).await.expect(401).json();
    assert_eq!(refused["error"], "invalid_client");
    let run = |what: &str| portcullis(gateway.folder(), &["client", what, "personal-token"]);
    run("enable").expect(1);
    run("delete").expect(0);
    run("delete").expect(1);
}
