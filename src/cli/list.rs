//! Prints lists: a table for people or JSON for programs.

use chrono::{NaiveDateTime, SecondsFormat};
use comfy_table::{Table, presets};
use serde::Serialize;

use super::CliError;
use super::escape::escape_json;
use crate::model::escape_invisible;

/// A row of a list.
pub trait Listed: Serialize {
    const COLUMNS: &'static [&'static str];

    /// Returns the texts of the columns.
    fn cells(&self) -> Vec<String>;
}

/// Renders rows as a table or as a JSON array.
pub fn render<T: Listed>(items: &[T], json: bool) -> Result<String, CliError> {
    if json {
        return Ok(escape_json(&serde_json::to_string_pretty(items)?) + "\n");
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(T::COLUMNS);
    let escaped = |cell: String| escape_invisible(&cell).into_owned();
    table.add_rows(items.iter().map(|item| item.cells().into_iter().map(escaped)));
    Ok(format!("{table}\n"))
}

/// Formats a time as RFC 3339 in UTC.
pub fn time(time: NaiveDateTime) -> String {
    time.and_utc().to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Renders a flag for a table.
pub fn yes_or_blank(set: bool) -> String {
    if set { "yes" } else { "" }.to_owned()
}
