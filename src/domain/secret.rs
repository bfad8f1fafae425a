//! Secrets and their hashes, told apart by type: what is shown once, and what is kept.

use std::fmt;

use aws_lc_rs::digest;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde::Deserialize;
use serde::Deserializer;
use serde::de;
use serde::de::Unexpected;
use serde::de::Visitor;

/// A password as somebody typed it: redacted in `Debug`, wiped on drop, never truncated.
#[derive(Clone, Debug)]
pub struct Password(SecretString);

impl Password {
    /// Longer passwords are refused before they are hashed; NIST 800-63B asks for at least 64.
    pub const BYTES_MAX: usize = 1024;

    /// Takes a password as it stands: blanks and Unicode are kept.
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// The password, for hashing and for judging its strength.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// From text and nothing else. What was sent instead may be the password all the same, as a number
/// say: unlike serde's own, the error does not repeat it.
impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text)
    }
}

struct Text;

impl Text {
    fn refuse<E: de::Error>(sent: &str) -> E {
        E::invalid_type(Unexpected::Other(sent), &Self)
    }
}

impl Visitor<'_> for Text {
    type Value = Password;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a password as text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Password, E> {
        Ok(Password::new(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Password, E> {
        Ok(Password::new(text))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Password, E> {
        Err(Self::refuse("a boolean"))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Password, E> {
        Err(Self::refuse("a number"))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Password, E> {
        Err(Self::refuse("a number"))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Password, E> {
        Err(Self::refuse("a number"))
    }
}

/// A password hash in PHC string form: the only form the store accepts.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Takes a PHC string that came from hashing or from the store.
    pub fn new(phc: String) -> Self {
        Self(phc)
    }

    /// Of an account whose owner has no password: nothing that is typed matches it.
    pub fn nothing() -> Self {
        Self(NOTHING.to_owned())
    }

    /// Whether there is no password.
    pub fn is_nothing(&self) -> bool {
        self.0 == NOTHING
    }

    /// The PHC string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As in `/etc/shadow`: no PHC string begins so.
const NOTHING: &str = "!";

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// SHA-256 of an opaque token. A fast hash is right here: the token has 256 random bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Takes a digest.
    pub fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; digest::SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(hash)
    }

    /// The digest's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}
