//! When a key shall end, in the spellings that Shoko takes: `30m`, `24h`, `7d`, an ISO 8601 duration, a date and time.

use chrono::{DateTime, NaiveDateTime};
use jiff::civil;
use jiff::fmt::temporal::SpanParser;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

use crate::model::RequestedExpiry;

/// Reads `text`. Durations count from now; a date without an offset is UTC.
#[must_use]
pub fn read(text: Option<&str>) -> RequestedExpiry {
    text.map_or(RequestedExpiry::Never, |text| read_at(text, Timestamp::now()))
}

/// The same at another time than now.
#[must_use]
pub fn read_at(text: &str, now: Timestamp) -> RequestedExpiry {
    end(text.trim(), &now.to_zoned(TimeZone::UTC)).map_or(RequestedExpiry::Invalid, RequestedExpiry::At)
}

fn end(text: &str, now: &Zoned) -> Option<NaiveDateTime> {
    let time = if let Some(span) = read_short(text).or_else(|| SpanParser::new().parse_span(text).ok()) {
        now.checked_add(span).ok()?.timestamp()
    } else if let Ok(time) = text.parse::<Timestamp>() {
        time
    } else {
        text.parse::<civil::DateTime>()
            .ok()?
            .to_zoned(TimeZone::UTC)
            .ok()?
            .timestamp()
    };
    DateTime::from_timestamp_micros(time.as_microsecond()).map(|time| time.naive_utc())
}

/// Shoko's own: a whole number and one letter.
fn read_short(text: &str) -> Option<Span> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i64 = number.parse().ok()?;
    match unit {
        "m" => Span::new().try_minutes(number).ok(),
        "h" => Span::new().try_hours(number).ok(),
        "d" => Span::new().try_days(number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<String> {
        match read_at(text, "2026-11-22T10:00:00Z".parse().unwrap()) {
            RequestedExpiry::At(time) => Some(time.to_string()),
            _ => None,
        }
    }

    #[test]
    fn every_spelling_of_a_time_is_read() {
        for (text, time) in [
            ("30m", "2026-11-22 10:30:00"),
            ("24h", "2026-11-23 10:00:00"),
            ("7d", "2026-11-29 10:00:00"),
            ("PT1H30M", "2026-11-22 11:30:00"),
            ("P7D", "2026-11-29 10:00:00"),
            ("P1M", "2026-12-22 10:00:00"),
            ("2099-01-01T00:00:00", "2099-01-01 00:00:00"),
            ("2099-01-01T00:00:00+02:00", "2098-12-31 22:00:00"),
            ("2099-01-01T00:00:00.5Z", "2099-01-01 00:00:00.500"),
            ("2099-01-01", "2099-01-01 00:00:00"),
        ] {
            assert_eq!(at(text).as_deref(), Some(time), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_not_read() {
        for text in [
            "",
            "m",
            "soon",
            "1w",
            "1.5h",
            "+5m",
            "-5m",
            "99999999999d",
            "2147483647d",
            "P9999999D",
            "2026-13-01",
        ] {
            assert_eq!(at(text), None, "{text}");
        }
    }

    #[test]
    fn nothing_asked_for_is_never_and_nonsense_is_not() {
        assert_eq!(read(None), RequestedExpiry::Never);
        assert_eq!(read(Some(" ")), RequestedExpiry::Invalid);
    }
}
