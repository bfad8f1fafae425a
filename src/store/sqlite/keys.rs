//! Signing keys, sealed, and the value by which a wrong store key is noticed.

use std::time::SystemTime;

use sqlx::Row;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::config::Algorithm;
use crate::domain::Malformed;
use crate::store::Change;
use crate::store::KeyPurpose;
use crate::store::KeyState;
use crate::store::Store;
use crate::store::StoredKey;
use crate::store::Unavailable;
use crate::store::sqlite::changes::record;
use crate::store::sqlite::millis;
use crate::store::sqlite::parsed;
use crate::store::sqlite::time;
use crate::store::states;

impl Store {
    /// All signing keys, oldest first.
    pub async fn keys(&self) -> Result<Vec<StoredKey>, Unavailable> {
        let mut reader = self.read().await?;
        Ok(all(&mut reader).await?)
    }

    /// Puts `keys` in the place of all keys there are, if those still are `expected` (by kid and
    /// state): `false` where somebody else was faster.
    pub async fn replace_keys(
        &self,
        expected: &[StoredKey],
        keys: &[StoredKey],
        now: SystemTime,
    ) -> Result<bool, Unavailable> {
        let mut transaction = self.write().await?;
        if states(&all(&mut transaction).await?) != states(expected) {
            return Ok(false);
        }
        sqlx::query("DELETE FROM signing_keys")
            .execute(&mut *transaction)
            .await?;
        for key in keys {
            sqlx::query(
                "INSERT INTO signing_keys \
                 (kid, purpose, algorithm, state, sealed, created_at, retired_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(&key.kid)
            .bind(purpose_name(key.purpose))
            .bind(algorithm_name(key.algorithm))
            .bind(state_name(key.state))
            .bind(&key.sealed)
            .bind(millis(key.created_at))
            .bind(key.retired_at.map(millis))
            .execute(&mut *transaction)
            .await?;
        }
        record(&mut transaction, Change::KeysChanged, now).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// The sealed value by which a wrong store key is known, made from `candidate` where there is
    /// none yet. Nothing is written where there is one.
    pub async fn key_check(&self, candidate: &[u8]) -> Result<Vec<u8>, Unavailable> {
        let mut reader = self.read().await?;
        let kept = sqlx::query_scalar("SELECT sealed FROM key_check")
            .fetch_optional(&mut *reader)
            .await?;
        drop(reader);
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let mut transaction = self.write().await?;
        sqlx::query("INSERT INTO key_check (only, sealed) VALUES (1, $1) ON CONFLICT DO NOTHING")
            .bind(candidate)
            .execute(&mut *transaction)
            .await?;
        let sealed = sqlx::query_scalar("SELECT sealed FROM key_check")
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(sealed)
    }
}

async fn all(connection: &mut SqliteConnection) -> Result<Vec<StoredKey>, sqlx::Error> {
    let rows = sqlx::query("SELECT * FROM signing_keys ORDER BY created_at, kid")
        .fetch_all(connection)
        .await?;
    rows.iter().map(key_from).collect()
}

fn key_from(row: &SqliteRow) -> Result<StoredKey, sqlx::Error> {
    let retired = row.try_get::<Option<i64>, _>("retired_at")?.is_some();
    Ok(StoredKey {
        kid: row.try_get("kid")?,
        purpose: parsed(row, "purpose", |text| {
            named(
                [KeyPurpose::Access, KeyPurpose::Assertion],
                purpose_name,
                text,
            )
        })?,
        algorithm: parsed(row, "algorithm", |text| {
            named([Algorithm::Es256, Algorithm::EdDsa], algorithm_name, text)
        })?,
        state: parsed(row, "state", |text| {
            named(
                [KeyState::Next, KeyState::Current, KeyState::Retired],
                state_name,
                text,
            )
        })?,
        sealed: row.try_get("sealed")?,
        created_at: time(row, "created_at")?,
        retired_at: retired.then(|| time(row, "retired_at")).transpose()?,
    })
}

fn purpose_name(purpose: KeyPurpose) -> &'static str {
    match purpose {
        KeyPurpose::Access => "access",
        KeyPurpose::Assertion => "assertion",
    }
}

fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Es256 => "ES256",
        Algorithm::EdDsa => "EdDSA",
    }
}

fn state_name(state: KeyState) -> &'static str {
    match state {
        KeyState::Next => "next",
        KeyState::Current => "current",
        KeyState::Retired => "retired",
    }
}

/// The value with this name: the names are written down once, for both directions.
fn named<T: Copy, const N: usize>(
    values: [T; N],
    name: fn(T) -> &'static str,
    text: &str,
) -> Result<T, Malformed> {
    let mut values = values.into_iter();
    values
        .find(|value| name(*value) == text)
        .ok_or(Malformed("an unknown name"))
}
