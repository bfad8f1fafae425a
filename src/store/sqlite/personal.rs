//! Personal tokens: sessions that nothing but their token opens.

use std::time::SystemTime;

use sqlx::sqlite::SqliteRow;

use crate::domain::Amr;
use crate::domain::ClientId;
use crate::domain::DisplayName;
use crate::domain::Scopes;
use crate::domain::SessionId;
use crate::domain::UserId;
use crate::store::ListedPersonalToken;
use crate::store::NewPersonalToken;
use crate::store::PersonalTokenMade;
use crate::store::Store;
use crate::store::Unavailable;
use crate::store::sqlite::blob;
use crate::store::sqlite::millis;
use crate::store::sqlite::parsed;
use crate::store::sqlite::time;
use crate::store::sqlite::uuid;

impl Store {
    /// Makes a personal token.
    pub async fn make_personal_token(
        &self,
        new: NewPersonalToken,
    ) -> Result<PersonalTokenMade, Unavailable> {
        let mut transaction = self.write().await?;
        let token = new.token;
        let now = millis(token.created_at);
        let before = sqlx::query("SELECT 1 FROM sessions WHERE id = $1")
            .bind(blob(token.id.uuid()))
            .fetch_optional(&mut *transaction)
            .await?;
        if before.is_some() {
            return Ok(PersonalTokenMade::Before);
        }
        let living: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM sessions WHERE user_id = $1 AND kind = 'personal' \
             AND ended_at IS NULL AND expires_at > $2",
        )
        .bind(blob(token.user.uuid()))
        .bind(now)
        .fetch_one(&mut *transaction)
        .await?;
        if living >= i64::from(new.tokens_max) {
            return Ok(PersonalTokenMade::TooMany);
        }
        // Whoever asks has been judged a moment ago; since then the session may have ended.
        let made = sqlx::query(
            "INSERT INTO sessions (kind, id, user_id, client, name, scopes, amr, authenticated_at, \
             expires_at, address, last_seen_at) \
             SELECT 'personal', $1, id, $3, $4, $5, $6, $7, $8, $9, 0 FROM users \
             WHERE id = $2 AND NOT disabled AND ($10 IS NULL OR EXISTS (SELECT 1 FROM sessions AS own \
             WHERE own.id = $10 AND own.user_id = users.id AND own.ended_at IS NULL))",
        )
        .bind(blob(token.id.uuid()))
        .bind(blob(token.user.uuid()))
        .bind(ClientId::personal().as_str())
        .bind(token.name.as_str())
        .bind(token.scopes.to_string())
        // Nobody proves anything by a token but that they have it.
        .bind(Amr::default().to_string())
        .bind(now)
        .bind(millis(token.expires_at))
        .bind(new.address.to_string())
        .bind(new.asked_in.map(SessionId::uuid).map(blob))
        .execute(&mut *transaction)
        .await?;
        if made.rows_affected() == 0 {
            return Ok(PersonalTokenMade::SignedOut);
        }
        transaction.commit().await?;
        Ok(PersonalTokenMade::Done)
    }

    /// The living personal tokens of a user, or of everybody: the newest first.
    pub async fn personal_tokens(
        &self,
        of: Option<UserId>,
        now: SystemTime,
    ) -> Result<Vec<ListedPersonalToken>, Unavailable> {
        let mut reader = self.read().await?;
        // Two statements, so that those of one user are found by the index.
        let asking = match of {
            None => sqlx::query(
                "SELECT * FROM sessions WHERE kind = 'personal' AND ended_at IS NULL \
                 AND expires_at > $1 ORDER BY authenticated_at DESC, id DESC",
            )
            .bind(millis(now)),
            Some(user) => sqlx::query(
                "SELECT * FROM sessions WHERE kind = 'personal' AND ended_at IS NULL \
                 AND expires_at > $1 AND user_id = $2 ORDER BY authenticated_at DESC, id DESC",
            )
            .bind(millis(now))
            .bind(blob(user.uuid())),
        };
        let rows = asking.fetch_all(&mut *reader).await?;
        Ok(rows.iter().map(listed).collect::<Result<_, _>>()?)
    }

    /// Ends a personal token, of this user or of anybody. Returns it; none where there is no such living one.
    pub async fn end_personal_token(
        &self,
        token: SessionId,
        of: Option<UserId>,
        now: SystemTime,
    ) -> Result<Vec<SessionId>, Unavailable> {
        let owned = sqlx::query(
            "SELECT 1 FROM sessions WHERE id = $1 AND kind = 'personal' \
             AND ($2 IS NULL OR user_id = $2) AND expires_at > $3",
        )
        .bind(blob(token.uuid()))
        .bind(of.map(UserId::uuid).map(blob))
        .bind(millis(now));
        self.end_if_found(owned, token, now).await
    }
}

fn listed(row: &SqliteRow) -> Result<ListedPersonalToken, sqlx::Error> {
    let last_used_at = time(row, "last_seen_at")?;
    Ok(ListedPersonalToken {
        id: SessionId::new(uuid(row, "id")?),
        user: UserId::new(uuid(row, "user_id")?),
        name: parsed(row, "name", DisplayName::parse)?,
        scopes: parsed(row, "scopes", Scopes::parse)?,
        created_at: time(row, "authenticated_at")?,
        last_used_at: Some(last_used_at).filter(|at| *at > SystemTime::UNIX_EPOCH),
        expires_at: time(row, "expires_at")?,
    })
}
