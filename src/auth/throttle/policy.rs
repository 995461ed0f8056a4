//! Decides whether an attempt may go ahead. Pure rules without a database.

use chrono::{NaiveDateTime, TimeDelta};

use crate::error::ThrottleScope;
use crate::store::Failures;

/// The number of failures within [`NETWORK_WINDOW`] after which a network is rejected.
pub const NETWORK_FAILURES: i32 = 20;
/// How long the failures of a network count, from the first failure on.
pub const NETWORK_WINDOW: TimeDelta = TimeDelta::minutes(10);
/// The number of failures in a row after which an account has to wait.
pub const ACCOUNT_FAILURES: i32 = 5;
/// The longest time that an account has to wait.
pub const MAX_BACKOFF: TimeDelta = TimeDelta::minutes(15);
/// How long the failures of an account count, from the last failure on.
pub const ACCOUNT_FAILURES_TTL: TimeDelta = TimeDelta::days(1);
/// The time after which an unsettled attempt counts as a failure, because its node is assumed to have died.
const MAX_PENDING_TIME: TimeDelta = TimeDelta::seconds(15);

/// The decision about one more attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    /// The decision depends on attempts that have not been settled.
    Wait,
    /// This limit rejects attempts until this time.
    Reject(ThrottleScope, NaiveDateTime),
}

/// Returns the count as of `now`: lapsed failures are dropped, and abandoned attempts count as failures.
pub fn current(mut row: Failures, now: NaiveDateTime) -> Failures {
    // Times in the future come from a clock that was wrong, and must not extend a wait.
    row.first_at = row.first_at.min(now);
    row.last_at = row.last_at.min(now);
    row.pending_at = row.pending_at.min(now);
    if row.pending > 0 && row.pending_at + MAX_PENDING_TIME <= now {
        if row.failures == 0 {
            row.first_at = row.pending_at;
        }
        row.failures += row.pending;
        row.last_at = row.pending_at;
        row.pending = 0;
    }
    let lapses_at = if row.account.is_empty() {
        row.first_at + NETWORK_WINDOW
    } else {
        row.last_at + ACCOUNT_FAILURES_TTL
    };
    if lapses_at <= now {
        row.failures = 0;
    }
    row
}

/// Returns the time until which this count blocks further attempts, or `None` if the count is below its limit. The time
/// may have passed already.
pub fn blocked_until(row: &Failures) -> Option<NaiveDateTime> {
    if row.account.is_empty() {
        return (row.failures >= NETWORK_FAILURES).then(|| row.first_at + NETWORK_WINDOW);
    }
    let beyond = u32::try_from(row.failures - ACCOUNT_FAILURES).ok()?;
    let seconds = 1_i64.checked_shl(beyond).filter(|seconds| *seconds > 0);
    let wait = seconds.map_or(MAX_BACKOFF, |seconds| {
        TimeDelta::seconds(seconds.min(MAX_BACKOFF.num_seconds()))
    });
    Some(row.last_at + wait)
}

/// Decides about an attempt from the counts that include it. A rejection takes precedence over a wait, and a longer
/// rejection over a shorter one.
pub fn verdict(rows: &[Failures], now: NaiveDateTime) -> Verdict {
    let mut verdict = Verdict::Allow;
    for row in rows.iter().cloned().map(|row| current(row, now)) {
        let (scope, limit) = if row.account.is_empty() {
            (ThrottleScope::Network, NETWORK_FAILURES)
        } else {
            (ThrottleScope::Account, ACCOUNT_FAILURES)
        };
        // How many attempts may be unsettled at the same time. At the limit it is one: after each backoff, a single attempt
        // is allowed.
        let room = (limit - row.failures).max(1);
        match (blocked_until(&row).filter(|until| *until > now), &verdict) {
            (Some(until), Verdict::Reject(_, longer)) if *longer >= until => {}
            (Some(until), _) => verdict = Verdict::Reject(scope, until),
            (None, Verdict::Allow) if row.pending >= room => verdict = Verdict::Wait,
            (None, _) => {}
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn now() -> NaiveDateTime {
        Clock::system().now()
    }

    fn row(account: &str, failures: i32, seconds_ago: i64, pending: i32) -> Failures {
        let at = now() - TimeDelta::seconds(seconds_ago);
        Failures {
            account: account.to_owned(),
            network: String::new(),
            failures,
            first_at: at,
            last_at: at,
            pending,
            pending_at: at,
        }
    }

    /// Returns how many seconds an account must wait after this many failures.
    fn backoff(failures: i32) -> Option<i64> {
        let row = row("bob", failures, 0, 0);
        blocked_until(&row).map(|until| (until - row.last_at).num_seconds())
    }

    #[test]
    fn the_backoff_of_an_account_doubles_up_to_15_minutes() {
        let waits: Vec<_> = (4..10).map(backoff).collect();
        assert_eq!(waits, [None, Some(1), Some(2), Some(4), Some(8), Some(16)]);
        assert_eq!(
            [14, 15, 70, i32::MAX].map(backoff),
            [Some(512), Some(900), Some(900), Some(900)]
        );
    }

    #[test]
    fn concurrent_attempts_cannot_exceed_the_limit() {
        let now = now();
        for (failures, seconds_ago, pending, expected) in [
            (0, 0, 4, Verdict::Allow),
            (0, 0, 5, Verdict::Wait),
            (3, 0, 1, Verdict::Allow),
            (3, 0, 2, Verdict::Wait),
            (5, 2, 0, Verdict::Allow),
            (5, 2, 1, Verdict::Wait),
        ] {
            let row = row("bob", failures, seconds_ago, pending);
            assert_eq!(verdict(&[row], now), expected, "{failures} {seconds_ago} {pending}");
        }
        assert!(matches!(
            verdict(&[row("bob", 5, 0, 0)], now),
            Verdict::Reject(ThrottleScope::Account, _)
        ));
        assert!(matches!(
            verdict(&[row("", 20, 9, 0), row("bob", 0, 0, 9)], now),
            Verdict::Reject(ThrottleScope::Network, _)
        ));
    }

    #[test]
    fn a_clock_that_was_ahead_does_not_extend_a_wait() {
        let now = now();
        let ahead = current(row("", 20, -31_536_000, 1), now);
        assert_eq!((ahead.first_at, ahead.last_at, ahead.pending_at), (now, now, now));
    }

    #[test]
    fn counts_lapse_and_abandoned_attempts_are_failures() {
        let now = now();
        assert_eq!(current(row("", 20, 599, 0), now).failures, 20);
        assert_eq!(current(row("", 20, 601, 0), now).failures, 0);
        assert_eq!(current(row("bob", 20, 80_000, 0), now).failures, 20);
        assert_eq!(current(row("bob", 20, 90_000, 0), now).failures, 0);
        let left = current(row("bob", 2, 16, 3), now);
        assert_eq!((left.failures, left.pending), (5, 0));
    }
}
