//! Opens the service: the data folder, the sealing secret and the database.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

use super::Auth;
use super::audit::AuditLog;
use super::clock;
use super::database_lock::{DatabaseLock, LockError};
use super::file_access::{FileAccessError, Pipes, ReadFileError, check_files, database_files, open_regular, read_file};
use super::file_system::{FileSystemError, check_file_system};
use super::hashing::HashingPool;
use super::password_changes::PasswordChanges;
use super::replication::LastReplication;
use super::throttle::Throttle;
use super::verification::{FeedThread, KeyCache, LastUsedBuffer, Lookups};
use crate::error::ServiceError;
use crate::metrics::Metrics;
use crate::model::SecretText;
use crate::secret::password::Passwords;
use crate::secret::seal::Sealer;
use crate::settings::{CoreSettings, Database};
use crate::store::{ConnectError, Store, UnsuitableDatabase};

/// The file of the sealing secret in the data folder.
const SECRET_FILE: &str = "secret.key";

/// The reason why the service cannot be opened. Its message is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No secret is created for PostgreSQL, because several nodes can share the database and all need the same secret.
    #[error(
        "With PostgreSQL, a sealing secret is required. Set SHOKO_AUTH_SECRET_KEY or SHOKO_AUTH_SECRET_KEY_FILE to 32 \
         random bytes in base64 (openssl rand -base64 32). Use the same secret on every node."
    )]
    SecretNeeded,
    /// The setting is invalid, which is wrong usage.
    #[error("The sealing secret ({setting}) cannot be used: {reason}")]
    BadSecretSetting { setting: &'static str, reason: String },
    /// The file in the data folder is damaged, which is a failure.
    #[error("The sealing secret ({path}) cannot be used: {reason}")]
    BadSecretFile { path: PathBuf, reason: String },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    FileAccess { path: PathBuf, source: FileAccessError },
    #[error("The groups of this process cannot be read: {0}")]
    UnknownGroups(io::Error),
    /// A restore is running.
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    FileSystem(#[from] FileSystemError),
    /// The database has the wrong encoding or belongs to a newer version.
    #[error(transparent)]
    UnsuitableDatabase(UnsuitableDatabase),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl OpenError {
    /// Creates the error for a file that cannot be read.
    fn of_file(path: &Path, error: ReadFileError) -> Self {
        let path = path.to_owned();
        match error {
            ReadFileError::Io(source) => Self::File { path, source },
            ReadFileError::Access(source) => Self::FileAccess { path, source },
        }
    }
}

impl From<UnsuitableDatabase> for OpenError {
    fn from(error: UnsuitableDatabase) -> Self {
        match error {
            UnsuitableDatabase::Service(error) => Self::Service(error),
            other => Self::UnsuitableDatabase(other),
        }
    }
}

impl Auth {
    /// Opens the database and reads the sealing secret. If the database is embedded, creates its file and the secret if
    /// they do not exist. Fails if a stranger could have written one of these files, or if this version cannot use the
    /// database. Call [`Self::migrate`] or [`Self::create_first_admin`] before anything else.
    pub fn open(settings: &CoreSettings) -> Result<Self, OpenError> {
        if let Database::Sqlite(file) = &settings.database {
            create_private_folder(&settings.data_dir)?;
            create_private_folder(file.parent().unwrap_or(Path::new("")))?;
        }
        // Before any of them is opened, because opening a pipe would wait for another program.
        check_files(&own_files(settings), settings.secret_key_file.as_ref())?;
        let lock = match &settings.database {
            Database::Sqlite(file) => {
                let lock = DatabaseLock::share(file)?;
                check_file_system(file, settings.allows_network_file_system)?;
                create_private_file(file)?;
                Some(lock)
            }
            Database::Postgres(_) => None,
        };
        let sealer = open_sealer(settings)?;
        let store = Store::open(settings)?;
        store.check_compatibility()?;
        clock::follow(&settings.clock, &store)?;
        let key_cache = Arc::new(KeyCache::new());
        let opener = store.opener().clone();
        let metrics = settings.has_metrics.then(Metrics::new).transpose()?;
        Ok(Self {
            clock: settings.clock.clone(),
            store,
            passwords: Passwords::new(settings.pbkdf2_rounds, settings.password_min_length)?.into(),
            hashing: HashingPool::start(settings, metrics.clone()),
            password_changes: PasswordChanges::default(),
            sealer,
            throttle: Throttle::new(settings),
            audit: AuditLog::new(settings.clock.clone()),
            key_limits: settings.key_limits,
            session_limits: settings.sessions,
            link_lifetime: settings.link_lifetime,
            lookups: Lookups::new(settings, opener, key_cache.clone()),
            key_cache,
            last_used: LastUsedBuffer::default(),
            feed_thread: FeedThread::default(),
            replication: LastReplication::default(),
            metrics,
            _lock: lock,
        })
    }
}

/// Returns the files of the embedded database and of the sealing secret in the data folder, whether they exist or not.
fn own_files(settings: &CoreSettings) -> Vec<PathBuf> {
    let mut files = Vec::new();
    if let Database::Sqlite(file) = &settings.database {
        files.extend(database_files(file));
        if settings.secret_key.is_none() {
            files.push(settings.data_dir.join(SECRET_FILE));
        }
    }
    files
}

/// Reads the sealing secret from the settings. If they have none and the database is embedded, reads the secret from
/// the data folder, or creates it there. The secret is never in the database.
fn open_sealer(settings: &CoreSettings) -> Result<Sealer, OpenError> {
    match (&settings.secret_key, &settings.database) {
        (Some(text), _) => Sealer::from_base64(text.expose()).map_err(|reason| {
            let setting = match settings.secret_key_file {
                None => "SHOKO_AUTH_SECRET_KEY",
                Some(_) => "SHOKO_AUTH_SECRET_KEY_FILE",
            };
            OpenError::BadSecretSetting { setting, reason }
        }),
        (None, Database::Sqlite(_)) => {
            let path = settings.data_dir.join(SECRET_FILE);
            let text = read_or_create_secret(&path)?;
            Sealer::from_base64(text.expose()).map_err(|reason| OpenError::BadSecretFile { path, reason })
        }
        (None, Database::Postgres(_)) => Err(OpenError::SecretNeeded),
    }
}

/// Reads the secret from a file, or creates the file. If two processes start at once, the first to create the file
/// wins, and the other reads that file. The file is complete when it appears.
fn read_or_create_secret(path: &Path) -> Result<SecretText, OpenError> {
    let failed = |source| OpenError::File {
        path: path.to_owned(),
        source,
    };
    let read = || read_file(path, Pipes::Rejected).map(SecretText::new);
    match read() {
        Err(ReadFileError::Io(e)) if e.kind() == ErrorKind::NotFound => {}
        read => return read.map_err(|error| OpenError::of_file(path, error)),
    }
    let secret = Sealer::generate_secret()?;
    // `NamedTempFile` creates a file that only its owner can read.
    let mut draft = NamedTempFile::new_in(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    writeln!(draft, "{}", secret.expose())
        .and_then(|()| draft.as_file().sync_all())
        .map_err(failed)?;
    match draft.persist_noclobber(path) {
        Ok(_) => Ok(secret),
        Err(e) if e.error.kind() == ErrorKind::AlreadyExists => read().map_err(|error| OpenError::of_file(path, error)),
        Err(e) => Err(failed(e.error)),
    }
}

/// If the database file does not exist, creates it so that only its owner can read it. If SQLite created the file,
/// every user of the machine could read it.
fn create_private_file(path: &Path) -> Result<(), OpenError> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let created = open_regular(&mut options, path);
    created.map(drop).map_err(|error| OpenError::of_file(path, error))
}

/// If the folder does not exist, creates it so that only its owner can enter it.
pub(super) fn create_private_folder(path: &Path) -> Result<(), OpenError> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| OpenError::File {
            path: path.to_owned(),
            source,
        })
}
