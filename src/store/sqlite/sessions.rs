//! Sessions and their refresh tokens.

use std::net::IpAddr;
use std::time::Duration;
use std::time::SystemTime;

use sqlx::Row;
use sqlx::Sqlite;
use sqlx::SqliteConnection;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::sqlite::SqliteRow;

use crate::domain::Amr;
use crate::domain::ClientId;
use crate::domain::Handle;
use crate::domain::Resource;
use crate::domain::Scopes;
use crate::domain::Session;
use crate::domain::SessionId;
use crate::domain::TokenHash;
use crate::domain::UserId;
use crate::store::Change;
use crate::store::NewSession;
use crate::store::Rotated;
use crate::store::Rotation;
use crate::store::Store;
use crate::store::Unavailable;
use crate::store::sqlite::blob;
use crate::store::sqlite::changes::record;
use crate::store::sqlite::codes;
use crate::store::sqlite::devices;
use crate::store::sqlite::millis;
use crate::store::sqlite::parsed;
use crate::store::sqlite::parsed_if_any;
use crate::store::sqlite::time;
use crate::store::sqlite::users;
use crate::store::sqlite::uuid;

impl Store {
    /// Opens a session; `false` where the account was disabled or deleted or got another password
    /// meanwhile: a sign-in under way must not outlive what ends all sessions.
    pub async fn open_session(&self, new: NewSession) -> Result<bool, Unavailable> {
        let mut transaction = self.write().await?;
        let opened = sqlx::query(
            "INSERT INTO sessions (kind, id, user_id, client, scopes, authenticated_at, expires_at, \
             address, user_agent, refresh_current, last_seen_at, amr, audience) \
             SELECT 'tokens', $1, id, $3, $4, $5, $6, $7, $8, $9, $5, $11, $12 FROM users \
             WHERE id = $2 AND NOT disabled AND password_version = $10",
        )
        .bind(blob(new.session.id.uuid()))
        .bind(blob(new.session.user.uuid()))
        .bind(new.session.client.as_str())
        .bind(new.session.scopes.to_string())
        .bind(millis(new.session.authenticated_at))
        .bind(millis(new.session.expires_at))
        .bind(new.session.address.to_string())
        .bind(&new.user_agent)
        .bind(new.refresh.as_bytes().as_slice())
        .bind(new.password_version.cast_signed())
        .bind(new.session.amr.to_string())
        .bind(new.session.audience.as_ref().map(Resource::as_str))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(opened.rows_affected() == 1)
    }

    /// Spends a refresh token (RFC 9700 §4.14.2).
    ///
    /// A spent token is answered with its successor again within the grace, and only while that
    /// successor is unused: after that its return means that two parties hold it.
    pub async fn rotate_refresh(&self, rotation: Rotation) -> Result<Rotated, Unavailable> {
        let mut transaction = self.write().await?;
        let alive = Alive {
            session: rotation.session,
            client: &rotation.client,
            parent_idle: rotation.parent_idle,
            now: rotation.now,
        };
        let Some(row) = alive.find(&mut transaction).await? else {
            return Ok(Rotated::Dead);
        };
        let session = session_from(&row)?;
        let user = users::find(&mut transaction, &Handle::Id(session.user)).await?;
        let user = users::user_from(&user.ok_or(sqlx::Error::RowNotFound)?)?;
        if user.disabled {
            return Ok(Rotated::Dead);
        }
        let presented = Presented::judge(&row, &rotation)?;
        if let Presented::Reused = presented {
            end(&mut transaction, rotation.session, rotation.now).await?;
            transaction.commit().await?;
            return Ok(Rotated::Reused);
        }
        let asks_too_much = |asked: &Scopes| !asked.is_subset_of(&session.scopes);
        if rotation.asked.as_ref().is_some_and(asks_too_much) {
            return Ok(Rotated::TooMuch(session.scopes));
        }
        let granted = session.audience.clone();
        let Some(audience) = codes::narrowed(granted, rotation.target.as_ref()) else {
            return Ok(Rotated::OtherTarget);
        };
        if let Presented::Current = presented {
            sqlx::query(
                "UPDATE sessions SET refresh_previous = refresh_current, refresh_current = $2, \
                 rotated_at = $3, last_seen_at = $3 WHERE id = $1",
            )
            .bind(blob(rotation.session.uuid()))
            .bind(rotation.successor.as_bytes().as_slice())
            .bind(millis(rotation.now))
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
        }
        let session = Session {
            audience,
            ..session
        };
        Ok(Rotated::Current(user, session))
    }

    /// The session of a refresh token that is good now, and of this client.
    pub async fn session_of_refresh(
        &self,
        session: SessionId,
        presented: TokenHash,
        client: &ClientId,
        parent_idle: Duration,
        now: SystemTime,
    ) -> Result<Option<Session>, Unavailable> {
        let mut reader = self.read().await?;
        let alive = Alive {
            session,
            client,
            parent_idle,
            now,
        };
        let row = alive.find(&mut reader).await?;
        let current = |row: &SqliteRow| {
            row.try_get::<&[u8], _>("refresh_current")
                .map(<[u8]>::to_vec)
        };
        match row {
            Some(row) if current(&row)? == presented.as_bytes() => Ok(Some(session_from(&row)?)),
            _ => Ok(None),
        }
    }

    /// Ends a session that this client has. Returns the ended ones; none where it has no such one.
    pub async fn end_session_of_client(
        &self,
        session: SessionId,
        client: &ClientId,
        now: SystemTime,
    ) -> Result<Vec<SessionId>, Unavailable> {
        let owned = sqlx::query("SELECT 1 FROM sessions WHERE id = $1 AND client = $2")
            .bind(blob(session.uuid()))
            .bind(client.as_str());
        self.end_if_found(owned, session, now).await
    }

    /// Ends a session, and those that were to end with it, where `owned` finds it. Returns the ended ones.
    pub(super) async fn end_if_found(
        &self,
        owned: Query<'_, Sqlite, SqliteArguments>,
        session: SessionId,
        now: SystemTime,
    ) -> Result<Vec<SessionId>, Unavailable> {
        let mut transaction = self.write().await?;
        if owned.fetch_optional(&mut *transaction).await?.is_none() {
            return Ok(Vec::new());
        }
        let ended = end(&mut transaction, session, now).await?;
        transaction.commit().await?;
        Ok(ended)
    }

    /// Ends one session, and those that were to end with it. Returns the ended ones; none where it had ended
    /// before or never was.
    pub async fn end_session(
        &self,
        session: SessionId,
        now: SystemTime,
    ) -> Result<Vec<SessionId>, Unavailable> {
        let mut transaction = self.write().await?;
        let ended = end(&mut transaction, session, now).await?;
        transaction.commit().await?;
        Ok(ended)
    }

    /// Ends all sessions of a user, but for one that is kept. Returns the ended ones.
    pub async fn end_sessions(
        &self,
        user: UserId,
        keep: Option<SessionId>,
        now: SystemTime,
    ) -> Result<Vec<SessionId>, Unavailable> {
        let mut transaction = self.write().await?;
        let ended = end_all(&mut transaction, user, keep, now).await?;
        transaction.commit().await?;
        Ok(ended)
    }
}

/// Ends a user's sessions, but for one that is kept, and records each. What devices may still fetch counts
/// as one.
pub(super) async fn end_all(
    connection: &mut SqliteConnection,
    user: UserId,
    keep: Option<SessionId>,
    now: SystemTime,
) -> Result<Vec<SessionId>, sqlx::Error> {
    devices::take_back(connection, user, None).await?;
    let rows = sqlx::query(
        "UPDATE sessions SET ended_at = $3 \
         WHERE user_id = $1 AND ended_at IS NULL AND id IS NOT $2 RETURNING id",
    )
    .bind(blob(user.uuid()))
    .bind(keep.map(SessionId::uuid).map(blob))
    .bind(millis(now))
    .fetch_all(&mut *connection)
    .await?;
    record_ends(connection, &rows, now).await
}

/// Ends one session and those that were to end with it, and records each.
pub(super) async fn end(
    connection: &mut SqliteConnection,
    session: SessionId,
    now: SystemTime,
) -> Result<Vec<SessionId>, sqlx::Error> {
    let rows = sqlx::query(
        "UPDATE sessions SET ended_at = $2 WHERE (id = $1 OR parent = $1) AND ended_at IS NULL \
         RETURNING id",
    )
    .bind(blob(session.uuid()))
    .bind(millis(now))
    .fetch_all(&mut *connection)
    .await?;
    record_ends(connection, &rows, now).await
}

/// Records the end of the sessions with these ids.
pub(super) async fn record_ends(
    connection: &mut SqliteConnection,
    rows: &[SqliteRow],
    now: SystemTime,
) -> Result<Vec<SessionId>, sqlx::Error> {
    let mut ended = Vec::with_capacity(rows.len());
    for row in rows {
        let session = SessionId::new(uuid(row, "id")?);
        record(connection, Change::SessionEnded(session), now).await?;
        ended.push(session);
    }
    Ok(ended)
}

/// A session with a refresh token, to be found if it is alive.
struct Alive<'a> {
    session: SessionId,
    client: &'a ClientId,
    parent_idle: Duration,
    now: SystemTime,
}

impl Alive<'_> {
    /// With a parent it is alive as long as that is, which may have idled away with nobody noticing.
    async fn find(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Option<SqliteRow>, sqlx::Error> {
        sqlx::query(
            "SELECT * FROM sessions WHERE id = $1 AND client = $2 AND refresh_current IS NOT NULL \
             AND ended_at IS NULL AND expires_at > $3 AND (parent IS NULL OR EXISTS \
             (SELECT 1 FROM sessions AS browser WHERE browser.id = sessions.parent \
             AND browser.ended_at IS NULL AND browser.expires_at > $3 AND browser.last_seen_at > $4))",
        )
        .bind(blob(self.session.uuid()))
        .bind(self.client.as_str())
        .bind(millis(self.now))
        .bind(millis(idle_since(self.now, self.parent_idle)))
        .fetch_optional(connection)
        .await
    }
}

/// What was not seen since then has idled away.
pub(super) fn idle_since(now: SystemTime, idle: Duration) -> SystemTime {
    now.checked_sub(idle).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// What a refresh token that once was ours is now.
enum Presented {
    Current,
    SpentJustNow,
    Reused,
}

impl Presented {
    fn judge(row: &SqliteRow, rotation: &Rotation) -> Result<Self, sqlx::Error> {
        let current: &[u8] = row.try_get("refresh_current")?;
        let previous: Option<&[u8]> = row.try_get("refresh_previous")?;
        let rotated_at: Option<i64> = row.try_get("rotated_at")?;

        let presented = rotation.presented.as_bytes().as_slice();
        let successor = rotation.successor.as_bytes().as_slice();
        let in_grace = rotated_at.is_some_and(|rotated_at| {
            millis(rotation.now).saturating_sub(rotated_at) <= whole_millis(rotation.grace)
        });
        Ok(if current == presented {
            Self::Current
        } else if previous == Some(presented) && current == successor && in_grace {
            Self::SpentJustNow
        } else {
            Self::Reused
        })
    }
}

pub(super) fn session_from(row: &SqliteRow) -> Result<Session, sqlx::Error> {
    Ok(Session {
        id: SessionId::new(uuid(row, "id")?),
        user: UserId::new(uuid(row, "user_id")?),
        client: parsed(row, "client", ClientId::parse)?,
        scopes: parsed(row, "scopes", Scopes::parse)?,
        audience: parsed_if_any(row, "audience", Resource::parse)?,
        authenticated_at: time(row, "authenticated_at")?,
        amr: parsed(row, "amr", Amr::parse)?,
        expires_at: time(row, "expires_at")?,
        address: parsed(row, "address", str::parse::<IpAddr>)?,
    })
}

pub(super) fn whole_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
