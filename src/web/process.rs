//! The state of the process, for handlers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::metrics::Metrics;

pub struct Process {
    started_at: DateTime<Utc>,
    start: Instant,
    stopping: AtomicBool,
    /// The path below which everything is served: empty, or without a trailing slash. In lower case.
    prefix: String,
    metrics: Option<Arc<Metrics>>,
}

impl Process {
    #[must_use]
    pub fn start(prefix: String, metrics: Option<Arc<Metrics>>) -> Self {
        Self {
            started_at: Utc::now(),
            start: Instant::now(),
            stopping: AtomicBool::new(false),
            prefix,
            metrics,
        }
    }

    /// Returns the path below which everything is served.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the metrics in which requests are counted, if there are any.
    #[must_use]
    pub fn metrics(&self) -> Option<&Metrics> {
        self.metrics.as_deref()
    }

    #[must_use]
    pub fn started_at(&self) -> DateTime<Utc> {
        self.started_at
    }

    /// Returns how long the process has been running, whatever happens to the machine's clock.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.start.elapsed()
    }

    /// Marks the server as not ready, so that a proxy in front stops sending requests.
    pub fn begin_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
