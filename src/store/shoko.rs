//! A read-only view of a Shoko database, for import: what is in the two tables, however odd it is.
//!
//! Nothing is written, neither to the file nor beside it, also while Shoko itself has it open. The columns differ from
//! version to version; those that are not there are read as NULL.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use percent_encoding::utf8_percent_encode;
use tempfile::TempDir;

use super::connection::NOT_IN_A_PATH;

/// Why a file cannot be read as a Shoko database.
#[derive(Debug, thiserror::Error)]
pub enum ShokoFault {
    /// The file itself.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is something else.
    #[error(
        "{0}: this is no Shoko database. It is called JMMServer.db3 or Shoko.db3 and is in the folder SQLite of Shoko's \
         home"
    )]
    NotShoko(PathBuf),
    /// What SQLite says.
    #[error("{path}: {source}. When Shoko was not stopped properly, start and stop it once, and try again")]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Everything that is imported from.
#[derive(Debug)]
pub struct ShokoData {
    /// By id.
    pub users: Vec<ShokoUser>,
    /// By id.
    pub keys: Vec<ShokoKey>,
}

/// A row of `JMMUser`.
#[derive(Debug, QueryableByName)]
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
    /// `PlexUsers`: names with commas between them.
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
    /// `UserID`, which need not be anybody's.
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

/// No log and no error may show a key.
impl std::fmt::Debug for ShokoKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ShokoKey({})", self.id)
    }
}

impl ShokoData {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, ShokoFault> {
        let sqlite = |source: Box<dyn std::error::Error + Send + Sync>| ShokoFault::Sqlite {
            path: path.to_owned(),
            source,
        };
        let place = Place::of(path)?;
        let mut connection = SqliteConnection::establish(&place.url).map_err(|e| sqlite(e.into()))?;
        let read = |c: &mut SqliteConnection| {
            c.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA query_only = ON")?;
            c.transaction(read_tables)
        };
        read(&mut connection)
            .map_err(|e| sqlite(e.into()))?
            .ok_or_else(|| ShokoFault::NotShoko(path.to_owned()))
    }
}

/// `None`: a table is missing.
fn read_tables(connection: &mut SqliteConnection) -> QueryResult<Option<ShokoData>> {
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
        "SELECT AuthID AS id, CAST(UserID AS INTEGER) AS user_id, {} AS device, {} AS token, {} AS expires_at \
         FROM AuthTokens ORDER BY AuthID",
        bytes(&key, "DeviceName"),
        bytes(&key, "Token"),
        bytes(&key, "ExpiresAt"),
    ));
    Ok(Some(ShokoData {
        users: users.load(connection)?,
        keys: keys.load(connection)?,
    }))
}

fn columns(connection: &mut SqliteConnection, table: &str) -> QueryResult<HashSet<String>> {
    #[derive(QueryableByName)]
    struct Column {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let columns: Vec<Column> = diesel::sql_query(format!("PRAGMA table_info({table})")).load(connection)?;
    Ok(columns.into_iter().map(|column| column.name).collect())
}

/// How to open the file without a trace.
struct Place {
    url: String,
    /// A copy, as long as it is needed.
    _copy: Option<TempDir>,
}

impl Place {
    /// SQLite would make files beside a database in WAL mode that nobody has open. Where the write-ahead log is empty
    /// the file alone is all there is, and cannot change; else a copy is read.
    fn of(path: &Path) -> Result<Self, ShokoFault> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ShokoFault::File { path, source }
        };
        let is_wal = is_wal(path)
            .map_err(failed(path))?
            .ok_or_else(|| ShokoFault::NotShoko(path.to_owned()))?;
        let beside = |ending: &str| PathBuf::from([path.as_os_str(), ending.as_ref()].join("".as_ref()));
        let (wal, in_use) = (beside("-wal"), beside("-shm").exists());
        if !is_wal || in_use {
            return Ok(Self::at(path, "mode=ro&readonly_shm=1", None));
        }
        if fs::metadata(&wal).map_or(0, |file| file.len()) == 0 {
            return Ok(Self::at(path, "mode=ro&immutable=1", None));
        }
        let folder = tempfile::tempdir().map_err(failed(path))?;
        let copy = folder.path().join("copy.db3");
        fs::copy(path, &copy).map_err(failed(path))?;
        fs::copy(&wal, folder.path().join("copy.db3-wal")).map_err(failed(&wal))?;
        Ok(Self::at(&copy, "mode=rw", Some(folder)))
    }

    fn at(path: &Path, how: &str, copy: Option<TempDir>) -> Self {
        let path = path.to_string_lossy();
        Self {
            url: format!("file:{}?{how}", utf8_percent_encode(&path, NOT_IN_A_PATH)),
            _copy: copy,
        }
    }
}

/// Whether the file says that it has a write-ahead log (SQLite's file format, section 1.3); `None`: it is no database.
fn is_wal(path: &Path) -> io::Result<Option<bool>> {
    let mut head = Vec::new();
    File::open(path)?.take(20).read_to_end(&mut head)?;
    Ok((head.starts_with(b"SQLite format 3\0") && head.len() == 20).then(|| head[18] == 2))
}
