//! Personal tokens: what is kept of them.

use std::net::IpAddr;
use std::time::SystemTime;

use crate::domain::DisplayName;
use crate::domain::Scopes;
use crate::domain::SessionId;
use crate::domain::UserId;

/// A personal token to make.
#[derive(Clone, Debug)]
pub struct NewPersonalToken {
    /// The token.
    pub token: ListedPersonalToken,
    /// From where it is asked for.
    pub address: IpAddr,
    /// The owner's own session in which it is asked for, which must be alive; none where an administrator
    /// makes it.
    pub asked_in: Option<SessionId>,
    /// How many its owner may have.
    pub tokens_max: u32,
}

/// What became of a [`NewPersonalToken`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum PersonalTokenMade {
    /// It is there.
    Done,
    /// It was there before, and may have ended. Nothing was changed.
    Before,
    /// Its owner has as many as they may. Nothing was changed.
    TooMany,
    /// The session has ended, or the account is disabled or gone. Nothing was changed.
    SignedOut,
}

/// What is seen of a living personal token. Itself it is not kept.
#[derive(Clone, Debug)]
pub struct ListedPersonalToken {
    /// Its id: the `sid` of what it does.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// What its owner calls it.
    pub name: DisplayName,
    /// What it may do.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it was last used, as far as that was taken down.
    pub last_used_at: Option<SystemTime>,
    /// When it ends by itself.
    pub expires_at: SystemTime,
}
