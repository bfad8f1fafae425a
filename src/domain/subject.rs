//! Who a token speaks for.

use std::fmt;
use std::sync::Arc;

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
    /// A caller of another issuer, written `NAME|SUB`: no user id holds a `|`, and no name of an issuer
    /// a `:`. Boxed: whoever counts callers keeps many, and few are of this kind.
    Outside(Box<Outside>),
}

/// Whom another issuer speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outside {
    issuer: Arc<str>,
    subject: String,
}

impl Outside {
    /// Takes the name that the file gives an issuer, and the `sub` of a token of its: 1 to 255 visible
    /// ASCII characters (OpenID Connect Core §2).
    pub fn new(issuer: Arc<str>, subject: &str) -> Result<Self, Malformed> {
        let visible = subject.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible || !(1..=255).contains(&subject.len()) {
            return Err(Malformed("a subject has 1 to 255 visible ASCII characters"));
        }
        Ok(Self {
            issuer,
            subject: subject.to_owned(),
        })
    }

    /// The name that the file gives its issuer.
    pub fn issuer(&self) -> &Arc<str> {
        &self.issuer
    }
}

impl Subject {
    /// Reads the form that [`fmt::Display`] writes of a subject of our own tokens.
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
            Self::Outside(outside) => write!(f, "{}|{}", outside.issuer, outside.subject),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SECURITY 16
    #[test]
    fn a_caller_of_another_issuer_is_written_like_nobody_of_ours() {
        let outside = |subject| Outside::new("corp".into(), subject).map(Box::new);
        let written = outside("client:x").map(|it| Subject::Outside(it).to_string());
        assert_eq!(written.as_deref(), Ok("corp|client:x"));
        assert!(Subject::parse("corp|client:x").is_err());
        for bad in ["", "a b", "a\r\n", "ä", &"a".repeat(256)] {
            assert!(outside(bad).is_err(), "{bad:?}");
        }
    }
}
