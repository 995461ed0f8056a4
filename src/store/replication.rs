//! Reads from PostgreSQL whether a failover to a standby can undo acknowledged changes.

use std::fmt;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::connection::DbConnection;
use super::{Reader, Store};
use crate::error::Result;

/// How PostgreSQL replicates acknowledged changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// A change is acknowledged only after a standby has it, so it survives a failover.
    Synchronous,
    Incomplete(ReplicationGap),
}

/// The reason why acknowledged changes may not survive a failover.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicationGap {
    /// There is nothing to fail over to.
    #[error("no standby is connected, and synchronous_standby_names is empty")]
    NoStandby,
    #[error(
        "PostgreSQL does not wait for its standbys, because synchronous_standby_names is empty. With Patroni, set \
         synchronous_mode: true. Otherwise, run: ALTER SYSTEM SET synchronous_standby_names = '…'"
    )]
    NoSynchronousStandby,
    #[error(
        "PostgreSQL does not wait for its standbys, because synchronous_commit is {0} for this role. To change it, \
         run: ALTER ROLE … SET synchronous_commit = on"
    )]
    CommitsDoNotWait(String),
}

impl fmt::Display for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Synchronous => f.write_str("a standby has each change before it is acknowledged"),
            Self::Incomplete(gap) => gap.fmt(f),
        }
    }
}

impl Replication {
    /// Returns the warning to log if a failover can undo acknowledged changes. `None` without a standby, because no
    /// failover is then possible.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        match self {
            Self::Incomplete(gap @ (ReplicationGap::NoSynchronousStandby | ReplicationGap::CommitsDoNotWait(_))) => {
                Some(format!(
                    "a failover can undo acknowledged changes, including revocations: {gap}"
                ))
            }
            Self::Synchronous | Self::Incomplete(ReplicationGap::NoStandby) => None,
        }
    }
}

impl Store {
    /// Returns how PostgreSQL replicates acknowledged changes. `None` on SQLite.
    pub fn replication(&self) -> Result<Option<Replication>> {
        self.read(Reader::replication)
    }
}

#[derive(QueryableByName)]
struct ReplicationSettings {
    #[diesel(sql_type = Text)]
    standby_names: String,
    #[diesel(sql_type = Text)]
    commit: String,
    /// How many standbys and other programs receive the write-ahead log. Every role may count them.
    #[diesel(sql_type = BigInt)]
    receivers: i64,
}

impl Reader {
    fn replication(&mut self) -> Result<Option<Replication>> {
        const SETTINGS: &str = "
            SELECT current_setting('synchronous_standby_names') AS standby_names,
                   current_setting('synchronous_commit') AS commit,
                   (SELECT count(*) FROM pg_stat_replication) AS receivers";
        match self.connection() {
            DbConnection::Postgres(c) => {
                let settings: ReplicationSettings = diesel::sql_query(SETTINGS).get_result(c)?;
                Ok(Some(settings.replication()))
            }
            DbConnection::Sqlite(_) => Ok(None),
        }
    }
}

impl ReplicationSettings {
    fn replication(self) -> Replication {
        let has_names = !self.standby_names.trim().is_empty();
        let waits = matches!(self.commit.as_str(), "on" | "remote_write" | "remote_apply");
        match (has_names, self.receivers) {
            (true, _) if waits => Replication::Synchronous,
            (true, _) => Replication::Incomplete(ReplicationGap::CommitsDoNotWait(self.commit)),
            (false, 0) => Replication::Incomplete(ReplicationGap::NoStandby),
            (false, _) => Replication::Incomplete(ReplicationGap::NoSynchronousStandby),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_survive_a_failover_only_if_commits_wait_for_a_named_standby() {
        use ReplicationGap::{CommitsDoNotWait, NoStandby, NoSynchronousStandby};
        let incomplete = Replication::Incomplete;
        for (standby_names, commit, receivers, expected) in [
            ("ANY 1 (*)", "on", 2, Replication::Synchronous),
            ("pg2", "remote_write", 1, Replication::Synchronous),
            ("pg2", "remote_apply", 0, Replication::Synchronous),
            ("pg2", "local", 1, incomplete(CommitsDoNotWait("local".to_owned()))),
            ("pg2", "off", 1, incomplete(CommitsDoNotWait("off".to_owned()))),
            (" ", "on", 1, incomplete(NoSynchronousStandby)),
            ("", "on", 0, incomplete(NoStandby)),
            ("", "off", 0, incomplete(NoStandby)),
        ] {
            let settings = ReplicationSettings {
                standby_names: standby_names.to_owned(),
                commit: commit.to_owned(),
                receivers,
            };
            assert_eq!(
                settings.replication(),
                expected,
                "{standby_names:?} {commit} {receivers}"
            );
        }
    }
}
