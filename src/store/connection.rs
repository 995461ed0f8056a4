//! A connection to either database, and how it is made.
//!
//! The queries are methods of [`DbConnection`], one file a table, so that each is written once for both databases.

use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::r2d2::ManageConnection;
use diesel::{Connection as _, PgConnection, QueryResult, RunQueryDsl, SqliteConnection};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::settings::Database;

/// What means something else in SQLite's file URLs.
pub(super) const NOT_IN_A_PATH: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#');

/// A connection to one of the databases.
#[derive(diesel::MultiConnection)]
pub enum DbConnection {
    /// The main store.
    Postgres(PgConnection),
    /// The embedded default.
    Sqlite(SqliteConnection),
}

impl DbConnection {
    /// Begins a transaction that will write. On SQLite it takes the writer's lock at once: a transaction that
    /// begins by reading fails, instead of waiting, when another writer comes first.
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

    /// Asks the database for nothing but an answer.
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

/// How long a connection that has worked is taken for one that works: to ask first would double the cost of a query.
const PROVEN_FOR: Duration = Duration::from_secs(1);

/// A connection in the pool.
pub(super) struct Pooled {
    connection: DbConnection,
    /// When it was last known to work.
    worked_at: Option<Instant>,
}

impl Pooled {
    /// To be called after queries on it: whether it can be told from them that it works.
    pub fn note(&mut self, works: bool) {
        self.worked_at = works.then(Instant::now);
    }

    /// Whether it works, by asking.
    pub fn is_alive(&mut self) -> bool {
        let works = self.connection.ping().is_ok();
        self.note(works);
        works
    }
}

impl Deref for Pooled {
    type Target = DbConnection;

    fn deref(&self) -> &DbConnection {
        &self.connection
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut DbConnection {
        &mut self.connection
    }
}

/// Makes connections for the pool. Diesel's derived manager tries each database in turn and hides the real error.
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
            connection,
            worked_at: None,
        })
    }

    fn is_valid(&self, connection: &mut Pooled) -> Result<(), Self::Error> {
        if connection.worked_at.is_some_and(|at| at.elapsed() < PROVEN_FOR) {
            return Ok(());
        }
        connection.ping().map_err(diesel::r2d2::Error::QueryError)
    }

    fn has_broken(&self, connection: &mut Pooled) -> bool {
        std::thread::panicking() || connection.is_broken()
    }
}

/// A connection outside the pool.
pub(super) fn connect(database: &Database) -> Result<DbConnection, diesel::r2d2::Error> {
    match database {
        Database::Postgres(url) => connect_postgres(url),
        Database::Sqlite(path) => connect_sqlite(&path.to_string_lossy()),
    }
}

/// The timeouts in the URL notice a server that has gone without a word; what the URL says itself stands (libpq takes
/// the last). Those of the session bound what a request can wait for another.
fn connect_postgres(url: &str) -> Result<DbConnection, diesel::r2d2::Error> {
    const TIMEOUTS: &str = "connect_timeout=2&tcp_user_timeout=1500&keepalives_idle=5&keepalives_interval=2";
    let url = match url.split_once('?') {
        Some((place, settings)) => format!("{place}?{TIMEOUTS}&{settings}"),
        None => format!("{url}?{TIMEOUTS}"),
    };
    let mut connection = PgConnection::establish(&url).map_err(diesel::r2d2::Error::ConnectionError)?;
    connection
        .batch_execute("SET lock_timeout = '4s'; SET statement_timeout = '4s'")
        .map_err(diesel::r2d2::Error::QueryError)?;
    Ok(DbConnection::Postgres(connection))
}

/// `busy_timeout` comes first, because switching to WAL may have to wait for another process; `synchronous = FULL`
/// because an acknowledged revocation must survive a power cut.
fn connect_sqlite(path: &str) -> Result<DbConnection, diesel::r2d2::Error> {
    // The file is there already; one that has gone must not come back empty.
    let url = format!("file:{}?mode=rw", utf8_percent_encode(path, NOT_IN_A_PATH));
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
