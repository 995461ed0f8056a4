//! What the service can do: [`Auth`] is the one handle that every dialect and the command line call.
//! Synchronous, and without a word of HTTP. The methods are in the files of this folder, by subject.

mod account;
mod audit;
mod callers;
mod feed;
mod import;
mod keys;
mod login;
mod lookups;
mod open;
mod preferences;
mod throttle;
mod uses;
mod verify;

#[cfg(test)]
mod interleaving_tests;

use std::sync::Arc;

use chrono::NaiveDateTime;

pub use account::{FirstAdminMade, KeysAfterChange};
pub use import::{Done, ImportMode, ImportReport, RowReport, Table, Tally};
pub use login::{IssuedKey, LogIn};
pub use open::OpenError;
pub use throttle::{ACCOUNT_FAILURES, MAX_WAIT, NETWORK_FAILURES, NETWORK_WINDOW};

use crate::clock::Clock;
use crate::error::Result;
use crate::secret::hasher::Hasher;
use crate::secret::key::Sealer;
use crate::secret::password::Passwords;
use crate::store::Store;
use callers::Callers;
use lookups::LookUps;
use throttle::Throttle;
use uses::Uses;

/// The service.
pub struct Auth {
    clock: Clock,
    store: Store,
    passwords: Arc<Passwords>,
    hasher: Hasher,
    sealer: Sealer,
    throttle: Throttle,
    callers: Arc<Callers>,
    lookups: LookUps,
    uses: Uses,
}

impl Auth {
    /// Brings the tables up to date.
    pub fn migrate(&self) -> Result<()> {
        self.store.migrate(|_| Ok(()))
    }

    /// Returns the current time of the service's clock, in UTC.
    pub fn now(&self) -> NaiveDateTime {
        self.clock.now()
    }

    /// Whether the database answers, also those who look keys up.
    pub fn ping(&self) -> Result<()> {
        self.store.ping()?;
        // Nobody has that one.
        self.look_up_now(vec![[0; 32]]).map(drop)
    }
}
