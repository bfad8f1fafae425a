//! What is remembered of the sessions of browsers, and for how long.

use std::net::Ipv4Addr;

use arc_swap::ArcSwap;
use tempfile::TempDir;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::clock::Clock;
use crate::config::Algorithm;
use crate::domain::Amr;
use crate::domain::ClientId;
use crate::domain::PasswordHash;
use crate::domain::Scopes;
use crate::domain::Session;
use crate::domain::UserId;
use crate::domain::Username;
use crate::keys::KeySet;
use crate::revocations::Revocations;
use crate::store::Change;
use crate::store::NewBrowserSession;
use crate::store::NewUser;
use crate::store::UserChange;
use crate::token::verify::Verifier;

use super::*;

const IDLE: Duration = Duration::from_secs(100);
const MAX: Duration = Duration::from_secs(10_000);

/// The sessions of one gateway, and what they stand on.
struct Bench {
    clock: Clock,
    store: Store,
    revocations: Arc<Revocations>,
    sessions: OpaqueSessions,
    user: UserId,
    _folder: TempDir,
}

impl Bench {
    async fn new() -> Self {
        let (store, folder) = Store::for_test().await;
        let clock = Clock::default();
        let revocations = Arc::new(Revocations::default());
        let keys = Arc::new(ArcSwap::from_pointee(KeySet::for_test(Algorithm::Es256)));
        let judge = Judge::new(
            Verifier::new("https://localhost"),
            keys,
            Arc::clone(&revocations),
            Arc::default(),
            clock.clone(),
        );
        let rules = config::Sessions {
            idle: IDLE,
            max: MAX,
        };
        let scopes = Scopes::default();
        let new = NewUser {
            username: Some(Username::parse("alice").unwrap()),
            email: None,
            name: None,
            roles: Vec::new(),
            password: PasswordHash::new("$argon2id$".to_owned()),
        };
        let user = store.create_user(new, clock.now()).await.unwrap().id;
        Self {
            sessions: OpaqueSessions::new(
                &Vault::for_test(),
                judge,
                store.clone(),
                rules,
                scopes,
                1000,
            ),
            clock,
            store,
            revocations,
            user,
            _folder: folder,
        }
    }

    async fn open(&self) -> SessionId {
        let now = self.clock.now();
        let session = Session {
            id: SessionId::new(Uuid::now_v7()),
            user: self.user,
            client: ClientId::first_party(),
            scopes: Scopes::default(),
            audience: None,
            authenticated_at: now,
            amr: Amr::password(),
            expires_at: now + MAX,
            address: Ipv4Addr::LOCALHOST.into(),
        };
        let id = session.id;
        let new = NewBrowserSession {
            session,
            opened_at: now,
            user_agent: None,
            password_version: 1,
            replaced: None,
        };
        assert!(
            self.store
                .open_browser_session(new)
                .await
                .unwrap()
                .is_some()
        );
        id
    }

    async fn recalled(&self, session: SessionId) -> Option<Identity> {
        self.sessions.recall(session).await.unwrap()
    }

    /// As another gateway, or a command, changes the account.
    async fn change_account(&self) {
        let (change, now) = (UserChange::default(), self.clock.now());
        let changed = self.store.change_user(self.user, change, now).await;
        let version = changed.unwrap().version;
        let user = self.user;
        let change = Change::UserChanged { user, version };
        self.revocations.apply(change, now);
    }
}

#[tokio::test]
async fn many_who_ask_at_once_share_one_reading() {
    let bench = Bench::new().await;
    let session = bench.open().await;
    assert!(matches!(bench.sessions.find(session), Found::Unknown));
    let (one, two, three) = tokio::join!(
        bench.sessions.recall(session),
        bench.sessions.recall(session),
        bench.sessions.recall(session),
    );
    let [one, two, three] = [one, two, three].map(|read| read.unwrap().unwrap());
    assert!(one.same(&two) && one.same(&three));
    assert!(lock(&bench.sessions.asked).is_empty());
    let Found::Alive(found) = bench.sessions.find(session) else {
        panic!("it was read");
    };
    assert!(found.same(&one));
}

// SECURITY 50
#[tokio::test]
async fn a_store_that_is_down_fails_all_who_wait_and_nobody_after_it() {
    let bench = Bench::new().await;
    let session = bench.open().await;
    bench
        .store
        .execute("ALTER TABLE sessions RENAME TO gone")
        .await;
    let (one, two) = tokio::join!(
        bench.sessions.recall(session),
        bench.sessions.recall(session),
    );
    assert!(one.is_err() && two.is_err());
    bench
        .store
        .execute("ALTER TABLE gone RENAME TO sessions")
        .await;
    assert!(bench.recalled(session).await.is_some());
}

// SECURITY 24
#[tokio::test]
async fn whoever_waits_for_a_reading_learns_that_the_session_has_ended_meanwhile() {
    let bench = Bench::new().await;
    let session = bench.open().await;
    let late = bench.sessions.read(session).await.unwrap().unwrap();
    *bench.sessions.shard(session) = Recent::new(1);
    let reading = Arc::new(OnceCell::new());
    lock(&bench.sessions.asked).insert(session, Arc::clone(&reading));
    let (tell, told) = oneshot::channel();
    let first = reading.get_or_init(async || told.await.unwrap());
    let ending = async {
        let ended = Change::SessionEnded(session);
        bench.revocations.apply(ended, bench.clock.now());
        assert!(tell.send(Ok(Some(late))).is_ok());
    };
    let (first, second, ()) = tokio::join!(first, bench.sessions.recall(session), ending);
    assert!(first.as_ref().unwrap().is_some());
    assert!(second.unwrap().is_none());
}

#[tokio::test]
async fn that_a_session_has_ended_is_known_without_the_store() {
    let bench = Bench::new().await;
    let session = bench.open().await;
    bench
        .revocations
        .apply(Change::SessionEnded(session), bench.clock.now());
    bench.store.execute("DROP TABLE sessions").await;
    assert!(matches!(bench.sessions.find(session), Found::Dead));
}

#[tokio::test]
async fn a_session_idles_away_however_many_ask_at_once() {
    let bench = Bench::new().await;
    let session = bench.open().await;
    assert!(bench.recalled(session).await.is_some());
    bench.clock.advance(IDLE);
    for _ in 0..3 {
        assert!(matches!(bench.sessions.find(session), Found::Unknown));
    }
    assert!(bench.recalled(session).await.is_none());
    assert!(matches!(bench.sessions.find(session), Found::Dead));
}

#[tokio::test]
async fn a_session_that_is_in_use_here_outlives_what_the_store_knows_of_it() {
    let bench = Bench::new().await;
    let session = bench.open().await;
    assert!(bench.recalled(session).await.is_some());
    bench.clock.advance(IDLE / 2);
    assert!(matches!(bench.sessions.find(session), Found::Alive(_)));
    bench.clock.advance(IDLE / 2);
    // The store knows nothing of the last time, and has to be asked.
    bench.change_account().await;
    assert!(matches!(bench.sessions.find(session), Found::Unknown));
    assert!(bench.recalled(session).await.is_some());
    bench.clock.advance(IDLE / 2);
    // That was a use of it too.
    assert!(matches!(bench.sessions.find(session), Found::Alive(_)));
    bench.clock.advance(IDLE);
    assert!(matches!(bench.sessions.find(session), Found::Unknown));
    assert!(bench.recalled(session).await.is_none());
}

#[tokio::test]
async fn to_be_read_is_to_be_seen() {
    let bench = Bench::new().await;
    let session = bench.open().await;
    for _ in 0..3 {
        bench.clock.advance(IDLE / 2);
        assert!(bench.recalled(session).await.is_some());
        bench.sessions.write_seen().await;
        // Another gateway, or this one after a start.
        *bench.sessions.shard(session) = Recent::new(1);
    }
    bench.clock.advance(IDLE);
    assert!(bench.recalled(session).await.is_none());
}

#[tokio::test]
async fn what_was_seen_is_taken_down() {
    let bench = Bench::new().await;
    let session = bench.open().await;
    assert!(bench.recalled(session).await.is_some());
    bench.clock.advance(IDLE / 2);
    assert!(matches!(bench.sessions.find(session), Found::Alive(_)));
    bench
        .store
        .execute("ALTER TABLE sessions RENAME TO gone")
        .await;
    bench.sessions.write_seen().await;
    bench
        .store
        .execute("ALTER TABLE gone RENAME TO sessions")
        .await;
    bench.sessions.write_seen().await;
    bench.clock.advance(IDLE / 2);
    let (now, idle) = (bench.clock.now(), IDLE);
    let read = bench.store.opaque_session(session, now, idle).await;
    assert!(read.unwrap().is_some());
}
