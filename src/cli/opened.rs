//! The store as commands open it: beside a running gateway or without one.

use std::sync::Arc;

use anyhow::Context as _;

use crate::clock::Clock;
use crate::config::Config;
use crate::domain::Handle;
use crate::domain::User;
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

    /// An account, by its username, e-mail address or id.
    pub(super) async fn user(&self, text: &str) -> anyhow::Result<User> {
        let user = self.store.user(&Handle::parse(text)?).await?;
        user.with_context(|| format!("there is no user {text}"))
    }
}
