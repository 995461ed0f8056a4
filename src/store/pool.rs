//! The pool of connections. It survives connections that never respond.
//!
//! PostgreSQL's timeouts do not end a wait for a server that is stopped, or for a proxy that keeps a connection open but
//! no longer forwards it, and libpq has no timeout for a response. The thread that waits cannot be interrupted.
//! Therefore a connection that has been in use for too long is abandoned: another one takes its place in the pool. If
//! another server has become the primary, connections to the previous one are abandoned at once.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use diesel::r2d2::{self, NopErrorHandler, PooledConnection};

use super::connection::{Manager, Pooled};
use super::opener::Opener;
use super::primary::Timeline;
use crate::error::{Result, ServiceError};
use crate::settings::CoreSettings;

/// How long a request waits for a connection while the database is unreachable. With a longer wait, requests would pile
/// up.
const CHECKOUT_TIMEOUT_WHILE_DOWN: Duration = Duration::from_millis(100);
/// The longest pause between attempts to reach a database that is down. It cannot be set directly: the pool takes half
/// of its `connection_timeout`, which affects nothing else here.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(250);
/// How long a connection that is not needed stays open.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 60);
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 60);
/// The maximum number of abandoned connections.
const MAX_ABANDONED: usize = 20;

pub(super) struct Pool {
    connections: r2d2::Pool<Manager>,
    opener: Opener,
    uses: Arc<Mutex<Uses>>,
    max_wait: Duration,
    /// How long after its checkout a connection may be abandoned.
    max_use: Duration,
    /// Whether the database was unreachable when a connection was last requested.
    is_down: AtomicBool,
}

#[derive(Default)]
struct Uses {
    last_id: u64,
    /// The connections in use, in the order of their checkouts.
    current: BTreeMap<u64, Use>,
    abandoned: usize,
}

struct Use {
    began_at: Instant,
    timeline: Option<Timeline>,
    /// The connection's place in the pool. The user of the connection has taken the connection itself.
    place: PooledConnection<Manager>,
}

/// A connection in use. Dropping this value returns the connection to the pool, or closes it.
pub(super) struct Checkout {
    /// `None` only during the drop.
    connection: Option<Pooled>,
    id: u64,
    uses: Arc<Mutex<Uses>>,
}

impl Pool {
    /// Creates a pool of up to `size` connections. Does not wait for the first one.
    pub fn new(settings: &CoreSettings, opener: Opener, size: u32) -> Self {
        // The only connection of a pool keeps its place. If it were closed when it is idle or old, another pool could take
        // the last place that the server has.
        let is_kept = size == 1;
        let connections = r2d2::Pool::builder()
            .max_size(size)
            .min_idle(Some(1))
            .idle_timeout((!is_kept).then_some(IDLE_TIMEOUT))
            .max_lifetime((!is_kept).then_some(MAX_LIFETIME))
            .test_on_check_out(false)
            .connection_timeout(RECONNECT_INTERVAL * 2)
            .error_handler(Box::new(NopErrorHandler))
            .build_unchecked(Manager::new(opener.clone()));
        Self {
            connections,
            opener,
            uses: Arc::default(),
            max_wait: settings.max_wait,
            max_use: settings.max_connection_use(),
            is_down: AtomicBool::default(),
        }
    }

    /// Returns a connection. Waits for it as long as the settings allow, or only a moment while the database is
    /// unreachable.
    pub fn connection(&self) -> Result<Checkout> {
        let timeout = if self.is_down.load(Ordering::Relaxed) {
            CHECKOUT_TIMEOUT_WHILE_DOWN
        } else {
            self.max_wait
        };
        let deadline = Instant::now() + timeout;
        loop {
            let mut connection = self.check_out(deadline)?;
            if self.opener.primary().has_replaced(connection.timeline()) {
                connection.discard();
            } else if connection.is_valid() {
                return Ok(connection);
            }
        }
    }

    /// Returns a connection that may have failed since its last use.
    fn check_out(&self, deadline: Instant) -> Result<Checkout> {
        self.abandon_connections();
        let timeout = deadline.saturating_duration_since(Instant::now());
        let place = self.connections.get_timeout(timeout);
        // If the pool has connections, they are only all in use. The database is down only if it has none.
        let is_down = place.is_err() && self.connections.state().connections == 0;
        let was_down = self.is_down.swap(is_down, Ordering::Relaxed);
        if was_down && !is_down {
            log::info!("the database is reachable again");
        }
        match &place {
            Err(error) if is_down && !was_down => log::warn!("the database is unreachable: {error}"),
            Err(_) if !is_down => {
                let in_use = self.connections_in_use();
                log::warn!("no connection to the database was free for {timeout:?}; {in_use} are in use");
            }
            _ => {}
        }
        let mut place = place.map_err(ServiceError::unavailable)?;
        let connection = place.take();
        let timeline = connection.as_ref().and_then(Pooled::timeline);
        let id = lock(&self.uses).begin(place, timeline);
        let uses = self.uses.clone();
        Ok(Checkout { connection, id, uses })
    }

    /// Returns a connection that works. Checks the connections that were opened before a failure at `failed_at`, because a
    /// server that has closed one has probably closed all, and lets them prepare their statements again. Returns a later
    /// connection unchecked, because another one would be no better.
    pub fn working_connection(&self, failed_at: Instant) -> Result<Checkout> {
        loop {
            let mut connection = self.connection()?;
            if connection.opened_at() > failed_at {
                return Ok(connection);
            }
            if connection.works() {
                connection.discard_statements();
                return Ok(connection);
            }
        }
    }

    /// Abandons the connections that have been in use for too long, and those to a primary that has been replaced.
    fn abandon_connections(&self) {
        let max_use = self.max_use;
        let mut uses = lock(&self.uses);
        while let Some(overdue) = uses.abandon(|current| current.began_at.elapsed() > max_use) {
            drop(overdue);
            log::warn!(
                "the database has not responded on a connection for {max_use:?}, so another one takes its place"
            );
        }
        let primary = self.opener.primary();
        while let Some(replaced) = uses.abandon(|current| primary.has_replaced(current.timeline)) {
            drop(replaced);
            log::warn!("a connection in use leads to a primary that has been replaced, so another one takes its place");
        }
    }

    /// Returns whether a connection has been in use for longer than `time`.
    pub fn has_been_silent_for(&self, time: Duration) -> bool {
        let uses = lock(&self.uses);
        let oldest = uses.current.values().next();
        oldest.is_some_and(|oldest| oldest.began_at.elapsed() > time)
    }

    /// Returns how many connections are in use.
    pub fn connections_in_use(&self) -> usize {
        lock(&self.uses).current.len()
    }
}

impl Uses {
    fn begin(&mut self, place: PooledConnection<Manager>, timeline: Option<Timeline>) -> u64 {
        self.last_id += 1;
        let current = Use {
            began_at: Instant::now(),
            timeline,
            place,
        };
        self.current.insert(self.last_id, current);
        self.last_id
    }

    /// Removes a use that meets the condition. The connection's place in the pool is free again when the returned value
    /// is dropped.
    fn abandon(&mut self, condition: impl Fn(&Use) -> bool) -> Option<Use> {
        if self.abandoned >= MAX_ABANDONED {
            return None;
        }
        let (id, _) = self.current.iter().find(|(_, current)| condition(current))?;
        let id = *id;
        self.abandoned += 1;
        self.current.remove(&id)
    }
}

fn lock(uses: &Mutex<Uses>) -> MutexGuard<'_, Uses> {
    // A panic cannot leave a wrong state behind, because each change is complete in one step.
    uses.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Deref for Checkout {
    type Target = Pooled;

    fn deref(&self) -> &Pooled {
        self.connection
            .as_ref()
            .expect("the connection is there until the drop")
    }
}

impl DerefMut for Checkout {
    fn deref_mut(&mut self) -> &mut Pooled {
        self.connection
            .as_mut()
            .expect("the connection is there until the drop")
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let mut uses = lock(&self.uses);
        let Some(Use { mut place, .. }) = uses.current.remove(&self.id) else {
            uses.abandoned -= 1;
            return;
        };
        drop(uses);
        *place = self.connection.take();
    }
}
