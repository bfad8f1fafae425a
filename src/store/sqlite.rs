//! The store on an SQLite file: opening it, and what its queries share.
//!
//! In WAL mode with `synchronous = FULL` a commit is on the disk before it is answered. A write
//! begins with `BEGIN IMMEDIATE`: it takes its turn at once and never finds half-way that somebody
//! else wrote, which SQLite would refuse whatever the timeout. A future that is dropped before its
//! commit is rolled back. Errors from here carry the names of columns, never their values.

mod browsers;
mod changes;
mod clients;
mod codes;
mod consents;
mod devices;
mod files;
mod identities;
mod keys;
mod personal;
mod sessions;
mod tickets;
mod users;
mod write;

use std::error::Error;
use std::fs;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use std::time::SystemTime;

use sqlx::Connection;
use sqlx::Row;
use sqlx::SqlSafeStr;
use sqlx::Sqlite;
use sqlx::SqlitePool;
use sqlx::error::DatabaseError;
use sqlx::migrate::MigrateError;
use sqlx::migrate::Migration;
use sqlx::migrate::MigrationType;
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::sqlite::SqliteJournalMode;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::sqlite::SqliteRow;
use sqlx::sqlite::SqliteSynchronous;
use uuid::Uuid;

use crate::disk;
use crate::store::Open;
use crate::store::OpenError;
use crate::store::Store;

pub(super) use files::Files;

impl Store {
    /// Opens the SQLite file, makes it with mode 0600 where asked (and its folder with 0700), and
    /// brings its schema up to date.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what to do about each.
    pub async fn open(path: &Path, how: Open) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Io {
            path: path.to_owned(),
            source,
        };
        if how == Open::Create {
            create(path).map_err(failed)?;
        }
        match fs::metadata(path) {
            Ok(file) if !file.is_file() => return Err(OpenError::NoFile(path.to_owned())),
            Ok(file) => {
                refuse_foreign(path, file.uid(), rustix::process::geteuid().as_raw())?;
                refuse_exposed(path, file.mode() & 0o777)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(OpenError::Absent(path.to_owned()));
            }
            Err(error) => return Err(failed(error)),
        }
        let unusable = |error| OpenError::Unusable {
            path: path.to_owned(),
            reason: reason(error),
        };
        let (writer, reader) = connect(path).await.map_err(unusable)?;
        Ok(Self {
            writer,
            reader,
            files: Files::of(path).map_err(failed)?,
        })
    }

    /// Ends all connections. The last one, which may write, brings everything into the one file:
    /// a copy of that is a whole backup then.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    /// A connection that only reads.
    async fn read(&self) -> Result<PoolConnection<Sqlite>, sqlx::Error> {
        self.files.in_place()?;
        self.reader.acquire().await
    }
}

async fn connect(path: &Path) -> Result<(SqlitePool, SqlitePool), MigrateError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(PATIENCE);
    let writing = options
        .clone()
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);

    let writer = connect_writer(&writing).await?;
    if let Err(error) = migrate(&writer, MIGRATIONS).await {
        // So that no companion of the database stays behind.
        writer.close().await;
        return Err(error);
    }
    let reader = pool(READERS).connect_with(options.read_only(true)).await?;
    // Whoever has read holds the database open, and with it the write-ahead log, even while the
    // writer is replaced.
    sqlx::query("SELECT 1 FROM _sqlx_migrations")
        .fetch_optional(&reader)
        .await?;
    Ok((writer, reader))
}

/// What is wrong with a file that cannot be used, and what would be right.
fn reason(error: MigrateError) -> String {
    let (error, code) = match error {
        MigrateError::VersionMissing(_) => {
            return "a newer version of portcullis made it; run that version".to_owned();
        }
        MigrateError::VersionMismatch(_) | MigrateError::Dirty(_) => {
            return "its tables are not those that this version makes; name another file, or \
                    restore a backup"
                .to_owned();
        }
        MigrateError::Execute(error) => {
            let code = error.as_database_error().and_then(primary_code);
            (error.to_string(), code)
        }
        other => (other.to_string(), None),
    };
    let advice = match code {
        Some(SQLITE_BUSY) => "another process holds it; end that, or wait until it is done",
        Some(SQLITE_READONLY) => "it must be writable for its owner: chmod 600",
        Some(SQLITE_CANTOPEN) => "its folder must be writable for its owner: chmod 700",
        Some(SQLITE_IOERR) => "the disk is full, or fails; make room, or mend it",
        Some(SQLITE_CORRUPT) => "it is damaged; restore a backup",
        Some(SQLITE_NOTADB) => "it is no SQLite database; name another file, or restore a backup",
        Some(SQLITE_FULL) => "there is no room on the disk; make some",
        _ => "see what the system says of it",
    };
    format!("{error}; {advice}")
}

/// The result code without what SQLite adds to it (<https://sqlite.org/rescode.html>).
fn primary_code(error: &dyn DatabaseError) -> Option<u8> {
    let code: u32 = error.code()?.parse().ok()?;
    u8::try_from(code & 0xff).ok()
}

/// Makes the file itself, because SQLite would make it readable to everybody; its companions
/// (`-wal`, `-shm`) get the mode that it has.
fn create(path: &Path) -> io::Result<()> {
    disk::make_folders(path, 0o700)?;
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => disk::sync_name(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn refuse_foreign(path: &Path, owner: u32, caller: u32) -> Result<(), OpenError> {
    if owner == caller {
        Ok(())
    } else {
        Err(OpenError::ForeignOwner {
            path: path.to_owned(),
            owner,
            caller,
        })
    }
}

/// SECURITY 59. A group may read: whoever makes the backups, perhaps.
fn refuse_exposed(path: &Path, mode: u32) -> Result<(), OpenError> {
    if mode & 0o027 == 0 {
        Ok(())
    } else {
        Err(OpenError::Exposed {
            path: path.to_owned(),
            mode,
        })
    }
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        // The last connection to close would remove the WAL that the readers need.
        .idle_timeout(None)
        .max_lifetime(None)
        // Where the disk is full SQLite rolls back by itself, and sqlx goes on believing in the
        // transaction: such a connection would refuse every later one.
        .test_before_acquire(true)
        .before_acquire(|connection, _| {
            let usable = !connection.is_in_transaction();
            Box::pin(async move { Ok(usable) })
        })
}

/// Where two processes make the database at once, one may find it locked while the other turns it
/// to WAL: the one place where SQLite does not wait by itself.
async fn connect_writer(options: &SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let connecting = async {
        loop {
            match pool(1).connect_with(options.clone()).await {
                Err(sqlx::Error::Database(error)) if primary_code(&*error) == Some(SQLITE_BUSY) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                done => return done,
            }
        }
    };
    tokio::time::timeout(PATIENCE, connecting)
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// One transaction around everything, so that two processes that start at once take turns.
async fn migrate(writer: &SqlitePool, known: &[Step]) -> Result<(), MigrateError> {
    let migrations = known.iter().map(|(version, description, sql)| {
        Migration::new(
            *version,
            (*description).into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    // `run` would do the same, but its future is not `Send` where a caller spawns it.
    Migrator::with_migrations(migrations.collect())
        .run_direct(None, &mut *transaction, false)
        .await?;
    // Of a file that it may only read, SQLite begins to write without a word: this removes nothing,
    // and is refused there.
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version < 0")
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

/// A migration: its version, what it is about, its statements.
type Step = (i64, &'static str, &'static str);

/// Never edit one that was released: its checksum is in every database.
const MIGRATIONS: &[Step] = &[
    (
        1,
        "accounts, sessions, keys",
        include_str!("migrations/sqlite/0001_accounts_sessions_keys.sql"),
    ),
    (
        2,
        "sessions of browsers and machines",
        include_str!("migrations/sqlite/0002_sessions_of_browsers_and_machines.sql"),
    ),
    (
        3,
        "clients",
        include_str!("migrations/sqlite/0003_clients.sql"),
    ),
    (
        4,
        "delegated sessions",
        include_str!("migrations/sqlite/0004_delegated_sessions.sql"),
    ),
    (
        5,
        "audience of sessions",
        include_str!("migrations/sqlite/0005_audience_of_sessions.sql"),
    ),
    (
        6,
        "tickets",
        include_str!("migrations/sqlite/0006_tickets.sql"),
    ),
    (
        7,
        "identities",
        include_str!("migrations/sqlite/0007_identities.sql"),
    ),
    (
        8,
        "device codes",
        include_str!("migrations/sqlite/0008_device_codes.sql"),
    ),
    (
        9,
        "personal tokens",
        include_str!("migrations/sqlite/0009_personal_tokens.sql"),
    ),
    (
        10,
        "where sessions were granted",
        include_str!("migrations/sqlite/0010_where_sessions_were_granted.sql"),
    ),
    (
        11,
        "resources of clients",
        include_str!("migrations/sqlite/0011_resources_of_clients.sql"),
    ),
];

fn blob(id: Uuid) -> Vec<u8> {
    id.into_bytes().to_vec()
}

fn uuid(row: &SqliteRow, column: &str) -> Result<Uuid, sqlx::Error> {
    Uuid::from_slice(row.try_get(column)?).map_err(|error| undecodable(column, error))
}

fn millis(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}

fn time(row: &SqliteRow, column: &str) -> Result<SystemTime, sqlx::Error> {
    let millis: i64 = row.try_get(column)?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_millis(millis.unsigned_abs()))
}

/// Text through the same gate that it came in by.
fn parsed<T, E: Error + Send + Sync + 'static>(
    row: &SqliteRow,
    column: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, sqlx::Error> {
    parse(row.try_get(column)?).map_err(|error| undecodable(column, error))
}

fn parsed_if_any<T, E: Error + Send + Sync + 'static>(
    row: &SqliteRow,
    column: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, sqlx::Error> {
    row.try_get::<Option<&str>, _>(column)?
        .map(parse)
        .transpose()
        .map_err(|error| undecodable(column, error))
}

fn undecodable(column: &str, error: impl Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: error.into(),
    }
}

/// How long a write waits for another process, and a query for a connection.
const PATIENCE: Duration = Duration::from_secs(3);
const READERS: u32 = 4;

const SQLITE_BUSY: u8 = 5;
const SQLITE_READONLY: u8 = 8;
const SQLITE_IOERR: u8 = 10;
const SQLITE_CORRUPT: u8 = 11;
const SQLITE_FULL: u8 = 13;
const SQLITE_CANTOPEN: u8 = 14;
const SQLITE_NOTADB: u8 = 26;

#[cfg(test)]
mod tests;
