//! Records whether connections to PostgreSQL have sessions of their own, or share them behind a pooler.
//!
//! A pooler that shares sessions, such as PgBouncer with `pool_mode=transaction`, assigns each transaction to any of
//! its connections to the server. State that a session keeps between two transactions is then lost, or affects another
//! client: notifications, prepared statements, settings and advisory locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::settings::Database;

/// What a connection can rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// Each connection has a session of its own, or is a connection to SQLite.
    Own,
    /// Nothing outlives a transaction.
    Shared,
}

/// How this program uses connections to one database at the moment. Clones share the value.
#[derive(Clone, Debug)]
pub struct SessionMode {
    are_shared: Arc<AtomicBool>,
}

impl SessionMode {
    /// Creates the mode in which every connection works, whether it shares its session or not.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        let are_shared = matches!(database, Database::Postgres(_));
        Self {
            are_shared: Arc::new(are_shared.into()),
        }
    }

    #[must_use]
    pub fn get(&self) -> Sessions {
        if self.are_shared.load(Ordering::SeqCst) {
            Sessions::Shared
        } else {
            Sessions::Own
        }
    }

    /// Changes how connections are used. The pool replaces the open ones.
    pub fn set(&self, sessions: Sessions) {
        self.are_shared.store(sessions == Sessions::Shared, Ordering::SeqCst);
    }
}
