//! Waits for a condition instead of sleeping for a fixed time, which may be too short on a busy machine.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// The longest time that a test waits for anything. The limit only keeps a failing test from hanging. A passing test
/// needs a small part of this time, even on a busy machine.
pub const MAX_WAIT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Polls until `condition` returns true. Panics with `description` after [`MAX_WAIT`].
#[track_caller]
pub fn wait_until(description: &str, mut condition: impl FnMut() -> bool) {
    wait_for(description, || condition().then_some(()));
}

/// Polls until `find` returns a value, and returns the value. Panics with `description` after [`MAX_WAIT`].
#[track_caller]
pub fn wait_for<T>(description: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(
            start.elapsed() < MAX_WAIT,
            "still waiting after {MAX_WAIT:?}: {description}"
        );
        sleep(POLL_INTERVAL);
    }
}
