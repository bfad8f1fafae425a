//! OAuth clients, of which the gateway itself is one.

use std::fmt;

use aws_lc_rs::digest;

use crate::domain::Malformed;
use crate::domain::Resource;
use crate::domain::Scopes;
use crate::domain::TokenHash;

/// A client that asks for tokens of its own (RFC 6749 §2): of `[clients.NAME]`, or made by a command.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its `client_id`.
    pub id: ClientId,
    /// Its secret, hashed.
    pub secret: TokenHash,
    /// What its tokens may hold.
    pub scopes: Scopes,
    /// For which resources it may ask beside those of the gateway's routes.
    pub resources: Vec<Resource>,
}

impl Client {
    /// What is kept of a secret. A fast hash is right: the secret is long and random.
    pub fn hash(secret: &str) -> TokenHash {
        let mut hash = [0; digest::SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
        TokenHash::new(hash)
    }
}

/// The `client_id` of an OAuth client (RFC 6749 §2.2): ASCII letters, digits, `-`, `_` and `.`,
/// 1 to 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Name);

/// Nearly every token is the gateway's own, and every request asks: no text to look at then.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Name {
    FirstParty,
    /// Never [`ClientId::FIRST_PARTY`].
    Other(String),
}

impl ClientId {
    /// The reserved name under which the gateway's own login issues tokens.
    pub const FIRST_PARTY: &'static str = "portcullis";

    /// Reads a client id.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text == Self::FIRST_PARTY {
            Ok(Self::first_party())
        } else if (1..=64).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(Name::Other(text.to_owned())))
        } else {
            Err(Malformed(
                "a client id has 1 to 64 ASCII letters, digits, '-', '_' or '.'",
            ))
        }
    }

    /// The gateway itself.
    pub fn first_party() -> Self {
        Self(Name::FirstParty)
    }

    /// Whether this is the gateway itself: everything else is delegated.
    pub fn is_first_party(&self) -> bool {
        self.0 == Name::FirstParty
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::FirstParty => Self::FIRST_PARTY,
            Name::Other(name) => name,
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
