//! The filter of log lines, `RUST_LOG`.
//!
//! `env_logger` accepts nearly every text as a filter. A misspelled level, such as `warning`, is the name of a target
//! there, and switches off everything else. Such filters are rejected here.

use std::ffi::OsString;

use log::LevelFilter;

use crate::auth::AUDIT_LOG_TARGET;

/// The targets of this program begin with this text.
const OWN_TARGETS: &str = "shoko_auth";

/// The reason why a filter is rejected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogFilterError {
    #[error("RUST_LOG: the filter is not valid Unicode")]
    NotUnicode,
    #[error("RUST_LOG: filters by text (`/…`) are not supported")]
    TextFilter,
    #[error(
        "RUST_LOG: '{part}' is not valid; use a level (error, warn, info, debug, trace or off), or TARGET=LEVEL, \
         separated by commas"
    )]
    Invalid { part: String },
}

/// Returns the filter to use: `value` if it is not empty, otherwise `default`. The filter of a server also selects the
/// audit events, unless `value` names their target or switches everything off.
pub fn parse(value: Option<OsString>, default: &str, is_server: bool) -> Result<String, LogFilterError> {
    let value = value.unwrap_or_default();
    let value = value.into_string().map_err(|_| LogFilterError::NotUnicode)?;
    if value.contains('/') {
        return Err(LogFilterError::TextFilter);
    }
    let parts: Vec<&str> = value
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    if parts.is_empty() {
        return Ok(default.to_owned());
    }
    let is_level = |text: &str| text.trim().parse::<LevelFilter>().is_ok();
    let is_valid = |part: &str| match part.split_once('=') {
        Some((target, level)) => !target.trim().is_empty() && is_level(level),
        None => is_level(part) || part.starts_with(OWN_TARGETS),
    };
    if let Some(part) = parts.iter().find(|part| !is_valid(part)) {
        return Err(LogFilterError::Invalid {
            part: (*part).to_owned(),
        });
    }
    let decides_audit = |part: &&str| {
        let target = part.split_once('=').map_or(*part, |(target, _)| target.trim());
        target == AUDIT_LOG_TARGET || target.eq_ignore_ascii_case("off")
    };
    let filter = parts.join(",");
    if is_server && !parts.iter().any(decides_audit) {
        return Ok(format!("{filter},{AUDIT_LOG_TARGET}=info"));
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_server(value: &str) -> Result<String, LogFilterError> {
        parse(Some(value.into()), "info", true)
    }

    #[test]
    fn audit_events_are_kept_unless_they_are_switched_off() {
        for (value, filter) in [
            ("", "info"),
            (" , ", "info"),
            ("warn", "warn,shoko_auth::audit=info"),
            ("shoko_auth=error", "shoko_auth=error,shoko_auth::audit=info"),
            ("shoko_auth::web", "shoko_auth::web,shoko_auth::audit=info"),
            ("warn,shoko_auth::audit=off", "warn,shoko_auth::audit=off"),
            ("OFF", "OFF"),
            ("off, shoko_auth::web=debug", "off,shoko_auth::web=debug"),
        ] {
            assert_eq!(of_server(value).as_deref(), Ok(filter), "{value}");
        }
        assert_eq!(parse(None, "warn", false).as_deref(), Ok("warn"));
        assert_eq!(parse(Some("error".into()), "warn", false).as_deref(), Ok("error"));
    }

    #[test]
    fn a_filter_with_a_misspelled_level_is_rejected() {
        for value in [
            "warning",
            "inf",
            "3",
            "info;debug",
            "a=b",
            "=info",
            "a=",
            "a=info=b",
            "info/text",
        ] {
            assert!(of_server(value).is_err(), "{value}");
        }
    }
}
