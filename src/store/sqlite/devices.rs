//! Devices that wait for somebody to let them in.

use std::time::Duration;
use std::time::SystemTime;

use sqlx::Row;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::domain::Amr;
use crate::domain::ClientId;
use crate::domain::Handle;
use crate::domain::Resource;
use crate::domain::Scopes;
use crate::domain::Session;
use crate::domain::SessionId;
use crate::domain::TokenHash;
use crate::domain::User;
use crate::domain::UserId;
use crate::store::DecidedDevice;
use crate::store::DeviceDecision;
use crate::store::DevicePoll;
use crate::store::NewDeviceCode;
use crate::store::Polled;
use crate::store::Store;
use crate::store::Unavailable;
use crate::store::WaitingDevice;
use crate::store::sqlite::blob;
use crate::store::sqlite::clients;
use crate::store::sqlite::codes;
use crate::store::sqlite::millis;
use crate::store::sqlite::parsed;
use crate::store::sqlite::parsed_if_any;
use crate::store::sqlite::sessions;
use crate::store::sqlite::time;
use crate::store::sqlite::users;
use crate::store::sqlite::uuid;

impl Store {
    /// Lets a device wait; `false`, and nothing is remembered, where another one shows the same code.
    pub async fn issue_device_code(&self, new: &NewDeviceCode) -> Result<bool, Unavailable> {
        let mut transaction = self.write().await?;
        let issued = sqlx::query(
            "INSERT INTO device_codes (hash, user_code, client, scopes, audience, state, \
             poll_interval, expires_at) VALUES ($1, $2, $3, $4, $5, 'pending', $6, $7) \
             ON CONFLICT DO NOTHING",
        )
        .bind(new.hash.as_bytes().as_slice())
        .bind(new.user_code.as_bytes().as_slice())
        .bind(new.client.as_str())
        .bind(new.scopes.to_string())
        .bind(new.audience.as_ref().map(Resource::as_str))
        .bind(sessions::whole_millis(new.interval))
        .bind(millis(new.expires_at))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(issued.rows_affected() == 1)
    }

    /// The device that shows this code, if nobody has decided about it.
    pub async fn waiting_device(
        &self,
        user_code: TokenHash,
        now: SystemTime,
    ) -> Result<Option<WaitingDevice>, Unavailable> {
        let mut reader = self.read().await?;
        let row = sqlx::query(
            "SELECT * FROM device_codes WHERE user_code = $1 AND state = 'pending' AND expires_at > $2",
        )
        .bind(user_code.as_bytes().as_slice())
        .bind(millis(now))
        .fetch_optional(&mut *reader)
        .await?;
        let waiting = row.as_ref().map(|row| {
            Ok::<_, sqlx::Error>(WaitingDevice {
                client: parsed(row, "client", ClientId::parse)?,
                scopes: parsed(row, "scopes", Scopes::parse)?,
                audience: parsed_if_any(row, "audience", Resource::parse)?,
            })
        });
        Ok(waiting.transpose()?)
    }

    /// The device that shows this code, if this very user has decided about it.
    pub async fn decided_device(
        &self,
        user_code: TokenHash,
        user: UserId,
    ) -> Result<Option<DecidedDevice>, Unavailable> {
        let mut reader = self.read().await?;
        let row = sqlx::query("SELECT * FROM device_codes WHERE user_code = $1 AND user_id = $2")
            .bind(user_code.as_bytes().as_slice())
            .bind(blob(user.uuid()))
            .fetch_optional(&mut *reader)
            .await?;
        let decided = row.as_ref().map(|row| {
            Ok::<_, sqlx::Error>(DecidedDevice {
                client: parsed(row, "client", ClientId::parse)?,
                is_allowed: row.try_get::<&str, _>("state")? != "denied",
            })
        });
        Ok(decided.transpose()?)
    }

    /// Decides about a device, once; `false`, and nothing is changed, where none waits under this code, or
    /// whoever decides has signed out or was disabled meanwhile.
    pub async fn decide_device(&self, decision: &DeviceDecision) -> Result<bool, Unavailable> {
        let DeviceDecision {
            user, browser, now, ..
        } = *decision;
        let mut transaction = self.write().await?;
        let living = codes::living_parent(&mut transaction, browser, user, now).await?;
        let Some((_, browser)) = living else {
            return Ok(false);
        };
        let decided = sqlx::query(
            "UPDATE device_codes SET state = $2, user_id = $3, authenticated_at = $4, amr = $5 \
             WHERE user_code = $1 AND state = 'pending' AND expires_at > $6",
        )
        .bind(decision.user_code.as_bytes().as_slice())
        .bind(if decision.allow { "allowed" } else { "denied" })
        .bind(blob(user.uuid()))
        .bind(millis(browser.authenticated_at))
        .bind(browser.amr.to_string())
        .bind(millis(now))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(decided.rows_affected() == 1)
    }

    /// Answers a device that asks, and opens its session if it may (RFC 8628 §3.5). A code is spent by
    /// that: where it comes back its session is ended, as that of an authorization code is.
    pub async fn poll_device(&self, poll: &DevicePoll) -> Result<Polled, Unavailable> {
        let mut transaction = self.write().await?;
        let now = poll.session.now;
        let row = sqlx::query("SELECT * FROM device_codes WHERE hash = $1")
            .bind(poll.code.as_bytes().as_slice())
            .fetch_optional(&mut *transaction)
            .await?;
        // It was ours, so that it is gone for its age.
        let Some(row) = row else {
            return Ok(Polled::Expired);
        };
        if parsed(&row, "client", ClientId::parse)? != poll.client {
            return Ok(Polled::Refused);
        }
        let is_expired = time(&row, "expires_at")? <= now;
        let polled = match row.try_get("state")? {
            "spent" => {
                let opened = SessionId::new(uuid(&row, "session")?);
                Polled::Replayed(sessions::end(&mut transaction, opened, now).await?)
            }
            "denied" => Polled::Denied,
            _ if is_expired => Polled::Expired,
            "allowed" => open(&mut transaction, &row, poll).await?,
            _ => put_off(&mut transaction, &row, poll).await?,
        };
        transaction.commit().await?;
        Ok(polled)
    }
}

/// Takes down that a device has asked, and whether it waited. It may be a little early: what it measures
/// begins with our answer, and ours with its question. One that never waits soon costs nothing any more:
/// whoever has a code may ask as often as they like, and every write is a wait for the disk.
async fn put_off(
    connection: &mut SqliteConnection,
    row: &SqliteRow,
    poll: &DevicePoll,
) -> Result<Polled, sqlx::Error> {
    const EARLY: Duration = Duration::from_secs(1);
    const INTERVAL_MAX: Duration = Duration::from_secs(60);

    let interval_max = sessions::whole_millis(INTERVAL_MAX);
    let now = millis(poll.session.now);
    let interval: i64 = row.try_get("poll_interval")?;
    let polled_at: Option<i64> = row.try_get("polled_at")?;
    let is_early = polled_at.is_some_and(|at| {
        let waited = now
            .saturating_sub(at)
            .saturating_add(sessions::whole_millis(EARLY));
        waited < interval
    });
    if is_early && interval >= interval_max {
        return Ok(Polled::TooSoon);
    }
    let more = if is_early {
        poll.patience
    } else {
        Duration::ZERO
    };
    let interval = interval.saturating_add(sessions::whole_millis(more));
    sqlx::query("UPDATE device_codes SET polled_at = $2, poll_interval = $3 WHERE hash = $1")
        .bind(poll.code.as_bytes().as_slice())
        .bind(now)
        .bind(interval.min(interval_max))
        .execute(connection)
        .await?;
    Ok(if is_early {
        Polled::TooSoon
    } else {
        Polled::Pending
    })
}

/// Opens the session of a device that somebody has let in. It has no parent: the browser in which that was
/// decided is another machine's.
async fn open(
    connection: &mut SqliteConnection,
    row: &SqliteRow,
    poll: &DevicePoll,
) -> Result<Polled, sqlx::Error> {
    let new = &poll.session;
    if !clients::still_proven(connection, &poll.client, poll.proof).await? {
        return Ok(Polled::Refused);
    }
    let audience = parsed_if_any(row, "audience", Resource::parse)?;
    let Some(audience) = codes::narrowed(audience, poll.target.as_ref()) else {
        return Ok(Polled::OtherTarget);
    };
    let user = UserId::new(uuid(row, "user_id")?);
    let found = users::find(connection, &Handle::Id(user)).await?;
    let user: Option<User> = found.as_ref().map(users::user_from).transpose()?;
    let Some(user) = user.filter(|user| !user.disabled) else {
        return Ok(Polled::Refused);
    };
    let session = Session {
        id: new.id,
        user: user.id,
        client: poll.client.clone(),
        scopes: parsed(row, "scopes", Scopes::parse)?,
        audience,
        authenticated_at: time(row, "authenticated_at")?,
        amr: parsed(row, "amr", Amr::parse)?,
        expires_at: new.now + new.ttl,
        address: new.address,
    };
    codes::insert(connection, &session, new, None).await?;
    sqlx::query("UPDATE device_codes SET state = 'spent', session = $2 WHERE hash = $1")
        .bind(poll.code.as_bytes().as_slice())
        .bind(blob(new.id.uuid()))
        .execute(connection)
        .await?;
    Ok(Polled::Opened { user, session })
}

/// Takes back what a user has allowed and no device has fetched, from all clients or from one.
pub(super) async fn take_back(
    connection: &mut SqliteConnection,
    user: UserId,
    client: Option<&ClientId>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE device_codes SET state = 'denied' \
         WHERE user_id = $1 AND state = 'allowed' AND ($2 IS NULL OR client = $2)",
    )
    .bind(blob(user.uuid()))
    .bind(client.map(ClientId::as_str))
    .execute(connection)
    .await?;
    Ok(())
}
