//! The store's key: read, or made together with a new SQLite store.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::bail;
use secrecy::ExposeSecret as _;
use secrecy::SecretString;

use crate::config::Store;
use crate::config::StoreKey;
use crate::disk;
use crate::vault::Vault;

/// Reads the key, or makes one where neither key nor database is there yet. The path is returned
/// where one was made.
///
/// # Errors
///
/// Where the key is missing although there is a database, others may read or write it, or it is no
/// key.
pub fn load_or_make(store: &Store) -> anyhow::Result<(Vault, Option<PathBuf>)> {
    let path = match &store.key {
        StoreKey::File(path) if !path.exists() => path,
        StoreKey::File(_) | StoreKey::Value(_) => return Ok((load_existing(store)?, None)),
    };
    if store.sqlite.exists() {
        bail!(
            "the database {} is there but its key {} is not: bring the key back; without it the \
             signing keys in the database cannot be opened",
            store.sqlite.display(),
            path.display()
        );
    }
    let key = Vault::generate_key();
    match write_new(path, &key) {
        Ok(()) => Ok((Vault::new(&key)?, Some(path.clone()))),
        // Another process starts at the same time: there is one key, and it was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok((load(path)?, None)),
        Err(error) => Err(error).with_context(|| {
            format!(
                "cannot write {}; its folder must be writable for whoever runs the gateway",
                path.display()
            )
        }),
    }
}

/// Reads the key of a store that is there.
///
/// # Errors
///
/// Where it is missing, too widely readable, or no key.
pub fn load_existing(store: &Store) -> anyhow::Result<Vault> {
    match &store.key {
        StoreKey::Value(key) => Ok(Vault::new(key)?),
        StoreKey::File(path) => load(path),
    }
}

fn load(path: &Path) -> anyhow::Result<Vault> {
    let shown = path.display();
    let unreadable = || {
        format!("cannot read {shown}; bring the key of this store, readable for its owner alone")
    };
    let metadata = fs::metadata(path).with_context(unreadable)?;
    if !metadata.is_file() {
        bail!("{shown} is no file; bring the key of this store");
    }
    let mode = metadata.permissions().mode() & 0o777;
    // SECURITY 59: a key that others can read is not a secret.
    if mode & 0o077 != 0 {
        bail!("{shown} has mode {mode:04o}, so others can use it; make it 0600: chmod 600 {shown}");
    }
    let key = fs::read_to_string(path).with_context(unreadable)?;
    let key = SecretString::from(key.trim_end_matches(['\n', '\r']).to_owned());
    Vault::new(&key).with_context(|| format!("{shown} holds no usable key"))
}

/// Never over a file that is there: two first starts at once must not lose a key.
fn write_new(path: &Path, key: &SecretString) -> io::Result<()> {
    disk::make_folders(path, 0o700)?;
    let line = SecretString::from(format!("{}\n", key.expose_secret()));
    disk::write_new(path, line.expose_secret().as_bytes(), 0o600)
}
