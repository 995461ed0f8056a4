//! Connections to either database. [`DbConnection`] is one enum for both, so each query is written once.

use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::r2d2::ManageConnection;
use diesel::{Connection as _, PgConnection, QueryResult, RunQueryDsl, SqliteConnection};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use zeroize::Zeroizing;

use super::{Reader, Transaction};
use crate::settings::{Database, PostgresUrl};

/// The characters to percent-encode in the path of SQLite's file URLs.
const URL_RESERVED: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#');

#[derive(diesel::MultiConnection)]
pub(super) enum DbConnection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl DbConnection {
    /// Begins a transaction that will write. On SQLite, takes the write lock at once. If a transaction read first and
    /// took the lock only to write, it would fail instead of waiting whenever another transaction wrote in between.
    pub(super) fn begin_write(&mut self) -> QueryResult<()> {
        match self {
            Self::Postgres(c) => AnsiTransactionManager::begin_transaction(c),
            Self::Sqlite(c) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE"),
        }
    }

    pub(super) fn commit(&mut self) -> QueryResult<()> {
        match self {
            Self::Postgres(c) => AnsiTransactionManager::commit_transaction(c),
            Self::Sqlite(c) => AnsiTransactionManager::commit_transaction(c),
        }
    }

    pub(super) fn rollback(&mut self) -> QueryResult<()> {
        match self {
            Self::Postgres(c) => AnsiTransactionManager::rollback_transaction(c),
            Self::Sqlite(c) => AnsiTransactionManager::rollback_transaction(c),
        }
    }

    /// Copies committed changes from SQLite's write-ahead log into the database file. Waits for no other connection, and
    /// none waits for it.
    pub(super) fn checkpoint(&mut self) -> QueryResult<()> {
        match self {
            Self::Postgres(_) => Ok(()),
            Self::Sqlite(c) => c.batch_execute("PRAGMA wal_checkpoint(PASSIVE)"),
        }
    }

    /// Checks that the database responds.
    pub(super) fn ping(&mut self) -> QueryResult<()> {
        diesel::sql_query("SELECT 1").execute(self).map(drop)
    }

    fn is_broken(&mut self) -> bool {
        match self {
            Self::Postgres(c) => AnsiTransactionManager::is_broken_transaction_manager(c),
            Self::Sqlite(c) => AnsiTransactionManager::is_broken_transaction_manager(c),
        }
    }
}

/// How long after its last use a connection is assumed to work. Checking it before each use would double the cost of a
/// query.
const ASSUME_ALIVE_FOR: Duration = Duration::from_secs(1);

/// A connection in the pool.
pub(super) struct Pooled {
    transaction: Transaction,
    /// When the connection last worked. `None` if it is new or its last use failed.
    worked_at: Option<Instant>,
}

impl Pooled {
    pub fn reader(&mut self) -> &mut Reader {
        &mut self.transaction
    }

    /// Returns the handle for queries between [`DbConnection::begin_write`] and the end of the transaction.
    pub fn transaction(&mut self) -> &mut Transaction {
        &mut self.transaction
    }

    /// Records whether the connection has just worked.
    pub fn record_use(&mut self, works: bool) {
        self.worked_at = works.then(Instant::now);
    }

    /// Checks whether the connection works.
    pub fn is_alive(&mut self) -> bool {
        let works = self.ping().is_ok();
        self.record_use(works);
        works
    }
}

impl Deref for Pooled {
    type Target = DbConnection;

    fn deref(&self) -> &DbConnection {
        &self.transaction.reader.connection
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut DbConnection {
        &mut self.transaction.reader.connection
    }
}

/// Opens connections for the pool. Replaces the manager that diesel derives, which tries each kind of database in turn
/// and hides the real error.
pub(super) struct Manager {
    database: Database,
}

impl Manager {
    pub fn new(database: Database) -> Self {
        Self { database }
    }
}

impl ManageConnection for Manager {
    type Connection = Pooled;
    type Error = diesel::r2d2::Error;

    fn connect(&self) -> Result<Pooled, Self::Error> {
        let connection = connect(&self.database)?;
        Ok(Pooled {
            transaction: Transaction {
                reader: Reader { connection },
            },
            worked_at: None,
        })
    }

    fn is_valid(&self, connection: &mut Pooled) -> Result<(), Self::Error> {
        if connection.worked_at.is_some_and(|at| at.elapsed() < ASSUME_ALIVE_FOR) {
            return Ok(());
        }
        connection.ping().map_err(diesel::r2d2::Error::QueryError)
    }

    fn has_broken(&self, connection: &mut Pooled) -> bool {
        std::thread::panicking() || connection.is_broken()
    }
}

/// Opens a connection, for the pool or outside it.
pub(super) fn connect(database: &Database) -> Result<DbConnection, diesel::r2d2::Error> {
    match database {
        Database::Postgres(url) => connect_postgres(url),
        Database::Sqlite(path) => connect_sqlite(&path.to_string_lossy()),
    }
}

/// Opens a connection to PostgreSQL.
///
/// The timeouts detect a server that vanishes without closing its connections. The URL can override them. `lock_timeout`
/// and `statement_timeout` limit how long one request waits for another.
fn connect_postgres(url: &PostgresUrl) -> Result<DbConnection, diesel::r2d2::Error> {
    const TIMEOUTS: [(&str, &str); 4] = [
        ("connect_timeout", "2"),
        ("tcp_user_timeout", "1500"),
        ("keepalives_idle", "5"),
        ("keepalives_interval", "2"),
    ];
    let text = Zeroizing::new(url.connection_text(&TIMEOUTS));
    let mut connection = PgConnection::establish(&text).map_err(diesel::r2d2::Error::ConnectionError)?;
    connection
        .batch_execute("SET lock_timeout = '4s'; SET statement_timeout = '4s'")
        .map_err(diesel::r2d2::Error::QueryError)?;
    Ok(DbConnection::Postgres(connection))
}

/// Opens an SQLite file. `busy_timeout` comes first, because switching to WAL may have to wait for another process.
/// `synchronous = FULL` is set because an acknowledged revocation must survive a power cut.
fn connect_sqlite(path: &str) -> Result<DbConnection, diesel::r2d2::Error> {
    // `rw` does not create the file. A deleted database must not come back as an empty one.
    let url = sqlite_url(path, "mode=rw");
    let mut connection = SqliteConnection::establish(&url).map_err(diesel::r2d2::Error::ConnectionError)?;
    connection
        .batch_execute(
            "PRAGMA busy_timeout = 5000;
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = ON;",
        )
        .map_err(diesel::r2d2::Error::QueryError)?;
    Ok(DbConnection::Sqlite(connection))
}

/// Returns the URL by which SQLite opens the file at `path` with these parameters.
#[must_use]
pub fn sqlite_url(path: &str, parameters: &str) -> String {
    format!("file:{}?{parameters}", utf8_percent_encode(path, URL_RESERVED))
}
