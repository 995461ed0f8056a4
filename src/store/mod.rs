//! The database: the connection pool, transactions and migrations. The queries are in the files of this folder, one for
//! each subject. Outside this module, only the import of Shoko's database uses diesel.
//!
//! `auth` decides which queries run, and in which order. It passes a closure to [`Store`], which runs the closure on a
//! [`Reader`] or in a [`Transaction`]. The methods of these two types are the queries.

mod account;
mod backup;
mod capacity;
mod changes;
mod clock;
mod compatibility;
mod connection;
mod counts;
mod encryption;
mod file;
mod gateway;
mod issue;
mod keys;
mod last_used;
mod links;
mod migrations;
mod opener;
mod polled_changes;
mod pool;
mod preferences;
mod primary;
mod refusal;
mod replication;
mod schema;
mod sealing;
mod sessions;
mod sweep;
mod throttle;
mod users;

use std::convert::Infallible;
use std::error::Error;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub use account::Page;
pub use backup::{Use, check_integrity, copy_database, count_revived_keys, finish_log, missing_part, prepare_restored};
pub use capacity::ConnectionLimits;
use capacity::POOL_SIZE;
pub use changes::{Change, ChangeFeed, ChangeSource, EchoSender};
pub use compatibility::UnsuitableDatabase;
pub use connection::sqlite_url;
use connection::{DbConnection, Pooled, connect};
use diesel::RunQueryDsl;
use file::FileId;
pub use issue::StoredKey;
pub use keys::KeyOwner;
pub use opener::Opener;
pub use polled_changes::CHANGE_RETENTION;
use polled_changes::Horizon;
use pool::Pool;
pub use refusal::ConnectError;
pub use replication::{Replication, ReplicationGap};
pub use throttle::{CountKey, Failures};
pub use users::Credential;

use crate::error::{Result, ServiceError, service_error};
use crate::settings::{CoreSettings, Database};

/// The pause between two batches of a long task. Each batch is a transaction, and the pause lets requests that wait for
/// SQLite's write lock go first.
pub const BATCH_PAUSE: Duration = Duration::from_millis(10);

/// A connection for queries that only read. Outside a transaction, each query sees the database as of its own start.
pub struct Reader {
    connection: DbConnection,
}

impl Reader {
    fn connection(&mut self) -> &mut DbConnection {
        &mut self.connection
    }
}

/// A transaction. It offers queries that write or lock, and all queries of a [`Reader`].
pub struct Transaction {
    reader: Reader,
}

impl Deref for Transaction {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Reader {
        &mut self.reader
    }
}

/// A database, for use by any number of threads.
pub struct Store {
    database: Database,
    /// The file of an SQLite database when it was opened.
    file: Option<FileId>,
    /// How many connections a PostgreSQL server allows. `None` if that has not been read.
    limits: Option<ConnectionLimits>,
    opener: Opener,
    pool: Arc<Pool>,
    /// The rows that the next sweep deletes from PostgreSQL's table of changes.
    horizon: Mutex<Option<Horizon>>,
}

impl Store {
    /// Connects once, so that a wrong setting is reported, and creates the pool. It has fewer connections if PostgreSQL
    /// allows only few. Does not run the migrations.
    pub fn open(settings: &CoreSettings) -> Result<Self, ConnectError> {
        let database = &settings.database;
        let opener = Opener::new(database.clone());
        let refused = |e| ConnectError::new(database.to_string(), &e);
        let first = opener.open().map_err(refused)?;
        let mut connection = Pooled::new(first, opener.session_mode().clone());
        let limits = connection
            .read(Reader::connection_limits)
            .map_err(ConnectError::Unavailable)?;
        drop(connection);
        let pool_size = limits.as_ref().map_or(POOL_SIZE, ConnectionLimits::pool_size);
        Ok(Self {
            file: FileId::of_database(database),
            limits,
            ..Self::with_opener(settings, opener, pool_size)
        })
    }

    /// Creates a store with a pool of up to `connections` connections. Does not wait for the first connection.
    #[must_use]
    pub fn new(settings: &CoreSettings, connections: u32) -> Self {
        Self::with_opener(settings, Opener::new(settings.database.clone()), connections)
    }

    /// Creates a store with a pool of up to `connections` connections, which shares the state of the primary with
    /// the other users of the opener. Does not wait for the first connection.
    #[must_use]
    pub fn with_opener(settings: &CoreSettings, opener: Opener, connections: u32) -> Self {
        Self {
            database: settings.database.clone(),
            file: None,
            limits: None,
            pool: Arc::new(Pool::new(settings, opener.clone(), connections)),
            opener,
            horizon: Mutex::default(),
        }
    }

    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    #[must_use]
    pub fn opener(&self) -> &Opener {
        &self.opener
    }

    /// Returns how many connections PostgreSQL allows this program.
    #[must_use]
    pub fn connection_limits(&self) -> Option<&ConnectionLimits> {
        self.limits.as_ref()
    }

    /// Runs queries that read. If they fail because of the connection, runs them once more on another one.
    pub fn read<T, E: From<ServiceError> + Error + 'static>(
        &self,
        queries: impl Fn(&mut Reader) -> Result<T, E>,
    ) -> Result<T, E> {
        self.with_connection(|connection| connection.read(&queries))
    }

    /// Runs queries in a transaction, which is committed if they return `Ok` and rolled back otherwise. If they fail
    /// because of the connection, runs them once more in a transaction on another one.
    pub fn write<T, E: From<ServiceError> + Error + 'static>(
        &self,
        queries: impl Fn(&mut Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        match self.write_unless(|tx| queries(tx).map(Ok::<T, Infallible>))? {
            Ok(value) => Ok(value),
            Err(never) => match never {},
        }
    }

    /// Runs queries in a transaction, which is committed if they return `Ok(Ok(value))`. It is rolled back if they
    /// return `Ok(Err(reason))` or an error. If they fail because of the connection, runs them once more in a
    /// transaction on another one. A commit that fails is not repeated, because it may have succeeded.
    pub fn write_unless<T, R, E: From<ServiceError> + Error + 'static>(
        &self,
        queries: impl Fn(&mut Transaction) -> Result<Result<T, R>, E>,
    ) -> Result<Result<T, R>, E> {
        let committed = self.with_connection(|connection| {
            let result = queries(connection.begin().map_err(ServiceError::from)?);
            if let Ok(Ok(_)) = &result {
                let commit = connection.commit().map_err(|error| E::from(error.into()));
                return Ok(commit.and(result));
            }
            if let Err(error) = connection.rollback() {
                log::warn!("rolling back a transaction failed: {error}");
            }
            result.map(Ok)
        })?;
        committed.inspect_err(log_failure)
    }

    /// Runs an attempt on a connection. If it fails because of the connection, repeats it once on another one.
    fn with_connection<T, E: From<ServiceError> + Error + 'static>(
        &self,
        attempt: impl Fn(&mut Pooled) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.pool.connection()?;
        let began_at = Instant::now();
        let result = match attempt(&mut connection) {
            Err(error) if is_unavailable(&error) && connection.discard_after_failure(began_at) => {
                drop(connection);
                let other = self.pool.working_connection(began_at);
                attempt(&mut *other.inspect_err(|_| log_failure(&error))?)
            }
            result => result,
        };
        result.inspect_err(log_failure)
    }

    /// Runs the migrations and then `queries` in one transaction. The transaction holds a lock, because several nodes
    /// may start at the same time.
    pub fn migrate<T, E: From<ServiceError> + Error + 'static>(
        &self,
        queries: impl Fn(&mut Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        self.write(|tx| {
            check_writable(tx)?;
            migrations::run(tx)?;
            queries(tx)
        })
    }

    /// Checks that the database responds, has the tables that requests use, and accepts changes.
    pub fn ping(&self) -> Result<()> {
        if let Database::Sqlite(file) = &self.database {
            self.check_file(file).inspect_err(log_failure)?;
        }
        self.read(|db| {
            check_tables(db)?;
            check_writable(db)
        })
    }

    /// Copies committed changes into SQLite's database file, so that the file is never much older than the database.
    /// SQLite itself does so only after a thousand pages have changed, which can take weeks. Does nothing on PostgreSQL.
    pub fn checkpoint(&self) -> Result<()> {
        self.read(|db| Ok(db.connection().checkpoint()?))
    }

    /// Closes all connections. SQLite's database file then contains all committed changes. If no other connection is
    /// open, the write-ahead log is deleted.
    pub fn close(self) -> Result<()> {
        drop(self.pool);
        if let Database::Sqlite(_) = self.database {
            // SQLite copies the changes and deletes the log when the last connection is closed. Another process may have
            // the database open, so this connection copies the changes before it is closed.
            let mut connection = connect(&self.database).map_err(ServiceError::unavailable)?;
            connection.checkpoint()?;
        }
        Ok(())
    }

    /// Returns whether the database has not responded on a connection of the pool for longer than `time`.
    #[must_use]
    pub fn has_been_silent_for(&self, time: Duration) -> bool {
        self.pool.has_been_silent_for(time)
    }

    /// Returns how many connections of the pool are in use.
    #[must_use]
    pub fn connections_in_use(&self) -> usize {
        self.pool.connections_in_use()
    }
}

/// Checks that all tables exist and can be read, without reading a row.
fn check_tables(db: &mut Reader) -> Result<()> {
    let queries = migrations::TABLES.map(|table| format!("SELECT 1 FROM {table} WHERE FALSE"));
    diesel::sql_query(queries.join(" UNION ALL ")).execute(db.connection())?;
    Ok(())
}

fn check_writable(db: &mut Reader) -> Result<()> {
    if db.connection().can_write()? {
        Ok(())
    } else {
        Err(ServiceError::unavailable(
            "the database accepts no changes: it is a standby, or its default_transaction_read_only is on",
        ))
    }
}

fn is_unavailable(error: &(impl Error + 'static)) -> bool {
    matches!(service_error(error), Some(ServiceError::Unavailable(_)))
}

fn log_failure(error: &(impl Error + 'static)) {
    if let Some(ServiceError::Unavailable(cause)) = service_error(error) {
        log::warn!("a database query failed: {cause}");
    }
}

/// Returns whether PostgreSQL's message is about a value that it cannot store (SQLSTATE class 22), which a later attempt
/// cannot store either.
///
/// diesel hides the SQLSTATE, so this works only if the server's messages are in English. It does not matter for requests,
/// because none can contain such a value: the database is in UTF-8, its texts have no maximum length, every route rejects
/// the NUL character, and numbers and times have the range of their columns. The experiment `languages-postgres` tests
/// this on a server with German messages. The remaining causes are bugs, and tables that an operator has changed.
fn is_data_error(message: &str) -> bool {
    [
        "has no equivalent in encoding",
        "invalid byte sequence for encoding",
        "out of range",
        "value too long for type",
        "invalid input syntax for type",
    ]
    .iter()
    .any(|text| message.contains(text))
}

/// Classifies an error of diesel. A query that cannot be built or read, that violates a constraint, or whose values
/// cannot be stored is a bug. Every other error is due to the state of the database.
impl From<diesel::result::Error> for ServiceError {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::{DatabaseErrorKind as Kind, Error};
        match error {
            Error::DatabaseError(Kind::Unknown, ref info) if is_data_error(info.message()) => Self::internal(error),
            Error::DatabaseError(
                Kind::UniqueViolation | Kind::ForeignKeyViolation | Kind::NotNullViolation | Kind::CheckViolation,
                _,
            )
            | Error::QueryBuilderError(_)
            | Error::SerializationError(_)
            | Error::DeserializationError(_)
            | Error::NotFound
            | Error::InvalidCString(_) => Self::internal(error),
            _ => Self::unavailable(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use diesel::result::{DatabaseErrorKind, Error};

    use super::*;

    #[test]
    fn a_value_that_cannot_be_stored_is_not_an_outage() {
        let error = |message: &str| {
            let info = Box::new(message.to_owned());
            ServiceError::from(Error::DatabaseError(DatabaseErrorKind::Unknown, info))
        };
        for message in [
            r#"character with byte sequence 0xd0 0x94 in encoding "UTF8" has no equivalent in encoding "LATIN1""#,
            r#"invalid byte sequence for encoding "UTF8": 0x00"#,
            "integer out of range",
        ] {
            assert!(matches!(error(message), ServiceError::Internal(_)), "{message}");
        }
        for message in [
            "canceling statement due to lock timeout",
            "could not extend file: No space left on device",
        ] {
            assert!(matches!(error(message), ServiceError::Unavailable(_)), "{message}");
        }
    }
}
