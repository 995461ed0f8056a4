//! The change feed: reports changes to keys and users in this database. Database triggers record the changes, so the
//! feed includes those made by other nodes, the command line and manual SQL.
//!
//! On PostgreSQL, the triggers send notifications. On SQLite, they number the changes in a table, which the feed polls.

use std::cmp::Ordering;
use std::sync::{Arc, Weak};
use std::thread::sleep;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::dsl::max;
use diesel::prelude::*;

use super::connection::DbConnection;
use super::opener::{Opened, Opener};
use super::pool::Pool;
use super::primary::{Timeline, check_primary};
use super::schema::changes;
use super::{Store, UnsuitableDatabase};
use crate::error::{Result, ServiceError};
use crate::secret::random;

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

/// Sends notifications to this node itself, on a connection of the pool. A connection of its own could exceed the limit
/// of a role that allows only few.
#[derive(Clone)]
pub struct EchoSender(Weak<Pool>);

impl EchoSender {
    fn send(&self, channel: &str) -> Result<()> {
        let closed = || ServiceError::unavailable("the pool of connections is closed");
        let pool = self.0.upgrade().ok_or_else(closed)?;
        let mut connection = pool.connection()?;
        let began_at = Instant::now();
        let sent = connection.batch_execute(&format!("NOTIFY {channel}"));
        if sent.is_err() {
            connection.discard_after_failure(began_at);
        }
        Ok(sent?)
    }
}

impl Store {
    #[must_use]
    pub fn echo_sender(&self) -> EchoSender {
        EchoSender(Arc::downgrade(&self.pool))
    }
}

/// A connection that receives changes.
pub struct ChangeFeed {
    connection: DbConnection,
    /// Knows whether the server of the connection has been replaced.
    opener: Opener,
    timeline: Option<Timeline>,
    /// On SQLite, the number of the last change that the feed has seen.
    number: i64,
    /// On PostgreSQL, when the connection last worked.
    alive_at: Instant,
}

impl ChangeFeed {
    /// Opens a feed of all changes from now on.
    pub fn open(opener: &Opener, echo_sender: &EchoSender) -> Result<Self> {
        let Opened {
            mut connection,
            timeline,
        } = opener.open().map_err(ServiceError::unavailable)?;
        let mut number = 0;
        match &mut connection {
            DbConnection::Postgres(c) => {
                if !listen(c, echo_sender)? {
                    return Err(ServiceError::unavailable(UnsuitableDatabase::SharedSessions));
                }
            }
            DbConnection::Sqlite(c) => number = last_number(c)?,
        }
        let alive_at = Instant::now();
        Ok(Self {
            connection,
            opener: opener.clone(),
            timeline,
            number,
            alive_at,
        })
    }

    /// Returns the changes since the last call, and the time up to which the changes are known to be complete.
    pub fn poll(&mut self) -> Result<(Vec<Change>, Instant)> {
        let start = Instant::now();
        if self.opener.primary().has_replaced(self.timeline) {
            return Err(ServiceError::unavailable("another server has become the primary"));
        }
        match &mut self.connection {
            DbConnection::Postgres(c) => {
                if start - self.alive_at >= HEARTBEAT_INTERVAL {
                    check_primary(c)?;
                    self.alive_at = start;
                }
                let received: Vec<_> = c.notifications_iter().collect::<QueryResult<_>>()?;
                let of_channel = received
                    .into_iter()
                    .filter(|notification| notification.channel == CHANNEL);
                let user = |payload: &str| payload.parse().map_or(Change::Unknown, Change::User);
                let changes = of_channel.map(|notification| user(&notification.payload)).collect();
                Ok((changes, self.alive_at))
            }
            DbConnection::Sqlite(c) => {
                let number = last_number(c)?;
                let seen = std::mem::replace(&mut self.number, number);
                let changes = match number.cmp(&seen) {
                    Ordering::Equal => Vec::new(),
                    Ordering::Greater => {
                        let users = changes::table.filter(changes::number.gt(seen)).select(changes::user_id);
                        users.load(c)?.into_iter().map(Change::User).collect()
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

/// Checks that each connection has a session of its own. A pooler in transaction mode lets clients share sessions, so it
/// loses notifications, prepared statements and settings.
pub(super) fn check_sessions(opener: &Opener, echo_sender: &EchoSender) -> Result<(), UnsuitableDatabase> {
    match opener.open().map_err(ServiceError::unavailable)?.connection {
        DbConnection::Postgres(mut c) => {
            if listen(&mut c, echo_sender)? {
                Ok(())
            } else {
                Err(UnsuitableDatabase::SharedSessions)
            }
        }
        DbConnection::Sqlite(_) => Ok(()),
    }
}

/// Starts listening. Returns whether a notification from another connection arrives.
fn listen(connection: &mut PgConnection, echo_sender: &EchoSender) -> Result<bool> {
    let echo = format!("{ECHO_CHANNEL}_{:x}", u64::from_ne_bytes(random()?));
    connection.batch_execute(&format!(
        "SET application_name = '{APPLICATION_NAME}'; LISTEN {CHANNEL}; LISTEN {echo}"
    ))?;
    echo_sender.send(&echo)?;
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
