//! Accounts: their names, their changes, their passwords.

use tokio::task::JoinSet;
use uuid::Uuid;

use crate::domain::DisplayName;
use crate::domain::Handle;
use crate::domain::PasswordHash;
use crate::domain::User;
use crate::domain::UserId;
use crate::store::Change;
use crate::store::NewUser;
use crate::store::PasswordChange;
use crate::store::PasswordChanged;
use crate::store::Rotated;
use crate::store::Store;
use crate::store::UserChange;
use crate::store::UserError;

use super::alice;
use super::at;
use super::changes;
use super::credentials;
use super::email;
use super::named;
use super::new_password;
use super::new_session;
use super::open;
use super::role;
use super::spend;
use super::username;

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
    assert_eq!(store.end_session(ended, at(1)).await.unwrap(), [ended]);

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
