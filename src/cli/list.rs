//! Lists, a table for people and JSON for programs; and how other things are written.

use chrono::{NaiveDateTime, SecondsFormat};
use comfy_table::{Table, presets};
use serde::Serialize;

use super::CliError;

/// Something that is listed.
pub trait Listed: Serialize {
    /// The titles of the columns.
    const COLUMNS: &'static [&'static str];

    /// What stands in them.
    fn cells(&self) -> Vec<String>;
}

/// `items` as a table, or as a JSON array.
pub fn text<T: Listed>(items: &[T], json: bool) -> Result<String, CliError> {
    if json {
        return Ok(serde_json::to_string_pretty(items)? + "\n");
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(T::COLUMNS);
    table.add_rows(items.iter().map(Listed::cells));
    Ok(format!("{table}\n"))
}

/// A time as both people and programs read it: RFC 3339, UTC.
pub fn time(time: NaiveDateTime) -> String {
    time.and_utc().to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A mark in a table.
pub fn mark(set: bool) -> String {
    if set { "yes" } else { "" }.to_owned()
}

/// As a shell takes it literally.
pub fn in_quotes(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
