//! Tokens that were good until their session, account or key ended.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::harness::binary::portcullis;
use crate::harness::binary::portcullis_reading;
use crate::harness::eventually;
use crate::tokens::ORDER;
use crate::tokens::Trial;

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn a_signature_in_its_other_form_is_of_the_same_session() {
    let trial = Trial::start().await;
    // Whoever holds a signature (r, s) of ECDSA can make (r, n - s) of it, which is as good.
    let other_form = |token: &str| {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let (r, s) = bytes.split_at(32);
        let other = URL_SAFE_NO_PAD.encode([r, &minus(ORDER, s)].concat());
        format!("{signed}.{other}")
    };
    for (by_command, by_the_other) in [(false, false), (false, true), (true, false), (true, true)] {
        let alice = trial.gateway.signed_in("alice").await;
        let other = alice.with_token(&other_form(alice.token()));
        assert_ne!(alice.token(), other.token());
        trial.admitted(alice.token()).await;
        trial.admitted(other.token()).await;

        let ending = if by_the_other { &other } else { &alice };
        if by_command {
            let arguments = ["token", "revoke", "-"];
            portcullis_reading(trial.gateway.folder(), &arguments, ending.token()).expect(0);
            eventually("the end of a session", async || {
                (alice.get("/auth/me").await.status == 401).then_some(())
            })
            .await;
        } else {
            ending.post("/auth/logout", &json!({})).await.expect(204);
        }
        trial.refused("the one", alice.token()).await;
        trial.refused("the other", other.token()).await;
    }
}

// SECURITY 24 and 25
#[tokio::test(flavor = "multi_thread")]
async fn the_tokens_of_the_dead_stay_dead() {
    let mut trial = Trial::start().await;
    let mut dead = Vec::new();
    for (name, arguments) in [
        ("disabled", &["user", "disable", "disabled"][..]),
        ("deleted", &["user", "delete", "deleted", "--yes"]),
        ("ended", &["user", "logout", "ended"]),
        (
            "changed",
            &["user", "set", "changed", "--add-role", "editor"],
        ),
    ] {
        let caller = trial.gateway.signed_in(name).await;
        caller.get("/required").await.expect(200);
        trial.app.only();
        portcullis(trial.gateway.folder(), arguments).expect(0);
        dead.push((name, caller.token().to_owned()));
    }
    let renewed = trial.gateway.signed_in("renewed").await;
    let arguments = ["user", "password", "renewed"];
    portcullis_reading(
        trial.gateway.folder(),
        &arguments,
        "quartz-lantern-48-drizzle",
    )
    .expect(0);
    dead.push(("renewed", renewed.token().to_owned()));
    for (name, token) in &dead {
        let caller = trial.alice.with_token(token);
        eventually("the end of a token", async || {
            (caller.get("/auth/me").await.status == 401).then_some(())
        })
        .await;
        trial.refused(name, token).await;
    }

    // Whoever may sign in again does not get an old token back with it.
    portcullis(trial.gateway.folder(), &["user", "enable", "disabled"]).expect(0);
    trial.gateway.restart();
    trial.alice = trial.gateway.anonymous().with_token(trial.alice.token());
    for (name, token) in &dead {
        trial.refused(name, token).await;
    }
    trial.admitted(trial.alice.token()).await;

    // A key takes everything with it that it has signed, and does not come back either.
    let leaked = trial.access.kid.clone();
    portcullis(trial.gateway.folder(), &["key", "revoke", &leaked]).expect(0);
    let caller = trial.alice.clone();
    eventually("the end of a key", async || {
        (caller.get("/auth/me").await.status == 401).then_some(())
    })
    .await;
    trial.refused("of a revoked key", trial.alice.token()).await;
    trial.gateway.restart();
    trial.alice = trial.gateway.anonymous().with_token(trial.alice.token());
    trial.refused("of a revoked key", trial.alice.token()).await;
}

/// `a - b`, both big-endian, `a` the larger one.
fn minus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut difference = a.to_vec();
    let mut borrow = false;
    for (digit, taken) in difference.iter_mut().zip(b).rev() {
        let (rest, under) = digit.overflowing_sub(*taken);
        let (rest, under_again) = rest.overflowing_sub(u8::from(borrow));
        *digit = rest;
        borrow = under || under_again;
    }
    difference
}
