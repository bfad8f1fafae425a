//! Who people are with other providers, and the roles that those give.

use std::time::SystemTime;

use sqlx::Row;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::domain::EmailAddress;
use crate::domain::Handle;
use crate::domain::ProviderIdentity;
use crate::domain::Role;
use crate::domain::SessionId;
use crate::domain::UserId;
use crate::store::Change;
use crate::store::Credentials;
use crate::store::LinkProof;
use crate::store::Linked;
use crate::store::LinkedIdentity;
use crate::store::NewIdentity;
use crate::store::NewUser;
use crate::store::Opened;
use crate::store::Store;
use crate::store::Unavailable;
use crate::store::Unlinked;
use crate::store::UserError;
use crate::store::sqlite::blob;
use crate::store::sqlite::changes::record;
use crate::store::sqlite::millis;
use crate::store::sqlite::sessions::end_all;
use crate::store::sqlite::time;
use crate::store::sqlite::undecodable;
use crate::store::sqlite::users;
use crate::store::sqlite::uuid;

impl Store {
    /// Whose account an identity opens, and that it was used just now: the account has the roles that the
    /// provider gives now, and no longer those that it gave before. A disabled account is not changed.
    pub async fn use_identity(
        &self,
        used: &NewIdentity,
        now: SystemTime,
    ) -> Result<Option<Opened>, Unavailable> {
        let mut transaction = self.write().await?;
        let Some(owner) = owner(&mut transaction, &used.identity).await? else {
            return Ok(None);
        };
        let found = credentials(&mut transaction, owner).await?;
        if found.user.disabled {
            return Ok(Some(Opened {
                account: found,
                is_changed: false,
            }));
        }
        sqlx::query(
            "UPDATE user_identities SET shown = $3, roles = $4, used_at = $5 \
             WHERE issuer = $1 AND subject = $2",
        )
        .bind(used.identity.issuer())
        .bind(used.identity.subject())
        .bind(&used.shown)
        .bind(users::joined(&used.roles))
        .bind(millis(now))
        .execute(&mut *transaction)
        .await?;
        let is_changed = provide_roles(&mut transaction, owner, now).await?;
        let account = credentials(&mut transaction, owner).await?;
        transaction.commit().await?;
        Ok(Some(Opened {
            account,
            is_changed,
        }))
    }

    /// Makes an account that an identity opens.
    ///
    /// # Errors
    ///
    /// As for [`Store::create_user`]. Where the identity opens an account already, it says so as for a taken
    /// address: two sign-ins of one person have crossed.
    pub async fn create_user_of_identity(
        &self,
        new: NewUser,
        email_verified: bool,
        identity: &NewIdentity,
        now: SystemTime,
    ) -> Result<Credentials, UserError> {
        let mut transaction = self.write().await?;
        if owner(&mut transaction, &identity.identity).await?.is_some() {
            return Err(UserError::EmailTaken);
        }
        let user = users::insert(&mut transaction, new, email_verified, now).await?;
        insert(&mut transaction, user.id, identity, now).await?;
        provide_roles(&mut transaction, user.id, now).await?;
        let made = credentials(&mut transaction, user.id).await?;
        transaction.commit().await?;
        Ok(made)
    }

    /// Lets an identity open an account whose owner has just shown that it is theirs. Where the provider
    /// vouches for the very address that the account has, that is verified as well.
    pub async fn link_identity(
        &self,
        user: UserId,
        proof: LinkProof,
        identity: &NewIdentity,
        vouched: Option<&EmailAddress>,
        now: SystemTime,
    ) -> Result<Linked, Unavailable> {
        let mut transaction = self.write().await?;
        if !holds(&mut transaction, user, proof, now).await? {
            return Ok(Linked::Overtaken);
        }
        match owner(&mut transaction, &identity.identity).await? {
            Some(owner) if owner != user => return Ok(Linked::Taken),
            Some(_) => {}
            None => {
                let other =
                    sqlx::query("SELECT 1 FROM user_identities WHERE user_id = $1 AND issuer = $2")
                        .bind(blob(user.uuid()))
                        .bind(identity.identity.issuer())
                        .fetch_optional(&mut *transaction)
                        .await?;
                if other.is_some() {
                    return Ok(Linked::HasAnother);
                }
                insert(&mut transaction, user, identity, now).await?;
            }
        }
        let verified = sqlx::query(
            "UPDATE users SET email_verified = TRUE, version = version + 1 \
             WHERE id = $1 AND email_folded = $2 AND NOT email_verified RETURNING version",
        )
        .bind(blob(user.uuid()))
        .bind(vouched.map(EmailAddress::folded))
        .fetch_optional(&mut *transaction)
        .await?;
        let is_verified = tell(&mut transaction, user, verified, now).await?;
        let has_others = provide_roles(&mut transaction, user, now).await?;
        let account = credentials(&mut transaction, user).await?;
        transaction.commit().await?;
        Ok(Linked::Done(Opened {
            account,
            is_changed: is_verified || has_others,
        }))
    }

    /// The identities of an account, the oldest first.
    pub async fn identities_of(&self, user: UserId) -> Result<Vec<LinkedIdentity>, Unavailable> {
        let mut reader = self.read().await?;
        let rows = sqlx::query(
            "SELECT * FROM user_identities WHERE user_id = $1 ORDER BY linked_at, issuer",
        )
        .bind(blob(user.uuid()))
        .fetch_all(&mut *reader)
        .await?;
        Ok(rows.iter().map(linked).collect::<Result<_, _>>()?)
    }

    /// Takes the identity of an issuer from an account, with the roles that it gave, and ends every other
    /// session: whoever has come in by it stays out. `usable` are the issuers that people can sign in with.
    ///
    /// Whoever has just been signed out locks nobody else out by what was under way.
    pub async fn unlink_identity(
        &self,
        user: UserId,
        session: SessionId,
        issuer: &str,
        usable: &[&str],
        now: SystemTime,
    ) -> Result<Unlinked, Unavailable> {
        let mut transaction = self.write().await?;
        if !holds(&mut transaction, user, LinkProof::Session(session), now).await? {
            return Ok(Unlinked::SignedOut);
        }
        let found = credentials(&mut transaction, user).await?;
        let rows = sqlx::query("SELECT issuer FROM user_identities WHERE user_id = $1")
            .bind(blob(user.uuid()))
            .fetch_all(&mut *transaction)
            .await?;
        let issuers = rows
            .iter()
            .map(|row| row.try_get("issuer"))
            .collect::<Result<Vec<String>, _>>()?;
        if !issuers.iter().any(|linked| linked == issuer) {
            return Ok(Unlinked::NotThere);
        }
        let opens = |linked: &&String| *linked != issuer && usable.contains(&linked.as_str());
        if found.password.is_nothing() && !issuers.iter().any(|linked| opens(&linked)) {
            return Ok(Unlinked::LastWay);
        }
        sqlx::query("DELETE FROM user_identities WHERE user_id = $1 AND issuer = $2")
            .bind(blob(user.uuid()))
            .bind(issuer)
            .execute(&mut *transaction)
            .await?;
        provide_roles(&mut transaction, user, now).await?;
        let ended = end_all(&mut transaction, user, Some(session), now).await?;
        let version = credentials(&mut transaction, user).await?.user.version;
        transaction.commit().await?;
        Ok(Unlinked::Done(ended, version))
    }
}

/// Whether an account still is what was proven.
async fn holds(
    connection: &mut SqliteConnection,
    user: UserId,
    proof: LinkProof,
    now: SystemTime,
) -> Result<bool, sqlx::Error> {
    let id = blob(user.uuid());
    let query = match proof {
        LinkProof::Password(version) => sqlx::query(
            "SELECT 1 FROM users WHERE id = $1 AND NOT disabled AND password_version = $2",
        )
        .bind(id)
        .bind(version.cast_signed()),
        LinkProof::Session(session) => sqlx::query(
            "SELECT 1 FROM users JOIN sessions ON sessions.user_id = users.id \
             WHERE users.id = $1 AND NOT disabled \
             AND sessions.id = $2 AND ended_at IS NULL AND expires_at > $3",
        )
        .bind(id)
        .bind(blob(session.uuid()))
        .bind(millis(now)),
    };
    Ok(query.fetch_optional(connection).await?.is_some())
}

async fn owner(
    connection: &mut SqliteConnection,
    identity: &ProviderIdentity,
) -> Result<Option<UserId>, sqlx::Error> {
    let row = sqlx::query("SELECT user_id FROM user_identities WHERE issuer = $1 AND subject = $2")
        .bind(identity.issuer())
        .bind(identity.subject())
        .fetch_optional(connection)
        .await?;
    let owner = row.map(|row| uuid(&row, "user_id")).transpose()?;
    Ok(owner.map(UserId::new))
}

async fn credentials(
    connection: &mut SqliteConnection,
    user: UserId,
) -> Result<Credentials, sqlx::Error> {
    let row = users::find(connection, &Handle::Id(user)).await?;
    users::credentials_from(&row.ok_or(sqlx::Error::RowNotFound)?)
}

async fn insert(
    connection: &mut SqliteConnection,
    user: UserId,
    new: &NewIdentity,
    now: SystemTime,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO user_identities (issuer, subject, user_id, shown, roles, linked_at, used_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $6)",
    )
    .bind(new.identity.issuer())
    .bind(new.identity.subject())
    .bind(blob(user.uuid()))
    .bind(&new.shown)
    .bind(users::joined(&new.roles))
    .bind(millis(now))
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives an account the roles of all its identities. Where they are others than before, the account is
/// another: tokens that tell the old ones are refused.
async fn provide_roles(
    connection: &mut SqliteConnection,
    user: UserId,
    now: SystemTime,
) -> Result<bool, sqlx::Error> {
    let roles = take_roles(&mut *connection, user, &[]).await?;
    let changed = sqlx::query(
        "UPDATE users SET provided_roles = $2, version = version + 1 \
         WHERE id = $1 AND provided_roles <> $2 RETURNING version",
    )
    .bind(blob(user.uuid()))
    .bind(users::joined(&roles))
    .fetch_optional(&mut *connection)
    .await?;
    tell(connection, user, changed, now).await
}

/// Takes roles from the identities of an account, until they give them again, and returns what is left: all
/// that they give together.
pub(super) async fn take_roles(
    connection: &mut SqliteConnection,
    user: UserId,
    taken: &[Role],
) -> Result<Vec<Role>, sqlx::Error> {
    let rows = sqlx::query("SELECT issuer, roles FROM user_identities WHERE user_id = $1")
        .bind(blob(user.uuid()))
        .fetch_all(&mut *connection)
        .await?;
    let mut all = Vec::new();
    for row in &rows {
        let given = users::roles_from(row, "roles")?;
        let (gone, left): (Vec<_>, Vec<_>) =
            given.into_iter().partition(|role| taken.contains(role));
        if !gone.is_empty() {
            sqlx::query("UPDATE user_identities SET roles = $3 WHERE user_id = $1 AND issuer = $2")
                .bind(blob(user.uuid()))
                .bind(row.try_get::<String, _>("issuer")?)
                .bind(users::joined(&left))
                .execute(&mut *connection)
                .await?;
        }
        all = users::with(all, left);
    }
    Ok(all)
}

/// Lets every gateway know where an account has become another: that is what `changed` says.
async fn tell(
    connection: &mut SqliteConnection,
    user: UserId,
    changed: Option<SqliteRow>,
    now: SystemTime,
) -> Result<bool, sqlx::Error> {
    let Some(row) = changed else {
        return Ok(false);
    };
    let version = row.try_get::<i64, _>("version")?.cast_unsigned();
    record(connection, Change::UserChanged { user, version }, now).await?;
    Ok(true)
}

fn linked(row: &SqliteRow) -> Result<LinkedIdentity, sqlx::Error> {
    let identity = ProviderIdentity::new(row.try_get("issuer")?, row.try_get("subject")?);
    Ok(LinkedIdentity {
        identity: identity.map_err(|error| undecodable("subject", error))?,
        shown: row.try_get("shown")?,
        linked_at: time(row, "linked_at")?,
    })
}
