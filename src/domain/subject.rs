//! Who a token speaks for.

use std::fmt;

use crate::domain::ClientId;
use crate::domain::Malformed;
use crate::domain::UserId;

/// The `sub` of a token: a person, or a machine that is nobody's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A user, by its stable id.
    User(UserId),
    /// A machine, written `client:ID`; no user id can look like it (RFC 9700 §4.15).
    Client(ClientId),
}

impl Subject {
    /// Reads the form that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        match text.strip_prefix("client:") {
            Some(client) => ClientId::parse(client).map(Self::Client),
            None => UserId::parse(text).map(Self::User),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => user.fmt(f),
            Self::Client(client) => write!(f, "client:{client}"),
        }
    }
}
