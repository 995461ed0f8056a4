//! Waits for a condition instead of sleeping for a time that a busy machine may exceed. Shared by the API tests and the
//! unit tests.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a test waits for anything. This only keeps a failing test from hanging; a passing one, even on a busy machine,
/// needs a small part of it.
pub const MAX_WAIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Polls until `condition` returns true. Panics after [`MAX_WAIT`].
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Polls until `find` returns a value, and returns that. Panics after [`MAX_WAIT`].
#[track_caller]
pub fn wait_for<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(start.elapsed() < MAX_WAIT, "waited in vain for this: {what}");
        sleep(POLL_INTERVAL);
    }
}
