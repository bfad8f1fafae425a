//! What carries a sign-in from one host to another: once, at once, there, and in that browser alone.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::BINDING;
use super::SESSION;
use super::ask;
use super::hosts::gateway_with_alice;
use super::hosts::led_to_sign_in;
use super::sign_in_on;
use crate::harness::caller::Answer;
use crate::harness::gateway::Gateway;
use crate::harness::person::Person;
use crate::harness::tab::Tab;

const NOTES: &str = "notes.example.com";
const PLACE: &str = "https://notes.example.com/a";

/// A browser on its way, and the address that its sign-in goes on by.
async fn with_ticket(gateway: &Gateway) -> (Person, String) {
    let person = Person::new(gateway.anonymous());
    let page = led_to_sign_in(&person, PLACE).await;
    let onward = sign_in_on(&person, &page, "alice").await.expect(303);
    let address = onward.header("location").to_owned();
    assert!(
        address.contains("/auth/session/accept?ticket="),
        "{address}"
    );
    (person, address)
}

#[track_caller]
fn assert_refused(person: &Person, answer: Answer) {
    assert_eq!(answer.header("set-cookie"), "");
    answer.expect_page(400, "ticket_refused");
    assert_eq!(person.cookie(NOTES, SESSION), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_counts_once_and_for_half_a_minute() {
    let gateway = gateway_with_alice().await;
    let (person, address) = with_ticket(&gateway).await;
    gateway.clock().advance(Duration::from_secs(29));
    person.open(&address).await.expect(303);
    assert!(person.cookie(NOTES, SESSION).is_some());
    let answer = person.open(&address).await;
    answer.expect_page(400, "ticket_refused");
    person.open(PLACE).await.expect(200);

    let (person, address) = with_ticket(&gateway).await;
    gateway.clock().advance(Duration::from_secs(30));
    assert_refused(&person, person.open(&address).await);
    // The browser is signed in: the next try needs no form.
    let sent = person.open(PLACE).await.expect(303);
    person.follow(sent).await.expect(200);
}

/// Somebody else's address signs nobody in, neither who finds it nor who is sent it.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_counts_in_its_own_browser_alone() {
    let gateway = gateway_with_alice().await;
    let (_, address) = with_ticket(&gateway).await;
    let thief = Person::new(gateway.anonymous());
    assert_refused(&thief, thief.open(&address).await);

    // Nor with another browser's cookie, on the way to the same place.
    let (person, address) = with_ticket(&gateway).await;
    let victim = Person::new(gateway.anonymous());
    led_to_sign_in(&victim, PLACE).await;
    assert!(victim.cookie(NOTES, BINDING).is_some());
    assert_refused(&victim, victim.open(&address).await);
    // Whoever had it in their hands has spent it.
    assert_refused(&person, person.open(&address).await);

    // Nor for somebody who is signed in there as somebody else.
    let bob = gateway.anonymous();
    bob.register("bob").await;
    let bob = Person::new(bob);
    let page = led_to_sign_in(&bob, PLACE).await;
    let onward = sign_in_on(&bob, &page, "bob").await;
    bob.follow(onward).await.expect(200);
    let (_, address) = with_ticket(&gateway).await;
    bob.open(&address).await.expect_page(400, "ticket_refused");
    let seen = bob.open(PLACE).await.expect(200).json();
    assert_eq!(seen["headers"]["x-auth-user"], "bob");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_counts_on_its_own_host_alone() {
    let gateway = gateway_with_alice().await;
    let caller = gateway.anonymous();
    for host in ["localhost", "x.apps.example.com"] {
        let (person, address) = with_ticket(&gateway).await;
        let path = address.trim_start_matches("https://notes.example.com");
        let cookie = format!("{BINDING}={}", person.cookie(NOTES, BINDING).unwrap());
        let sent = [super::NAVIGATION[0], ("cookie", &cookie)];
        let answer = ask(&caller.at(host), &Method::GET, path, &sent).await;
        assert_eq!(answer.header("set-cookie"), "", "{host}");
        answer.expect_page(400, "ticket_refused");
        assert_refused(&person, person.open(&address).await);
    }
    let (person, address) = with_ticket(&gateway).await;
    let path = address.trim_start_matches("https://notes.example.com");
    let cookie = format!("{BINDING}={}", person.cookie(NOTES, BINDING).unwrap());
    let sent = [super::NAVIGATION[0], ("cookie", &cookie)];
    ask(&caller.at(NOTES), &Method::GET, path, &sent)
        .await
        .expect(303);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_ticket_of_ours_opens_nothing() {
    let gateway = gateway_with_alice().await;
    let (person, address) = with_ticket(&gateway).await;
    let (before, ticket) = address.split_once('=').unwrap();
    for wrong in [
        before.to_owned(),
        format!("{before}="),
        format!("{before}=x"),
        format!("{before}={}", ticket.get(..ticket.len() - 1).unwrap()),
        format!("{before}={ticket}A"),
        format!("{before}={ticket}&ticket={ticket}"),
        format!("{before}=%ff"),
        before.split('?').next().unwrap().to_owned(),
    ] {
        assert_refused(&person, person.open(&wrong).await);
    }
    // A look at it without going there does not spend it.
    let path = address.trim_start_matches("https://notes.example.com");
    let notes = gateway.anonymous().at(NOTES);
    let answer = ask(&notes, &Method::HEAD, path, &[]).await.expect(405);
    assert_eq!(answer.header("allow"), "GET");
    ask(&notes, &Method::POST, path, &[])
        .await
        .expect_problem(405, "method_not_allowed");
    person.open(&address).await.expect(303);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_ends_with_its_session() {
    let gateway = gateway_with_alice().await;
    let (person, address) = with_ticket(&gateway).await;
    let tab = Tab::new(gateway.anonymous());
    tab.put(SESSION, &person.cookie("localhost", SESSION).unwrap());
    tab.post("/auth/logout", &json!({})).await.expect(204);
    assert_refused(&person, person.open(&address).await);
}

// SECURITY 50
#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_down_nobody_is_led_around_in_circles() {
    let gateway = gateway_with_alice().await;
    let (person, address) = with_ticket(&gateway).await;
    let waiting = Person::new(gateway.anonymous());
    let page = led_to_sign_in(&waiting, PLACE).await;
    gateway
        .behind_its_back("ALTER TABLE tickets RENAME TO gone")
        .await;
    let answer = person.open(&address).await;
    assert_eq!(answer.header("retry-after"), "5");
    answer.expect_page(503, "store_unavailable");
    // Signed in all the same, but not further.
    let again = sign_in_on(&waiting, &page, "alice").await.expect(303);
    assert!(
        again
            .header("location")
            .starts_with("/auth/login?return_to=")
    );
    assert!(waiting.cookie("localhost", SESSION).is_some());
    let again = again.header("location").to_owned();
    waiting
        .open(&again)
        .await
        .expect_page(503, "store_unavailable");
    gateway
        .behind_its_back("ALTER TABLE gone RENAME TO tickets")
        .await;
    for (person, address) in [(&person, &address), (&waiting, &again)] {
        let onward = person.open(address).await.expect(303);
        person.follow(onward).await.expect(200);
    }
}
