//! Expiry times as Shoko accepts them: `30m`, `24h`, `7d`, an ISO 8601 duration, or a date and time.

use chrono::{DateTime, NaiveDateTime};
use jiff::civil;
use jiff::fmt::temporal::SpanParser;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

use crate::model::RequestedExpiry;

/// Parses an expiry. Durations count from `now`, the time of the service's clock. `None` means that the key never
/// expires.
#[must_use]
pub fn parse(text: Option<&str>, now: NaiveDateTime) -> RequestedExpiry {
    let Some(text) = text else {
        return RequestedExpiry::Never;
    };
    let now = Timestamp::from_microsecond(now.and_utc().timestamp_micros());
    now.map_or(RequestedExpiry::Invalid, |now| parse_at(text, now))
}

/// Parses an expiry. Durations count from `now`; times without an offset are in UTC.
#[must_use]
pub fn parse_at(text: &str, now: Timestamp) -> RequestedExpiry {
    expires_at(text.trim(), &now.to_zoned(TimeZone::UTC)).map_or(RequestedExpiry::Invalid, RequestedExpiry::At)
}

fn expires_at(text: &str, now: &Zoned) -> Option<NaiveDateTime> {
    let time = if let Some(span) = parse_short(text).or_else(|| SpanParser::new().parse_span(text).ok()) {
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

/// Parses Shoko's own format: a whole number, followed by `m` (minutes), `h` (hours) or `d` (days).
fn parse_short(text: &str) -> Option<Span> {
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
        match parse_at(text, "2026-11-22T10:00:00Z".parse().unwrap()) {
            RequestedExpiry::At(time) => Some(time.to_string()),
            _ => None,
        }
    }

    #[test]
    fn all_formats_are_parsed() {
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
    fn other_text_is_not_parsed() {
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
    fn an_absent_expiry_is_never_and_a_blank_one_is_invalid() {
        assert_eq!(parse(None, NaiveDateTime::default()), RequestedExpiry::Never);
        assert_eq!(parse(Some(" "), NaiveDateTime::default()), RequestedExpiry::Invalid);
    }
}
