//! The floor for logins in `scripts/bench`: repeatedly checks a password with 600,000 rounds on all cores, and does
//! nothing else. The argument is the duration in seconds. Prints the number of checks per second.

use std::thread;
use std::time::{Duration, Instant};

use shoko_auth::secret::password::Passwords;

const ROUNDS: u32 = 600_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let cores = thread::available_parallelism()?.get();
    let passwords = Passwords::new(ROUNDS, 8)?;
    let stored = passwords.hash("correct password")?;
    let start = Instant::now();
    let check = || {
        // Each thread measures its own time, up to the end of its last check, so that every counted check is complete.
        let mut checks = 0_u32;
        while start.elapsed() < Duration::from_secs(seconds) {
            assert!(passwords.check("correct password", Some(&stored)));
            checks += 1;
        }
        f64::from(checks) / start.elapsed().as_secs_f64()
    };
    let rate: f64 = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(check)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, f64>| thread.join().expect("the thread does not panic");
        threads.into_iter().map(join).sum()
    });
    println!("{rate:.3}");
    Ok(())
}
