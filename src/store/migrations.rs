//! Runs the migrations while other nodes may serve requests from the same database.

use std::fmt::Display;

use diesel::connection::SimpleConnection;
use diesel::{PgConnection, RunQueryDsl, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::Transaction;
use super::connection::DbConnection;
use crate::error::{Result, ServiceError};

const POSTGRES_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");
pub const SQLITE_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// The query that takes the migration lock. The number is arbitrary, but no other program may lock it in this database.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(8111811181118111)";

/// The tables that requests use.
pub const TABLES: [&str; 8] = [
    "users",
    "api_keys",
    "login_failures",
    "known_networks",
    "revoked_keys",
    "one_time_links",
    "preferences",
    "changes",
];

/// Sets how long [`lock_tables`] may wait for running transactions, behind which all later queries of other nodes wait.
/// It is less than PostgreSQL's `deadlock_timeout`, one second by default. In a deadlock, this statement is therefore
/// aborted, and not a query of another node. The start then tries again.
const LIMIT_WAIT: &str = "SET LOCAL statement_timeout = '800ms'";

/// The statements that change the size of SQLite's page cache, to 64 MiB and back to its default of 2 MB. A migration
/// that rebuilds a table inserts into indexes in random order. With the small cache, SQLite writes and reads the same
/// pages again and again.
const LARGE_CACHE: &str = "PRAGMA cache_size = -65536";
const NORMAL_CACHE: &str = "PRAGMA cache_size = -2000; PRAGMA shrink_memory";

/// Runs the migrations that the database lacks.
pub fn run(tx: &mut Transaction) -> Result<()> {
    match tx.connection() {
        DbConnection::Postgres(c) => run_on_postgres(c),
        DbConnection::Sqlite(c) => run_on_sqlite(c),
    }
}

fn run_on_postgres(connection: &mut PgConnection) -> Result<()> {
    // Another node may be running the migrations, which can take a long time: wait for it without a limit.
    connection.batch_execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")?;
    diesel::sql_query(MIGRATION_LOCK).execute(connection)?;
    if !connection.has_pending_migration(POSTGRES_MIGRATIONS).map_err(failed)? {
        return Ok(());
    }
    connection.batch_execute(LIMIT_WAIT)?;
    connection.batch_execute(&lock_tables()).map_err(|error| {
        ServiceError::unavailable(format!(
            "the tables cannot be locked for the migration, because other transactions use them: {error}"
        ))
    })?;
    connection.batch_execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '4s'")?;
    connection
        .run_pending_migrations(POSTGRES_MIGRATIONS)
        .map(drop)
        .map_err(failed)
}

/// Returns the statement that locks all existing [`TABLES`] at once. Nodes use them in different orders. A migration
/// that locked one after the other could deadlock with a node, and PostgreSQL could abort the node's query.
fn lock_tables() -> String {
    format!(
        "DO $$
        DECLARE
            tables text;
        BEGIN
            SELECT string_agg(name, ', ') INTO tables
            FROM unnest(ARRAY['{}']) AS name
            WHERE to_regclass(name) IS NOT NULL;
            IF tables IS NOT NULL THEN
                EXECUTE 'LOCK TABLE ' || tables || ' IN ACCESS EXCLUSIVE MODE';
            END IF;
        END $$",
        TABLES.join("', '")
    )
}

fn run_on_sqlite(connection: &mut SqliteConnection) -> Result<()> {
    if !connection.has_pending_migration(SQLITE_MIGRATIONS).map_err(failed)? {
        return Ok(());
    }
    connection.batch_execute(LARGE_CACHE)?;
    let result = connection.run_pending_migrations(SQLITE_MIGRATIONS).map(drop);
    let restored = connection.batch_execute(NORMAL_CACHE);
    result.map_err(failed)?;
    Ok(restored?)
}

fn failed(error: impl Display) -> ServiceError {
    ServiceError::internal(format!("migrating the database: {error}"))
}
