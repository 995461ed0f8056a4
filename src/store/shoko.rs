//! A read-only view of a Shoko database, for import: what is in the two tables, however odd it is.
//!
//! Nothing is written, neither to the file nor beside it, also while Shoko itself has it open. Only a database that was
//! not closed, and that nobody has open, is copied first, to a temporary folder of the owner's alone. The columns differ
//! from version to version; those that are not there are read as NULL.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
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
    /// There are two users, or two keys, with one id.
    #[error("{0}: an id is there twice: this is not as Shoko made it")]
    AmbiguousId(PathBuf),
    /// What SQLite says.
    #[error("{path}: {source}{}", hint(path))]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What to do about a file that SQLite does not read.
fn hint(path: &Path) -> &'static str {
    if beside(path, "-journal").exists() {
        ". Shoko writes to it, or was not stopped properly: start and stop it once, and try again"
    } else {
        ""
    }
}

/// The file of SQLite's that has this ending.
fn beside(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from([path.as_os_str(), ending.as_ref()].join("".as_ref()))
}

/// Everything that is imported from.
pub struct ShokoData {
    /// By id.
    pub users: Vec<ShokoUser>,
    /// By id.
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

impl ShokoData {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, ShokoFault> {
        let sqlite = |source: Box<dyn std::error::Error + Send + Sync>| ShokoFault::Sqlite {
            path: path.to_owned(),
            source,
        };
        // SQLite finds its other files beside what a link leads to.
        let path = &path.canonicalize().map_err(|source| ShokoFault::File {
            path: path.to_owned(),
            source,
        })?;
        let place = Place::of(path)?;
        let mut connection = SqliteConnection::establish(&place.url).map_err(|e| sqlite(e.into()))?;
        let read = |c: &mut SqliteConnection| {
            c.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA query_only = ON")?;
            c.transaction(read_tables)
        };
        let data = read(&mut connection)
            .map_err(|e| sqlite(e.into()))?
            .ok_or_else(|| ShokoFault::NotShoko(path.to_owned()))?;
        // By id: the same stand beside each other.
        let differ = |ids: Vec<i64>| ids.is_sorted_by(|one, next| one < next);
        let ids = [
            data.users.iter().map(|user| user.id).collect(),
            data.keys.iter().map(|key| key.id).collect(),
        ];
        if !ids.into_iter().all(differ) {
            return Err(ShokoFault::AmbiguousId(path.to_owned()));
        }
        Ok(data)
    }
}

/// `None`: a table is missing, or the texts are not in UTF-8, as Shoko's are.
fn read_tables(connection: &mut SqliteConnection) -> QueryResult<Option<ShokoData>> {
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
    Ok(Some(ShokoData {
        users: users.load(connection)?,
        keys: keys.load(connection)?,
    }))
}

fn columns(connection: &mut SqliteConnection, table: &str) -> QueryResult<HashSet<String>> {
    names(connection, &format!("SELECT name FROM pragma_table_info('{table}')"))
}

/// The column `name` of a query.
fn names(connection: &mut SqliteConnection, sql: &str) -> QueryResult<HashSet<String>> {
    #[derive(QueryableByName)]
    struct Name {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let names: Vec<Name> = diesel::sql_query(sql).load(connection)?;
    Ok(names.into_iter().map(|row| row.name).collect())
}

/// How to open the file without leaving anything beside it.
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
        let wal = beside(path, "-wal");
        let in_use = wal.exists() && beside(path, "-shm").exists();
        if !is_wal || in_use {
            return Ok(Self::at(path, "mode=ro&readonly_shm=1", None));
        }
        if fs::metadata(&wal).map_or(0, |file| file.len()) == 0 {
            return Ok(Self::at(path, "mode=ro&immutable=1", None));
        }
        // What is in it are keys.
        let private = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o700))
            .tempdir();
        let folder = private.map_err(failed(Path::new("a temporary folder")))?;
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
