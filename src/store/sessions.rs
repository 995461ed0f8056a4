//! Records whether connections to PostgreSQL have sessions of their own, or share them behind a pooler.
//!
//! A pooler that shares sessions, such as PgBouncer with `pool_mode=transaction`, assigns each transaction to any of
//! its connections to the server. State that a session keeps between two transactions is then lost, or affects another
//! client: notifications, prepared statements, settings and advisory locks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::settings::Database;

/// What a connection can rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// Each connection has a session of its own, or is a connection to SQLite.
    Own,
    /// Nothing outlives a transaction.
    Shared,
}

/// Records when the connections to one database were last known to have sessions of their own. Clones share the value.
///
/// The restart of a pooler, which may change its mode, closes all connections. So if one connection with a session of its
/// own still works, all open connections that are older than its last response have sessions of their own too. This does
/// not hold for a pooler that changes its mode without a restart, nor for several poolers with different modes.
#[derive(Clone, Debug)]
pub struct SessionMode {
    proved_own_at: Arc<Mutex<Option<Instant>>>,
}

impl SessionMode {
    /// Creates the mode in which every connection works, whether it shares its session or not.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        let is_embedded = matches!(database, Database::Sqlite(_));
        Self {
            proved_own_at: Arc::new(Mutex::new(is_embedded.then(Instant::now))),
        }
    }

    #[must_use]
    pub fn get(&self) -> Sessions {
        match self.proved_own_at() {
            Some(_) => Sessions::Own,
            None => Sessions::Shared,
        }
    }

    /// Returns the latest time at which every open connection is known to have had a session of its own. `None` means that
    /// connections may share sessions.
    #[must_use]
    pub fn proved_own_at(&self) -> Option<Instant> {
        *self.lock()
    }

    /// Records that every connection that was open at this time had a session of its own.
    pub fn prove_own(&self, at: Instant) {
        *self.lock() = Some(at);
    }

    /// Extends an earlier proof up to this time. Does nothing if connections may share sessions since then.
    pub fn extend_proof(&self, at: Instant) {
        if let Some(proved_at) = &mut *self.lock() {
            *proved_at = at.max(*proved_at);
        }
    }

    /// Records that connections may share sessions. The pool replaces those that rely on a session of their own.
    pub fn set_shared(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        // A panic cannot leave a wrong state behind, because each change is one assignment.
        self.proved_own_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
