//! OAuth clients that a command made.

use std::time::SystemTime;

use sqlx::Row;
use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::sqlite::SqliteRow;

use crate::domain::Client;
use crate::domain::ClientId;
use crate::domain::MachineSession;
use crate::domain::Malformed;
use crate::domain::Resource;
use crate::domain::Scopes;
use crate::domain::SessionId;
use crate::domain::TokenHash;
use crate::store::Change;
use crate::store::Store;
use crate::store::StoredClient;
use crate::store::Unavailable;
use crate::store::sqlite::blob;
use crate::store::sqlite::changes::record;
use crate::store::sqlite::millis;
use crate::store::sqlite::parsed;
use crate::store::sqlite::time;
use crate::store::sqlite::undecodable;
use crate::store::sqlite::uuid;

impl Store {
    /// One client.
    pub async fn client(&self, id: &ClientId) -> Result<Option<StoredClient>, Unavailable> {
        let mut reader = self.read().await?;
        let row = sqlx::query("SELECT * FROM clients WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&mut *reader)
            .await?;
        Ok(row.as_ref().map(client_from).transpose()?)
    }

    /// All clients, by id.
    pub async fn clients(&self) -> Result<Vec<StoredClient>, Unavailable> {
        let mut reader = self.read().await?;
        let rows = sqlx::query("SELECT * FROM clients ORDER BY id")
            .fetch_all(&mut *reader)
            .await?;
        Ok(rows.iter().map(client_from).collect::<Result<_, _>>()?)
    }

    /// Makes a client; `false` where there is one of that id.
    pub async fn create_client(
        &self,
        client: &Client,
        now: SystemTime,
    ) -> Result<bool, Unavailable> {
        let mut transaction = self.write().await?;
        let made = sqlx::query(
            "INSERT INTO clients (id, secret, scopes, disabled, created_at) \
             VALUES ($1, $2, $3, FALSE, $4) ON CONFLICT DO NOTHING",
        )
        .bind(client.id.as_str())
        .bind(client.secret.as_bytes().as_slice())
        .bind(client.scopes.to_string())
        .bind(millis(now))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(made.rows_affected() == 1)
    }

    /// Disables a client and ends its sessions; `false` where there is none.
    pub async fn disable_client(
        &self,
        id: &ClientId,
        now: SystemTime,
    ) -> Result<bool, Unavailable> {
        let disabling = sqlx::query("UPDATE clients SET disabled = TRUE WHERE id = $1");
        self.end_client(disabling.bind(id.as_str()), id, now).await
    }

    /// Enables a client again; `false` where there is none.
    pub async fn enable_client(&self, id: &ClientId) -> Result<bool, Unavailable> {
        let mut transaction = self.write().await?;
        let enabled = sqlx::query("UPDATE clients SET disabled = FALSE WHERE id = $1")
            .bind(id.as_str())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(enabled.rows_affected() == 1)
    }

    /// Puts another secret in the place of a client's and ends its sessions: whoever had the old one
    /// has nothing any more. `false` where there is no such client.
    pub async fn rotate_client_secret(
        &self,
        id: &ClientId,
        secret: TokenHash,
        now: SystemTime,
    ) -> Result<bool, Unavailable> {
        let rotating = sqlx::query("UPDATE clients SET secret = $2 WHERE id = $1")
            .bind(id.as_str())
            .bind(secret.as_bytes().as_slice());
        self.end_client(rotating, id, now).await
    }

    /// Deletes a client and ends its sessions; `false` where there is none.
    pub async fn delete_client(&self, id: &ClientId, now: SystemTime) -> Result<bool, Unavailable> {
        let deleting = sqlx::query("DELETE FROM clients WHERE id = $1");
        self.end_client(deleting.bind(id.as_str()), id, now).await
    }

    /// Does what changes a client, and ends its sessions; neither where there is no such client.
    async fn end_client(
        &self,
        change: Query<'_, Sqlite, SqliteArguments>,
        id: &ClientId,
        now: SystemTime,
    ) -> Result<bool, Unavailable> {
        let mut transaction = self.write().await?;
        if change.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let rows = sqlx::query(
            "UPDATE sessions SET ended_at = $2 \
             WHERE kind = 'machine' AND client = $1 AND ended_at IS NULL RETURNING id",
        )
        .bind(id.as_str())
        .bind(millis(now))
        .fetch_all(&mut *transaction)
        .await?;
        for row in &rows {
            let session = SessionId::new(uuid(row, "id")?);
            record(&mut transaction, Change::SessionEnded(session), now).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Takes down the session of a machine. `proven` is the secret of a client of this table, `None`
    /// that of one of the file; `false` where it was disabled, deleted or given another secret
    /// meanwhile: a request under way must not outlive what ends all sessions.
    pub async fn open_machine_session(
        &self,
        session: &MachineSession,
        proven: Option<TokenHash>,
        now: SystemTime,
    ) -> Result<bool, Unavailable> {
        let mut transaction = self.write().await?;
        let opened = sqlx::query(
            "INSERT INTO sessions (kind, id, client, scopes, authenticated_at, expires_at, address, \
             last_seen_at, audience) SELECT 'machine', $1, $2, $3, $4, $5, $6, $4, $8 \
             WHERE $7 IS NULL OR EXISTS \
             (SELECT 1 FROM clients WHERE id = $2 AND secret = $7 AND NOT disabled)",
        )
        .bind(blob(session.id.uuid()))
        .bind(session.client.as_str())
        .bind(session.scopes.to_string())
        .bind(millis(now))
        .bind(millis(session.expires_at))
        .bind(session.address.to_string())
        .bind(proven.as_ref().map(|secret| secret.as_bytes().as_slice()))
        .bind(session.audience.as_ref().map(Resource::as_str))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(opened.rows_affected() == 1)
    }
}

fn client_from(row: &SqliteRow) -> Result<StoredClient, sqlx::Error> {
    let secret: &[u8] = row.try_get("secret")?;
    let wrong = |_| undecodable("secret", Malformed("it is no SHA-256"));
    Ok(StoredClient {
        client: Client {
            id: parsed(row, "id", ClientId::parse)?,
            secret: TokenHash::new(secret.try_into().map_err(wrong)?),
            scopes: parsed(row, "scopes", Scopes::parse)?,
            resources: Vec::new(),
        },
        disabled: row.try_get("disabled")?,
        created_at: time(row, "created_at")?,
    })
}
