//! `portcullis token`.

use serde_json::Value;

use crate::harness::binary::portcullis;
use crate::harness::binary::portcullis_reading;
use crate::harness::eventually;

use super::ISSUE;
use super::guarded;
use super::made;

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_issues_lists_and_revokes() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    gateway.signed_in("bob").await;
    let run = |arguments: &[&str]| portcullis(gateway.folder(), arguments);
    let issued = run(&[&ISSUE[..], &["--expires-in", "90d"]].concat()).expect(0);
    let token = issued.stdout.trim_end();
    assert!(token.starts_with("ptc_pat_"), "{token}");
    let script = gateway.anonymous().with_token(token);
    script.get("/notes").await.expect(200);
    assert_eq!(app.only().header("x-auth-user"), "alice");
    made(&alice, &["notes:write"]).await;

    let all = run(&["token", "list"]).expect(0).stdout;
    assert!(
        all.contains("Nightly") && all.contains("Backup script"),
        "{all}"
    );
    assert!(!all.contains(token));
    let of_bob = run(&["token", "list", "bob", "--json"]).expect(0).stdout;
    assert_eq!(of_bob.trim(), "[]");
    let of_alice = run(&["token", "list", "alice", "--json"]).expect(0).stdout;
    let of_alice: Value = serde_json::from_str(&of_alice).unwrap();
    let of_alice = of_alice.as_array().unwrap();
    assert_eq!(of_alice.len(), 2);
    let nightly = of_alice.iter().find(|it| it["name"] == "Nightly").unwrap();
    assert_eq!(nightly["user"], "alice");
    let id = nightly["id"].as_str().unwrap();

    run(&["token", "revoke", id]).expect(0);
    run(&["token", "revoke", id]).expect(1);
    eventually("the end is felt", async || {
        (script.get("/notes").await.status == 401).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_found_is_ended_whatever_its_kind() {
    let (gateway, _) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let (token, _) = made(&alice, &["notes:read"]).await;
    let script = gateway.anonymous().with_token(&token);
    script.get("/notes").await.expect(200);
    portcullis_reading(gateway.folder(), &["token", "revoke", "-"], &token).expect(0);
    eventually("the end is felt", async || {
        (script.get("/notes").await.status == 401).then_some(())
    })
    .await;
    alice.get("/auth/me").await.expect(200);
    let forged = "ptc_pat_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let refused = portcullis_reading(gateway.folder(), &["token", "revoke", "-"], forged);
    assert!(refused.expect(1).stderr.contains("personal token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_issued_is_refused_with_the_reason() {
    let (gateway, _) = guarded().await;
    gateway.signed_in("alice").await;
    let refused = |arguments: &[&str], why: &str| {
        let arguments = [&["token"], arguments].concat();
        let said = portcullis(gateway.folder(), &arguments).expect(1).stderr;
        assert!(said.contains(why), "{said}");
    };
    refused(
        &["issue", "nobody", "--name", "x"],
        "there is no user nobody",
    );
    let share = ["issue", "alice", "--name", "x", "--scope", "notes:share"];
    refused(&share, "notes:share");
    let long = [
        "issue",
        "alice",
        "--name",
        "x",
        "--scope",
        "notes:read",
        "--expires-in",
        "367d",
    ];
    refused(&long, "366 days");
    refused(&["revoke", "ptc_pat_x"], "standard input");
    // What is to be there is not called a token.
    let usage = portcullis(gateway.folder(), &["token", "revoke"]).expect(2);
    assert!(usage.stderr.contains("<ID>"), "{}", usage.stderr);
    refused(
        &["revoke", "01900000-0000-7000-8000-000000000000"],
        "no living personal token",
    );
    portcullis(gateway.folder(), &["user", "disable", "alice"]).expect(0);
    let disabled = ["issue", "alice", "--name", "x", "--scope", "notes:read"];
    refused(&disabled, "disabled");
}
