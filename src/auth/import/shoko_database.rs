//! Reads Shoko's database for the import: the rows of two tables, however unusual their values.
//!
//! Nothing is written to the file or next to it, even while Shoko has it open. If the database was not closed properly
//! and no process has it open, it is first copied to a private temporary folder. The columns differ between versions of
//! Shoko. A missing column is read as NULL, and a missing flag as 0.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use tempfile::TempDir;

use crate::store::sqlite_url;

/// The reason why a file cannot be read as a Shoko database.
#[derive(Debug, thiserror::Error)]
pub enum ShokoError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error(
        "{0}: this is not a Shoko database. Shoko's database is named JMMServer.db3 or Shoko.db3 and is in the folder \
         SQLite of Shoko's home folder"
    )]
    NotShoko(PathBuf),
    /// Two users, or two keys, have the same id.
    #[error(
        "{0}: two rows have the same id, which never happens in a file that Shoko has written. Copy the file from \
         Shoko again"
    )]
    AmbiguousId(PathBuf),
    #[error("{path}: {source}{}", hint(path))]
    Sqlite {
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Returns advice about a file that SQLite cannot read, or an empty text.
fn hint(path: &Path) -> &'static str {
    if beside(path, "-journal").exists() {
        ". Shoko is writing to the file or was not stopped properly: start and stop Shoko once, then try again"
    } else {
        ""
    }
}

/// Appends a suffix such as `-wal` to the path of a database. SQLite keeps its other files at these paths.
fn beside(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from([path.as_os_str(), ending.as_ref()].join("".as_ref()))
}

/// The rows of a Shoko database that an import reads.
pub struct ShokoDatabase {
    /// Sorted by id.
    pub users: Vec<ShokoUser>,
    /// Sorted by id.
    pub keys: Vec<ShokoKey>,
}

/// A row of `JMMUser`.
#[derive(QueryableByName)]
pub struct ShokoUser {
    /// `JMMUserID`.
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    /// `Username`.
    #[diesel(sql_type = Nullable<Binary>)]
    pub name: Option<Vec<u8>>,
    /// `Password`: SHA-512 in hex, or empty.
    #[diesel(sql_type = Nullable<Binary>)]
    pub password: Option<Vec<u8>>,
    /// `IsAdmin`.
    #[diesel(sql_type = BigInt)]
    pub is_admin: i64,
    /// `IsAniDBUser`.
    #[diesel(sql_type = BigInt)]
    pub is_anidb_user: i64,
    /// `IsTraktUser`.
    #[diesel(sql_type = BigInt)]
    pub is_trakt_user: i64,
    /// `PlexUsers`: names separated by commas.
    #[diesel(sql_type = Nullable<Binary>)]
    pub plex_users: Option<Vec<u8>>,
    /// `AvatarImageBlob`.
    #[diesel(sql_type = Nullable<Binary>)]
    pub avatar: Option<Vec<u8>>,
    /// `AvatarImageMetadata`: JSON with a `ContentType`.
    #[diesel(sql_type = Nullable<Binary>)]
    pub avatar_metadata: Option<Vec<u8>>,
}

/// A row of `AuthTokens`.
#[derive(QueryableByName)]
pub struct ShokoKey {
    /// `AuthID`.
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    /// `UserID`, which may refer to no user.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub user_id: Option<i64>,
    /// `DeviceName`.
    #[diesel(sql_type = Nullable<Binary>)]
    pub device: Option<Vec<u8>>,
    /// `Token`: the key itself.
    #[diesel(sql_type = Nullable<Binary>)]
    pub token: Option<Vec<u8>>,
    /// `ExpiresAt`, in the local time of Shoko's machine.
    #[diesel(sql_type = Nullable<Binary>)]
    pub expires_at: Option<Vec<u8>>,
}

impl ShokoDatabase {
    /// Reads the Shoko database at `path`.
    pub fn read(path: &Path) -> Result<Self, ShokoError> {
        let sqlite = |source: Box<dyn std::error::Error + Send + Sync>| ShokoError::Sqlite {
            path: path.to_owned(),
            source,
        };
        // SQLite looks for its other files next to the target of a symbolic link.
        let path = &path.canonicalize().map_err(|source| ShokoError::File {
            path: path.to_owned(),
            source,
        })?;
        let source = ReadableFile::new(path)?;
        let mut connection = SqliteConnection::establish(&source.url).map_err(|e| sqlite(e.into()))?;
        let read = |c: &mut SqliteConnection| {
            c.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA query_only = ON")?;
            c.transaction(read_tables)
        };
        let data = read(&mut connection)
            .map_err(|e| sqlite(e.into()))?
            .ok_or_else(|| ShokoError::NotShoko(path.to_owned()))?;
        // The rows are sorted by id, so duplicates are neighbors.
        let differ = |ids: Vec<i64>| ids.is_sorted_by(|one, next| one < next);
        let ids = [
            data.users.iter().map(|user| user.id).collect(),
            data.keys.iter().map(|key| key.id).collect(),
        ];
        if !ids.into_iter().all(differ) {
            return Err(ShokoError::AmbiguousId(path.to_owned()));
        }
        Ok(data)
    }
}

/// Reads both tables. Returns `None` if this is not Shoko's database: a table is missing, or the encoding is not UTF-8.
fn read_tables(connection: &mut SqliteConnection) -> QueryResult<Option<ShokoDatabase>> {
    if names(connection, "SELECT encoding AS name FROM pragma_encoding")? != HashSet::from(["UTF-8".to_owned()]) {
        return Ok(None);
    }
    let (user, key) = (columns(connection, "JMMUser")?, columns(connection, "AuthTokens")?);
    if !user.contains("JMMUserID") || !key.contains("AuthID") {
        return Ok(None);
    }
    let bytes = |columns: &HashSet<String>, name: &str| {
        if columns.contains(name) {
            format!("CAST({name} AS BLOB)")
        } else {
            "NULL".to_owned()
        }
    };
    let number = |name: &str| {
        if user.contains(name) {
            format!("coalesce(CAST({name} AS INTEGER), 0)")
        } else {
            "0".to_owned()
        }
    };
    let users = diesel::sql_query(format!(
        "SELECT JMMUserID AS id, {} AS name, {} AS password, {} AS is_admin, {} AS is_anidb_user, {} AS is_trakt_user, \
         {} AS plex_users, {} AS avatar, {} AS avatar_metadata FROM JMMUser ORDER BY JMMUserID",
        bytes(&user, "Username"),
        bytes(&user, "Password"),
        number("IsAdmin"),
        number("IsAniDBUser"),
        number("IsTraktUser"),
        bytes(&user, "PlexUsers"),
        bytes(&user, "AvatarImageBlob"),
        bytes(&user, "AvatarImageMetadata"),
    ));
    let keys = diesel::sql_query(format!(
        "SELECT AuthID AS id, {} AS user_id, {} AS device, {} AS token, {} AS expires_at \
         FROM AuthTokens ORDER BY AuthID",
        if key.contains("UserID") {
            "CAST(UserID AS INTEGER)"
        } else {
            "NULL"
        },
        bytes(&key, "DeviceName"),
        bytes(&key, "Token"),
        bytes(&key, "ExpiresAt"),
    ));
    Ok(Some(ShokoDatabase {
        users: users.load(connection)?,
        keys: keys.load(connection)?,
    }))
}

fn columns(connection: &mut SqliteConnection, table: &str) -> QueryResult<HashSet<String>> {
    names(connection, &format!("SELECT name FROM pragma_table_info('{table}')"))
}

/// Runs a query and returns the values in its column `name`.
fn names(connection: &mut SqliteConnection, sql: &str) -> QueryResult<HashSet<String>> {
    #[derive(QueryableByName)]
    struct Name {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let names: Vec<Name> = diesel::sql_query(sql).load(connection)?;
    Ok(names.into_iter().map(|row| row.name).collect())
}

/// A URL by which SQLite can open the file without creating other files next to it.
struct ReadableFile {
    url: String,
    /// The folder of a temporary copy of the file. It is deleted when this value is dropped.
    _copy: Option<TempDir>,
}

impl ReadableFile {
    /// Decides how to open the file. Usually, it is opened read-only.
    ///
    /// The exception is a database in WAL mode that no process has open, because SQLite would create files next to it.
    /// If its write-ahead log (WAL) is empty or missing, the file is complete and is opened as immutable. If the log
    /// has content, the file and the log are copied, and the copy is opened.
    fn new(path: &Path) -> Result<Self, ShokoError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ShokoError::File { path, source }
        };
        let is_wal = is_wal(path)
            .map_err(failed(path))?
            .ok_or_else(|| ShokoError::NotShoko(path.to_owned()))?;
        let wal = beside(path, "-wal");
        let in_use = wal.exists() && beside(path, "-shm").exists();
        if !is_wal || in_use {
            return Ok(Self::at(path, "mode=ro&readonly_shm=1", None));
        }
        if fs::metadata(&wal).map_or(0, |file| file.len()) == 0 {
            return Ok(Self::at(path, "mode=ro&immutable=1", None));
        }
        // Only the owner can enter the folder, because the file contains keys.
        let private = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o700))
            .tempdir();
        let folder = private.map_err(failed(Path::new("a temporary folder")))?;
        let copy = folder.path().join("copy.db3");
        fs::copy(path, &copy).map_err(failed(path))?;
        fs::copy(&wal, folder.path().join("copy.db3-wal")).map_err(failed(&wal))?;
        Ok(Self::at(&copy, "mode=rw", Some(folder)))
    }

    fn at(path: &Path, parameters: &str, copy: Option<TempDir>) -> Self {
        let path = path.to_string_lossy();
        Self {
            url: sqlite_url(&path, parameters),
            _copy: copy,
        }
    }
}

/// Returns whether the file's header says that the database is in WAL mode (SQLite's file format, section 1.3). Returns
/// `None` if the file is not an SQLite database.
fn is_wal(path: &Path) -> io::Result<Option<bool>> {
    let mut head = Vec::new();
    File::open(path)?.take(20).read_to_end(&mut head)?;
    Ok((head.starts_with(b"SQLite format 3\0") && head.len() == 20).then(|| head[18] == 2))
}
