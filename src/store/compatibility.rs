//! Checks that this version of the program can use a database, before it runs the migrations.

use diesel::migration::MigrationSource;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;
use semver::Version;

use super::changes::detect_sessions;
use super::migrations::SQLITE_MIGRATIONS;
use super::{ConnectionLimits, DbConnection, Reader, Store};
use crate::error::{Result, ServiceError};

/// The reason why a database cannot be used. Its message is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum UnsuitableDatabase {
    /// Names of users and devices may contain any character.
    #[error(
        "The database has the encoding {encoding} instead of UTF8, so it cannot store all names. Create another one: \
         createdb -E UTF8 -T template0 NAME"
    )]
    Encoding { encoding: String },
    #[error(
        "This is shoko-auth {own}, but the database was changed by a newer version, and needs shoko-auth {oldest} or \
         later. Install that version, or restore a backup from before the update."
    )]
    ProgramTooOld { own: Version, oldest: Version },
    #[error(
        "This is shoko-auth {own}, but the database was changed by a newer version, which did not record the oldest \
         version that can still use it (unknown migration {migration}). Install the newer version, or restore a \
         backup from before the update."
    )]
    UnknownMigration { own: Version, migration: String },
    #[error("{0}.")]
    TooFewConnections(ConnectionLimits),
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl From<semver::Error> for UnsuitableDatabase {
    fn from(error: semver::Error) -> Self {
        Self::Service(ServiceError::internal(error))
    }
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    text: String,
}

impl Store {
    /// Checks that there are enough connections and that the database is in UTF-8. Finds out whether the connections share
    /// sessions. Also checks that no newer version of the program has changed the database so that this version cannot use it.
    pub fn check_compatibility(&self) -> Result<(), UnsuitableDatabase> {
        if let Some(limits) = self.limits.as_ref().filter(|limits| limits.are_too_few()) {
            return Err(UnsuitableDatabase::TooFewConnections(limits.clone()));
        }
        detect_sessions(&self.opener, &self.echo_sender())?;
        let (encoding, applied, oldest) =
            self.read(|db| Ok::<_, ServiceError>((db.encoding()?, db.applied_migrations()?, db.oldest_program()?)))?;
        if let Some(encoding) = encoding.filter(|encoding| encoding != "UTF8") {
            return Err(UnsuitableDatabase::Encoding { encoding });
        }
        let own = Version::parse(env!("CARGO_PKG_VERSION"))?;
        let known = known_migrations()?;
        let unknown = applied.into_iter().find(|migration| !known.contains(migration));
        match (oldest, unknown) {
            (Some(oldest), _) => {
                let oldest = Version::parse(&oldest)?;
                if own < oldest {
                    return Err(UnsuitableDatabase::ProgramTooOld { own, oldest });
                }
                Ok(())
            }
            (None, Some(migration)) => Err(UnsuitableDatabase::UnknownMigration { own, migration }),
            (None, None) => Ok(()),
        }
    }
}

impl Store {
    /// Returns whether a version of this program has created its tables in the database.
    pub fn has_been_migrated(&self) -> Result<bool> {
        Ok(!self.read(Reader::applied_migrations)?.is_empty())
    }
}

/// Returns the migrations of this program, which have the same names on both databases.
fn known_migrations() -> Result<Vec<String>> {
    let migrations = MigrationSource::<Sqlite>::migrations(&SQLITE_MIGRATIONS).map_err(ServiceError::internal)?;
    let versions = migrations
        .iter()
        .map(|migration| migration.name().version().to_string());
    Ok(versions.collect())
}

impl Reader {
    /// Returns the encoding of a PostgreSQL database. SQLite databases always store UTF-8 or UTF-16.
    fn encoding(&mut self) -> Result<Option<String>> {
        match self.connection() {
            DbConnection::Postgres(_) => Ok(self.texts("SELECT current_setting('server_encoding') AS text")?.pop()),
            DbConnection::Sqlite(_) => Ok(None),
        }
    }

    fn applied_migrations(&mut self) -> Result<Vec<String>> {
        if self.has_table("__diesel_schema_migrations")? {
            self.texts("SELECT version AS text FROM __diesel_schema_migrations ORDER BY version")
        } else {
            Ok(Vec::new())
        }
    }

    /// Returns the oldest version of the program that may use the database, if a migration has recorded it.
    fn oldest_program(&mut self) -> Result<Option<String>> {
        if self.has_table("oldest_program")? {
            Ok(self.texts("SELECT version AS text FROM oldest_program")?.pop())
        } else {
            Ok(None)
        }
    }

    /// Returns whether a table exists. `name` is a literal of this file.
    fn has_table(&mut self, name: &str) -> Result<bool> {
        let query = match self.connection() {
            DbConnection::Postgres(_) => format!("SELECT 'found' AS text WHERE to_regclass('{name}') IS NOT NULL"),
            DbConnection::Sqlite(_) => format!("SELECT name AS text FROM sqlite_master WHERE name = '{name}'"),
        };
        Ok(!self.texts(&query)?.is_empty())
    }

    fn texts(&mut self, query: &str) -> Result<Vec<String>> {
        let rows: Vec<Row> = diesel::sql_query(query).load(self.connection())?;
        Ok(rows.into_iter().map(|row| row.text).collect())
    }
}
