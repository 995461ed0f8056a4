//! Backup and restore of the embedded database.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::database_lock::{DatabaseLock, LockError};
use super::file_access::{ReadFileError, database_files, give_to_owner_of, open_regular};
use super::open::{OpenError, create_private_folder};
use crate::error::ServiceError;
use crate::settings::{CoreSettings, Database};
use crate::store::{
    Store, UnsuitableDatabase, Use, check_integrity, copy_database, count_revived_keys, finish_log, missing_part,
    prepare_restored,
};

/// The reason why a backup or a restore failed. The message is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database is PostgreSQL, which has its own programs for backups.
    #[error("this command works only for the embedded SQLite database")]
    NotEmbedded,
    #[error("{0}: the file exists already. Choose another name")]
    Exists(PathBuf),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    Unreadable { path: PathBuf, source: ReadFileError },
    #[error("{0}: this is not an intact database of shoko-auth: {1}. Use another backup")]
    Damaged(PathBuf, String),
    #[error(
        "{0}: there is a file with the same name and the ending -wal, so this is not a complete backup. `shoko-auth backup` \
         writes complete ones"
    )]
    HasLog(PathBuf),
    #[error(transparent)]
    Unsuitable(#[from] UnsuitableDatabase),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// The options of a restore.
#[derive(Clone, Copy, Debug, Default)]
pub struct RestoreOptions {
    pub revoke_all_keys: bool,
}

/// The result of a restore.
#[derive(Debug)]
pub struct Restored {
    pub database: PathBuf,
    /// The files of the old database.
    pub kept: Vec<PathBuf>,
    /// How many keys were revoked since the backup and work again. `None` if the old database cannot be read.
    pub revived_keys: Option<usize>,
}

/// Copies the embedded database to a new file, which only its owner can read. Works while servers use the database.
/// The copy contains every change that was acknowledged before.
pub fn back_up(settings: &CoreSettings, file: &Path) -> Result<(), BackupError> {
    let database = embedded(settings)?;
    if fs::symlink_metadata(file).is_ok() {
        return Err(BackupError::Exists(file.to_owned()));
    }
    // Checked before the lock is taken, because that creates the file of the lock even without a database.
    fs::metadata(database).map_err(|source| failed(database, source))?;
    let folder = folder_of(file);
    fs::metadata(folder).map_err(|source| failed(folder, source))?;
    let _lock = DatabaseLock::share(database)?;
    let draft = NamedTempFile::new_in(folder).map_err(|source| failed(file, source))?;
    copy_database(database, draft.path())?;
    require_intact(draft.path(), file)?;
    draft.as_file().sync_all().map_err(|source| failed(file, source))?;
    match draft.persist_noclobber(file) {
        Ok(_) => sync_folder_of(file),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Err(BackupError::Exists(file.to_owned())),
        Err(error) => Err(failed(file, error.error)),
    }
}

/// Replaces the embedded database with a backup, which is migrated first. Fails if a server or another command uses the
/// database. The files of the old database are kept under other names.
pub fn restore(settings: &CoreSettings, file: &Path, options: RestoreOptions) -> Result<Restored, BackupError> {
    let named = embedded(settings)?;
    create_private_folder(folder_of(named))?;
    let _lock = DatabaseLock::take_alone(named)?;
    // A symbolic link stays, and the file that it leads to is replaced.
    let database = fs::canonicalize(named).unwrap_or_else(|_| named.to_owned());
    let draft = draft_of_backup(settings, file, &database)?;
    let old = Old::close(&database)?;
    let revived_keys = match &old {
        _ if options.revoke_all_keys => Some(0),
        Old::Intact => count_revived_keys(draft.path(), &database, settings.clock.now()).ok(),
        Old::Missing | Old::Damaged => None,
    };
    let readable = matches!(old, Old::Intact).then_some(database.as_path());
    prepare_restored(draft.path(), readable, options.revoke_all_keys)?;
    draft.as_file().sync_all().map_err(|source| failed(&database, source))?;
    let kept = keep_old_files(&database, &settings.clock.now().format("%Y%m%dT%H%M%S").to_string())?;
    // Replaces the old file atomically.
    draft
        .persist(&database)
        .map_err(|error| failed(&database, error.error))?;
    sync_folder_of(&database)?;
    Ok(Restored {
        database,
        kept,
        revived_keys,
    })
}

/// Copies a backup into the folder of the database, checks the copy and migrates it. A backup that is damaged, or that
/// this version cannot use, is rejected.
fn draft_of_backup(settings: &CoreSettings, file: &Path, database: &Path) -> Result<NamedTempFile, BackupError> {
    let [_, log, ..] = database_file_list(file);
    if log.exists() {
        return Err(BackupError::HasLog(file.to_owned()));
    }
    let backup = open_regular(OpenOptions::new().read(true), file);
    let mut backup = backup.map_err(|source| BackupError::Unreadable {
        path: file.to_owned(),
        source,
    })?;
    let mut draft = create_draft(database)?;
    io::copy(&mut backup, draft.as_file_mut()).map_err(|source| failed(file, source))?;
    require_intact(draft.path(), file)?;
    migrate(settings, draft.path(), file)?;
    Ok(draft)
}

/// The state of the database that a restore replaces.
enum Old {
    Missing,
    Intact,
    /// A damaged database may be the reason for the restore.
    Damaged,
}

impl Old {
    /// Completes the file of the database that is to be replaced. Fails if another program uses it.
    fn close(database: &Path) -> Result<Self, BackupError> {
        match fs::metadata(database) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::Missing),
            Err(source) => return Err(failed(database, source)),
            Ok(file) if file.len() == 0 => return Ok(Self::Damaged),
            Ok(_) => {}
        }
        match finish_log(database) {
            Ok(Use::Unused) => Ok(Self::Intact),
            Ok(Use::InUse) => Err(LockError::InUse {
                database: database.to_owned(),
            }
            .into()),
            Err(_) => Ok(Self::Damaged),
        }
    }
}

/// Migrates a copy of a backup.
fn migrate(settings: &CoreSettings, copy: &Path, backup: &Path) -> Result<(), BackupError> {
    let settings = CoreSettings {
        database: Database::Sqlite(copy.to_owned()),
        ..settings.clone()
    };
    let store = Store::new(&settings, 1);
    if !store.has_been_migrated()? {
        let reason = "it has no tables of shoko-auth".to_owned();
        return Err(BackupError::Damaged(backup.to_owned(), reason));
    }
    store.check_compatibility()?;
    store.migrate(|_| Ok::<_, ServiceError>(()))?;
    store.close()?;
    match missing_part(copy)? {
        Some(part) => Err(BackupError::Damaged(
            backup.to_owned(),
            format!("the {part} is missing"),
        )),
        None => Ok(()),
    }
}

/// Gives the files of the old database second names, and removes the log of a damaged database, which must not be
/// applied to the restored one. Returns the new names. The database itself stays until the restored one replaces it.
fn keep_old_files(database: &Path, time: &str) -> Result<Vec<PathBuf>, BackupError> {
    let mut kept = Vec::new();
    for file in database_files(database) {
        if !file.exists() {
            continue;
        }
        let name = keep(&file, time)?;
        if file != database {
            fs::remove_file(&file).map_err(|source| failed(&file, source))?;
        }
        kept.push(name);
    }
    sync_folder_of(database)?;
    Ok(kept)
}

/// Gives a file a second name that no file has yet, and returns the name.
fn keep(file: &Path, time: &str) -> Result<PathBuf, BackupError> {
    let mut number = 1;
    loop {
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".before-restore-{time}"));
        if number > 1 {
            name.push(format!("-{number}"));
        }
        let name = PathBuf::from(name);
        match link_or_copy(file, &name) {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(source) => return Err(failed(&name, source)),
        }
    }
}

/// Gives a file a second name, or copies it if the file system has no hard links. Never replaces a file.
fn link_or_copy(file: &Path, name: &Path) -> io::Result<()> {
    match fs::hard_link(file, name) {
        Err(error) if [ErrorKind::Unsupported, ErrorKind::PermissionDenied].contains(&error.kind()) => {
            let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(name)?;
            io::copy(&mut File::open(file)?, &mut copy)?;
            copy.sync_all()
        }
        linked => linked,
    }
}

fn embedded(settings: &CoreSettings) -> Result<&Path, BackupError> {
    match &settings.database {
        Database::Sqlite(file) => Ok(file),
        Database::Postgres(_) => Err(BackupError::NotEmbedded),
    }
}

/// Checks a draft. An error names the backup.
fn require_intact(draft: &Path, backup: &Path) -> Result<(), BackupError> {
    let damaged = |reason: String| BackupError::Damaged(backup.to_owned(), reason);
    let problems = check_integrity(draft).map_err(|error| damaged(error.to_string()))?;
    match problems.into_iter().next() {
        None => Ok(()),
        Some(problem) => Err(damaged(problem)),
    }
}

/// Creates the file that will take the place of the database, and deletes those that earlier restores have left because
/// they were interrupted. The database must be locked.
fn create_draft(database: &Path) -> Result<NamedTempFile, BackupError> {
    let folder = folder_of(database);
    let name = database.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!(".{name}.restore-");
    let entries = fs::read_dir(folder).map_err(|source| failed(folder, source))?;
    for entry in entries.filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|source| failed(&path, source))?;
        }
    }
    let draft = tempfile::Builder::new().prefix(&prefix).tempfile_in(folder);
    let draft = draft.map_err(|source| failed(folder, source))?;
    give_to_owner_of(database, draft.as_file()).map_err(|source| failed(draft.path(), source))?;
    Ok(draft)
}

fn database_file_list(file: &Path) -> [PathBuf; 4] {
    let mut files = database_files(file);
    std::array::from_fn(|_| files.next().unwrap_or_default())
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Syncs the folder of a new file, so that its name survives a power failure.
fn sync_folder_of(file: &Path) -> Result<(), BackupError> {
    let folder = folder_of(file);
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| failed(folder, source))
}

fn failed(path: &Path, source: io::Error) -> BackupError {
    BackupError::File {
        path: path.to_owned(),
        source,
    }
}
