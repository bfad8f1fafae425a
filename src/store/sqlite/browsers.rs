//! The sessions of browsers, and what an owner sees of any session.

use std::net::IpAddr;
use std::time::Duration;
use std::time::SystemTime;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::domain::ClientId;
use crate::domain::Handle;
use crate::domain::SessionId;
use crate::domain::UserId;
use crate::store::ListedSession;
use crate::store::NewBrowserSession;
use crate::store::OpaqueSession;
use crate::store::Store;
use crate::store::Unavailable;
use crate::store::sqlite::blob;
use crate::store::sqlite::millis;
use crate::store::sqlite::parsed;
use crate::store::sqlite::sessions;
use crate::store::sqlite::time;
use crate::store::sqlite::users;
use crate::store::sqlite::uuid;

impl Store {
    /// Opens a browser's session and ends the one that it had (SECURITY 34). Returns the ended ones; `None`,
    /// and nothing is changed, where the account was disabled or deleted or got another password meanwhile.
    ///
    /// What clients have for the same person, and was to end with the old one, ends with the new one; and what
    /// was granted in the old one was granted in this browser.
    pub async fn open_browser_session(
        &self,
        new: NewBrowserSession,
    ) -> Result<Option<Vec<SessionId>>, Unavailable> {
        let mut transaction = self.write().await?;
        let now = new.opened_at;
        let opened = sqlx::query(
            "INSERT INTO sessions (kind, id, user_id, client, scopes, authenticated_at, expires_at, \
             address, user_agent, last_seen_at, amr) \
             SELECT 'browser', $1, id, $3, $4, $5, $6, $7, $8, $11, $10 FROM users \
             WHERE id = $2 AND NOT disabled AND password_version = $9",
        )
        .bind(blob(new.session.id.uuid()))
        .bind(blob(new.session.user.uuid()))
        .bind(new.session.client.as_str())
        .bind(new.session.scopes.to_string())
        .bind(millis(new.session.authenticated_at))
        .bind(millis(new.session.expires_at))
        .bind(new.session.address.to_string())
        .bind(&new.user_agent)
        .bind(new.password_version.cast_signed())
        .bind(new.session.amr.to_string())
        .bind(millis(now))
        .execute(&mut *transaction)
        .await?;
        if opened.rows_affected() == 0 {
            return Ok(None);
        }
        let mut ended = Vec::new();
        if let Some(replaced) = new.replaced {
            for statement in [
                "UPDATE sessions SET parent = $1 \
                 WHERE parent = $2 AND user_id = $3 AND ended_at IS NULL",
                "UPDATE sessions SET granted_in = $1 \
                 WHERE granted_in = $2 AND user_id = $3 AND ended_at IS NULL",
            ] {
                sqlx::query(statement)
                    .bind(blob(new.session.id.uuid()))
                    .bind(blob(replaced.uuid()))
                    .bind(blob(new.session.user.uuid()))
                    .execute(&mut *transaction)
                    .await?;
            }
            ended = sessions::end(&mut transaction, replaced, now).await?;
        }
        transaction.commit().await?;
        Ok(Some(ended))
    }

    /// A session that something opaque names, and whose it is; none where it has ended, expired or idled for
    /// too long.
    pub async fn opaque_session(
        &self,
        session: SessionId,
        now: SystemTime,
        idle: Duration,
    ) -> Result<Option<OpaqueSession>, Unavailable> {
        let mut reader = self.read().await?;
        let row = sqlx::query(
            "SELECT * FROM sessions WHERE id = $1 AND kind IN ('browser', 'personal') \
             AND ended_at IS NULL AND expires_at > $2 AND (kind <> 'browser' OR last_seen_at > $3)",
        )
        .bind(blob(session.uuid()))
        .bind(millis(now))
        .bind(millis(sessions::idle_since(now, idle)))
        .fetch_optional(&mut *reader)
        .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let session = sessions::session_from(&row)?;
        let user = users::find(&mut reader, &Handle::Id(session.user)).await?;
        let user = user.as_ref().map(users::user_from).transpose()?;
        let last_seen_at = time(&row, "last_seen_at")?;
        let idles = is_browser(&row)?;
        Ok(user
            .filter(|user| !user.disabled)
            .map(|user| OpaqueSession {
                session,
                user,
                last_seen_at,
                idles,
            }))
    }

    /// Takes down when sessions were last seen; never an earlier time than is there.
    pub async fn touch_sessions(
        &self,
        seen: &[(SessionId, SystemTime)],
    ) -> Result<(), Unavailable> {
        let mut transaction = self.write().await?;
        for (session, at) in seen {
            sqlx::query(
                "UPDATE sessions SET last_seen_at = $2 \
                 WHERE id = $1 AND ended_at IS NULL AND last_seen_at < $2",
            )
            .bind(blob(session.uuid()))
            .bind(millis(*at))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The living sessions of a user, the one seen last first; personal tokens are no places where somebody
    /// is signed in.
    pub async fn sessions_of(
        &self,
        user: UserId,
        now: SystemTime,
        idle: Duration,
    ) -> Result<Vec<ListedSession>, Unavailable> {
        let mut reader = self.read().await?;
        let rows = sqlx::query(
            "SELECT * FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 \
             AND kind <> 'personal' AND (kind <> 'browser' OR last_seen_at > $3) ORDER BY last_seen_at DESC, id",
        )
        .bind(blob(user.uuid()))
        .bind(millis(now))
        .bind(millis(sessions::idle_since(now, idle)))
        .fetch_all(&mut *reader)
        .await?;
        Ok(rows.iter().map(listed).collect::<Result<_, _>>()?)
    }

    /// Ends a session of this user, and those that were to end with it. Returns the ended ones; none where
    /// there is no such living session of theirs.
    pub async fn end_session_of(
        &self,
        user: UserId,
        session: SessionId,
        now: SystemTime,
    ) -> Result<Vec<SessionId>, Unavailable> {
        let owned = sqlx::query(
            "SELECT 1 FROM sessions WHERE id = $1 AND user_id = $2 AND kind <> 'personal'",
        )
        .bind(blob(session.uuid()))
        .bind(blob(user.uuid()));
        self.end_if_found(owned, session, now).await
    }
}

fn listed(row: &SqliteRow) -> Result<ListedSession, sqlx::Error> {
    Ok(ListedSession {
        id: SessionId::new(uuid(row, "id")?),
        is_browser: is_browser(row)?,
        client: parsed(row, "client", ClientId::parse)?,
        user_agent: row.try_get("user_agent")?,
        address: parsed(row, "address", str::parse::<IpAddr>)?,
        authenticated_at: time(row, "authenticated_at")?,
        last_seen_at: time(row, "last_seen_at")?,
        expires_at: time(row, "expires_at")?,
    })
}

fn is_browser(row: &SqliteRow) -> Result<bool, sqlx::Error> {
    Ok(row.try_get::<&str, _>("kind")? == "browser")
}
