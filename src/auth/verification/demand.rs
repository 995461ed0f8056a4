//! Shows the change feed whether keys are being verified. The feed polls often only during that time, so an idle server
//! uses almost no processor time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

#[derive(Default)]
pub struct Demand {
    /// Whether a key has been verified since the last call of [`Self::take`].
    is_recorded: AtomicBool,
    is_idle: AtomicBool,
    waiting: Mutex<()>,
    recorded: Condvar,
}

impl Demand {
    /// Records that a key is being verified, and wakes the feed if it is idle. While the feed is not idle, most calls
    /// cost one read of memory that rarely changes.
    pub fn record(&self) {
        let is_new = !self.is_recorded.load(Ordering::Relaxed) && !self.is_recorded.swap(true, Ordering::SeqCst);
        if is_new && self.is_idle() {
            // With the lock, the notification cannot fall between the check and the wait in `wait`.
            drop(self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            self.recorded.notify_all();
        }
    }

    /// Returns whether a key has been verified since the last call.
    pub fn take(&self) -> bool {
        self.is_recorded.swap(false, Ordering::SeqCst)
    }

    /// Returns whether the feed is idle.
    pub fn is_idle(&self) -> bool {
        self.is_idle.load(Ordering::SeqCst)
    }

    pub fn set_idle(&self, is_idle: bool) {
        self.is_idle.store(is_idle, Ordering::SeqCst);
    }

    /// Waits until a key is verified, but at most for `time`. Call [`Self::set_idle`] first.
    pub fn wait(&self, time: Duration) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_missing = |(): &mut ()| !self.is_recorded.load(Ordering::SeqCst);
        drop(self.recorded.wait_timeout_while(waiting, time, is_missing));
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_verification_ends_the_wait() {
        let demand = Demand::default();
        demand.set_idle(true);
        thread::scope(|scope| {
            let wait = scope.spawn(|| demand.wait(Duration::MAX));
            demand.record();
            wait.join().unwrap();
        });
        assert!(demand.take() && !demand.take());
    }
}
