//! Accounts.

use std::time::SystemTime;

use sqlx::Row;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::domain::DisplayName;
use crate::domain::EmailAddress;
use crate::domain::Handle;
use crate::domain::Malformed;
use crate::domain::PasswordHash;
use crate::domain::Role;
use crate::domain::SessionId;
use crate::domain::User;
use crate::domain::UserId;
use crate::domain::Username;
use crate::store::Change;
use crate::store::Credentials;
use crate::store::NewUser;
use crate::store::PasswordChange;
use crate::store::PasswordChanged;
use crate::store::Store;
use crate::store::Unavailable;
use crate::store::UserChange;
use crate::store::UserError;
use crate::store::sqlite::blob;
use crate::store::sqlite::changes::record;
use crate::store::sqlite::millis;
use crate::store::sqlite::parsed;
use crate::store::sqlite::parsed_if_any;
use crate::store::sqlite::sessions::end_all;
use crate::store::sqlite::time;
use crate::store::sqlite::uuid;
use crate::vault::fresh_id;

impl Store {
    /// The account's sign-in record.
    pub async fn credentials(&self, handle: &Handle) -> Result<Option<Credentials>, Unavailable> {
        let mut reader = self.read().await?;
        let Some(row) = find(&mut reader, handle).await? else {
            return Ok(None);
        };
        Ok(Some(Credentials {
            user: user_from(&row)?,
            password: PasswordHash::new(row.try_get("password")?),
            password_version: row.try_get::<i64, _>("password_version")?.cast_unsigned(),
        }))
    }

    /// One account.
    pub async fn user(&self, handle: &Handle) -> Result<Option<User>, Unavailable> {
        let mut reader = self.read().await?;
        let row = find(&mut reader, handle).await?;
        Ok(row.as_ref().map(user_from).transpose()?)
    }

    /// All accounts, oldest first.
    pub async fn users(&self) -> Result<Vec<User>, Unavailable> {
        let mut reader = self.read().await?;
        let rows = sqlx::query("SELECT * FROM users ORDER BY created_at, id")
            .fetch_all(&mut *reader)
            .await?;
        Ok(rows.iter().map(user_from).collect::<Result<_, _>>()?)
    }

    /// Makes an account.
    ///
    /// # Errors
    ///
    /// Where the username is or was somebody else's, the address is somebody else's, or there is
    /// neither.
    pub async fn create_user(&self, new: NewUser, now: SystemTime) -> Result<User, UserError> {
        let user = User {
            id: UserId::new(fresh_id(now)),
            username: new.username,
            email: new.email,
            email_verified: false,
            name: new.name,
            roles: new.roles,
            disabled: false,
            version: 1,
            created_at: now,
        };
        let mut transaction = self.write().await?;
        claim_names(&mut transaction, &user).await?;
        sqlx::query(
            "INSERT INTO users (id, username, username_folded, email, email_folded, email_verified, \
             name, roles, disabled, version, password, password_version, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1, $12)",
        )
        .bind(blob(user.id.uuid()))
        .bind(user.username.as_ref().map(Username::as_str))
        .bind(user.username.as_ref().map(Username::folded))
        .bind(user.email.as_ref().map(EmailAddress::as_str))
        .bind(user.email.as_ref().map(EmailAddress::folded))
        .bind(user.email_verified)
        .bind(user.name.as_ref().map(DisplayName::as_str))
        .bind(joined(&user.roles))
        .bind(user.disabled)
        .bind(user.version.cast_signed())
        .bind(new.password.as_str())
        .bind(millis(now))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(user)
    }

    /// Changes an account; its version grows, and disabling ends its sessions.
    ///
    /// # Errors
    ///
    /// As for [`Store::create_user`], and where there is no such account.
    pub async fn change_user(
        &self,
        id: UserId,
        change: UserChange,
        now: SystemTime,
    ) -> Result<User, UserError> {
        let mut transaction = self.write().await?;
        let row = find(&mut transaction, &Handle::Id(id)).await?;
        let user = changed(user_from(&row.ok_or(UserError::NotFound)?)?, change);
        claim_names(&mut transaction, &user).await?;
        sqlx::query(
            "UPDATE users SET username = $2, username_folded = $3, email = $4, email_folded = $5, \
             email_verified = $6, name = $7, roles = $8, disabled = $9, version = $10 WHERE id = $1",
        )
        .bind(blob(id.uuid()))
        .bind(user.username.as_ref().map(Username::as_str))
        .bind(user.username.as_ref().map(Username::folded))
        .bind(user.email.as_ref().map(EmailAddress::as_str))
        .bind(user.email.as_ref().map(EmailAddress::folded))
        .bind(user.email_verified)
        .bind(user.name.as_ref().map(DisplayName::as_str))
        .bind(joined(&user.roles))
        .bind(user.disabled)
        .bind(user.version.cast_signed())
        .execute(&mut *transaction)
        .await?;
        let version = user.version;
        record(
            &mut transaction,
            Change::UserChanged { user: id, version },
            now,
        )
        .await?;
        if user.disabled {
            end_all(&mut transaction, id, None, now).await?;
        }
        transaction.commit().await?;
        Ok(user)
    }

    /// Deletes an account with its sessions; its username stays taken for ever.
    ///
    /// # Errors
    ///
    /// Where there is no such account.
    pub async fn delete_user(&self, id: UserId, now: SystemTime) -> Result<(), UserError> {
        let mut transaction = self.write().await?;
        let row = find(&mut transaction, &Handle::Id(id)).await?;
        let user = user_from(&row.ok_or(UserError::NotFound)?)?;
        let version = user.version + 1;
        record(
            &mut transaction,
            Change::UserChanged { user: id, version },
            now,
        )
        .await?;
        end_all(&mut transaction, id, None, now).await?;
        for statement in [
            "DELETE FROM sessions WHERE user_id = $1",
            "DELETE FROM users WHERE id = $1",
        ] {
            sqlx::query(statement)
                .bind(blob(id.uuid()))
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Sets the owner's new password and ends every other session.
    ///
    /// Whoever has just been locked out, by the administrator or from another session, cannot take
    /// the account back by a change that was under way.
    pub async fn change_password(
        &self,
        change: PasswordChange,
    ) -> Result<PasswordChanged, Unavailable> {
        let mut transaction = self.write().await?;
        let version: Option<i64> = sqlx::query_scalar(
            "SELECT password_version FROM users JOIN sessions ON sessions.user_id = users.id \
             WHERE users.id = $1 AND NOT disabled \
             AND sessions.id = $2 AND ended_at IS NULL AND expires_at > $3",
        )
        .bind(blob(change.user.uuid()))
        .bind(blob(change.session.uuid()))
        .bind(millis(change.now))
        .fetch_optional(&mut *transaction)
        .await?;
        match version {
            None => return Ok(PasswordChanged::SignedOut),
            Some(version) if version.cast_unsigned() != change.password_version => {
                return Ok(PasswordChanged::Overtaken);
            }
            Some(_) => {}
        }
        replace_password(&mut transaction, change.user, &change.password).await?;
        let kept = Some(change.session);
        let ended = end_all(&mut transaction, change.user, kept, change.now).await?;
        transaction.commit().await?;
        Ok(PasswordChanged::Done(ended))
    }

    /// Sets a new password whatever the old one was, and ends every session: the administrator's
    /// way. Returns the ended ones.
    ///
    /// # Errors
    ///
    /// Where there is no such account.
    pub async fn set_password(
        &self,
        id: UserId,
        password: &PasswordHash,
        now: SystemTime,
    ) -> Result<Vec<SessionId>, UserError> {
        let mut transaction = self.write().await?;
        if !replace_password(&mut transaction, id, password).await? {
            return Err(UserError::NotFound);
        }
        let ended = end_all(&mut transaction, id, None, now).await?;
        transaction.commit().await?;
        Ok(ended)
    }

    /// Replaces a hash by one of the same password under today's parameters; only if it still is
    /// `old`, so that a change of password meanwhile is not undone.
    pub async fn rehash_password(
        &self,
        id: UserId,
        old: &PasswordHash,
        new: PasswordHash,
    ) -> Result<(), Unavailable> {
        let mut transaction = self.write().await?;
        sqlx::query("UPDATE users SET password = $3 WHERE id = $1 AND password = $2")
            .bind(blob(id.uuid()))
            .bind(old.as_str())
            .bind(new.as_str())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }
}

pub(super) async fn find(
    connection: &mut SqliteConnection,
    handle: &Handle,
) -> Result<Option<SqliteRow>, sqlx::Error> {
    let query = match handle {
        Handle::Id(id) => sqlx::query("SELECT * FROM users WHERE id = $1").bind(blob(id.uuid())),
        Handle::Username(username) => {
            sqlx::query("SELECT * FROM users WHERE username_folded = $1").bind(username.folded())
        }
        Handle::Email(email) => {
            sqlx::query("SELECT * FROM users WHERE email_folded = $1").bind(email.folded())
        }
    };
    query.fetch_optional(connection).await
}

pub(super) fn user_from(row: &SqliteRow) -> Result<User, sqlx::Error> {
    Ok(User {
        id: UserId::new(uuid(row, "id")?),
        username: parsed_if_any(row, "username", Username::parse)?,
        email: parsed_if_any(row, "email", EmailAddress::parse)?,
        email_verified: row.try_get("email_verified")?,
        // Only shown: one that a later rule refuses is no reason to lock its owner out.
        name: row
            .try_get::<Option<String>, _>("name")?
            .and_then(|name| DisplayName::parse(&name).ok()),
        roles: parsed(row, "roles", split)?,
        disabled: row.try_get("disabled")?,
        version: row.try_get::<i64, _>("version")?.cast_unsigned(),
        created_at: time(row, "created_at")?,
    })
}

/// `false` where there is no such account.
async fn replace_password(
    connection: &mut SqliteConnection,
    id: UserId,
    password: &PasswordHash,
) -> Result<bool, sqlx::Error> {
    let replaced = sqlx::query(
        "UPDATE users SET password = $2, password_version = password_version + 1 WHERE id = $1",
    )
    .bind(blob(id.uuid()))
    .bind(password.as_str())
    .execute(connection)
    .await?;
    Ok(replaced.rows_affected() == 1)
}

/// Makes sure of the names a user is about to bear. The transaction holds the write lock, so what
/// is true here is true at the commit.
async fn claim_names(connection: &mut SqliteConnection, user: &User) -> Result<(), UserError> {
    let id = blob(user.id.uuid());
    if user.username.is_none() && user.email.is_none() {
        return Err(UserError::Nameless);
    }
    if let Some(username) = &user.username {
        sqlx::query(
            "INSERT INTO usernames (folded, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        )
        .bind(username.folded())
        .bind(&id)
        .execute(&mut *connection)
        .await?;
        let owner: Vec<u8> = sqlx::query_scalar("SELECT user_id FROM usernames WHERE folded = $1")
            .bind(username.folded())
            .fetch_one(&mut *connection)
            .await?;
        if owner != id {
            return Err(UserError::UsernameTaken);
        }
    }
    if let Some(email) = &user.email {
        let owner: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT id FROM users WHERE email_folded = $1")
                .bind(email.folded())
                .fetch_optional(&mut *connection)
                .await?;
        if owner.is_some_and(|owner| owner != id) {
            return Err(UserError::EmailTaken);
        }
    }
    Ok(())
}

fn changed(mut user: User, change: UserChange) -> User {
    if let Some(username) = change.username {
        user.username = username;
    }
    if let Some(email) = change.email {
        let folded = |email: &Option<EmailAddress>| email.as_ref().map(EmailAddress::folded);
        // Another spelling of the same address is still the verified one.
        user.email_verified &= folded(&email) == folded(&user.email);
        user.email = email;
    }
    if let Some(verified) = change.email_verified {
        user.email_verified = verified && user.email.is_some();
    }
    if let Some(name) = change.name {
        user.name = name;
    }
    if let Some(disabled) = change.disabled {
        user.disabled = disabled;
    }
    user.roles.extend(change.add_roles);
    user.roles
        .retain(|role| !change.remove_roles.contains(role));
    user.roles.sort_unstable();
    user.roles.dedup();
    user.version += 1;
    user
}

/// Roles as they are kept.
pub(super) fn joined(roles: &[Role]) -> String {
    let names: Vec<_> = roles.iter().map(Role::as_str).collect();
    names.join(",")
}

pub(super) fn split(roles: &str) -> Result<Vec<Role>, Malformed> {
    let names = roles.split(',').filter(|name| !name.is_empty());
    names.map(Role::parse).collect()
}
