//! The store as commands open it: beside a running gateway or without one.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Config;
use crate::keys::KeyRing;
use crate::startup::store_key;
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
        let (store, vault) = match how {
            Open::Create => {
                let (vault, _) = store_key::load_or_make(&config.store)?;
                (Store::open(&config.store.sqlite, how).await?, vault)
            }
            // The database first: that it is missing says more than that its key is.
            Open::Existing => {
                let store = Store::open(&config.store.sqlite, how).await?;
                (store, store_key::load_existing(&config.store)?)
            }
        };
        let vault = Arc::new(vault);
        Ok(Self {
            ring: KeyRing::new(store.clone(), Arc::clone(&vault), config.tokens.algorithm),
            store,
            vault,
            clock: Clock::default(),
        })
    }
}
