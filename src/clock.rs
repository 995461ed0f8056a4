//! The clock from which the service reads the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, NaiveDateTime, SubsecRound, TimeDelta, Utc};

/// A source of the current time that tests can set by hand. All clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock(TimeBase);

#[derive(Clone, Debug)]
enum TimeBase {
    System,
    /// Microseconds since the Unix epoch.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// Returns the clock of the machine.
    #[must_use]
    pub fn system() -> Self {
        Self(TimeBase::System)
    }

    /// Returns a clock that stands still at the current time until [`Self::advance`] moves it.
    #[must_use]
    pub fn manual() -> Self {
        Self(TimeBase::Manual(Arc::new(Utc::now().timestamp_micros().into())))
    }

    /// Moves a manual clock and all its clones.
    ///
    /// # Panics
    ///
    /// Panics if this is the system's clock.
    pub fn advance(&self, time: TimeDelta) {
        let TimeBase::Manual(now) = &self.0 else {
            panic!("the system's clock cannot be moved");
        };
        now.fetch_add(time.num_microseconds().unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Returns the current time in UTC, truncated to microseconds, which is the precision that both databases store.
    #[must_use]
    pub fn now(&self) -> NaiveDateTime {
        let now = match &self.0 {
            TimeBase::System => Utc::now(),
            TimeBase::Manual(now) => DateTime::from_timestamp_micros(now.load(Ordering::SeqCst)).unwrap_or_default(),
        };
        now.naive_utc().trunc_subsecs(6)
    }
}
