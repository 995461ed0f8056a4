//! The hashing pool: threads that hash passwords, one for each core. They have a low priority and a bounded, fair queue
//! (`queue`), so a storm of logins does not slow down the verification of keys, and no client can keep others from
//! logging in.

mod queue;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

use crate::error::{Result, ServiceError};
use crate::metrics::Metrics;
use crate::model::RequestContext;
use crate::settings::CoreSettings;
pub(super) use queue::Client;
use queue::FairQueue;

/// The assumed time for one PBKDF2 round. It gives the first estimate of the cost of a hash, which measurements then
/// correct.
const INITIAL_ROUND_COST: Duration = Duration::from_nanos(100);
/// How often a waiting request checks whether its client is still connected.
const DISCONNECT_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The amount that each thread adds to its nice value. A nice value of 0 is the normal priority, 19 is the lowest.
const NICE: i32 = 10;

pub(super) struct HashingPool {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<JobQueue>,
    work: Condvar,
    threads: usize,
    /// The longest expected wait in the queue. A request that would have to wait longer is rejected.
    max_wait: Duration,
    /// A moving average of the cost of a hash, in microseconds.
    cost: AtomicU64,
    metrics: Option<Arc<Metrics>>,
}

#[derive(Default)]
struct JobQueue {
    /// Each slot stands for a request that waits in the queue, is being served or is about to enter the queue.
    jobs: FairQueue<Job>,
    is_closed: bool,
}

type Job = Box<dyn FnOnce() + Send>;

impl Shared {
    fn queue(&self) -> MutexGuard<'_, JobQueue> {
        // No code that holds the lock can leave the queue in an inconsistent state.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cost(&self) -> Duration {
        Duration::from_micros(self.cost.load(Ordering::Relaxed))
    }

    /// Waits for the next job. Returns `None` when the queue is closed and empty.
    fn next_job(&self) -> Option<Job> {
        let mut queue = self.queue();
        loop {
            let job = queue.jobs.pop();
            if job.is_some() || queue.is_closed {
                return job;
            }
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Runs jobs until the queue is closed and empty.
    fn work(&self) {
        loop {
            let Some(job) = self.next_job() else { return };
            let start = Instant::now();
            // A panic drops the job's sender, so the waiting request fails.
            drop(catch_unwind(AssertUnwindSafe(job)));
            let took = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
            let cost = self.cost.load(Ordering::Relaxed);
            self.cost.store(cost - cost / 8 + took / 8, Ordering::Relaxed);
        }
    }
}

impl HashingPool {
    /// Starts the threads. The number of PBKDF2 rounds of a new hash gives the first estimate of the cost of a hash.
    pub fn start(settings: &CoreSettings, metrics: Option<Arc<Metrics>>) -> Self {
        Self::with(settings.pbkdf2_rounds, settings.max_wait, metrics)
    }

    fn with(rounds: u32, max_wait: Duration, metrics: Option<Arc<Metrics>>) -> Self {
        let cost = INITIAL_ROUND_COST * rounds;
        let threads = available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            threads,
            max_wait,
            cost: AtomicU64::new(u64::try_from(cost.as_micros()).unwrap_or_default()),
            metrics,
        });
        for _ in 0..threads {
            let shared = shared.clone();
            thread::spawn(move || {
                lower_priority();
                shared.work();
            });
        }
        Self { shared }
    }

    /// Returns how many requests wait for a thread.
    pub fn waiting(&self) -> usize {
        self.shared.queue().jobs.waiting()
    }

    /// Reserves a slot in the queue. Fails with [`ServiceError::Busy`] if the queue is full, if the client has used up
    /// its share of the slots, or if the wait would be too long.
    pub fn reserve(&self, client: Client) -> Result<QueueSlot> {
        let shared = self.shared.clone();
        let mut queue = shared.queue();
        let wait = queue.jobs.ahead_of(&client).map(|ahead| {
            let turns = u32::try_from(ahead / shared.threads).unwrap_or(u32::MAX);
            shared.cost().saturating_mul(turns)
        });
        let retry_after = shared.max_wait;
        if wait.is_none_or(|wait| wait > shared.max_wait) {
            return Err(ServiceError::Busy { retry_after });
        }
        queue.jobs.reserve(&client);
        drop(queue);
        Ok(QueueSlot { shared, client })
    }
}

impl Drop for HashingPool {
    fn drop(&mut self) {
        self.shared.queue().is_closed = true;
        self.shared.work.notify_all();
    }
}

/// Lowers the priority of the current thread on Linux. Does nothing on other systems, where the nice value belongs to
/// the whole process.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICE) {
        log::debug!("lowering the priority of a hashing thread failed: {error}");
    }
}

/// A reserved queue slot. Dropping it frees the slot.
pub(super) struct QueueSlot {
    shared: Arc<Shared>,
    client: Client,
}

impl QueueSlot {
    /// Runs `job` in the pool and waits for its result. If the client disconnects while the job is still queued, the
    /// job is withdrawn. A job that has started runs to its end.
    pub fn run<T: Send + 'static>(
        &self,
        context: &RequestContext,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = channel();
        let id = self.enqueue(sender, job);
        loop {
            match receiver.recv_timeout(DISCONNECT_POLL_INTERVAL) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Timeout) if context.is_client_disconnected() && self.withdraw(id) => {
                    return Err(ServiceError::ClientDisconnected);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(ServiceError::internal("hashing a password panicked"));
                }
            }
        }
    }

    fn enqueue<T: Send + 'static>(&self, sender: Sender<T>, job: impl FnOnce() -> T + Send + 'static) -> u64 {
        // Sending fails only when the request has stopped waiting, and then the result is not needed.
        let (metrics, queued_at) = (self.shared.metrics.clone(), Instant::now());
        let run = Box::new(move || {
            let (waited, start) = (queued_at.elapsed(), Instant::now());
            drop(sender.send(job()));
            if let Some(metrics) = metrics {
                metrics.record_hashing(waited, start.elapsed());
            }
        });
        let id = self.shared.queue().jobs.push(self.client.clone(), run);
        self.shared.work.notify_one();
        id
    }

    /// Removes the job from the queue and returns whether it was still there.
    fn withdraw(&self, id: u64) -> bool {
        self.shared.queue().jobs.withdraw(id)
    }
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        self.shared.queue().jobs.release(&self.client);
    }
}

#[cfg(test)]
mod tests {
    use test_support::wait::wait_until;

    use super::*;
    use crate::settings::MAX_WAIT;

    fn client() -> Client {
        Client::of_user(&RequestContext::default(), "bob")
    }

    /// Occupies all threads until the returned senders are dropped.
    fn hold(pool: &HashingPool) -> (Vec<Sender<()>>, Vec<thread::JoinHandle<Result<()>>>) {
        let (starts, started) = channel();
        let held = (0..pool.shared.threads).map(|_| {
            let (release, held) = channel();
            let (slot, starts) = (pool.reserve(client()).unwrap(), starts.clone());
            let waiting = thread::spawn(move || {
                slot.run(&RequestContext::default(), move || {
                    starts.send(()).unwrap();
                    let _ = held.recv();
                })
            });
            (release, waiting)
        });
        let held = held.unzip();
        for _ in 0..pool.shared.threads {
            started.recv().unwrap();
        }
        held
    }

    #[test]
    fn a_queue_with_too_long_a_wait_rejects_requests_with_a_retry_time() {
        let pool = HashingPool::with(1_000_000, MAX_WAIT, None);
        let cost = INITIAL_ROUND_COST * 1_000_000;
        let per_thread = usize::try_from(MAX_WAIT.as_millis() / cost.as_millis()).unwrap() + 1;
        let slots: Vec<QueueSlot> = (0..pool.shared.threads * per_thread)
            .map(|_| pool.reserve(client()).unwrap())
            .collect();
        assert!(matches!(pool.reserve(client()), Err(ServiceError::Busy { retry_after }) if retry_after == MAX_WAIT));
        drop(slots);
        assert!(pool.reserve(client()).is_ok());
        assert_eq!(pool.shared.queue().jobs.slots(), 0);
    }

    #[test]
    fn a_client_that_disconnects_frees_its_slot_unless_its_job_runs() {
        let pool = HashingPool::with(1000, MAX_WAIT, None);
        let (release, running) = hold(&pool);
        let context = RequestContext::default();
        let (slot, of_client) = (pool.reserve(client()).unwrap(), context.clone());
        let waiting = thread::spawn(move || slot.run(&of_client, || ()));
        wait_until("the job is queued", || pool.shared.queue().jobs.waiting() == 1);
        context.client_disconnected.store(true, Ordering::Relaxed);
        assert!(matches!(waiting.join().unwrap(), Err(ServiceError::ClientDisconnected)));
        let slots = || pool.shared.queue().jobs.slots();
        assert_eq!(slots(), pool.shared.threads, "running jobs keep their slots");
        drop(release);
        for run in running {
            run.join().unwrap().unwrap();
        }
        assert_eq!(slots(), 0);
    }

    #[test]
    fn a_job_that_panics_does_not_end_its_thread() {
        let pool = HashingPool::with(1000, MAX_WAIT, None);
        for _ in 0..pool.shared.threads * 2 {
            let failed: Result<()> = pool
                .reserve(client())
                .unwrap()
                .run(&RequestContext::default(), || panic!("on purpose"));
            assert!(matches!(failed, Err(ServiceError::Internal(_))));
        }
        assert_eq!(
            pool.reserve(client())
                .unwrap()
                .run(&RequestContext::default(), || 7)
                .unwrap(),
            7
        );
    }
}
