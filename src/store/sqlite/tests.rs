//! What is peculiar to a database that is a file.

use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::domain::Amr;
use crate::domain::ClientId;
use crate::domain::PasswordHash;
use crate::domain::SessionId;
use crate::domain::TokenHash;
use crate::domain::Username;
use crate::store::NewUser;
use crate::store::Rotated;
use crate::store::Rotation;
use crate::store::Unavailable;
use crate::store::UserError;

impl Store {
    /// An empty store; it lives as long as its folder.
    pub(crate) async fn for_test() -> (Self, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = Self::open(&folder.path().join("test.db"), Open::Create).await;
        (store.unwrap(), folder)
    }

    /// Breaks the database, and mends it.
    pub(crate) async fn execute(&self, sql: &'static str) {
        sqlx::query(sql).execute(&self.writer).await.unwrap();
    }

    /// Fails every write from now on.
    pub(crate) async fn refuse_writes(&self) {
        self.writer.close().await;
    }
}

fn named(name: &str) -> NewUser {
    NewUser {
        username: Some(Username::parse(name).unwrap()),
        email: None,
        name: None,
        roles: Vec::new(),
        password: PasswordHash::new("$argon2id$very-secret".to_owned()),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

// SECURITY 59
#[tokio::test]
async fn a_file_that_others_can_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    Store::open(&path, Open::Create).await.unwrap();
    for mode in [0o604, 0o602, 0o644, 0o660, 0o620] {
        set_mode(&path, mode);
        for how in [Open::Create, Open::Existing] {
            let refused = Store::open(&path, how).await.unwrap_err().to_string();
            assert!(refused.contains("chmod 600"), "{mode:o}: {refused}");
        }
    }
    for mode in [0o600, 0o640] {
        set_mode(&path, mode);
        assert!(Store::open(&path, Open::Existing).await.is_ok(), "{mode:o}");
    }
}

// SECURITY 25
#[tokio::test]
async fn only_the_owner_may_read_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/here/test.db");
    let store = Store::open(&path, Open::Create).await.unwrap();
    store
        .create_user(named("alice"), SystemTime::UNIX_EPOCH)
        .await
        .unwrap();

    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for file in ["test.db", "test.db-wal", "test.db-shm"] {
        assert_eq!(mode(&path.with_file_name(file)), 0o600, "{file}");
    }
}

#[tokio::test]
async fn what_was_written_is_there_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = Store::open(&path, Open::Create).await.unwrap();
    store
        .create_user(named("alice"), SystemTime::UNIX_EPOCH)
        .await
        .unwrap();
    let again = Store::open(&path, Open::Existing).await.unwrap();
    assert_eq!(again.users().await.unwrap().len(), 1);
}

// SECURITY 49
#[tokio::test]
async fn every_commit_is_synced_before_it_is_answered() {
    let (store, _folder) = Store::for_test().await;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&store.writer)
        .await
        .unwrap();
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
        .fetch_one(&store.writer)
        .await
        .unwrap();
    const FULL: i64 = 2;
    assert_eq!((mode.as_str(), synchronous), ("wal", FULL));
}

#[tokio::test]
async fn readers_cannot_write() {
    let (store, _folder) = Store::for_test().await;
    let refused = sqlx::query("DELETE FROM users")
        .execute(&store.reader)
        .await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn each_obstacle_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent.db");
    let refused = Store::open(&absent, Open::Existing).await;
    assert!(matches!(refused, Err(OpenError::Absent(_))));
    assert!(!absent.exists());

    let other = folder.path().join("other.db");
    fs::write(
        &other,
        "this is a letter, not a database, and long enough to be read as one",
    )
    .unwrap();
    set_mode(&other, 0o600);
    let refused = Store::open(&other, Open::Existing).await;
    assert!(matches!(refused, Err(OpenError::Unusable { .. })));

    let refused = Store::open(&other.join("below.db"), Open::Create).await;
    assert!(matches!(refused, Err(OpenError::Io { .. })));

    assert!(refuse_foreign(&absent, 7, 7).is_ok());
    let refused = refuse_foreign(&absent, 7, 0);
    assert!(matches!(
        refused,
        Err(OpenError::ForeignOwner {
            owner: 7,
            caller: 0,
            ..
        })
    ));
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = Store::open(&path, Open::Create).await.unwrap();
    sqlx::query("UPDATE _sqlx_migrations SET version = 999 WHERE version = 11")
        .execute(&store.writer)
        .await
        .unwrap();
    let refused = Store::open(&path, Open::Existing).await.unwrap_err();
    assert!(refused.to_string().contains("newer version"), "{refused}");
}

// SECURITY 49
#[tokio::test]
async fn a_database_of_the_first_version_keeps_its_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    create(&path).unwrap();
    let options = SqliteConnectOptions::new().filename(&path);
    let old = pool(1).connect_with(options).await.unwrap();
    migrate(&old, &MIGRATIONS[..1]).await.unwrap();
    let (user, session) = (Uuid::from_u128(1), Uuid::from_u128(2));
    sqlx::query(
        "INSERT INTO users (id, username, username_folded, email_verified, roles, password, \
         password_version, disabled, version, created_at) \
         VALUES ($1, 'alice', 'alice', 0, '', '$argon2id$one', 1, 0, 1, 0)",
    )
    .bind(blob(user))
    .execute(&old)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO sessions (id, user_id, client, scopes, authenticated_at, expires_at, address, \
         user_agent, refresh_current, refresh_previous, rotated_at, last_seen_at, ended_at) \
         VALUES ($1, $2, 'portcullis', 'notes:read', 1000, 9000, '127.0.0.1', 'curl/8', $3, $4, \
         2000, 3000, NULL)",
    )
    .bind(blob(session))
    .bind(blob(user))
    .bind([1; 32].as_slice())
    .bind([2; 32].as_slice())
    .execute(&old)
    .await
    .unwrap();
    old.close().await;

    let store = Store::open(&path, Open::Existing).await.unwrap();
    let row = sqlx::query("SELECT * FROM sessions")
        .fetch_one(&store.writer)
        .await
        .unwrap();
    assert_eq!(row.get::<&str, _>("kind"), "tokens");
    assert_eq!(row.get::<&str, _>("user_agent"), "curl/8");
    assert_eq!(row.get::<i64, _>("rotated_at"), 2000);
    assert_eq!(row.get::<i64, _>("last_seen_at"), 3000);
    assert_eq!(row.get::<&[u8], _>("refresh_previous"), [2; 32]);
    let rotation = Rotation {
        session: SessionId::new(session),
        client: ClientId::first_party(),
        asked: None,
        target: None,
        parent_idle: Duration::ZERO,
        presented: TokenHash::new([1; 32]),
        successor: TokenHash::new([3; 32]),
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(4),
        grace: Duration::ZERO,
    };
    let Rotated::Current(user, session) = store.rotate_refresh(rotation).await.unwrap() else {
        panic!("the session is not what it was");
    };
    assert_eq!(user.preferred_username(), "alice");
    assert_eq!(session.scopes.to_string(), "notes:read");
    assert_eq!(session.amr, Amr::password());
}

// SECURITY 49
#[tokio::test]
async fn a_database_from_before_personal_tokens_keeps_sessions_of_every_kind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    create(&path).unwrap();
    let options = SqliteConnectOptions::new().filename(&path);
    let old = pool(1).connect_with(options).await.unwrap();
    migrate(&old, &MIGRATIONS[..8]).await.unwrap();
    for statement in OF_VERSION_8 {
        sqlx::query(statement).execute(&old).await.unwrap();
    }
    let before = rows_of_sessions(&old).await;
    assert_eq!(before.len(), 6);
    old.close().await;

    let store = Store::open(&path, Open::Existing).await.unwrap();
    assert_eq!(rows_of_sessions(&store.writer).await, before);
    let news: Vec<(Option<String>, bool)> =
        sqlx::query_as("SELECT name, granted_in IS parent FROM sessions")
            .fetch_all(&store.writer)
            .await
            .unwrap();
    assert!(news.iter().all(|(name, same)| name.is_none() && *same));
    let broken = sqlx::query("PRAGMA foreign_key_check")
        .fetch_all(&store.writer)
        .await
        .unwrap();
    assert!(broken.is_empty());

    // What is there goes on, and ends as it would have.
    let id = |seed: u128| SessionId::new(Uuid::from_u128(seed));
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let read = store.opaque_session(id(11), at(4), Duration::from_secs(60));
    let read = read.await.unwrap().unwrap();
    assert!(read.idles && read.session.client.is_first_party());
    assert_eq!(read.session.amr.to_string(), "fed");
    let rotation = |session, client| Rotation {
        session,
        client,
        asked: None,
        target: None,
        parent_idle: Duration::from_secs(60),
        presented: TokenHash::new([1; 32]),
        successor: TokenHash::new([3; 32]),
        now: at(4),
        grace: Duration::ZERO,
    };
    let app = ClientId::parse("app").unwrap();
    let rotated = store.rotate_refresh(rotation(id(13), app.clone())).await;
    let Rotated::Current(_, session) = rotated.unwrap() else {
        panic!("the client's session is not what it was");
    };
    let audience = session.audience.map(|it| it.to_string());
    assert_eq!(audience.as_deref(), Some("https://api.example"));
    let first = rotation(id(10), ClientId::first_party());
    let rotated = store.rotate_refresh(first).await.unwrap();
    assert!(matches!(rotated, Rotated::Current(..)));
    let ended = store.end_session(id(11), at(5)).await.unwrap();
    assert_eq!(ended, [id(11), id(13)], "and what hangs on it");
    let client = store.client(&app).await.unwrap().unwrap().client;
    assert!(client.resources.is_empty());
}

/// Somebody with a session of each kind, one that has ended, and a client that keeps what it has.
const OF_VERSION_8: [&str; 8] = [
    "INSERT INTO users (id, username, username_folded, email_verified, roles, password, \
     password_version, disabled, version, created_at) VALUES \
     (x'00000000000000000000000000000001', 'alice', 'alice', 0, '', '$argon2id$one', 1, 0, 1, 0)",
    "INSERT INTO clients (id, name, secret, redirect_uris, post_logout_redirect_uris, scopes, grants, \
     consent, roles, disabled, created_at) VALUES \
     ('app', 'App', NULL, 'https://app.example/', '', 'openid', 'authorization_code', 'ask', '', 0, 0)",
    "INSERT INTO sessions VALUES (x'0000000000000000000000000000000a', 'tokens', \
     x'00000000000000000000000000000001', 'portcullis', 'a', 'pwd', NULL, 1000, 9000, '127.0.0.1', \
     'curl/8', x'0101010101010101010101010101010101010101010101010101010101010101', NULL, NULL, 3000, NULL, NULL)",
    "INSERT INTO sessions VALUES (x'0000000000000000000000000000000b', 'browser', \
     x'00000000000000000000000000000001', 'portcullis', 'a', 'fed', NULL, 1000, 9000, '::1', \
     'Firefox', NULL, NULL, NULL, 3001, NULL, NULL)",
    "INSERT INTO sessions VALUES (x'0000000000000000000000000000000c', 'machine', NULL, 'worker', 'b', \
     '', NULL, 1000, 9000, '::1', NULL, NULL, NULL, NULL, 3002, NULL, NULL)",
    "INSERT INTO sessions VALUES (x'0000000000000000000000000000000d', 'delegated', \
     x'00000000000000000000000000000001', 'app', 'openid', 'pwd', x'0000000000000000000000000000000b', \
     1000, 9000, '::1', NULL, x'0101010101010101010101010101010101010101010101010101010101010101', x'0202020202020202020202020202020202020202020202020202020202020202', 2000, 3003, NULL, 'https://api.example')",
    "INSERT INTO sessions VALUES (x'0000000000000000000000000000000e', 'delegated', \
     x'00000000000000000000000000000001', 'app', 'openid', 'pwd', NULL, \
     1000, 9000, '::1', NULL, NULL, NULL, NULL, 3004, NULL, NULL)",
    "INSERT INTO sessions VALUES (x'0000000000000000000000000000000f', 'browser', \
     x'00000000000000000000000000000001', 'portcullis', '', 'pwd', NULL, 1000, 9000, '::1', \
     NULL, NULL, NULL, NULL, 3005, 3500, NULL)",
];

/// Every session, column by column, in the columns of version 8.
async fn rows_of_sessions(pool: &SqlitePool) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT concat_ws('|', hex(id), kind, ifnull(hex(user_id), '-'), client, scopes, amr, \
         ifnull(hex(parent), '-'), authenticated_at, expires_at, address, ifnull(user_agent, '-'), \
         ifnull(hex(refresh_current), '-'), ifnull(hex(refresh_previous), '-'), ifnull(rotated_at, '-'), \
         last_seen_at, ifnull(ended_at, '-'), ifnull(audience, '-')) FROM sessions ORDER BY id",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_may_make_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let mut opening = JoinSet::new();
    for _ in 0..8 {
        let path = path.clone();
        opening.spawn(async move { Store::open(&path, Open::Create).await });
    }
    for store in opening.join_all().await {
        store.unwrap();
    }
}

// SECURITY 50
#[tokio::test]
async fn a_locked_database_is_an_outage_and_passes() {
    let (store, folder) = Store::for_test().await;
    let neighbour = Store::open(&folder.path().join("test.db"), Open::Existing)
        .await
        .unwrap();
    let lock = neighbour.write().await.unwrap();
    sqlx::query("PRAGMA busy_timeout = 0")
        .execute(&store.writer)
        .await
        .unwrap();

    let refused = store
        .create_user(named("alice"), SystemTime::UNIX_EPOCH)
        .await;
    assert!(matches!(refused, Err(UserError::Unavailable(_))));
    assert!(store.users().await.is_ok(), "reading goes on");

    drop(lock);
    sqlx::query("PRAGMA busy_timeout = 3000")
        .execute(&store.writer)
        .await
        .unwrap();
    let made = store
        .create_user(named("alice"), SystemTime::UNIX_EPOCH)
        .await;
    assert!(made.is_ok());
}

// SECURITY 50
#[tokio::test]
async fn a_full_disk_is_an_outage_and_passes() {
    let (store, _folder) = Store::for_test().await;
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
        .fetch_one(&store.writer)
        .await
        .unwrap();
    assert!(pages > 1);
    sqlx::query("PRAGMA max_page_count = 1")
        .execute(&store.writer)
        .await
        .unwrap();

    let mut failures = 0;
    for index in 0..300 {
        let made = store
            .create_user(named(&format!("user{index}")), SystemTime::UNIX_EPOCH)
            .await;
        failures += usize::from(made.is_err());
    }
    let kept = store.users().await.unwrap().len();
    assert_eq!(kept + failures, 300, "nothing was half-done");
    assert!(failures > 0);

    // Whoever makes room does it outside; here the limit is lifted on whatever connection is there.
    sqlx::query("PRAGMA max_page_count = 1000000")
        .execute(&store.writer)
        .await
        .unwrap();
    let made = store
        .create_user(named("later"), SystemTime::UNIX_EPOCH)
        .await;
    assert!(made.is_ok(), "without a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_future_leaves_nothing_half_done() {
    let (store, _folder) = Store::for_test().await;
    for index in 0..200 {
        let store = store.clone();
        let registering = tokio::spawn(async move {
            store
                .create_user(named(&format!("user{index}")), SystemTime::UNIX_EPOCH)
                .await
        });
        for _ in 0..index {
            tokio::task::yield_now().await;
        }
        registering.abort();
        let _ = registering.await;
    }
    store
        .create_user(named("last"), SystemTime::UNIX_EPOCH)
        .await
        .unwrap();

    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users")
        .fetch_one(&store.reader)
        .await
        .unwrap();
    let names: i64 = sqlx::query_scalar("SELECT count(*) FROM usernames")
        .fetch_one(&store.reader)
        .await
        .unwrap();
    assert_eq!(users, names);
}

#[tokio::test]
async fn pruning_searches_and_never_scans() {
    let (store, _folder) = Store::for_test().await;
    for statement in changes::PRUNING {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
        let plan = sqlx::query(explain).bind(0).fetch_all(&store.reader).await;
        let steps: Vec<String> = plan
            .unwrap()
            .iter()
            .map(|step| step.get("detail"))
            .collect();
        assert!(!steps.is_empty(), "{statement}");
        let scans = steps.iter().any(|step| step.contains("SCAN"));
        assert!(!scans, "{statement}: {steps:?}");
    }
}

#[tokio::test]
async fn errors_never_carry_values() {
    let (store, _folder) = Store::for_test().await;
    store
        .create_user(named("alice"), SystemTime::UNIX_EPOCH)
        .await
        .unwrap();
    sqlx::query("UPDATE users SET username = 'not a name', password = '$argon2id$very-secret'")
        .execute(&store.writer)
        .await
        .unwrap();
    let error: Unavailable = store.users().await.unwrap_err();
    let said = format!("{error} {error:?}");
    assert!(said.contains("username"), "{said}");
    assert!(
        !said.contains("not a name") && !said.contains("secret"),
        "{said}"
    );
}
