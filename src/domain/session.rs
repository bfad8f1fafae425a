//! Sessions: what a sign-in starts and a logout ends. Every token belongs to one.

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use uuid::Uuid;

use crate::domain::Amr;
use crate::domain::ClientId;
use crate::domain::Malformed;
use crate::domain::Resource;
use crate::domain::Scopes;
use crate::domain::UserId;
use crate::domain::user::parse_hyphenated;

/// The id of a session: the `sid` of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Uuid);

impl SessionId {
    /// Takes a fresh UUIDv7, or one read back from the store.
    pub fn new(id: Uuid) -> Self {
        Self(id)
    }

    /// Reads the hyphenated form of RFC 9562 §4 and nothing else.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        parse_hyphenated(text)
            .map(Self)
            .ok_or(Malformed("a session id is a UUID in its hyphenated form"))
    }

    /// The id as a UUID.
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// A session that has not ended.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// Through which client it was opened.
    pub client: ClientId,
    /// What its tokens may hold; never widens.
    pub scopes: Scopes,
    /// What its tokens are for; none is the gateway, and so whatever is behind it.
    pub audience: Option<Resource>,
    /// When the user proved who they are.
    pub authenticated_at: SystemTime,
    /// How they did.
    pub amr: Amr,
    /// No refresh after this.
    pub expires_at: SystemTime,
    /// From where it was opened.
    pub address: IpAddr,
}

/// The session of a machine: of the one token that it got for its own credentials (RFC 6749 §4.4).
#[derive(Clone, Debug)]
pub struct MachineSession {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub client: ClientId,
    /// What its token may hold.
    pub scopes: Scopes,
    /// What its token is for; none is the gateway, and so whatever is behind it.
    pub audience: Option<Resource>,
    /// When the token expires.
    pub expires_at: SystemTime,
    /// From where it was asked for.
    pub address: IpAddr,
}
