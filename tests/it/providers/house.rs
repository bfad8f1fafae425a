//! Another Portcullis as the provider: both sides are the real one, over TLS.

use portcullis::domain::EmailAddress;
use portcullis::domain::Role;
use portcullis::store::UserChange;
use serde_json::json;

use super::ROUTE;
use super::SESSION;
use super::change;
use super::told;
use crate::harness::gateway::Gateway;
use crate::harness::person::Person;

const CLIENT_SECRET: &str = "Xq2v8mK4tR9wZ1bN6cL3pS7dF5gH0jYa";

/// One that is found under its own name: its port is known only once it has one.
fn provider() -> Gateway {
    let mut provider = Gateway::start("");
    let port = provider.address().port();
    provider.stop();
    provider.folder().configure(&format!(
        r#"
        [gateway]
        public_url = "https://localhost:{port}"
        [[listeners]]
        address = "127.0.0.1:{port}"
        [clients.gate]
        name = "The other house"
        secret = "{CLIENT_SECRET}"
        redirect_uris = ["https://localhost/auth/provider/house/callback"]
        scopes = ["openid", "profile", "email"]
        grants = ["authorization_code"]
        consent = "skip"
        "#
    ));
    provider.restart();
    provider
}

// SECURITY 39, 45
#[tokio::test(flavor = "multi_thread")]
async fn another_portcullis_signs_people_in_who_have_their_roles_from_there() {
    let there = provider();
    let port = there.address().port();
    let ca = there.folder().path("certs/ca.pem");
    let here = Gateway::start(&format!(
        r#"
        {ROUTE}
        [providers.house]
        issuer = "https://localhost:{port}"
        client_id = "gate"
        client_secret = "{CLIENT_SECRET}"
        name = "The first house"
        create_accounts = true
        roles_claim = "roles"
        roles = {{ staff = "admin" }}
        ca = "{}"
        "#,
        ca.display()
    ));
    let at_home = Person::signed_in(there.anonymous(), "alice").await;
    let known = UserChange {
        email: Some(EmailAddress::parse("alice@first.example").ok()),
        email_verified: Some(true),
        add_roles: vec![Role::parse("staff").unwrap()],
        ..UserChange::default()
    };
    change(&there, "alice", known).await;
    at_home.sign_in("alice").await.expect(303);

    let visitor = Person::new(here.anonymous());
    let sent = visitor.open("/auth/provider/house").await.expect(303);
    let back = at_home.open(sent.header("location")).await.expect(303);
    let location = back.header("location");
    let callback = "https://localhost/auth/provider/house/callback?";
    assert!(location.starts_with(callback), "{location}");
    visitor.open(location).await.expect(303);
    let seen = told(&visitor).await;
    assert_eq!(seen["x-auth-user"], "alice");
    assert_eq!(seen["x-auth-email"], "alice@first.example");
    assert_eq!(seen["x-auth-roles"], "admin");
    visitor.open("/admin").await.expect(200);

    // The code was good once, and in that browser.
    let again = visitor.open("/auth/provider/house").await.expect(303);
    let other = at_home.open(again.header("location")).await.expect(303);
    let stranger = Person::new(here.anonymous());
    stranger.open("/auth/provider/house").await.expect(303);
    stranger
        .open(other.header("location"))
        .await
        .expect_page(400, "sign_in_lost");
    assert_eq!(stranger.cookie("localhost", SESSION), None);

    // Whoever loses the role there has lost it here at the next sign-in.
    let fewer = UserChange {
        remove_roles: vec![Role::parse("staff").unwrap()],
        ..UserChange::default()
    };
    change(&there, "alice", fewer).await;
    let sent = visitor.open("/auth/provider/house").await.expect(303);
    let back = at_home.open(sent.header("location")).await.expect(303);
    visitor.open(back.header("location")).await.expect(303);
    assert_eq!(told(&visitor).await["x-auth-roles"], json!(null));
    visitor.open("/admin").await.expect(403);
}
