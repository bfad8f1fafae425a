//! The store as commands open it: beside a running gateway or without one.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Config;
use crate::keys::KeyRing;
use crate::startup::stored::Stored;
use crate::store::Open;
use crate::store::Store;
use crate::vault::Vault;

/// The store, and what opens its secrets.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) vault: Arc<Vault>,
    pub(super) ring: KeyRing,
    pub(super) clock: Clock,
}

impl Opened {
    /// Opens it; `Open::Create` makes it, with its key, where there is none.
    pub(super) async fn open(config: &Config, how: Open) -> anyhow::Result<Self> {
        let stored = Stored::open(config, how).await?;
        Ok(Self {
            store: stored.store,
            vault: stored.vault,
            ring: stored.ring,
            clock: Clock::default(),
        })
    }
}
