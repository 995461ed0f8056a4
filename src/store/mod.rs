//! The only place that knows diesel: the pool, transactions, migrations; the queries are in one file a table.
//!
//! What to ask in which order is `auth`'s business, so [`Store`] runs a closure on a [`DbConnection`] whose
//! methods are the queries.

mod changes;
mod connection;
mod keys;
mod preferences;
mod schema;
mod shoko;
mod throttle;
mod users;
mod uses;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel::RunQueryDsl;
use diesel::connection::SimpleConnection;
use diesel::r2d2::{ManageConnection, NopErrorHandler, Pool, PooledConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

pub use changes::{Change, ChangeFeed};
pub use connection::DbConnection;
use connection::Manager;
pub use keys::{KeyOwner, StoredKey};
pub use shoko::{ShokoData, ShokoFault, ShokoKey, ShokoUser};
pub use throttle::Failures;
pub use users::Credential;

use crate::error::{AuthError, Result};
use crate::settings::Database;

const POSTGRES_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const SQLITE_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Any number will do, if nobody else locks it in our database.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(8111811181118111)";

/// How long a request may wait for a connection.
const CHECKOUT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long, once one has waited in vain: requests that all wait would pile up.
const CHECKOUT_TIMEOUT_WHILE_AWAY: Duration = Duration::from_millis(100);
/// The longest pause between two tries to reach a database that is away: the pool takes half of a timeout that is
/// used for nothing else here.
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);
const POOL_SIZE: u32 = 10;

/// A database, ready for use by any number of threads.
pub struct Store {
    pool: Pool<Manager>,
    /// Whether the last request for a connection was in vain, because there was none at all.
    away: AtomicBool,
}

impl Store {
    /// Connects once, to be told what is wrong, and sets up the pool. Migrates nothing.
    pub fn open(database: &Database) -> Result<Self> {
        Manager::new(database.clone())
            .connect()
            .map_err(|e| AuthError::Unavailable(format!("{database}: {e}")))?;
        Ok(Self::new(database, POOL_SIZE))
    }

    /// A store with so many connections, which are made when they are needed.
    #[must_use]
    pub fn new(database: &Database, connections: u32) -> Self {
        let pool = Pool::builder()
            .max_size(connections)
            .min_idle(Some(1))
            .connection_timeout(RECONNECT_PAUSE * 2)
            .error_handler(Box::new(NopErrorHandler))
            .build_unchecked(Manager::new(database.clone()));
        Self {
            pool,
            away: AtomicBool::default(),
        }
    }

    /// Runs queries that read, each for itself; once more when the server cut the connection under them.
    pub fn read<T>(&self, queries: impl Fn(&mut DbConnection) -> Result<T>) -> Result<T> {
        let mut connection = self.connection()?;
        match queries(&mut connection) {
            Err(AuthError::Unavailable(_)) if !connection.is_alive() => {
                drop(connection);
                queries(&mut *self.living_connection()?)
            }
            result => {
                connection.note(result.is_ok());
                result
            }
        }
    }

    /// Runs queries in one transaction: all of what they wrote is there afterwards when `Ok`, nothing when `Err`.
    pub fn write<T, E: From<AuthError>>(
        &self,
        queries: impl FnOnce(&mut DbConnection) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let mut connection = self.connection()?;
        if let Err(error) = connection.begin_write() {
            if connection.is_alive() {
                return Err(AuthError::from(error).into());
            }
            drop(connection);
            connection = self.living_connection()?;
            connection.begin_write().map_err(AuthError::from)?;
        }
        match queries(&mut connection) {
            Ok(value) => {
                let committed = connection.commit();
                connection.note(committed.is_ok());
                committed.map_err(AuthError::from)?;
                Ok(value)
            }
            Err(error) => {
                let undone = connection.rollback();
                connection.note(undone.is_ok());
                if let Err(e) = undone {
                    log::warn!("rolling back: {e}");
                }
                Err(error)
            }
        }
    }

    /// Brings the tables up to date and then runs `queries`, all in one transaction under a lock that lets one
    /// process at a time through: several nodes may start at once.
    pub fn migrate<T>(&self, queries: impl FnOnce(&mut DbConnection) -> Result<T>) -> Result<T> {
        self.write(|db| {
            match db {
                DbConnection::Postgres(c) => {
                    // Another node may be at it, and a migration may take its time.
                    c.batch_execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")?;
                    diesel::sql_query(MIGRATION_LOCK).execute(c)?;
                    c.run_pending_migrations(POSTGRES_MIGRATIONS).map(drop)
                }
                DbConnection::Sqlite(c) => c.run_pending_migrations(SQLITE_MIGRATIONS).map(drop),
            }
            .map_err(|e| AuthError::Internal(format!("migrating the database: {e}")))?;
            queries(db)
        })
    }

    /// Whether the database answers, with our tables in it.
    pub fn ping(&self) -> Result<()> {
        self.read(DbConnection::has_admin).map(drop)
    }

    /// One that was asked whether it works: when the server has cut one of them, it has cut all.
    fn living_connection(&self) -> Result<PooledConnection<Manager>> {
        for _ in 0..self.pool.max_size() {
            let mut connection = self.connection()?;
            if connection.is_alive() {
                return Ok(connection);
            }
        }
        self.connection()
    }

    fn connection(&self) -> Result<PooledConnection<Manager>> {
        let was_away = self.away.load(Ordering::Relaxed);
        let patience = if was_away {
            CHECKOUT_TIMEOUT_WHILE_AWAY
        } else {
            CHECKOUT_TIMEOUT
        };
        let connection = self.pool.get_timeout(patience);
        // All in use is another matter.
        let is_away = connection.is_err() && self.pool.state().connections == 0;
        match (self.away.swap(is_away, Ordering::Relaxed), &connection) {
            (false, Err(error)) if is_away => log::warn!("the database is away: {error}"),
            (true, Ok(_)) => log::info!("the database is back"),
            _ => {}
        }
        connection.map_err(|e| AuthError::Unavailable(e.to_string()))
    }
}

/// A query that cannot be built or read, or that breaks a constraint, is a fault of ours; everything else is the
/// database's state.
impl From<diesel::result::Error> for AuthError {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::{DatabaseErrorKind as Kind, Error};
        match error {
            Error::DatabaseError(
                Kind::UniqueViolation | Kind::ForeignKeyViolation | Kind::NotNullViolation | Kind::CheckViolation,
                _,
            )
            | Error::QueryBuilderError(_)
            | Error::SerializationError(_)
            | Error::DeserializationError(_)
            | Error::NotFound
            | Error::InvalidCString(_) => Self::Internal(error.to_string()),
            _ => {
                log::warn!("the database: {error}");
                Self::Unavailable(error.to_string())
            }
        }
    }
}
