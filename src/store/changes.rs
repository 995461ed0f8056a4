//! The change feed: tells what has become of keys and users in this database, whoever did it; by triggers, so that
//! other nodes, the command line and statements that somebody writes by hand are all heard.
//!
//! PostgreSQL notifies; SQLite counts, and whoever wants to know looks.

use std::cmp::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::dsl::max;
use diesel::prelude::*;

use super::DbConnection;
use super::connection::connect;
use super::schema::changes;
use crate::error::{AuthError, Result};
use crate::secret::key::random;
use crate::settings::Database;

/// Where the triggers of PostgreSQL tell the id of a user.
const CHANNEL: &str = "shoko_auth_changes";
/// Where this node talks to itself, once, with a number of its own.
const ECHO: &str = "shoko_auth_echo";
/// How long that may take.
const ECHO_TIME: Duration = Duration::from_secs(1);
/// What `pg_stat_activity` shows.
const NAME: &str = "shoko-auth change feed";
/// How often a connection that may only listen is asked whether it is still there.
const HEARTBEAT: Duration = Duration::from_millis(25);

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something about this user, or his keys.
    OfUser(i32),
    /// Anything may have.
    OfAnybody,
}

/// A connection that hears of changes.
pub struct ChangeFeed {
    connection: DbConnection,
    /// SQLite: the highest number that was seen.
    number: i64,
    /// PostgreSQL: when the connection was last known to be there.
    heard_at: Instant,
}

impl ChangeFeed {
    /// Hears of all that changes from now on.
    pub fn open(database: &Database) -> Result<Self> {
        let unavailable = |e: diesel::r2d2::Error| AuthError::Unavailable(e.to_string());
        let mut connection = connect(database).map_err(unavailable)?;
        let mut number = 0;
        match &mut connection {
            DbConnection::Postgres(c) => listen(c, || connect(database).map_err(unavailable))?,
            DbConnection::Sqlite(c) => number = last_number(c)?,
        }
        let heard_at = Instant::now();
        Ok(Self {
            connection,
            number,
            heard_at,
        })
    }

    /// What has changed since the last time. And as of when that is known to be all.
    pub fn poll(&mut self) -> Result<(Vec<Change>, Instant)> {
        let start = Instant::now();
        match &mut self.connection {
            DbConnection::Postgres(c) => {
                if start - self.heard_at >= HEARTBEAT {
                    c.batch_execute("SELECT 1")?;
                    self.heard_at = start;
                }
                let heard: Vec<_> = c.notifications_iter().collect::<QueryResult<_>>()?;
                let of_channel = heard.into_iter().filter(|heard| heard.channel == CHANNEL);
                let user = |payload: &str| payload.parse().map_or(Change::OfAnybody, Change::OfUser);
                let changes = of_channel.map(|heard| user(&heard.payload)).collect();
                Ok((changes, self.heard_at))
            }
            DbConnection::Sqlite(c) => {
                let number = last_number(c)?;
                let seen = std::mem::replace(&mut self.number, number);
                let changes = match number.cmp(&seen) {
                    Ordering::Equal => Vec::new(),
                    Ordering::Greater => {
                        let users = changes::table.filter(changes::number.gt(seen)).select(changes::user_id);
                        users.load(c)?.into_iter().map(Change::OfUser).collect()
                    }
                    // Somebody has put other data in its place.
                    Ordering::Less => vec![Change::OfAnybody],
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

/// Begins to listen, and sees whether it hears what somebody else says while it asks nothing: between us and PostgreSQL
/// there may be a pooler that hands each transaction to another connection, and what comes between them to nobody.
fn listen(connection: &mut PgConnection, another: impl FnOnce() -> Result<DbConnection>) -> Result<()> {
    let echo = format!("{ECHO}_{:x}", u64::from_ne_bytes(random()?));
    connection.batch_execute(&format!(
        "SET application_name = '{NAME}'; LISTEN {CHANNEL}; LISTEN {echo}"
    ))?;
    let mut another = another()?;
    another.batch_execute(&format!("NOTIFY {echo}"))?;
    let start = Instant::now();
    while start.elapsed() < ECHO_TIME {
        let heard: Vec<_> = connection.notifications_iter().collect::<QueryResult<_>>()?;
        if heard.iter().any(|heard| heard.channel == echo) {
            return Ok(());
        }
        sleep(Duration::from_millis(1));
    }
    Err(AuthError::Unavailable(
        "notifications do not get through: DATABASE_URL must lead to PostgreSQL itself, or to a pooler that keeps a \
         session on one connection"
            .to_owned(),
    ))
}
