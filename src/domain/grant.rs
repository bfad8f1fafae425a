//! By what a client may get tokens (RFC 6749 §1.3).

use crate::domain::Malformed;

/// One way to tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// A person signs in and the client redeems a code (RFC 6749 §4.1).
    AuthorizationCode,
    /// What was got for a person is renewed (RFC 6749 §6).
    RefreshToken,
    /// The client's own credentials (RFC 6749 §4.4).
    ClientCredentials,
    /// A person signs in on another device (RFC 8628).
    DeviceCode,
}

impl Grant {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::AuthorizationCode,
        Self::RefreshToken,
        Self::ClientCredentials,
        Self::DeviceCode,
    ];

    /// Reads the word of the file.
    ///
    /// # Errors
    ///
    /// Where it is no such word.
    pub fn parse(word: &str) -> Result<Self, Malformed> {
        let known = Self::ALL.into_iter().find(|grant| grant.word() == word);
        known.ok_or(Malformed(
            "a grant is one of authorization_code, refresh_token, client_credentials and device_code",
        ))
    }

    /// The word of the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::DeviceCode => "device_code",
        }
    }

    /// What a request calls it: `grant_type`.
    pub fn grant_type(self) -> &'static str {
        match self {
            Self::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
            other => other.word(),
        }
    }

    /// Whether a person signs in, and tokens speak for that person.
    pub fn is_of_users(self) -> bool {
        matches!(self, Self::AuthorizationCode | Self::DeviceCode)
    }
}
