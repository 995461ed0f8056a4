//! Durations in settings, and expiry times in requests. An input is the text of a duration or an expiry time.

use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDateTime, SubsecRound, TimeDelta, Timelike};
use humantime::{format_duration, parse_duration};
use jiff::Timestamp;
use shoko_auth::dialects::shoko::expiry::parse_at;
use shoko_auth::model::RequestedExpiry;
use shoko_auth::settings::ZettelstoreSettings;

/// 2026-01-31 10:00:00 UTC. At the end of a month, adding months is hardest.
const NOW: i64 = 1_769_853_600;

/// In chrono, a nanosecond value of at least this represents a leap second.
const LEAP_SECOND: u32 = 1_000_000_000;

/// Checks one text.
pub fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    check_setting(text);
    check_expiry(text);
}

/// Checks that formatting a duration and parsing it again does not change it, and that each setting accepts exactly the
/// durations within its bounds.
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
    let expiry = expiry_of(text, NOW);
    assert_eq!(
        expiry,
        expiry_of(&format!("\t{text} "), NOW),
        "white space around it is ignored"
    );
    // A duration that begins later must not end earlier. A date and time does not depend on `now`.
    let tomorrow = expiry_of(text, NOW + 24 * 60 * 60);
    assert!(
        expiry.is_none() || tomorrow.is_none() || expiry <= tomorrow,
        "expires at {expiry:?}, but at {tomorrow:?} if requested a day later"
    );
    if let Some((number, minutes)) = short(text.trim()) {
        let number: Option<i64> = number.parse().ok();
        let span = number
            .and_then(|number| number.checked_mul(minutes))
            .and_then(TimeDelta::try_minutes);
        let time = span.and_then(|span| now().checked_add_signed(span));
        // jiff has no times after the year 9999, so they are rejected.
        assert_eq!(expiry, time.filter(|time| time.year() <= 9999));
    }
    let parsed: Option<NaiveDateTime> = text.trim().parse().ok();
    let parsed = parsed.filter(|time| time.year() >= 1970 && time.nanosecond() < LEAP_SECOND);
    if let (Some(expiry), Some(parsed)) = (expiry, parsed) {
        assert_eq!(expiry, parsed.trunc_subsecs(6), "chrono parses a different time");
    }
    if let Some(time) = expiry.filter(|time| time.year() >= 0) {
        for format in ["%Y-%m-%dT%H:%M:%S%.fZ", "%Y-%m-%d %H:%M:%S%.f"] {
            let written = time.format(format).to_string();
            assert_eq!(expiry_of(&written, NOW), Some(time), "{written}");
        }
    }
}

fn expiry_of(text: &str, now: i64) -> Option<NaiveDateTime> {
    match parse_at(text, Timestamp::new(now, 0).unwrap()) {
        RequestedExpiry::At(time) => Some(time),
        RequestedExpiry::Invalid => None,
        RequestedExpiry::Never | RequestedExpiry::Renewable(_) => {
            panic!("{text} was parsed as another kind of expiry")
        }
    }
}

fn now() -> NaiveDateTime {
    DateTime::from_timestamp(NOW, 0).unwrap().naive_utc()
}

/// Splits a duration in Shoko's short format, such as `24h`, into its number and the minutes in its unit.
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
