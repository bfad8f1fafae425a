//! Assertions as an app checks them that trusts nothing but the published keys.

use std::collections::HashSet;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::Header;
use jsonwebtoken::Validation;
use jsonwebtoken::decode;
use jsonwebtoken::decode_header;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::JwkSet;
use serde_json::Value;
use serde_json::json;

use crate::harness::binary::portcullis;
use crate::harness::caller::Caller;
use crate::harness::eventually;
use crate::harness::forge::Token;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

async fn guarded(lines: &str) -> (Gateway, Upstream) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        {lines}
        [routes.notes]
        path = "/notes"
        upstream = "{0}"
        [routes.mail]
        path = "/mail"
        auth = "optional"
        upstream = "{0}"
        [routes.open]
        path = "/open"
        auth = "none"
        upstream = "{0}"
        "#,
        app.url()
    ));
    (gateway, app)
}

/// What arrives with a caller's request.
async fn told(caller: &Caller, app: &Upstream, path: &str) -> String {
    caller.get(path).await.expect(200);
    app.only().header("x-auth-assertion").to_owned()
}

/// Any app's side: the key by its kid from the published ones, and every option said out loud.
async fn check(
    gateway: &Gateway,
    assertion: &str,
    algorithm: Algorithm,
    audience: &str,
) -> Result<(Header, Value), ErrorKind> {
    let keys = gateway.anonymous().get("/.well-known/jwks.json").await;
    let keys: JwkSet = serde_json::from_slice(&keys.expect(200).body).unwrap();
    let header = decode_header(assertion).unwrap();
    let key = keys.find(header.kid.as_deref().unwrap()).unwrap();
    let validation = Validation {
        algorithms: vec![algorithm],
        iss: Some(HashSet::from(["https://localhost".to_owned()])),
        aud: Some(HashSet::from([audience.to_owned()])),
        required_spec_claims: ["exp", "iss", "aud", "sub"].map(str::to_owned).into(),
        leeway: 0,
        ..Validation::default()
    };
    let key = DecodingKey::from_jwk(key).unwrap();
    match decode(assertion, &key, &validation) {
        Ok(data) => Ok((data.header, data.claims)),
        Err(error) => Err(error.into_kind()),
    }
}

// SECURITY 14
#[tokio::test(flavor = "multi_thread")]
async fn an_app_can_check_who_calls_with_the_published_keys_alone() {
    for (name, algorithm) in [("ES256", Algorithm::ES256), ("EdDSA", Algorithm::EdDSA)] {
        let (gateway, app) = guarded(&format!("[tokens]\nalgorithm = '{name}'")).await;
        let alice = gateway.signed_in("alice").await;
        let access = Token::read(alice.token());
        for (path, route, other) in [("/notes", "notes", "mail"), ("/mail", "mail", "notes")] {
            let assertion = told(&alice, &app, path).await;
            let checked = check(&gateway, &assertion, algorithm, route).await;
            let (header, claims) = checked.unwrap();
            assert_eq!(header.typ.as_deref(), Some("portcullis-assertion+jwt"));
            // A key of its own: what signs assertions signs no access token.
            assert_ne!(header.kid.as_deref(), access.header["kid"].as_str());
            for same in ["sub", "sid", "scope", "auth_time", "amr"] {
                assert_eq!(claims[same], access.payload[same], "{same}");
            }
            let seconds = |claim: &str| claims[claim].as_u64().unwrap();
            assert_eq!(seconds("exp") - seconds("iat"), 60);
            // Not for another app, nor for the gateway itself.
            for wrong in [other, "https://localhost", ""] {
                let refused = check(&gateway, &assertion, algorithm, wrong).await;
                assert_eq!(refused.unwrap_err(), ErrorKind::InvalidAudience);
            }
            let changed = Token::read(&assertion).with_claims(&json!({ "sub": "bob" }));
            let refused = check(&gateway, &changed.text(), algorithm, route).await;
            assert_eq!(refused.unwrap_err(), ErrorKind::InvalidSignature);
        }
    }
}

// SECURITY 14
#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_is_about_a_caller_and_never_from_one() {
    let (gateway, app) = guarded("[gateway]\nthreads = 1").await;
    let alice = gateway.signed_in("alice").await;
    let bob = gateway.signed_in("bob").await;
    let of_alice = told(&alice, &app, "/notes").await;
    let of_bob = told(&bob, &app, "/notes").await;
    let subject = |assertion: &str| Token::read(assertion).payload["sub"].clone();
    assert_ne!(subject(&of_alice), subject(&of_bob));

    // One that somebody brings along is replaced, or dropped.
    let brought = [("x-auth-assertion", of_alice.as_str())];
    bob.get_with("/notes", &brought).await.expect(200);
    assert_eq!(app.only().header("x-auth-assertion"), of_bob);
    for path in ["/mail", "/open"] {
        let anonymous = gateway.anonymous();
        anonymous.get_with(path, &brought).await.expect(200);
        assert_eq!(app.only().header("x-auth-assertion"), "", "{path}");
    }
    gateway
        .anonymous()
        .get_with("/notes", &brought)
        .await
        .expect_problem(401, "unauthenticated");
    app.assert_untouched();
}

// SECURITY 14
#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_is_always_good_for_half_a_minute_more() {
    let (gateway, app) = guarded("[gateway]\nthreads = 1").await;
    let alice = gateway.signed_in("alice").await;
    let first = told(&alice, &app, "/notes").await;
    let issued = |assertion: &str| Token::read(assertion).payload["iat"].as_u64().unwrap();
    gateway.clock().advance(Duration::from_secs(25));
    assert_eq!(told(&alice, &app, "/notes").await, first);
    gateway.clock().advance(Duration::from_secs(10));
    let second = told(&alice, &app, "/notes").await;
    assert!((35..=40).contains(&(issued(&second) - issued(&first))));
}

// SECURITY 14 and 25
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_changes_the_key_of_assertions_to_one_that_was_published() {
    let (gateway, app) = guarded("").await;
    let alice = gateway.signed_in("alice").await;
    let before = told(&alice, &app, "/notes").await;
    let known = gateway.anonymous().get("/.well-known/jwks.json").await;
    let known: JwkSet = serde_json::from_slice(&known.expect(200).body).unwrap();
    let kid = |assertion: &str| decode_header(assertion).unwrap().kid.unwrap();

    portcullis(gateway.folder(), &["key", "rotate", "--force"]).expect(0);
    let after = eventually("an assertion by the next key", async || {
        let assertion = told(&alice, &app, "/notes").await;
        (kid(&assertion) != kid(&before)).then_some(assertion)
    })
    .await;
    assert!(known.find(&kid(&after)).is_some());
    for assertion in [before, after] {
        let checked = check(&gateway, &assertion, Algorithm::ES256, "notes").await;
        checked.unwrap();
    }

    // A leaked key is published no more, so that apps stop believing what it signs.
    let leaked = kid(&told(&alice, &app, "/notes").await);
    portcullis(gateway.folder(), &["key", "revoke", &leaked]).expect(0);
    eventually("an assertion by another key", async || {
        let assertion = told(&alice, &app, "/notes").await;
        (kid(&assertion) != leaked).then_some(())
    })
    .await;
    let now = gateway.anonymous().get("/.well-known/jwks.json").await;
    let now: JwkSet = serde_json::from_slice(&now.expect(200).body).unwrap();
    assert!(now.find(&leaked).is_none());
}
