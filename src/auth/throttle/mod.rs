//! Limits failed logins for each client network and each account. Failures are counted in the database, so the limits
//! hold across nodes and restarts.
//!
//! A client network may fail 20 times in 10 minutes. The IPv6 /56 and /48 around it may fail 60 and 200 times. An
//! account may fail 5 times in a row. Each further attempt then has to wait: 1 second, 2 seconds, 4 seconds and so on,
//! up to 15 minutes. An account has one count for each network from which it has logged in recently, and one count for
//! all other networks together. Strangers therefore cannot lock the owner out. Names without a user are counted like
//! any other.
//!
//! Each attempt is recorded before its password is checked and settled afterward. Concurrent attempts therefore cannot
//! exceed the limit: attempts beyond it wait until earlier ones are settled.

mod overview;
mod policy;
mod waiting;

use std::time::{Duration, Instant};

use chrono::{NaiveDateTime, TimeDelta};

use super::Auth;
use crate::error::{LoginError, Result, ThrottleScope, Throttled};
use crate::model::{Name, Network, RequestContext, User, name_digest};
use crate::settings::CoreSettings;
use crate::store::{CountKey, Credential, Failures, Transaction};
pub use overview::{Throttles, Wait};
pub(super) use policy::Outcome;
pub use policy::{ACCOUNT_FAILURES, longest_wait, max_failures};
use policy::{Verdict, blocked_until, clamped, current, empty, is_ahead, latest_stale_at, recorded, settled, verdict};
use waiting::{Place, Signal, WaitingRoom};

/// How long a network stays known after a login from it.
const KNOWN_NETWORK_TTL: TimeDelta = TimeDelta::days(30);
/// A login from a known network updates the stored time of the last login only if that time is older than this.
const KNOWN_NETWORK_REFRESH: TimeDelta = TimeDelta::days(1);
/// The maximum number of known networks of a user. A new one replaces the least recently used one. Without a limit, a
/// user whose provider assigns a /48 could store 65,536 rows.
const MAX_KNOWN_NETWORKS: u16 = 100;

/// The part of the throttle that is in memory.
pub(super) struct Throttle {
    enabled: bool,
    /// The longest time that an attempt waits for earlier ones to be settled. After that, it is rejected.
    max_wait: Duration,
    waiting: WaitingRoom,
}

impl Throttle {
    pub fn new(settings: &CoreSettings) -> Self {
        Self {
            enabled: settings.login_throttle,
            max_wait: settings.max_wait,
            waiting: WaitingRoom::default(),
        }
    }
}

/// A recorded attempt, which must be settled.
pub(super) struct Attempt {
    /// The keys of the counts that include this attempt: first the account's, then those of its networks from narrow to
    /// wide. Every transaction locks them in this order. Each attempt has at most one key of each kind, so two attempts
    /// cannot deadlock. The widest network, which most attempts share, is locked last and so for the shortest time.
    counts: Vec<CountKey>,
    user_id: Option<i32>,
    network: Network,
}

impl Attempt {
    fn account(&self) -> &[CountKey] {
        &self.counts[..1]
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
        let deadline = Instant::now() + self.throttle.max_wait;
        let mut place: Option<Place<'_>> = None;
        loop {
            let key = match self.try_to_record(&attempt)? {
                Verdict::Allow => return Ok(Some(attempt)),
                Verdict::Reject(scope, until) => return Err(self.throttled(scope, until)),
                Verdict::Wait(key) => key,
            };
            // An attempt that waits for the same count again keeps its place.
            let place = match &mut place {
                Some(place) if *place.key() == key => place,
                place => place.insert(self.throttle.waiting.enter(key)),
            };
            match place.wait(deadline, context)? {
                Signal::Retry => {}
                Signal::Rejected(scope, until) => return Err(self.throttled(scope, until)),
            }
        }
    }

    /// Records an attempt if the limits allow it now.
    fn try_to_record(&self, attempt: &Attempt) -> Result<Verdict> {
        // The limits are checked by reading first, so that a rejected attempt writes nothing.
        let counts = self.store.read(|db| db.failures(&attempt.counts))?;
        let now = self.now();
        if counts.iter().any(|count| is_ahead(count, now)) {
            self.store.write(|tx| clamp(tx, &counts, self.now()))?;
        }
        match verdict(&counts, now) {
            Verdict::Allow => {}
            Verdict::Reject(scope, until) => {
                self.throttle.waiting.announce(&counts, now);
                return Ok(Verdict::Reject(scope, until));
            }
            wait @ Verdict::Wait(_) => return Ok(wait),
        }
        let recorded = self.store.write_unless(|tx| record(tx, attempt, self.now()))?;
        Ok(match recorded {
            Ok(counts) => {
                self.throttle.waiting.announce(&counts, self.now());
                Verdict::Allow
            }
            Err(verdict) => verdict,
        })
    }

    fn throttled(&self, scope: ThrottleScope, until: NaiveDateTime) -> LoginError {
        // If the clock is set back at this moment, the time left would be too long.
        let left = (until - self.now()).min(longest_wait(scope));
        let retry_after = left.to_std().unwrap_or_default();
        LoginError::Throttled(Throttled { scope, retry_after })
    }

    /// Settles an attempt: records its outcome.
    pub(super) fn settle_attempt(&self, attempt: Option<Attempt>, outcome: Outcome) -> Result<()> {
        let Some(attempt) = attempt else { return Ok(()) };
        let counts = self.store.write(|tx| settle(tx, &attempt, outcome, self.now()))?;
        self.throttle.waiting.announce(&counts, self.now());
        Ok(())
    }

    /// Returns how many attempts the account has left from the request's network before it has to wait. Ignores the
    /// limits of networks. `None` means that the throttle is off or that the context has no address.
    pub fn attempts_left(&self, user: &Name, context: &RequestContext) -> Result<Option<u32>> {
        let credential = self.store.read(|db| db.credential(user))?;
        let Some(attempt) = self.new_attempt(user, credential.as_ref(), context)? else {
            return Ok(None);
        };
        let counts = self.store.read(|db| db.failures(attempt.account()))?;
        let now = self.now();
        let of_account = counts.into_iter().map(|count| current(count, now));
        let failures = of_account.map(|count| count.failures + count.pending).sum::<i32>();
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
        let network = Network::of(address);
        let known_since = self.now() - KNOWN_NETWORK_TTL;
        let user_id = credential.map(|credential| credential.user_id);
        // No user has the id 0. The query runs anyway, so that an unknown name takes the same time as a known one.
        let id = user_id.unwrap_or(0);
        let text = network.to_string();
        let is_known = self.store.read(|db| db.is_known_network(id, &text, known_since))?;
        // Logins by name and by e-mail address share one count.
        let account = name_digest(credential.map_or(user.normalized(), |credential| credential.name.as_str()));
        let networks = std::iter::once(network).chain(network.wider());
        let of_account = CountKey::of_account(account, is_known.then_some(network));
        Ok(Some(Attempt {
            counts: std::iter::once(of_account)
                .chain(networks.map(CountKey::of_network))
                .collect(),
            user_id,
            network,
        }))
    }

    /// Returns until when each of these users has to wait, in the order of `users`. If several counts make a user wait,
    /// returns the latest time. `None` means that the user does not have to wait.
    pub fn throttled_until(&self, users: &[User]) -> Result<Vec<Option<NaiveDateTime>>> {
        self.throttled_names_until(users.iter().map(|user| user.name.as_str()))
    }

    /// Returns until when each user with one of these names has to wait. See [`Self::throttled_until`].
    pub(super) fn throttled_names_until<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<Option<NaiveDateTime>>> {
        let accounts: Vec<_> = names.map(name_digest).collect();
        let counts = self.store.read(|db| db.failures_of_accounts(&accounts))?;
        let now = self.now();
        let blocked = counts.into_iter().filter_map(|(account, count)| {
            let until = blocked_until(&current(count, now))?;
            Some((account, until)).filter(|(_, until)| *until > now)
        });
        let blocked: Vec<_> = blocked.collect();
        let until = |account| {
            let of_account = blocked.iter().filter(|(blocked, _)| blocked == account);
            of_account.map(|(_, until)| *until).max()
        };
        Ok(accounts.iter().map(until).collect())
    }

    /// Deletes a batch of counts that no longer matter. After the last batch, also deletes old known networks. Returns
    /// whether there may be another batch.
    pub fn delete_stale_failures(&self) -> Result<bool> {
        let (now, past) = (self.now(), self.clock.certainly_past());
        if self.store.write(|tx| tx.delete_stale_failures(past))?
            || self.store.write(|tx| tx.limit_stale_time(latest_stale_at(now)))?
        {
            return Ok(true);
        }
        self.store
            .write(|tx| tx.delete_old_networks(past - KNOWN_NETWORK_TTL))?;
        Ok(false)
    }
}

/// Records an attempt and returns its counts. Fails with a verdict if the limits do not allow the attempt. The
/// transaction must then be rolled back.
fn record(tx: &mut Transaction, attempt: &Attempt, now: NaiveDateTime) -> Result<Result<Vec<Failures>, Verdict>> {
    let new = attempt.counts.iter().map(|key| recorded(empty(key.clone(), now), now));
    let mut counts: Vec<Failures> = new.collect();
    let existing = tx.lock_failures(&counts)?;
    match verdict(&existing, now) {
        Verdict::Allow => {}
        verdict => return Ok(Err(verdict)),
    }
    for count in existing {
        replace(tx, &mut counts, &recorded(current(count, now), now))?;
    }
    Ok(Ok(counts))
}

/// Stores these counts without times in the future. `counts` must be in the order of [`Attempt::counts`].
fn clamp(tx: &mut Transaction, counts: &[Failures], now: NaiveDateTime) -> Result<()> {
    // A count that has been deleted since it was read is inserted again, without failures.
    let empty: Vec<_> = counts.iter().map(|count| empty(count.key.clone(), now)).collect();
    for count in tx.lock_failures(&empty)? {
        if is_ahead(&count, now) {
            tx.store_failures(&clamped(count, now))?;
        }
    }
    Ok(())
}

/// Settles an attempt and returns its counts.
fn settle(tx: &mut Transaction, attempt: &Attempt, outcome: Outcome, now: NaiveDateTime) -> Result<Vec<Failures>> {
    // An operator may have deleted counts since the attempt was recorded. They are then inserted again.
    let new = attempt
        .counts
        .iter()
        .map(|key| settled(empty(key.clone(), now), outcome, now));
    let mut counts: Vec<Failures> = new.collect();
    for count in tx.lock_failures(&counts)? {
        replace(tx, &mut counts, &settled(current(count, now), outcome, now))?;
    }
    match (outcome, attempt.user_id) {
        // The user may have been deleted since the attempt was recorded.
        (Outcome::Success, Some(user_id)) if tx.lock_credential(user_id)?.is_some() => {
            record_network(tx, user_id, attempt.network, now)?;
        }
        _ => {}
    }
    Ok(counts)
}

/// Records a user's login from a network, and keeps the number of the user's known networks within the limit. A login
/// from a known network needs only one query, except for the first one after [`KNOWN_NETWORK_REFRESH`].
fn record_network(tx: &mut Transaction, user_id: i32, network: Network, now: NaiveDateTime) -> Result<()> {
    let network = network.to_string();
    if tx.record_known_network(user_id, &network, now, now - KNOWN_NETWORK_REFRESH)? {
        tx.delete_excess_networks(user_id, &network, MAX_KNOWN_NETWORKS - 1, now - KNOWN_NETWORK_TTL, now)?;
    }
    Ok(())
}

/// Stores a count, and replaces the one in `counts` that has the same key.
fn replace(tx: &mut Transaction, counts: &mut [Failures], count: &Failures) -> Result<()> {
    tx.store_failures(count)?;
    for old in counts.iter_mut().filter(|old| old.key == count.key) {
        old.clone_from(count);
    }
    Ok(())
}
