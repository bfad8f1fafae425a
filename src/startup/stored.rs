//! The store with the key that opens it, as the gateway and every command have it.
//!
//! What is wrong with either is told at its place in the file. It must never make anything where
//! only one of the two is there, nor write into a database that another key belongs to.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::Config;
use crate::keys::KeyError;
use crate::keys::KeyRing;
use crate::startup::store_key;
use crate::store::Open;
use crate::store::OpenError;
use crate::store::Store;
use crate::vault::Vault;

/// The store, and what opens its secrets.
#[derive(Debug)]
pub struct Stored {
    /// The database.
    pub store: Store,
    /// What is derived from its key.
    pub vault: Arc<Vault>,
    /// Its signing keys.
    pub ring: KeyRing,
    /// The key, where it was made.
    pub made_key: Option<PathBuf>,
    /// The database, where it was made.
    pub made_database: Option<PathBuf>,
}

impl Stored {
    /// Opens both; `Open::Create` makes both where neither is there.
    ///
    /// # Errors
    ///
    /// Where one of them cannot be used, or the two do not belong together.
    pub async fn open(config: &Config, how: Open) -> anyhow::Result<Self> {
        let database = &config.store.sqlite;
        let is_new = !database.exists();
        // That there is no database says more than that its key is missing.
        if is_new && how == Open::Existing {
            return Err(OpenError::Absent(database.clone()).into());
        }
        if !is_new && !database.is_file() {
            let message = OpenError::NoFile(database.clone()).to_string();
            return Err(config.problem(config.store.position, message).into());
        }
        let wrong_key = |message| config.problem(config.store.key_position, message);
        let loaded = match how {
            Open::Create => store_key::load_or_make(&config.store),
            Open::Existing => store_key::load_existing(&config.store).map(|vault| (vault, None)),
        };
        let (vault, made_key) = loaded.map_err(|error| wrong_key(format!("{error:#}")))?;
        let store = Store::open(database, how)
            .await
            .map_err(|error| config.problem(config.store.position, error.to_string()))?;
        let vault = Arc::new(vault);
        let ring = KeyRing::new(store.clone(), Arc::clone(&vault), config.tokens.algorithm);
        match ring.refuse_wrong_store_key().await {
            Err(KeyError::WrongStoreKey) => {
                // So that no companion of the database stays behind.
                store.close().await;
                return Err(wrong_key(format!(
                    "this is not the key that {} was made with; bring that key, or name the \
                     database of this one",
                    database.display()
                ))
                .into());
            }
            checked => checked?,
        }
        Ok(Self {
            store,
            vault,
            ring,
            made_key,
            made_database: is_new.then(|| database.clone()),
        })
    }
}
