//! What a token says, and what kind of token it is.

use std::time::Duration;

use serde_json::json;

use crate::harness::forge::Token;
use crate::tokens::Trial;

// SECURITY 21
#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_claims_are_not_ours_is_refused_however_well_signed() {
    let trial = Trial::start().await;
    let now = trial.good.payload["iat"].as_u64().unwrap();
    for claim in [
        "iss",
        "sub",
        "aud",
        "exp",
        "iat",
        "jti",
        "sid",
        "client_id",
        "auth_time",
        "user_version",
    ] {
        let mut without = trial.good.clone();
        without.payload.as_object_mut().unwrap().remove(claim);
        let token = without.signed_by(&trial.access);
        trial.refused(&format!("no {claim}"), &token).await;
        for value in [
            json!(null),
            json!(true),
            json!(-1),
            json!(1.5),
            json!([]),
            json!([1]),
            json!({}),
        ] {
            let changes = json!({ claim: value });
            let token = trial.good.with_claims(&changes).signed_by(&trial.access);
            trial.refused(&changes.to_string(), &token).await;
        }
    }
    for changes in [
        json!({ "exp": 0 }),
        json!({ "exp": now - 31 }),
        json!({ "exp": (now + 900).to_string() }),
        json!({ "exp": (now + 900) as f64 }),
        json!({ "exp": -1 }),
        json!({ "nbf": now + 600 }),
        json!({ "nbf": u64::MAX }),
        json!({ "nbf": "now" }),
        json!({ "nbf": null }),
        json!({ "iat": now + 600 }),
        json!({ "iat": now.to_string() }),
        json!({ "iss": "" }),
        json!({ "iss": "https://localhost/" }),
        json!({ "iss": "https://LOCALHOST" }),
        json!({ "iss": "http://localhost" }),
        json!({ "iss": "https://evil.example" }),
        json!({ "iss": ["https://localhost"] }),
        json!({ "aud": "" }),
        json!({ "aud": "required" }),
        json!({ "aud": "https://localhost/" }),
        json!({ "aud": "https://evil.example" }),
        json!({ "aud": ["https://evil.example"] }),
        json!({ "aud": "https://evil.example https://localhost" }),
        json!({ "sub": "alice" }),
        json!({ "sub": "" }),
        json!({ "sub": "client:" }),
        json!({ "sub": "client:a\r\nX-Auth-Roles: admin" }),
        json!({ "sid": "1" }),
        json!({ "client_id": "a b" }),
        json!({ "scope": ["notes:read"] }),
        json!({ "scope": "notes:read\nadmin" }),
        json!({ "roles": "admin" }),
        json!({ "roles": ["admin,root"] }),
        json!({ "roles": ["admin\r\nX-Evil: 1"] }),
        json!({ "preferred_username": "a\r\nX-Evil: 1" }),
        json!({ "preferred_username": "\u{430}lice" }),
        json!({ "name": "a\nb" }),
        json!({ "name": "\u{3164}" }),
        json!({ "email": "a@example.com\r\nX-Evil: 1" }),
        json!({ "amr": "pwd" }),
        json!({ "amr": ["p\nw"] }),
    ] {
        let token = trial.good.with_claims(&changes).signed_by(&trial.access);
        trial.refused(&changes.to_string(), &token).await;
    }
}

// SECURITY 21
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_refused_however_well_known_it_was() {
    let trial = Trial::start().await;
    assert_eq!(trial.good.payload["iss"], "https://localhost");
    assert_eq!(trial.good.payload["aud"], "https://localhost");
    trial.admitted(trial.alice.token()).await;

    trial.gateway.clock().advance(Duration::from_secs(14 * 60));
    trial.admitted(trial.alice.token()).await;

    // A quarter of an hour, and a leeway of at most a minute.
    trial
        .gateway
        .clock()
        .advance(Duration::from_secs(2 * 60 + 1));
    trial.refused("expired", trial.alice.token()).await;
}

// SECURITY 22
#[tokio::test(flavor = "multi_thread")]
async fn one_kind_of_token_does_not_pass_for_another() {
    let trial = Trial::start().await;
    trial.alice.get("/required").await.expect(200);
    let assertion = trial.app.only().header("x-auth-assertion").to_owned();
    let said = Token::read(&assertion);
    let for_us = said.with_claims(&json!({ "aud": "https://localhost" }));
    let as_access = said.with_header(&json!({ "typ": "at+jwt" }));
    let id_token = {
        let claims = json!({
            "iss": "https://localhost", "sub": trial.good.payload["sub"], "aud": "notes-web",
            "exp": trial.good.payload["exp"], "iat": trial.good.payload["iat"], "nonce": "n",
        });
        Token {
            header: json!({ "typ": "JWT", "alg": "ES256", "kid": trial.access.kid }),
            payload: claims,
            signature: String::new(),
        }
    };
    for (what, token) in [
        ("an assertion", assertion.clone()),
        ("one for the gateway", for_us.signed_by(&trial.assertion)),
        (
            "one that calls itself access",
            as_access.signed_by(&trial.assertion),
        ),
        ("one signed as access", as_access.signed_by(&trial.access)),
        ("a refresh token", trial.alice.refresh_token().to_owned()),
        ("an ID token", id_token.signed_by(&trial.access)),
        (
            "an ID token for the gateway",
            id_token
                .with_claims(&json!({ "aud": "https://localhost" }))
                .signed_by(&trial.access),
        ),
    ] {
        trial.refused(what, &token).await;
    }
    for typ in [
        json!("JWT"),
        json!("jwt"),
        json!("id_token"),
        json!("logout+jwt"),
        json!("dpop+jwt"),
        json!("secevent+jwt"),
        json!("portcullis-assertion+jwt"),
        json!("at+jwt "),
        json!("at"),
        json!("x-at+jwt"),
        json!(""),
        json!(null),
        json!(["at+jwt"]),
        json!(1),
    ] {
        let changed = trial.good.with_header(&json!({ "typ": typ }));
        let token = changed.signed_by(&trial.access);
        trial.refused(&format!("typ {typ}"), &token).await;
    }
    let mut without = trial.good.clone();
    without.header.as_object_mut().unwrap().remove("typ");
    let token = without.signed_by(&trial.access);
    trial.refused("no typ", &token).await;

    // And the other way round.
    let refresh = trial.alice.refresh_token();
    let (prefix, rest) = refresh.split_at(7);
    for not_refresh in [
        trial.alice.token(),
        &format!("ptc_rt_{}", trial.alice.token()),
        &assertion,
        &id_token.signed_by(&trial.access),
        "",
        "x",
        prefix,
        rest,
        "ptc_rt_AAAA",
        &format!("ptc_rt_{}", "A".repeat(86)),
        &refresh[..refresh.len() - 1],
        &format!("{refresh}A"),
        &format!("{refresh}="),
        &format!("{refresh} "),
        &format!(" {refresh}"),
        &format!("{refresh}\n"),
        &format!("{refresh}\0"),
        &refresh.to_uppercase(),
        &format!("PTC_RT_{rest}"),
        &format!("Bearer {refresh}"),
        &"x".repeat(9 * 1024),
    ] {
        let refused = trial.alice.try_refresh(not_refresh).await;
        assert_eq!(refused.status, 401, "{not_refresh:?}: {}", refused.text());
        refused.expect_problem(401, "invalid_refresh_token");
    }
    // Nothing of this ended the session.
    trial.admitted(trial.alice.token()).await;
    trial.alice.try_refresh(refresh).await.expect(200);
}
