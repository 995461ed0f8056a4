//! The clock from which the service reads the time.
//!
//! A change of the machine's clock must not make keys expire or let failed logins lapse. Therefore another clock is
//! read only every few seconds, for [`Clock::follow`]: that of PostgreSQL, so that all nodes agree, or that of the
//! machine if the database is embedded. In between, the clock advances with the uptime of the machine, which no program
//! can set.

mod anchor;

use std::convert::Infallible;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use rustix::time::{ClockId, clock_gettime};

use anchor::Anchor;
pub use anchor::{ClockChange, HOLD_TIME, SETTLING_TIME};

/// A source of the current time, which tests can set by hand. All clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock(TimeBase);

#[derive(Clone, Debug)]
enum TimeBase {
    Anchored(Arc<Anchored>),
    /// Microseconds since the Unix epoch.
    Manual(Arc<AtomicI64>),
}

#[derive(Debug)]
struct Anchored {
    /// The time at which the uptime was zero, in microseconds since the Unix epoch.
    zero: AtomicI64,
    anchor: Mutex<Anchor>,
}

/// A time that was read from another clock.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// In microseconds since the Unix epoch.
    time: i64,
    /// The uptime of this machine at the same moment, in microseconds.
    uptime: i64,
    /// The maximum error of the time, in microseconds: half of the duration of the reading.
    uncertainty: i64,
}

impl Reading {
    /// Reads the clock of this machine.
    #[must_use]
    pub fn of_machine() -> Self {
        match Self::of(|| Ok::<_, Infallible>(Utc::now().naive_utc())) {
            Ok(reading) => reading,
            Err(never) => match never {},
        }
    }

    /// Reads a clock with `read`. Assumes that the clock shows its time in the middle of the call.
    pub fn of<E>(read: impl FnOnce() -> Result<NaiveDateTime, E>) -> Result<Self, E> {
        let start = uptime();
        let time = read()?.and_utc().timestamp_micros();
        let uncertainty = (uptime() - start) / 2;
        Ok(Self {
            time,
            uptime: start + uncertainty,
            uncertainty,
        })
    }
}

impl Clock {
    /// Returns a clock that begins with the time of the machine. [`Self::follow`] keeps it right.
    #[must_use]
    pub fn system() -> Self {
        let anchor = Anchor::new(&Reading::of_machine());
        Self(TimeBase::Anchored(Arc::new(Anchored {
            zero: anchor.zero().into(),
            anchor: Mutex::new(anchor),
        })))
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

    /// Sets the clock to the time of a reading, unless the times differ so much that the other clock may be wrong. A
    /// manual clock follows no other clock.
    pub fn follow(&self, reading: &Reading) -> ClockChange {
        let TimeBase::Anchored(anchored) = &self.0 else {
            return ClockChange::None;
        };
        // The lock is never poisoned, because following does not panic.
        let mut anchor = anchored.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let change = anchor.follow(reading);
        anchored.zero.store(anchor.zero(), Ordering::Relaxed);
        change
    }

    /// Returns the current time in UTC. Its precision is a microsecond, as in both databases.
    #[must_use]
    pub fn now(&self) -> NaiveDateTime {
        time(match &self.0 {
            TimeBase::Anchored(anchored) => anchored.zero.load(Ordering::Relaxed).saturating_add(uptime()),
            TimeBase::Manual(now) => now.load(Ordering::SeqCst),
        })
    }

    /// Returns a time that is past even if the clock is ahead. Rows may be deleted only if they expired before it,
    /// because a deletion cannot be undone when the clock is set back.
    #[must_use]
    pub fn certainly_past(&self) -> NaiveDateTime {
        let TimeBase::Anchored(anchored) = &self.0 else {
            return self.now();
        };
        let anchor = anchored.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let uptime = uptime();
        time(
            anchor
                .zero()
                .saturating_add(uptime)
                .saturating_sub(anchor.doubt(uptime)),
        )
    }
}

/// Returns the time this many microseconds after the Unix epoch.
fn time(micros: i64) -> NaiveDateTime {
    DateTime::from_timestamp_micros(micros).unwrap_or_default().naive_utc()
}

/// Returns how long the machine has been running, in microseconds. On Linux, this includes the time in suspension.
fn uptime() -> i64 {
    #[cfg(target_os = "linux")]
    const UPTIME: ClockId = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const UPTIME: ClockId = ClockId::Monotonic;
    let uptime = clock_gettime(UPTIME);
    uptime.tv_sec * 1_000_000 + uptime.tv_nsec / 1000
}
