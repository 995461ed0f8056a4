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

mod policy;

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{NaiveDateTime, TimeDelta};

use super::Auth;
use crate::error::{AuthError, Result, Throttled};
use crate::model::{Name, Network, Origin, fold};
use crate::store::{Credential, DbConnection, Failures};

pub use policy::{ACCOUNT_FAILURES, MAX_WAIT, NETWORK_FAILURES, NETWORK_WINDOW};
use policy::{FORGOTTEN_AFTER, Verdict, current, verdict, waits_until};

/// How long a network from which somebody has logged in is known.
const KNOWN_FOR: TimeDelta = TimeDelta::days(30);
/// How old the knowledge may be before it is written again.
const KNOWN_ANEW: TimeDelta = TimeDelta::days(1);
/// How often who waits for others' tries looks; those of this node wake him up.
const LOOK: Duration = Duration::from_millis(100);
/// How long he waits for them at most.
const PATIENCE: Duration = Duration::from_secs(2);

/// What this node knows; the counts are in the database.
pub(super) struct Throttle {
    enabled: bool,
    /// For who waits until others' tries are counted.
    waiting: Mutex<()>,
    changed: Condvar,
}

impl Throttle {
    pub fn new(enabled: bool) -> Self {
        Self {
            enabled,
            waiting: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn wait_for_others(&self) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout(waiting, LOOK));
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

impl Auth {
    /// Takes a try down, if there may be one now: waits for others that have begun, when it depends on them. `None`:
    /// nothing is counted. The caller must [`Self::count`] it.
    pub(super) fn begin_try(
        &self,
        user: &Name,
        credential: Option<&Credential>,
        origin: &Origin,
    ) -> Result<Option<Try>> {
        let Some(new) = self.new_try(user, credential, origin)? else {
            return Ok(None);
        };
        let start = Instant::now();
        loop {
            let rows = self.store.read(|db| db.failures(new.keys()))?;
            let mut verdict = verdict(&rows, self.now());
            // Whoever is refused writes nothing.
            if verdict == Verdict::Go {
                verdict = self.store.write(|db| take_down(db, &new, self.now()))?;
            }
            match verdict {
                Verdict::Go => return Ok(Some(new)),
                Verdict::Refuse(axis, until) => {
                    let retry_after = (until - self.now()).to_std().unwrap_or_default();
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
        let counted = self.store.write(|db| count(db, &begun, outcome, self.now()));
        self.throttle.changed.notify_all();
        counted
    }

    /// How many tries the account has left from where the request comes from, whatever the network has: for clients
    /// that want to be told. `None`: nothing is counted.
    pub fn tries_left(&self, user: &Name, origin: &Origin) -> Result<Option<u32>> {
        let credential = self.store.read(|db| db.credential(user))?;
        let Some(one) = self.new_try(user, credential.as_ref(), origin)? else {
            return Ok(None);
        };
        let now = self.now();
        let rows = self
            .store
            .read(|db| db.failures(one.keys()))?
            .into_iter()
            .map(|row| current(row, now));
        let failures = rows
            .filter(|row| !row.account.is_empty())
            .map(|row| row.failures + row.pending)
            .sum::<i32>();
        Ok(Some(u32::try_from(ACCOUNT_FAILURES - failures).unwrap_or(0)))
    }

    /// `None`: nothing is counted.
    fn new_try(&self, user: &Name, credential: Option<&Credential>, origin: &Origin) -> Result<Option<Try>> {
        let Some(address) = origin.address.filter(|_| self.throttle.enabled) else {
            return Ok(None);
        };
        let network = Network::of(address).to_string();
        let known_since = self.now() - KNOWN_FOR;
        let user_id = credential.map(|credential| credential.user_id);
        // Nobody has the id 0; whoever there is, it takes the same time.
        let id = user_id.unwrap_or(0);
        // Whether he gives his name or his e-mail address, he is one.
        let account = credential.map(|credential| fold(&credential.name));
        let is_known = self.store.read(|db| db.is_known_network(id, &network, known_since))?;
        Ok(Some(Try {
            account: account.unwrap_or_else(|| user.folded().to_owned()),
            user_id,
            network,
            is_known,
        }))
    }

    /// Of each account's counts that make it wait: its folded name, and until when.
    pub fn throttled_accounts(&self) -> Result<Vec<(String, NaiveDateTime)>> {
        let now = self.now();
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
        let now = self.now();
        self.store
            .write(|db| db.delete_old_failures_of_networks(now - NETWORK_WINDOW))?;
        self.store
            .write(|db| db.delete_old_failures_of_accounts(now - FORGOTTEN_AFTER))?;
        self.store.write(|db| db.delete_old_networks(now - KNOWN_FOR))
    }
}

fn take_down(db: &mut DbConnection, new: &Try, now: NaiveDateTime) -> Result<Verdict> {
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

fn count(db: &mut DbConnection, begun: &Try, outcome: Outcome, now: NaiveDateTime) -> Result<()> {
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
        // He may have been deleted meanwhile.
        (Outcome::Success, Some(user_id)) if db.lock_credential(user_id)?.is_some() => {
            db.note_known_network(user_id, &begun.network, now, now - KNOWN_ANEW)
        }
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
