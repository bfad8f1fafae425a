//! What people have allowed clients to do for them.

use std::time::SystemTime;

use sqlx::SqliteConnection;

use crate::domain::ClientId;
use crate::domain::Scopes;
use crate::domain::SessionId;
use crate::domain::UserId;
use crate::store::ConnectedClient;
use crate::store::NewCode;
use crate::store::Store;
use crate::store::Unavailable;
use crate::store::sqlite::blob;
use crate::store::sqlite::devices;
use crate::store::sqlite::millis;
use crate::store::sqlite::parsed;
use crate::store::sqlite::sessions;
use crate::store::sqlite::time;

impl Store {
    /// What a person has consented to that this client may hold; nothing where they never have.
    pub async fn consented(&self, user: UserId, client: &ClientId) -> Result<Scopes, Unavailable> {
        let mut reader = self.read().await?;
        Ok(find(&mut reader, user, client).await?)
    }

    /// The clients that may act for a person: those that they consented to, those that have a living session,
    /// and those of devices that were let in and have not asked since. By id.
    pub async fn connected_clients(
        &self,
        user: UserId,
        now: SystemTime,
    ) -> Result<Vec<ConnectedClient>, Unavailable> {
        let mut reader = self.read().await?;
        let rows = sqlx::query(
            "SELECT client, scopes, granted_at AS since FROM consents WHERE user_id = $1 \
             UNION ALL SELECT client, scopes, authenticated_at FROM sessions \
             WHERE user_id = $1 AND kind = 'delegated' AND ended_at IS NULL AND expires_at > $2 \
             UNION ALL SELECT client, scopes, authenticated_at FROM device_codes \
             WHERE user_id = $1 AND state = 'allowed' AND expires_at > $2 \
             ORDER BY client, since",
        )
        .bind(blob(user.uuid()))
        .bind(millis(now))
        .fetch_all(&mut *reader)
        .await?;
        let mut connected: Vec<ConnectedClient> = Vec::new();
        for row in &rows {
            let client = parsed(row, "client", ClientId::parse)?;
            let scopes = parsed(row, "scopes", Scopes::parse)?;
            match connected.last_mut().filter(|last| last.client == client) {
                Some(last) => last.scopes = last.scopes.with(&scopes),
                None => connected.push(ConnectedClient {
                    client,
                    scopes,
                    since: time(row, "since")?,
                }),
            }
        }
        Ok(connected)
    }

    /// Forgets what a person has consented to for a client, and ends what it has for them. Returns the
    /// ended sessions.
    pub async fn disconnect_client(
        &self,
        user: UserId,
        client: &ClientId,
        now: SystemTime,
    ) -> Result<Vec<SessionId>, Unavailable> {
        let mut transaction = self.write().await?;
        for statement in [
            "DELETE FROM consents WHERE user_id = $1 AND client = $2",
            "DELETE FROM codes WHERE user_id = $1 AND client = $2 AND spent_at IS NULL",
        ] {
            sqlx::query(statement)
                .bind(blob(user.uuid()))
                .bind(client.as_str())
                .execute(&mut *transaction)
                .await?;
        }
        devices::take_back(&mut transaction, user, Some(client)).await?;
        let rows = sqlx::query(
            "UPDATE sessions SET ended_at = $3 WHERE user_id = $1 AND client = $2 \
             AND kind = 'delegated' AND ended_at IS NULL RETURNING id",
        )
        .bind(blob(user.uuid()))
        .bind(client.as_str())
        .bind(millis(now))
        .fetch_all(&mut *transaction)
        .await?;
        let ended = sessions::record_ends(&mut transaction, &rows, now).await?;
        transaction.commit().await?;
        Ok(ended)
    }
}

/// Adds the scopes of a code to what its user has consented to.
pub(super) async fn remember(
    connection: &mut SqliteConnection,
    new: &NewCode,
) -> Result<(), sqlx::Error> {
    let before = find(connection, new.user, &new.client).await?;
    sqlx::query(
        "INSERT INTO consents (user_id, client, scopes, granted_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (user_id, client) DO UPDATE SET scopes = $3",
    )
    .bind(blob(new.user.uuid()))
    .bind(new.client.as_str())
    .bind(before.with(&new.scopes).to_string())
    .bind(millis(new.now))
    .execute(connection)
    .await?;
    Ok(())
}

async fn find(
    connection: &mut SqliteConnection,
    user: UserId,
    client: &ClientId,
) -> Result<Scopes, sqlx::Error> {
    let row = sqlx::query("SELECT scopes FROM consents WHERE user_id = $1 AND client = $2")
        .bind(blob(user.uuid()))
        .bind(client.as_str())
        .fetch_optional(connection)
        .await?;
    row.as_ref()
        .map(|row| parsed(row, "scopes", Scopes::parse))
        .transpose()
        .map(Option::unwrap_or_default)
}
