//! Observes whether acknowledged changes survive a failover to a standby of PostgreSQL.

use std::sync::{Mutex, PoisonError};

use super::Auth;
use crate::error::Result;
use crate::store::Replication;

/// The last observation. `None` on SQLite, and before the first one.
#[derive(Default)]
pub struct LastReplication(Mutex<Option<Replication>>);

impl Auth {
    /// Queries how PostgreSQL replicates acknowledged changes. Returns `None` on SQLite.
    pub fn check_replication(&self) -> Result<Option<Replication>> {
        let replication = self.store.replication()?;
        let mut last = self.replication.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone_from(&replication);
        Ok(replication)
    }

    /// Returns the result of the last check.
    pub fn last_replication(&self) -> Option<Replication> {
        let last = self.replication.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }
}
