//! Signing keys: published, rotated with overlap, revoked without.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;

use crate::harness::binary::portcullis;
use crate::harness::binary::portcullis_reading;
use crate::harness::caller::PASSWORD;
use crate::harness::eventually;
use crate::harness::gateway::Folder;
use crate::harness::gateway::Gateway;

const ROUTE: &str = r#"
    [routes.app]
    path = "/app"
    upstream = "echo"
"#;

fn kid(token: &str) -> String {
    let header = token.split('.').next().unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

async fn published(gateway: &Gateway) -> Vec<Value> {
    let keys = gateway
        .anonymous()
        .get("/.well-known/jwks.json")
        .await
        .expect(200);
    keys.json()["keys"].as_array().unwrap().clone()
}

// SECURITY 25
#[tokio::test(flavor = "multi_thread")]
async fn only_public_parts_are_published() {
    for (algorithm, members) in [
        (
            "ES256",
            json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig" }),
        ),
        (
            "EdDSA",
            json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig" }),
        ),
    ] {
        let gateway = Gateway::start(&format!("[tokens]\nalgorithm = '{algorithm}'\n{ROUTE}"));
        let answer = gateway
            .anonymous()
            .get("/.well-known/jwks.json")
            .await
            .expect(200);
        assert_eq!(answer.header("content-type"), "application/jwk-set+json");
        assert!(
            answer
                .header("cache-control")
                .starts_with("public, max-age=")
        );
        let keys = published(&gateway).await;
        // Current and next, for access tokens and for assertions.
        assert_eq!(keys.len(), 4);
        for key in &keys {
            for (name, value) in members.as_object().unwrap() {
                assert_eq!(&key[name], value, "{key}");
            }
            for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
                assert!(key[private].is_null(), "{private} of {key}");
            }
        }
        let alice = gateway.signed_in("alice").await;
        let signer = kid(alice.token());
        assert!(keys.iter().any(|key| key["kid"] == *signer));
        alice.get("/app").await.expect(200);
    }
}

// SECURITY 25
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_is_felt_and_leaves_older_tokens_good() {
    let gateway = Gateway::start(ROUTE);
    let before = gateway.signed_in("alice").await;
    let old = kid(before.token());
    let known = published(&gateway).await;

    // The next key has only just been published: too soon, unless somebody insists.
    portcullis(gateway.folder(), &["key", "rotate"]).expect(1);
    portcullis(gateway.folder(), &["key", "rotate", "--force"]).expect(0);
    let after = eventually("tokens signed by the next key", async || {
        let caller = gateway.signed_in("alice").await;
        (kid(caller.token()) != old).then_some(caller)
    })
    .await;
    let new = kid(after.token());
    assert!(
        known.iter().any(|key| key["kid"] == *new),
        "it had not been published before"
    );
    before.get("/app").await.expect(200);
    after.get("/app").await.expect(200);
    let now = published(&gateway).await;
    for kid in [old, new] {
        assert!(now.iter().any(|key| key["kid"] == *kid));
    }
}

// SECURITY 25
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_takes_its_tokens_with_it() {
    let gateway = Gateway::start(ROUTE);
    let before = gateway.signed_in("alice").await;
    before.get("/app").await.expect(200);
    let leaked = kid(before.token());
    portcullis(gateway.folder(), &["key", "revoke", &leaked]).expect(0);
    eventually("the end of the key", async || {
        (before.get("/app").await.status == 401).then_some(())
    })
    .await;
    assert!(
        published(&gateway)
            .await
            .iter()
            .all(|key| key["kid"] != *leaked)
    );

    // The session was not to blame: refreshing gets a token of another key.
    let mut after = before.clone();
    after.refresh().await;
    assert_ne!(kid(after.token()), leaked);
    after.get("/app").await.expect(200);
    portcullis(gateway.folder(), &["key", "revoke", "no-such-key"]).expect(1);
}

// SECURITY 25
#[tokio::test(flavor = "multi_thread")]
async fn keys_survive_a_restart() {
    let mut gateway = Gateway::start(ROUTE);
    let alice = gateway.signed_in("alice").await;
    let before = published(&gateway).await;
    gateway.restart();
    assert_eq!(published(&gateway).await, before);
    gateway
        .anonymous()
        .with_token(alice.token())
        .get("/app")
        .await
        .expect(200);
}

#[test]
fn a_key_whose_id_begins_with_a_hyphen_can_be_named() {
    let folder = Folder::with(ROUTE);
    portcullis_reading(&folder, &["user", "add", "alice"], PASSWORD).expect(0);
    let output = portcullis(&folder, &["key", "revoke", "-no-such-key"]).expect(1);
    assert!(output.stderr.contains("no key -no-such-key"), "{output:?}");
}
