//! `addresses` and `users`.

use portcullis::store::KeyPurpose;
use reqwest::Method;
use serde_json::Value;
use serde_json::json;

use crate::harness::binary::portcullis;
use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::forge::Signer;
use crate::harness::forge::Token;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

/// A route with these keys, reached by a trusted proxy on this machine.
async fn gateway(keys: &str) -> (Gateway, Upstream) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [gateway]
        trusted_proxies = ["127.0.0.0/8"]
        [routes.app]
        path = "/app"
        upstream = "{}"
        {keys}
        "#,
        app.url()
    ));
    (gateway, app)
}

async fn ask(caller: &Caller, from: &str) -> Answer {
    caller.get_with("/app", &[("x-forwarded-for", from)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_networks_that_are_listed_are_admitted() {
    let networks =
        "addresses = [\"10.0.0.0/8\", \"198.51.100.7\", \"2001:db8::/32\"]\nauth = \"none\"";
    let (gateway, app) = gateway(networks).await;
    for caller in [gateway.anonymous(), gateway.anonymous_http2()] {
        for from in [
            "10.0.0.0",
            "10.255.255.255",
            "198.51.100.7",
            "2001:db8::1",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "::ffff:10.1.2.3",
        ] {
            ask(&caller, from).await.expect(200);
            app.only();
        }
        for from in [
            "9.255.255.255",
            "11.0.0.0",
            "198.51.100.8",
            "2001:db7:ffff::1",
            "2001:db9::",
            "::ffff:11.0.0.1",
            "::10.0.0.1",
            "10.0.0.1, 203.0.113.9",
        ] {
            let refused = ask(&caller, from).await;
            refused.expect_problem(403, "address_not_admitted");
            app.assert_untouched();
        }
        // The proxy itself is none of them.
        let refused = caller.get("/app").await;
        refused.expect_problem(403, "address_not_admitted");
        app.assert_untouched();
    }
}

// SECURITY 15
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_cannot_say_that_he_comes_from_inside() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        "[routes.app]\npath = \"/app\"\nauth = \"none\"\naddresses = [\"10.0.0.0/8\"]\nupstream = \"{}\"",
        app.url()
    ));
    for header in [
        "x-forwarded-for",
        "x-real-ip",
        "forwarded",
        "true-client-ip",
    ] {
        let refused = gateway
            .anonymous()
            .get_with("/app", &[(header, "10.0.0.1")])
            .await;
        refused.expect_problem(403, "address_not_admitted");
        app.assert_untouched();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outsider_learns_nothing_about_a_credential() {
    let (gateway, app) = gateway("addresses = [\"10.0.0.0/8\"]").await;
    let alice = gateway.signed_in("alice").await;
    let forged = alice.with_token("x.y.z");

    let mut answers = Vec::new();
    for caller in [&gateway.anonymous(), &forged, &alice] {
        let refused = ask(caller, "203.0.113.9").await;
        let mut refused = refused.expect_problem(403, "address_not_admitted");
        app.assert_untouched();
        for own in ["x-request-id", "date", "ratelimit", "content-length"] {
            refused.headers.remove(own);
        }
        let mut body = refused.json();
        body["request_id"].take();
        answers.push((refused.headers, body));
    }
    assert!(
        answers.windows(2).all(|pair| pair[0] == pair[1]),
        "{answers:?}"
    );

    ask(&gateway.anonymous(), "10.0.0.1").await.expect(401);
    ask(&forged, "10.0.0.1").await.expect(401);
    app.assert_untouched();
    ask(&alice, "10.0.0.1").await.expect(200);
    app.only();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_from_elsewhere_is_refused_as_well() {
    let keys = "addresses = [\"10.0.0.0/8\"]\ncors = { origins = [\"https://spa.example.com\"] }";
    let (gateway, app) = gateway(keys).await;
    for (from, status) in [("10.0.0.1", 204), ("203.0.113.9", 403)] {
        let request = gateway
            .anonymous()
            .request(Method::OPTIONS, "/app")
            .header("origin", "https://spa.example.com")
            .header("access-control-request-method", "GET")
            .header("x-forwarded-for", from);
        Answer::of(request).await.expect(status);
        app.assert_untouched();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_path_inherits_the_networks_and_may_name_its_own() {
    let keys = "auth = \"none\"\naddresses = [\"10.0.0.0/8\"]\n\
                [routes.app.paths.\"/app/in\"]\n\
                [routes.app.paths.\"/app/all\"]\naddresses = [\"0.0.0.0/0\", \"::/0\"]";
    let (gateway, app) = gateway(keys).await;
    let outside = [("x-forwarded-for", "2001:db8::1")];
    let anonymous = gateway.anonymous();
    let refused = anonymous.get_with("/app/in", &outside).await;
    refused.expect_problem(403, "address_not_admitted");
    app.assert_untouched();
    anonymous.get_with("/app/all", &outside).await.expect(200);
    app.only();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_users_that_are_listed_are_admitted() {
    let (gateway, app) = gateway("users = [\"ALICE\", \"carol@example.com\"]").await;
    let alice = gateway.signed_in("alice").await;
    let bob = gateway.signed_in("bob").await;
    alice.get("/app").await.expect(200);
    assert_eq!(app.only().header("x-auth-user"), "alice");

    let refused = bob
        .get("/app")
        .await
        .expect_problem(403, "user_not_admitted");
    // RFC 6750 §3.1: no other token would help, so none is asked for.
    assert_eq!(refused.header("www-authenticate"), "");
    gateway.anonymous().get("/app").await.expect(401);
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_known_by_id_and_by_an_address_once_it_is_verified() {
    let app = Upstream::start().await;
    let lines = |id: &str| {
        format!(
            "[routes.app]\npath = \"/app\"\nusers = [\"bob@Example.com\", \"{id}\"]\nupstream = \"{}\"",
            app.url()
        )
    };
    let mut gateway = Gateway::start(&lines("nobody"));
    gateway.anonymous().register("bob").await;
    let carol = gateway.signed_in("carol").await;
    let id = carol.get("/auth/me").await.expect(200).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    carol
        .get("/app")
        .await
        .expect_problem(403, "user_not_admitted");
    app.assert_untouched();
    gateway.folder().configure(&lines(&id));
    gateway.restart();
    let carol = gateway.anonymous().with_token(carol.token());
    carol.get("/app").await.expect(200);
    app.only();

    // An address that anybody may have written down is nobody's.
    let set = |arguments: &[&str]| {
        let mut all = vec!["user", "set", "bob"];
        all.extend(arguments);
        portcullis(gateway.folder(), &all).expect(0);
    };
    set(&["--email", "bob@example.com"]);
    let bob = log_in(&gateway, "bob").await;
    bob.get("/app")
        .await
        .expect_problem(403, "user_not_admitted");
    app.assert_untouched();
    set(&["--email-verified", "true"]);
    let bob = log_in(&gateway, "bob").await;
    bob.get("/app").await.expect(200);
    app.only();
}

async fn log_in(gateway: &Gateway, name: &str) -> Caller {
    let mut caller = gateway.anonymous();
    caller.log_in(name).await;
    caller
}

#[tokio::test(flavor = "multi_thread")]
async fn with_roles_both_must_hold() {
    let (gateway, app) = gateway("users = [\"alice\"]\nroles = [\"editor\"]").await;
    let alice = gateway.signed_in("alice").await;
    gateway.anonymous().register("bob").await;
    alice
        .get("/app")
        .await
        .expect_problem(403, "insufficient_role");
    for name in ["alice", "bob"] {
        portcullis(
            gateway.folder(),
            &["user", "set", name, "--add-role", "editor"],
        )
        .expect(0);
    }
    let alice = log_in(&gateway, "alice").await;
    let bob = log_in(&gateway, "bob").await;
    bob.get("/app")
        .await
        .expect_problem(403, "user_not_admitted");
    app.assert_untouched();
    alice.get("/app").await.expect(200);
    app.only();
}

// SECURITY 44
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_never_one_of_the_users() {
    let (gateway, app) = gateway(
        "users = [\"alice\", \"alice@example.com\"]\nclients = \"*\"\n[routes.app.paths.\"/app/all\"]\nusers = []",
    )
    .await;
    let alice = gateway.signed_in("alice").await;
    let access = Signer::stolen(&gateway, KeyPurpose::Access).await;
    let with = |claims: &Value| {
        let token = Token::read(alice.token()).with_claims(claims);
        alice.with_token(&token.signed_by(&access))
    };
    // An app that acts for alice is alice.
    with(&json!({ "client_id": "sync" }))
        .get("/app")
        .await
        .expect(200);
    app.only();
    let machine = json!({
        "client_id": "alice", "sub": "client:alice", "preferred_username": null, "name": null,
        "email": "alice@example.com", "user_version": null, "auth_time": null,
    });
    with(&machine).get("/app/all").await.expect(200);
    assert_eq!(app.only().header("x-auth-client"), "alice");
    let refused = with(&machine).get("/app").await;
    refused.expect_problem(403, "user_not_admitted");
    app.assert_untouched();
}
