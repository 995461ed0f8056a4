//! Opening the service: the data folder, the sealing secret, the database.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Auth;
use crate::error::AuthError;
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
    #[error("The sealing secret cannot be used: {0}.")]
    BadSecret(String),
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
        }
        let sealer = open_sealer(settings)?;
        Ok(Self {
            store: Store::open(&settings.database)?,
            passwords: Passwords::new(settings.pbkdf2_rounds, settings.password_min_length)?,
            sealer,
        })
    }
}

/// The sealing secret from the settings; with the embedded database from the data folder, where it is made
/// when it is not there. Never from the database itself.
fn open_sealer(settings: &CoreSettings) -> Result<Sealer, OpenError> {
    let text = match (&settings.secret_key, &settings.database) {
        (Some(text), _) => text.expose().to_owned(),
        (None, Database::Sqlite(_)) => read_or_make_secret(&settings.data_dir.join("secret.key"))?,
        (None, Database::Postgres(_)) => return Err(OpenError::SecretNeeded),
    };
    Sealer::from_base64(&text).map_err(OpenError::BadSecret)
}

/// Two processes may start at once: the one that creates the file wins, the other reads what it wrote.
fn read_or_make_secret(path: &Path) -> Result<String, OpenError> {
    let failed = |source| OpenError::File {
        path: path.to_owned(),
        source,
    };
    match fs::read_to_string(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        read => return read.map_err(failed),
    }
    // Written aside and linked into place, so that nobody ever reads half a secret.
    let secret = Sealer::generate_secret()?;
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(format!("{secret}\n").as_bytes())
                .and_then(|()| file.sync_all())
        })
        .and_then(|()| match fs::hard_link(&draft, path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    let removed = fs::remove_file(&draft);
    written.and(removed).map_err(failed)?;
    fs::read_to_string(path).map_err(failed)
}

/// Nobody else may read the hashes and the secret in it.
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
