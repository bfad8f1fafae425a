//! What every store must do, whatever it stands on.

use std::net::Ipv4Addr;
use std::time::Duration;
use std::time::SystemTime;

use tokio::task::JoinSet;
use uuid::Uuid;

use crate::config::Algorithm;
use crate::domain::ClientId;
use crate::domain::DisplayName;
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
use crate::store::CHANGES_KEPT;
use crate::store::Change;
use crate::store::Credentials;
use crate::store::KeyPurpose;
use crate::store::KeyState;
use crate::store::NewSession;
use crate::store::NewUser;
use crate::store::PasswordChange;
use crate::store::PasswordChanged;
use crate::store::Rotated;
use crate::store::Rotation;
use crate::store::Store;
use crate::store::StoredKey;
use crate::store::UserChange;
use crate::store::UserError;

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
            authenticated_at: at(0),
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

#[tokio::test]
async fn an_account_is_found_by_each_of_its_names() {
    let (store, _folder) = Store::for_test().await;
    let new = NewUser {
        email: Some(email("Alice@Example.com")),
        name: Some(DisplayName::parse("Älice").unwrap()),
        roles: vec![role("admin"), role("editor")],
        ..named("Alice")
    };
    let made = store.create_user(new, at(5)).await.unwrap();
    assert_eq!(made.version, 1);
    assert!(!made.email_verified);

    for handle in [
        Handle::Id(made.id),
        Handle::parse("aLICE").unwrap(),
        Handle::parse("alice@example.COM").unwrap(),
        Handle::parse(&made.id.to_string()).unwrap(),
    ] {
        let found = store.credentials(&handle).await.unwrap().unwrap();
        let user = found.user;
        assert_eq!(user.id, made.id);
        assert_eq!(user.username, Some(username("Alice")));
        assert_eq!(user.email, Some(email("Alice@Example.com")));
        assert_eq!(user.name.unwrap().as_str(), "Älice");
        assert_eq!(user.roles, [role("admin"), role("editor")]);
        assert_eq!(user.created_at, at(5));
        assert_eq!(found.password.as_str(), "$argon2id$one");
        assert!(store.user(&handle).await.unwrap().is_some());
    }
    for stranger in ["bob", "bob@example.com", &Uuid::nil().to_string()] {
        let handle = Handle::parse(stranger).unwrap();
        assert!(store.user(&handle).await.unwrap().is_none());
        assert!(store.credentials(&handle).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn accounts_are_listed_oldest_first() {
    let (store, _folder) = Store::for_test().await;
    for (name, seconds) in [("b", 2), ("c", 3), ("a", 1)] {
        store.create_user(named(name), at(seconds)).await.unwrap();
    }
    let users = store.users().await.unwrap();
    let names: Vec<_> = users.iter().map(User::preferred_username).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

// SECURITY 32
#[tokio::test]
async fn names_and_addresses_are_unique_when_folded() {
    let (store, _folder) = Store::for_test().await;
    let new = NewUser {
        email: Some(email("a@example.com")),
        ..named("Alice")
    };
    store.create_user(new.clone(), at(0)).await.unwrap();

    let refused = store.create_user(named("aLICE"), at(0)).await;
    assert!(matches!(refused, Err(UserError::UsernameTaken)));
    let same_address = NewUser {
        username: None,
        email: Some(email("A@EXAMPLE.com")),
        ..new.clone()
    };
    let refused = store.create_user(same_address, at(0)).await;
    assert!(matches!(refused, Err(UserError::EmailTaken)));
    let nameless = NewUser {
        username: None,
        email: None,
        ..new
    };
    let refused = store.create_user(nameless, at(0)).await;
    assert!(matches!(refused, Err(UserError::Nameless)));

    // A registration that failed over its address has not used up its username.
    let bob = NewUser {
        email: Some(email("a@example.com")),
        ..named("bob")
    };
    assert!(store.create_user(bob, at(0)).await.is_err());
    assert!(store.create_user(named("bob"), at(0)).await.is_ok());
}

#[tokio::test]
async fn of_fifty_registrations_of_one_name_one_wins() {
    let (store, _folder) = Store::for_test().await;
    let mut registrations = JoinSet::new();
    for _ in 0..50 {
        let store = store.clone();
        registrations.spawn(async move { store.create_user(named("alice"), at(0)).await });
    }
    let results = registrations.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let taken = |result: &Result<_, _>| matches!(result, Err(UserError::UsernameTaken));
    assert_eq!(results.iter().filter(|result| taken(result)).count(), 49);
    assert_eq!(store.users().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_username_is_never_given_to_a_second_person() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let rename = |name: &str| UserChange {
        username: Some(Some(username(name))),
        ..UserChange::default()
    };
    store
        .change_user(alice.id, rename("alicia"), at(1))
        .await
        .unwrap();
    let refused = store.create_user(named("alice"), at(2)).await;
    assert!(matches!(refused, Err(UserError::UsernameTaken)), "given up");

    let back = store.change_user(alice.id, rename("alice"), at(3)).await;
    assert!(back.is_ok(), "it was hers");

    store.delete_user(alice.id, at(4)).await.unwrap();
    for name in ["alice", "alicia"] {
        let refused = store.create_user(named(name), at(5)).await;
        assert!(matches!(refused, Err(UserError::UsernameTaken)), "deleted");
    }
}

#[tokio::test]
async fn every_change_of_an_account_grows_its_version_and_is_recorded() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let steps = [
        UserChange {
            add_roles: vec![role("b"), role("a"), role("b")],
            ..UserChange::default()
        },
        UserChange {
            remove_roles: vec![role("a")],
            ..UserChange::default()
        },
        UserChange {
            email: Some(Some(email("a@example.com"))),
            email_verified: Some(true),
            ..UserChange::default()
        },
        UserChange {
            username: Some(None),
            name: Some(Some(DisplayName::parse("Al").unwrap())),
            ..UserChange::default()
        },
        UserChange {
            email: Some(Some(email("A@Example.com"))),
            ..UserChange::default()
        },
        UserChange {
            email: Some(Some(email("other@example.com"))),
            ..UserChange::default()
        },
    ];
    let mut seen = Vec::new();
    for (step, expected) in steps.into_iter().zip(2..) {
        let user = store.change_user(alice.id, step, at(1)).await.unwrap();
        assert_eq!(user.version, expected);
        let stored = store.user(&Handle::Id(alice.id)).await.unwrap().unwrap();
        assert_eq!(stored.version, expected);
        assert_eq!(stored.roles, user.roles);
        assert_eq!(stored.email, user.email);
        seen.push((
            stored.roles,
            stored.username.is_some(),
            stored.email_verified,
        ));
    }
    let b = vec![role("b")];
    assert_eq!(
        seen,
        [
            (vec![role("a"), role("b")], true, false),
            (b.clone(), true, false),
            (b.clone(), true, true),
            (b.clone(), false, true),
            (b.clone(), false, true),
            (b, false, false),
        ]
    );
    let recorded: Vec<_> = (2..=7)
        .map(|version| Change::UserChanged {
            user: alice.id,
            version,
        })
        .collect();
    assert_eq!(changes(&store).await, recorded);
}

#[tokio::test]
async fn a_refused_change_changes_nothing() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let new = NewUser {
        email: Some(email("bob@example.com")),
        ..named("bob")
    };
    store.create_user(new, at(0)).await.unwrap();

    let take_name = UserChange {
        username: Some(Some(username("BOB"))),
        add_roles: vec![role("admin")],
        ..UserChange::default()
    };
    let take_address = UserChange {
        email: Some(Some(email("BOB@example.com"))),
        ..UserChange::default()
    };
    let drop_name = UserChange {
        username: Some(None),
        ..UserChange::default()
    };
    let refused = store.change_user(alice.id, take_name, at(1)).await;
    assert!(matches!(refused, Err(UserError::UsernameTaken)));
    let refused = store.change_user(alice.id, take_address, at(1)).await;
    assert!(matches!(refused, Err(UserError::EmailTaken)));
    let refused = store.change_user(alice.id, drop_name, at(1)).await;
    assert!(matches!(refused, Err(UserError::Nameless)));

    let after = store.user(&Handle::Id(alice.id)).await.unwrap().unwrap();
    assert_eq!((after.version, after.roles), (1, Vec::new()));
    assert!(changes(&store).await.is_empty());

    let nobody = UserId::new(Uuid::nil());
    let refused = store
        .change_user(nobody, UserChange::default(), at(1))
        .await;
    assert!(matches!(refused, Err(UserError::NotFound)));
    let refused = store.delete_user(nobody, at(1)).await;
    assert!(matches!(refused, Err(UserError::NotFound)));
    let hash = PasswordHash::new("$x".to_owned());
    let refused = store.set_password(nobody, &hash, at(1)).await;
    assert!(matches!(refused, Err(UserError::NotFound)));
}

#[tokio::test]
async fn disabling_ends_every_session_and_refuses_new_ones() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let session = open(&store, alice.id, 1).await;
    let disabled = |disabled| UserChange {
        disabled: Some(disabled),
        ..UserChange::default()
    };
    store
        .change_user(alice.id, disabled(true), at(1))
        .await
        .unwrap();
    let version = 2;
    let expected = [
        Change::UserChanged {
            user: alice.id,
            version,
        },
        Change::SessionEnded(session),
    ];
    assert_eq!(changes(&store).await, expected);
    let refused = store.rotate_refresh(spend(session, 1, 2, 1)).await.unwrap();
    assert!(matches!(refused, Rotated::Dead));
    assert!(!store.open_session(new_session(alice.id, 3)).await.unwrap());

    store
        .change_user(alice.id, disabled(false), at(2))
        .await
        .unwrap();
    assert!(store.open_session(new_session(alice.id, 3)).await.unwrap());
    let refused = store.rotate_refresh(spend(session, 1, 2, 2)).await.unwrap();
    assert!(
        matches!(refused, Rotated::Dead),
        "an ended session stays ended"
    );
}

#[tokio::test]
async fn deleting_takes_the_sessions_along() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let session = open(&store, alice.id, 1).await;
    let ended = open(&store, alice.id, 2).await;
    assert!(store.end_session(ended, at(1)).await.unwrap());

    store.delete_user(alice.id, at(2)).await.unwrap();
    let version = 2;
    let expected = [
        Change::SessionEnded(ended),
        Change::UserChanged {
            user: alice.id,
            version,
        },
        Change::SessionEnded(session),
    ];
    assert_eq!(changes(&store).await, expected);
    assert!(store.users().await.unwrap().is_empty());
    assert!(!store.open_session(new_session(alice.id, 3)).await.unwrap());
    let refused = store.rotate_refresh(spend(session, 1, 2, 2)).await.unwrap();
    assert!(matches!(refused, Rotated::Dead));
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let kept = open(&store, alice.id, 1).await;
    let other = open(&store, alice.id, 2).await;
    let new = PasswordHash::new("$argon2id$two".to_owned());

    let change = PasswordChange {
        password: new.clone(),
        ..new_password(alice.id, kept)
    };
    let changed = store.change_password(change).await.unwrap();
    assert_eq!(changed, PasswordChanged::Done(vec![other]));
    assert_eq!(changes(&store).await, [Change::SessionEnded(other)]);
    let stored = credentials(&store, alice.id).await;
    assert_eq!((stored.user.version, &stored.password), (1, &new));

    let ended = store.set_password(alice.id, &new, at(2)).await;
    assert_eq!(ended.unwrap(), [kept]);
}

#[tokio::test]
async fn of_two_changes_of_one_password_one_wins() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let session = open(&store, alice.id, 1).await;
    let first = new_password(alice.id, session);
    let second = PasswordChange {
        password: PasswordHash::new("$argon2id$second".to_owned()),
        ..first.clone()
    };
    let changed = store.change_password(first.clone()).await.unwrap();
    assert_eq!(changed, PasswordChanged::Done(Vec::new()));
    let refused = store.change_password(second).await.unwrap();
    assert_eq!(refused, PasswordChanged::Overtaken);
    let stored = credentials(&store, alice.id).await;
    assert_eq!(stored.password, first.password);
}

#[tokio::test]
async fn only_a_living_session_changes_the_password() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let bob = store.create_user(named("bob"), at(0)).await.unwrap();
    let ended = open(&store, alice.id, 1).await;
    store.end_session(ended, at(1)).await.unwrap();
    let alive = open(&store, alice.id, 2).await;
    let expired = PasswordChange {
        now: at(1000),
        ..new_password(alice.id, alive)
    };
    for dead in [
        new_password(alice.id, ended),
        new_password(bob.id, alive),
        expired,
    ] {
        let refused = store.change_password(dead).await.unwrap();
        assert_eq!(refused, PasswordChanged::SignedOut);
    }
    assert_eq!(credentials(&store, alice.id).await.password_version, 1);

    let in_time = PasswordChange {
        now: at(999),
        ..new_password(alice.id, alive)
    };
    let changed = store.change_password(in_time).await.unwrap();
    assert_eq!(changed, PasswordChanged::Done(Vec::new()));

    let disabled = UserChange {
        disabled: Some(true),
        ..UserChange::default()
    };
    store.change_user(alice.id, disabled, at(1)).await.unwrap();
    let refused = store.change_password(new_password(alice.id, alive)).await;
    assert_eq!(refused.unwrap(), PasswordChanged::SignedOut);
}

#[tokio::test]
async fn a_rehash_never_undoes_a_change_of_password() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let [one, two, three] = ["$argon2id$one", "$argon2id$two", "$argon2id$three"]
        .map(|phc| PasswordHash::new(phc.to_owned()));

    store
        .rehash_password(alice.id, &two, three.clone())
        .await
        .unwrap();
    assert_eq!(credentials(&store, alice.id).await.password, one);
    store
        .rehash_password(alice.id, &one, two.clone())
        .await
        .unwrap();
    assert_eq!(credentials(&store, alice.id).await.password, two);
}

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

    assert!(store.end_session(one, at(1)).await.unwrap());
    assert!(!store.end_session(one, at(2)).await.unwrap());
    assert!(
        !store
            .end_session(SessionId::new(Uuid::nil()), at(2))
            .await
            .unwrap()
    );
    assert_eq!(store.end_sessions(alice.id, at(3)).await.unwrap(), [two]);
    assert!(
        store
            .end_sessions(alice.id, at(4))
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
