//! Copies of SQLite databases: creates a copy while the database is in use, checks a copy, and prepares a copy to
//! replace the database.

use std::path::Path;

use chrono::NaiveDateTime;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamp};
use diesel_migrations::MigrationHarness;

use super::connection::{DbConnection, connect, sqlite_url};
use super::migrations::SQLITE_MIGRATIONS;
use crate::error::{Result, ServiceError};
use crate::settings::Database;

/// How long to wait until no other connection uses a database.
const IN_USE_TIMEOUT: &str = "PRAGMA busy_timeout = 500";

/// The highest number of a change in either database, plus one for each user of the restored one. Running nodes that
/// still have the old database open then see later changes of all users.
const RECORD_CHANGES: &str = "INSERT INTO changes (user_id, number) \
    SELECT id, ? + row_number() OVER (ORDER BY id) FROM users WHERE TRUE \
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number";

/// Raises the last ids of the restored database to those of the old one, because an id must never be used again.
const KEEP_LAST_IDS: &str = "\
    INSERT INTO sqlite_sequence (name, seq) SELECT name, 0 FROM old.sqlite_sequence AS o \
        WHERE name IN ('users', 'api_keys') AND NOT EXISTS (SELECT 1 FROM sqlite_sequence AS s WHERE s.name = o.name); \
    UPDATE sqlite_sequence SET seq = o.seq FROM old.sqlite_sequence AS o \
        WHERE o.name = sqlite_sequence.name AND o.seq > sqlite_sequence.seq AND o.name IN ('users', 'api_keys')";

/// Counts the keys that are valid in the restored database but not in the old one, which has them revoked.
const REVIVED_KEYS: &str = "SELECT count(*) AS number FROM api_keys AS k \
    JOIN users AS u ON u.id = k.user_id AND u.key_epoch = k.epoch \
    WHERE NOT u.is_disabled AND (k.expires_at IS NULL OR k.expires_at > ?) AND NOT EXISTS ( \
        SELECT 1 FROM old.api_keys AS ok JOIN old.users AS ou ON ou.id = ok.user_id AND ou.key_epoch = ok.epoch \
        WHERE ok.hash = k.hash AND NOT ou.is_disabled)";

#[derive(QueryableByName)]
struct NumberRow {
    #[diesel(sql_type = Nullable<BigInt>)]
    number: Option<i64>,
}

#[derive(QueryableByName)]
struct CheckRow {
    #[diesel(sql_type = Text)]
    integrity_check: String,
}

/// Lists the tables, indexes, triggers and columns of a database.
const PARTS: &str = "\
    SELECT type || ' ' || name AS part FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' \
    UNION ALL SELECT 'column ' || m.name || '.' || c.name \
        FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c \
        WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'";

/// Lists the migrations of a database.
const MIGRATIONS: &str = "SELECT version AS part FROM __diesel_schema_migrations";

#[derive(QueryableByName)]
struct PartRow {
    #[diesel(sql_type = Text)]
    part: String,
}

/// Whether other connections use a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Unused,
    InUse,
}

/// Copies the database at `from` to the empty file `to`. The copy contains everything that was committed before, and
/// nothing that was committed later. Other connections can read and write meanwhile.
pub fn copy_database(from: &Path, to: &Path) -> Result<()> {
    let mut connection = open(from)?;
    diesel::sql_query("VACUUM INTO ?")
        .bind::<Text, _>(to.to_string_lossy())
        .execute(&mut connection)?;
    Ok(())
}

/// Returns descriptions of the damage to the database in a file. The list is empty if the database is intact. The file
/// must be writable: reading a database that was in use can leave files beside it otherwise.
pub fn check_integrity(file: &Path) -> Result<Vec<String>> {
    let url = sqlite_url(&file.to_string_lossy(), "mode=rw");
    let mut connection = SqliteConnection::establish(&url).map_err(ServiceError::unavailable)?;
    let rows: Vec<CheckRow> = diesel::sql_query("PRAGMA integrity_check(10)").load(&mut connection)?;
    let problems = rows.into_iter().map(|row| row.integrity_check);
    Ok(problems.filter(|problem| problem != "ok").collect())
}

/// Returns the first table, index, trigger or column that the migrated database in a file lacks, such as `table users`.
pub fn missing_part(file: &Path) -> Result<Option<String>> {
    let texts = |connection: &mut SqliteConnection, query: &str| -> Result<Vec<String>> {
        let rows: Vec<PartRow> = diesel::sql_query(query).load(connection)?;
        Ok(rows.into_iter().map(|row| row.part).collect())
    };
    let mut complete = SqliteConnection::establish(":memory:").map_err(ServiceError::unavailable)?;
    complete
        .run_pending_migrations(SQLITE_MIGRATIONS)
        .map_err(|error| ServiceError::internal(error.to_string()))?;
    let mut checked = open(file)?;
    // A newer version of the program may have deleted parts that this version does not use.
    let known = texts(&mut complete, MIGRATIONS)?;
    if texts(&mut checked, MIGRATIONS)?
        .iter()
        .any(|migration| !known.contains(migration))
    {
        return Ok(None);
    }
    let found = texts(&mut checked, PARTS)?;
    Ok(texts(&mut complete, PARTS)?
        .into_iter()
        .find(|part| !found.contains(part)))
}

/// Copies the write-ahead log of a database into its file and deletes the log, unless another connection uses the
/// database.
pub fn finish_log(file: &Path) -> Result<Use> {
    let finish = || -> Result<()> {
        let mut connection = open(file)?;
        connection.batch_execute(IN_USE_TIMEOUT)?;
        // SQLite leaves this mode only if there is no other connection.
        Ok(connection.batch_execute("PRAGMA journal_mode = DELETE")?)
    };
    match finish() {
        Ok(()) => Ok(Use::Unused),
        Err(error) if error.to_string().contains("locked") => Ok(Use::InUse),
        Err(error) => Err(error),
    }
}

/// Records a change of every user in the restored database, with numbers that are higher than those in the old
/// one, if there is one. Revokes all one-time links, because some of them may have been used since the backup. Also
/// revokes all keys if `revokes_all_keys`.
pub fn prepare_restored(restored: &Path, old: Option<&Path>, revokes_all_keys: bool) -> Result<()> {
    let mut connection = open(restored)?;
    let last = |connection: &mut SqliteConnection, table: &str| -> Result<i64> {
        let query = format!("SELECT max(number) AS number FROM {table}");
        let row: NumberRow = diesel::sql_query(query).get_result(connection)?;
        Ok(row.number.unwrap_or_default())
    };
    // An old database that is damaged or has no such table does not matter: no node can use it.
    let old = old.and_then(|old| {
        attach(&mut connection, old).ok()?;
        connection.batch_execute("SELECT seq FROM old.sqlite_sequence").ok()?;
        last(&mut connection, "old.changes").ok()
    });
    connection.immediate_transaction(|connection| {
        if old.is_some() {
            connection.batch_execute(KEEP_LAST_IDS)?;
        }
        connection.batch_execute("DELETE FROM one_time_links")?;
        if revokes_all_keys {
            connection.batch_execute("UPDATE users SET key_epoch = key_epoch + 1")?;
        }
        let base = last(connection, "changes")?.max(old.unwrap_or_default());
        diesel::sql_query(RECORD_CHANGES)
            .bind::<BigInt, _>(base)
            .execute(connection)?;
        Ok(())
    })
}

/// Returns how many keys are valid in the restored database but revoked in the old one.
pub fn count_revived_keys(restored: &Path, old: &Path, now: NaiveDateTime) -> Result<usize> {
    let mut connection = open(restored)?;
    attach(&mut connection, old)?;
    let row: NumberRow = diesel::sql_query(REVIVED_KEYS)
        .bind::<Timestamp, _>(now)
        .get_result(&mut connection)?;
    Ok(usize::try_from(row.number.unwrap_or_default()).unwrap_or_default())
}

fn attach(connection: &mut SqliteConnection, old: &Path) -> Result<()> {
    diesel::sql_query("ATTACH DATABASE ? AS old")
        .bind::<Text, _>(sqlite_url(&old.to_string_lossy(), "mode=ro"))
        .execute(connection)?;
    Ok(())
}

fn open(file: &Path) -> Result<SqliteConnection> {
    match connect(&Database::Sqlite(file.to_owned())).map_err(ServiceError::unavailable)? {
        DbConnection::Sqlite(connection) => Ok(connection),
        DbConnection::Postgres(_) => Err(ServiceError::internal("a file is not a PostgreSQL database")),
    }
}
