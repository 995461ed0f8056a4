//! The state of the process, for handlers.

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};

pub struct Process {
    started_at: DateTime<Utc>,
    stopping: AtomicBool,
    /// The path below which everything is served: empty, or without a trailing slash. In lower case.
    prefix: String,
    has_metrics: bool,
}

impl Process {
    #[must_use]
    pub fn start(prefix: String, has_metrics: bool) -> Self {
        Self {
            started_at: Utc::now(),
            stopping: AtomicBool::new(false),
            prefix,
            has_metrics,
        }
    }

    /// Returns the path below which everything is served.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns whether requests are counted.
    #[must_use]
    pub fn has_metrics(&self) -> bool {
        self.has_metrics
    }

    #[must_use]
    pub fn started_at(&self) -> DateTime<Utc> {
        self.started_at
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
