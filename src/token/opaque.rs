//! Refresh tokens: `ptc_rt_` and base64url of session id, secret and MAC.
//!
//! The MAC lets a forged token die in memory, and tells a spent token (whose reuse ends the
//! session) from one that never was ours (which must end nothing). A successor is derived from its
//! predecessor, so that within the grace the very same one can be handed out again without being
//! stored.

use crate::domain::SessionId;
use crate::domain::TokenHash;
use crate::vault::Vault;

/// A refresh token that carries our MAC; no `Debug`, wiped on drop.
pub struct RefreshToken {}

impl RefreshToken {
    /// The first one of a session.
    pub fn first(vault: &Vault, session: SessionId) -> Self {
        todo!()
    }
    /// Reads a presented token; `None` where it is not one of ours.
    pub fn parse(vault: &Vault, text: &str) -> Option<Self> {
        todo!()
    }
    /// The one that takes its place.
    pub fn successor(&self, vault: &Vault) -> Self {
        todo!()
    }
    /// Of which session.
    pub fn session(&self) -> SessionId {
        todo!()
    }
    /// What the store keeps.
    pub fn hash(&self) -> TokenHash {
        todo!()
    }
    /// The text to be shown, once.
    pub fn reveal(&self) -> String {
        todo!()
    }
}
