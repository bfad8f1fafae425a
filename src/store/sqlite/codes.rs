//! Authorization codes, and the sessions that they open.

use std::time::SystemTime;

use sqlx::Row;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::domain::ClientId;
use crate::domain::Handle;
use crate::domain::Resource;
use crate::domain::Scope;
use crate::domain::Scopes;
use crate::domain::Session;
use crate::domain::SessionId;
use crate::domain::User;
use crate::domain::UserId;
use crate::store::NewCode;
use crate::store::NewDelegatedSession;
use crate::store::Redeemed;
use crate::store::Redemption;
use crate::store::Store;
use crate::store::Unavailable;
use crate::store::sqlite::blob;
use crate::store::sqlite::clients;
use crate::store::sqlite::consents;
use crate::store::sqlite::millis;
use crate::store::sqlite::parsed;
use crate::store::sqlite::parsed_if_any;
use crate::store::sqlite::sessions;
use crate::store::sqlite::time;
use crate::store::sqlite::users;
use crate::store::sqlite::uuid;

impl Store {
    /// Issues a code; `false`, and nothing is remembered, where the browser's session has ended or the
    /// account was disabled meanwhile.
    pub async fn issue_code(&self, new: NewCode) -> Result<bool, Unavailable> {
        let mut transaction = self.write().await?;
        if living_parent(&mut transaction, new.parent, new.user, new.now)
            .await?
            .is_none()
        {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO codes (hash, client, user_id, parent, scopes, redirect_uri, \
             redirect_uri_sent, challenge, nonce, audience, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(new.hash.as_bytes().as_slice())
        .bind(new.client.as_str())
        .bind(blob(new.user.uuid()))
        .bind(blob(new.parent.uuid()))
        .bind(new.scopes.to_string())
        .bind(&new.redirect_uri)
        .bind(new.redirect_uri_sent)
        .bind(new.challenge.as_bytes().as_slice())
        .bind(&new.nonce)
        .bind(new.audience.as_ref().map(Resource::as_str))
        .bind(millis(new.expires_at))
        .execute(&mut *transaction)
        .await?;
        if new.consented {
            consents::remember(&mut transaction, &new).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Spends a code and opens its session (SECURITY 37).
    ///
    /// Whatever is wrong, the code is spent: who shows it with another client, place or verifier than it
    /// was issued for has found it somewhere. Where it comes back, its session is ended (RFC 6749
    /// §4.1.2).
    pub async fn redeem_code(&self, redemption: Redemption) -> Result<Redeemed, Unavailable> {
        let mut transaction = self.write().await?;
        let now = redemption.session.now;
        let row = sqlx::query("SELECT * FROM codes WHERE hash = $1")
            .bind(redemption.code.as_bytes().as_slice())
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(row) = row else {
            return Ok(Redeemed::Refused);
        };
        if row.try_get::<Option<i64>, _>("spent_at")?.is_some() {
            let ended = match row.try_get::<Option<&[u8]>, _>("session")? {
                Some(_) => {
                    let opened = SessionId::new(uuid(&row, "session")?);
                    sessions::end(&mut transaction, opened, now).await?
                }
                None => Vec::new(),
            };
            transaction.commit().await?;
            return Ok(Redeemed::Replayed(ended));
        }
        let opened = open(&mut transaction, &row, &redemption).await?;
        sqlx::query("UPDATE codes SET spent_at = $2, session = $3 WHERE hash = $1")
            .bind(redemption.code.as_bytes().as_slice())
            .bind(millis(now))
            .bind(opened.as_ref().map(|(_, session)| blob(session.id.uuid())))
            .execute(&mut *transaction)
            .await?;
        let nonce = row.try_get("nonce")?;
        transaction.commit().await?;
        Ok(match opened {
            Some((user, session)) => Redeemed::Opened {
                user,
                session,
                nonce,
            },
            None => Redeemed::Refused,
        })
    }

    /// Whether this session is, or was, one that the client has for this user and got in this browser. A
    /// device's was got in none.
    pub async fn was_granted_in(
        &self,
        session: SessionId,
        user: UserId,
        client: &ClientId,
        browser: SessionId,
    ) -> Result<bool, Unavailable> {
        let mut reader = self.read().await?;
        let row = sqlx::query(
            "SELECT 1 FROM sessions WHERE id = $1 AND user_id = $2 AND client = $3 \
             AND kind = 'delegated' AND granted_in = $4",
        )
        .bind(blob(session.uuid()))
        .bind(blob(user.uuid()))
        .bind(client.as_str())
        .bind(blob(browser.uuid()))
        .fetch_optional(&mut *reader)
        .await?;
        Ok(row.is_some())
    }
}

/// Opens the session of a code that is not spent; none where anything does not agree.
async fn open(
    connection: &mut SqliteConnection,
    row: &SqliteRow,
    redemption: &Redemption,
) -> Result<Option<(User, Session)>, sqlx::Error> {
    let new = &redemption.session;
    let sent: bool = row.try_get("redirect_uri_sent")?;
    let redirect_uri: &str = row.try_get("redirect_uri")?;
    let agrees = match &redemption.redirect_uri {
        Some(said) => said == redirect_uri,
        None => !sent,
    };
    let agrees = agrees
        && parsed(row, "client", ClientId::parse)? == redemption.client
        && row.try_get::<&[u8], _>("challenge")? == redemption.challenge.as_bytes().as_slice()
        && time(row, "expires_at")? > new.now;
    if !agrees || !clients::still_proven(connection, &redemption.client, redemption.proof).await? {
        return Ok(None);
    }
    let audience = parsed_if_any(row, "audience", Resource::parse)?;
    let Some(audience) = narrowed(audience, redemption.target.as_ref()) else {
        return Ok(None);
    };
    let parent = SessionId::new(uuid(row, "parent")?);
    let user = UserId::new(uuid(row, "user_id")?);
    let Some((user, browser)) = living_parent(connection, parent, user, new.now).await? else {
        return Ok(None);
    };
    let scopes = parsed(row, "scopes", Scopes::parse)?;
    let is_offline = scopes.has(Scope::OFFLINE_ACCESS);
    let expires_at = new.now + new.ttl;
    let session = Session {
        id: new.id,
        user: user.id,
        client: redemption.client.clone(),
        scopes,
        audience,
        authenticated_at: browser.authenticated_at,
        amr: browser.amr,
        expires_at: if is_offline {
            expires_at
        } else {
            expires_at.min(browser.expires_at)
        },
        address: new.address,
    };
    insert(connection, &session, new, Some(parent)).await?;
    Ok(Some((user, session)))
}

/// What tokens are for, where `asked` is what was said of it now (RFC 8707 §2.2). What was granted for the
/// gateway may be used for one resource alone, and nothing else be changed; `None` where it would be.
pub(super) fn narrowed(
    granted: Option<Resource>,
    asked: Option<&Option<Resource>>,
) -> Option<Option<Resource>> {
    match (granted, asked) {
        (granted, None) => Some(granted),
        (None, Some(asked)) => Some(asked.clone()),
        (granted, Some(asked)) => (granted == *asked).then_some(granted),
    }
}

/// Takes a session down that a client has for a person, and in which browser's it was granted: it ends with
/// that, unless it is offline.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    session: &Session,
    new: &NewDelegatedSession,
    granted_in: Option<SessionId>,
) -> Result<(), sqlx::Error> {
    let parent = granted_in.filter(|_| !session.scopes.has(Scope::OFFLINE_ACCESS));
    sqlx::query(
        "INSERT INTO sessions (kind, id, user_id, client, scopes, amr, parent, authenticated_at, \
         expires_at, address, refresh_current, last_seen_at, audience, granted_in) \
         VALUES ('delegated', $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(blob(session.id.uuid()))
    .bind(blob(session.user.uuid()))
    .bind(session.client.as_str())
    .bind(session.scopes.to_string())
    .bind(session.amr.to_string())
    .bind(parent.map(|parent| blob(parent.uuid())))
    .bind(millis(session.authenticated_at))
    .bind(millis(session.expires_at))
    .bind(session.address.to_string())
    .bind(new.refresh.as_ref().map(|hash| hash.as_bytes().as_slice()))
    .bind(millis(new.now))
    .bind(session.audience.as_ref().map(Resource::as_str))
    .bind(granted_in.map(|browser| blob(browser.uuid())))
    .execute(connection)
    .await?;
    Ok(())
}

/// The session of a browser that has not ended, and its user, who is this one and not disabled.
pub(super) async fn living_parent(
    connection: &mut SqliteConnection,
    parent: SessionId,
    user: UserId,
    now: SystemTime,
) -> Result<Option<(User, Session)>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT * FROM sessions WHERE id = $1 AND user_id = $2 AND kind = 'browser' \
         AND ended_at IS NULL AND expires_at > $3",
    )
    .bind(blob(parent.uuid()))
    .bind(blob(user.uuid()))
    .bind(millis(now))
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let found = users::find(connection, &Handle::Id(user)).await?;
    let user = found.as_ref().map(users::user_from).transpose()?;
    let session = sessions::session_from(&row)?;
    Ok(user
        .filter(|user| !user.disabled)
        .map(|user| (user, session)))
}
