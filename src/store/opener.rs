//! Opens connections and survives those that never respond.
//!
//! libpq's `connect_timeout` ends with the authentication. The first queries of a session have no timeout, and the pool
//! opens connections with only a few threads. Therefore each connection to PostgreSQL is opened by a thread of its own,
//! which is abandoned if it takes too long.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use diesel::ConnectionError;
use diesel::r2d2;

use super::connection::{DbConnection, connect};
use super::primary::{Primary, Timeline};
use super::sessions::SessionMode;
use crate::settings::Database;

/// How long opening a connection may take if the URL has one server. Longer than libpq's `connect_timeout`, which is 2 s
/// for each address of the server unless the URL says otherwise.
const MAX_OPENING_TIME: Duration = Duration::from_secs(10);
/// How long opening a connection to each server may take if the URL has several. A server that hangs must not keep the
/// others from being tried.
const MAX_OPENING_TIME_OF_SEVERAL: Duration = Duration::from_secs(4);
/// The maximum number of threads that open connections to one server, including abandoned ones.
const MAX_THREADS: usize = 20;

/// Opens connections to one database, on PostgreSQL only to its primary. Clones share the state of the sessions and
/// the primary.
#[derive(Clone)]
pub struct Opener {
    /// One for each server in the URL.
    servers: Arc<[Server]>,
    sessions: SessionMode,
    primary: Arc<Primary>,
    /// How long opening a connection to one of the servers may take.
    max_time: Duration,
}

struct Server {
    database: Database,
    /// Each thread that opens a connection to the server has a reference.
    threads: Arc<()>,
}

/// A new connection.
pub(super) struct Opened {
    pub connection: DbConnection,
    pub timeline: Option<Timeline>,
}

impl Opener {
    pub(super) fn new(database: Database) -> Self {
        let sessions = SessionMode::new(&database);
        let servers = each_server(database);
        Self {
            sessions,
            max_time: match servers.len() {
                1 => MAX_OPENING_TIME,
                _ => MAX_OPENING_TIME_OF_SEVERAL,
            },
            servers: servers.into(),
            primary: Arc::default(),
        }
    }

    /// Returns how connections are used at the moment.
    #[must_use]
    pub fn session_mode(&self) -> &SessionMode {
        &self.sessions
    }

    pub(super) fn primary(&self) -> &Primary {
        &self.primary
    }

    /// Opens a connection to the first server that is the primary, beginning with the last known primary. libpq would
    /// begin with the first server each time, and wait two seconds for it as long as it is stopped or disconnected. It
    /// would also try no other server after one that refuses the login or is a primary that has been replaced.
    pub(super) fn open(&self) -> Result<Opened, r2d2::Error> {
        let first = self.primary.last_server();
        let order = (first..self.servers.len()).chain(0..first.min(self.servers.len()));
        let mut failures = Vec::new();
        for index in order {
            match self.open_server(&self.servers[index]) {
                Ok(opened) => {
                    self.primary.set_last_server(index);
                    return Ok(opened);
                }
                Err(error) => failures.push(error),
            }
        }
        if failures.len() == 1 {
            return Err(failures.remove(0));
        }
        let messages: Vec<_> = failures.iter().map(|error| of_server(&error.to_string())).collect();
        Err(failure(&messages.join("\n")))
    }

    fn open_server(&self, server: &Server) -> Result<Opened, r2d2::Error> {
        match &server.database {
            Database::Postgres(_) => self.open_in_thread(server),
            database @ Database::Sqlite(_) => open(database, &self.primary),
        }
    }

    /// Returns whether another server was found to be the primary after `time`.
    #[must_use]
    pub fn has_found_primary_since(&self, time: Instant) -> bool {
        self.primary.has_changed_since(time)
    }

    /// Opens a connection only to find out which server is the primary, and closes it.
    pub fn look_for_primary(&self) {
        if let Err(error) = self.open() {
            log::debug!("looking for the primary failed: {error}");
        }
    }

    fn open_in_thread(&self, server: &Server) -> Result<Opened, r2d2::Error> {
        if Arc::strong_count(&server.threads) > MAX_THREADS {
            let message = "too many connections are being opened, and it does not respond";
            return Err(failure(&of_server(message)));
        }
        let (sender, receiver) = mpsc::sync_channel(1);
        let (database, primary, thread) = (server.database.clone(), self.primary.clone(), server.threads.clone());
        thread::Builder::new()
            .name("database-opener".to_owned())
            .spawn(move || {
                let opened = open(&database, &primary);
                drop(thread);
                // If nothing waits for the connection any longer, it is closed.
                drop(sender.send(opened));
            })
            .map_err(|error| failure(&error.to_string()))?;
        receiver
            .recv_timeout(self.max_time)
            .map_err(|_| failure(&of_server("it does not respond")))?
    }
}

fn each_server(database: Database) -> Vec<Server> {
    let databases = match database {
        Database::Postgres(url) => url.each_server().into_iter().map(Database::Postgres).collect(),
        Database::Sqlite(_) => vec![database],
    };
    let server = |database| Server {
        database,
        threads: Arc::default(),
    };
    databases.into_iter().map(server).collect()
}

fn open(server: &Database, primary: &Primary) -> Result<Opened, r2d2::Error> {
    let mut connection = connect(server)?;
    let admitted = primary.admit(&mut connection).map_err(r2d2::Error::QueryError)?;
    let timeline = admitted.map_err(|reason| failure(&of_server(&reason.to_string())))?;
    Ok(Opened { connection, timeline })
}

/// Adds the beginning of libpq's messages to a message without it. `super::refusal` uses it to separate the messages of
/// several servers.
fn of_server(message: &str) -> String {
    const START: &str = "connection to server ";
    if message.starts_with(START) {
        message.to_owned()
    } else {
        format!("{START}failed: {message}")
    }
}

fn failure(message: &str) -> r2d2::Error {
    r2d2::Error::ConnectionError(ConnectionError::BadConnection(message.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// PostgreSQL's response to a startup packet: `AuthenticationOk` and `ReadyForQuery`.
    const READY: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";

    /// Starts a server that completes the authentication and then never responds.
    fn silent_server() -> (u16, thread::JoinHandle<Vec<TcpStream>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = move || {
            let mut streams = Vec::new();
            for _ in 0..MAX_THREADS {
                let (mut stream, _) = listener.accept().unwrap();
                let _length = stream.read(&mut [0; 1024]).unwrap();
                stream.write_all(READY).unwrap();
                streams.push(stream);
            }
            streams
        };
        (port, thread::spawn(serve))
    }

    #[test]
    fn a_silent_server_does_not_keep_the_next_one_from_being_tried() {
        let (port, _server) = silent_server();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("postgres://me@127.0.0.1:{port},127.0.0.1:{closed}/x?sslmode=disable&gssencmode=disable");
        let opener = Opener {
            max_time: Duration::from_secs(1),
            ..Opener::new(url.parse().unwrap())
        };
        let message = opener.open().err().unwrap().to_string();
        assert_eq!(message.matches("connection to server ").count(), 2, "{message}");
        assert!(
            message.contains("does not respond") && message.contains("refused"),
            "{message}"
        );
    }

    #[test]
    fn a_server_that_is_silent_after_the_authentication_fails_the_attempt() {
        let (port, server) = silent_server();
        let url = format!("postgres://me@127.0.0.1:{port}/x?sslmode=disable&gssencmode=disable");
        let opener = Opener {
            max_time: Duration::from_millis(50),
            ..Opener::new(url.parse().unwrap())
        };
        let message = |opener: &Opener| opener.open().err().unwrap().to_string();
        for _ in 0..MAX_THREADS {
            let message = message(&opener);
            assert!(message.contains("does not respond"), "{message}");
        }
        assert!(message(&opener).contains("too many connections"));
        drop(server.join().unwrap());
        while Arc::strong_count(&opener.servers[0].threads) > 1 {
            thread::yield_now();
        }
        assert!(
            !message(&opener).contains("too many connections"),
            "closed connections free their threads"
        );
    }
}
