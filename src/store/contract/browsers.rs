//! The sessions of browsers: one takes the place of another, and idles away.

use std::net::Ipv4Addr;
use std::time::Duration;

use uuid::Uuid;

use crate::domain::Amr;
use crate::domain::ClientId;
use crate::domain::Scopes;
use crate::domain::Session;
use crate::domain::SessionId;
use crate::domain::UserId;
use crate::store::Change;
use crate::store::NewBrowserSession;
use crate::store::Rotated;
use crate::store::Store;
use crate::store::UserChange;

use super::alice;
use super::at;
use super::changes;
use super::named;
use super::open;
use super::spend;

const IDLE: Duration = Duration::from_secs(100);

fn browser(user: UserId, replaced: Option<SessionId>) -> NewBrowserSession {
    NewBrowserSession {
        session: Session {
            id: SessionId::new(Uuid::now_v7()),
            user,
            client: ClientId::first_party(),
            scopes: Scopes::parse("notes:read").unwrap(),
            audience: None,
            authenticated_at: at(0),
            amr: Amr::password(),
            expires_at: at(1000),
            address: Ipv4Addr::LOCALHOST.into(),
        },
        opened_at: at(0),
        user_agent: Some("Mozilla/5.0".to_owned()),
        password_version: 1,
        replaced,
    }
}

async fn opened(store: &Store, user: UserId, replaced: Option<SessionId>) -> SessionId {
    let new = browser(user, replaced);
    let id = new.session.id;
    let ended = store.open_browser_session(new).await.unwrap();
    assert_eq!(ended, Some(Vec::from_iter(replaced)));
    id
}

async fn lives(store: &Store, session: SessionId, seconds: u64) -> bool {
    let read = store.opaque_session(session, at(seconds), IDLE).await;
    read.unwrap().is_some()
}

// SECURITY 34
#[tokio::test]
async fn a_new_session_takes_the_place_of_the_old_one() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let old = opened(&store, alice.id, None).await;
    let read = store.opaque_session(old, at(1), IDLE).await.unwrap();
    let read = read.unwrap();
    assert_eq!((read.session.id, read.user.id), (old, alice.id));
    assert_eq!(
        (read.last_seen_at, read.session.expires_at),
        (at(0), at(1000))
    );

    let overtaken = NewBrowserSession {
        password_version: 2,
        ..browser(alice.id, Some(old))
    };
    let overtaken = store.open_browser_session(overtaken).await.unwrap();
    assert_eq!(overtaken, None);
    assert!(lives(&store, old, 1).await, "nothing was changed");

    let new = opened(&store, alice.id, Some(old)).await;
    assert_eq!(changes(&store).await, [Change::SessionEnded(old)]);
    assert!(!lives(&store, old, 1).await);
    assert!(lives(&store, new, 1).await);
}

#[tokio::test]
async fn a_session_begins_when_it_is_opened_however_long_ago_its_person_signed_in() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let new = NewBrowserSession {
        opened_at: at(500),
        ..browser(alice.id, None)
    };
    let id = new.session.id;
    store.open_browser_session(new).await.unwrap().unwrap();
    let read = store.opaque_session(id, at(599), IDLE).await.unwrap();
    let read = read.unwrap();
    assert_eq!(
        (read.session.authenticated_at, read.last_seen_at),
        (at(0), at(500))
    );
    assert!(!lives(&store, id, 600).await);
}

#[tokio::test]
async fn a_session_idles_away_unless_it_is_seen() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let session = opened(&store, alice.id, None).await;
    assert!(lives(&store, session, 99).await);
    assert!(!lives(&store, session, 100).await);
    store.touch_sessions(&[(session, at(90))]).await.unwrap();
    store.touch_sessions(&[(session, at(10))]).await.unwrap();
    assert!(lives(&store, session, 189).await, "the latest time counts");
    assert!(!lives(&store, session, 190).await);
    store.touch_sessions(&[(session, at(990))]).await.unwrap();
    assert!(lives(&store, session, 999).await);
    assert!(!lives(&store, session, 1000).await, "it has expired");
}

#[tokio::test]
async fn no_other_kind_passes_for_a_browsers_and_no_disabled_user_has_one() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let tokens = open(&store, alice.id, 1).await;
    assert!(!lives(&store, tokens, 1).await);
    let browser = opened(&store, alice.id, None).await;
    let refreshed = store.rotate_refresh(spend(browser, 1, 2, 1)).await;
    assert!(matches!(refreshed.unwrap(), Rotated::Dead));

    let disable = UserChange {
        disabled: Some(true),
        ..UserChange::default()
    };
    store.change_user(alice.id, disable, at(1)).await.unwrap();
    assert!(!lives(&store, browser, 2).await);
}

#[tokio::test]
async fn an_owner_sees_and_ends_their_own_sessions_alone() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let bob = store.create_user(named("bob"), at(0)).await.unwrap();
    let tokens = open(&store, alice.id, 1).await;
    let browser = opened(&store, alice.id, None).await;
    store.touch_sessions(&[(browser, at(5))]).await.unwrap();

    let list = async |user, seconds| {
        let listed = store.sessions_of(user, at(seconds), IDLE).await.unwrap();
        listed
            .into_iter()
            .map(|session| session.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(list(alice.id, 6).await, [browser, tokens]);
    assert_eq!(list(alice.id, 106).await, [tokens], "it has idled away");
    assert!(list(bob.id, 6).await.is_empty());

    let end = async |user, seconds| {
        let ended = store.end_session_of(user, browser, at(seconds)).await;
        ended.unwrap()
    };
    assert!(end(bob.id, 7).await.is_empty());
    assert_eq!(end(alice.id, 7).await, [browser]);
    assert!(end(alice.id, 8).await.is_empty());
    assert_eq!(changes(&store).await, [Change::SessionEnded(browser)]);
    assert_eq!(list(alice.id, 8).await, [tokens]);
}
