//! What clients do for people: codes, the sessions that they open, and consents.

use std::net::Ipv4Addr;
use std::time::Duration;

use uuid::Uuid;

use crate::domain::Amr;
use crate::domain::Client;
use crate::domain::ClientId;
use crate::domain::Consent;
use crate::domain::Grant;
use crate::domain::RedirectUri;
use crate::domain::Resource;
use crate::domain::Scopes;
use crate::domain::SessionId;
use crate::domain::TokenHash;
use crate::domain::UserId;
use crate::store::ClientProof;
use crate::store::NewBrowserSession;
use crate::store::NewCode;
use crate::store::NewDelegatedSession;
use crate::store::Redeemed;
use crate::store::Redemption;
use crate::store::Rotated;
use crate::store::Rotation;
use crate::store::Store;
use crate::store::UserChange;

use super::alice;
use super::at;
use super::changes;
use super::hash;
use super::named;
use super::new_password;
use super::new_session;
use super::open;
use super::spend;

const CALLBACK: &str = "https://notes.example.com/cb";

fn web() -> ClientId {
    ClientId::parse("notes-web").unwrap()
}

pub(super) async fn browser(store: &Store, user: UserId, replaced: Option<SessionId>) -> SessionId {
    let session = new_session(user, 0).session;
    let id = session.id;
    let new = NewBrowserSession {
        session,
        opened_at: at(0),
        user_agent: None,
        password_version: 1,
        replaced,
    };
    assert!(store.open_browser_session(new).await.unwrap().is_some());
    id
}

/// A code of this seed, as it is issued at second 1 and good until second 61.
fn code(user: UserId, parent: SessionId, seed: u8, scopes: &str) -> NewCode {
    NewCode {
        hash: hash(seed),
        client: web(),
        user,
        parent,
        scopes: Scopes::parse(scopes).unwrap(),
        redirect_uri: CALLBACK.to_owned(),
        redirect_uri_sent: true,
        challenge: hash(200),
        nonce: Some("n-0S6".to_owned()),
        audience: None,
        consented: false,
        expires_at: at(61),
        now: at(1),
    }
}

/// What redeems it at second 2, for a refresh token of the same seed.
fn redemption(seed: u8) -> Redemption {
    Redemption {
        code: hash(seed),
        client: web(),
        proof: ClientProof::Declared,
        redirect_uri: Some(CALLBACK.to_owned()),
        challenge: hash(200),
        target: None,
        session: NewDelegatedSession {
            id: SessionId::new(Uuid::now_v7()),
            address: Ipv4Addr::LOCALHOST.into(),
            refresh: Some(hash(seed)),
            ttl: Duration::from_secs(5000),
            now: at(2),
        },
    }
}

async fn is_refused(store: &Store, redemption: Redemption) -> bool {
    let redeemed = store.redeem_code(redemption).await.unwrap();
    matches!(redeemed, Redeemed::Refused)
}

/// A session that a client has for this user, opened by a code of this seed.
async fn delegated(
    store: &Store,
    user: UserId,
    parent: SessionId,
    seed: u8,
    scopes: &str,
) -> SessionId {
    let issued = store.issue_code(code(user, parent, seed, scopes)).await;
    assert!(issued.unwrap());
    match store.redeem_code(redemption(seed)).await.unwrap() {
        Redeemed::Opened { session, .. } => session.id,
        other => panic!("{other:?}"),
    }
}

fn renewal(session: SessionId, presented: u8, successor: u8, seconds: u64) -> Rotation {
    Rotation {
        client: web(),
        parent_idle: Duration::from_secs(10_000),
        ..spend(session, presented, successor, seconds)
    }
}

// SECURITY 37
#[tokio::test]
async fn a_code_opens_one_session_and_its_return_ends_it() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let parent = browser(&store, alice.id, None).await;
    let new = code(alice.id, parent, 1, "openid notes:read");
    assert!(store.issue_code(new).await.unwrap());
    let opened = store.redeem_code(redemption(1)).await.unwrap();
    let Redeemed::Opened {
        user,
        session,
        nonce,
    } = opened
    else {
        panic!("{opened:?}");
    };
    assert_eq!((user.id, session.user), (alice.id, alice.id));
    assert_eq!(session.client, web());
    assert_eq!(session.scopes.to_string(), "notes:read openid");
    assert_eq!(
        (session.authenticated_at, session.amr),
        (at(0), Amr::password())
    );
    // Without `offline_access` no longer than the browser's.
    assert_eq!(session.expires_at, at(1000));
    assert_eq!(nonce.as_deref(), Some("n-0S6"));

    let again = store.redeem_code(redemption(1)).await.unwrap();
    assert!(matches!(again, Redeemed::Replayed(ended) if ended == [session.id]));
    assert_eq!(changes(&store).await.len(), 1);
    let renewed = store.rotate_refresh(renewal(session.id, 1, 2, 3)).await;
    assert!(matches!(renewed.unwrap(), Rotated::Dead));
    let third = store.redeem_code(redemption(1)).await.unwrap();
    assert!(matches!(third, Redeemed::Replayed(ended) if ended.is_empty()));
    assert!(is_refused(&store, redemption(9)).await, "there is none");
}

// SECURITY 37
#[tokio::test]
async fn a_code_is_good_for_what_it_was_issued_for_alone() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let parent = browser(&store, alice.id, None).await;
    let mut wrong: Vec<Redemption> = (1..=6).map(redemption).collect();
    wrong[0].client = ClientId::parse("other").unwrap();
    wrong[1].redirect_uri = Some("https://notes.example.com/cb2".to_owned());
    wrong[2].redirect_uri = None;
    wrong[3].challenge = hash(201);
    wrong[4].session.now = at(61);
    wrong[5].proof = ClientProof::Stored(Some(hash(1)));
    for redemption in wrong {
        let seed = redemption.code.as_bytes()[0];
        let new = code(alice.id, parent, seed, "openid");
        assert!(store.issue_code(new).await.unwrap());
        assert!(is_refused(&store, redemption).await, "{seed}");
        // And it stays dead for whom it was issued for.
        let honest = store.redeem_code(self::redemption(seed)).await.unwrap();
        assert!(
            matches!(honest, Redeemed::Replayed(ended) if ended.is_empty()),
            "{seed}"
        );
    }
    assert!(changes(&store).await.is_empty());

    // The last moment, and a place that was not named and so need not be.
    let new = NewCode {
        redirect_uri_sent: false,
        ..code(alice.id, parent, 7, "openid")
    };
    assert!(store.issue_code(new).await.unwrap());
    let mut last = redemption(7);
    last.redirect_uri = None;
    last.session.now = at(60);
    let opened = store.redeem_code(last).await.unwrap();
    assert!(matches!(opened, Redeemed::Opened { .. }));
}

// SECURITY 24
#[tokio::test]
async fn a_code_under_way_does_not_outlive_what_it_came_from() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let bob = store.create_user(named("bob"), at(0)).await.unwrap();
    let parent = browser(&store, alice.id, None).await;
    let tokens = open(&store, alice.id, 9).await;
    let issued = async |user, parent, seed| {
        let new = code(user, parent, seed, "openid offline_access");
        store.issue_code(new).await.unwrap()
    };
    assert!(!issued(bob.id, parent, 1).await, "another's session");
    assert!(!issued(alice.id, tokens, 1).await, "no browser's");
    assert!(issued(alice.id, parent, 1).await);
    assert!(issued(alice.id, parent, 2).await);
    store.end_session(parent, at(2)).await.unwrap();
    assert!(is_refused(&store, redemption(1)).await, "signed out");
    assert!(!issued(alice.id, parent, 3).await, "signed out");

    let again = browser(&store, alice.id, None).await;
    assert!(issued(alice.id, again, 4).await);
    let disable = UserChange {
        disabled: Some(true),
        ..UserChange::default()
    };
    store.change_user(alice.id, disable, at(2)).await.unwrap();
    assert!(is_refused(&store, redemption(4)).await, "disabled");
    assert!(is_refused(&store, redemption(2)).await, "disabled");
}

// SECURITY 24
#[tokio::test]
async fn what_was_granted_ends_with_the_browsers_session_unless_it_is_offline() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let parent = browser(&store, alice.id, None).await;
    let bound = delegated(&store, alice.id, parent, 1, "openid").await;
    let offline = delegated(&store, alice.id, parent, 2, "openid offline_access").await;
    let mut ended = store.end_session(parent, at(3)).await.unwrap();
    ended.sort_unstable();
    let mut expected = [parent, bound];
    expected.sort_unstable();
    assert_eq!(ended, expected);
    assert_eq!(changes(&store).await.len(), 2);
    let alive = async |session, seed: u8| {
        let renewed = store
            .rotate_refresh(renewal(session, seed, seed + 100, 4))
            .await;
        matches!(renewed.unwrap(), Rotated::Current(..))
    };
    assert!(!alive(bound, 1).await);
    assert!(alive(offline, 2).await);

    // An owner's end of it in the list is one too; and a new password ends all of them.
    let parent = browser(&store, alice.id, None).await;
    let bound = delegated(&store, alice.id, parent, 3, "openid").await;
    let ended = store.end_session_of(alice.id, parent, at(5)).await.unwrap();
    assert!(ended.contains(&bound), "{ended:?}");
    let parent = browser(&store, alice.id, None).await;
    let bound = delegated(&store, alice.id, parent, 4, "openid").await;
    let changed = store.change_password(new_password(alice.id, parent)).await;
    let changed = format!("{:?}", changed.unwrap());
    for session in [bound, offline] {
        assert!(changed.contains(&format!("{session:?}")), "{changed}");
    }
}

// SECURITY 34
#[tokio::test]
async fn who_signs_in_again_keeps_what_clients_have_and_nobody_else_does() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let bob = store.create_user(named("bob"), at(0)).await.unwrap();
    let first = browser(&store, alice.id, None).await;
    let bound = delegated(&store, alice.id, first, 1, "openid").await;
    let second = browser(&store, alice.id, Some(first)).await;
    let renewed = store.rotate_refresh(renewal(bound, 1, 2, 3)).await.unwrap();
    assert!(matches!(renewed, Rotated::Current(..)), "{renewed:?}");

    browser(&store, bob.id, Some(second)).await;
    let renewed = store.rotate_refresh(renewal(bound, 2, 3, 4)).await.unwrap();
    assert!(matches!(renewed, Rotated::Dead), "{renewed:?}");
}

// SECURITY 43
#[tokio::test]
async fn a_refresh_token_is_its_clients_and_never_widens() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let parent = browser(&store, alice.id, None).await;
    let session = delegated(&store, alice.id, parent, 1, "openid notes:read").await;
    let asking = |text: &str, presented| Rotation {
        asked: Some(Scopes::parse(text).unwrap()),
        ..renewal(session, presented, presented + 1, 3)
    };
    for client in ["other", "portcullis"] {
        let client = ClientId::parse(client).unwrap();
        let foreign = Rotation {
            client: client.clone(),
            ..renewal(session, 1, 2, 3)
        };
        let rotated = store.rotate_refresh(foreign).await.unwrap();
        assert!(matches!(rotated, Rotated::Dead), "{client}");
    }
    // The gateway's own are nobody else's either.
    let own = open(&store, alice.id, 50).await;
    let rotated = store.rotate_refresh(renewal(own, 50, 51, 3)).await.unwrap();
    assert!(matches!(rotated, Rotated::Dead));

    let more = store.rotate_refresh(asking("openid notes:write", 1)).await;
    let Rotated::TooMuch(held) = more.unwrap() else {
        panic!("it was widened");
    };
    assert_eq!(held.to_string(), "notes:read openid");
    // That has spent nothing.
    let less = store.rotate_refresh(asking("openid", 1)).await.unwrap();
    let Rotated::Current(_, session_now) = less else {
        panic!("{less:?}");
    };
    assert_eq!(session_now.scopes, held, "the session keeps what it has");
    let again = store.rotate_refresh(asking("notes:read", 2)).await.unwrap();
    assert!(matches!(again, Rotated::Current(..)));
    let reused = store
        .rotate_refresh(asking("notes:write", 1))
        .await
        .unwrap();
    assert!(matches!(reused, Rotated::Reused), "whatever is asked for");
}

#[tokio::test]
async fn tokens_are_for_what_was_granted_or_less() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let parent = browser(&store, alice.id, None).await;
    let [api, other] =
        ["https://api.example.com", "urn:other"].map(|text| Resource::parse(text).unwrap());
    for (seed, granted, asked, expected) in [
        (1, None, None, Some(None)),
        (2, None, Some(Some(&api)), Some(Some(&api))),
        (3, Some(&api), None, Some(Some(&api))),
        (4, Some(&api), Some(Some(&api)), Some(Some(&api))),
        (5, Some(&api), Some(Some(&other)), None),
        (6, Some(&api), Some(None), None),
    ] {
        let new = NewCode {
            audience: granted.cloned(),
            ..code(alice.id, parent, seed, "offline_access")
        };
        assert!(store.issue_code(new).await.unwrap());
        let redemption = Redemption {
            target: asked.map(Option::<&Resource>::cloned),
            ..redemption(seed)
        };
        let redeemed = store.redeem_code(redemption).await.unwrap();
        let audience = match redeemed {
            Redeemed::Opened { session, .. } => Some(session.audience),
            _ => None,
        };
        assert_eq!(
            audience,
            expected.map(Option::<&Resource>::cloned),
            "{seed}"
        );
    }

    let session = delegated(&store, alice.id, parent, 7, "offline_access").await;
    let rotated = async |presented, target: Option<&Resource>| {
        let rotation = Rotation {
            target: target.cloned().map(Some),
            ..renewal(session, presented, presented + 1, 3)
        };
        store.rotate_refresh(rotation).await.unwrap()
    };
    // One access token may be for less, and the next one for all again.
    let narrow = rotated(7, Some(&api)).await;
    assert!(matches!(narrow, Rotated::Current(_, now) if now.audience == Some(api.clone())));
    let wide = rotated(8, None).await;
    assert!(matches!(wide, Rotated::Current(_, now) if now.audience.is_none()));

    let new = NewCode {
        audience: Some(api.clone()),
        ..code(alice.id, parent, 20, "offline_access")
    };
    assert!(store.issue_code(new).await.unwrap());
    let opened = store.redeem_code(redemption(20)).await.unwrap();
    let Redeemed::Opened { session, .. } = opened else {
        panic!("{opened:?}");
    };
    let elsewhere = Rotation {
        target: Some(Some(other)),
        ..renewal(session.id, 20, 21, 3)
    };
    let refused = store.rotate_refresh(elsewhere).await.unwrap();
    assert!(matches!(refused, Rotated::OtherTarget));
    let here = store.rotate_refresh(renewal(session.id, 20, 21, 3)).await;
    assert!(matches!(here.unwrap(), Rotated::Current(_, now) if now.audience == Some(api)));
}

#[tokio::test]
async fn what_is_bound_to_a_browser_idles_away_with_it() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let parent = browser(&store, alice.id, None).await;
    let bound = delegated(&store, alice.id, parent, 1, "openid").await;
    let offline = delegated(&store, alice.id, parent, 2, "offline_access").await;
    let later = |session, seed, seconds| Rotation {
        parent_idle: Duration::from_secs(100),
        ..renewal(session, seed, seed + 100, seconds)
    };
    let lives = async |session, seed, seconds| {
        let rotated = store.rotate_refresh(later(session, seed, seconds)).await;
        matches!(rotated.unwrap(), Rotated::Current(..))
    };
    assert!(!lives(bound, 1, 100).await);
    assert!(lives(offline, 2, 100).await);
    store.touch_sessions(&[(parent, at(50))]).await.unwrap();
    assert!(lives(bound, 1, 100).await);
}

fn stored(secret: Option<TokenHash>) -> Client {
    Client {
        id: web(),
        name: None,
        secret,
        redirect_uris: vec![RedirectUri::parse(CALLBACK).unwrap()],
        post_logout_redirect_uris: Vec::new(),
        scopes: Scopes::parse("openid notes:read").unwrap(),
        grants: vec![Grant::AuthorizationCode, Grant::RefreshToken],
        consent: Consent::Ask,
        roles: vec![super::role("staff")],
        resources: Vec::new(),
    }
}

#[tokio::test]
async fn a_client_reads_back_whole() {
    let (store, _folder) = Store::for_test().await;
    for secret in [Some(hash(1)), None] {
        let client = stored(secret);
        assert!(store.create_client(&client, at(0)).await.unwrap());
        let read = store.client(&web()).await.unwrap().unwrap();
        assert_eq!(format!("{:?}", read.client), format!("{client:?}"));
        let rotated = store.rotate_client_secret(&web(), hash(2), at(1)).await;
        assert_eq!(rotated.unwrap(), secret.is_some(), "a public one has none");
        assert!(store.delete_client(&web(), at(1)).await.unwrap());
    }
}

// SECURITY 41
#[tokio::test]
async fn a_client_that_is_disabled_or_deleted_has_nothing_any_more() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let parent = browser(&store, alice.id, None).await;
    let proof = ClientProof::Stored(None);
    let opens = async |seed| {
        let new = NewCode {
            consented: true,
            ..code(alice.id, parent, seed, "openid offline_access")
        };
        assert!(store.issue_code(new).await.unwrap());
        let redemption = Redemption {
            proof,
            ..redemption(seed)
        };
        let redeemed = store.redeem_code(redemption).await.unwrap();
        matches!(redeemed, Redeemed::Opened { .. })
    };
    assert!(!opens(1).await, "there is none yet");
    store.create_client(&stored(None), at(0)).await.unwrap();
    assert!(opens(2).await);
    let under_way = code(alice.id, parent, 9, "openid");
    assert!(store.issue_code(under_way).await.unwrap());
    assert!(store.disable_client(&web(), at(3)).await.unwrap());
    assert_eq!(changes(&store).await.len(), 1);
    assert!(!opens(3).await, "disabled");
    assert!(store.enable_client(&web()).await.unwrap());
    let late = Redemption {
        proof,
        ..redemption(9)
    };
    assert!(is_refused(&store, late).await, "a code from before");
    assert!(opens(4).await);
    let consented = async || store.consented(alice.id, &web()).await.unwrap();
    assert_eq!(consented().await.to_string(), "offline_access openid");
    assert!(store.delete_client(&web(), at(4)).await.unwrap());
    assert_eq!(changes(&store).await.len(), 2);
    // Another of that name inherits nothing.
    assert!(consented().await.is_empty());
}

// SECURITY 42
#[tokio::test]
async fn a_client_ends_and_sees_what_is_its_own() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let parent = browser(&store, alice.id, None).await;
    let session = delegated(&store, alice.id, parent, 1, "openid").await;
    let other = ClientId::parse("other").unwrap();
    let idle = Duration::from_secs(100);
    let sees = async |client: &ClientId, seed| {
        let seen = store.session_of_refresh(session, hash(seed), client, idle, at(3));
        seen.await.unwrap().is_some()
    };
    assert!(sees(&web(), 1).await);
    assert!(!sees(&web(), 2).await && !sees(&other, 1).await);
    let ends = async |client: &ClientId| {
        let ended = store.end_session_of_client(session, client, at(3)).await;
        ended.unwrap()
    };
    assert!(ends(&other).await.is_empty());
    assert!(sees(&web(), 1).await);
    assert_eq!(ends(&web()).await, [session]);
    assert!(!sees(&web(), 1).await);
    assert!(ends(&web()).await.is_empty());
}

#[tokio::test]
async fn consents_are_added_up_and_taken_back() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let parent = browser(&store, alice.id, None).await;
    let consented = async || {
        let scopes = store.consented(alice.id, &web()).await.unwrap();
        scopes.to_string()
    };
    let first = delegated(&store, alice.id, parent, 1, "openid").await;
    assert_eq!(consented().await, "", "nothing was to be remembered");
    for (seed, scopes) in [(2, "openid"), (3, "notes:read")] {
        let new = NewCode {
            consented: true,
            ..code(alice.id, parent, seed, scopes)
        };
        assert!(store.issue_code(new).await.unwrap());
    }
    assert_eq!(consented().await, "notes:read openid");
    let connected = store.connected_clients(alice.id, at(3)).await.unwrap();
    let [connected] = connected.as_slice() else {
        panic!("{connected:?}");
    };
    assert_eq!((&connected.client, connected.since), (&web(), at(0)));
    assert_eq!(connected.scopes.to_string(), "notes:read openid");

    let ended = store.disconnect_client(alice.id, &web(), at(4)).await;
    assert_eq!(ended.unwrap(), [first]);
    assert_eq!(consented().await, "");
    assert!(is_refused(&store, redemption(2)).await, "a code under way");
    let connected = store.connected_clients(alice.id, at(5)).await.unwrap();
    assert!(connected.is_empty(), "{connected:?}");
}

#[tokio::test]
async fn codes_and_consents_go_with_their_user_and_codes_with_time() {
    let (store, _folder) = Store::for_test().await;
    let alice = alice(&store).await;
    let parent = browser(&store, alice.id, None).await;
    for seed in [1, 2] {
        let new = NewCode {
            consented: true,
            ..code(alice.id, parent, seed, "openid")
        };
        assert!(store.issue_code(new).await.unwrap());
    }
    let horizon = crate::store::CHANGES_KEPT + Duration::from_secs(1);
    store.prune(at(61) + horizon).await.unwrap();
    assert!(is_refused(&store, redemption(1)).await);
    store.delete_user(alice.id, at(4)).await.unwrap();
    assert!(is_refused(&store, redemption(2)).await);
}
