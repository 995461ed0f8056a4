//! Decides whether an attempt may go ahead, and how attempts change counts. Pure rules without a database.

use chrono::{NaiveDateTime, TimeDelta};

use crate::error::ThrottleScope;
use crate::store::{CountKey, Failures};

/// The number of failures in a row after which an account has to wait.
pub const ACCOUNT_FAILURES: i32 = 5;
/// How long the failures of a network count, from the first failure on.
const NETWORK_WINDOW: TimeDelta = TimeDelta::minutes(10);
/// The longest time that an account has to wait.
const MAX_BACKOFF: TimeDelta = TimeDelta::minutes(15);
/// How long the failures of an account count, from the last failure on.
const ACCOUNT_FAILURES_TTL: TimeDelta = TimeDelta::days(1);
/// The time after which an unsettled attempt counts as a failure, because its node is assumed to have died.
const MAX_PENDING_TIME: TimeDelta = TimeDelta::seconds(15);

/// Returns the number of failures after which attempts in `scope` are rejected.
#[must_use]
pub fn max_failures(scope: ThrottleScope) -> i32 {
    match scope {
        ThrottleScope::Network => 20,
        ThrottleScope::Network56 => 60,
        ThrottleScope::Network48 => 200,
        ThrottleScope::Account => ACCOUNT_FAILURES,
    }
}

/// Returns the longest time for which attempts in `scope` are rejected.
#[must_use]
pub fn longest_wait(scope: ThrottleScope) -> TimeDelta {
    match scope {
        ThrottleScope::Network | ThrottleScope::Network56 | ThrottleScope::Network48 => NETWORK_WINDOW,
        ThrottleScope::Account => MAX_BACKOFF,
    }
}

/// Returns how long failures count. The time starts with the first failure of a network, and with the last one of an
/// account.
fn ttl(scope: ThrottleScope) -> TimeDelta {
    match scope {
        ThrottleScope::Network | ThrottleScope::Network56 | ThrottleScope::Network48 => NETWORK_WINDOW,
        ThrottleScope::Account => ACCOUNT_FAILURES_TTL,
    }
}

/// Returns the latest time at which a count may become stale. A later time comes from a clock that was wrong.
pub fn latest_stale_at(now: NaiveDateTime) -> NaiveDateTime {
    now + NETWORK_WINDOW.max(ACCOUNT_FAILURES_TTL)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    Failure,
    /// The password was not checked.
    Cancelled,
}

/// The decision about one more attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    /// The decision depends on attempts in this count that have not been settled.
    Wait(CountKey),
    /// This limit rejects attempts until this time.
    Reject(ThrottleScope, NaiveDateTime),
}

/// How many further attempts a count allows.
#[derive(Debug, PartialEq, Eq)]
pub enum Room {
    /// This many further attempts may be recorded. If the number is zero, attempts wait until earlier ones are settled.
    Free(usize),
    /// Attempts are rejected until this time.
    Blocked(NaiveDateTime),
}

/// Returns a count without any attempt.
pub fn empty(key: CountKey, now: NaiveDateTime) -> Failures {
    Failures {
        key,
        failures: 0,
        failed_at: now,
        pending: 0,
        pending_at: now,
        stale_at: now,
    }
}

/// Returns the count with one more attempt, which is not settled yet.
pub fn recorded(mut count: Failures, now: NaiveDateTime) -> Failures {
    count.pending = count.pending.saturating_add(1);
    count.pending_at = now;
    count.stale_at = now + ttl(count.key.scope());
    count
}

/// Returns the count after one of its attempts has been settled.
pub fn settled(mut count: Failures, outcome: Outcome, now: NaiveDateTime) -> Failures {
    let scope = count.key.scope();
    count.pending = (count.pending - 1).max(0);
    count.stale_at = now + ttl(scope);
    match outcome {
        Outcome::Failure => add_failures(&mut count, 1, now),
        // A success clears the account's count but not those of networks, because clients there may be guessing the
        // passwords of other accounts.
        Outcome::Success if scope == ThrottleScope::Account => count.failures = 0,
        Outcome::Success | Outcome::Cancelled => {}
    }
    count
}

fn add_failures(count: &mut Failures, failures: i32, at: NaiveDateTime) {
    if count.failures == 0 || count.key.scope() == ThrottleScope::Account {
        count.failed_at = at;
    }
    count.failures = count.failures.saturating_add(failures);
}

/// Returns whether a time of the count is in the future, because a clock was wrong.
pub fn is_ahead(count: &Failures, now: NaiveDateTime) -> bool {
    count.failed_at > now || count.pending_at > now
}

/// Returns the count with its times in the future set to `now`. Store the result: otherwise, these times would move on
/// with the clock, and no wait would end before the clock has reached the stored times.
pub fn clamped(mut count: Failures, now: NaiveDateTime) -> Failures {
    count.failed_at = count.failed_at.min(now);
    count.pending_at = count.pending_at.min(now);
    count.stale_at = count.stale_at.min(now + ttl(count.key.scope()));
    count
}

/// Returns the count as of `now`: lapsed failures are dropped, and abandoned attempts count as failures.
pub fn current(mut count: Failures, now: NaiveDateTime) -> Failures {
    count = clamped(count, now);
    if count.pending > 0 && count.pending_at + MAX_PENDING_TIME <= now {
        let (pending, pending_at) = (count.pending, count.pending_at);
        add_failures(&mut count, pending, pending_at);
        count.pending = 0;
    }
    if count.failed_at + ttl(count.key.scope()) <= now {
        count.failures = 0;
    }
    count
}

/// Returns the time until which this count blocks further attempts, or `None` if the count is below its limit. The time
/// may have passed already.
pub fn blocked_until(count: &Failures) -> Option<NaiveDateTime> {
    let scope = count.key.scope();
    let beyond = u32::try_from(count.failures - max_failures(scope)).ok()?;
    if scope != ThrottleScope::Account {
        return Some(count.failed_at + NETWORK_WINDOW);
    }
    let seconds = 1_i64.checked_shl(beyond).filter(|seconds| *seconds > 0);
    let wait = seconds.map_or(MAX_BACKOFF, |seconds| {
        TimeDelta::seconds(seconds.min(MAX_BACKOFF.num_seconds()))
    });
    Some(count.failed_at + wait)
}

/// Returns how many further attempts a count allows as of `now`.
pub fn room(count: &Failures, now: NaiveDateTime) -> Room {
    let count = current(count.clone(), now);
    if let Some(until) = blocked_until(&count).filter(|until| *until > now) {
        return Room::Blocked(until);
    }
    // At the limit, one attempt may be unsettled: after each backoff, a single attempt is allowed.
    let unsettled = (max_failures(count.key.scope()) - count.failures).max(1);
    Room::Free(usize::try_from(unsettled - count.pending).unwrap_or(0))
}

/// Decides about an attempt from the counts that include it. A rejection takes precedence over a wait, and a longer
/// rejection over a shorter one.
pub fn verdict(counts: &[Failures], now: NaiveDateTime) -> Verdict {
    let mut verdict = Verdict::Allow;
    for count in counts {
        match (room(count, now), &verdict) {
            (Room::Blocked(until), Verdict::Reject(_, longer)) if *longer >= until => {}
            (Room::Blocked(until), _) => verdict = Verdict::Reject(count.key.scope(), until),
            (Room::Free(0), Verdict::Allow) => verdict = Verdict::Wait(count.key.clone()),
            (Room::Free(_), _) => {}
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::model::{Network, name_digest};

    fn now() -> NaiveDateTime {
        Clock::system().now()
    }

    fn bob() -> CountKey {
        CountKey::of_account(name_digest("bob"), None)
    }

    /// Returns the keys of the counts of the /64, the /56 and the /48 of an IPv6 address.
    fn networks() -> [CountKey; 3] {
        let network = Network::of([0x2001, 0xdb8, 1, 2, 3, 4, 5, 6].into());
        let wider: Vec<_> = network.wider().collect();
        [network, wider[0], wider[1]].map(CountKey::of_network)
    }

    fn count(key: CountKey, failures: i32, seconds_ago: i64, pending: i32) -> Failures {
        let at = now() - TimeDelta::seconds(seconds_ago);
        Failures {
            failures,
            pending,
            ..empty(key, at)
        }
    }

    /// Returns how many seconds an account must wait after this many failures.
    fn backoff(failures: i32) -> Option<i64> {
        let count = count(bob(), failures, 0, 0);
        blocked_until(&count).map(|until| (until - count.failed_at).num_seconds())
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
            (0, 0, 5, Verdict::Wait(bob())),
            (3, 0, 1, Verdict::Allow),
            (3, 0, 2, Verdict::Wait(bob())),
            (5, 2, 0, Verdict::Allow),
            (5, 2, 1, Verdict::Wait(bob())),
        ] {
            let count = count(bob(), failures, seconds_ago, pending);
            assert_eq!(verdict(&[count], now), expected, "{failures} {seconds_ago} {pending}");
        }
        assert!(matches!(
            verdict(&[count(bob(), 5, 0, 0)], now),
            Verdict::Reject(ThrottleScope::Account, _)
        ));
        let [network, _, _] = networks();
        assert!(matches!(
            verdict(&[count(bob(), 0, 0, 9), count(network, 20, 9, 0)], now),
            Verdict::Reject(ThrottleScope::Network, _)
        ));
    }

    #[test]
    fn wider_networks_have_higher_limits() {
        let limits = [
            (ThrottleScope::Network, 20),
            (ThrottleScope::Network56, 60),
            (ThrottleScope::Network48, 200),
        ];
        for (key, (scope, limit)) in networks().into_iter().zip(limits) {
            assert_eq!(room(&count(key.clone(), limit - 1, 9, 0), now()), Room::Free(1));
            let found = verdict(&[count(key, limit, 9, 0)], now());
            assert!(
                matches!(found, Verdict::Reject(found, _) if found == scope),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_clock_that_was_ahead_does_not_extend_a_wait() {
        let now = now();
        let ahead = current(count(bob(), 20, -31_536_000, 1), now);
        assert_eq!((ahead.failed_at, ahead.pending_at), (now, now));
    }

    #[test]
    fn counts_lapse_and_abandoned_attempts_are_failures() {
        let now = now();
        let [network, _, _] = networks();
        assert_eq!(current(count(network.clone(), 20, 599, 0), now).failures, 20);
        assert_eq!(current(count(network, 20, 601, 0), now).failures, 0);
        assert_eq!(current(count(bob(), 20, 80_000, 0), now).failures, 20);
        assert_eq!(current(count(bob(), 20, 90_000, 0), now).failures, 0);
        let left = current(count(bob(), 2, 16, 3), now);
        assert_eq!((left.failures, left.pending), (5, 0));
    }

    #[test]
    fn the_failures_of_a_network_count_from_the_first_and_those_of_an_account_from_the_last() {
        let now = now();
        let [network, _, _] = networks();
        let fail = |key| settled(count(key, 1, 60, 1), Outcome::Failure, now);
        let (network, account) = (fail(network), fail(bob()));
        assert!(network.failed_at < now && account.failed_at == now);
        assert_eq!((network.failures, account.failures, account.pending), (2, 2, 0));
        let succeed = |count: Failures| settled(recorded(count, now), Outcome::Success, now).failures;
        assert_eq!((succeed(network), succeed(account)), (2, 0));
    }
}
