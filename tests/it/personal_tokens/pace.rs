//! How many personal tokens one user may make in a while.

use crate::harness::caller::Answer;
use crate::harness::tab::Tab;
use crate::personal_tokens::asked;
use crate::personal_tokens::delete;
use crate::personal_tokens::guarded;
use crate::personal_tokens::listed;
use crate::personal_tokens::made;

// SECURITY 47
#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_and_revokes_tokens_without_end() {
    let (gateway, _) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let revoke = async |answer: Answer| {
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        let path = format!("/auth/tokens/{id}");
        delete(&alice, &path).await.expect(204);
    };
    let make = async || alice.post("/auth/tokens", &asked(&["notes:read"])).await;
    for _ in 0..60 {
        revoke(make().await.expect(201)).await;
    }
    // Until there is none for a while, however slow the machine.
    let mut more = 0;
    let refused = loop {
        let answer = make().await;
        if answer.status == 201 {
            more += 1;
            assert!(more < 100, "no limit is ever spent");
            revoke(answer).await;
            continue;
        }
        let answer = answer.expect_problem(429, "limited");
        if answer.header("retry-after").parse::<u32>().unwrap() >= 3 {
            break answer;
        }
    };
    let wait: u32 = refused.header("retry-after").parse().unwrap();
    assert!(wait <= 60, "{wait}");
    assert!(refused.text().contains(&format!("in {wait} s.")));
    let policy = "\"personal_tokens\";q=60;w=3600";
    assert_eq!(refused.header("ratelimit-policy"), policy);
    let state = format!("\"personal_tokens\";r=0;t={wait}");
    assert_eq!(refused.header("ratelimit"), state);
    assert!(listed(&alice).await.is_empty(), "nothing was half done");

    // Neither in a browser of hers; what cannot be had is still said by name, and others make theirs.
    let tab = Tab::new(gateway.anonymous());
    tab.sign_in("alice").await.expect(204);
    let answer = tab.post("/auth/tokens", &asked(&["notes:read"])).await;
    answer.expect_problem(429, "limited");
    let answer = alice.post("/auth/tokens", &asked(&["notes:share"])).await;
    answer.expect_problem(422, "bad_fields");
    let bob = gateway.signed_in("bob").await;
    made(&bob, &["notes:read"]).await;
}
