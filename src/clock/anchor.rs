//! Decides when the service's clock follows another clock. Pure rules, in microseconds.
//!
//! Small differences are followed at once, because every clock is corrected now and then. A jump may be a correction as
//! well as an error, so the clock follows it only after it has lasted for a minute. It may still be an error then.
//! Therefore, for an hour, a row is deleted only if it would have expired without the jump as well.

use std::time::Duration;

use chrono::TimeDelta;

use super::Reading;

/// A difference up to this size is followed at once.
const MAX_ADJUSTMENT: i64 = micros(Duration::from_secs(1));
/// How long a jump must last before the clock follows it.
pub const HOLD_TIME: Duration = Duration::from_secs(60);
/// How long after a start or a jump the clock is in doubt.
pub const SETTLING_TIME: Duration = Duration::from_secs(60 * 60);
/// By how much the clock may be ahead at the start. Many machines mistake local time for UTC until they get the time
/// from the network.
const DOUBT_AT_START: i64 = micros(Duration::from_secs(24 * 60 * 60));
/// A reading that is less certain than this is ignored.
const MAX_UNCERTAINTY: i64 = micros(Duration::from_millis(500));

/// The effect of a reading on the clock.
#[derive(Debug, PartialEq, Eq)]
pub enum ClockChange {
    /// The clocks agree, or this reading decides nothing.
    None,
    /// This is the first reading, or the first certain one. This clock was behind the other one by this time.
    Started(TimeDelta),
    /// The other clock has jumped by this time. This clock does not follow yet.
    Jumped(TimeDelta),
    /// The other clock is right again.
    Returned,
    /// A jump by this time has lasted, so this clock has followed it.
    Followed(TimeDelta),
}

#[derive(Debug)]
pub(super) struct Anchor {
    /// The time at which the uptime was zero.
    zero: i64,
    /// Whether the other clock has been read with certainty.
    has_started: bool,
    /// The jump that the clock does not follow yet.
    jump: Option<Jump>,
    doubt: Doubt,
}

#[derive(Clone, Copy, Debug)]
struct Jump {
    size: i64,
    /// The uptime at which it was first seen.
    since: i64,
}

/// By how much the clock may be ahead after a start or a jump.
#[derive(Debug)]
struct Doubt {
    size: i64,
    /// The uptime at which the doubt began.
    since: i64,
}

impl Anchor {
    /// Creates an anchor that begins with this reading of the machine's clock.
    pub fn new(reading: &Reading) -> Self {
        Self {
            zero: reading.time - reading.uptime,
            has_started: false,
            jump: None,
            doubt: Doubt {
                size: DOUBT_AT_START,
                since: reading.uptime,
            },
        }
    }

    /// Returns the time at which the uptime was zero.
    pub fn zero(&self) -> i64 {
        self.zero
    }

    /// Returns by how much the clock may be ahead at this uptime.
    pub fn doubt(&self, uptime: i64) -> i64 {
        if uptime - self.doubt.since < micros(SETTLING_TIME) {
            self.doubt.size
        } else {
            0
        }
    }

    pub fn follow(&mut self, reading: &Reading) -> ClockChange {
        let difference = reading.time - reading.uptime - self.zero;
        if !self.has_started {
            self.has_started = reading.uncertainty <= MAX_UNCERTAINTY;
            self.zero += difference;
            return ClockChange::Started(TimeDelta::microseconds(difference));
        }
        if reading.uncertainty > MAX_UNCERTAINTY {
            return ClockChange::None;
        }
        if difference.abs() <= MAX_ADJUSTMENT {
            self.zero += difference;
            return self.jump.take().map_or(ClockChange::None, |_| ClockChange::Returned);
        }
        let size = TimeDelta::microseconds(difference);
        let known = self
            .jump
            .filter(|jump| (jump.size - difference).abs() <= MAX_ADJUSTMENT);
        let Some(jump) = known else {
            self.jump = Some(Jump {
                size: difference,
                since: reading.uptime,
            });
            return ClockChange::Jumped(size);
        };
        if reading.uptime - jump.since < micros(HOLD_TIME) {
            return ClockChange::None;
        }
        self.zero += difference;
        self.jump = None;
        self.doubt = Doubt {
            // After two jumps, the clock may be ahead by the larger one.
            size: self.doubt(reading.uptime).max(difference.abs()),
            since: reading.uptime,
        };
        ClockChange::Followed(size)
    }
}

const fn micros(duration: Duration) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "all durations here are short")]
    let micros = duration.as_micros() as i64;
    micros
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const HOUR: i64 = 3600 * SECOND;
    /// A time in 2026.
    const TIME: i64 = 1_795_000_000 * SECOND;

    /// A machine that was started at [`TIME`], the clock of the service, and another clock that this clock follows.
    struct Machine {
        anchor: Anchor,
        uptime: i64,
        /// By how much the other clock is ahead.
        ahead: i64,
    }

    impl Machine {
        fn start() -> Self {
            let reading = Reading {
                time: TIME,
                uptime: 0,
                uncertainty: 0,
            };
            let mut anchor = Anchor::new(&reading);
            assert_eq!(anchor.follow(&reading), ClockChange::Started(TimeDelta::zero()));
            Self {
                anchor,
                uptime: 0,
                ahead: 0,
            }
        }

        /// Reads the other clock five seconds later.
        fn read(&mut self) -> ClockChange {
            self.uptime += 5 * SECOND;
            self.anchor.follow(&Reading {
                time: TIME + self.uptime + self.ahead,
                uptime: self.uptime,
                uncertainty: 0,
            })
        }

        /// Returns by how much the clock of the service is ahead.
        fn error(&self) -> i64 {
            self.anchor.zero() - TIME
        }

        fn doubt(&self) -> i64 {
            self.anchor.doubt(self.uptime)
        }
    }

    fn seconds(micros: i64) -> TimeDelta {
        TimeDelta::microseconds(micros)
    }

    #[test]
    fn a_small_correction_is_followed_at_once() {
        let mut machine = Machine::start();
        for ahead in [300_000, -600_000, -SECOND] {
            machine.ahead = ahead;
            assert_eq!(machine.read(), ClockChange::None);
            assert_eq!(machine.error(), ahead);
        }
    }

    #[test]
    fn an_hour_forward_and_back_within_a_minute_has_no_effect() {
        for jump in [HOUR, -HOUR, 20 * 366 * 24 * HOUR] {
            let mut machine = Machine::start();
            machine.ahead = jump;
            assert_eq!(machine.read(), ClockChange::Jumped(seconds(jump)));
            assert_eq!(machine.read(), ClockChange::None);
            assert_eq!(machine.error(), 0);
            machine.ahead = 0;
            assert_eq!(machine.read(), ClockChange::Returned);
            assert_eq!(machine.read(), ClockChange::None);
            assert_eq!(machine.error(), 0);
        }
    }

    #[test]
    fn a_clock_that_jumps_again_and_again_is_not_followed() {
        let mut machine = Machine::start();
        for number in 0..100 {
            machine.ahead = if number % 4 < 2 { HOUR } else { -HOUR };
            machine.read();
            assert_eq!(machine.error(), 0);
        }
    }

    #[test]
    fn a_jump_that_lasts_for_a_minute_is_followed() {
        for jump in [HOUR, -HOUR, 7 * SECOND] {
            let mut machine = Machine::start();
            machine.ahead = jump;
            assert_eq!(machine.read(), ClockChange::Jumped(seconds(jump)));
            for _ in 0..11 {
                assert_eq!(machine.read(), ClockChange::None);
                assert_eq!(machine.error(), 0);
            }
            assert_eq!(machine.read(), ClockChange::Followed(seconds(jump)));
            assert_eq!(machine.error(), jump);
            assert_eq!(machine.read(), ClockChange::None);
        }
    }

    #[test]
    fn the_clock_is_in_doubt_for_an_hour_after_a_start_or_a_jump() {
        let mut machine = Machine::start();
        assert_eq!(machine.doubt(), 24 * HOUR);
        machine.uptime += HOUR;
        assert_eq!(machine.doubt(), 0);
        // The larger of two jumps counts, as when the clock of a machine without a battery is corrected.
        for (jump, doubt) in [(50 * HOUR, 50 * HOUR), (-2 * HOUR, 50 * HOUR)] {
            machine.ahead += jump;
            while !matches!(machine.read(), ClockChange::Followed(_)) {
                assert!(machine.doubt() < doubt || jump < 0);
            }
            assert_eq!(machine.doubt(), doubt);
        }
        machine.uptime += HOUR;
        assert_eq!(machine.doubt(), 0);
    }

    #[test]
    fn the_first_reading_replaces_the_time_of_the_machine() {
        let reading = |time| Reading {
            time,
            uptime: 0,
            uncertainty: 0,
        };
        let mut anchor = Anchor::new(&reading(TIME - HOUR));
        assert_eq!(anchor.follow(&reading(TIME)), ClockChange::Started(seconds(HOUR)));
        assert_eq!(anchor.zero(), TIME);
    }

    #[test]
    fn the_first_certain_reading_replaces_an_uncertain_one() {
        let reading = |time, uncertainty| Reading {
            time,
            uptime: 0,
            uncertainty,
        };
        let mut anchor = Anchor::new(&reading(TIME - HOUR, 0));
        let late = TIME - 2 * SECOND;
        assert_eq!(
            anchor.follow(&reading(late, 2 * SECOND)),
            ClockChange::Started(seconds(HOUR - 2 * SECOND))
        );
        assert_eq!(
            anchor.follow(&reading(TIME, 0)),
            ClockChange::Started(seconds(2 * SECOND))
        );
        assert_eq!(anchor.zero(), TIME);
    }

    #[test]
    fn an_uncertain_reading_is_ignored() {
        let mut machine = Machine::start();
        let change = machine.anchor.follow(&Reading {
            time: TIME + HOUR,
            uptime: 0,
            uncertainty: SECOND,
        });
        assert_eq!((change, machine.error()), (ClockChange::None, 0));
    }
}
