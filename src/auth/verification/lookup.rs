//! Looks up keys that are not cached, on a thread with its own database connection.
//!
//! One query serves many waiting requests, so each key costs less when more keys wait. Because the thread has its own
//! connection, logins and verifications do not wait for each other's connections, and a flood of unknown keys occupies
//! only this thread. In measurements, a second thread reduced the throughput, because each thread found fewer keys
//! waiting.
//!
//! If the database does not respond on the thread's connection, another thread with another connection takes over.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::cache::KeyCache;
use super::silence::Silence;
use crate::error::{Result, ServiceError};
use crate::model::{Acceptance, KeyHolder};
use crate::secret::key::KeyHash;
use crate::settings::CoreSettings;
use crate::store::{Opener, Store};

/// The maximum number of requests that one query serves.
const MAX_BATCH: usize = 256;
/// The maximum number of waiting requests. Further ones fail with [`BUSY`].
const MAX_PENDING_LOOKUPS: usize = 2_000;
/// The error of a lookup that cannot be queued now.
const BUSY: ServiceError = ServiceError::Busy {
    retry_after: Duration::from_secs(1),
};

/// The result of a lookup: the holder of the request's first valid and accepted key, or `None` if there is none.
pub type LookupResult = Result<Option<Arc<KeyHolder>>>;

/// The lookup thread. It starts with the first lookup and stops when this value is dropped.
pub struct Lookups {
    /// How long a query may take before another thread takes over.
    silence: Silence,
    worker: Arc<Worker>,
    thread: Mutex<Option<LookupThread>>,
}

/// What a lookup thread needs.
struct Worker {
    settings: CoreSettings,
    opener: Opener,
    /// The thread's own connection. It opens with the first lookup.
    store: OnceLock<Store>,
    cache: Arc<KeyCache>,
}

struct LookupThread {
    queue: SyncSender<Lookup>,
    /// The number of lookups in the queue.
    waiting: Arc<AtomicUsize>,
    /// When the current query began. `None` if the thread waits for lookups.
    query_began_at: Arc<Mutex<Option<Instant>>>,
    handle: JoinHandle<()>,
}

struct Lookup {
    hashes: Vec<KeyHash>,
    acceptance: Acceptance,
    on_result: Box<dyn FnOnce(LookupResult) + Send>,
}

impl Lookups {
    pub fn new(settings: &CoreSettings, opener: Opener, cache: Arc<KeyCache>) -> Self {
        Self {
            silence: Silence::new(settings),
            worker: Arc::new(Worker {
                settings: settings.clone(),
                opener,
                store: OnceLock::new(),
                cache,
            }),
            thread: Mutex::default(),
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
        let (queue, waiting) = match self.queue() {
            Ok(queue) => queue,
            // The next lookup tries to start the thread again.
            Err(error) => {
                log::error!("starting the lookup thread failed: {error}");
                return (lookup.on_result)(Err(BUSY));
            }
        };
        // Counted first, because the thread may take the lookup before this thread continues.
        waiting.fetch_add(1, Ordering::Relaxed);
        let sent = queue.try_send(lookup);
        if sent.is_err() {
            waiting.fetch_sub(1, Ordering::Relaxed);
        }
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full(lookup)) => (lookup.on_result)(Err(BUSY)),
            Err(TrySendError::Disconnected(lookup)) => {
                (lookup.on_result)(Err(ServiceError::internal("the lookup thread is not running")));
            }
        }
    }

    /// Returns how many lookups wait for the thread.
    pub fn waiting(&self) -> usize {
        let thread = lock(&self.thread);
        thread
            .as_ref()
            .map_or(0, |thread| thread.waiting.load(Ordering::Relaxed))
    }

    /// Returns when the current query began.
    pub fn waits_since(&self) -> Option<Instant> {
        lock(&self.thread).as_ref().and_then(LookupThread::waits_since)
    }

    /// Returns the queue of a thread that responds, and the counter of its length. Starts a thread if necessary. Fails
    /// if the thread cannot be started. The lookups of a thread that does not respond are not moved to the next thread:
    /// the requests behind the oldest of them have timed out.
    fn queue(&self) -> io::Result<(SyncSender<Lookup>, Arc<AtomicUsize>)> {
        let mut thread = lock(&self.thread);
        if thread
            .as_ref()
            .and_then(LookupThread::waits_since)
            .is_some_and(|began_at| self.silence.is_final(began_at, &self.worker.opener))
        {
            log::warn!("the database has not responded to a key lookup, so another connection takes over");
            *thread = None;
        }
        let current = match thread.take() {
            Some(thread) => thread,
            None => LookupThread::start(self.worker.clone())?,
        };
        let queue = (current.queue.clone(), current.waiting.clone());
        *thread = Some(current);
        Ok(queue)
    }

    /// Stops the thread and waits until it has closed its connection.
    pub fn stop(self) {
        let thread = self.thread.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(LookupThread { queue, handle, .. }) = thread {
            drop(queue);
            // The thread does not panic: it catches the panics of lookups.
            drop(handle.join());
        }
    }
}

impl LookupThread {
    fn start(worker: Arc<Worker>) -> io::Result<Self> {
        let (queue, receiver) = sync_channel(MAX_PENDING_LOOKUPS);
        let query_began_at = Arc::<Mutex<Option<Instant>>>::default();
        let waiting = Arc::<AtomicUsize>::default();
        let (began_at, own_waiting) = (query_began_at.clone(), waiting.clone());
        let thread = Builder::new().name("key-lookup".to_owned());
        let handle = thread.spawn(move || run(&worker, &receiver, &own_waiting, &began_at))?;
        Ok(Self {
            queue,
            waiting,
            query_began_at,
            handle,
        })
    }

    fn waits_since(&self) -> Option<Instant> {
        *lock(&self.query_began_at)
    }
}

/// Locks a value. A panic cannot leave it in a wrong state, because each change is a single step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(worker: &Worker, queue: &Receiver<Lookup>, waiting: &AtomicUsize, query_began_at: &Mutex<Option<Instant>>) {
    while let Ok(first) = queue.recv() {
        let batch: Vec<Lookup> = std::iter::once(first)
            .chain(queue.try_iter().take(MAX_BATCH - 1))
            .collect();
        waiting.fetch_sub(batch.len(), Ordering::Relaxed);
        *lock(query_began_at) = Some(Instant::now());
        // A panic drops the callbacks of its batch, so these requests fail, but it must not stop the thread.
        drop(catch_unwind(AssertUnwindSafe(|| look_up(worker, batch))));
        *lock(query_began_at) = None;
    }
}

fn look_up(worker: &Worker, batch: Vec<Lookup>) {
    let store = worker
        .store
        .get_or_init(|| Store::with_opener(&worker.settings, worker.opener.clone(), 1));
    let (cache, clock) = (&worker.cache, &worker.settings.clock);
    let hashes = |are_cookies: bool| -> Vec<KeyHash> {
        let lookups = batch
            .iter()
            .filter(|lookup| (lookup.acceptance == Acceptance::GatewayCookies) == are_cookies);
        lookups.flat_map(|lookup| lookup.hashes.iter().copied()).collect()
    };
    let (keys, cookies) = (hashes(false), hashes(true));
    let generation = cache.generation();
    let found = store.read(|db| -> Result<_> {
        let mut found = db.key_holders(&keys, clock.now())?;
        found.extend(db.gateway_holders(&cookies, clock.now())?);
        Ok(found)
    });
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
