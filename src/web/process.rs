//! What a handler may know about the process it runs in.

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};

/// When it was started, and whether it was told to stop.
pub struct Process {
    started_at: DateTime<Utc>,
    stopping: AtomicBool,
}

impl Process {
    /// One that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            started_at: Utc::now(),
            stopping: AtomicBool::new(false),
        }
    }

    /// When it was started.
    #[must_use]
    pub fn started_at(&self) -> DateTime<Utc> {
        self.started_at
    }

    /// From now on it is stopping: a proxy in front sees it as not ready and sends no more.
    pub fn begin_to_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether it was told to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
