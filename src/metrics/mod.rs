//! Metrics in Prometheus' text format.
//!
//! The crate `prometheus` stores and encodes them. The hottest ones are counted for each thread separately
//! (`per_thread`), so threads do not wait for each other. All labels have few values: never names, addresses or keys.
//! `docs/metrics.md` lists the metrics, and a test compares that list with what the server sends.
//!
//! Without a listener for metrics, there are no [`Metrics`], and nothing is counted.

mod per_thread;
mod state;

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::error::{Result, ServiceError};
use per_thread::PerThread;
pub use per_thread::{RequestRecord, VerificationOutcome, VerificationSource};
use state::StateGauges;
pub use state::{Feed, Replication, RowCounts, State};

/// The upper bounds of the buckets for waiting in the hashing queue and for hashing, in seconds.
const HASHING_BUCKETS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0];

/// The media type of the text format.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The outcome of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginOutcome {
    Ok,
    Wrong,
    Throttled,
    /// Rejected because the hashing queue is full.
    Busy,
    Disabled,
    /// The password is right, but the requested key is not possible.
    Refused,
    /// The client has disconnected, or the service has failed.
    Failed,
}

impl LoginOutcome {
    fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Wrong => "wrong",
            Self::Throttled => "throttled",
            Self::Busy => "busy",
            Self::Disabled => "disabled",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// All metrics of a server.
pub struct Metrics {
    registry: Registry,
    per_thread: PerThread,
    logins: IntCounterVec,
    hashing_wait: Histogram,
    hashing_time: Histogram,
    state: StateGauges,
}

impl Metrics {
    /// Creates the metrics of a server.
    pub fn new() -> Result<Arc<Self>> {
        Self::create().map(Arc::new).map_err(ServiceError::internal)
    }

    fn create() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let build = IntGaugeVec::new(
            Opts::new("shoko_auth_build_info", "The version of the program. Always 1."),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(build))?;
        let logins = IntCounterVec::new(
            Opts::new("shoko_auth_logins_total", "Logins with a password, by outcome."),
            &["dialect", "result"],
        )?;
        registry.register(Box::new(logins.clone()))?;
        let histogram = |name: &str, help: &str| -> prometheus::Result<Histogram> {
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(HASHING_BUCKETS.to_vec()))?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        let hashing_wait = histogram(
            "shoko_auth_hashing_wait_seconds",
            "How long password checks have waited for a hashing thread.",
        )?;
        let hashing_time = histogram(
            "shoko_auth_hashing_seconds",
            "How long hashing threads have taken for a password check or a new hash.",
        )?;
        let per_thread = PerThread::new(&registry)?;
        let state = StateGauges::new(&registry)?;
        Ok(Self {
            registry,
            per_thread,
            logins,
            hashing_wait,
            hashing_time,
            state,
        })
    }

    /// Counts a request after its response is ready.
    pub fn record_request(&self, request: &RequestRecord<'_>) {
        self.per_thread.record_request(request);
    }

    /// Counts the verification of a key or a session.
    pub fn record_verification(&self, source: VerificationSource, outcome: VerificationOutcome) {
        self.per_thread.record_verification(source, outcome);
    }

    /// Counts a login. `dialect` is a literal.
    pub fn record_login(&self, dialect: &'static str, outcome: LoginOutcome) {
        self.logins.with_label_values(&[dialect, outcome.label()]).inc();
    }

    /// Records how long a job of the hashing pool has waited, and how long it has taken.
    pub fn record_hashing(&self, waited: Duration, took: Duration) {
        self.hashing_wait.observe(waited.as_secs_f64());
        self.hashing_time.observe(took.as_secs_f64());
    }

    /// Stores how many rows there are. They are counted once a minute, so that a scrape costs no query.
    pub fn set_row_counts(&self, counts: &RowCounts) {
        self.state.set_row_counts(counts);
    }

    /// Returns all metrics in Prometheus' text format. `state` is the state of the server at this moment.
    pub fn render(&self, state: &State) -> Result<String> {
        self.state.set(state);
        self.per_thread.flush();
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .map_err(ServiceError::internal)
    }
}
