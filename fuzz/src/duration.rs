//! Times as people write them: durations in settings, and when a key shall end. An input is one such text.

use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDateTime, SubsecRound, TimeDelta, Timelike};
use humantime::{format_duration, parse_duration};
use jiff::Timestamp;
use shoko_auth::dialects::shoko::expiry::parse_at;
use shoko_auth::model::RequestedExpiry;
use shoko_auth::settings::ZettelstoreSettings;

/// 2026-01-31 10:00:00 UTC: the end of a month, where months are counted as nowhere else.
const NOW: i64 = 1_769_853_600;

/// Nanoseconds from which on chrono means a leap second.
const LEAP_SECOND: u32 = 1_000_000_000;

/// Checks one text.
pub fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    check_setting(text);
    check_expiry(text);
}

/// A duration in the settings is what it is when it is written again, and is within its bounds.
fn check_setting(text: &str) {
    let delay = ZettelstoreSettings::parse_login_delay(text).ok();
    let lifetime = ZettelstoreSettings::parse_token_lifetime(text).ok();
    let duration = parse_duration(text).ok();
    if let Some(duration) = duration {
        let written = format_duration(duration).to_string();
        assert_eq!(parse_duration(&written), Ok(duration), "{written}");
    }
    assert_eq!(delay, duration.filter(|delay| *delay <= Duration::from_secs(10)));
    let day = Duration::from_secs(24 * 60 * 60);
    let possible = duration.filter(|lifetime| (Duration::from_secs(1)..=day).contains(lifetime));
    assert_eq!(lifetime.map(|lifetime| lifetime.to_std().unwrap()), possible);
}

fn check_expiry(text: &str) {
    let end = end(text, NOW);
    assert_eq!(end, self::end(&format!("\t{text} "), NOW), "with blanks around it");
    // A duration ends later when it begins later; a time is the same.
    let tomorrow = self::end(text, NOW + 24 * 60 * 60);
    assert!(
        end.is_none() || tomorrow.is_none() || end <= tomorrow,
        "{end:?}, but tomorrow {tomorrow:?}"
    );
    if let Some((number, minutes)) = short(text.trim()) {
        let number: Option<i64> = number.parse().ok();
        let span = number
            .and_then(|number| number.checked_mul(minutes))
            .and_then(TimeDelta::try_minutes);
        let time = span.and_then(|span| now().checked_add_signed(span));
        // Times past the year 9999 cannot be told.
        assert_eq!(end, time.filter(|time| time.year() <= 9999));
    }
    let parsed: Option<NaiveDateTime> = text.trim().parse().ok();
    let parsed = parsed.filter(|time| time.year() >= 1970 && time.nanosecond() < LEAP_SECOND);
    if let (Some(end), Some(parsed)) = (end, parsed) {
        assert_eq!(end, parsed.trunc_subsecs(6), "another library reads it otherwise");
    }
    if let Some(time) = end.filter(|time| time.year() >= 0) {
        for format in ["%Y-%m-%dT%H:%M:%S%.fZ", "%Y-%m-%d %H:%M:%S%.f"] {
            let written = time.format(format).to_string();
            assert_eq!(self::end(&written, NOW), Some(time), "{written}");
        }
    }
}

fn end(text: &str, now: i64) -> Option<NaiveDateTime> {
    match parse_at(text, Timestamp::new(now, 0).unwrap()) {
        RequestedExpiry::At(time) => Some(time),
        RequestedExpiry::Invalid => None,
        RequestedExpiry::Never | RequestedExpiry::Renewable(_) => panic!("{text} was asked for"),
    }
}

fn now() -> NaiveDateTime {
    DateTime::from_timestamp(NOW, 0).unwrap().naive_utc()
}

/// A whole number and how many minutes Shoko's letter behind it stands for.
fn short(text: &str) -> Option<(&str, i64)> {
    let (at, unit) = text.char_indices().next_back()?;
    let minutes = match unit {
        'm' => 1,
        'h' => 60,
        'd' => 24 * 60,
        _ => return None,
    };
    let number = &text[..at];
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some((number, minutes))
}
