//! What the counts say: pure rules, without a database.

use chrono::{NaiveDateTime, TimeDelta};

use crate::error::Axis;
use crate::store::Failures;

/// How often a network may fail in [`NETWORK_WINDOW`].
pub const NETWORK_FAILURES: i32 = 20;
/// Counted from its first failure.
pub const NETWORK_WINDOW: TimeDelta = TimeDelta::minutes(10);
/// How often an account may fail in a row without waiting.
pub const ACCOUNT_FAILURES: i32 = 5;
/// The longest wait of an account.
pub const MAX_WAIT: TimeDelta = TimeDelta::minutes(15);
/// After so long without a failure an account begins anew.
pub const FORGOTTEN_AFTER: TimeDelta = TimeDelta::days(1);
/// A try that is not counted by then, because its node is gone, has failed.
const PENDING_FOR: TimeDelta = TimeDelta::seconds(15);

/// What the counts say to another try.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Go,
    /// Until others that have begun are counted.
    Wait,
    Refuse(Axis, NaiveDateTime),
}

/// A count as it is now: what has lapsed is gone, and what nobody will count any more has failed.
pub fn current(mut row: Failures, now: NaiveDateTime) -> Failures {
    // A clock was wrong: nobody waits for it.
    row.first_at = row.first_at.min(now);
    row.last_at = row.last_at.min(now);
    row.pending_at = row.pending_at.min(now);
    if row.pending > 0 && row.pending_at + PENDING_FOR <= now {
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
        row.last_at + FORGOTTEN_AFTER
    };
    if lapses_at <= now {
        row.failures = 0;
    }
    row
}

/// Until when another try must wait that these counts do not let through now.
pub fn waits_until(row: &Failures) -> Option<NaiveDateTime> {
    if row.account.is_empty() {
        return (row.failures >= NETWORK_FAILURES).then(|| row.first_at + NETWORK_WINDOW);
    }
    let beyond = u32::try_from(row.failures - ACCOUNT_FAILURES).ok()?;
    let seconds = 1_i64.checked_shl(beyond).filter(|seconds| *seconds > 0);
    let wait = seconds.map_or(MAX_WAIT, |seconds| {
        TimeDelta::seconds(seconds.min(MAX_WAIT.num_seconds()))
    });
    Some(row.last_at + wait)
}

/// What the counts say, whichever of the two there are. A refusal outweighs waiting, the longer one the shorter.
pub fn verdict(rows: &[Failures], now: NaiveDateTime) -> Verdict {
    let mut verdict = Verdict::Go;
    for row in rows.iter().cloned().map(|row| current(row, now)) {
        let (axis, free) = if row.account.is_empty() {
            (Axis::Network, NETWORK_FAILURES)
        } else {
            (Axis::Account, ACCOUNT_FAILURES)
        };
        // Who has waited gets one try.
        let room = (free - row.failures).max(1);
        match (waits_until(&row).filter(|until| *until > now), &verdict) {
            (Some(until), Verdict::Refuse(_, longer)) if *longer >= until => {}
            (Some(until), _) => verdict = Verdict::Refuse(axis, until),
            (None, Verdict::Go) if row.pending >= room => verdict = Verdict::Wait,
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

    /// How many seconds an account must wait that has just failed so often.
    fn wait(failures: i32) -> Option<i64> {
        let row = row("bob", failures, 0, 0);
        waits_until(&row).map(|until| (until - row.last_at).num_seconds())
    }

    #[test]
    fn the_wait_of_an_account_doubles_up_to_a_quarter_of_an_hour() {
        let waits: Vec<_> = (4..10).map(wait).collect();
        assert_eq!(waits, [None, Some(1), Some(2), Some(4), Some(8), Some(16)]);
        assert_eq!(
            [14, 15, 70, i32::MAX].map(wait),
            [Some(512), Some(900), Some(900), Some(900)]
        );
    }

    #[test]
    fn as_many_may_try_at_once_as_may_fail() {
        let now = now();
        for (failures, seconds_ago, pending, expected) in [
            (0, 0, 4, Verdict::Go),
            (0, 0, 5, Verdict::Wait),
            (3, 0, 1, Verdict::Go),
            (3, 0, 2, Verdict::Wait),
            (5, 2, 0, Verdict::Go),
            (5, 2, 1, Verdict::Wait),
        ] {
            let row = row("bob", failures, seconds_ago, pending);
            assert_eq!(verdict(&[row], now), expected, "{failures} {seconds_ago} {pending}");
        }
        assert!(matches!(
            verdict(&[row("bob", 5, 0, 0)], now),
            Verdict::Refuse(Axis::Account, _)
        ));
        assert!(matches!(
            verdict(&[row("", 20, 9, 0), row("bob", 0, 0, 9)], now),
            Verdict::Refuse(Axis::Network, _)
        ));
    }

    #[test]
    fn nobody_waits_for_a_clock_that_was_wrong() {
        let now = now();
        let ahead = current(row("", 20, -31_536_000, 1), now);
        assert_eq!((ahead.first_at, ahead.last_at, ahead.pending_at), (now, now, now));
    }

    #[test]
    fn counts_lapse_and_tries_that_nobody_counts_have_failed() {
        let now = now();
        assert_eq!(current(row("", 20, 599, 0), now).failures, 20);
        assert_eq!(current(row("", 20, 601, 0), now).failures, 0);
        assert_eq!(current(row("bob", 20, 80_000, 0), now).failures, 20);
        assert_eq!(current(row("bob", 20, 90_000, 0), now).failures, 0);
        let left = current(row("bob", 2, 16, 3), now);
        assert_eq!((left.failures, left.pending), (5, 0));
    }
}
