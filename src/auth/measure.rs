//! Collects the values of the metrics.

use std::sync::Arc;

use super::{Auth, ChangeSource, FeedState, Replication, ReplicationGap, SecretState, SecretUse};
use crate::error::{LoginError, Result, ServiceError};
use crate::metrics::{self, Feed, LoginOutcome, Metrics, State};

impl Auth {
    /// Returns the metrics. `None` if nothing is counted.
    #[must_use]
    pub fn metrics(&self) -> Option<&Arc<Metrics>> {
        self.metrics.as_ref()
    }

    /// Returns all metrics as text. Queries nothing. `None` if nothing is counted.
    pub fn metrics_text(&self) -> Result<Option<String>> {
        let text = |metrics: &Arc<Metrics>| metrics.render(&self.state());
        self.metrics().map(text).transpose()
    }

    /// Counts users, keys and throttled names for the metrics. Does nothing if nothing is counted.
    pub fn count_rows(&self) -> Result<()> {
        let Some(metrics) = self.metrics() else { return Ok(()) };
        let now = self.now();
        let mut counts = self.store.read(|db| db.row_counts(now))?;
        let throttles = self.throttles()?;
        let networks = throttles.waits.iter().filter(|wait| wait.user.is_none()).count();
        counts.throttled_networks = networks;
        counts.throttled_accounts = throttles.waits.len() - networks + throttles.unknown_names;
        counts.sealed_keys = by_known_secret(self.sealed_keys()?);
        counts.counted_at = now.and_utc().timestamp();
        metrics.set_row_counts(&counts);
        Ok(())
    }

    pub(super) fn record_login<T>(&self, dialect: &'static str, result: &Result<T, LoginError>) {
        if let Some(metrics) = self.metrics() {
            metrics.record_login(dialect, outcome(result));
        }
    }

    fn state(&self) -> State {
        State {
            feed: match self.feed_state() {
                FeedState::Up => Feed::Up,
                FeedState::Idle => Feed::Idle,
                FeedState::Down => Feed::Down,
            },
            is_feed_polling: self.change_source() == ChangeSource::Polling,
            feed_age: self.key_cache.since_poll(),
            cached_keys: self.key_cache.len(),
            lookup_queue: self.lookups.waiting(),
            hashing_queue: self.hashing.waiting(),
            connections_in_use: self.store.connections_in_use(),
            replication: match self.last_replication() {
                Some(Replication::Synchronous) => metrics::Replication::Synchronous,
                Some(Replication::Incomplete(ReplicationGap::NoStandby)) | None => metrics::Replication::None,
                Some(Replication::Incomplete(_)) => metrics::Replication::Asynchronous,
            },
        }
    }
}

fn outcome<T>(result: &Result<T, LoginError>) -> LoginOutcome {
    match result {
        Ok(_) => LoginOutcome::Ok,
        Err(LoginError::WrongCredentials) => LoginOutcome::Wrong,
        Err(LoginError::Disabled) => LoginOutcome::Disabled,
        Err(LoginError::Throttled(_)) => LoginOutcome::Throttled,
        Err(LoginError::BadExpiry(_) | LoginError::TooManyKeys(_)) => LoginOutcome::Refused,
        Err(LoginError::Service(ServiceError::Busy { .. })) => LoginOutcome::Busy,
        Err(LoginError::Service(_)) => LoginOutcome::Failed,
    }
}

/// Returns the numbers of sealed keys by label. There is one label for each secret of this process, and one for all
/// others together.
fn by_known_secret(secrets: Vec<SecretUse>) -> Vec<(String, usize)> {
    let mut counts = vec![("unknown".to_owned(), 0), ("unrecorded".to_owned(), 0)];
    for SecretUse { id, state, keys } in secrets {
        match (state, id) {
            (SecretState::Active | SecretState::Known, Some(id)) => counts.push((id.as_str().to_owned(), keys)),
            (SecretState::Unrecorded, _) => counts[1].1 += keys,
            _ => counts[0].1 += keys,
        }
    }
    counts
}
