//! Bounds the audit lines of events that clients can repeat as often as they like.
//!
//! The first events of a kind get lines of their own: for each user, or for each typed name and client network if the
//! event does not prove who the user is. After that, one line a minute reports the number of further events, until a
//! minute passes without any.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{NaiveDateTime, TimeDelta};

use super::audit::{Event, Line};
use crate::model::{NameDigest, Network};

const MINUTE: TimeDelta = TimeDelta::minutes(1);
/// The maximum number of users, or of typed names and networks, that are counted separately for each kind of event. All
/// others share one count. Each kind of event has its own limit, so that strangers who cause many rejections do not
/// suppress the lines of other events.
const MAX_ENTRIES: usize = 64;
/// The number of lines a minute for issued and revoked keys and for successful logins. No honest client of one user
/// needs more. The limit is high because each line names a device, which a summary does not.
const MAX_LINES: u64 = 60;

/// Events that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct EventKey {
    pub event: Event,
    pub user: NameDigest,
    /// `None` for an event that proves who the user is, and for the command line.
    pub network: Option<Network>,
}

/// The counts of repeated events.
#[derive(Default)]
pub(super) struct Repeats(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    of_one: HashMap<Event, HashMap<EventKey, Count>>,
    of_several: HashMap<Event, Count>,
}

struct Count {
    /// When the current minute of this count began.
    since: NaiveDateTime,
    /// How many events have had lines of their own.
    logged: u64,
    /// How many further events there have been this minute.
    repeats: u64,
    /// The line of the first event.
    first: Line,
}

impl Event {
    /// Returns how many events of this kind get lines of their own.
    fn max_lines(self) -> u64 {
        match self {
            // Every rejected request would log an identical line.
            Self::LoginThrottled | Self::KeyRejected | Self::AccessDenied => 1,
            _ => MAX_LINES,
        }
    }

    /// Returns whether strangers can cause the event with any user name.
    pub(super) fn is_caused_by_strangers(self) -> bool {
        matches!(self, Self::LoginFailed | Self::LoginThrottled | Self::KeyRejected)
    }
}

impl Repeats {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        // No code that holds the lock can leave a count in an inconsistent state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an event. Returns a line to log now, if any: the event's own, which `line` creates, or the number of
    /// repeats in the last minute.
    pub fn count(&self, key: EventKey, now: NaiveDateTime, line: impl Fn() -> Line) -> Option<Line> {
        let Counts { of_one, of_several } = &mut *self.lock();
        let of_event = of_one.entry(key.event).or_default();
        if of_event.len() < MAX_ENTRIES || of_event.contains_key(&key) {
            let count = of_event.entry(key).or_insert_with(|| Count::new(now, 0, line()));
            return count.add(now, key.event.max_lines(), line);
        }
        let first = || Line::of_several(key.event);
        let count = of_several.entry(key.event);
        count.or_insert_with(|| Count::new(now, 0, first())).add(now, 0, first)
    }

    /// Returns lines with the numbers of repeats whose minute is over. Frees the memory of events that have not been
    /// repeated.
    pub fn take_due(&self, now: NaiveDateTime) -> Vec<Line> {
        self.take(|count| count.is_over(now), now)
    }

    /// Returns lines with all numbers of repeats.
    pub fn take_all(&self) -> Vec<Line> {
        self.take(|_| true, NaiveDateTime::MIN)
    }

    fn take(&self, is_due: impl Fn(&Count) -> bool, now: NaiveDateTime) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut keep = |count: &mut Count| {
            if !is_due(count) {
                return true;
            }
            let line = count.take(now);
            let is_repeated = line.is_some();
            lines.extend(line);
            is_repeated
        };
        let Counts { of_one, of_several } = &mut *self.lock();
        for of_event in of_one.values_mut() {
            of_event.retain(|_, count| keep(count));
        }
        of_several.retain(|_, count| keep(count));
        lines
    }
}

impl Count {
    fn new(since: NaiveDateTime, logged: u64, first: Line) -> Self {
        Self {
            since,
            logged,
            repeats: 0,
            first,
        }
    }

    fn is_over(&self, now: NaiveDateTime) -> bool {
        // If the clock has been set back, the minute would otherwise last until it has caught up.
        now < self.since || self.since + MINUTE <= now
    }

    /// Counts an event of which `max_lines` get lines of their own.
    fn add(&mut self, now: NaiveDateTime, max_lines: u64, line: impl Fn() -> Line) -> Option<Line> {
        if self.is_over(now) && self.repeats == 0 {
            *self = Self::new(now, 0, line());
        }
        if self.logged < max_lines {
            self.logged += 1;
            return Some(line());
        }
        self.repeats += 1;
        self.is_over(now).then(|| self.take(now)).flatten()
    }

    /// Begins another minute. Returns a line with the number of repeats in the last one, if there were any.
    fn take(&mut self, now: NaiveDateTime) -> Option<Line> {
        self.since = now;
        let repeats = std::mem::take(&mut self.repeats);
        (repeats > 0).then(|| self.first.with_count(repeats))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::model::name_digest;

    fn key(event: Event, user: &str) -> EventKey {
        EventKey {
            event,
            user: name_digest(user),
            network: Some(Network::of([192, 0, 2, 1].into())),
        }
    }

    fn throttled() -> Line {
        Line::of_several(Event::LoginThrottled)
    }

    #[test]
    fn of_repeated_rejections_the_first_is_logged_and_their_number_once_a_minute() {
        let (repeats, now) = (Repeats::default(), Clock::system().now());
        let reject = |seconds| {
            let now = now + TimeDelta::seconds(seconds);
            repeats.count(key(Event::LoginThrottled, "bob"), now, throttled)
        };
        assert_eq!(reject(0), Some(throttled()));
        assert_eq!((reject(1), reject(59)), (None, None));
        assert_eq!(reject(60), Some(throttled().with_count(3)));
        assert_eq!(reject(61), None);
        let minute = |minutes| repeats.take_due(now + TimeDelta::minutes(minutes));
        assert!(minute(1).is_empty());
        assert_eq!(minute(2), [throttled().with_count(1)]);
        assert!(minute(3).is_empty());
        assert_eq!(
            reject(181),
            Some(throttled()),
            "after a minute without any, the next is logged at once"
        );
    }

    #[test]
    fn repeats_are_reported_even_if_the_clock_is_set_back() {
        let (repeats, now) = (Repeats::default(), Clock::system().now());
        let reject = |days| {
            let now = now - TimeDelta::days(days);
            repeats.count(key(Event::LoginThrottled, "bob"), now, throttled)
        };
        assert_eq!((reject(0), reject(0)), (Some(throttled()), None));
        assert_eq!(reject(3), Some(throttled().with_count(2)));
    }

    #[test]
    fn the_events_of_too_many_users_share_one_count() {
        let (repeats, now) = (Repeats::default(), Clock::system().now());
        let reject = |number: usize| repeats.count(key(Event::LoginThrottled, &number.to_string()), now, throttled);
        let logged = (0..MAX_ENTRIES + 100).filter_map(reject).count();
        assert_eq!(logged, MAX_ENTRIES);
        assert_eq!(repeats.take_all(), [throttled().with_count(100)]);
    }

    #[test]
    fn many_rejections_do_not_suppress_the_lines_of_other_events() {
        let (repeats, now) = (Repeats::default(), Clock::system().now());
        for number in 0..10 * MAX_ENTRIES {
            repeats.count(key(Event::LoginThrottled, &number.to_string()), now, throttled);
        }
        let line = || Line::of_several(Event::LoginOk);
        assert_eq!(repeats.count(key(Event::LoginOk, "bob"), now, line), Some(line()));
    }

    #[test]
    fn the_first_60_issued_keys_are_logged_one_by_one_and_the_others_counted() {
        let (repeats, now) = (Repeats::default(), Clock::system().now());
        let line = || Line::of_several(Event::KeyIssued);
        let issue = |_| repeats.count(key(Event::KeyIssued, "bob"), now, line);
        assert_eq!((0..100).filter_map(issue).count(), 60);
        assert_eq!(repeats.take_all(), [line().with_count(40)]);
    }
}
