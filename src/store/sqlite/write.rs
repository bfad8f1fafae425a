//! A transaction that writes. It can only be committed by the one way that makes sure of the files.

use std::ops::Deref;
use std::ops::DerefMut;

use sqlx::Sqlite;
use sqlx::SqliteConnection;
use sqlx::Transaction;

use crate::store::Store;
use crate::store::sqlite::Files;

/// Holds the write lock; rolled back when it is dropped.
pub(super) struct Write {
    transaction: Transaction<'static, Sqlite>,
    files: Files,
}

impl Store {
    pub(super) async fn write(&self) -> Result<Write, sqlx::Error> {
        self.files.in_place()?;
        let transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Write {
            transaction,
            files: self.files.clone(),
        })
    }
}

impl Write {
    /// Only what is on the disk, under the name that the next start will open, is done.
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        self.transaction.commit().await?;
        self.files.in_place()
    }
}

impl Deref for Write {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.transaction
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }
}
