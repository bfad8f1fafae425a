//! Devices that wait for somebody to let them in.

use std::net::Ipv4Addr;
use std::time::Duration;

use uuid::Uuid;

use crate::domain::Amr;
use crate::domain::Client;
use crate::domain::ClientId;
use crate::domain::Consent;
use crate::domain::Grant;
use crate::domain::Resource;
use crate::domain::Scopes;
use crate::domain::SessionId;
use crate::domain::UserId;
use crate::store::ClientProof;
use crate::store::DecidedDevice;
use crate::store::DeviceDecision;
use crate::store::DevicePoll;
use crate::store::NewDelegatedSession;
use crate::store::NewDeviceCode;
use crate::store::PasswordChanged;
use crate::store::Polled;
use crate::store::Rotated;
use crate::store::Rotation;
use crate::store::Store;
use crate::store::UserChange;

use super::alice;
use super::at;
use super::changes;
use super::delegation::browser;
use super::hash;
use super::named;
use super::new_password;
use super::spend;

fn tv() -> ClientId {
    ClientId::parse("tv").unwrap()
}

/// Codes of this seed, good until second 600. What the device shows has the seed plus 100.
fn code(seed: u8) -> NewDeviceCode {
    NewDeviceCode {
        hash: hash(seed),
        user_code: hash(seed + 100),
        client: tv(),
        scopes: Scopes::parse("openid notes:read").unwrap(),
        audience: None,
        interval: Duration::from_secs(5),
        expires_at: at(600),
    }
}

fn decision(seed: u8, user: UserId, browser: SessionId, allow: bool) -> DeviceDecision {
    DeviceDecision {
        user_code: hash(seed + 100),
        user,
        browser,
        allow,
        now: at(10),
    }
}

fn poll(seed: u8, seconds: u64) -> DevicePoll {
    DevicePoll {
        code: hash(seed),
        client: tv(),
        proof: ClientProof::Declared,
        target: None,
        patience: Duration::from_secs(5),
        session: NewDelegatedSession {
            id: SessionId::new(Uuid::now_v7()),
            address: Ipv4Addr::LOCALHOST.into(),
            refresh: Some(hash(seed)),
            ttl: Duration::from_secs(5000),
            now: at(seconds),
        },
    }
}

/// A store with Alice in a browser, and a device of seed 1.
async fn waiting() -> (Store, tempfile::TempDir, UserId, SessionId) {
    let (store, folder) = Store::for_test().await;
    let alice = alice(&store).await.id;
    let browser = browser(&store, alice, None).await;
    assert!(store.issue_device_code(&code(1)).await.unwrap());
    (store, folder, alice, browser)
}

/// As a command makes one.
fn public_tv() -> Client {
    Client {
        id: tv(),
        name: None,
        secret: None,
        redirect_uris: Vec::new(),
        post_logout_redirect_uris: Vec::new(),
        scopes: Scopes::default(),
        grants: vec![Grant::DeviceCode],
        consent: Consent::Ask,
        roles: Vec::new(),
        resources: Vec::new(),
    }
}

async fn polled(store: &Store, poll: &DevicePoll) -> Polled {
    store.poll_device(poll).await.unwrap()
}

// SECURITY 37
#[tokio::test]
async fn a_device_that_is_let_in_gets_one_session_and_its_codes_return_ends_it() {
    let (store, _folder, alice, browser) = waiting().await;
    let shown = store.waiting_device(hash(101), at(1)).await.unwrap();
    let shown = shown.unwrap();
    assert_eq!(shown.client, tv());
    assert_eq!(shown.scopes.to_string(), "notes:read openid");
    assert!(matches!(polled(&store, &poll(1, 5)).await, Polled::Pending));
    let yes = decision(1, alice, browser, true);
    assert!(store.decide_device(&yes).await.unwrap());
    // Once: neither is it shown again, nor decided in another way.
    assert!(
        store
            .waiting_device(hash(101), at(11))
            .await
            .unwrap()
            .is_none()
    );
    let no = decision(1, alice, browser, false);
    assert!(!store.decide_device(&no).await.unwrap());

    // However soon it asks: there is an answer now.
    let opened = polled(&store, &poll(1, 6)).await;
    let Polled::Opened { user, session } = opened else {
        panic!("{opened:?}");
    };
    assert_eq!((user.id, session.user), (alice, alice));
    assert_eq!(session.client, tv());
    assert_eq!(session.scopes.to_string(), "notes:read openid");
    assert_eq!(session.expires_at, at(5006));
    assert_eq!(
        (session.authenticated_at, session.amr),
        (at(0), Amr::password())
    );

    // It is no part of the browser in which it was let in.
    assert_eq!(store.end_session(browser, at(20)).await.unwrap(), [browser]);
    let renewal = |presented, successor| Rotation {
        client: tv(),
        ..spend(session.id, presented, successor, 21)
    };
    let renewed = store.rotate_refresh(renewal(1, 2)).await.unwrap();
    assert!(matches!(renewed, Rotated::Current(..)), "{renewed:?}");

    let again = polled(&store, &poll(1, 30)).await;
    assert!(
        matches!(&again, Polled::Replayed(ended) if *ended == [session.id]),
        "{again:?}"
    );
    let renewed = store.rotate_refresh(renewal(2, 3)).await.unwrap();
    assert!(matches!(renewed, Rotated::Dead), "{renewed:?}");
    let third = polled(&store, &poll(1, 31)).await;
    assert!(matches!(third, Polled::Replayed(ended) if ended.is_empty()));
    assert_eq!(changes(&store).await.len(), 2);
}

/// RFC 8628 §3.5.
#[tokio::test]
async fn a_device_that_does_not_wait_waits_longer() {
    let (store, _folder, _alice, _browser) = waiting().await;
    let mut second = 1;
    for (waits, is_early) in [
        (0, false),
        (5, false),
        // A little early is on time.
        (4, false),
        (3, true),
        // Ten from now on, because it was too soon; then fifteen.
        (5, true),
        (14, false),
        (13, true),
        (19, false),
    ] {
        second += waits;
        let answer = polled(&store, &poll(1, second)).await;
        let expected = if is_early { "TooSoon" } else { "Pending" };
        assert_eq!(format!("{answer:?}"), expected, "second {second}");
    }
}

#[tokio::test]
async fn a_device_that_never_waits_soon_costs_no_write() {
    let (store, folder, _alice, _browser) = waiting().await;
    let written = || {
        let files = std::fs::read_dir(folder.path()).unwrap();
        let length = |file: std::io::Result<std::fs::DirEntry>| file.unwrap().metadata().unwrap();
        files.map(|file| length(file).len()).sum::<u64>()
    };
    let asks = async |second| format!("{:?}", polled(&store, &poll(1, second)).await);
    assert_eq!(asks(1).await, "Pending");
    // From five seconds to sixty, by five each.
    for _ in 0..11 {
        assert_eq!(asks(1).await, "TooSoon");
    }
    let before = written();
    for second in 1..=59 {
        assert_eq!(asks(second).await, "TooSoon");
    }
    assert_eq!(written(), before);
    assert_eq!(asks(61).await, "Pending");
    assert!(written() > before);
}

#[tokio::test]
async fn a_device_that_is_refused_or_late_gets_nothing() {
    let (store, _folder, alice, browser) = waiting().await;
    let no = decision(1, alice, browser, false);
    assert!(store.decide_device(&no).await.unwrap());
    for second in [20, 700] {
        let answer = polled(&store, &poll(1, second)).await;
        assert!(matches!(answer, Polled::Denied), "{answer:?}");
    }
    for seed in [2, 3] {
        assert!(store.issue_device_code(&code(seed)).await.unwrap());
    }
    let yes = decision(2, alice, browser, true);
    assert!(store.decide_device(&yes).await.unwrap());
    for seed in [2, 3, 9] {
        let answer = polled(&store, &poll(seed, 600)).await;
        assert!(matches!(answer, Polled::Expired), "{seed}: {answer:?}");
    }
    let last = polled(&store, &poll(2, 599)).await;
    assert!(matches!(last, Polled::Opened { .. }), "{last:?}");
    // Nor can anybody decide by then.
    let shown = store.waiting_device(hash(103), at(600)).await.unwrap();
    assert!(shown.is_none());
    let late = DeviceDecision {
        now: at(600),
        ..decision(3, alice, browser, true)
    };
    assert!(!store.decide_device(&late).await.unwrap());
}

// SECURITY 41
#[tokio::test]
async fn a_devices_code_is_its_clients_alone() {
    let (store, _folder, alice, browser) = waiting().await;
    let yes = decision(1, alice, browser, true);
    assert!(store.decide_device(&yes).await.unwrap());
    let other = DevicePoll {
        client: ClientId::parse("other").unwrap(),
        ..poll(1, 20)
    };
    assert!(matches!(polled(&store, &other).await, Polled::Refused));
    let stored = DevicePoll {
        proof: ClientProof::Stored(None),
        ..poll(1, 20)
    };
    let answer = polled(&store, &stored).await;
    assert!(
        matches!(answer, Polled::Refused),
        "there is none in the store"
    );
    assert!(store.create_client(&public_tv(), at(0)).await.unwrap());
    let opened = polled(&store, &stored).await;
    assert!(matches!(opened, Polled::Opened { .. }), "{opened:?}");
    // One that is deleted leaves nothing to another of its name.
    assert!(store.delete_client(&tv(), at(21)).await.unwrap());
    let answer = polled(&store, &poll(1, 22)).await;
    assert!(matches!(answer, Polled::Expired), "{answer:?}");
}

// SECURITY 24
#[tokio::test]
async fn a_client_that_is_enabled_again_has_none_of_the_devices_of_before() {
    let (store, _folder, alice, browser) = waiting().await;
    assert!(store.create_client(&public_tv(), at(0)).await.unwrap());
    for (seed, allow) in [(2, true), (3, false), (4, true)] {
        assert!(store.issue_device_code(&code(seed)).await.unwrap());
        let decision = decision(seed, alice, browser, allow);
        assert!(store.decide_device(&decision).await.unwrap());
    }
    let opened = polled(&store, &poll(4, 11)).await;
    assert!(matches!(opened, Polled::Opened { .. }), "{opened:?}");
    assert!(store.disable_client(&tv(), at(12)).await.unwrap());
    assert!(store.enable_client(&tv()).await.unwrap());
    for seed in [1, 2] {
        let answer = polled(&store, &poll(seed, 13)).await;
        assert!(matches!(answer, Polled::Expired), "{seed}: {answer:?}");
    }
    let waiting = store.waiting_device(hash(101), at(13)).await.unwrap();
    assert!(waiting.is_none());
    // What was said of the others is still said.
    let denied = polled(&store, &poll(3, 13)).await;
    assert!(matches!(denied, Polled::Denied), "{denied:?}");
    let spent = polled(&store, &poll(4, 13)).await;
    assert!(matches!(spent, Polled::Replayed(_)), "{spent:?}");
}

#[tokio::test]
async fn a_devices_tokens_are_for_what_was_allowed_or_less() {
    let (store, _folder, alice, browser) = waiting().await;
    let [api, other] =
        ["https://api.example.com", "urn:other"].map(|text| Resource::parse(text).unwrap());
    let new = NewDeviceCode {
        audience: Some(api.clone()),
        ..code(2)
    };
    assert!(store.issue_device_code(&new).await.unwrap());
    let yes = decision(2, alice, browser, true);
    assert!(store.decide_device(&yes).await.unwrap());
    let elsewhere = DevicePoll {
        target: Some(Some(other)),
        ..poll(2, 20)
    };
    let answer = polled(&store, &elsewhere).await;
    assert!(matches!(answer, Polled::OtherTarget), "{answer:?}");
    let opened = polled(&store, &poll(2, 20)).await;
    assert!(
        matches!(&opened, Polled::Opened { session, .. } if session.audience == Some(api)),
        "{opened:?}"
    );
}

// SECURITY 24
#[tokio::test]
async fn what_was_allowed_and_not_fetched_does_not_outlive_what_ends_all_sessions() {
    let (store, _folder, alice, browser) = waiting().await;
    let allow = async |seed, browser| {
        let new = code(seed);
        store.issue_device_code(&new).await.unwrap();
        let yes = decision(seed, alice, browser, true);
        store.decide_device(&yes).await.unwrap()
    };
    let is_denied = async |seed| {
        let answer = polled(&store, &poll(seed, 20)).await;
        matches!(answer, Polled::Denied)
    };
    assert!(allow(1, browser).await);
    let changed = store.change_password(new_password(alice, browser)).await;
    assert!(matches!(changed.unwrap(), PasswordChanged::Done(_)));
    assert!(is_denied(1).await, "another password");

    assert!(allow(2, browser).await);
    let is_connected = async |seconds| {
        let connected = store.connected_clients(alice, at(seconds)).await.unwrap();
        connected.iter().any(|connected| connected.client == tv())
    };
    assert!(is_connected(12).await, "to be taken back");
    assert!(!is_connected(600).await, "too late to be fetched");
    let ended = store.disconnect_client(alice, &tv(), at(12)).await;
    assert!(ended.unwrap().is_empty());
    assert!(!is_connected(12).await);
    assert!(is_denied(2).await, "disconnected");

    assert!(allow(3, browser).await);
    store.end_sessions(alice, None, at(12)).await.unwrap();
    assert!(is_denied(3).await, "signed out everywhere");
    assert!(!allow(4, browser).await, "and here");

    let bob = store.create_user(named("bob"), at(0)).await.unwrap().id;
    let browser = super::delegation::browser(&store, bob, None).await;
    for (seed, allow) in [(5, true), (6, false)] {
        store.issue_device_code(&code(seed)).await.unwrap();
        let foreign = decision(seed, alice, browser, allow);
        assert!(!store.decide_device(&foreign).await.unwrap(), "another's");
        let own = decision(seed, bob, browser, allow);
        assert!(store.decide_device(&own).await.unwrap());
    }
    let disable = UserChange {
        disabled: Some(true),
        ..UserChange::default()
    };
    store.change_user(bob, disable, at(12)).await.unwrap();
    assert!(is_denied(5).await && is_denied(6).await);
}

#[tokio::test]
async fn who_decided_is_told_what_became_of_it_and_nobody_else() {
    let (store, _folder, alice, browser) = waiting().await;
    let bob = store.create_user(named("bob"), at(0)).await.unwrap().id;
    let told = async |user, seed: u8| {
        let told = store.decided_device(hash(seed + 100), user).await.unwrap();
        told.map(|told: DecidedDevice| told.is_allowed)
    };
    assert_eq!(told(alice, 1).await, None);
    let yes = decision(1, alice, browser, true);
    assert!(store.decide_device(&yes).await.unwrap());
    assert_eq!(told(alice, 1).await, Some(true));
    assert!(matches!(
        polled(&store, &poll(1, 20)).await,
        Polled::Opened { .. }
    ));
    assert_eq!(told(alice, 1).await, Some(true));
    assert_eq!(told(bob, 1).await, None);

    // No two devices show the same.
    assert!(!store.issue_device_code(&code(1)).await.unwrap());
    let same = NewDeviceCode {
        hash: hash(2),
        ..code(1)
    };
    assert!(!store.issue_device_code(&same).await.unwrap());
    assert!(store.issue_device_code(&code(2)).await.unwrap());
    let no = decision(2, alice, browser, false);
    assert!(store.decide_device(&no).await.unwrap());
    assert_eq!(told(alice, 2).await, Some(false));

    // And they go with their user, and with time.
    assert!(store.delete_user(bob, at(21)).await.is_ok());
    let horizon = crate::store::CHANGES_KEPT + Duration::from_secs(1);
    store.prune(at(600) + horizon).await.unwrap();
    assert_eq!(told(alice, 2).await, None);
    assert!(store.issue_device_code(&code(3)).await.unwrap());
    let browser = super::delegation::browser(&store, alice, None).await;
    let yes = decision(3, alice, browser, true);
    assert!(store.decide_device(&yes).await.unwrap());
    store.delete_user(alice, at(21)).await.unwrap();
    assert!(matches!(
        polled(&store, &poll(3, 22)).await,
        Polled::Expired
    ));
}
