//! The cost of a failed password check.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a hash with more rounds than the setting determines the cost of failures after it was last checked.
const COSTLIEST_TTL: Duration = Duration::from_secs(60 * 60);

/// Decides how many rounds every failed check runs, whatever the reason for the failure. The number is the setting. If
/// a hash with more rounds was checked within [`COSTLIEST_TTL`], such as one from before the setting was lowered, the
/// number is that of the costliest such hash.
///
/// The number falls again after that time, because nothing reports that the hash has been replaced: the operator,
/// another node or SQL by hand may have done so, and reading all rows to find out would cost too much. As a consequence,
/// the first check of the costliest hash after an hour without one, or after a start, takes longer than a check for an
/// unknown user.
#[derive(Debug)]
pub(super) struct FailureCost {
    setting: u32,
    costliest: Mutex<Option<Costliest>>,
}

#[derive(Clone, Copy, Debug)]
struct Costliest {
    rounds: u32,
    checked_at: Instant,
}

impl FailureCost {
    pub fn new(setting: u32) -> Self {
        let costliest = Mutex::new(None);
        Self { setting, costliest }
    }

    /// Records that a hash with this many rounds is checked at the time `now`; 0 means that there is no hash. Returns
    /// how many rounds the check must run if it fails, which are at least `rounds`.
    pub fn record(&self, rounds: u32, now: Instant) -> u32 {
        // No code that holds the lock can leave the value in an inconsistent state.
        let mut costliest = self.costliest.lock().unwrap_or_else(PoisonError::into_inner);
        let current = costliest.filter(|costliest| now.saturating_duration_since(costliest.checked_at) < COSTLIEST_TTL);
        let cost = current.map_or(self.setting, |costliest| costliest.rounds).max(rounds);
        *costliest = if rounds > self.setting && rounds == cost {
            Some(Costliest {
                rounds,
                checked_at: now,
            })
        } else {
            current
        };
        cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_costs_as_much_as_the_costliest_recent_hash() {
        let (cost, now) = (FailureCost::new(2000), Instant::now());
        assert_eq!((cost.record(0, now), cost.record(1500, now)), (2000, 2000));
        assert_eq!(
            cost.record(5000, now),
            5000,
            "a hash from before the setting was lowered"
        );
        assert_eq!((cost.record(0, now), cost.record(3000, now)), (5000, 5000));
    }

    #[test]
    fn the_cost_falls_an_hour_after_the_last_check_of_the_costliest_hash() {
        let (cost, start) = (FailureCost::new(2000), Instant::now());
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        cost.record(5000, start);
        cost.record(5000, at(30));
        assert_eq!(cost.record(3000, at(89)), 5000);
        assert_eq!(cost.record(0, at(90)), 2000, "the hash has been replaced");
        assert_eq!(cost.record(0, at(91)), 2000);
    }
}
