//! Credentials: what is good, what is not, and what a refusal says.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;

use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

/// What RFC 6750 §3.1 has for a token that is not good.
const INVALID: &str = "Bearer realm=\"portcullis\", error=\"invalid_token\", \
                       error_description=\"The access token is malformed, expired or revoked\"";

async fn guarded() -> (Gateway, Upstream) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.required]
        path = "/required"
        upstream = "{0}"
        [routes.optional]
        path = "/optional"
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

#[track_caller]
fn assert_invalid(answer: Answer, what: &str) {
    assert_eq!(answer.status, 401, "{what}: {}", answer.text());
    assert_eq!(answer.header("www-authenticate"), INVALID, "{what}");
    answer.expect_problem(401, "invalid_token");
}

// SECURITY 26
#[tokio::test(flavor = "multi_thread")]
async fn without_a_credential_a_caller_is_asked_for_one() {
    let (gateway, app) = guarded().await;
    let refused = gateway.anonymous().get("/required").await;
    assert_eq!(
        refused.header("www-authenticate"),
        "Bearer realm=\"portcullis\""
    );
    refused.expect_problem(401, "unauthenticated");
    app.assert_untouched();

    gateway
        .signed_in("alice")
        .await
        .get("/required")
        .await
        .expect(200);
    assert_eq!(app.only().header("x-auth-user"), "alice");
}

// SECURITY 23
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_credential_is_a_401_and_never_a_500() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let token = alice.token();
    let caller = gateway.anonymous();
    for bad in [
        "".to_owned(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        "Bearer x".to_owned(),
        "Bearer a.b.c".to_owned(),
        "Bearer ..".to_owned(),
        "Basic YWxpY2U6c2VjcmV0".to_owned(),
        "Token abc".to_owned(),
        token.to_owned(),
        format!("Bearer {token} {token}"),
        format!("Bearer {token},"),
        format!("Bearer\t{token}"),
        format!("Bearer \"{token}\""),
        format!("Bearer {}", "a".repeat(10_000)),
    ] {
        for path in ["/required", "/optional", "/auth/me"] {
            let answer = caller.get_with(path, &[("authorization", &bad)]).await;
            assert_invalid(answer, &bad);
        }
    }
    app.assert_untouched();

    // The scheme's name has no case, and more than one blank may follow it (RFC 9110 §11.4).
    for good in [format!("bearer {token}"), format!("BEARER  {token}")] {
        caller
            .get_with("/required", &[("authorization", &good)])
            .await
            .expect(200);
        app.only();
    }
}

// SECURITY 23
#[tokio::test(flavor = "multi_thread")]
async fn two_credentials_are_a_400() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let line = format!("Authorization: Bearer {}\r\n", alice.token());
    for path in ["/required", "/optional", "/open", "/auth/me"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{line}{line}\r\n");
        let answer = gateway.raw().await.ask(request).await;
        assert_eq!(answer.status(), 400, "{path}");
    }
    app.assert_untouched();
}

// SECURITY 23
#[tokio::test(flavor = "multi_thread")]
async fn a_token_anywhere_else_is_no_credential() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let token = alice.token();
    let caller = gateway.anonymous();
    for path in [
        format!("/required?access_token={token}"),
        format!("/required?token={token}"),
        format!("/required?Authorization=Bearer%20{token}"),
    ] {
        caller
            .get(&path)
            .await
            .expect_problem(401, "unauthenticated");
    }
    let cookie = format!("access_token={token}; __Host-portcullis={token}");
    let answer = caller.get_with("/required", &[("cookie", &cookie)]).await;
    answer.expect_problem(401, "unauthenticated");
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_optional_route_knows_nobody_somebody_and_liars_apart() {
    let (gateway, app) = guarded().await;
    gateway.anonymous().get("/optional").await.expect(200);
    assert_eq!(app.only().header("x-auth-user"), "");

    let alice = gateway.signed_in("alice").await;
    alice.get("/optional").await.expect(200);
    assert_eq!(app.only().header("x-auth-user"), "alice");

    let liar = gateway.anonymous().with_token("x.y.z");
    assert_invalid(liar.get("/optional").await, "x.y.z");
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_route_reads_no_credential() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    for caller in [&alice, &gateway.anonymous().with_token("garbage")] {
        caller.get("/open").await.expect(200);
        let arrived = app.only();
        assert_eq!(arrived.header("x-auth-user"), "");
        assert_eq!(arrived.header("authorization"), "");
    }
}

// SECURITY 19
#[tokio::test(flavor = "multi_thread")]
async fn a_token_signed_by_anybody_else_is_refused() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let key = published_key(&alice).await;
    let good = Token::read(alice.token());
    let with_header = |changes: Value| {
        let mut header = good.header.clone();
        header
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        Token {
            header,
            ..good.clone()
        }
    };

    for none in ["none", "None", "NONE", ""] {
        let forged = with_header(json!({ "alg": none }));
        assert_invalid(
            alice.with_token(&forged.unsigned()).get("/required").await,
            none,
        );
        assert_invalid(
            alice.with_token(&forged.text()).get("/required").await,
            none,
        );
    }
    // The public key is everybody's: it must not do as the secret of an HMAC.
    let point = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let uncompressed = [vec![4], point("x"), point("y")].concat();
    for secret in [
        serde_json::to_vec(&key).unwrap(),
        [point("x"), point("y")].concat(),
        uncompressed.clone(),
        pem(&uncompressed).into_bytes(),
        Vec::new(),
    ] {
        for algorithm in ["HS256", "ES256"] {
            let forged = with_header(json!({ "alg": algorithm })).hmac(&secret);
            assert_invalid(alice.with_token(&forged).get("/required").await, algorithm);
        }
    }
    for algorithm in ["ES384", "RS256", "PS256", "EdDSA"] {
        let forged = with_header(json!({ "alg": algorithm })).text();
        assert_invalid(alice.with_token(&forged).get("/required").await, algorithm);
    }
    app.assert_untouched();
    alice.get("/required").await.expect(200);
}

// SECURITY 20
#[tokio::test(flavor = "multi_thread")]
async fn a_token_cannot_bring_its_own_key() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let good = Token::read(alice.token());
    let key = published_key(&alice).await;
    for changes in [
        json!({ "kid": "another" }),
        json!({ "kid": "" }),
        json!({ "kid": "../../etc/passwd" }),
        json!({ "kid": null }),
        json!({ "jwk": key }),
        json!({ "jku": format!("{}/jwks", app.url()) }),
        json!({ "x5u": format!("{}/x5u", app.url()) }),
        json!({ "crit": ["exp"] }),
        json!({ "crit": ["b64"], "b64": false }),
    ] {
        let mut forged = good.clone();
        forged
            .header
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        let answer = alice.with_token(&forged.text()).get("/required").await;
        assert_invalid(answer, &changes.to_string());
    }
    // Not even asked for a key.
    app.assert_untouched();
}

// SECURITY 21
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_only_as_it_was_issued() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let good = Token::read(alice.token());
    for claim in ["exp", "iss", "aud", "sub"] {
        assert!(!good.payload[claim].is_null(), "{claim}");
    }
    assert_eq!(good.payload["iss"], "https://localhost");
    assert_eq!(good.payload["aud"], "https://localhost");
    assert_eq!(good.header["typ"], "at+jwt");
    assert_eq!(good.header["alg"], "ES256");

    for changes in [
        json!({ "sub": "somebody-else" }),
        json!({ "exp": 99_999_999_999_u64 }),
        json!({ "scope": "everything" }),
        json!({ "roles": ["admin"] }),
    ] {
        let mut forged = good.clone();
        forged
            .payload
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        let answer = alice.with_token(&forged.text()).get("/required").await;
        assert_invalid(answer, &changes.to_string());
    }
    let text = alice.token();
    let (signed, signature) = text.rsplit_once('.').unwrap();
    for forged in [
        signed.to_owned(),
        format!("{signed}."),
        format!("{signed}.{}", &signature[..signature.len() - 4]),
        format!("{signed}.{signature}AAAA"),
        format!("{text}."),
        format!("{text}.{signature}"),
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 64])),
    ] {
        assert_invalid(alice.with_token(&forged).get("/required").await, &forged);
    }
    app.assert_untouched();
}

// SECURITY 21
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_refused_however_well_known_it_was() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    alice.get("/required").await.expect(200);
    app.only();

    gateway.clock().advance(Duration::from_secs(14 * 60));
    alice.get("/required").await.expect(200);
    app.only();

    // A quarter of an hour, and a leeway of at most a minute.
    gateway.clock().advance(Duration::from_secs(2 * 60 + 1));
    assert_invalid(alice.get("/required").await, "expired");
    app.assert_untouched();
}

// SECURITY 22
#[tokio::test(flavor = "multi_thread")]
async fn one_kind_of_token_does_not_pass_for_another() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    alice.get("/required").await.expect(200);
    let assertion = app.only().header("x-auth-assertion").to_owned();
    assert_ne!(assertion, "");

    let as_bearer = alice.with_token(&assertion);
    assert_invalid(as_bearer.get("/required").await, "an assertion");
    let as_bearer = alice.with_token(alice.refresh_token());
    assert_invalid(as_bearer.get("/required").await, "a refresh token");
    app.assert_untouched();

    for not_refresh in [alice.token(), &assertion, "", "x", "ptc_rt_", "ptc_rt_AAAA"] {
        let answer = alice.try_refresh(not_refresh).await;
        answer.expect_problem(401, "invalid_refresh_token");
    }
    // Nothing of this ended the session.
    alice.get("/required").await.expect(200);
}

async fn published_key(caller: &Caller) -> Value {
    let kid = Token::read(caller.token()).header["kid"].clone();
    let keys = caller
        .get("/.well-known/jwks.json")
        .await
        .expect(200)
        .json();
    let keys = keys["keys"].as_array().unwrap().clone();
    keys.into_iter().find(|key| key["kid"] == kid).unwrap()
}

/// A P-256 public key as `SubjectPublicKeyInfo` in PEM form (RFC 5480).
fn pem(point: &[u8]) -> String {
    let header =
        b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\
                   \x03\x01\x07\x03\x42\x00";
    let text = STANDARD.encode([header, point].concat());
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    )
}

/// A JWT taken apart, to be put together otherwise.
#[derive(Clone)]
struct Token {
    header: Value,
    payload: Value,
    signature: String,
}

impl Token {
    fn read(text: &str) -> Self {
        let parts: Vec<_> = text.split('.').collect();
        let json =
            |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        Self {
            header: json(parts[0]),
            payload: json(parts[1]),
            signature: parts[2].to_owned(),
        }
    }

    fn text(&self) -> String {
        format!("{}.{}", self.signed_part(), self.signature)
    }

    fn unsigned(&self) -> String {
        format!("{}.", self.signed_part())
    }

    fn hmac(&self, secret: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let signed = self.signed_part();
        let tag = hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    fn signed_part(&self) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        format!("{}.{}", part(&self.header), part(&self.payload))
    }
}
