//! Looks up keys that are not remembered: on a thread with a connection of its own, all that wait at once.
//!
//! So neither those who log in and verification wait for each other's connections, nor does a flood of keys that nobody
//! knows cost more than this thread; and the more keys wait, the less each of them costs. With two threads fewer were
//! looked up in the same time: each found fewer waiting.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use super::callers::Callers;
use crate::clock::Clock;
use crate::error::{AuthError, Result};
use crate::model::Caller;
use crate::secret::key::KeyHash;
use crate::settings::{CoreSettings, Database};
use crate::store::Store;

/// How many requests one query is about at most.
const BATCH: usize = 256;
/// How many requests may wait; whoever comes then is told to come again.
const MOST_WAITING: usize = 2_000;

type Found = Result<Option<Caller>>;

/// The thread, which starts when it is needed.
pub(super) struct LookUps {
    clock: Clock,
    database: Database,
    callers: Arc<Callers>,
    queue: OnceLock<Arc<Queue>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<LookUp>,
    is_closed: bool,
}

struct LookUp {
    hashes: Vec<KeyHash>,
    answer: Box<dyn FnOnce(Found) + Send>,
}

impl LookUps {
    pub fn new(settings: &CoreSettings, callers: Arc<Callers>) -> Self {
        Self {
            clock: settings.clock.clone(),
            database: settings.database.clone(),
            callers,
            queue: OnceLock::new(),
        }
    }

    /// Calls `answer`, on another thread, with whoever presents the first of these keys that works.
    pub fn begin(&self, hashes: Vec<KeyHash>, answer: impl FnOnce(Found) + Send + 'static) {
        let queue = self.queue.get_or_init(|| self.start());
        let mut state = queue.lock();
        if state.waiting.len() >= MOST_WAITING {
            drop(state);
            let retry_after = Duration::from_secs(1);
            return answer(Err(AuthError::Busy { retry_after }));
        }
        let answer = Box::new(answer);
        state.waiting.push_back(LookUp { hashes, answer });
        drop(state);
        queue.changed.notify_one();
    }

    fn start(&self) -> Arc<Queue> {
        let queue = Arc::new(Queue::default());
        let store = Store::new(&self.database, 1);
        let (its_queue, callers, clock) = (queue.clone(), self.callers.clone(), self.clock.clone());
        let thread = Builder::new().name("look-up".to_owned());
        let started = thread.spawn(move || {
            while let Some(batch) = its_queue.next() {
                // A thread that is gone would be missed for ever; whoever waits hears that nothing comes.
                drop(catch_unwind(AssertUnwindSafe(|| {
                    look_up(&store, &callers, &clock, batch);
                })));
            }
        });
        if let Err(error) = started {
            log::error!("the thread that looks keys up did not start: {error}");
        }
        queue
    }
}

impl Drop for LookUps {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.get() {
            queue.lock().is_closed = true;
            queue.changed.notify_all();
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be looked up next; `None`: nothing ever again.
    fn next(&self) -> Option<Vec<LookUp>> {
        let is_idle = |state: &mut State| state.waiting.is_empty() && !state.is_closed;
        let state = self.changed.wait_while(self.lock(), is_idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let number = state.waiting.len().min(BATCH);
        let batch: Vec<LookUp> = state.waiting.drain(..number).collect();
        (!batch.is_empty()).then_some(batch)
    }
}

fn look_up(store: &Store, callers: &Callers, clock: &Clock, batch: Vec<LookUp>) {
    let hashes: Vec<KeyHash> = batch.iter().flat_map(|one| one.hashes.iter().copied()).collect();
    let generation = callers.generation();
    let found = store.read(|db| db.callers(&hashes, clock.now()));
    if let Ok(found) = &found {
        for (hash, caller) in found {
            callers.remember(*hash, caller, generation);
        }
    }
    for LookUp { hashes, answer } in batch {
        answer(match &found {
            Ok(found) => Ok(hashes.iter().find_map(|hash| found.get(hash).cloned())),
            Err(AuthError::Unavailable(why)) => Err(AuthError::Unavailable(why.clone())),
            Err(other) => Err(AuthError::Internal(other.to_string())),
        });
    }
}
