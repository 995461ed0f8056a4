//! Looks up keys that are not cached, on a thread with its own database connection.
//!
//! One query serves many waiting requests, so each key costs less when more keys wait. Because the thread has its own
//! connection, logins and verifications do not wait for each other's connections, and a flood of unknown keys occupies
//! only this thread. In measurements, a second thread reduced the throughput, because each thread found fewer keys
//! waiting.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::cache::KeyCache;
use crate::clock::Clock;
use crate::error::{Result, ServiceError};
use crate::model::{Acceptance, KeyHolder};
use crate::secret::key::KeyHash;
use crate::settings::{CoreSettings, Database};
use crate::store::Store;

/// The maximum number of requests that one query serves.
const MAX_BATCH: usize = 256;
/// The maximum number of waiting requests. Further ones fail with [`ServiceError::Busy`].
const MAX_PENDING_LOOKUPS: usize = 2_000;

/// The result of a lookup: the holder of the request's first valid and accepted key, or `None` if there is none.
pub type LookupResult = Result<Option<Arc<KeyHolder>>>;

/// The lookup thread. It starts with the first lookup and stops when this value is dropped.
pub struct Lookups {
    clock: Clock,
    database: Database,
    max_wait: Duration,
    cache: Arc<KeyCache>,
    thread: OnceLock<LookupThread>,
}

struct LookupThread {
    queue: SyncSender<Lookup>,
    /// `None` if the thread could not be started.
    handle: Option<JoinHandle<()>>,
}

struct Lookup {
    hashes: Vec<KeyHash>,
    acceptance: Acceptance,
    on_result: Box<dyn FnOnce(LookupResult) + Send>,
}

impl Lookups {
    pub fn new(settings: &CoreSettings, cache: Arc<KeyCache>) -> Self {
        Self {
            clock: settings.clock.clone(),
            database: settings.database.clone(),
            max_wait: settings.max_wait,
            cache,
            thread: OnceLock::new(),
        }
    }

    /// Queues a lookup. `on_result` receives the result on the lookup thread, or an error on this thread if the lookup
    /// cannot be queued.
    pub fn start(
        &self,
        hashes: Vec<KeyHash>,
        acceptance: Acceptance,
        on_result: impl FnOnce(LookupResult) + Send + 'static,
    ) {
        let on_result = Box::new(on_result);
        let lookup = Lookup {
            hashes,
            acceptance,
            on_result,
        };
        match self.queue().try_send(lookup) {
            Ok(()) => {}
            Err(TrySendError::Full(lookup)) => (lookup.on_result)(Err(ServiceError::Busy {
                retry_after: Duration::from_secs(1),
            })),
            Err(TrySendError::Disconnected(lookup)) => {
                (lookup.on_result)(Err(ServiceError::internal("the lookup thread is not running")));
            }
        }
    }

    fn queue(&self) -> &SyncSender<Lookup> {
        let thread = self.thread.get_or_init(|| {
            let (sender, receiver) = sync_channel(MAX_PENDING_LOOKUPS);
            let store = Store::new(&self.database, 1, self.max_wait);
            let (cache, clock) = (self.cache.clone(), self.clock.clone());
            let thread = Builder::new().name("key-lookup".to_owned());
            let started = thread.spawn(move || run(&store, &cache, &clock, &receiver));
            let started = started.inspect_err(|error| log::error!("starting the lookup thread failed: {error}"));
            LookupThread {
                queue: sender,
                handle: started.ok(),
            }
        });
        &thread.queue
    }

    /// Stops the thread and waits until it has closed its connection.
    pub fn stop(self) {
        if let Some(LookupThread { queue, handle }) = self.thread.into_inner() {
            drop(queue);
            // The thread does not panic: it catches the panics of lookups.
            handle.map(JoinHandle::join);
        }
    }
}

fn run(store: &Store, cache: &KeyCache, clock: &Clock, queue: &Receiver<Lookup>) {
    while let Ok(first) = queue.recv() {
        let batch = std::iter::once(first)
            .chain(queue.try_iter().take(MAX_BATCH - 1))
            .collect();
        // A panic drops the callbacks of its batch, so these requests fail, but it must not stop the thread.
        drop(catch_unwind(AssertUnwindSafe(|| look_up(store, cache, clock, batch))));
    }
}

fn look_up(store: &Store, cache: &KeyCache, clock: &Clock, batch: Vec<Lookup>) {
    let hashes: Vec<KeyHash> = batch.iter().flat_map(|lookup| lookup.hashes.iter().copied()).collect();
    let generation = cache.generation();
    let found = store.read(|db| db.key_holders(&hashes, clock.now()));
    if let Ok(found) = &found {
        for (hash, holder) in found {
            cache.insert(*hash, holder.clone(), generation);
        }
    }
    for lookup in batch {
        let accepted = |hash| {
            found
                .as_ref()
                .ok()?
                .get(hash)
                .filter(|holder| lookup.acceptance.accepts(holder))
        };
        let result = match &found {
            Ok(_) => Ok(lookup.hashes.iter().find_map(accepted).cloned()),
            Err(error) => Err(error.clone()),
        };
        (lookup.on_result)(result);
    }
}
