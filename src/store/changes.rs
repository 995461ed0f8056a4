//! The change feed: reports changes to keys and users in this database. Database triggers record the changes, so the
//! feed includes those made by other nodes, the command line and manual SQL.
//!
//! On PostgreSQL, the triggers send notifications, and store the changes in a table, which the feed polls if
//! notifications do not arrive (`super::polled_changes`). On SQLite, the triggers number the changes in a table, which
//! the feed polls.

use std::cmp::Ordering;
use std::sync::{Arc, Weak};
use std::thread::sleep;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::dsl::max;
use diesel::prelude::*;
use diesel::sql_types::Integer;

use super::Store;
use super::connection::{DbConnection, rely_on_session};
use super::opener::{Opened, Opener};
use super::polled_changes::PolledChanges;
use super::pool::Pool;
use super::primary::{Timeline, check_primary};
use super::schema::changes;
use super::sessions::Sessions;
use crate::error::{Result, ServiceError};
use crate::secret::random;
use crate::settings::Database;

/// The channel on which PostgreSQL's triggers send user ids.
const CHANNEL: &str = "shoko_auth_changes";
/// The prefix of a channel on which this node sends one notification to itself.
const ECHO_CHANNEL: &str = "shoko_auth_echo";
/// How long a notification from this node to itself may take.
const ECHO_TIMEOUT: Duration = Duration::from_secs(1);
/// The name of the connection in `pg_stat_activity`.
const APPLICATION_NAME: &str = "shoko-auth change feed";
/// How often the feed runs a query on a PostgreSQL connection to confirm that it still works. Listening alone would not
/// reveal a broken connection.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(25);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// This user or their keys have changed.
    User(i32),
    /// Any user may have changed.
    Unknown,
}

/// How changes by other processes arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeSource {
    Notifications,
    Polling,
}

/// Sends notifications to this node itself, on a connection of the pool. A connection of its own could exceed the limit
/// of a role that allows only few.
#[derive(Clone)]
pub struct EchoSender(Weak<Pool>);

/// The number of the process that serves a PostgreSQL session.
#[derive(QueryableByName)]
struct SessionId {
    #[diesel(sql_type = Integer)]
    pid: i32,
}

impl EchoSender {
    /// Sends a notification. Returns the session that has sent it.
    fn send(&self, channel: &str) -> Result<i32> {
        let closed = || ServiceError::unavailable("the pool of connections is closed");
        let pool = self.0.upgrade().ok_or_else(closed)?;
        let mut connection = pool.connection()?;
        let began_at = Instant::now();
        let notify = format!("SELECT pg_backend_pid() AS pid FROM pg_notify('{channel}', '')");
        // `read` sets a timeout. Sending waits for a lock that all databases of the server share.
        let sent = connection.read(|db| {
            let session: SessionId = diesel::sql_query(&notify).get_result(db.connection())?;
            Ok::<_, ServiceError>(session.pid)
        });
        if sent.is_err() {
            connection.discard_after_failure(began_at);
        }
        sent
    }
}

impl Store {
    #[must_use]
    pub fn echo_sender(&self) -> EchoSender {
        EchoSender(Arc::downgrade(&self.pool))
    }

    /// Returns how changes by other processes arrive.
    #[must_use]
    pub fn change_source(&self) -> ChangeSource {
        match (&self.database, self.opener.session_mode().get()) {
            (Database::Postgres(_), Sessions::Own) => ChangeSource::Notifications,
            (Database::Postgres(_), Sessions::Shared) | (Database::Sqlite(_), _) => ChangeSource::Polling,
        }
    }
}

/// A connection that receives changes.
pub struct ChangeFeed {
    source: Source,
    /// Shows whether the server of the connection has been replaced.
    opener: Opener,
    timeline: Option<Timeline>,
}

enum Source {
    Notifications {
        connection: PgConnection,
        /// When the connection last worked.
        alive_at: Instant,
    },
    Table(PolledChanges),
    Numbers {
        connection: SqliteConnection,
        /// The number of the last change that the feed has seen.
        number: i64,
    },
}

impl ChangeFeed {
    /// Opens a feed of all changes from now on.
    ///
    /// If notifications no longer arrive, because the operator has changed the pooler, all connections are used from then
    /// on as if they shared sessions.
    pub fn open(opener: &Opener, echo_sender: &EchoSender) -> Result<Self> {
        let Opened { connection, timeline } = opener.open().map_err(ServiceError::unavailable)?;
        let source = match (connection, opener.session_mode().get()) {
            (DbConnection::Postgres(mut connection), Sessions::Own) => {
                let Some(alive_at) = listen(&mut connection, echo_sender)? else {
                    log::warn!("the connections to the database now share sessions, so changes are polled");
                    opener.session_mode().set_shared();
                    return Self::open(opener, echo_sender);
                };
                opener.session_mode().prove_own(alive_at);
                Source::Notifications { connection, alive_at }
            }
            (DbConnection::Postgres(connection), Sessions::Shared) => Source::Table(PolledChanges::open(connection)?),
            (DbConnection::Sqlite(mut connection), _) => {
                let number = last_number(&mut connection)?;
                Source::Numbers { connection, number }
            }
        };
        Ok(Self {
            source,
            opener: opener.clone(),
            timeline,
        })
    }

    /// Returns the changes since the last call, and the time up to which the changes are known to be complete.
    pub fn poll(&mut self) -> Result<(Vec<Change>, Instant)> {
        let start = Instant::now();
        if self.opener.primary().has_replaced(self.timeline) {
            return Err(ServiceError::unavailable("another server has become the primary"));
        }
        match &mut self.source {
            Source::Notifications { connection, alive_at } => {
                if start - *alive_at >= HEARTBEAT_INTERVAL {
                    check_primary(connection)?;
                    *alive_at = start;
                    self.opener.session_mode().extend_proof(start);
                }
                let received: Vec<_> = connection.notifications_iter().collect::<QueryResult<_>>()?;
                let of_channel = received
                    .into_iter()
                    .filter(|notification| notification.channel == CHANNEL);
                let user = |payload: &str| payload.parse().map_or(Change::Unknown, Change::User);
                let changes = of_channel.map(|notification| user(&notification.payload)).collect();
                Ok((changes, *alive_at))
            }
            Source::Table(table) => table.poll(),
            Source::Numbers { connection, number } => {
                let last = last_number(connection)?;
                let seen = std::mem::replace(number, last);
                let changes = match last.cmp(&seen) {
                    Ordering::Equal => Vec::new(),
                    Ordering::Greater => {
                        let users = changes::table.filter(changes::number.gt(seen)).select(changes::user_id);
                        users.load(connection)?.into_iter().map(Change::User).collect()
                    }
                    // The database has been replaced by another, such as a restored backup.
                    Ordering::Less => vec![Change::Unknown],
                };
                Ok((changes, start))
            }
        }
    }
}

fn last_number(connection: &mut SqliteConnection) -> Result<i64> {
    let last: Option<i64> = changes::table.select(max(changes::number)).first(connection)?;
    Ok(last.unwrap_or_default())
}

/// Detects whether connections have sessions of their own. If so, records it.
pub(super) fn detect_sessions(opener: &Opener, echo_sender: &EchoSender) -> Result<()> {
    if let DbConnection::Postgres(mut connection) = opener.open().map_err(ServiceError::unavailable)?.connection
        && let Some(at) = receives_notifications(&mut connection, echo_sender)?
    {
        opener.session_mode().prove_own(at);
    }
    Ok(())
}

/// If notifications from another connection arrive, starts listening, and returns a time at which both connections had
/// sessions of their own.
fn listen(connection: &mut PgConnection, echo_sender: &EchoSender) -> Result<Option<Instant>> {
    let received = receives_notifications(connection, echo_sender)?;
    if received.is_some() {
        rely_on_session(connection)?;
        connection.batch_execute(&format!(
            "SET application_name = '{APPLICATION_NAME}'; LISTEN {CHANNEL}"
        ))?;
    }
    Ok(received)
}

/// If notifications from another connection arrive on this one, returns a time at which both connections had sessions of
/// their own. Tries twice, because a busy database may deliver the first notification too late.
fn receives_notifications(connection: &mut PgConnection, echo_sender: &EchoSender) -> Result<Option<Instant>> {
    let echo = match send_echo(connection, echo_sender)? {
        Echo::Late => send_echo(connection, echo_sender)?,
        echo => echo,
    };
    Ok(match echo {
        Echo::Received { sent_at } => Some(sent_at),
        Echo::Late | Echo::SameSession => None,
    })
}

/// Whether a notification from another connection has arrived.
enum Echo {
    Received {
        sent_at: Instant,
    },
    /// It did not arrive within [`ECHO_TIMEOUT`].
    Late,
    /// Both connections have the same session.
    SameSession,
}

/// Sends a notification from another connection to this one, and waits for it up to [`ECHO_TIMEOUT`].
fn send_echo(connection: &mut PgConnection, echo_sender: &EchoSender) -> Result<Echo> {
    let echo = format!("{ECHO_CHANNEL}_{:x}", u64::from_ne_bytes(random()?));
    connection.batch_execute(&format!("LISTEN {echo}"))?;
    let own: SessionId = diesel::sql_query("SELECT pg_backend_pid() AS pid").get_result(connection)?;
    // If two open connections have the same session, it is shared. A pooler with little to do shows this at once, so the
    // start does not have to wait for the notification.
    let sender_pid = echo_sender.send(&echo)?;
    let sent_at = Instant::now();
    let result = if sender_pid == own.pid {
        Echo::SameSession
    } else if wait_for_echo(connection, &echo)? {
        Echo::Received { sent_at }
    } else {
        Echo::Late
    };
    connection.batch_execute(&format!("UNLISTEN {echo}"))?;
    Ok(result)
}

fn wait_for_echo(connection: &mut PgConnection, echo: &str) -> Result<bool> {
    let start = Instant::now();
    while start.elapsed() < ECHO_TIMEOUT {
        let received: Vec<_> = connection.notifications_iter().collect::<QueryResult<_>>()?;
        if received.iter().any(|notification| notification.channel == echo) {
            return Ok(true);
        }
        sleep(Duration::from_millis(1));
    }
    Ok(false)
}
