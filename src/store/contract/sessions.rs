//! Sessions: their refresh tokens, their end, and what other processes learn of it.

use tokio::task::JoinSet;
use uuid::Uuid;

use crate::domain::PasswordHash;
use crate::domain::SessionId;
use crate::store::CHANGES_KEPT;
use crate::store::Change;
use crate::store::NewSession;
use crate::store::Rotated;
use crate::store::Store;

use super::alice;
use super::at;
use super::changes;
use super::credentials;
use super::named;
use super::new_session;
use super::open;
use super::spend;

// SECURITY 24
#[tokio::test]
async fn a_sign_in_under_way_does_not_outlive_its_password() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let [two, three] =
        ["$argon2id$two", "$argon2id$three"].map(|phc| PasswordHash::new(phc.to_owned()));
    let verified = credentials(&store, alice.id).await;
    let sign_in = |seed| NewSession {
        password_version: verified.password_version,
        ..new_session(alice.id, seed)
    };

    // Another sign-in may have made a stronger hash of the same password meanwhile.
    store
        .rehash_password(alice.id, &verified.password, two)
        .await
        .unwrap();
    assert!(store.open_session(sign_in(1)).await.unwrap());

    store.set_password(alice.id, &three, at(1)).await.unwrap();
    assert!(!store.open_session(sign_in(2)).await.unwrap());
    let today = NewSession {
        password_version: credentials(&store, alice.id).await.password_version,
        ..new_session(alice.id, 3)
    };
    assert!(store.open_session(today).await.unwrap());
}

// SECURITY 24
#[tokio::test]
async fn refresh_tokens_rotate_and_reuse_ends_the_session() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let session = open(&store, alice.id, 1).await;

    let first = store.rotate_refresh(spend(session, 1, 2, 1)).await.unwrap();
    let Rotated::Current(user, opened) = first else {
        panic!("the first token is current");
    };
    assert_eq!((user.id, opened.id), (alice.id, session));
    assert_eq!(opened.scopes.to_string(), "notes:read profile");
    assert_eq!(
        (opened.authenticated_at, opened.expires_at),
        (at(0), at(1000))
    );
    let second = store.rotate_refresh(spend(session, 2, 3, 2)).await.unwrap();
    assert!(matches!(second, Rotated::Current(..)));
    assert!(changes(&store).await.is_empty());

    let reused = store.rotate_refresh(spend(session, 1, 2, 3)).await.unwrap();
    assert!(matches!(reused, Rotated::Reused));
    assert_eq!(changes(&store).await, [Change::SessionEnded(session)]);
    let dead = store.rotate_refresh(spend(session, 3, 4, 3)).await.unwrap();
    assert!(
        matches!(dead, Rotated::Dead),
        "the honest one is out as well"
    );
    let dead = store.rotate_refresh(spend(session, 1, 2, 3)).await.unwrap();
    assert!(matches!(dead, Rotated::Dead), "and it is ended once");
}

// SECURITY 24
#[tokio::test]
async fn within_the_grace_a_spent_token_gets_the_same_successor() {
    for (seconds, admitted) in [(1, true), (11, true), (12, false)] {
        let (store, _folder) = Store::for_test().await;
        let alice = alice(&store).await;
        let session = open(&store, alice.id, 1).await;
        store.rotate_refresh(spend(session, 1, 2, 1)).await.unwrap();

        let again = store
            .rotate_refresh(spend(session, 1, 2, seconds))
            .await
            .unwrap();
        assert_eq!(matches!(again, Rotated::Current(..)), admitted, "{seconds}");
        assert_eq!(matches!(again, Rotated::Reused), !admitted, "{seconds}");
    }
}

// SECURITY 24
#[tokio::test]
async fn once_the_successor_was_used_the_grace_is_over() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let session = open(&store, alice.id, 1).await;
    store.rotate_refresh(spend(session, 1, 2, 1)).await.unwrap();
    store.rotate_refresh(spend(session, 2, 3, 1)).await.unwrap();
    let reused = store.rotate_refresh(spend(session, 1, 2, 1)).await.unwrap();
    assert!(matches!(reused, Rotated::Reused));
}

// SECURITY 24
#[tokio::test]
async fn concurrent_refreshes_have_one_successor() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let session = open(&store, alice.id, 1).await;
    let mut refreshes = JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        refreshes.spawn(async move { store.rotate_refresh(spend(session, 1, 2, 1)).await });
    }
    for result in refreshes.join_all().await {
        assert!(matches!(result, Ok(Rotated::Current(..))));
    }
    let next = store.rotate_refresh(spend(session, 2, 3, 2)).await.unwrap();
    assert!(matches!(next, Rotated::Current(..)));
}

#[tokio::test]
async fn a_session_is_refreshed_until_it_expires() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let session = open(&store, alice.id, 1).await;
    let last = store
        .rotate_refresh(spend(session, 1, 2, 999))
        .await
        .unwrap();
    assert!(matches!(last, Rotated::Current(..)));
    let late = store
        .rotate_refresh(spend(session, 2, 3, 1000))
        .await
        .unwrap();
    assert!(matches!(late, Rotated::Dead));
    let stranger = SessionId::new(Uuid::nil());
    let never = store
        .rotate_refresh(spend(stranger, 1, 2, 1))
        .await
        .unwrap();
    assert!(matches!(never, Rotated::Dead));
}

#[tokio::test]
async fn ending_is_recorded_once() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let bob = store.create_user(named("bob"), at(0)).await.unwrap();
    let one = open(&store, alice.id, 1).await;
    let two = open(&store, alice.id, 2).await;
    let others = open(&store, bob.id, 3).await;

    assert_eq!(store.end_session(one, at(1)).await.unwrap(), [one]);
    assert!(store.end_session(one, at(2)).await.unwrap().is_empty());
    let never = SessionId::new(Uuid::nil());
    assert!(store.end_session(never, at(2)).await.unwrap().is_empty());
    let ended = store.end_sessions(alice.id, None, at(3)).await.unwrap();
    assert_eq!(ended, [two]);
    assert!(
        store
            .end_sessions(alice.id, None, at(4))
            .await
            .unwrap()
            .is_empty()
    );

    let read = store.changes_after(0).await.unwrap();
    let expected = [
        (Change::SessionEnded(one), at(1)),
        (Change::SessionEnded(two), at(3)),
    ];
    assert_eq!(read.changes, expected);
    let alive = store.rotate_refresh(spend(others, 3, 4, 5)).await.unwrap();
    assert!(matches!(alive, Rotated::Current(..)));
}

#[tokio::test]
async fn changes_are_read_once_and_in_order() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let empty = store.changes_after(0).await.unwrap();
    assert_eq!((empty.changes.len(), empty.position), (0, 0));

    let one = open(&store, alice.id, 1).await;
    store.end_session(one, at(1)).await.unwrap();
    let first = store.changes_after(0).await.unwrap();
    let two = open(&store, alice.id, 2).await;
    store.end_session(two, at(2)).await.unwrap();
    let second = store.changes_after(first.position).await.unwrap();
    assert_eq!(second.changes, [(Change::SessionEnded(two), at(2))]);
    let third = store.changes_after(second.position).await.unwrap();
    assert_eq!((third.changes.len(), third.position), (0, second.position));
}

#[tokio::test]
async fn pruning_forgets_what_no_token_can_remember() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let old = open(&store, alice.id, 1).await;
    let young = open(&store, alice.id, 2).await;
    store.end_session(old, at(0)).await.unwrap();
    store.end_session(young, at(1)).await.unwrap();
    let before = store.changes_after(0).await.unwrap().position;

    store.prune(at(1) + CHANGES_KEPT).await.unwrap();
    assert_eq!(changes(&store).await, [Change::SessionEnded(young)]);
    store.prune(at(2) + CHANGES_KEPT).await.unwrap();
    assert!(changes(&store).await.is_empty());

    let mut later = new_session(alice.id, 3);
    later.session.expires_at = at(1_000_000);
    let session = later.session.id;
    assert!(store.open_session(later).await.unwrap());
    store.end_session(session, at(200_000)).await.unwrap();
    let after = store.changes_after(before).await.unwrap();
    assert_eq!(after.changes.len(), 1, "no position is given twice");
}
