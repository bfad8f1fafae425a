//! Whether the files that are written are still those that the next start will read.
//!
//! A file that was removed or replaced can be written for as long as it is open, and in WAL mode
//! SQLite does not notice: what was acknowledged would be gone with the process. So nothing is read
//! or begun without a look at the names, and every commit is followed by one before it is answered
//! (SECURITY 50). It must never open a file: closing it would drop the locks that SQLite holds.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

/// The database, its write-ahead log and the log's index. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::store) struct Files(Arc<[(PathBuf, Inode)]>);

/// Device and number: what a file is, whatever it is called.
type Inode = (u64, u64);

#[derive(Debug, thiserror::Error)]
#[error(
    "{} was removed or replaced while it was in use; put it back as it was, or restart the gateway \
     on what is there now", .0.display()
)]
struct Gone(PathBuf);

impl Files {
    /// As they are now, after the database was opened.
    pub(super) fn of(database: &Path) -> io::Result<Self> {
        // SQLite puts its companions beside the file that a link leads to.
        let real = fs::canonicalize(database)?;
        let companion = |suffix| {
            let mut name = real.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        let paths = [database.to_owned(), companion("-wal"), companion("-shm")];
        let files = paths.into_iter().map(|path| {
            let inode = inode(&path)?;
            Ok((path, inode))
        });
        Ok(Self(files.collect::<io::Result<_>>()?))
    }

    /// Refuses to go on where one of them is not what it was.
    pub(super) fn in_place(&self) -> Result<(), sqlx::Error> {
        for (path, known) in self.0.iter() {
            if inode(path).ok() != Some(*known) {
                let gone = Gone(path.clone());
                return Err(sqlx::Error::Io(io::Error::other(gone)));
            }
        }
        Ok(())
    }
}

fn inode(path: &Path) -> io::Result<Inode> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
