//! Gauges that show the state of the server. A scrape sets them from what is in memory.

use std::time::Duration;

use prometheus::{Gauge, IntGauge, IntGaugeVec, Opts, Registry};

/// The state of the server when it is scraped.
#[derive(Clone, Debug)]
pub struct State {
    pub feed: Feed,
    /// Whether the feed polls a table, instead of receiving notifications.
    pub is_feed_polling: bool,
    /// Since the last successful poll of the change feed. `None` before the first one.
    pub feed_age: Option<Duration>,
    pub cached_keys: usize,
    /// The lookups that wait for the lookup thread.
    pub lookup_queue: usize,
    /// The requests that wait for a hashing thread.
    pub hashing_queue: usize,
    pub connections_in_use: usize,
    pub replication: Replication,
}

/// How the database replicates acknowledged changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// There is no standby, or the database is SQLite.
    None,
    Synchronous,
    Asynchronous,
}

/// The state of the change feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    Up,
    Idle,
    Down,
}

/// How many rows the database has.
#[derive(Clone, Debug, Default)]
pub struct RowCounts {
    pub users: usize,
    pub device_keys: usize,
    pub gateway_keys: usize,
    pub sessions: usize,
    /// The users and unknown names that have to wait after failed logins.
    pub throttled_accounts: usize,
    /// The networks that have to wait after failed logins.
    pub throttled_networks: usize,
    /// The sealed keys by the id of their secret, `unknown` or `unrecorded`.
    pub sealed_keys: Vec<(String, usize)>,
    /// In seconds since the Unix epoch.
    pub counted_at: i64,
}

/// The gauges of the state and of the row counts.
pub struct StateGauges {
    feed: IntGaugeVec,
    feed_polling: IntGauge,
    feed_age: Gauge,
    cached_keys: IntGauge,
    lookup_queue: IntGauge,
    hashing_queue: IntGauge,
    connections_in_use: IntGauge,
    replication: IntGaugeVec,
    users: IntGauge,
    keys: IntGaugeVec,
    throttled: IntGaugeVec,
    sealed_keys: IntGaugeVec,
    counted_at: IntGauge,
}

impl StateGauges {
    /// Creates the gauges and registers them. Fails if the registry already contains one of their names.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let gauges = |name: &str, help: &str, label: &str| -> prometheus::Result<IntGaugeVec> {
            let gauges = IntGaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(gauges.clone()))?;
            Ok(gauges)
        };
        let feed_age = Gauge::new(
            "shoko_auth_change_feed_age_seconds",
            "The time since the last successful poll of the change feed.",
        )?;
        registry.register(Box::new(feed_age.clone()))?;
        Ok(Self {
            feed: gauges(
                "shoko_auth_change_feed_state",
                "1 for the state that the change feed is in, 0 for the others.",
                "state",
            )?,
            feed_polling: gauge(
                "shoko_auth_change_feed_polling",
                "1 if the change feed polls a table, 0 if it receives notifications.",
            )?,
            feed_age,
            cached_keys: gauge("shoko_auth_cached_keys", "Keys in the key cache.")?,
            lookup_queue: gauge("shoko_auth_lookup_queue", "Lookups that wait for the lookup thread.")?,
            hashing_queue: gauge("shoko_auth_hashing_queue", "Requests that wait for a hashing thread.")?,
            connections_in_use: gauge(
                "shoko_auth_database_connections_in_use",
                "Connections of the pool that are in use. The pool has at most ten.",
            )?,
            replication: gauges(
                "shoko_auth_replication_state",
                "1 for the way in which the database replicates changes, 0 for the others.",
                "state",
            )?,
            users: gauge("shoko_auth_users", "Users, counted once a minute.")?,
            keys: gauges("shoko_auth_keys", "Unexpired keys, counted once a minute.", "kind")?,
            throttled: gauges(
                "shoko_auth_throttled",
                "Names and networks that have to wait after failed logins, counted once a minute.",
                "kind",
            )?,
            sealed_keys: gauges(
                "shoko_auth_sealed_keys",
                "Sealed keys by the id of their sealing secret, counted once a minute.",
                "secret",
            )?,
            counted_at: gauge(
                "shoko_auth_counted_timestamp_seconds",
                "When users, keys and throttled names were last counted.",
            )?,
        })
    }

    /// Sets the gauges to the state. The age of the change feed is NaN before its first poll.
    pub fn set(&self, state: &State) {
        for (label, feed) in [("up", Feed::Up), ("idle", Feed::Idle), ("down", Feed::Down)] {
            self.feed.with_label_values(&[label]).set((feed == state.feed).into());
        }
        self.feed_polling.set(state.is_feed_polling.into());
        let age = state.feed_age.map_or(f64::NAN, |age| age.as_secs_f64());
        self.feed_age.set(age);
        self.cached_keys.set(number(state.cached_keys));
        self.lookup_queue.set(number(state.lookup_queue));
        self.hashing_queue.set(number(state.hashing_queue));
        self.connections_in_use.set(number(state.connections_in_use));
        for (label, replication) in [
            ("none", Replication::None),
            ("synchronous", Replication::Synchronous),
            ("asynchronous", Replication::Asynchronous),
        ] {
            let gauge = self.replication.with_label_values(&[label]);
            gauge.set((replication == state.replication).into());
        }
    }

    /// Sets the gauges of the row counts.
    pub fn set_row_counts(&self, counts: &RowCounts) {
        self.users.set(number(counts.users));
        for (kind, keys) in [
            ("device", counts.device_keys),
            ("gateway", counts.gateway_keys),
            ("session", counts.sessions),
        ] {
            self.keys.with_label_values(&[kind]).set(number(keys));
        }
        for (kind, throttled) in [
            ("account", counts.throttled_accounts),
            ("network", counts.throttled_networks),
        ] {
            self.throttled.with_label_values(&[kind]).set(number(throttled));
        }
        self.sealed_keys.reset();
        for (secret, keys) in &counts.sealed_keys {
            self.sealed_keys.with_label_values(&[secret]).set(number(*keys));
        }
        self.counted_at.set(counts.counted_at);
    }
}

fn number(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
