//! The table of changes, which every gateway follows.

use std::time::SystemTime;

use sqlx::Row;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::domain::Malformed;
use crate::domain::SessionId;
use crate::domain::UserId;
use crate::store::CHANGES_KEPT;
use crate::store::Change;
use crate::store::Changes;
use crate::store::Store;
use crate::store::Unavailable;
use crate::store::sqlite::blob;
use crate::store::sqlite::millis;
use crate::store::sqlite::time;
use crate::store::sqlite::undecodable;
use crate::store::sqlite::uuid;

impl Store {
    /// The next changes after a position, at most 10 000 of them; `0` is before the first.
    ///
    /// Positions grow in the order of commits, because there is one writer at a time: none can
    /// appear behind a position that was already read.
    pub async fn changes_after(&self, position: i64) -> Result<Changes, Unavailable> {
        let mut reader = self.read().await?;
        let rows =
            sqlx::query("SELECT * FROM changes WHERE position > $1 ORDER BY position LIMIT 10000")
                .bind(position)
                .fetch_all(&mut *reader)
                .await?;
        let position = match rows.last() {
            Some(last) => last.try_get("position")?,
            None => position,
        };
        let changes = rows
            .iter()
            .map(|row| Ok((change_from(row)?, time(row, "at")?)))
            .collect::<Result<_, sqlx::Error>>()?;
        Ok(Changes { changes, position })
    }

    /// Forgets changes older than [`CHANGES_KEPT`], and sessions and codes that ended or expired before that.
    pub async fn prune(&self, now: SystemTime) -> Result<(), Unavailable> {
        let horizon = millis(
            now.checked_sub(CHANGES_KEPT)
                .unwrap_or(SystemTime::UNIX_EPOCH),
        );
        let mut transaction = self.write().await?;
        for statement in PRUNING {
            sqlx::query(statement)
                .bind(horizon)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// Appends a change, in the transaction of what it tells of.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    change: Change,
    now: SystemTime,
) -> Result<(), sqlx::Error> {
    let (kind, subject, version) = match change {
        Change::SessionEnded(session) => (SESSION_ENDED, Some(blob(session.uuid())), None),
        Change::UserChanged { user, version } => (
            USER_CHANGED,
            Some(blob(user.uuid())),
            Some(version.cast_signed()),
        ),
        Change::KeysChanged => (KEYS_CHANGED, None, None),
    };
    sqlx::query("INSERT INTO changes (at, kind, subject, version) VALUES ($1, $2, $3, $4)")
        .bind(millis(now))
        .bind(kind)
        .bind(subject)
        .bind(version)
        .execute(connection)
        .await?;
    Ok(())
}

fn change_from(row: &SqliteRow) -> Result<Change, sqlx::Error> {
    match row.try_get("kind")? {
        SESSION_ENDED => Ok(Change::SessionEnded(SessionId::new(uuid(row, "subject")?))),
        USER_CHANGED => Ok(Change::UserChanged {
            user: UserId::new(uuid(row, "subject")?),
            version: row.try_get::<i64, _>("version")?.cast_unsigned(),
        }),
        KEYS_CHANGED => Ok(Change::KeysChanged),
        _ => Err(undecodable("kind", Malformed("an unknown change"))),
    }
}

/// Each finds its rows by an index: other writers wait while it runs.
pub(super) const PRUNING: [&str; 4] = [
    "DELETE FROM changes WHERE at < $1",
    "DELETE FROM sessions WHERE ended_at < $1 OR expires_at < $1",
    "DELETE FROM codes WHERE expires_at < $1",
    "DELETE FROM device_codes WHERE expires_at < $1",
];

const SESSION_ENDED: &str = "session_ended";
const USER_CHANGED: &str = "user_changed";
const KEYS_CHANGED: &str = "keys_changed";
