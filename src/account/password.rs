//! `POST password`: a new one for the old one; every other session ends.

use std::sync::Arc;

use axum::extract::Extension;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;

use crate::account::Accounts;
use crate::account::SignedIn;
use crate::account::busy;
use crate::account::register::bad_fields;
use crate::account::register::field;
use crate::account::unavailable;
use crate::authenticate::Reason;
use crate::authenticate::Unauthenticated;
use crate::domain::Handle;
use crate::domain::Password;
use crate::intake::Json;
use crate::intake::Origin;
use crate::intake::Refusal;
use crate::password::Verdict;
use crate::password::weakness;
use crate::problem::Problem;
use crate::store::PasswordChange;
use crate::store::PasswordChanged;

/// The old and the new one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changing {
    /// What it is now.
    pub current_password: Password,
    /// What it is to be.
    pub new_password: Password,
}

/// The endpoint. The caller's session goes on, all others end.
///
/// # Errors
///
/// 401, 403 where the current password is wrong, 422 where the new one is too weak, 503.
pub async fn change(
    State(accounts): State<Arc<Accounts>>,
    Extension(origin): Extension<Origin>,
    signed_in: SignedIn,
    Json(changing): Json<Changing>,
) -> Result<StatusCode, Refusal> {
    let changed = replace(&accounts, &signed_in, changing).await;
    changed.map_err(|problem| Refusal::new(&origin, problem))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes the new password for the old one.
///
/// # Errors
///
/// As the endpoint's.
pub async fn replace(
    accounts: &Accounts,
    signed_in: &SignedIn,
    changing: Changing,
) -> Result<(), Problem> {
    let signed_out = || Unauthenticated::Refused(Reason::SessionEnded).problem();
    let wrong_password = || {
        let detail = "The current password is wrong.";
        Problem::new(StatusCode::FORBIDDEN, "wrong_password", detail)
    };
    let found = accounts
        .store
        .credentials(&Handle::Id(signed_in.user))
        .await;
    let found = found.map_err(|error| unavailable(&error))?;
    let found = found.ok_or_else(signed_out)?;

    let current = changing.current_password;
    let verdict = accounts.hasher.verify(current, Some(found.password)).await;
    if verdict.map_err(|_| busy())? == Verdict::Differs {
        return Err(wrong_password());
    }
    let new = changing.new_password;
    if let Some(why) = weakness(&new, &accounts.rules, &found.user.names()) {
        return Err(bad_fields(vec![field("new_password", why)]));
    }

    let password = accounts.hasher.hash(new).await;
    let now = accounts.clock.now();
    let change = PasswordChange {
        user: found.user.id,
        session: signed_in.session,
        password_version: found.password_version,
        password: password.map_err(|_| busy())?,
        now,
    };
    match accounts.store.change_password(change).await {
        Ok(PasswordChanged::Done(ended)) => {
            tracing::info!(user.id = %found.user.id, sessions.ended = ended.len(), "the password was changed");
            accounts.bury(ended, now);
            Ok(())
        }
        Ok(PasswordChanged::Overtaken) => Err(wrong_password()),
        Ok(PasswordChanged::SignedOut) => Err(signed_out()),
        Err(error) => Err(unavailable(&error)),
    }
}
