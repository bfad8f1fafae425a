//! OAuth clients that a command made.

use std::time::SystemTime;

use sqlx::Row;
use sqlx::Sqlite;
use sqlx::SqliteConnection;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::sqlite::SqliteRow;

use crate::domain::Client;
use crate::domain::ClientId;
use crate::domain::Consent;
use crate::domain::DisplayName;
use crate::domain::Grant;
use crate::domain::MachineSession;
use crate::domain::Malformed;
use crate::domain::RedirectUri;
use crate::domain::Resource;
use crate::domain::Scopes;
use crate::domain::TokenHash;
use crate::store::ClientProof;
use crate::store::Store;
use crate::store::StoredClient;
use crate::store::Unavailable;
use crate::store::sqlite::blob;
use crate::store::sqlite::millis;
use crate::store::sqlite::parsed;
use crate::store::sqlite::sessions;
use crate::store::sqlite::time;
use crate::store::sqlite::undecodable;
use crate::store::sqlite::users;

impl Store {
    /// One client. None has a reserved name: one that was made before the name was is there to be deleted, and
    /// is nobody.
    pub async fn client(&self, id: &ClientId) -> Result<Option<StoredClient>, Unavailable> {
        if id.is_reserved() {
            return Ok(None);
        }
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
            "INSERT INTO clients (id, name, secret, redirect_uris, post_logout_redirect_uris, scopes, \
             grants, consent, roles, resources, disabled, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, FALSE, $11) ON CONFLICT DO NOTHING",
        )
        .bind(client.id.as_str())
        .bind(client.name.as_ref().map(DisplayName::as_str))
        .bind(bytes(client.secret.as_ref()))
        .bind(words(&client.redirect_uris, RedirectUri::as_str))
        .bind(words(&client.post_logout_redirect_uris, RedirectUri::as_str))
        .bind(client.scopes.to_string())
        .bind(words(&client.grants, |grant| grant.word()))
        .bind(client.consent.word())
        .bind(users::joined(&client.roles))
        .bind(words(&client.resources, Resource::as_str))
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
        let disabling = disabling.bind(id.as_str());
        let mut transaction = self.write().await?;
        let found = end_client(&mut transaction, disabling, id, now).await?;
        transaction.commit().await?;
        Ok(found)
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
    /// has nothing any more. `false` where there is no such client, or it is public.
    pub async fn rotate_client_secret(
        &self,
        id: &ClientId,
        secret: TokenHash,
        now: SystemTime,
    ) -> Result<bool, Unavailable> {
        let rotating =
            sqlx::query("UPDATE clients SET secret = $2 WHERE id = $1 AND secret IS NOT NULL")
                .bind(id.as_str())
                .bind(secret.as_bytes().as_slice());
        let mut transaction = self.write().await?;
        let found = end_client(&mut transaction, rotating, id, now).await?;
        transaction.commit().await?;
        Ok(found)
    }

    /// Deletes a client, ends its sessions and forgets who consented to it: another one of that name
    /// inherits nothing. `false` where there is none.
    pub async fn delete_client(&self, id: &ClientId, now: SystemTime) -> Result<bool, Unavailable> {
        let deleting = sqlx::query("DELETE FROM clients WHERE id = $1").bind(id.as_str());
        let mut transaction = self.write().await?;
        let found = end_client(&mut transaction, deleting, id, now).await?;
        let forgetting = [
            "DELETE FROM consents WHERE client = $1",
            "DELETE FROM codes WHERE client = $1",
            "DELETE FROM device_codes WHERE client = $1",
        ];
        for statement in forgetting.into_iter().filter(|_| found) {
            sqlx::query(statement)
                .bind(id.as_str())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(found)
    }

    /// Takes down the session of a machine; `false` where the client was disabled, deleted or given another
    /// secret meanwhile: a request under way must not outlive what ends all sessions.
    pub async fn open_machine_session(
        &self,
        session: &MachineSession,
        proof: ClientProof,
        now: SystemTime,
    ) -> Result<bool, Unavailable> {
        let mut transaction = self.write().await?;
        if !still_proven(&mut transaction, &session.client, proof).await? {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO sessions (kind, id, client, scopes, amr, authenticated_at, expires_at, \
             address, last_seen_at, audience) VALUES ('machine', $1, $2, $3, '', $4, $5, $6, $4, $7)",
        )
        .bind(blob(session.id.uuid()))
        .bind(session.client.as_str())
        .bind(session.scopes.to_string())
        .bind(millis(now))
        .bind(millis(session.expires_at))
        .bind(session.address.to_string())
        .bind(session.audience.as_ref().map(Resource::as_str))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(true)
    }
}

/// Whether what a client has shown is still what it has. One of the file is what the file says.
pub(super) async fn still_proven(
    connection: &mut SqliteConnection,
    client: &ClientId,
    proof: ClientProof,
) -> Result<bool, sqlx::Error> {
    let secret = match proof {
        ClientProof::Declared => return Ok(true),
        ClientProof::Stored(secret) => secret,
    };
    // `IS`, because a public one has none, before and after.
    let row = sqlx::query("SELECT 1 FROM clients WHERE id = $1 AND secret IS $2 AND NOT disabled")
        .bind(client.as_str())
        .bind(bytes(secret.as_ref()))
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// Does what changes a client, and ends its sessions; neither where there is no such client. What it could still
/// open counts as one: codes, and devices that wait or were let in. Spent ones stay, for when they come back.
async fn end_client(
    connection: &mut SqliteConnection,
    change: Query<'_, Sqlite, SqliteArguments>,
    id: &ClientId,
    now: SystemTime,
) -> Result<bool, sqlx::Error> {
    if change.execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(false);
    }
    for statement in [
        "DELETE FROM codes WHERE client = $1 AND spent_at IS NULL",
        "DELETE FROM device_codes WHERE client = $1 AND state IN ('pending', 'allowed')",
    ] {
        sqlx::query(statement)
            .bind(id.as_str())
            .execute(&mut *connection)
            .await?;
    }
    let rows = sqlx::query(
        "UPDATE sessions SET ended_at = $2 WHERE kind IN ('machine', 'delegated') AND client = $1 \
         AND ended_at IS NULL RETURNING id",
    )
    .bind(id.as_str())
    .bind(millis(now))
    .fetch_all(&mut *connection)
    .await?;
    sessions::record_ends(connection, &rows, now).await?;
    Ok(true)
}

fn client_from(row: &SqliteRow) -> Result<StoredClient, sqlx::Error> {
    let wrong = |_| undecodable("secret", Malformed("it is no SHA-256"));
    let secret = row.try_get::<Option<&[u8]>, _>("secret")?;
    let secret = secret
        .map(<[u8; 32]>::try_from)
        .transpose()
        .map_err(wrong)?;
    Ok(StoredClient {
        client: Client {
            id: parsed(row, "id", ClientId::parse)?,
            // Only shown: one that a later rule refuses is no reason to stop what works.
            name: row
                .try_get::<Option<&str>, _>("name")?
                .and_then(|name| DisplayName::parse(name).ok()),
            secret: secret.map(TokenHash::new),
            redirect_uris: parsed(row, "redirect_uris", |text| list(text, RedirectUri::parse))?,
            post_logout_redirect_uris: parsed(row, "post_logout_redirect_uris", |text| {
                list(text, RedirectUri::parse)
            })?,
            scopes: parsed(row, "scopes", Scopes::parse)?,
            grants: parsed(row, "grants", |text| list(text, Grant::parse))?,
            consent: parsed(row, "consent", Consent::parse)?,
            roles: parsed(row, "roles", users::split)?,
            resources: parsed(row, "resources", |text| list(text, Resource::parse))?,
        },
        disabled: row.try_get("disabled")?,
        created_at: time(row, "created_at")?,
    })
}

fn bytes(hash: Option<&TokenHash>) -> Option<&[u8]> {
    hash.map(|hash| hash.as_bytes().as_slice())
}

/// A list whose items hold no blanks, as it is kept.
fn words<T>(items: &[T], word: impl Fn(&T) -> &str) -> String {
    let words: Vec<_> = items.iter().map(word).collect();
    words.join(" ")
}

fn list<T>(text: &str, parse: impl Fn(&str) -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
    text.split_ascii_whitespace().map(parse).collect()
}
