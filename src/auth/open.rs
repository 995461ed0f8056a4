//! Opening the service: the data folder, the sealing secret, the database.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

use super::Auth;
use super::callers::Callers;
use super::lookups::LookUps;
use super::throttle::Throttle;
use super::uses::Uses;
use crate::error::AuthError;
use crate::secret::hasher::Hasher;
use crate::secret::key::Sealer;
use crate::secret::password::Passwords;
use crate::settings::{CoreSettings, Database};
use crate::store::Store;

/// Why the service cannot be opened. For the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// PostgreSQL is shared by several nodes, and so must the secret be.
    #[error(
        "With PostgreSQL the sealing secret must be given: set SHOKO_AUTH_SECRET_KEY or SHOKO_AUTH_SECRET_KEY_FILE \
         to 32 random bytes in base64 (openssl rand -base64 32), the same on every node."
    )]
    SecretNeeded,
    /// The secret is not what it must be.
    #[error("The sealing secret ({place}) cannot be used: {fault}")]
    BadSecret {
        /// Where it came from.
        place: String,
        /// What is wrong with it.
        fault: String,
    },
    /// A file or folder cannot be read or made.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The database or the settings of the core.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

impl Auth {
    /// Opens the database and the sealing secret, making both when the embedded database is new.
    /// Call [`Self::migrate`] or [`Self::first_admin`] before anything else.
    pub fn open(settings: &CoreSettings) -> Result<Self, OpenError> {
        if let Database::Sqlite(file) = &settings.database {
            make_private_folder(&settings.data_dir)?;
            make_private_folder(file.parent().unwrap_or(Path::new("")))?;
            make_private_file(file)?;
        }
        let sealer = open_sealer(settings)?;
        let callers = Arc::new(Callers::new());
        Ok(Self {
            clock: settings.clock.clone(),
            store: Store::open(&settings.database)?,
            passwords: Passwords::new(settings.pbkdf2_rounds, settings.password_min_length)?.into(),
            hasher: Hasher::start(settings.pbkdf2_rounds),
            sealer,
            throttle: Throttle::new(settings.login_throttle),
            lookups: LookUps::new(settings, callers.clone()),
            callers,
            uses: Uses::default(),
        })
    }
}

/// The sealing secret from the settings; with the embedded database from the data folder, where it is made
/// when it is not there. Never from the database itself.
fn open_sealer(settings: &CoreSettings) -> Result<Sealer, OpenError> {
    let (place, text) = match (&settings.secret_key, &settings.database) {
        (Some(text), _) => ("SHOKO_AUTH_SECRET_KEY".to_owned(), text.expose().to_owned()),
        (None, Database::Sqlite(_)) => {
            let file = settings.data_dir.join("secret.key");
            (file.display().to_string(), read_or_make_secret(&file)?)
        }
        (None, Database::Postgres(_)) => return Err(OpenError::SecretNeeded),
    };
    Sealer::from_base64(&text).map_err(|fault| OpenError::BadSecret { place, fault })
}

/// Two processes may start at once: the one that puts its file in place wins, the other reads what it wrote. A file
/// appears only when it is complete.
fn read_or_make_secret(path: &Path) -> Result<String, OpenError> {
    let failed = |source| OpenError::File {
        path: path.to_owned(),
        source,
    };
    match fs::read_to_string(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        read => {
            let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
            if mode & 0o077 != 0 {
                log::warn!("{} can be read by others than its owner: chmod 600 it", path.display());
            }
            return read.map_err(failed);
        }
    }
    let secret = Sealer::generate_secret()?;
    // Readable by the owner alone.
    let mut draft = NamedTempFile::new_in(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    writeln!(draft, "{secret}")
        .and_then(|()| draft.as_file().sync_all())
        .map_err(failed)?;
    match draft.persist_noclobber(path) {
        Ok(_) => Ok(secret),
        Err(e) if e.error.kind() == ErrorKind::AlreadyExists => fs::read_to_string(path).map_err(failed),
        Err(e) => Err(failed(e.error)),
    }
}

/// The database file, which SQLite would make readable for everybody, whatever folder it is in.
fn make_private_file(path: &Path) -> Result<(), OpenError> {
    let made = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    made.map(drop).map_err(|source| OpenError::File {
        path: path.to_owned(),
        source,
    })
}

/// A folder for what nobody else may read, if it is not there yet.
fn make_private_folder(path: &Path) -> Result<(), OpenError> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| OpenError::File {
            path: path.to_owned(),
            source,
        })
}
