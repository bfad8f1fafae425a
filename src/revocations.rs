//! What is dead, in memory: ended sessions and outdated accounts, fed by the table of changes.
//!
//! A guarded request asks here and reads no database. Order when this gateway ends a session:
//! commit, insert here, answer; so no 204 overtakes its effect.

use crate::domain::{SessionId, UserId};
use crate::store::Change;
use std::time::SystemTime;

/// Process-wide, sharded by id. Entries live for [`crate::store::CHANGES_KEPT`].
#[derive(Debug, Default)]
pub struct Revocations {}

impl Revocations {
    /// Whether tokens of this session are refused.
    pub fn is_ended(&self, session: SessionId) -> bool {
        todo!()
    }
    /// Whether the account has changed since this version.
    pub fn is_outdated(&self, user: UserId, version: u64) -> bool {
        todo!()
    }
    /// Takes in a change; [`Change::KeysChanged`] is not its business.
    pub fn apply(&self, change: Change, at: SystemTime) {
        todo!()
    }
    /// Forgets entries older than [`crate::store::CHANGES_KEPT`].
    pub fn prune(&self, now: SystemTime) {
        todo!()
    }
}

/// stub
pub struct Feed {
    pub store: crate::store::Store,
    pub revocations: std::sync::Arc<Revocations>,
    pub ring: crate::keys::KeyRing,
    pub keys: crate::keys::SharedKeys,
    pub clock: crate::clock::Clock,
}
impl Feed {
    pub async fn follow(
        self,
        position: i64,
        on: impl Fn(bool),
        t: tokio_util::sync::CancellationToken,
    ) {
    }
}
pub async fn load(
    store: &crate::store::Store,
    revocations: &Revocations,
) -> Result<i64, crate::store::Unavailable> {
    Ok(0)
}
