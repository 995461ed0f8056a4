//! Who may try a password again, and when: on two axes, counted in the database, so that it holds across nodes and
//! restarts.
//!
//! A client network may fail 20 times in 10 minutes. An account may fail 5 times in a row; then each further try has to
//! wait, a second, two, four, up to 15 minutes. Every network from which the account has logged in lately counts for
//! itself there, and all others together: so strangers cannot keep the owner out. Names that nobody has are counted
//! like any other.
//!
//! A try is taken down before its password is checked, and counted afterwards: of many at once no more get through than
//! could fail, and the others wait for those.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{NaiveDateTime, TimeDelta};

use super::{Auth, now};
use crate::error::{AuthError, Axis, Result, Throttled};
use crate::model::{Network, Origin};
use crate::store::{DbConnection, Failures};

/// How often a network may fail in [`NETWORK_WINDOW`].
pub const NETWORK_FAILURES: i32 = 20;
/// Counted from its first failure.
pub const NETWORK_WINDOW: TimeDelta = TimeDelta::minutes(10);
/// How often an account may fail in a row without waiting.
pub const ACCOUNT_FAILURES: i32 = 5;
/// The longest wait of an account.
pub const MAX_WAIT: TimeDelta = TimeDelta::minutes(15);
/// After so long without a failure an account begins anew.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::days(1);
/// How long a network from which somebody has logged in is known.
const KNOWN_FOR: TimeDelta = TimeDelta::days(30);
/// How old the knowledge may be before it is written again.
const KNOWN_ANEW: TimeDelta = TimeDelta::days(1);
/// A try that is not counted by then, because its node is gone, has failed.
const PENDING_FOR: TimeDelta = TimeDelta::seconds(15);
/// How often who waits for others' tries looks; those of this node wake him up.
const LOOK: Duration = Duration::from_millis(100);
/// How long he waits for them at most.
const PATIENCE: Duration = Duration::from_secs(2);

/// What this node knows; the counts are in the database.
pub(super) struct Throttle {
    enabled: bool,
    /// Rises with every try that is counted.
    counted: Mutex<u64>,
    changed: Condvar,
}

impl Throttle {
    pub fn new(enabled: bool) -> Self {
        Self {
            enabled,
            counted: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn wait_for_others(&self) {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout(counted, LOOK));
    }

    fn wake_others(&self) {
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
    }
}

/// What became of a try.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The password was right.
    Success,
    /// It was not.
    Failure,
    /// It was not checked.
    Undone,
}

/// A try that was taken down and must be counted.
pub(super) struct Try {
    /// The folded name.
    account: String,
    user_id: Option<i32>,
    network: String,
    /// Whether the account has logged in from that network.
    is_known: bool,
}

impl Try {
    /// The two counts that it is about, in the order of the table.
    fn keys(&self) -> [(&str, &str); 2] {
        let network = if self.is_known { self.network.as_str() } else { "" };
        [("", &self.network), (&self.account, network)]
    }
}

/// What the counts say to another try.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Go,
    /// Until others that have begun are counted.
    Wait,
    Refuse(Axis, NaiveDateTime),
}

impl Auth {
    /// Takes a try down, if there may be one now: waits for others that have begun, when it depends on them. `None`:
    /// nothing is counted. The caller must [`Self::count`] it.
    pub(super) fn begin_try(&self, account: &str, user_id: Option<i32>, origin: &Origin) -> Result<Option<Try>> {
        let Some(address) = origin.address.filter(|_| self.throttle.enabled) else {
            return Ok(None);
        };
        let network = Network::of(address).to_string();
        let known_since = now() - KNOWN_FOR;
        let is_known = match user_id {
            Some(user_id) => self
                .store
                .read(|db| db.is_known_network(user_id, &network, known_since))?,
            None => self.store.read(|db| db.is_known_network(0, &network, known_since))?,
        };
        let new = Try {
            account: account.to_owned(),
            user_id,
            network,
            is_known,
        };
        let start = Instant::now();
        loop {
            // Whoever is refused writes nothing.
            let verdict = match self.store.read(|db| db.failures(new.keys()))? {
                rows if verdict(&rows, now()) == Verdict::Go => self.store.write(|db| take_down(db, &new))?,
                rows => verdict(&rows, now()),
            };
            match verdict {
                Verdict::Go => return Ok(Some(new)),
                Verdict::Refuse(axis, until) => {
                    let retry_after = (until - now()).to_std().unwrap_or_default();
                    return Err(AuthError::Throttled(Throttled { axis, retry_after }));
                }
                Verdict::Wait if origin.is_gone() => return Err(AuthError::Gone),
                Verdict::Wait if start.elapsed() > PATIENCE => {
                    return Err(AuthError::Busy {
                        retry_after: Duration::from_secs(1),
                    });
                }
                Verdict::Wait => self.throttle.wait_for_others(),
            }
        }
    }

    /// Counts what became of a try.
    pub(super) fn count(&self, begun: Option<Try>, outcome: Outcome) -> Result<()> {
        let Some(begun) = begun else { return Ok(()) };
        let counted = self.store.write(|db| count(db, &begun, outcome));
        self.throttle.wake_others();
        counted
    }

    /// Until when each account that has to wait does, by folded name: where it waits longest.
    pub fn throttled_accounts(&self) -> Result<Vec<(String, NaiveDateTime)>> {
        let now = now();
        let rows = self.store.read(DbConnection::failures_of_accounts)?;
        let waits = rows.into_iter().map(|row| current(row, now));
        Ok(waits
            .filter_map(|row| Some((waits_until(&row)?, row.account)))
            .filter(|(until, _)| *until > now)
            .map(|(until, account)| (account, until))
            .collect())
    }

    /// Forgets counts and networks that do not matter any more.
    pub fn sweep_throttle(&self) -> Result<()> {
        let now = now();
        self.store.write(|db| {
            db.delete_old_failures(now - NETWORK_WINDOW, now - FORGOTTEN_AFTER)?;
            db.delete_old_networks(now - KNOWN_FOR)
        })
    }
}

fn take_down(db: &mut DbConnection, new: &Try) -> Result<Verdict> {
    let now = now();
    let rows = lock(db, new, now)?;
    let verdict = verdict(&rows, now);
    if verdict == Verdict::Go {
        for mut row in rows {
            row.pending += 1;
            row.pending_at = now;
            db.store_failures(&row)?;
        }
    }
    Ok(verdict)
}

fn count(db: &mut DbConnection, begun: &Try, outcome: Outcome) -> Result<()> {
    let now = now();
    for mut row in lock(db, begun, now)? {
        row.pending = (row.pending - 1).max(0);
        match outcome {
            Outcome::Failure => {
                if row.failures == 0 {
                    row.first_at = now;
                }
                row.failures += 1;
                row.last_at = now;
            }
            // What the network has failed at is not forgotten because one password was right.
            Outcome::Success if !row.account.is_empty() => row.failures = 0,
            Outcome::Success | Outcome::Undone => {}
        }
        db.store_failures(&row)?;
    }
    match (outcome, begun.user_id) {
        (Outcome::Success, Some(user_id)) => db.note_known_network(user_id, &begun.network, now, now - KNOWN_ANEW),
        _ => Ok(()),
    }
}

/// The counts of a try, as they are now, for nobody else to change.
fn lock(db: &mut DbConnection, of: &Try, now: NaiveDateTime) -> Result<Vec<Failures>> {
    let new = of.keys().map(|(account, network)| Failures {
        account: account.to_owned(),
        network: network.to_owned(),
        failures: 0,
        first_at: now,
        last_at: now,
        pending: 0,
        pending_at: now,
    });
    let rows = db.lock_failures(&new)?;
    Ok(rows.into_iter().map(|row| current(row, now)).collect())
}

/// A count as it is now: what has lapsed is gone, and what nobody will count any more has failed.
fn current(mut row: Failures, now: NaiveDateTime) -> Failures {
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
fn waits_until(row: &Failures) -> Option<NaiveDateTime> {
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
fn verdict(rows: &[Failures], now: NaiveDateTime) -> Verdict {
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
