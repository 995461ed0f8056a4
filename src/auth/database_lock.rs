//! A lock on the embedded database. Servers and commands share it, and a restore holds it exclusively.
//!
//! It is an advisory lock of the operating system on a file of its own. The lock of a process that dies is released. The
//! database file itself must not be locked: closing it would also release SQLite's locks.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::file_access::{ReadFileError, give_to_owner_of, open_own};

/// The reason why the lock cannot be taken. The message is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("{database}: the database is being restored. Try again when the restore is complete.")]
    Restoring { database: PathBuf },
    #[error("{database}: a server or another command uses the database. Stop it first.")]
    InUse { database: PathBuf },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: ReadFileError },
}

/// The lock. Dropping it releases it.
pub struct DatabaseLock {
    _file: File,
}

impl DatabaseLock {
    /// Takes the lock of a server or a command. Fails if a restore is running.
    pub fn share(database: &Path) -> Result<Self, LockError> {
        let database_path = database.to_owned();
        Self::take(
            database,
            File::try_lock_shared,
            LockError::Restoring {
                database: database_path,
            },
        )
    }

    /// Takes the lock of a restore. Fails if a server or a command is running.
    pub fn take_alone(database: &Path) -> Result<Self, LockError> {
        let database_path = database.to_owned();
        Self::take(
            database,
            File::try_lock,
            LockError::InUse {
                database: database_path,
            },
        )
    }

    fn take(
        database: &Path,
        lock: impl FnOnce(&File) -> Result<(), TryLockError>,
        held: LockError,
    ) -> Result<Self, LockError> {
        let path = lock_path(database);
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let file = match open_own(&mut options, &path) {
            Ok(file) => file,
            Err(source) => return Err(LockError::File { path, source }),
        };
        if let Err(error) = give_to_owner_of(database, &file) {
            log::warn!(
                "{}: giving the file to the owner of the database failed: {error}",
                path.display()
            );
        }
        match lock(&file) {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(held),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                log::warn!("{}: the file system has no locks: {error}", path.display());
                Ok(Self { _file: file })
            }
            Err(TryLockError::Error(error)) => Err(LockError::File {
                path,
                source: error.into(),
            }),
        }
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}
