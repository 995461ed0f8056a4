//! Follows the change feed, so that the key cache agrees with the database even when other processes change it.
//!
//! While no keys are verified, the feed is idle: it polls rarely, and no cached key is valid. The first verification
//! wakes it. If the database does not respond on the feed's connection, another feed takes over.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

use super::cache::KeyCache;
use super::silence::Silence;
use crate::auth::Auth;
use crate::error::{Result, ServiceError};
use crate::store::{Change, ChangeFeed, EchoSender, Opener};

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

/// The maximum number of feeds that wait for the database, including those that have been replaced.
const MAX_FEEDS: usize = 20;

/// The thread that follows the feed, if it has been started.
#[derive(Default)]
pub struct FeedThread {
    running: Mutex<Option<Running>>,
    /// Each thread has a clone.
    threads: Arc<()>,
}

struct Running {
    progress: Arc<Progress>,
    handle: JoinHandle<()>,
}

/// What a feed needs to open its connection.
struct Source {
    opener: Opener,
    echo_sender: EchoSender,
}

/// Shows whether a feed thread still receives responses from the database.
#[derive(Default)]
struct Progress {
    /// When the current exchange with the database began. `None` between two exchanges.
    exchange_began_at: Mutex<Option<Instant>>,
    /// Whether another thread has taken over.
    is_replaced: AtomicBool,
}

impl FeedThread {
    /// Returns when the current exchange with the database began.
    pub fn waits_since(&self) -> Option<Instant> {
        self.running().as_ref().and_then(|running| *running.progress.lock())
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the thread has stopped. It stops when nothing else uses the cache.
    pub fn join(self) {
        if let Some(running) = self.running.into_inner().unwrap_or_else(PoisonError::into_inner) {
            // If the thread has panicked, it has closed its connection as well.
            drop(running.handle.join());
        }
    }
}

impl Progress {
    fn begin_exchange(&self) {
        *self.lock() = Some(Instant::now());
    }

    fn end_exchange(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.exchange_began_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Auth {
    /// Starts a thread that follows changes to the database. Verified keys are cached only while the thread can follow
    /// the changes. Only a server needs this: a command exits too soon to benefit.
    pub fn follow_changes(&self) -> io::Result<()> {
        self.start_feed(FeedHealth { is_down: false })
    }

    /// Starts another feed if the database does not respond to the current one. Call it regularly.
    pub fn replace_silent_feed(&self, silence: Silence) -> io::Result<()> {
        let opener = self.store.opener();
        let is_silent = |running: &Running| {
            let began_at = *running.progress.lock();
            began_at.is_some_and(|began_at| silence.is_final(began_at, opener))
        };
        let is_needed = self.feed_thread.running().as_ref().is_some_and(is_silent);
        if !is_needed || Arc::strong_count(&self.feed_thread.threads) > MAX_FEEDS {
            return Ok(());
        }
        let mut health = FeedHealth { is_down: false };
        health.report(Some(&ServiceError::unavailable("the database does not respond")));
        self.start_feed(health)
    }

    fn start_feed(&self, health: FeedHealth) -> io::Result<()> {
        let cache = Arc::downgrade(&self.key_cache);
        let source = Source {
            opener: self.store.opener().clone(),
            echo_sender: self.store.echo_sender(),
        };
        let progress = Arc::<Progress>::default();
        let (own_progress, running) = (progress.clone(), self.feed_thread.threads.clone());
        let thread = Builder::new().name("change-feed".to_owned());
        let handle = thread.spawn(move || {
            follow(&cache, &source, &own_progress, health);
            drop(running);
        })?;
        let replaced = self.feed_thread.running().replace(Running { progress, handle });
        if let Some(replaced) = replaced {
            replaced.progress.is_replaced.store(true, Ordering::Relaxed);
        }
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

/// Follows the feed until the service has been dropped or another thread has taken over.
fn follow(cache: &Weak<KeyCache>, source: &Source, progress: &Progress, mut health: FeedHealth) {
    while cache.strong_count() > 0 {
        let followed = follow_connection(cache, source, progress, &mut health);
        progress.end_exchange();
        // Another thread has taken over, and reports the state of the feed.
        if progress.is_replaced.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = followed {
            health.report(Some(&error));
            cache.upgrade().inspect(|cache| cache.demand().set_idle(false));
            sleep(RECONNECT_INTERVAL);
        }
    }
}

/// Follows the feed on one connection until the connection fails.
fn follow_connection(
    cache: &Weak<KeyCache>,
    source: &Source,
    progress: &Progress,
    health: &mut FeedHealth,
) -> Result<()> {
    progress.begin_exchange();
    let mut feed = ChangeFeed::open(&source.opener, &source.echo_sender)?;
    // The feed does not report changes that were made before it was opened.
    cache.upgrade().inspect(|cache| cache.invalidate_all());
    let mut used_at = Instant::now();
    while let Some(cache) = cache.upgrade() {
        progress.begin_exchange();
        let (changes, as_of) = feed.poll()?;
        progress.end_exchange();
        cache.set_polled_at(as_of);
        if progress.is_replaced.load(Ordering::Relaxed) {
            break;
        }
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
