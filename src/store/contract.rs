//! What every store must do, whatever it stands on.

mod accounts;
mod browsers;
mod clients;
mod delegation;
mod devices;
mod identities;
mod personal;
mod sessions;
mod tickets;

use std::net::Ipv4Addr;
use std::time::Duration;
use std::time::SystemTime;

use uuid::Uuid;

use crate::config::Algorithm;
use crate::domain::Amr;
use crate::domain::ClientId;
use crate::domain::EmailAddress;
use crate::domain::Handle;
use crate::domain::PasswordHash;
use crate::domain::Role;
use crate::domain::Scopes;
use crate::domain::Session;
use crate::domain::SessionId;
use crate::domain::TokenHash;
use crate::domain::User;
use crate::domain::UserId;
use crate::domain::Username;
use crate::store::Change;
use crate::store::Credentials;
use crate::store::KeyPurpose;
use crate::store::KeyState;
use crate::store::NewSession;
use crate::store::NewUser;
use crate::store::PasswordChange;
use crate::store::Rotation;
use crate::store::Store;
use crate::store::StoredKey;

const GRACE: Duration = Duration::from_secs(10);

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn username(text: &str) -> Username {
    Username::parse(text).unwrap()
}

fn email(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

fn role(text: &str) -> Role {
    Role::parse(text).unwrap()
}

fn hash(seed: u8) -> TokenHash {
    TokenHash::new([seed; 32])
}

fn named(name: &str) -> NewUser {
    NewUser {
        username: Some(username(name)),
        email: None,
        name: None,
        roles: Vec::new(),
        password: PasswordHash::new("$argon2id$one".to_owned()),
    }
}

async fn alice(store: &Store) -> User {
    store.create_user(named("Alice"), at(0)).await.unwrap()
}

async fn open(store: &Store, user: UserId, seed: u8) -> SessionId {
    let session = new_session(user, seed);
    let id = session.session.id;
    assert!(store.open_session(session).await.unwrap());
    id
}

fn new_session(user: UserId, seed: u8) -> NewSession {
    NewSession {
        session: Session {
            id: SessionId::new(Uuid::now_v7()),
            user,
            client: ClientId::first_party(),
            scopes: Scopes::parse("notes:read profile").unwrap(),
            audience: None,
            authenticated_at: at(0),
            amr: Amr::password(),
            expires_at: at(1000),
            address: Ipv4Addr::LOCALHOST.into(),
        },
        user_agent: Some("curl/8".to_owned()),
        refresh: hash(seed),
        password_version: 1,
    }
}

/// A change of the password that everybody has from the start.
fn new_password(user: UserId, session: SessionId) -> PasswordChange {
    PasswordChange {
        user,
        session,
        password_version: 1,
        password: PasswordHash::new("$argon2id$new".to_owned()),
        now: at(1),
    }
}

async fn credentials(store: &Store, user: UserId) -> Credentials {
    let found = store.credentials(&Handle::Id(user)).await;
    found.unwrap().unwrap()
}

fn spend(session: SessionId, presented: u8, successor: u8, seconds: u64) -> Rotation {
    Rotation {
        session,
        client: ClientId::first_party(),
        asked: None,
        target: None,
        parent_idle: GRACE,
        presented: hash(presented),
        successor: hash(successor),
        now: at(seconds),
        grace: GRACE,
    }
}

async fn changes(store: &Store) -> Vec<Change> {
    let read = store.changes_after(0).await.unwrap();
    read.changes.into_iter().map(|(change, _)| change).collect()
}

fn key(kid: &str, state: KeyState) -> StoredKey {
    StoredKey {
        kid: kid.to_owned(),
        purpose: KeyPurpose::Assertion,
        algorithm: Algorithm::EdDsa,
        state,
        sealed: vec![1, 2, 3],
        created_at: at(1),
        retired_at: (state == KeyState::Retired).then(|| at(2)),
    }
}

#[tokio::test]
async fn keys_are_replaced_by_who_saw_them_last() {
    let (store, _folder) = Store::for_test().await;
    let first = [key("a", KeyState::Current), key("b", KeyState::Next)];
    assert!(store.replace_keys(&[], &first, at(1)).await.unwrap());
    assert!(!store.replace_keys(&[], &first, at(1)).await.unwrap());

    let second = [key("a", KeyState::Retired), key("b", KeyState::Current)];
    assert!(store.replace_keys(&first, &second, at(2)).await.unwrap());
    assert!(!store.replace_keys(&first, &second, at(2)).await.unwrap());
    assert_eq!(
        changes(&store).await,
        [Change::KeysChanged, Change::KeysChanged]
    );

    let stored = store.keys().await.unwrap();
    assert_eq!(stored.len(), 2);
    for (stored, meant) in stored.iter().zip(&second) {
        assert_eq!(stored.kid, meant.kid);
        assert_eq!(stored.purpose, meant.purpose);
        assert_eq!(stored.algorithm, meant.algorithm);
        assert_eq!(stored.state, meant.state);
        assert_eq!(stored.sealed, meant.sealed);
        assert_eq!(stored.created_at, meant.created_at);
        assert_eq!(stored.retired_at, meant.retired_at);
    }
}

#[tokio::test]
async fn the_first_key_check_stays() {
    let (store, _folder) = Store::for_test().await;
    assert_eq!(store.key_check(b"first").await.unwrap(), b"first");
    assert_eq!(store.key_check(b"second").await.unwrap(), b"first");
}
