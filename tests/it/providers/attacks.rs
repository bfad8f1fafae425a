//! What others might do to a sign-in with a provider: RFC 9700 §4 and OpenID Connect Core §16.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use serde_json::json;
use url::Url;

use super::KEPT;
use super::ROLES;
use super::ROUTE;
use super::SESSION;
use super::away;
use super::sign_in;
use super::started;
use super::started_with;
use super::told;
use crate::harness::caller::Answer;
use crate::harness::gateway::Gateway;
use crate::harness::person::Person;
use crate::harness::provider::Provider;
use crate::harness::provider::Signing;

/// The same address with other parameters; null takes one away.
fn with(url: &str, changes: &Value) -> String {
    let mut changed = Url::parse(url).unwrap();
    let changes = changes.as_object().unwrap();
    let kept: Vec<(String, String)> = changed
        .query_pairs()
        .into_owned()
        .filter(|(name, _)| !changes.contains_key(name))
        .collect();
    let mut pairs = changed.query_pairs_mut();
    pairs.clear().extend_pairs(kept);
    for (name, value) in changes {
        if let Some(value) = value.as_str() {
            pairs.append_pair(name, value);
        }
    }
    drop(pairs);
    changed.into()
}

// SECURITY 19, 20, 21 and 22
#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_that_is_not_for_this_sign_in_is_good_for_nothing() {
    let (provider, gateway) = started(ROLES).await;
    let good = provider.says.lock().unwrap().claims.clone();
    let mut wrong: Vec<(Value, Value, Signing)> = Vec::new();
    for claims in [
        json!({"nonce": "another"}),
        json!({"nonce": null}),
        json!({"nonce": 1}),
        json!({"iss": "https://evil.example"}),
        json!({"iss": [provider.server.url()]}),
        json!({"aud": "another"}),
        json!({"aud": []}),
        json!({"aud": null}),
        json!({"aud": ["gate", "another"]}),
        json!({"azp": "another"}),
        json!({"exp": 1}),
        json!({"exp": null}),
        json!({"iat": 4_000_000_000_u64}),
        json!({"iat": null}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": "a b"}),
        json!({"at_hash": "77QmUPtjPfzWtF2AnpK9RQ"}),
    ] {
        wrong.push((claims, json!({}), Signing::Well));
    }
    for header in [
        json!({"typ": "at+jwt"}),
        json!({"alg": "none"}),
        json!({"alg": "HS256"}),
        json!({"alg": "RS256"}),
        json!({"kid": null}),
        json!({"crit": ["exp"]}),
    ] {
        wrong.push((json!({}), header, Signing::Well));
    }
    let none = json!({"alg": "none"});
    wrong.push((json!({}), none, Signing::NotAtAll));
    wrong.push((json!({}), json!({}), Signing::NotAtAll));
    let secret = json!({"alg": "HS256"});
    wrong.push((json!({}), secret, Signing::WithTheSecret));
    wrong.push((json!({}), json!({}), Signing::WithAnothersKey));
    for (claims, header, signing) in wrong {
        provider.say(|says| {
            says.claims = good.clone();
            let members = says.claims.as_object_mut().unwrap();
            members.extend(claims.as_object().unwrap().clone());
            says.header = header.clone();
            says.signing = signing;
        });
        let person = Person::new(gateway.anonymous());
        let answer = sign_in(&provider, &person).await;
        assert_eq!(answer.status, 502, "{claims} {header}: {}", answer.text());
        answer.expect_page(502, "provider_unbelievable");
        assert_eq!(person.cookie("localhost", SESSION), None);
        assert_eq!(person.cookie("localhost", KEPT), None);
    }
    for (claims, header) in [
        (json!({}), json!({"typ": "JWT"})),
        (json!({"at_hash": null}), json!({})),
        (
            json!({"aud": ["gate", "another"], "azp": "gate"}),
            json!({}),
        ),
    ] {
        provider.say(|says| {
            says.claims = good.clone();
            let members = says.claims.as_object_mut().unwrap();
            members.extend(claims.as_object().unwrap().clone());
            says.header = header;
            says.signing = Signing::Well;
        });
        let person = Person::new(gateway.anonymous());
        sign_in(&provider, &person).await.expect(303);
    }
}

// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_counts_once_in_the_browser_that_was_sent_away() {
    let (provider, gateway) = started(ROLES).await;
    let lost = async |person: &Person, url: &str| {
        let answer = person.open(url).await;
        answer.expect_page(400, "sign_in_lost");
        assert_eq!(person.cookie("localhost", SESSION), None);
    };

    // An attacker's own answer, in a link for somebody else (RFC 6749 §10.12).
    let attacker = Person::new(gateway.anonymous());
    let theirs = away(&provider, &attacker).await;
    let victim = Person::new(gateway.anonymous());
    lost(&victim, &theirs).await;
    away(&provider, &victim).await;
    lost(&victim, &theirs).await;

    // Their code, injected into an answer of the victim's own (RFC 9700 §4.5): the nonce and the verifier
    // are others. The provider of this test checks the verifier only of a code that it knows.
    let own = away(&provider, &victim).await;
    for state in [json!(null), json!(""), json!("x")] {
        let answer = with(&own, &json!({ "state": state }));
        let person = Person::new(gateway.anonymous());
        away(&provider, &person).await;
        lost(&person, &answer).await;
    }
    assert_eq!(provider.exchanges(), 0, "no code of theirs was spent");

    // Late.
    let person = Person::new(gateway.anonymous());
    let back = away(&provider, &person).await;
    gateway.clock().advance(Duration::from_secs(601));
    lost(&person, &back).await;

    // Twice.
    let person = Person::new(gateway.anonymous());
    provider.say(|says| says.claims["exp"] = json!(4_000_000_000_u64));
    let back = away(&provider, &person).await;
    let kept = person.cookie("localhost", KEPT).unwrap();
    person.open(&back).await.expect(303);
    person.open(&back).await.expect_page(400, "sign_in_lost");
    // Nor does a copy of what the browser kept help: the provider has given the code once.
    let caller = gateway.anonymous();
    let target = back.strip_prefix("https://localhost").unwrap();
    let cookie = format!("{KEPT}={kept}");
    caller
        .get_with(target, &[("cookie", &cookie)])
        .await
        .expect_page(403, "provider_declined");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_the_last_ones_takes_nothing_from_that() {
    let (provider, gateway) = started(ROLES).await;
    let person = Person::new(gateway.anonymous());
    let first = away(&provider, &person).await;
    let last = away(&provider, &person).await;
    person.open(&first).await.expect_page(400, "sign_in_lost");
    person.open(&last).await.expect(303);
    told(&person).await;
    assert_eq!(person.cookie("localhost", KEPT), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_an_answer_without_going_there_does_not_spend_it() {
    let (provider, gateway) = started(ROLES).await;
    let person = Person::new(gateway.anonymous());
    let back = away(&provider, &person).await;
    let target = back.strip_prefix("https://localhost").unwrap();
    let cookie = format!("{KEPT}={}", person.cookie("localhost", KEPT).unwrap());
    let look = gateway.anonymous().request(Method::HEAD, target);
    let refused = Answer::of(look.header("cookie", cookie)).await.expect(405);
    assert_eq!(refused.header("allow"), "GET");
    assert_eq!(refused.headers.get("set-cookie"), None);
    assert_eq!(provider.exchanges(), 0);
    person.open(&back).await.expect(303);
}

// SECURITY 39
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_one_provider_is_not_taken_for_anothers() {
    let (honest, evil) = (Provider::start().await, Provider::start().await);
    let lines = [
        ROUTE,
        &honest.lines(ROLES),
        &evil.lines_of("evil", "create_accounts = true"),
    ];
    let gateway = Gateway::start(&lines.concat());
    let person = Person::new(gateway.anonymous());
    let back = away(&honest, &person).await;

    // RFC 9700 §4.4: the code would go to the other one's token endpoint.
    let crossed = back.replace("/provider/corp/", "/provider/evil/");
    person.open(&crossed).await.expect_page(400, "sign_in_lost");
    for iss in [json!(evil.server.url()), json!(null), json!("")] {
        let person = Person::new(gateway.anonymous());
        let back = away(&honest, &person).await;
        person
            .open(&with(&back, &json!({ "iss": iss })))
            .await
            .expect_page(502, "provider_unbelievable");
        assert_eq!(person.cookie("localhost", SESSION), None);
    }
    assert_eq!((honest.exchanges(), evil.exchanges()), (0, 0));

    // One that does not promise to say who it is need not.
    let (provider, gateway) = started_with(ROLES, |says| {
        says.metadata = json!({"authorization_response_iss_parameter_supported": false});
    })
    .await;
    let person = Person::new(gateway.anonymous());
    let back = away(&provider, &person).await;
    person
        .open(&with(&back, &json!({"iss": null})))
        .await
        .expect(303);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_says_in_place_of_a_code_is_a_page_of_ours() {
    let (provider, gateway) = started(ROLES).await;
    let errors = [
        ("access_denied", "declined"),
        ("temporarily_unavailable", "right now"),
        ("<script>alert(1)</script>", "did not sign you in"),
    ];
    for (error, words) in errors {
        let person = Person::new(gateway.anonymous());
        let back = away(&provider, &person).await;
        let changes = json!({"error": error, "error_description": "<b>pay here</b>"});
        let page = person.open(&with(&back, &changes)).await;
        let page = page.expect_page(403, "provider_declined");
        assert!(page.text().contains(words), "{}", page.text());
        assert!(!page.text().contains("pay here") && !page.text().contains("<script"));
        assert_eq!(person.cookie("localhost", KEPT), None);
    }
    let person = Person::new(gateway.anonymous());
    let back = away(&provider, &person).await;
    person
        .open(&with(&back, &json!({"code": null})))
        .await
        .expect_page(502, "provider_unbelievable");
    person
        .open(&format!("{back}&code=2"))
        .await
        .expect_page(400, "bad_form");
    assert_eq!(provider.exchanges(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_answer_of_the_token_endpoint_signs_nobody_in() {
    let (provider, gateway) = started(ROLES).await;
    for (status, body, page) in [
        (400, json!({"error": "invalid_grant"}), "provider_declined"),
        (
            401,
            json!({"error": "invalid_client"}),
            "provider_unbelievable",
        ),
        (400, json!({"oops": 1}), "provider_unavailable"),
        (500, json!({}), "provider_unavailable"),
        (302, json!({}), "provider_unavailable"),
        (200, json!([]), "provider_unbelievable"),
        (200, json!({"access_token": "a"}), "provider_unbelievable"),
        (
            200,
            json!({"access_token": "a", "id_token": "x.y.z"}),
            "provider_unbelievable",
        ),
    ] {
        provider.say(|says| says.token_answer = Some((status, body.clone())));
        let person = Person::new(gateway.anonymous());
        let answer = sign_in(&provider, &person).await;
        assert!(
            answer.text().contains(page),
            "{status} {body}: {}",
            answer.text()
        );
        assert_eq!(person.cookie("localhost", SESSION), None);
    }
}

// SECURITY 40
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_led_to_a_place_that_is_not_ours_by_way_of_a_provider() {
    let (provider, gateway) = started(ROLES).await;
    let person = Person::new(gateway.anonymous());
    for evil in [
        "https%3A%2F%2Fevil.example",
        "%2F%2Fevil.example",
        "%2F%5Cevil.example",
    ] {
        person
            .open(&format!("/auth/provider/corp?return_to={evil}"))
            .await
            .expect_page(400, "return_to_refused");
    }
    let long = "x".repeat(4000);
    person
        .open(&format!("/auth/provider/corp?return_to=%2F{long}"))
        .await
        .expect_page(400, "return_to_refused");
    // What comes back has no say in where it goes on to.
    let back = away(&provider, &person).await;
    let answer = person
        .open(&with(&back, &json!({"return_to": "/admin"})))
        .await
        .expect(303);
    assert_eq!(answer.header("location"), "/app/notes?page=2");
    told(&person).await;
}

/// Neither the log nor an address on the way holds what must stay between us.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_no_code_and_no_address() {
    let (provider, gateway) = started(ROLES).await;
    let person = Person::new(gateway.anonymous());
    let back = sign_in(&provider, &person).await.expect(303);
    gateway.log_line(back.header("x-request-id")).await;
    let log = gateway.log_text();
    for secret in ["code-0", "corp.example", "248289761001", "access-token"] {
        assert!(!log.contains(secret), "{secret}");
    }
}
