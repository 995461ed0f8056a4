//! Keeps the service's clock right.

use chrono::TimeDelta;

use super::Auth;
use crate::clock::{Clock, ClockChange, HOLD_TIME, SETTLING_TIME};
use crate::error::Result;
use crate::settings::Database;
use crate::store::Store;

impl Auth {
    /// Compares the service's clock with PostgreSQL's, or with the machine's if the database is embedded. Call it every
    /// few seconds.
    pub fn follow_clock(&self) -> Result<()> {
        follow(&self.clock, &self.store)
    }
}

/// Reads the time and lets the clock follow it. Logs jumps.
pub(super) fn follow(clock: &Clock, store: &Store) -> Result<()> {
    let change = clock.follow(&store.read_clock()?);
    let source = match store.database() {
        Database::Postgres(_) => "the clock of the database",
        Database::Sqlite(_) => "the clock of this machine",
    };
    match change {
        ClockChange::None => {}
        ClockChange::Started(difference) => {
            if difference.abs() > TimeDelta::seconds(1) && matches!(store.database(), Database::Postgres(_)) {
                log::warn!(
                    "the clock of this machine differs from the database's by {}; the latter is used, but the times in the \
                     log are this machine's",
                    seconds(-difference)
                );
            }
        }
        ClockChange::Jumped(jump) => log::warn!(
            "{source} has jumped by {}; this has no effect unless it lasts for {} seconds",
            seconds(jump),
            HOLD_TIME.as_secs()
        ),
        ClockChange::Returned => log::warn!("{source} has jumped back"),
        ClockChange::Followed(jump) => log::warn!(
            "the jump of {source} by {} has lasted, so the server now uses this time; for the next {} minutes, rows that \
             expired only because of this jump are not deleted",
            seconds(jump),
            SETTLING_TIME.as_secs() / 60
        ),
    }
    Ok(())
}

/// Formats a difference, such as `+3600.0 s`.
fn seconds(difference: TimeDelta) -> String {
    format!("{:+.1} s", difference.as_seconds_f64())
}
