//! Who people are with other providers.

use crate::domain::Handle;
use crate::domain::PasswordHash;
use crate::domain::ProviderIdentity;
use crate::domain::Role;
use crate::domain::User;
use crate::store::Change;
use crate::store::LinkProof;
use crate::store::Linked;
use crate::store::NewIdentity;
use crate::store::Opened;
use crate::store::Store;
use crate::store::Unlinked;
use crate::store::UserChange;
use crate::store::UserError;

use super::alice;
use super::at;
use super::changes;
use super::email;
use super::named;
use super::open;
use super::role;

const CORP: &str = "https://corp.example";
const OTHER: &str = "https://other.example";

fn identity(issuer: &str, subject: &str, roles: &[&str]) -> NewIdentity {
    NewIdentity {
        identity: ProviderIdentity::new(issuer, subject).unwrap(),
        shown: subject.to_owned(),
        roles: roles.iter().map(|name| role(name)).collect(),
    }
}

fn names(user: &User) -> Vec<&str> {
    user.roles.iter().map(Role::as_str).collect()
}

#[track_caller]
fn done(linked: Linked) -> Opened {
    match linked {
        Linked::Done(opened) => opened,
        other => panic!("{other:?}"),
    }
}

/// Alice with a password, linked.
async fn linked(store: &Store, roles: &[&str]) -> User {
    let alice = alice(store).await;
    let identity = identity(CORP, "1", roles);
    let proof = LinkProof::Password(1);
    let linked = store.link_identity(alice.id, proof, &identity, None, at(1));
    done(linked.await.unwrap()).account.user
}

#[tokio::test]
async fn an_identity_opens_the_account_that_it_is_linked_to() {
    let (store, _folder) = Store::for_test().await;
    let unknown = identity(CORP, "1", &[]);
    assert!(store.use_identity(&unknown, at(0)).await.unwrap().is_none());
    let alice = linked(&store, &[]).await;
    let opened = store.use_identity(&unknown, at(2)).await.unwrap().unwrap();
    assert_eq!(opened.account.user.id, alice.id);
    assert!(!opened.is_changed);
    for other in [identity(CORP, "2", &[]), identity(OTHER, "1", &[])] {
        assert!(store.use_identity(&other, at(2)).await.unwrap().is_none());
    }
    store.delete_user(alice.id, at(3)).await.unwrap();
    assert!(store.use_identity(&unknown, at(4)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_link_needs_a_proof_that_holds() {
    let (store, _folder) = Store::for_test().await;
    let user = alice(&store).await;
    let session = open(&store, user.id, 1).await;
    let identity = identity(CORP, "1", &[]);
    let link = async |proof, seconds| {
        let linking = store.link_identity(user.id, proof, &identity, None, at(seconds));
        linking.await.unwrap()
    };
    let overtaken = |linked| matches!(linked, Linked::Overtaken);
    assert!(overtaken(link(LinkProof::Password(2), 1).await));
    assert!(overtaken(link(LinkProof::Session(session), 1000).await));
    store.end_session(session, at(1)).await.unwrap();
    assert!(overtaken(link(LinkProof::Session(session), 2).await));
    let disabled = UserChange {
        disabled: Some(true),
        ..UserChange::default()
    };
    store.change_user(user.id, disabled, at(3)).await.unwrap();
    assert!(overtaken(link(LinkProof::Password(1), 4).await));
    assert!(store.identities_of(user.id).await.unwrap().is_empty());
}

#[tokio::test]
async fn nobody_is_two_people_of_one_provider() {
    let (store, _folder) = Store::for_test().await;
    let alice = linked(&store, &[]).await;
    let proof = LinkProof::Password(1);
    let link = async |user, new: &NewIdentity| {
        let linking = store.link_identity(user, proof, new, None, at(2));
        linking.await.unwrap()
    };
    let second = link(alice.id, &identity(CORP, "2", &[])).await;
    assert!(matches!(second, Linked::HasAnother));
    done(link(alice.id, &identity(CORP, "1", &[])).await);
    done(link(alice.id, &identity(OTHER, "1", &[])).await);
    let bob = store.create_user(named("bob"), at(0)).await.unwrap();
    let taken = link(bob.id, &identity(CORP, "1", &[])).await;
    assert!(matches!(taken, Linked::Taken));
    let known = identity(CORP, "1", &[]);
    let new = store.create_user_of_identity(named("c"), true, &known, at(3));
    assert!(matches!(new.await, Err(UserError::EmailTaken)));
    assert_eq!(store.identities_of(alice.id).await.unwrap().len(), 2);
    assert!(store.identities_of(bob.id).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_vouched_address_is_verified_where_it_is_the_accounts_own() {
    let (store, _folder) = Store::for_test().await;
    let mut new = named("alice");
    new.email = Some(email("Alice@corp.example"));
    let alice = store.create_user(new, at(0)).await.unwrap();
    let link = async |vouched: &str| {
        let (identity, vouched) = (identity(CORP, "1", &[]), email(vouched));
        let proof = LinkProof::Password(1);
        let linking = store.link_identity(alice.id, proof, &identity, Some(&vouched), at(1));
        done(linking.await.unwrap())
    };
    let other = link("other@corp.example").await;
    assert!(!other.is_changed && !other.account.user.email_verified);
    let own = link("alice@corp.example").await;
    assert!(own.is_changed && own.account.user.email_verified);
    assert_eq!(own.account.user.version, alice.version + 1);
}

#[tokio::test]
async fn provided_roles_come_and_go_beside_those_given_here() {
    let (store, _folder) = Store::for_test().await;
    let alice = linked(&store, &["editor", "viewer"]).await;
    assert_eq!(names(&alice), ["editor", "viewer"]);
    let give = UserChange {
        add_roles: vec![role("viewer"), role("auditor")],
        ..UserChange::default()
    };
    let given = store.change_user(alice.id, give, at(2)).await.unwrap();
    assert_eq!(names(&given), ["auditor", "editor", "viewer"]);

    let fewer = identity(CORP, "1", &[]);
    let used = store.use_identity(&fewer, at(3)).await.unwrap().unwrap();
    assert!(used.is_changed);
    assert_eq!(names(&used.account.user), ["auditor", "viewer"]);
    assert_eq!(used.account.user.version, given.version + 1);
    let changes = changes(&store).await;
    let last = Change::UserChanged {
        user: alice.id,
        version: used.account.user.version,
    };
    assert_eq!(changes.last(), Some(&last));
    let again = store.use_identity(&fewer, at(4)).await.unwrap().unwrap();
    assert!(!again.is_changed);

    // Two providers give what one of them does, and an administrator takes it from both.
    let proof = LinkProof::Password(1);
    let other = identity(OTHER, "1", &["admin"]);
    let linking = store.link_identity(alice.id, proof, &other, None, at(5));
    done(linking.await.unwrap());
    let both = identity(CORP, "1", &["admin", "editor"]);
    store.use_identity(&both, at(6)).await.unwrap();
    let take = UserChange {
        remove_roles: vec![role("admin")],
        ..UserChange::default()
    };
    let taken = store.change_user(alice.id, take, at(7)).await.unwrap();
    assert_eq!(names(&taken), ["auditor", "editor", "viewer"]);
    let read = store.user(&Handle::Id(alice.id)).await.unwrap().unwrap();
    assert_eq!(read.roles, taken.roles);
    let used = store.use_identity(&other, at(8)).await.unwrap().unwrap();
    assert!(names(&used.account.user).contains(&"admin"));
}

#[tokio::test]
async fn a_disabled_account_is_told_and_not_changed() {
    let (store, _folder) = Store::for_test().await;
    let alice = linked(&store, &[]).await;
    let disabled = UserChange {
        disabled: Some(true),
        ..UserChange::default()
    };
    store.change_user(alice.id, disabled, at(2)).await.unwrap();
    let more = identity(CORP, "1", &["admin"]);
    let used = store.use_identity(&more, at(3)).await.unwrap().unwrap();
    assert!(used.account.user.disabled && !used.is_changed);
    assert!(used.account.user.roles.is_empty());
}

#[tokio::test]
async fn the_last_way_in_stays_and_unlinking_ends_all_other_sessions() {
    let (store, _folder) = Store::for_test().await;
    let mut new = named("alice");
    new.password = PasswordHash::nothing();
    new.email = Some(email("a@corp.example"));
    let corp = identity(CORP, "1", &["admin"]);
    let made = store.create_user_of_identity(new, true, &corp, at(0)).await;
    let made = made.unwrap();
    assert!(made.user.email_verified && made.password.is_nothing());
    assert_eq!(names(&made.user), ["admin"]);
    let alice = made.user.id;
    let (kept, other) = (open(&store, alice, 1).await, open(&store, alice, 2).await);
    let unlink = async |usable: &[&str]| {
        let unlinking = store.unlink_identity(alice, kept, CORP, usable, at(2));
        unlinking.await.unwrap()
    };
    assert_eq!(unlink(&[CORP]).await, Unlinked::LastWay);
    let proof = LinkProof::Session(kept);
    let second = identity(OTHER, "1", &[]);
    let linking = store.link_identity(alice, proof, &second, None, at(1));
    done(linking.await.unwrap());
    // Whom nobody can sign in with any more is no way in.
    assert_eq!(unlink(&[CORP]).await, Unlinked::LastWay);
    let version = made.user.version + 1;
    assert_eq!(
        unlink(&[CORP, OTHER]).await,
        Unlinked::Done(vec![other], version)
    );
    assert_eq!(unlink(&[CORP, OTHER]).await, Unlinked::NotThere);
    let user = store.user(&Handle::Id(alice)).await.unwrap().unwrap();
    assert!(user.roles.is_empty());
    assert!(store.use_identity(&corp, at(3)).await.unwrap().is_none());
}

#[tokio::test]
async fn whoever_was_signed_out_meanwhile_unlinks_nothing() {
    let (store, _folder) = Store::for_test().await;
    let alice = linked(&store, &[]).await.id;
    let (own, stolen) = (open(&store, alice, 1).await, open(&store, alice, 2).await);
    store.end_session(stolen, at(2)).await.unwrap();
    let unlinked = store.unlink_identity(alice, stolen, CORP, &[CORP], at(3));
    assert_eq!(unlinked.await.unwrap(), Unlinked::SignedOut);
    assert_eq!(store.identities_of(alice).await.unwrap().len(), 1);
    let done = store.unlink_identity(alice, own, CORP, &[CORP], at(3));
    assert_eq!(done.await.unwrap(), Unlinked::Done(Vec::new(), 1));
}
