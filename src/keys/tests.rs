use jsonwebtoken::jwk::AlgorithmParameters;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::store::CHANGES_KEPT;
use crate::store::Change;

const BOTH: [Algorithm; 2] = [Algorithm::Es256, Algorithm::EdDsa];

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

async fn ring(algorithm: Algorithm) -> (KeyRing, TempDir) {
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let (store, folder) = Store::for_test().await;
    (
        KeyRing::new(store, Arc::new(Vault::for_test()), algorithm),
        folder,
    )
}

/// Kids by their purpose and state.
async fn kids(ring: &KeyRing, purpose: KeyPurpose, state: KeyState) -> Vec<String> {
    let keys = ring.list().await.unwrap().into_iter();
    keys.filter(|key| (key.purpose, key.state) == (purpose, state))
        .map(|key| key.kid)
        .collect()
}

async fn one(ring: &KeyRing, purpose: KeyPurpose, state: KeyState) -> String {
    let mut kids = kids(ring, purpose, state).await;
    assert_eq!(kids.len(), 1);
    kids.remove(0)
}

// SECURITY 25
#[tokio::test]
async fn the_first_start_makes_keys_and_the_second_keeps_them() {
    for algorithm in BOTH {
        let (ring, _folder) = ring(algorithm).await;
        let first = ring.load(at(0)).await.unwrap();
        assert_eq!(ring.list().await.unwrap().len(), 4);
        let second = ring.load(at(1)).await.unwrap();
        assert_eq!(first.jwks(), second.jwks());
        assert_eq!(first.generation(), second.generation());
        assert_eq!(first.access().kid(), second.access().kid());
        assert_eq!(
            first.access().kid(),
            one(&ring, KeyPurpose::Access, KeyState::Current).await
        );
        assert_ne!(first.access().kid(), first.assertion().kid());
        let changes = ring.store.changes_after(0).await.unwrap().changes;
        assert_eq!(changes, [(Change::KeysChanged, at(0))]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_that_start_at_once_agree() {
    let (ring, _folder) = ring(Algorithm::Es256).await;
    let mut starting = JoinSet::new();
    for _ in 0..8 {
        let ring = ring.clone();
        starting.spawn(async move { ring.load(at(0)).await.unwrap() });
    }
    let sets = starting.join_all().await;
    assert!(sets.iter().all(|set| set.jwks() == sets[0].jwks()));
    assert_eq!(ring.list().await.unwrap().len(), 4);
}

// SECURITY 25
#[tokio::test]
async fn jwks_holds_public_parts_only() {
    for (algorithm, members) in [
        (
            Algorithm::Es256,
            &["alg", "crv", "kid", "kty", "use", "x", "y"][..],
        ),
        (
            Algorithm::EdDsa,
            &["alg", "crv", "kid", "kty", "use", "x"][..],
        ),
    ] {
        let (ring, _folder) = ring(algorithm).await;
        let set = ring.load(at(0)).await.unwrap();
        let published: Value = serde_json::from_slice(set.jwks()).unwrap();
        let keys = published["keys"].as_array().unwrap();
        assert_eq!(keys.len(), 4);
        for key in keys {
            let key = key.as_object().unwrap();
            let mut names: Vec<_> = key.keys().map(String::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, members);
            assert_eq!(key["use"], json!("sig"));
        }
    }
}

#[test]
fn the_kid_is_the_thumbprint() {
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let (pair, _) = KeyPair::generate(Algorithm::EdDsa);
    let AlgorithmParameters::OctetKeyPair(parts) = &pair.public().algorithm else {
        panic!("an Ed25519 key is an octet key pair");
    };
    // RFC 7638 §3.2, by hand.
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, parts.x);
    let digest = digest::digest(&digest::SHA256, canonical.as_bytes());
    let expected =
        base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, digest);
    assert_eq!(pair.kid(), expected);
}

// SECURITY 25
#[tokio::test]
async fn rotation_overlaps() {
    let (ring, _folder) = ring(Algorithm::Es256).await;
    let before = ring.load(at(0)).await.unwrap();
    let next = one(&ring, KeyPurpose::Access, KeyState::Next).await;
    assert!(
        before.verifying(&next).is_some(),
        "published before it signs"
    );

    ring.rotate(false, at(300)).await.unwrap();
    let after = ring.reload(at(300)).await.unwrap();
    assert_eq!(after.access().kid(), next);
    assert!(
        after.verifying(before.access().kid()).is_some(),
        "verifies on"
    );
    assert_ne!(after.generation(), before.generation());
    assert_ne!(after.assertion().kid(), before.assertion().kid());
    assert_eq!(
        one(&ring, KeyPurpose::Access, KeyState::Retired).await,
        before.access().kid()
    );

    let later = at(300) + CHANGES_KEPT;
    let just_before = ring.reload(later - Duration::from_secs(1)).await.unwrap();
    assert!(just_before.verifying(before.access().kid()).is_some());
    let forgotten = ring.reload(later).await.unwrap();
    assert!(forgotten.verifying(before.access().kid()).is_none());
    ring.load(later).await.unwrap();
    assert!(
        kids(&ring, KeyPurpose::Access, KeyState::Retired)
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn rotation_waits_until_verifiers_know_the_next_key() {
    let (ring, _folder) = ring(Algorithm::Es256).await;
    ring.load(at(0)).await.unwrap();
    let refused = ring.rotate(false, at(299)).await;
    assert!(matches!(refused, Err(KeyError::TooSoon)));
    assert!(
        kids(&ring, KeyPurpose::Access, KeyState::Retired)
            .await
            .is_empty()
    );
    ring.rotate(true, at(299)).await.unwrap();
    assert_eq!(
        kids(&ring, KeyPurpose::Access, KeyState::Retired)
            .await
            .len(),
        1
    );
}

#[tokio::test]
async fn a_revoked_key_is_gone_at_once() {
    let (ring, _folder) = ring(Algorithm::Es256).await;
    let before = ring.load(at(0)).await.unwrap();
    let leaked = before.access().kid();
    let next = one(&ring, KeyPurpose::Access, KeyState::Next).await;

    ring.revoke(leaked, at(1)).await.unwrap();
    let after = ring.reload(at(1)).await.unwrap();
    assert!(after.verifying(leaked).is_none());
    assert_eq!(after.access().kid(), next, "the next takes over");
    assert_eq!(after.assertion().kid(), before.assertion().kid());
    assert!(!String::from_utf8_lossy(after.jwks()).contains(leaked));

    let next = one(&ring, KeyPurpose::Access, KeyState::Next).await;
    ring.revoke(&next, at(2)).await.unwrap();
    assert_ne!(one(&ring, KeyPurpose::Access, KeyState::Next).await, next);

    ring.rotate(true, at(3)).await.unwrap();
    let retired = one(&ring, KeyPurpose::Access, KeyState::Retired).await;
    ring.revoke(&retired, at(4)).await.unwrap();
    assert!(
        kids(&ring, KeyPurpose::Access, KeyState::Retired)
            .await
            .is_empty()
    );

    let refused = ring.revoke(leaked, at(5)).await;
    assert!(matches!(refused, Err(KeyError::NotFound(kid)) if kid == leaked));
}

#[tokio::test]
async fn another_algorithm_is_published_first_and_signs_later() {
    let (old, _folder) = ring(Algorithm::Es256).await;
    let new = KeyRing {
        algorithm: Algorithm::EdDsa,
        ..old.clone()
    };
    let es256 = old.load(at(0)).await.unwrap();

    let published = new.load(at(400)).await.unwrap();
    assert_eq!(
        published.access().kid(),
        es256.access().kid(),
        "still signs"
    );
    let next = one(&new, KeyPurpose::Access, KeyState::Next).await;
    let early = new.load(at(699)).await.unwrap();
    assert_eq!(early.access().kid(), es256.access().kid());

    let untouched = old.reload(at(699)).await.unwrap();
    assert!(untouched.verifying(&next).is_some(), "nobody takes it back");

    let signs = new.load(at(700)).await.unwrap();
    assert_eq!(signs.access().kid(), next);
    assert_eq!(signs.access().algorithm(), jsonwebtoken::Algorithm::EdDSA);
    assert!(signs.verifying(es256.access().kid()).is_some());
}

#[tokio::test]
async fn reading_the_keys_again_writes_nothing() {
    let (ring, _folder) = ring(Algorithm::Es256).await;
    ring.load(at(0)).await.unwrap();
    ring.rotate(true, at(0)).await.unwrap();
    ring.store.refuse_writes().await;
    for now in [at(0), at(1) + CHANGES_KEPT] {
        assert!(ring.reload(now).await.is_ok(), "{now:?}");
    }
    let refused = ring.rotate(true, at(1)).await;
    assert!(matches!(refused, Err(KeyError::Unavailable(_))));
}

#[tokio::test]
async fn another_store_key_is_noticed() {
    let (right, _folder) = ring(Algorithm::Es256).await;
    right.load(at(0)).await.unwrap();
    let wrong = KeyRing {
        vault: Arc::new(Vault::for_test()),
        ..right.clone()
    };
    for refused in [
        wrong.load(at(1)).await.map(drop),
        wrong.rotate(true, at(1)).await,
    ] {
        assert!(matches!(refused, Err(KeyError::WrongStoreKey)));
    }
    assert!(right.load(at(1)).await.is_ok());
}

#[tokio::test]
async fn a_stored_key_cannot_be_passed_off_as_another() {
    let (ring, _folder) = ring(Algorithm::Es256).await;
    ring.load(at(0)).await.unwrap();
    let stored = ring.list().await.unwrap();
    let mut swapped = stored.clone();
    swapped[0].sealed = stored[1].sealed.clone();
    assert!(
        ring.store
            .replace_keys(&stored, &swapped, at(1))
            .await
            .unwrap()
    );
    let refused = ring.reload(at(1)).await;
    assert!(matches!(refused, Err(KeyError::WrongStoreKey)));
}
