//! The threads on which passwords are hashed: as many as there are cores, at a lower priority than everything else, with
//! a bounded queue. So a storm of logins holds up nobody who only wants a key verified.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

use crate::error::{AuthError, Result};
use crate::model::Origin;

/// The most that may wait, however fast the machine is.
const MAX_PLACES: usize = 256;
/// Nobody is let in who would have to wait longer.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// What a round is taken to cost before the first hash is done.
const FIRST_GUESS: Duration = Duration::from_nanos(100);
/// How often who waits looks whether his client still does.
const LOOK: Duration = Duration::from_millis(50);
/// How nice the threads are: 0 is everybody else, 19 the most.
const NICE: i32 = 10;

/// The threads, and the queue before them.
pub struct Hasher {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    threads: usize,
    /// Who is in the queue, or on the way there, or being served.
    places: AtomicUsize,
    /// What a hash costs, in microseconds: a moving average.
    cost: AtomicU64,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    next_id: u64,
    closed: bool,
}

struct Job {
    id: u64,
    deed: Box<dyn FnOnce() + Send>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that is done with the lock held can leave the queue half-changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cost(&self) -> Duration {
        Duration::from_micros(self.cost.load(Ordering::Relaxed))
    }

    /// One after the other, until there will be no more.
    fn work(&self) {
        loop {
            let waiting = |queue: &mut Queue| queue.jobs.is_empty() && !queue.closed;
            let queue = self.work.wait_while(self.queue(), waiting);
            let Some(job) = queue.unwrap_or_else(PoisonError::into_inner).jobs.pop_front() else {
                return;
            };
            let start = Instant::now();
            // Who waits for a job that panicked sees that its sender is gone.
            drop(catch_unwind(AssertUnwindSafe(job.deed)));
            let took = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
            let cost = self.cost.load(Ordering::Relaxed);
            self.cost.store(cost - cost / 8 + took / 8, Ordering::Relaxed);
        }
    }
}

impl Hasher {
    /// Starts the threads, for hashes of so many rounds.
    #[must_use]
    pub fn start(rounds: u32) -> Self {
        let cost = FIRST_GUESS * rounds;
        let threads = available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            threads,
            places: AtomicUsize::new(0),
            cost: AtomicU64::new(u64::try_from(cost.as_micros()).unwrap_or_default()),
        });
        for _ in 0..threads {
            let shared = shared.clone();
            thread::spawn(move || {
                be_nice();
                shared.work();
            });
        }
        Self { shared }
    }

    /// A place in the queue; [`AuthError::Busy`] when it is full, or takes too long.
    pub fn place(&self) -> Result<Place> {
        let shared = &self.shared;
        let before = shared.places.fetch_add(1, Ordering::Relaxed);
        // From here on it is given back.
        let place = Place { shared: shared.clone() };
        let rounds = u32::try_from(before / shared.threads).unwrap_or(u32::MAX);
        let wait = shared.cost().saturating_mul(rounds);
        if before >= MAX_PLACES || wait > MAX_WAIT {
            return Err(AuthError::Busy {
                retry_after: wait.min(MAX_WAIT),
            });
        }
        Ok(place)
    }
}

impl Drop for Hasher {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.work.notify_all();
    }
}

/// Only on Linux niceness is a thread's own.
fn be_nice() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICE) {
        log::debug!("the hashing threads have the priority of all others: {error}");
    }
}

/// A place in the queue, until it is dropped.
pub struct Place {
    shared: Arc<Shared>,
}

impl Place {
    /// Has `deed` done when its turn comes, and waits for that. A client that goes away before gives the place up; once
    /// it is its turn the deed is done to the end.
    pub fn run<T: Send + 'static>(&self, origin: &Origin, deed: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (sender, receiver) = channel();
        let id = self.enqueue(sender, deed);
        loop {
            match receiver.recv_timeout(LOOK) {
                Ok(done) => return Ok(done),
                Err(RecvTimeoutError::Timeout) if origin.is_gone() && self.withdraw(id) => return Err(AuthError::Gone),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(AuthError::Internal("hashing a password panicked".to_owned()));
                }
            }
        }
    }

    fn enqueue<T: Send + 'static>(&self, sender: Sender<T>, deed: impl FnOnce() -> T + Send + 'static) -> u64 {
        let mut queue = self.shared.queue();
        let id = queue.next_id;
        queue.next_id += 1;
        queue.jobs.push_back(Job {
            id,
            // Who has gone away does not need it.
            deed: Box::new(move || drop(sender.send(deed()))),
        });
        drop(queue);
        self.shared.work.notify_one();
        id
    }

    /// Takes the job back, unless its turn has come.
    fn withdraw(&self, id: u64) -> bool {
        let mut queue = self.shared.queue();
        let place = queue.jobs.iter().position(|job| job.id == id);
        place.is_some_and(|place| queue.jobs.remove(place).is_some())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.places.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds all threads until it is dropped.
    fn hold(hasher: &Hasher) -> (Vec<Sender<()>>, Vec<thread::JoinHandle<Result<()>>>) {
        let (starts, started) = channel();
        let held = (0..hasher.shared.threads).map(|_| {
            let (release, held) = channel();
            let (place, starts) = (hasher.place().unwrap(), starts.clone());
            let waiting = thread::spawn(move || {
                place.run(&Origin::default(), move || {
                    starts.send(()).unwrap();
                    let _ = held.recv();
                })
            });
            (release, waiting)
        });
        let held = held.unzip();
        for _ in 0..hasher.shared.threads {
            started.recv().unwrap();
        }
        held
    }

    #[test]
    fn a_queue_that_takes_too_long_is_full_and_says_for_how_long() {
        let hasher = Hasher::start(1_000_000);
        let cost = FIRST_GUESS * 1_000_000;
        let per_thread = usize::try_from(MAX_WAIT.as_millis() / cost.as_millis()).unwrap() + 1;
        let places: Vec<Place> = (0..hasher.shared.threads * per_thread)
            .map(|_| hasher.place().unwrap())
            .collect();
        assert!(matches!(hasher.place(), Err(AuthError::Busy { retry_after }) if retry_after == MAX_WAIT));
        drop(places);
        assert!(hasher.place().is_ok());
        assert_eq!(hasher.shared.places.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn who_goes_away_gives_the_place_up_but_not_what_runs() {
        let hasher = Hasher::start(1000);
        let (release, running) = hold(&hasher);
        let origin = Origin::default();
        let (place, of_client) = (hasher.place().unwrap(), origin.clone());
        let waiting = thread::spawn(move || place.run(&of_client, || ()));
        thread::sleep(LOOK);
        origin.gone.store(true, Ordering::Relaxed);
        assert!(matches!(waiting.join().unwrap(), Err(AuthError::Gone)));
        let places = || hasher.shared.places.load(Ordering::Relaxed);
        assert_eq!(places(), hasher.shared.threads, "what runs has its place");
        drop(release);
        for run in running {
            run.join().unwrap().unwrap();
        }
        assert_eq!(places(), 0);
    }

    #[test]
    fn a_job_that_panics_takes_no_thread_with_it() {
        let hasher = Hasher::start(1000);
        for _ in 0..hasher.shared.threads * 2 {
            let failed: Result<()> = hasher.place().unwrap().run(&Origin::default(), || panic!("on purpose"));
            assert!(matches!(failed, Err(AuthError::Internal(_))));
        }
        assert_eq!(hasher.place().unwrap().run(&Origin::default(), || 7).unwrap(), 7);
    }
}
