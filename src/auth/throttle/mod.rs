//! Limits failed logins for each client network and each account. Failures are counted in the database, so the limits
//! hold across nodes and restarts.
//!
//! A client network may fail 20 times in 10 minutes. An account may fail 5 times in a row. Each further attempt then
//! has to wait: 1 second, 2 seconds, 4 seconds and so on, up to 15 minutes. An account has one count for each network
//! from which it has logged in recently, and one count for all other networks together. Strangers therefore cannot lock
//! the owner out. Names without a user are counted like any other.
//!
//! Each attempt is recorded before its password is checked and settled afterward. Concurrent attempts therefore cannot
//! exceed the limit: attempts beyond it wait until earlier ones are settled.

mod policy;

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{NaiveDateTime, TimeDelta};

use super::Auth;
use crate::error::{LoginError, Result, ServiceError, Throttled};
use crate::model::{Name, Network, RequestContext, normalize};
use crate::settings::CoreSettings;
use crate::store::{Credential, Failures, Reader, Transaction};
pub use policy::{ACCOUNT_FAILURES, MAX_BACKOFF, NETWORK_FAILURES, NETWORK_WINDOW};
use policy::{ACCOUNT_FAILURES_TTL, Verdict, blocked_until, current, verdict};

/// How long a network stays known after a login from it.
const KNOWN_NETWORK_TTL: TimeDelta = TimeDelta::days(30);
/// A login from a known network updates the stored time of the last login only if that time is older than this.
const KNOWN_NETWORK_REFRESH: TimeDelta = TimeDelta::days(1);
/// How often a waiting attempt checks whether another node has settled attempts. When this node itself settles an
/// attempt, all waiting attempts are woken at once.
const SETTLE_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The part of the throttle that is in memory.
pub(super) struct Throttle {
    enabled: bool,
    /// The longest time that an attempt waits for earlier ones to be settled. After that, it is rejected.
    max_wait: Duration,
    waiting: Mutex<()>,
    /// Notified when an attempt has been settled.
    settled: Condvar,
}

impl Throttle {
    pub fn new(settings: &CoreSettings) -> Self {
        Self {
            enabled: settings.login_throttle,
            max_wait: settings.max_wait,
            waiting: Mutex::default(),
            settled: Condvar::new(),
        }
    }

    fn wait_for_settlement(&self) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.settled.wait_timeout(waiting, SETTLE_POLL_INTERVAL));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    Failure,
    /// The password was not checked.
    Cancelled,
}

/// A recorded attempt, which must be settled.
pub(super) struct Attempt {
    /// The normalized name.
    account: String,
    user_id: Option<i32>,
    network: String,
    /// Whether the account has logged in from the network recently.
    is_known: bool,
}

impl Attempt {
    /// Returns the (account, network) pairs of the two counts that include this attempt: first the network's, then the
    /// account's. This is the order of the primary key.
    fn counts(&self) -> [(&str, &str); 2] {
        let network = if self.is_known { self.network.as_str() } else { "" };
        [("", &self.network), (&self.account, network)]
    }
}

impl Auth {
    /// Records an attempt, or fails if the limits reject it. If the decision depends on earlier attempts, first waits
    /// until they are settled. Pass the result to [`Self::settle_attempt`]. `None` means that the throttle is off or
    /// that the context has no address.
    pub(super) fn record_attempt(
        &self,
        user: &Name,
        credential: Option<&Credential>,
        context: &RequestContext,
    ) -> Result<Option<Attempt>, LoginError> {
        let Some(attempt) = self.new_attempt(user, credential, context)? else {
            return Ok(None);
        };
        let start = Instant::now();
        loop {
            let rows = self.store.read(|db| db.failures(attempt.counts()))?;
            let mut verdict = verdict(&rows, self.now());
            // The limits are checked by reading first, so that a rejected attempt writes nothing.
            if verdict == Verdict::Allow {
                verdict = self.store.write(|tx| record(tx, &attempt, self.now()))?;
            }
            match verdict {
                Verdict::Allow => return Ok(Some(attempt)),
                Verdict::Reject(scope, until) => {
                    let retry_after = (until - self.now()).to_std().unwrap_or_default();
                    return Err(LoginError::Throttled(Throttled { scope, retry_after }));
                }
                Verdict::Wait if context.is_client_disconnected() => {
                    return Err(ServiceError::ClientDisconnected.into());
                }
                Verdict::Wait if start.elapsed() > self.throttle.max_wait => {
                    let retry_after = Duration::from_secs(1);
                    return Err(ServiceError::Busy { retry_after }.into());
                }
                Verdict::Wait => self.throttle.wait_for_settlement(),
            }
        }
    }

    /// Settles an attempt: records its outcome.
    pub(super) fn settle_attempt(&self, attempt: Option<Attempt>, outcome: Outcome) -> Result<()> {
        let Some(attempt) = attempt else { return Ok(()) };
        let settled = self.store.write(|tx| settle(tx, &attempt, outcome, self.now()));
        self.throttle.settled.notify_all();
        settled
    }

    /// Returns how many attempts the account has left from the request's network before it has to wait. Ignores the
    /// limit of the network itself. `None` means that the throttle is off or that the context has no address.
    pub fn attempts_left(&self, user: &Name, context: &RequestContext) -> Result<Option<u32>> {
        let credential = self.store.read(|db| db.credential(user))?;
        let Some(attempt) = self.new_attempt(user, credential.as_ref(), context)? else {
            return Ok(None);
        };
        let now = self.now();
        let rows = self.store.read(|db| db.failures(attempt.counts()))?;
        let of_account = rows
            .into_iter()
            .map(|row| current(row, now))
            .filter(|row| !row.account.is_empty());
        let failures = of_account.map(|row| row.failures + row.pending).sum::<i32>();
        Ok(Some(u32::try_from(ACCOUNT_FAILURES - failures).unwrap_or(0)))
    }

    fn new_attempt(
        &self,
        user: &Name,
        credential: Option<&Credential>,
        context: &RequestContext,
    ) -> Result<Option<Attempt>> {
        let Some(address) = context.address.filter(|_| self.throttle.enabled) else {
            return Ok(None);
        };
        let network = Network::of(address).to_string();
        let known_since = self.now() - KNOWN_NETWORK_TTL;
        let user_id = credential.map(|credential| credential.user_id);
        // No user has the id 0. The query runs anyway, so that an unknown name takes the same time as a known one.
        let id = user_id.unwrap_or(0);
        // Logins by name and by e-mail address share one count.
        let account = credential.map(|credential| normalize(&credential.name));
        let is_known = self.store.read(|db| db.is_known_network(id, &network, known_since))?;
        Ok(Some(Attempt {
            account: account.unwrap_or_else(|| user.normalized().to_owned()),
            user_id,
            network,
            is_known,
        }))
    }

    /// Returns the normalized names of the accounts that have to wait, and until when.
    pub fn throttled_accounts(&self) -> Result<Vec<(String, NaiveDateTime)>> {
        let now = self.now();
        let rows = self.store.read(Reader::failures_of_accounts)?;
        let blocked = rows.into_iter().map(|row| current(row, now));
        Ok(blocked
            .filter_map(|row| Some((blocked_until(&row)?, row.account)))
            .filter(|(until, _)| *until > now)
            .map(|(until, account)| (account, until))
            .collect())
    }

    /// Deletes counts and known networks that no longer matter.
    pub fn delete_stale_failures(&self) -> Result<()> {
        let now = self.now();
        self.store
            .write(|tx| tx.delete_old_failures_of_networks(now - NETWORK_WINDOW))?;
        self.store
            .write(|tx| tx.delete_old_failures_of_accounts(now - ACCOUNT_FAILURES_TTL))?;
        self.store.write(|tx| tx.delete_old_networks(now - KNOWN_NETWORK_TTL))
    }
}

fn record(tx: &mut Transaction, attempt: &Attempt, now: NaiveDateTime) -> Result<Verdict> {
    let rows = lock(tx, attempt, now)?;
    let verdict = verdict(&rows, now);
    if verdict == Verdict::Allow {
        for mut row in rows {
            row.pending += 1;
            row.pending_at = now;
            tx.store_failures(&row)?;
        }
    }
    Ok(verdict)
}

fn settle(tx: &mut Transaction, attempt: &Attempt, outcome: Outcome, now: NaiveDateTime) -> Result<()> {
    for mut row in lock(tx, attempt, now)? {
        row.pending = (row.pending - 1).max(0);
        match outcome {
            Outcome::Failure => {
                if row.failures == 0 {
                    row.first_at = now;
                }
                row.failures += 1;
                row.last_at = now;
            }
            // A success clears the account's count but not the network's count, because clients in that network may be
            // guessing the passwords of other accounts.
            Outcome::Success if !row.account.is_empty() => row.failures = 0,
            Outcome::Success | Outcome::Cancelled => {}
        }
        tx.store_failures(&row)?;
    }
    match (outcome, attempt.user_id) {
        // The user may have been deleted since the attempt was recorded.
        (Outcome::Success, Some(user_id)) if tx.lock_credential(user_id)?.is_some() => {
            tx.record_known_network(user_id, &attempt.network, now, now - KNOWN_NETWORK_REFRESH)
        }
        _ => Ok(()),
    }
}

/// Locks the counts that include an attempt until the transaction ends, and returns them as of `now`.
fn lock(tx: &mut Transaction, attempt: &Attempt, now: NaiveDateTime) -> Result<Vec<Failures>> {
    let new = attempt.counts().map(|(account, network)| Failures {
        account: account.to_owned(),
        network: network.to_owned(),
        failures: 0,
        first_at: now,
        last_at: now,
        pending: 0,
        pending_at: now,
    });
    let rows = tx.lock_failures(&new)?;
    Ok(rows.into_iter().map(|row| current(row, now)).collect())
}
