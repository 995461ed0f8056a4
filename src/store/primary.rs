//! Recognizes the primary of a PostgreSQL cluster, so that a primary that has been replaced is no longer used.
//!
//! A primary that was stopped or cut off may come back after a standby has been promoted. Until it is demoted, it
//! responds as before, but lacks the latest revocations. Each promotion begins a new timeline with a higher number.
//! Therefore, once this process has reached a timeline, it closes its connections to servers on earlier timelines of
//! the same cluster, and opens no new ones to them.
//!
//! A standby may lag behind its primary, so connections to standbys are not used at all.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use super::connection::DbConnection;
use crate::error::{Result, ServiceError};

/// The part of a cluster's history that one primary has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timeline {
    /// The system identifier, which all members of a cluster share.
    cluster: i64,
    number: u32,
}

/// The primary as this process has last observed it.
#[derive(Default)]
pub(super) struct Primary {
    /// The position in the URL of the server that was last found to be the primary.
    last_server: AtomicUsize,
    /// The latest timeline that has been reached.
    latest: Mutex<Option<Latest>>,
    /// Whether the warning that the timeline cannot be read has been logged.
    has_warned: AtomicBool,
}

#[derive(Clone, Copy)]
struct Latest {
    timeline: Timeline,
    /// When the process first reached it.
    reached_at: Instant,
}

/// The reason why a server is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotPrimary {
    #[error(
        "it is a standby, which may not have the latest revocations; DATABASE_URL must lead to the primary, so name all \
         servers of the cluster in it: postgres://USER@HOST1,HOST2/NAME"
    )]
    Standby,
    #[error(
        "it is a primary that has been replaced: its timeline is {0}, and {1} has been reached; demote this server, or, \
         if the cluster has returned to it on purpose, restart shoko-auth"
    )]
    Replaced(u32, u32),
}

#[diesel::declare_sql_function]
extern "SQL" {
    /// Returns whether the server is a standby.
    fn pg_is_in_recovery() -> Bool;
}

/// Checks that the server of a connection responds and is not a standby. A connection through a pooler may lead to
/// another server than before.
pub(super) fn check_primary(connection: &mut PgConnection) -> Result<()> {
    if diesel::select(pg_is_in_recovery()).get_result(connection)? {
        Err(ServiceError::unavailable(NotPrimary::Standby))
    } else {
        Ok(())
    }
}

impl Primary {
    /// Checks that a server is the latest primary, and returns its timeline, if it has one.
    pub fn admit(&self, connection: &mut DbConnection) -> QueryResult<Result<Option<Timeline>, NotPrimary>> {
        let DbConnection::Postgres(connection) = connection else {
            return Ok(Ok(None));
        };
        let state = match ServerState::read(connection) {
            Ok(state) => state,
            // A timeline has been reached. A server that does not show its own could be a replaced primary.
            Err(error) if self.latest().is_some() => return Err(error),
            // Databases that only speak PostgreSQL's protocol have no timelines.
            Err(error) => {
                let state = ServerState::read_without_timeline(connection)?;
                self.warn_without_timeline(&error);
                state
            }
        };
        if state.is_standby {
            return Ok(Err(NotPrimary::Standby));
        }
        let Some(timeline) = state.timeline() else {
            return Ok(Ok(None));
        };
        Ok(self.reach(timeline).map(|()| Some(timeline)))
    }

    /// Logs once that a primary that has been replaced cannot be recognized.
    fn warn_without_timeline(&self, error: &diesel::result::Error) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            log::warn!(
                "the database does not show its timeline, so a primary that has been replaced is not recognized; if this is \
                 PostgreSQL, allow the role to execute pg_control_system(): {error}"
            );
        }
    }

    /// Records that a primary writes this timeline. Fails if a later one has been reached.
    fn reach(&self, timeline: Timeline) -> Result<(), NotPrimary> {
        let mut latest = self.latest();
        let known = latest.map(|latest| latest.timeline);
        match known.filter(|known| known.cluster == timeline.cluster) {
            Some(known) if known.number == timeline.number => return Ok(()),
            Some(known) if known.number > timeline.number => {
                return Err(NotPrimary::Replaced(timeline.number, known.number));
            }
            Some(known) => log::warn!(
                "another server has become the primary (timeline {} after {}), so all connections to the previous one are \
                 closed",
                timeline.number,
                known.number
            ),
            None => {}
        }
        *latest = Some(Latest {
            timeline,
            reached_at: Instant::now(),
        });
        Ok(())
    }

    /// Returns the position in the URL of the server that was last found to be the primary.
    pub fn last_server(&self) -> usize {
        self.last_server.load(Ordering::Relaxed)
    }

    pub fn set_last_server(&self, position: usize) {
        self.last_server.store(position, Ordering::Relaxed);
    }

    /// Returns whether a later timeline of the same cluster has been reached.
    pub fn has_replaced(&self, timeline: Option<Timeline>) -> bool {
        let latest = self.latest().map(|latest| latest.timeline);
        latest
            .zip(timeline)
            .is_some_and(|(latest, timeline)| latest.cluster == timeline.cluster && latest.number > timeline.number)
    }

    /// Returns whether the latest timeline was first reached after `time`.
    pub fn has_changed_since(&self, time: Instant) -> bool {
        self.latest().is_some_and(|latest| latest.reached_at > time)
    }

    fn latest(&self) -> MutexGuard<'_, Option<Latest>> {
        // A panic cannot leave a wrong state behind, because each change is complete in one step.
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(QueryableByName)]
struct ServerState {
    #[diesel(sql_type = Bool)]
    is_standby: bool,
    #[diesel(sql_type = Nullable<BigInt>)]
    cluster: Option<i64>,
    /// The timeline in hexadecimal digits. `None` on a standby.
    #[diesel(sql_type = Nullable<Text>)]
    timeline: Option<String>,
}

impl ServerState {
    fn read(connection: &mut PgConnection) -> QueryResult<Self> {
        // The name of a segment of the write-ahead log begins with the timeline. Unlike the timeline of the last
        // checkpoint, it changes with the promotion.
        const STATE: &str = "
            SELECT pg_is_in_recovery() AS is_standby, system_identifier AS cluster,
                   CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END
                       AS timeline
            FROM pg_control_system()";
        diesel::sql_query(STATE).get_result(connection)
    }

    fn read_without_timeline(connection: &mut PgConnection) -> QueryResult<Self> {
        const STATE: &str = "
            SELECT pg_is_in_recovery() AS is_standby, NULL::bigint AS cluster, NULL::text AS timeline";
        diesel::sql_query(STATE).get_result(connection)
    }

    fn timeline(&self) -> Option<Timeline> {
        let number = u32::from_str_radix(self.timeline.as_deref()?, 16).ok()?;
        self.cluster.map(|cluster| Timeline { cluster, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn timeline(cluster: i64, number: u32) -> Timeline {
        Timeline { cluster, number }
    }

    #[test]
    fn a_primary_that_has_been_replaced_is_rejected_and_its_connections_are_recognized() {
        let primary = Primary::default();
        let (old, new) = (timeline(1, 9), timeline(1, 10));
        primary.reach(old).unwrap();
        assert!(!primary.has_replaced(Some(old)));
        primary.reach(new).unwrap();
        assert_eq!(primary.reach(old), Err(NotPrimary::Replaced(9, 10)));
        assert!(primary.has_replaced(Some(old)) && !primary.has_replaced(Some(new)));
        assert!(!primary.has_replaced(None), "without timelines, nothing is known");
    }

    #[test]
    fn another_cluster_replaces_nothing_because_timelines_of_two_clusters_cannot_be_compared() {
        let primary = Primary::default();
        primary.reach(timeline(1, 9)).unwrap();
        primary.reach(timeline(2, 1)).unwrap();
        assert!(!primary.has_replaced(Some(timeline(1, 9))));
        primary.reach(timeline(1, 8)).unwrap();
    }

    #[test]
    fn only_the_first_connection_to_a_timeline_changes_the_primary() {
        let primary = Primary::default();
        let before = Instant::now();
        primary.reach(timeline(1, 1)).unwrap();
        assert!(primary.has_changed_since(before));
        let after = Instant::now();
        primary.reach(timeline(1, 1)).unwrap();
        assert!(!primary.has_changed_since(after));
    }

    #[test]
    fn the_timeline_is_a_hexadecimal_number() {
        let state = ServerState {
            is_standby: false,
            cluster: Some(7),
            timeline: Some("0000001F".to_owned()),
        };
        assert_eq!(state.timeline(), Some(timeline(7, 31)));
    }
}
