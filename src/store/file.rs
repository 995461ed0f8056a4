//! The file of an SQLite database, which may be deleted or replaced while it is open. No query would fail then.

use std::fs::metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, access};

use super::Store;
use crate::error::{Result, ServiceError};
use crate::settings::Database;

/// Identifies a file independently of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    /// Returns the file of an SQLite database that is open.
    pub fn of_database(database: &Database) -> Option<Self> {
        match database {
            Database::Sqlite(path) => Self::of(path).ok(),
            Database::Postgres(_) => None,
        }
    }
}

impl Store {
    /// Checks that the path of an SQLite database still leads to the open file, and that its file system is writable.
    pub(super) fn check_file(&self, path: &Path) -> Result<()> {
        let unavailable = |error: io::Error| ServiceError::unavailable(format!("{}: {error}", path.display()));
        access(path, Access::WRITE_OK).map_err(|error| unavailable(error.into()))?;
        let found = FileId::of(path).map_err(unavailable)?;
        if self.file.is_some_and(|opened| opened != found) {
            let file = path.display();
            return Err(ServiceError::unavailable(format!(
                "{file} has been replaced by another file: restart the server to use that file"
            )));
        }
        Ok(())
    }
}
