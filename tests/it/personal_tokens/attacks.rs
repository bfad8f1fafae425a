//! Personal tokens, and whoever tries to get more by them than they were given for.

use serde_json::json;

use crate::harness::gateway::Gateway;
use crate::harness::person::Person;
use crate::harness::tab::SESSION;
use crate::harness::tab::Tab;

use super::asked;
use super::made;

/// A page of an app on a host of its own may have its browser send that host's cookie, which is of the same
/// sign-in as everywhere. SECURITY 34
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
