//! Connections to either database. [`DbConnection`] is one enum for both, so each query is written once.

use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use diesel::connection::{AnsiTransactionManager, CacheSize, SimpleConnection, TransactionManager};
use diesel::prelude::*;
use diesel::r2d2::ManageConnection;
use diesel::sql_types::Text;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use zeroize::Zeroizing;

use super::opener::{Opened, Opener};
use super::primary::Timeline;
use super::sessions::{SessionMode, Sessions};
use super::{Reader, Transaction};
use crate::error::ServiceError;
use crate::settings::{Database, PostgresUrl};

/// The characters to percent-encode in the path of SQLite's file URLs.
const URL_RESERVED: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#');

#[diesel::declare_sql_function]
extern "SQL" {
    /// Returns the value of a setting of a PostgreSQL session.
    fn current_setting(name: Text) -> Text;
}

#[derive(diesel::MultiConnection)]
pub(super) enum DbConnection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl DbConnection {
    /// Begins a transaction that may write. On SQLite, takes the write lock at once. If a transaction read first and
    /// took the lock only to write, it would fail instead of waiting whenever another transaction wrote in between.
    fn begin(&mut self, sessions: Sessions) -> QueryResult<()> {
        match self {
            Self::Postgres(c) => match sessions {
                Sessions::Own => AnsiTransactionManager::begin_transaction(c),
                Sessions::Shared => AnsiTransactionManager::begin_transaction_sql(c, BEGIN_WITH_TIMEOUTS),
            },
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

    /// Checks that the database responds, and returns whether this session can write. A session with a PostgreSQL
    /// server that is or was a standby, or with a database that is temporarily read-only, cannot.
    pub(super) fn can_write(&mut self) -> QueryResult<bool> {
        match self {
            Self::Postgres(c) => diesel::select(current_setting("transaction_read_only").eq("off")).first(c),
            Self::Sqlite(c) => diesel::sql_query("SELECT 1").execute(c).map(|_| true),
        }
    }

    fn is_broken(&mut self) -> bool {
        match self {
            Self::Postgres(c) => AnsiTransactionManager::is_broken_transaction_manager(c),
            Self::Sqlite(c) => AnsiTransactionManager::is_broken_transaction_manager(c),
        }
    }
}

/// Begins a transaction on a shared session with the timeouts of [`SET_TIMEOUTS`], in one exchange with the server.
const BEGIN_WITH_TIMEOUTS: &str = "BEGIN; SET LOCAL lock_timeout = '4s'; SET LOCAL statement_timeout = '4s'";
/// Limits how long one request waits for another.
const SET_TIMEOUTS: &str = "SET lock_timeout = '4s'; SET statement_timeout = '4s'";

/// How long after a check a connection is assumed to work. A check before each use would double the cost of a query.
const ASSUME_WORKS_FOR: Duration = Duration::from_secs(1);
/// An attempt that fails sooner is repeated on another connection. One that fails later has probably reached a timeout,
/// and its client has waited long enough.
const MAX_TIME_BEFORE_RETRY: Duration = Duration::from_secs(1);

/// A connection in the pool.
pub(super) struct Pooled {
    transaction: Transaction,
    /// Whether the connection uses its session as its own. `Shared` until that is proved.
    sessions: Sessions,
    mode: SessionMode,
    timeline: Option<Timeline>,
    opened_at: Instant,
    /// When the connection last proved to work. `None` if its last use failed.
    checked_at: Option<Instant>,
    /// Whether the pool must close the connection.
    is_discarded: bool,
}

impl Pooled {
    /// Wraps a new connection, for the pool or for use outside it.
    pub fn new(opened: Opened, mode: SessionMode) -> Self {
        let sessions = match &opened.connection {
            DbConnection::Postgres(_) => Sessions::Shared,
            DbConnection::Sqlite(_) => Sessions::Own,
        };
        let reader = Reader {
            connection: opened.connection,
        };
        Self {
            transaction: Transaction { reader },
            sessions,
            mode,
            timeline: opened.timeline,
            opened_at: Instant::now(),
            checked_at: Some(Instant::now()),
            is_discarded: false,
        }
    }

    /// Runs queries that read. On a shared session, they are a transaction, because only a transaction has timeouts there.
    /// Each query sees the database as of its own start in either case.
    pub fn read<T, E: From<ServiceError>>(&mut self, queries: impl Fn(&mut Reader) -> Result<T, E>) -> Result<T, E> {
        if self.sessions == Sessions::Own {
            return queries(&mut self.transaction);
        }
        let transaction = self.begin().map_err(ServiceError::from)?;
        let result = queries(transaction);
        // What the queries have read is right even if the transaction cannot be ended. Then the connection is closed.
        self.is_discarded |= self.commit().is_err();
        result
    }

    /// Begins a transaction, and returns the handle for queries until its end.
    pub fn begin(&mut self) -> QueryResult<&mut Transaction> {
        let sessions = self.sessions;
        DbConnection::begin(self, sessions)?;
        Ok(&mut self.transaction)
    }

    /// Returns the timeline of the server, if it has one.
    pub fn timeline(&self) -> Option<Timeline> {
        self.timeline
    }

    /// Makes the pool close this connection after its use.
    pub fn discard(&mut self) {
        self.is_discarded = true;
    }

    pub fn opened_at(&self) -> Instant {
        self.opened_at
    }

    /// Checks whether the connection works and can write. If not, the pool closes it.
    pub fn works(&mut self) -> bool {
        let works = self.can_write().unwrap_or(false);
        self.checked_at = works.then(Instant::now);
        self.is_discarded = !works;
        works
    }

    /// Stops using prepared statements, which may no longer match their tables. The pool closes the connection after its
    /// use, because diesel would use the names of these statements again.
    pub fn discard_statements(&mut self) {
        if let DbConnection::Postgres(c) = &mut **self {
            c.set_prepared_statement_cache_size(CacheSize::Disabled);
            self.is_discarded = true;
        }
    }

    /// Checks whether the connection works, unless it has just done so. Starts to use its session as its own once that is
    /// proved. If the proof no longer holds after that, the connection counts as broken, and the pool closes it.
    pub fn is_valid(&mut self) -> bool {
        let fits = match (self.sessions, self.mode.proved_own_at()) {
            (Sessions::Own, None) => false,
            (Sessions::Shared, Some(at)) if at > self.opened_at => self.rely_on_session().is_ok(),
            (Sessions::Own, Some(_)) | (Sessions::Shared, _) => true,
        };
        self.is_discarded |= !fits;
        fits && (self.was_just_checked() || self.works())
    }

    fn was_just_checked(&self) -> bool {
        self.checked_at.is_some_and(|at| at.elapsed() < ASSUME_WORKS_FOR)
    }

    fn rely_on_session(&mut self) -> QueryResult<()> {
        if let DbConnection::Postgres(connection) = &mut **self {
            rely_on_session(connection)?;
        }
        self.sessions = Sessions::Own;
        Ok(())
    }

    fn is_broken(&mut self) -> bool {
        self.is_discarded || self.transaction.reader.connection.is_broken()
    }

    /// Decides, after an attempt that began at `began_at` has failed, whether another connection may succeed. If so,
    /// the pool closes this one.
    ///
    /// Many failures last as long as the session: the server has become a standby, a prepared statement was lost or no
    /// longer matches its table, or a setting of the role has changed since. diesel does not expose the SQLSTATE, and
    /// messages may be in any language. Therefore every PostgreSQL session in which a query has failed quickly is
    /// closed, which costs one connection.
    pub fn discard_after_failure(&mut self, began_at: Instant) -> bool {
        self.checked_at = None;
        let failed_quickly = began_at.elapsed() < MAX_TIME_BEFORE_RETRY;
        match &**self {
            DbConnection::Postgres(_) if failed_quickly => self.is_discarded = true,
            DbConnection::Postgres(_) | DbConnection::Sqlite(_) => self.is_discarded = !self.works(),
        }
        self.is_discarded
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
    opener: Opener,
}

impl Manager {
    pub fn new(opener: Opener) -> Self {
        Self { opener }
    }
}

impl ManageConnection for Manager {
    /// A place in the pool. It is empty while its connection is in use.
    type Connection = Option<Pooled>;
    type Error = diesel::r2d2::Error;

    fn connect(&self) -> Result<Option<Pooled>, Self::Error> {
        Ok(Some(Pooled::new(
            self.opener.open()?,
            self.opener.session_mode().clone(),
        )))
    }

    /// Does nothing, because the pool could not abandon a check that never ends. [`Pooled::is_valid`] checks the
    /// connection while it is in use.
    fn is_valid(&self, _: &mut Option<Pooled>) -> Result<(), Self::Error> {
        Ok(())
    }

    fn has_broken(&self, place: &mut Option<Pooled>) -> bool {
        std::thread::panicking() || place.as_mut().is_none_or(Pooled::is_broken)
    }
}

/// Opens a connection, for the pool or outside it.
pub(super) fn connect(database: &Database) -> Result<DbConnection, diesel::r2d2::Error> {
    match database {
        Database::Postgres(url) => connect_postgres(url),
        Database::Sqlite(path) => connect_sqlite(&path.to_string_lossy()),
    }
}

/// Opens a connection to PostgreSQL, for use as if it shared its session. Without its cache of statements, diesel sends
/// each query with its parameters in one exchange (`PQsendQueryParams`), so even outside a transaction it runs on
/// one session.
///
/// The timeouts detect a server that vanishes without closing its connections. The URL can override them.
fn connect_postgres(url: &PostgresUrl) -> Result<DbConnection, diesel::r2d2::Error> {
    const TIMEOUTS: [(&str, &str); 4] = [
        ("connect_timeout", "2"),
        ("tcp_user_timeout", "1500"),
        ("keepalives_idle", "5"),
        ("keepalives_interval", "2"),
    ];
    let text = Zeroizing::new(url.connection_text(&TIMEOUTS));
    let mut connection = PgConnection::establish(&text).map_err(diesel::r2d2::Error::ConnectionError)?;
    connection.set_prepared_statement_cache_size(CacheSize::Disabled);
    Ok(DbConnection::Postgres(connection))
}

/// Sets the timeouts of a session, and lets its connection prepare statements. On a shared session, PostgreSQL could run
/// a statement of another client that has the same name.
pub(super) fn rely_on_session(connection: &mut PgConnection) -> QueryResult<()> {
    connection.batch_execute(SET_TIMEOUTS)?;
    connection.set_prepared_statement_cache_size(CacheSize::Unbounded);
    Ok(())
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

#[cfg(test)]
mod tests {
    use diesel::sql_types::BigInt;
    use test_support::{Backend, TestDatabase};

    use super::*;

    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        number: i64,
    }

    /// Runs a query that diesel prepares if it may, and returns the number of prepared statements in the session.
    fn prepared_statements(connection: &mut Pooled) -> i64 {
        assert!(connection.can_write().unwrap());
        let count = diesel::sql_query("SELECT count(*) AS number FROM pg_prepared_statements");
        count.get_result::<Count>(&mut **connection).unwrap().number
    }

    /// A pooler may begin to share sessions after the proof and before the connection is opened. PostgreSQL would then
    /// confuse statements of two clients that have the same name.
    #[test]
    #[ignore = "needs PostgreSQL: run ./scripts/test"]
    fn a_connection_prepares_statements_only_after_a_proof_later_than_its_opening() {
        let database = TestDatabase::create(Backend::Postgres);
        let opener = Opener::new(database.url().parse().unwrap());
        let mode = opener.session_mode().clone();
        mode.prove_own(Instant::now());
        let mut connection = Pooled::new(opener.open().unwrap(), mode.clone());
        assert!(connection.is_valid());
        assert_eq!(prepared_statements(&mut connection), 0);
        mode.prove_own(Instant::now());
        assert!(connection.is_valid());
        assert_ne!(prepared_statements(&mut connection), 0);
        mode.set_shared();
        assert!(!connection.is_valid());
    }
}
