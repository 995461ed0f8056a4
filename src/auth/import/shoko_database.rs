//! Reads Shoko's database for the import: the rows of two tables, however unusual their values.
//!
//! Nothing is written to the file or next to it, even while Shoko has it open. If the database was not closed properly
//! and no process has it open, it is first copied to a private temporary folder. The columns differ between versions of
//! Shoko. A missing column is read as NULL, and a missing flag as 0.
//!
//! The file may come from an untrusted source. It is therefore read without running any SQL that it contains, such as
//! views, and only up to limits that no Shoko server reaches.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use diesel::connection::{DefaultLoadingMode, SimpleConnection};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::sqlite::Sqlite;

use super::shoko_file::{ReadableFile, hint};

const USERS: &str = "JMMUser";
const KEYS: &str = "AuthTokens";

/// The longest text that is read from a column, in bytes. Names are cut to a much smaller size.
const MAX_TEXT_BYTES: usize = 64 * 1024;
/// The longest value that is read as a number, in bytes. Numbers in the database itself are shorter.
const MAX_NUMBER_BYTES: usize = 64;
/// The largest avatar that is read, in bytes. A larger one would exceed the limit on imported avatars in base64.
const MAX_IMAGE_BYTES: usize = 2 * 1024 * 1024;
/// The maximum size of all texts and images of a table in bytes, because they are in memory at the same time.
const MAX_TABLE_BYTES: usize = 256 * 1024 * 1024;

/// Settings for a file that may come from an untrusted source: <https://sqlite.org/security.html>.
const PRAGMAS: &str = "PRAGMA busy_timeout = 5000; PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; \
    PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0";

/// The reason why a file cannot be read as a Shoko database.
#[derive(Debug, thiserror::Error)]
pub enum ShokoError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path}: this is {what}, not a regular file. Name a database file, such as a copy of JMMServer.db3")]
    NotAFile { path: PathBuf, what: &'static str },
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
    #[error("{path}: {source}. Shoko never writes such a database: copy the file from Shoko again")]
    Content { path: PathBuf, source: ContentError },
    #[error("{path}: {source}{}", hint(path))]
    Sqlite {
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The reason why a database is rejected for the content of its tables.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    #[error("{table} is not an ordinary table; its type is {kind:?}")]
    NotATable { table: &'static str, kind: String },
    #[error("{table} has more than {max} rows")]
    TooManyRows { table: &'static str, max: usize },
    #[error("row {row} of {table} has a text longer than {MAX_TEXT_BYTES} bytes")]
    LongText { table: &'static str, row: i64 },
    #[error("{table} has a row whose id is not a number")]
    BadId { table: &'static str },
    #[error("{table} has more than {MAX_TABLE_BYTES} bytes of text and avatars")]
    LargeTable { table: &'static str },
}

/// An error of reading the tables. [`ShokoDatabase::read`] adds the path.
enum ReadError {
    Sqlite(diesel::result::Error),
    Content(ContentError),
}

impl From<diesel::result::Error> for ReadError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<ContentError> for ReadError {
    fn from(error: ContentError) -> Self {
        Self::Content(error)
    }
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
    /// `AvatarImageBlob`, or NULL if it has more than [`MAX_IMAGE_BYTES`].
    #[diesel(sql_type = Nullable<Binary>)]
    pub avatar: Option<Vec<u8>>,
    /// The size of `AvatarImageBlob` in bytes.
    #[diesel(sql_type = BigInt)]
    pub avatar_bytes: i64,
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
        connection.batch_execute(PRAGMAS).map_err(|e| sqlite(e.into()))?;
        let data = connection.transaction(read_tables).map_err(|error| match error {
            ReadError::Sqlite(source) => sqlite(source.into()),
            ReadError::Content(source) => {
                let path = path.to_owned();
                ShokoError::Content { path, source }
            }
        })?;
        let data = data.ok_or_else(|| ShokoError::NotShoko(path.to_owned()))?;
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
fn read_tables(connection: &mut SqliteConnection) -> Result<Option<ShokoDatabase>, ReadError> {
    if names(connection, "SELECT encoding AS name FROM pragma_encoding")? != HashSet::from(["UTF-8".to_owned()]) {
        return Ok(None);
    }
    for table in [USERS, KEYS] {
        let kinds = names(
            connection,
            &format!(
                "SELECT type AS name FROM pragma_table_list WHERE schema = 'main' AND name = '{table}' COLLATE NOCASE"
            ),
        )?;
        if let Some(kind) = kinds.into_iter().find(|kind| kind != "table") {
            return Err(ContentError::NotATable { table, kind }.into());
        }
    }
    let (user, key) = (columns(connection, USERS)?, columns(connection, KEYS)?);
    if !user.contains("JMMUserID") || !key.contains("AuthID") {
        return Ok(None);
    }
    let mut users = read_rows::<ShokoUser>(connection, &select_users(&user))?;
    let mut keys = read_rows::<ShokoKey>(connection, &select_keys(&key))?;
    users.sort_by_key(|user| user.id);
    keys.sort_by_key(|key| key.id);
    Ok(Some(ShokoDatabase { users, keys }))
}

/// Returns the query for the users. It has no `ORDER BY`, because a query with `ORDER BY` can read all rows before it
/// returns the first.
fn select_users(columns: &HashSet<String>) -> String {
    let number = |name: &str| {
        if columns.contains(name) {
            format!("coalesce({}, 0)", integer(name))
        } else {
            "0".to_owned()
        }
    };
    let (avatar, avatar_bytes) = if columns.contains("AvatarImageBlob") {
        (
            format!("iif(octet_length(AvatarImageBlob) <= {MAX_IMAGE_BYTES}, CAST(AvatarImageBlob AS BLOB), NULL)"),
            "coalesce(octet_length(AvatarImageBlob), 0)",
        )
    } else {
        ("NULL".to_owned(), "0")
    };
    format!(
        "SELECT {} AS id, {} AS name, {} AS password, {} AS is_admin, {} AS is_anidb_user, {} AS is_trakt_user, \
         {} AS plex_users, {avatar} AS avatar, {avatar_bytes} AS avatar_bytes, {} AS avatar_metadata FROM {USERS}",
        id("JMMUserID"),
        text(columns, "Username"),
        text(columns, "Password"),
        number("IsAdmin"),
        number("IsAniDBUser"),
        number("IsTraktUser"),
        text(columns, "PlexUsers"),
        text(columns, "AvatarImageMetadata"),
    )
}

/// Returns the query for the keys. It has no `ORDER BY`, for the reason given at [`select_users`].
fn select_keys(columns: &HashSet<String>) -> String {
    let user_id = if columns.contains("UserID") {
        integer("UserID")
    } else {
        "NULL".to_owned()
    };
    format!(
        "SELECT {} AS id, {user_id} AS user_id, {} AS device, {} AS token, {} AS expires_at FROM {KEYS}",
        id("AuthID"),
        text(columns, "DeviceName"),
        text(columns, "Token"),
        text(columns, "ExpiresAt"),
    )
}

/// Returns an SQL expression for an id, or NULL if the column has something else. SQLite does not read a long value.
fn id(name: &str) -> String {
    format!("iif(typeof({name}) = 'integer', {name}, NULL)")
}

/// Returns an SQL expression for a number, or NULL if the value is too long for one. SQLite does not read a long value.
fn integer(name: &str) -> String {
    format!("iif(octet_length({name}) <= {MAX_NUMBER_BYTES}, CAST({name} AS INTEGER), NULL)")
}

/// Returns an SQL expression for the bytes of a text column, or NULL if there is no such column. For a text that is too
/// long, the expression yields [`MAX_TEXT_BYTES`] + 1 zeros, so that SQLite does not read the text.
fn text(columns: &HashSet<String>, name: &str) -> String {
    if columns.contains(name) {
        let too_long = MAX_TEXT_BYTES + 1;
        format!("iif(octet_length({name}) > {MAX_TEXT_BYTES}, zeroblob({too_long}), CAST({name} AS BLOB))")
    } else {
        "NULL".to_owned()
    }
}

/// A row of a table that the import reads.
trait Row {
    const TABLE: &'static str;
    const MAX_ROWS: usize;

    fn id(&self) -> i64;

    fn texts(&self) -> impl Iterator<Item = &Vec<u8>>;

    /// Returns the size of all texts and images in bytes.
    fn bytes(&self) -> usize {
        self.texts().map(Vec::len).sum()
    }
}

impl Row for ShokoUser {
    const TABLE: &'static str = USERS;
    const MAX_ROWS: usize = 10_000;

    fn id(&self) -> i64 {
        self.id
    }

    fn texts(&self) -> impl Iterator<Item = &Vec<u8>> {
        let texts = [&self.name, &self.password, &self.plex_users, &self.avatar_metadata];
        texts.into_iter().flatten()
    }

    fn bytes(&self) -> usize {
        self.texts().chain(&self.avatar).map(Vec::len).sum()
    }
}

impl Row for ShokoKey {
    const TABLE: &'static str = KEYS;
    const MAX_ROWS: usize = 100_000;

    fn id(&self) -> i64 {
        self.id
    }

    fn texts(&self) -> impl Iterator<Item = &Vec<u8>> {
        [&self.device, &self.token, &self.expires_at].into_iter().flatten()
    }
}

/// Runs a query and returns its rows. Fails at the first row that exceeds a limit.
fn read_rows<R>(connection: &mut SqliteConnection, sql: &str) -> Result<Vec<R>, ReadError>
where
    R: Row + QueryableByName<Sqlite> + 'static,
{
    let table = R::TABLE;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for row in diesel::sql_query(sql).load_iter::<R, DefaultLoadingMode>(connection)? {
        let row = row.map_err(|error| match error {
            // Only ids can be NULL without being optional.
            diesel::result::Error::DeserializationError(_) => ContentError::BadId { table }.into(),
            error => ReadError::from(error),
        })?;
        bytes += row.bytes();
        let max = R::MAX_ROWS;
        if rows.len() == max {
            return Err(ContentError::TooManyRows { table, max }.into());
        } else if row.texts().any(|text| text.len() > MAX_TEXT_BYTES) {
            let row = row.id();
            return Err(ContentError::LongText { table, row }.into());
        } else if bytes > MAX_TABLE_BYTES {
            return Err(ContentError::LargeTable { table }.into());
        }
        rows.push(row);
    }
    Ok(rows)
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
