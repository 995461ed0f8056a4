//! The operations of the service: [`Auth`] is the one handle that every dialect and the command line use.
//!
//! The module is synchronous and does not use HTTP. Each file of this folder has the methods for one subject.

mod account_keys;
mod administration;
mod audit;
mod audit_limits;
mod backup;
mod clock;
mod database_lock;
mod file_access;
mod file_system;
mod hashing;
mod import;
mod issue;
mod keys;
mod links;
mod login;
mod measure;
mod open;
mod password_changes;
mod permission;
mod preferences;
mod replication;
mod sealing;
mod sessions;
mod throttle;
mod users;
mod verification;

#[cfg(test)]
mod interleaving_tests;

use std::sync::Arc;

use chrono::{NaiveDateTime, TimeDelta};

pub use crate::store::{BATCH_PAUSE, ChangeSource, ConnectError, ConnectionLimits, Page, Replication, ReplicationGap};
pub use account_keys::NewKey;
pub use administration::ListedUser;
pub use audit::LOG_TARGET as AUDIT_LOG_TARGET;
pub use backup::{BackupError, RestoreOptions, Restored, back_up, restore};
pub use file_access::{Pipes, ReadFileError, read_file};
pub use import::{Counts, ImportMode, ImportReport, RowOutcome, RowReport, ShokoDatabase, ShokoError, Table};
pub use issue::IssuedKey;
pub use keys::{KeyFilter, KeySelection};
pub use links::{CreatedUser, NewLink};
pub use login::LogIn;
pub use open::OpenError;
pub use sealing::{SecretState, SecretUse};
pub use sessions::{NewSession, SignIn};
pub use throttle::{ACCOUNT_FAILURES, Throttles, Wait, longest_wait, max_failures};
pub use users::{CreatedAdmin, KeysAfterChange};
pub use verification::{FeedState, LookupResult, Silence};

use crate::clock::Clock;
use crate::error::Result;
use crate::metrics::Metrics;
use crate::model::Acceptance;
use crate::secret::password::Passwords;
use crate::secret::seal::Sealer;
use crate::settings::{KeyLimits, SessionLimits};
use crate::store::{CHANGE_RETENTION, Store};
use audit::AuditLog;
use database_lock::DatabaseLock;
use hashing::HashingPool;
use password_changes::PasswordChanges;
use replication::LastReplication;
use throttle::Throttle;
use verification::{FeedThread, KeyCache, LastUsedBuffer, Lookups};

/// The service: all operations that dialects and the command line can run.
pub struct Auth {
    clock: Clock,
    store: Store,
    passwords: Arc<Passwords>,
    hashing: HashingPool,
    password_changes: PasswordChanges,
    sealer: Sealer,
    throttle: Throttle,
    audit: AuditLog,
    key_limits: KeyLimits,
    session_limits: SessionLimits,
    link_lifetime: TimeDelta,
    key_cache: Arc<KeyCache>,
    lookups: Lookups,
    last_used: LastUsedBuffer,
    feed_thread: FeedThread,
    replication: LastReplication,
    /// `None` if nothing is to be counted.
    metrics: Option<Arc<Metrics>>,
    /// Held until the service is dropped, so that no restore replaces the embedded database.
    _lock: Option<DatabaseLock>,
}

impl Auth {
    /// Runs the database migrations.
    pub fn migrate(&self) -> Result<()> {
        self.store.migrate(|_| Ok(()))
    }

    /// Copies committed changes into SQLite's database file. Call it once a minute.
    pub fn checkpoint(&self) -> Result<()> {
        self.store.checkpoint()
    }

    /// Deletes rows of PostgreSQL's table of changes that no node needs any longer. Call it once a minute.
    pub fn prune_changes(&self) -> Result<()> {
        self.store.prune_changes(CHANGE_RETENTION)
    }

    /// Returns how changes by other processes arrive.
    pub fn change_source(&self) -> ChangeSource {
        self.store.change_source()
    }

    /// Returns whether the database is on another machine and is reached without TLS.
    pub fn is_database_exposed(&self) -> Result<bool> {
        self.store.is_exposed()
    }

    /// Returns how many connections a PostgreSQL database allows.
    pub fn connection_limits(&self) -> Option<&ConnectionLimits> {
        self.store.connection_limits()
    }

    /// Stops all threads and closes all database connections. SQLite's database file is then complete by itself.
    pub fn close(self) -> Result<()> {
        self.lookups.stop();
        // The feed's thread stops when nothing else uses the cache.
        drop(self.key_cache);
        self.feed_thread.join();
        self.store.close()
    }

    /// Returns the current time of the service's clock in UTC.
    pub fn now(&self) -> NaiveDateTime {
        self.clock.now()
    }

    /// Checks that the database responds, both on a connection from the pool and on the lookup thread's own connection.
    pub fn ping(&self) -> Result<()> {
        self.store.ping()?;
        // No key has this hash.
        self.look_up_blocking(vec![[0; 32]], Acceptance::FullKeys).map(drop)
    }
}
