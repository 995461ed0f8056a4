//! Follows the change feed, so that the key cache agrees with the database even when other processes change it.
//!
//! While no keys are verified, the feed is idle: it polls rarely, and no cached key is valid. The first verification
//! wakes it.

use std::io;
use std::sync::{Arc, Weak};
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

use super::cache::KeyCache;
use crate::auth::Auth;
use crate::error::{Result, ServiceError};
use crate::settings::Database;
use crate::store::{Change, ChangeFeed};

const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// How long cached keys stay valid after the last successful poll. This is also the longest delay before a revocation
/// on another node takes effect here.
const STALE_AFTER: Duration = Duration::from_millis(100);
/// How long after the last verification the feed becomes idle.
const QUIET_TIME: Duration = Duration::from_secs(2);
/// How often an idle feed polls. It must poll, because PostgreSQL stores notifications until they are received.
const IDLE_POLL_INTERVAL: Duration = Duration::from_secs(5);
const RECONNECT_INTERVAL: Duration = Duration::from_millis(250);

/// The state of the change feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedState {
    /// The feed is up to date, so verified keys are cached.
    Up,
    /// No keys are being verified. The next verification wakes the feed.
    Idle,
    /// The feed does not work, so every verification queries the database.
    Down,
}

impl Auth {
    /// Starts a thread that follows changes to `database`, which must be this service's own database. Verified keys are
    /// cached only while the thread can follow the changes. Only a server needs this: a command exits too soon to
    /// benefit.
    pub fn follow_changes(&self, database: &Database) -> io::Result<()> {
        let (cache, database) = (Arc::downgrade(&self.key_cache), database.clone());
        let thread = Builder::new().name("change-feed".to_owned());
        let started = thread.spawn(move || follow(&cache, &database))?;
        // A second thread is possible but is not waited for when the service is closed.
        drop(self.feed_thread.set(started));
        Ok(())
    }

    /// Returns the state of the change feed. Does not wake an idle feed.
    pub fn feed_state(&self) -> FeedState {
        if self.key_cache.is_valid() {
            FeedState::Up
        } else if self.key_cache.demand().is_idle() {
            FeedState::Idle
        } else {
            FeedState::Down
        }
    }
}

/// Follows the feed until the service has been dropped.
fn follow(cache: &Weak<KeyCache>, database: &Database) {
    let mut health = FeedHealth::default();
    while cache.strong_count() > 0 {
        if let Err(error) = follow_connection(cache, database, &mut health) {
            health.report(Some(&error));
            cache.upgrade().inspect(|cache| cache.demand().set_idle(false));
            sleep(RECONNECT_INTERVAL);
        }
    }
}

/// Follows the feed on one connection until the connection fails.
fn follow_connection(cache: &Weak<KeyCache>, database: &Database, health: &mut FeedHealth) -> Result<()> {
    let mut feed = ChangeFeed::open(database)?;
    // The feed does not report changes that were made before it was opened.
    cache.upgrade().inspect(|cache| cache.invalidate_all());
    let mut used_at = Instant::now();
    while let Some(cache) = cache.upgrade() {
        let (changes, as_of) = feed.poll()?;
        for change in changes {
            match change {
                Change::User(user_id) => cache.invalidate_user(user_id),
                Change::Unknown => cache.invalidate_all(),
            }
        }
        let demand = cache.demand();
        if demand.take() {
            used_at = Instant::now();
        }
        let is_idle = used_at.elapsed() >= QUIET_TIME;
        if !is_idle {
            cache.set_valid_until(as_of + STALE_AFTER);
        }
        demand.set_idle(is_idle);
        drop(cache);
        if is_idle {
            demand.wait(IDLE_POLL_INTERVAL);
        } else {
            let stale = || ServiceError::unavailable(format!("the feed is more than {STALE_AFTER:?} late"));
            health.report((as_of.elapsed() >= STALE_AFTER).then(stale).as_ref());
            sleep(POLL_INTERVAL);
        }
    }
    Ok(())
}

/// Whether the feed was last up or down. Only a change between the two is logged.
#[derive(Default)]
struct FeedHealth {
    is_down: bool,
}

impl FeedHealth {
    fn report(&mut self, error: Option<&ServiceError>) {
        match (error, self.is_down) {
            (Some(error), false) => {
                log::warn!("the change feed is down, so every verification queries the database: {error}");
            }
            (None, true) => log::info!("the change feed is up again"),
            _ => {}
        }
        self.is_down = error.is_some();
    }
}
