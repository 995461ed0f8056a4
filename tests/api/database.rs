//! A database for one test, on either backend. Shared by the API tests and the unit tests beside `src/auth`.

use std::env;

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, RunQueryDsl};
use shoko_auth::clock::Clock;
use shoko_auth::model::SecretText;
use shoko_auth::settings::{CoreSettings, Database};
use tempfile::TempDir;

use crate::wait::wait_until;

/// Which database a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// Makes of each test two: one on SQLite, and one on PostgreSQL that runs when there is one.
/// `Backend` must be in scope.
macro_rules! on_both_databases {
    ($($(#[$attribute:meta])* fn $name:ident($argument:ident: $kind:ty) $body:block)*) => {
        $(
            mod $name {
                use super::*;

                $(#[$attribute])*
                fn test($argument: $kind) $body

                #[test]
                fn sqlite() {
                    test(<$kind>::on(Backend::Sqlite));
                }

                #[test]
                #[ignore = "needs PostgreSQL: run ./scripts/test"]
                fn postgres() {
                    test(<$kind>::on(Backend::Postgres));
                }
            }
        )*
    };
}
pub(crate) use on_both_databases;

/// An empty database, gone when this is dropped.
pub struct TestDatabase {
    pub backend: Backend,
    pub folder: TempDir,
    pub database: Database,
    postgres: Option<PostgresDatabase>,
}

struct PostgresDatabase {
    server: String,
    name: String,
}

impl TestDatabase {
    pub fn create(backend: Backend) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (database, postgres) = match backend {
            Backend::Sqlite => (Database::Sqlite(folder.path().join("test.db")), None),
            Backend::Postgres => {
                let server = env::var("TEST_DATABASE_URL")
                    .expect("TEST_DATABASE_URL must name a PostgreSQL server: run ./scripts/test, which starts one");
                let name = format!("shoko_auth_test_{}", uuid::Uuid::new_v4().simple());
                execute(&server, &format!("CREATE DATABASE {name}"));
                let url = with_database_name(&server, &name);
                (Database::Postgres(url), Some(PostgresDatabase { server, name }))
            }
        };
        Self {
            backend,
            folder,
            database,
            postgres,
        }
    }

    /// As `DATABASE_URL` wants it.
    pub fn url(&self) -> String {
        match &self.database {
            Database::Sqlite(path) => format!("sqlite://{}", path.display()),
            Database::Postgres(url) => url.clone(),
        }
    }

    /// Settings for a core on this database, with the fewest rounds.
    pub fn settings(&self) -> CoreSettings {
        CoreSettings {
            clock: Clock::system(),
            database: self.database.clone(),
            data_dir: self.folder.path().to_owned(),
            secret_key: Some(SecretText::new(SECRET_KEY.to_owned())),
            pbkdf2_rounds: 1000,
            password_min_length: 8,
            login_throttle: false,
        }
    }

    /// Makes the database unreachable: PostgreSQL closes all connections and accepts no more.
    pub fn go_away(&self) {
        let PostgresDatabase { server, name } = self.postgres.as_ref().expect("a database that can go away");
        execute(server, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
        close_connections(server, &format!("datname = '{name}'"));
    }

    /// Lets it take connections again.
    pub fn come_back(&self) {
        let PostgresDatabase { server, name } = self.postgres.as_ref().expect("a database that can go away");
        execute(server, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
    }

    /// Closes all connections and returns how many there were. New ones are accepted.
    pub fn cut_connections(&self) -> usize {
        let PostgresDatabase { server, name } = self.postgres.as_ref().expect("a database with connections");
        close_connections(server, &format!("datname = '{name}'"))
    }

    /// Waits until the database has no connections. PostgreSQL may still be working for a program that was killed.
    pub fn wait_until_unused(&self) {
        if let Some(PostgresDatabase { server, name }) = &self.postgres {
            let connections =
                format!("SELECT CAST(pid AS TEXT) AS text FROM pg_stat_activity WHERE datname = '{name}'");
            wait_until("the database has no connections", || {
                texts_on_postgres(server, &connections).is_empty()
            });
        }
    }

    /// Breaks the change feed, and nothing else; what runs SQL meanwhile.
    pub fn deafen(&self) -> Box<dyn FnMut(&str) + '_> {
        let (Database::Postgres(url), Some(PostgresDatabase { server, name })) = (&self.database, &self.postgres)
        else {
            self.execute("ALTER TABLE changes RENAME TO elsewhere");
            return Box::new(|sql| self.execute(sql));
        };
        let mut connection = PgConnection::establish(url).expect("PostgreSQL");
        execute(server, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
        close_connections(
            server,
            &format!("datname = '{name}' AND application_name = 'shoko-auth change feed'"),
        );
        Box::new(move |sql| connection.batch_execute(sql).expect(sql))
    }

    /// Undoes that.
    pub fn undeafen(&self) {
        match &self.postgres {
            Some(_) => self.come_back(),
            None => self.execute("ALTER TABLE elsewhere RENAME TO changes"),
        }
    }

    /// Runs SQL behind the server's back.
    pub fn execute(&self, sql: &str) {
        match &self.database {
            Database::Postgres(url) => execute(url, sql),
            Database::Sqlite(path) => {
                let mut connection = diesel::SqliteConnection::establish(&path.to_string_lossy()).expect("the file");
                connection
                    .batch_execute(&format!("PRAGMA busy_timeout = 5000; {sql}"))
                    .expect(sql);
            }
        }
    }
}

impl TestDatabase {
    /// The column `text` of a query.
    pub fn texts(&self, sql: &str) -> Vec<String> {
        let path = match &self.database {
            Database::Postgres(url) => return texts_on_postgres(url, sql),
            Database::Sqlite(path) => path,
        };
        let mut connection = diesel::SqliteConnection::establish(&path.to_string_lossy()).expect("the file");
        let rows = diesel::sql_query(sql).load::<Row>(&mut connection).expect(sql);
        rows.into_iter().map(|row| row.text).collect()
    }
}

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = diesel::sql_types::Text)]
    text: String,
}

fn texts_on_postgres(url: &str, sql: &str) -> Vec<String> {
    let mut connection = PgConnection::establish(url).expect("PostgreSQL at TEST_DATABASE_URL");
    let rows = diesel::sql_query(sql).load::<Row>(&mut connection).expect(sql);
    rows.into_iter().map(|row| row.text).collect()
}

/// Makes PostgreSQL close connections, waits until it has, and returns how many there were.
fn close_connections(server: &str, condition: &str) -> usize {
    let terminate =
        format!("SELECT CAST(pid AS TEXT) AS text, pg_terminate_backend(pid) FROM pg_stat_activity WHERE {condition}");
    let closed = texts_on_postgres(server, &terminate);
    if !closed.is_empty() {
        // The function only sends a signal.
        let pids = closed.join(", ");
        let open = format!("SELECT CAST(pid AS TEXT) AS text FROM pg_stat_activity WHERE pid IN ({pids})");
        wait_until("the connections are closed", || {
            texts_on_postgres(server, &open).is_empty()
        });
    }
    closed.len()
}

/// 32 bytes, base64.
pub const SECRET_KEY: &str = "c2hva28tYXV0aCB0ZXN0cyB1c2UgdGhpcyBzZWNyZXQ=";

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some(PostgresDatabase { server, name }) = &self.postgres {
            execute(server, &format!("DROP DATABASE {name} WITH (FORCE)"));
        }
    }
}

fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::establish(url).expect("PostgreSQL at TEST_DATABASE_URL");
    connection.batch_execute(sql).expect(sql);
}

/// The URL of another database on the same server.
fn with_database_name(url: &str, name: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (place, query) = rest
        .split_once('?')
        .map_or((rest, String::new()), |(p, q)| (p, format!("?{q}")));
    let authority = place.split('/').next().unwrap_or_default();
    format!("{scheme}://{authority}/{name}{query}")
}
