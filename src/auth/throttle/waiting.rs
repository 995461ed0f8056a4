//! Attempts that wait until earlier ones are settled.
//!
//! Hundreds of attempts can wait for one count. Only the first of them polls the database, because other nodes settle
//! attempts, too. The others wait in memory. When an attempt of this node is settled, or when the first one has found
//! room, only as many are woken as there is room for. When the count has reached its limit, all are rejected without a
//! query.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::NaiveDateTime;

use super::policy::{Room, room};
use crate::error::{Result, ServiceError, ThrottleScope};
use crate::model::RequestContext;
use crate::store::{CountKey, Failures};

/// How often the first attempt that waits for a count checks whether another node has settled attempts.
const SETTLE_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How often a waiting attempt checks whether its client is still connected.
const DISCONNECT_POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The attempts that wait, by count.
#[derive(Default)]
pub struct WaitingRoom(Mutex<HashMap<CountKey, Queue>>);

/// The attempts that wait for one count, in the order of their arrival.
struct Queue {
    waiters: BTreeMap<u64, Waiter>,
    next_ticket: u64,
    polled_at: Instant,
}

struct Waiter {
    state: State,
    woken: Arc<Condvar>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// The attempt checks the limits again. It takes one of the places for which there is room.
    Checking,
    /// The count has changed while the attempt checks the limits, so it may have seen the old state.
    Outdated,
    Rejected(ThrottleScope, NaiveDateTime),
}

/// The reason why a wait has ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Signal {
    /// There may be room.
    Retry,
    /// This limit rejects attempts until this time.
    Rejected(ThrottleScope, NaiveDateTime),
}

impl WaitingRoom {
    fn lock(&self) -> MutexGuard<'_, HashMap<CountKey, Queue>> {
        // No code that holds the lock can leave a queue in an inconsistent state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an attempt to the end of the queue of a count that has no room for it.
    pub fn enter(&self, key: CountKey) -> Place<'_> {
        let mut queues = self.lock();
        let queue = queues.entry(key.clone()).or_insert_with(|| Queue {
            waiters: BTreeMap::new(),
            next_ticket: 0,
            polled_at: Instant::now(),
        });
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        let woken = Arc::new(Condvar::new());
        let state = State::Checking;
        queue.waiters.insert(
            ticket,
            Waiter {
                state,
                woken: woken.clone(),
            },
        );
        Place {
            room: self,
            key,
            ticket,
            woken,
        }
    }

    /// Wakes the attempts for which these counts have room. Rejects all attempts that wait for a count that has reached
    /// its limit.
    pub fn announce(&self, counts: &[Failures], now: NaiveDateTime) {
        let mut queues = self.lock();
        for count in counts {
            if let Some(queue) = queues.get_mut(&count.key) {
                match room(count, now) {
                    Room::Free(places) => queue.wake(places),
                    Room::Blocked(until) => queue.reject(count.key.scope(), until),
                }
            }
        }
    }
}

impl Queue {
    /// Wakes attempts until `places` attempts check the limits.
    fn wake(&mut self, places: usize) {
        let mut checking = 0;
        if places > 0 {
            for waiter in self.waiters.values_mut().filter(|waiter| waiter.is_checking()) {
                waiter.state = State::Outdated;
                checking += 1;
            }
        }
        let waiting = self
            .waiters
            .values_mut()
            .filter(|waiter| waiter.state == State::Waiting);
        for waiter in waiting.take(places.saturating_sub(checking)) {
            waiter.state = State::Checking;
            waiter.woken.notify_one();
        }
    }

    fn reject(&mut self, scope: ThrottleScope, until: NaiveDateTime) {
        for waiter in self.waiters.values_mut() {
            waiter.state = State::Rejected(scope, until);
            waiter.woken.notify_one();
        }
    }

    fn is_first(&self, ticket: u64) -> bool {
        self.waiters.keys().next() == Some(&ticket)
    }
}

impl Waiter {
    fn is_checking(&self) -> bool {
        matches!(self.state, State::Checking | State::Outdated)
    }
}

/// The place of an attempt in the queue of a count. The attempt keeps its place while it checks the limits again.
/// Dropping this value frees the place.
pub struct Place<'a> {
    room: &'a WaitingRoom,
    key: CountKey,
    ticket: u64,
    woken: Arc<Condvar>,
}

impl Place<'_> {
    pub fn key(&self) -> &CountKey {
        &self.key
    }

    /// Waits until there may be room for the attempt or until it is rejected. Call it after the attempt has found no
    /// room. Fails at the deadline or when the client disconnects.
    pub fn wait(&self, deadline: Instant, context: &RequestContext) -> Result<Signal> {
        let mut queues = self.room.lock();
        let mut is_new = true;
        loop {
            let now = Instant::now();
            // The queue and its waiter exist as long as the place.
            let queue = queues.get_mut(&self.key);
            let is_first = queue.as_ref().is_some_and(|queue| queue.is_first(self.ticket));
            let polled_at = queue.as_ref().map_or(now, |queue| queue.polled_at);
            let Some(waiter) = queue.and_then(|queue| queue.waiters.get_mut(&self.ticket)) else {
                return Ok(Signal::Retry);
            };
            match waiter.state {
                State::Rejected(scope, until) => return Ok(Signal::Rejected(scope, until)),
                State::Checking if is_new => waiter.state = State::Waiting,
                State::Checking | State::Outdated => {
                    waiter.state = State::Checking;
                    return Ok(Signal::Retry);
                }
                State::Waiting => {}
            }
            is_new = false;
            if context.is_client_disconnected() {
                return Err(ServiceError::ClientDisconnected);
            }
            if now >= deadline {
                let retry_after = Duration::from_secs(1);
                return Err(ServiceError::Busy { retry_after });
            }
            let next = if is_first {
                polled_at + SETTLE_POLL_INTERVAL
            } else {
                now + DISCONNECT_POLL_INTERVAL
            };
            if next <= now {
                waiter.state = State::Checking;
                if let Some(queue) = queues.get_mut(&self.key) {
                    queue.polled_at = now;
                }
                return Ok(Signal::Retry);
            }
            let pause = next.min(deadline) - now;
            let result = self.woken.wait_timeout(queues, pause);
            queues = result.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queues = self.room.lock();
        let Some(queue) = queues.get_mut(&self.key) else { return };
        queue.waiters.remove(&self.ticket);
        match queue.waiters.values().next() {
            // The next one may have become the first and now has to poll.
            Some(first) => first.woken.notify_one(),
            None => drop(queues.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use test_support::wait::{MAX_WAIT, wait_until};

    use super::super::policy::{Outcome, empty, recorded, settled};
    use super::*;
    use crate::clock::Clock;
    use crate::model::name_digest;

    fn bob() -> CountKey {
        CountKey::of_account(name_digest("bob"), None)
    }

    /// Returns bob's count with this many failures and unsettled attempts.
    fn count(failures: usize, pending: usize) -> Failures {
        let now = Clock::system().now();
        let failed = (0..failures).fold(empty(bob(), now), |count, _| settled(count, Outcome::Failure, now));
        (0..pending).fold(failed, |count, _| recorded(count, now))
    }

    fn announce(room: &WaitingRoom, count: Failures) {
        room.announce(&[count], Clock::system().now());
    }

    fn waiting(room: &WaitingRoom) -> usize {
        let queues = room.lock();
        let waiters = queues.get(&bob()).map(|queue| queue.waiters.values());
        waiters.map_or(0, |waiters| {
            waiters.filter(|waiter| waiter.state == State::Waiting).count()
        })
    }

    /// Runs `waiters` threads that wait for bob's count, each with a place of its own. `on_signal` gets the place and
    /// its signal, and returns whether to wait again.
    fn wait_in_threads<'scope, 'env: 'scope>(
        scope: &'scope thread::Scope<'scope, 'env>,
        room: &'env WaitingRoom,
        waiters: usize,
        on_signal: &'env (impl Fn(Signal) -> bool + Sync),
    ) {
        for _ in 0..waiters {
            scope.spawn(move || {
                let place = room.enter(bob());
                let deadline = Instant::now() + MAX_WAIT;
                while on_signal(place.wait(deadline, &RequestContext::default()).unwrap()) {}
            });
        }
    }

    #[test]
    fn only_the_first_of_many_waiting_attempts_polls() {
        let room = WaitingRoom::default();
        let (polls, rejected) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let on_signal = |signal| {
            let counter = if signal == Signal::Retry { &polls } else { &rejected };
            counter.fetch_add(1, Ordering::SeqCst);
            signal == Signal::Retry
        };
        thread::scope(|scope| {
            let start = Instant::now();
            wait_in_threads(scope, &room, 50, &on_signal);
            wait_until("all wait", || waiting(&room) == 50);
            wait_until("the first attempt has polled", || polls.load(Ordering::SeqCst) >= 3);
            let polls = polls.load(Ordering::SeqCst);
            let most = start.elapsed().as_millis() / SETTLE_POLL_INTERVAL.as_millis() + 1;
            announce(&room, count(20, 0));
            assert!(
                polls as u128 <= most,
                "{polls} polls, and one attempt polls at most {most} times"
            );
        });
        assert_eq!(
            rejected.load(Ordering::SeqCst),
            50,
            "all are rejected without a poll of their own"
        );
    }

    #[test]
    fn as_many_attempts_are_woken_as_there_is_room_for() {
        let room = WaitingRoom::default();
        let woken = AtomicUsize::new(0);
        let on_signal = |signal| {
            if signal == Signal::Retry {
                woken.fetch_add(1, Ordering::SeqCst);
            }
            false
        };
        thread::scope(|scope| {
            // The first attempt stays in its place, so the others do not poll.
            let first = room.enter(bob());
            wait_in_threads(scope, &room, 20, &on_signal);
            wait_until("all wait", || waiting(&room) == 20);
            announce(&room, count(0, 5));
            assert_eq!(waiting(&room), 20, "there is no room");
            announce(&room, count(0, 1));
            assert_eq!(
                waiting(&room),
                17,
                "the first attempt and three others check the limits"
            );
            wait_until("three are woken", || woken.load(Ordering::SeqCst) == 3);
            announce(&room, count(20, 0));
            drop(first);
        });
        assert_eq!(woken.load(Ordering::SeqCst), 3, "the others are rejected");
    }

    #[test]
    fn an_attempt_that_missed_a_change_checks_again_at_once() {
        let room = WaitingRoom::default();
        let place = room.enter(bob());
        announce(&room, count(0, 4));
        let start = Instant::now();
        let signal = place.wait(start + MAX_WAIT, &RequestContext::default()).unwrap();
        assert_eq!(signal, Signal::Retry);
        assert!(place.room.lock()[&bob()].polled_at <= start, "it did not have to poll");
    }

    #[test]
    fn a_wait_ends_at_the_deadline_or_when_the_client_disconnects() {
        let room = WaitingRoom::default();
        let (context, place) = (RequestContext::default(), room.enter(bob()));
        let late = place.wait(Instant::now(), &context);
        assert!(matches!(late, Err(ServiceError::Busy { .. })), "{late:?}");
        context.client_disconnected.store(true, Ordering::Relaxed);
        let gone = place.wait(Instant::now() + MAX_WAIT, &context);
        assert!(matches!(gone, Err(ServiceError::ClientDisconnected)), "{gone:?}");
        drop(place);
        assert!(room.lock().is_empty());
    }
}
