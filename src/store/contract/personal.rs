//! Personal tokens: made, listed, ended, and ended with whatever ends sessions.

use std::net::Ipv4Addr;
use std::time::Duration;

use uuid::Uuid;

use crate::domain::DisplayName;
use crate::domain::Scopes;
use crate::domain::SessionId;
use crate::domain::UserId;
use crate::store::Change;
use crate::store::ListedPersonalToken;
use crate::store::NewPersonalToken;
use crate::store::PersonalTokenMade;
use crate::store::Store;
use crate::store::UserChange;
use crate::store::contract::alice;
use crate::store::contract::at;
use crate::store::contract::named;
use crate::store::contract::new_password;
use crate::store::contract::open;

fn new(user: UserId, asked_in: Option<SessionId>) -> NewPersonalToken {
    NewPersonalToken {
        token: ListedPersonalToken {
            id: SessionId::new(Uuid::now_v7()),
            user,
            name: DisplayName::parse("Backup").unwrap(),
            scopes: Scopes::parse("notes:read").unwrap(),
            created_at: at(1),
            last_used_at: None,
            expires_at: at(100),
        },
        address: Ipv4Addr::LOCALHOST.into(),
        asked_in,
        tokens_max: 2,
    }
}

async fn make(store: &Store, new: NewPersonalToken) -> PersonalTokenMade {
    store.make_personal_token(new).await.unwrap()
}

async fn make_one(store: &Store, user: UserId) -> SessionId {
    let new = new(user, None);
    let id = new.token.id;
    assert_eq!(make(store, new).await, PersonalTokenMade::Done);
    id
}

async fn ids(store: &Store, of: Option<UserId>, seconds: u64) -> Vec<SessionId> {
    let tokens = store.personal_tokens(of, at(seconds)).await.unwrap();
    tokens.iter().map(|token| token.id).collect()
}

#[tokio::test]
async fn a_token_opens_a_session_until_it_expires_however_long_nobody_sees_it() {
    let (store, _folder) = Store::for_test().await;
    let user = alice(&store).await.id;
    let id = make_one(&store, user).await;
    let idle = Duration::from_secs(1);
    let read = async |seconds| store.opaque_session(id, at(seconds), idle).await.unwrap();
    let session = read(99).await.unwrap();
    assert!(!session.idles && session.session.client.is_personal());
    assert_eq!(session.session.scopes.to_string(), "notes:read");
    assert!(read(100).await.is_none());

    let listed = store.personal_tokens(Some(user), at(99)).await.unwrap();
    assert_eq!(listed[0].name.as_str(), "Backup");
    assert_eq!(listed[0].last_used_at, None);
    store.touch_sessions(&[(id, at(5))]).await.unwrap();
    let listed = store.personal_tokens(Some(user), at(99)).await.unwrap();
    assert_eq!(listed[0].last_used_at, Some(at(5)));
    assert!(ids(&store, Some(user), 100).await.is_empty());
}

#[tokio::test]
async fn each_user_has_their_own_and_no_more_than_they_may() {
    let (store, _folder) = Store::for_test().await;
    let user = alice(&store).await.id;
    let bob = store.create_user(named("Bob"), at(0)).await.unwrap().id;
    let first = make_one(&store, user).await;
    let second = make_one(&store, user).await;
    assert_eq!(
        make(&store, new(user, None)).await,
        PersonalTokenMade::TooMany
    );
    let third = make_one(&store, bob).await;
    let again = NewPersonalToken {
        token: ListedPersonalToken {
            id: first,
            ..new(bob, None).token
        },
        ..new(bob, None)
    };
    assert_eq!(make(&store, again).await, PersonalTokenMade::Before);
    assert_eq!(ids(&store, Some(user), 2).await, [second, first]);
    assert_eq!(ids(&store, None, 2).await, [third, second, first]);
    let end = async |of| store.end_personal_token(first, of, at(2)).await.unwrap();
    assert!(end(Some(bob)).await.is_empty());
    assert_eq!(end(Some(user)).await, [first]);
    assert!(end(None).await.is_empty());
    make_one(&store, user).await;
}

#[tokio::test]
async fn whoever_is_signed_out_or_disabled_gets_none() {
    let (store, _folder) = Store::for_test().await;
    let user = alice(&store).await.id;
    let bob = store.create_user(named("Bob"), at(0)).await.unwrap().id;
    let session = open(&store, user, 1).await;
    let gone = PersonalTokenMade::SignedOut;
    assert_eq!(make(&store, new(bob, Some(session))).await, gone);
    assert_eq!(
        make(&store, new(user, Some(session))).await,
        PersonalTokenMade::Done
    );
    store.end_session(session, at(2)).await.unwrap();
    assert_eq!(make(&store, new(user, Some(session))).await, gone);
    let change = UserChange {
        disabled: Some(true),
        ..UserChange::default()
    };
    store.change_user(bob, change, at(2)).await.unwrap();
    assert_eq!(make(&store, new(bob, None)).await, gone);
}

// SECURITY 24
#[tokio::test]
async fn whatever_ends_all_sessions_ends_tokens_and_says_so() {
    let (store, _folder) = Store::for_test().await;
    let user = alice(&store).await.id;
    let session = open(&store, user, 1).await;
    let ends = async |token| {
        let changes = store.changes_after(0).await.unwrap().changes;
        let ended = Change::SessionEnded(token);
        let told = changes.iter().any(|(change, _)| *change == ended);
        told && ids(&store, Some(user), 2).await.is_empty()
    };
    let token = make_one(&store, user).await;
    assert!(!ends(token).await);
    store
        .end_sessions(user, Some(session), at(2))
        .await
        .unwrap();
    assert!(ends(token).await);
    let token = make_one(&store, user).await;
    let changed = store.change_password(new_password(user, session)).await;
    drop(changed.unwrap());
    assert!(ends(token).await);
    let token = make_one(&store, user).await;
    let change = UserChange {
        disabled: Some(true),
        ..UserChange::default()
    };
    store.change_user(user, change, at(2)).await.unwrap();
    assert!(ends(token).await);
}

#[tokio::test]
async fn a_token_is_no_place_where_somebody_is_signed_in() {
    let (store, _folder) = Store::for_test().await;
    let user = alice(&store).await.id;
    let token = make_one(&store, user).await;
    let idle = Duration::from_secs(100);
    assert!(
        store
            .sessions_of(user, at(2), idle)
            .await
            .unwrap()
            .is_empty()
    );
    let ended = store.end_session_of(user, token, at(2)).await.unwrap();
    assert!(ended.is_empty());
    let session = open(&store, user, 1).await;
    let ended = store.end_personal_token(session, Some(user), at(2));
    assert!(ended.await.unwrap().is_empty());
}
