//! Tickets: each is found once.

use std::time::SystemTime;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::domain::Malformed;
use crate::domain::SessionId;
use crate::domain::TokenHash;
use crate::store::Store;
use crate::store::StoredTicket;
use crate::store::Unavailable;
use crate::store::sqlite::blob;
use crate::store::sqlite::millis;
use crate::store::sqlite::time;
use crate::store::sqlite::undecodable;
use crate::store::sqlite::uuid;

impl Store {
    /// Keeps a ticket by its hash, and forgets those that have lapsed, so that there are never more than
    /// are made while one is good.
    pub async fn keep_ticket(
        &self,
        hash: TokenHash,
        ticket: &StoredTicket,
        now: SystemTime,
    ) -> Result<(), Unavailable> {
        let mut transaction = self.write().await?;
        sqlx::query("DELETE FROM tickets WHERE expires_at <= $1")
            .bind(millis(now))
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "INSERT INTO tickets (hash, session_id, host, binding, return_to, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(hash.as_bytes().as_slice())
        .bind(blob(ticket.session.uuid()))
        .bind(&ticket.host)
        .bind(ticket.binding.as_bytes().as_slice())
        .bind(&ticket.return_to)
        .bind(millis(ticket.expires_at))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Takes a ticket out: none where it has lapsed, was taken before, or never was.
    pub async fn take_ticket(
        &self,
        hash: TokenHash,
        now: SystemTime,
    ) -> Result<Option<StoredTicket>, Unavailable> {
        let mut transaction = self.write().await?;
        let row = sqlx::query("DELETE FROM tickets WHERE hash = $1 RETURNING *")
            .bind(hash.as_bytes().as_slice())
            .fetch_optional(&mut *transaction)
            .await?;
        let ticket = row.as_ref().map(ticket_from).transpose()?;
        transaction.commit().await?;
        Ok(ticket.filter(|ticket| ticket.expires_at > now))
    }
}

fn ticket_from(row: &SqliteRow) -> Result<StoredTicket, sqlx::Error> {
    let wrong = |_| undecodable("binding", Malformed("not 32 bytes"));
    let binding: &[u8] = row.try_get("binding")?;
    Ok(StoredTicket {
        session: SessionId::new(uuid(row, "session_id")?),
        host: row.try_get("host")?,
        binding: TokenHash::new(binding.try_into().map_err(wrong)?),
        return_to: row.try_get("return_to")?,
        expires_at: time(row, "expires_at")?,
    })
}
