//! `[clients.NAME]`: the OAuth clients that the file declares.

use crate::domain::ClientId;
use crate::domain::Scopes;
use crate::domain::TokenHash;

/// One of `[clients.NAME]` (RFC 6749 §2).
#[derive(Clone, Debug)]
pub struct Client {
    /// Its `client_id`: NAME.
    pub id: ClientId,
    /// `secret`, hashed. A fast hash is right: the secret is long and random.
    pub secret: TokenHash,
    /// `scopes`: what its tokens may hold.
    pub scopes: Scopes,
}
