//! The store's key: read, or made together with a new SQLite store.

use std::fs;
use std::fs::OpenOptions;
use std::fs::Permissions;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
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
        StoreKey::Value(key) => return Ok((Vault::new(key)?, None)),
        StoreKey::File(path) => path,
    };
    if path.exists() {
        return load(path).map(|vault| (vault, None));
    }
    if store.sqlite.exists() {
        bail!(
            "the database {} is there but its key {} is not: bring the key back; without it the \
             signing keys in the database cannot be opened",
            store.sqlite.display(),
            path.display()
        );
    }
    let key = Vault::generate_key();
    write_new(path, &key).with_context(|| format!("cannot write {}", path.display()))?;
    Ok((Vault::new(&key)?, Some(path.clone())))
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
    let metadata = fs::metadata(path).with_context(|| format!("cannot read {shown}"))?;
    let mode = metadata.permissions().mode() & 0o777;
    // SECURITY 59: a key that others can read is not a secret.
    if mode & 0o077 != 0 {
        bail!("{shown} has mode {mode:04o}, so others can use it; make it 0600: chmod 600 {shown}");
    }
    let key = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let key = SecretString::from(key.trim_end_matches(['\n', '\r']).to_owned());
    Vault::new(&key).with_context(|| format!("{shown} holds no usable key"))
}

/// Never over a file that is there: two first starts at once must not lose a key.
fn write_new(path: &Path, key: &SecretString) -> io::Result<()> {
    disk::make_folders(path, 0o700)?;
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    writeln!(file, "{}", key.expose_secret())?;
    file.sync_all()?;
    disk::sync_name(path)
}
