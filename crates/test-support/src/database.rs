//! An empty database for one test.

use std::env;
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, RunQueryDsl, SqliteConnection};
use tempfile::TempDir;

use crate::pooler::{PoolMode, Pooler, Target};
use crate::relay::Relay;
use crate::wait::wait_until;

/// A sealing secret: 32 bytes in base64.
pub const SEALING_SECRET: &str = "c2hva28tYXV0aCB0ZXN0cyB1c2UgdGhpcyBzZWNyZXQ=";

/// The kind of database that a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// A database, which is empty at first. Dropping this value deletes the database.
pub struct TestDatabase {
    pub backend: Backend,
    /// A temporary folder. An SQLite database has its file there.
    pub folder: TempDir,
    location: Location,
}

enum Location {
    Sqlite(PathBuf),
    Postgres(PostgresDatabase),
}

struct PostgresDatabase {
    /// The URL of another database on the same server, for the commands that create, change or delete this database.
    server: String,
    name: String,
    url: String,
    /// The pooler between the programs under test and the database, if the whole suite runs with one.
    pooler: Option<Pooler>,
}

impl TestDatabase {
    /// Creates a database. For PostgreSQL, the environment variable `TEST_DATABASE_URL` must contain the URL of a
    /// server on which the tests are allowed to create databases. If `TEST_POOLER` is set, the programs under test reach
    /// it through a pooler that shares sessions.
    pub fn create(backend: Backend) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let location = match backend {
            Backend::Sqlite => Location::Sqlite(folder.path().join("test.db")),
            Backend::Postgres => Location::Postgres(PostgresDatabase::create()),
        };
        Self {
            backend,
            folder,
            location,
        }
    }

    /// Returns the value of `DATABASE_URL` for this database.
    pub fn url(&self) -> String {
        match &self.location {
            Location::Sqlite(path) => format!("sqlite://{}", path.display()),
            Location::Postgres(PostgresDatabase { url, pooler, .. }) => match pooler {
                Some(pooler) => through(url, &format!("127.0.0.1:{}", pooler.port)),
                None => url.clone(),
            },
        }
    }

    /// Returns the value of `DATABASE_URL` for a connection to PostgreSQL without the pooler.
    pub fn direct_url(&self) -> String {
        self.postgres().url.clone()
    }

    /// Closes all connections to a PostgreSQL database and prevents new ones.
    pub fn take_offline(&self) {
        let database = self.postgres();
        database.allow_connections(false);
        database.close_connections("TRUE");
    }

    /// Lets a PostgreSQL database accept connections again.
    pub fn bring_online(&self) {
        self.postgres().allow_connections(true);
    }

    /// Closes all connections to a PostgreSQL database and returns their number. New connections are still
    /// accepted.
    pub fn close_connections(&self) -> usize {
        self.postgres().close_connections("TRUE")
    }

    /// Waits until all connections are closed or idle, because PostgreSQL can still be working for a program that was
    /// killed. Does nothing on SQLite.
    pub fn wait_until_unused(&self) {
        if let Location::Postgres(PostgresDatabase { server, name, .. }) = &self.location {
            let busy = format!(
                "SELECT CAST(pid AS TEXT) AS text FROM pg_stat_activity
                 WHERE datname = '{name}' AND state IS DISTINCT FROM 'idle'"
            );
            wait_until("all connections are idle", || {
                texts_on_postgres(server, &busy).is_empty()
            });
        }
    }

    /// Breaks the change feed and nothing else. Returns a function that runs SQL statements while the feed is broken.
    pub fn break_change_feed(&self) -> Box<dyn FnMut(&str) + '_> {
        let database = match &self.location {
            Location::Sqlite(_) => {
                self.execute("ALTER TABLE changes RENAME COLUMN number TO elsewhere");
                return Box::new(|sql| self.execute(sql));
            }
            Location::Postgres(PostgresDatabase { pooler: Some(_), .. }) => {
                self.execute("ALTER FUNCTION shoko_auth_changes_since RENAME TO elsewhere");
                return Box::new(|sql| self.execute(sql));
            }
            Location::Postgres(database) => database,
        };
        let mut connection = connect_to_postgres(&database.url);
        database.allow_connections(false);
        database.close_connections("application_name = 'shoko-auth change feed'");
        Box::new(move |sql| connection.batch_execute(sql).expect(sql))
    }

    /// Repairs the change feed after [`Self::break_change_feed`].
    pub fn repair_change_feed(&self) {
        match &self.location {
            Location::Postgres(PostgresDatabase { pooler: Some(_), .. }) => {
                self.execute("ALTER FUNCTION elsewhere RENAME TO shoko_auth_changes_since");
            }
            Location::Postgres(database) => database.allow_connections(true),
            Location::Sqlite(_) => self.execute("ALTER TABLE changes RENAME COLUMN elsewhere TO number"),
        }
    }

    /// Starts a relay in front of PostgreSQL. Returns it with the value of `DATABASE_URL` that leads through it.
    pub fn relay(&self) -> (Relay, String) {
        let (host, port) = self.postgres().address();
        let relay = Relay::start(if host.starts_with('/') {
            format!("{host}/.s.PGSQL.{port}")
        } else {
            format!("{host}:{port}")
        });
        let url = through(&self.postgres().url, &relay.address.to_string());
        (relay, url)
    }

    /// Starts a pooler in front of PostgreSQL. Returns it with the value of `DATABASE_URL` that leads through it.
    pub fn pooler(&self, mode: PoolMode) -> (Pooler, String) {
        let pooler = self.postgres().pooler(mode);
        let url = through(&self.postgres().url, &format!("127.0.0.1:{}", pooler.port));
        (pooler, url)
    }

    /// Creates a role that owns a PostgreSQL database and may have `limit` connections. Returns the value of
    /// `DATABASE_URL` for this role. The role is deleted with the database.
    pub fn limited_role(&self, limit: u32) -> String {
        let PostgresDatabase { server, name, url, .. } = self.postgres();
        let (scheme, rest) = url.split_once("://").expect("a URL has a scheme");
        let (authority, rest) = rest.split_once('/').expect("the URL names the database");
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let password = user.split_once(':').map_or("", |(_, password)| password);
        execute_on_postgres(
            server,
            &format!(
                "CREATE ROLE {name} LOGIN PASSWORD '{password}' CONNECTION LIMIT {limit};
                 ALTER DATABASE {name} OWNER TO {name}"
            ),
        );
        format!("{scheme}://{name}:{password}@{host}/{rest}")
    }

    /// Sets how many connections the role of [`Self::limited_role`] may have. Keeps those that are open.
    pub fn limit_role(&self, limit: u32) {
        let PostgresDatabase { server, name, .. } = self.postgres();
        execute_on_postgres(server, &format!("ALTER ROLE {name} CONNECTION LIMIT {limit}"));
    }

    /// Sets whether new PostgreSQL sessions are read-only, as on a server that has been demoted or is almost full.
    pub fn make_read_only(&self, is_read_only: bool) {
        let PostgresDatabase { server, name, .. } = self.postgres();
        execute_on_postgres(
            server,
            &format!("ALTER DATABASE {name} SET default_transaction_read_only = {is_read_only}"),
        );
    }

    /// Runs SQL statements on a new connection, as another program would.
    pub fn execute(&self, sql: &str) {
        match &self.location {
            Location::Postgres(database) => execute_on_postgres(&database.url, sql),
            Location::Sqlite(path) => connect_to_sqlite(path)
                .batch_execute(&format!("PRAGMA busy_timeout = 5000; {sql}"))
                .expect(sql),
        }
    }

    /// Opens a connection. Returns a function that runs SQL statements on this connection.
    pub fn session(&self) -> Box<dyn FnMut(&str)> {
        match &self.location {
            Location::Postgres(database) => {
                let mut connection = connect_to_postgres(&database.url);
                Box::new(move |sql| connection.batch_execute(sql).expect(sql))
            }
            Location::Sqlite(path) => {
                let mut connection = connect_to_sqlite(path);
                let wait = "PRAGMA busy_timeout = 5000";
                connection.batch_execute(wait).expect(wait);
                Box::new(move |sql| connection.batch_execute(sql).expect(sql))
            }
        }
    }

    /// Runs a query and returns the values of its column `text`.
    pub fn texts(&self, sql: &str) -> Vec<String> {
        match &self.location {
            Location::Postgres(database) => texts_on_postgres(&database.url, sql),
            Location::Sqlite(path) => {
                let rows = diesel::sql_query(sql).load::<Row>(&mut connect_to_sqlite(path));
                rows.expect(sql).into_iter().map(|row| row.text).collect()
            }
        }
    }

    fn postgres(&self) -> &PostgresDatabase {
        match &self.location {
            Location::Postgres(database) => database,
            Location::Sqlite(_) => panic!("only PostgreSQL has connections that a test can close"),
        }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Location::Postgres(PostgresDatabase { server, name, .. }) = &self.location {
            execute_on_postgres(server, &format!("DROP DATABASE {name} WITH (FORCE)"));
            execute_on_postgres(server, &format!("DROP ROLE IF EXISTS {name}"));
        }
    }
}

impl PostgresDatabase {
    fn create() -> Self {
        let server = env::var("TEST_DATABASE_URL")
            .expect("TEST_DATABASE_URL must be the URL of a PostgreSQL server: run ./scripts/test, which starts one");
        let name = format!("shoko_auth_test_{}", uuid::Uuid::new_v4().simple());
        execute_on_postgres(&server, &format!("CREATE DATABASE {name}"));
        let url = with_database_name(&server, &name);
        let mut database = Self {
            server,
            name,
            url,
            pooler: None,
        };
        if env::var_os("TEST_POOLER").is_some() {
            database.pooler = Some(database.pooler(PoolMode::Transaction));
        }
        database
    }

    /// Returns the host and port of PostgreSQL, or the folder of its socket.
    fn address(&self) -> (String, String) {
        const ADDRESS: &str = "SELECT COALESCE(host(inet_server_addr()) || ' ' || inet_server_port(), \
                               split_part(current_setting('unix_socket_directories'), ',', 1) || ' ' \
                               || current_setting('port')) AS text";
        let address = texts_on_postgres(&self.url, ADDRESS).remove(0);
        let (host, port) = address.split_once(' ').expect("an address has a port");
        (host.to_owned(), port.to_owned())
    }

    fn pooler(&self, mode: PoolMode) -> Pooler {
        let (host, port) = self.address();
        let (_, rest) = self.url.split_once("://").expect("a URL has a scheme");
        let password = rest.rsplit_once('@').and_then(|(user, _)| user.split_once(':'));
        let target = Target {
            host,
            port,
            user: texts_on_postgres(&self.url, "SELECT session_user::text AS text").remove(0),
            password: password.map_or("", |(_, password)| password).to_owned(),
        };
        Pooler::start(target, mode)
    }

    fn allow_connections(&self, allow: bool) {
        let Self { server, name, .. } = self;
        execute_on_postgres(server, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allow}"));
    }

    /// Closes the connections that match the SQL condition `condition`, waits until they are closed, and returns their
    /// number.
    fn close_connections(&self, condition: &str) -> usize {
        let Self { server, name, .. } = self;
        let terminate = format!(
            "SELECT CAST(pid AS TEXT) AS text, pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = '{name}' AND {condition}"
        );
        let closed = texts_on_postgres(server, &terminate);
        if !closed.is_empty() {
            // `pg_terminate_backend` only sends a signal, so the connections close a little later.
            let pids = closed.join(", ");
            let open = format!("SELECT CAST(pid AS TEXT) AS text FROM pg_stat_activity WHERE pid IN ({pids})");
            wait_until("the connections are closed", || {
                texts_on_postgres(server, &open).is_empty()
            });
        }
        closed.len()
    }
}

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = diesel::sql_types::Text)]
    text: String,
}

fn connect_to_sqlite(path: &Path) -> SqliteConnection {
    SqliteConnection::establish(&path.to_string_lossy()).expect("the file can be opened")
}

fn connect_to_postgres(url: &str) -> PgConnection {
    PgConnection::establish(url).expect("PostgreSQL runs at TEST_DATABASE_URL")
}

fn execute_on_postgres(url: &str, sql: &str) {
    connect_to_postgres(url).batch_execute(sql).expect(sql);
}

fn texts_on_postgres(url: &str, sql: &str) -> Vec<String> {
    let rows = diesel::sql_query(sql).load::<Row>(&mut connect_to_postgres(url));
    rows.expect(sql).into_iter().map(|row| row.text).collect()
}

/// Returns `url` with another address of the server.
fn through(url: &str, address: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL has a scheme");
    let (authority, database) = rest.split_once('/').expect("the URL names the database");
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    format!("{scheme}://{user}@{address}/{database}")
}

/// Returns `url` with another database name.
fn with_database_name(url: &str, name: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL has a scheme");
    let (place, query) = rest
        .split_once('?')
        .map_or((rest, String::new()), |(place, query)| (place, format!("?{query}")));
    let authority = place.split('/').next().unwrap_or_default();
    format!("{scheme}://{authority}/{name}{query}")
}
