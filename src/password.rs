//! Passwords: Argon2id on threads of its own, and what makes a password too weak.
//!
//! Hashing is bounded and shed by deadline, at lower priority than the path, so that a login flood
//! can neither take all cores nor all memory (SECURITY 27). An unknown user costs one hash too.

use crate::config::{Accounts, Hashing};
use crate::domain::{Password, PasswordHash};

/// The hashing threads. Cheap to clone.
#[derive(Clone)]
pub struct Hasher {}

/// The queue is full or the deadline passed: 503 with `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are waiting to be hashed")]
pub struct Busy;

/// Whether a password is the right one.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It is; `rehash` where the parameters are weaker than today's and here is a new hash.
    Matches { rehash: Option<PasswordHash> },
    /// It is not, or there is no such account.
    Differs,
}

impl Hasher {
    /// Starts the threads.
    pub fn start(hashing: &Hashing, metrics: crate::telemetry::metrics::HashingMetrics) -> std::io::Result<Self> { todo!() }
    /// Hashes a new password.
    pub async fn hash(&self, password: Password) -> Result<PasswordHash, Busy> { todo!() }
    /// Compares; `None` is an unknown account and costs the same.
    pub async fn verify(&self, password: Password, hash: Option<PasswordHash>) -> Result<Verdict, Busy> { todo!() }
}

/// Why a new password is refused, in words for the person (field `password`).
pub fn weakness(password: &Password, rules: &Accounts, context: &[&str]) -> Option<String> { todo!() }
