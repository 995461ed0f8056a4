//! Changes on PostgreSQL, for connections that receive no notifications because they share sessions.
//!
//! Triggers store each change with its transaction in the table `changes`. A feed keeps the snapshot of its last poll:
//! the transactions that were visible. The next poll returns the changes of all transactions that have become visible
//! since then, in whichever order they were committed. Numbers of transactions can be used again after a failover or a
//! crash, and rows are deleted later. If either may have happened since the last poll, the poll reports an unknown
//! change, which invalidates all cached keys.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text};

use super::changes::Change;
use super::{Reader, Store, Transaction};
use crate::error::{Result, ServiceError};
use crate::settings::Database;

/// How often the table is polled. Each poll costs PostgreSQL about as much as two of the simplest queries.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// If more users have changed at once, they all count as changed.
const MAX_USERS: i32 = 1_000;
/// How long rows stay after every node could have seen them. The function `shoko_auth_changes_since` relies on this
/// time.
pub const CHANGE_RETENTION: Duration = Duration::from_secs(60);
/// The maximum number of rows that one transaction deletes.
const MAX_BATCH: i32 = 1_000;

const POLL: &str = "SELECT * FROM shoko_auth_changes_since($1::pg_snapshot, $2, $3, $4)";

/// The database as of a poll.
#[derive(QueryableByName)]
struct Seen {
    #[diesel(sql_type = Text)]
    snapshot: String,
    #[diesel(sql_type = BigInt)]
    at: i64,
    #[diesel(sql_type = Text)]
    server: String,
    #[diesel(sql_type = Bool)]
    is_standby: bool,
    #[diesel(sql_type = Bool)]
    is_complete: bool,
    #[diesel(sql_type = Array<Nullable<Integer>>)]
    user_ids: Vec<Option<i32>>,
}

impl Seen {
    fn since(earlier: Option<&Self>, connection: &mut PgConnection) -> Result<Self> {
        let seen: Self = diesel::sql_query(POLL)
            .bind::<Nullable<Text>, _>(earlier.map(|seen| &seen.snapshot))
            .bind::<Nullable<BigInt>, _>(earlier.map(|seen| seen.at))
            .bind::<Nullable<Text>, _>(earlier.map(|seen| &seen.server))
            .bind::<Integer, _>(MAX_USERS + 1)
            .get_result(connection)?;
        if seen.is_standby {
            return Err(ServiceError::unavailable(
                "the server is a standby, which may lag behind the primary",
            ));
        }
        Ok(seen)
    }

    fn changes(&self) -> Vec<Change> {
        let are_few = i32::try_from(self.user_ids.len()).is_ok_and(|number| number <= MAX_USERS);
        if !self.is_complete || !are_few {
            return vec![Change::Unknown];
        }
        let change = |user_id: &Option<i32>| user_id.map_or(Change::Unknown, Change::User);
        self.user_ids.iter().map(change).collect()
    }
}

/// A connection that polls the table.
pub(super) struct PolledChanges {
    connection: PgConnection,
    seen: Seen,
    polled_at: Instant,
}

impl PolledChanges {
    /// Starts after the changes that are visible now.
    pub fn open(mut connection: PgConnection) -> Result<Self> {
        let polled_at = Instant::now();
        let seen = Seen::since(None, &mut connection)?;
        Ok(Self {
            connection,
            seen,
            polled_at,
        })
    }

    /// Returns the changes since the last call, and the time up to which they are complete.
    pub fn poll(&mut self) -> Result<(Vec<Change>, Instant)> {
        let start = Instant::now();
        if start - self.polled_at < POLL_INTERVAL {
            return Ok((Vec::new(), self.polled_at));
        }
        self.seen = Seen::since(Some(&self.seen), &mut self.connection)?;
        self.polled_at = start;
        Ok((self.seen.changes(), start))
    }
}

/// A point in time. Rows of changes that were visible before it are deleted [`CHANGE_RETENTION`] later.
#[derive(QueryableByName)]
struct Moment {
    #[diesel(sql_type = Text)]
    snapshot: String,
    #[diesel(sql_type = BigInt)]
    at: i64,
}

pub(super) struct Horizon {
    moment: Moment,
    reached_at: Instant,
}

impl Store {
    /// Deletes the rows of changes that were visible at an earlier call at least `retention` ago. Every node has seen
    /// them, or will detect that it has missed changes. Does nothing on SQLite, whose table has at most one row for
    /// each user.
    pub fn prune_changes(&self, retention: Duration) -> Result<()> {
        if let Database::Sqlite(_) = self.database {
            return Ok(());
        }
        let mut horizon = self.horizon.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(horizon) = &*horizon {
            if horizon.reached_at.elapsed() < retention {
                return Ok(());
            }
            while self.write(|tx| tx.delete_changes(&horizon.moment))? {}
        }
        let moment = self.read(Reader::moment)?;
        *horizon = Some(Horizon {
            moment,
            reached_at: Instant::now(),
        });
        Ok(())
    }
}

impl Reader {
    fn moment(&mut self) -> Result<Moment> {
        const MOMENT: &str = "SELECT pg_current_snapshot()::text AS snapshot, \
                              (extract(epoch FROM statement_timestamp()) * 1000000)::bigint AS at";
        Ok(diesel::sql_query(MOMENT).get_result(self.connection())?)
    }
}

impl Transaction {
    /// Deletes some of the rows that were visible at a moment. Returns whether there may be more of them.
    ///
    /// The age of a row alone is not enough, because a transaction may become visible long after it has stored the row. Its
    /// transaction alone is not enough either, because the same number may have been used before a failover.
    fn delete_changes(&mut self, moment: &Moment) -> Result<bool> {
        const DELETE: &str = "\
            DELETE FROM changes WHERE ctid = ANY (ARRAY( \
                SELECT ctid FROM changes \
                WHERE xid < pg_snapshot_xmax($1::pg_snapshot) AND pg_visible_in_snapshot(xid, $1::pg_snapshot) \
                AND created_at < to_timestamp($2 / 1000000.0) LIMIT $3 FOR UPDATE SKIP LOCKED))";
        let deleted = diesel::sql_query(DELETE)
            .bind::<Text, _>(&moment.snapshot)
            .bind::<BigInt, _>(moment.at)
            .bind::<Integer, _>(MAX_BATCH)
            .execute(self.connection())?;
        Ok(i32::try_from(deleted).is_ok_and(|deleted| deleted >= MAX_BATCH))
    }
}
