//! The log: text for people, or one JSON object per line for programs.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::env;
use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};

use chrono::{SecondsFormat, Utc};
use clap::ValueEnum;
use env_logger::Builder;
use log::Record;
use log::kv::{self, Key, Value, VisitSource};
use serde_json::{Map, json};

use super::escape::escape_json;
use super::log_filter::{self, LogFilterError};
use super::log_limit::Limited;

#[derive(Clone, Copy, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// The default of `RUST_LOG` for the server. Leaves out what actix logs about its start and about every malformed
/// request.
const SERVER_FILTER: &str = "info,actix_server=warn,actix_http=off";

/// The default of `RUST_LOG` for commands, which print what they have done.
const COMMAND_FILTER: &str = "warn";

/// Starts logging to standard error. Fails if `RUST_LOG` is not a valid filter.
pub fn start(format: LogFormat, is_server: bool) -> Result<(), LogFilterError> {
    let default = if is_server { SERVER_FILTER } else { COMMAND_FILTER };
    let filter = log_filter::parse(env::var_os("RUST_LOG"), default, is_server)?;
    let mut builder = Builder::new();
    builder.parse_filters(&filter);
    if let Ok(style) = env::var("RUST_LOG_STYLE") {
        builder.parse_write_style(&style);
    }
    match format {
        LogFormat::Text => builder.format_key_values(|out, members| {
            members
                .visit(&mut TextMembers(out))
                .map_err(|error| io::Error::other(error.to_string()))
        }),
        LogFormat::Json => {
            builder.format(|out, record| writeln!(out, "{}", escape_json(&json_line(record).to_string())))
        }
    };
    let logger = builder.build();
    ::log::set_max_level(logger.filter());
    // Fails only if there is a logger already. Then its owner decides what is logged.
    drop(::log::set_boxed_logger(Box::new(Limited::new(logger))));
    if is_server {
        panic::set_hook(Box::new(log_panic));
    }
    Ok(())
}

/// Logs a panic like any other error, so that its lines are limited, too. A backtrace follows if `RUST_BACKTRACE` is
/// set.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        ::log::error!("{panic}\n{backtrace}");
    } else {
        ::log::error!("{panic}");
    }
}

/// Writes each member as ` name=value`. Clients choose some of the values, so a text that could be mistaken for several
/// members is quoted.
struct TextMembers<'a>(&'a mut dyn Write);

impl<'kvs> VisitSource<'kvs> for TextMembers<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let is_plain =
            |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_.:/+@".contains(c));
        let written = match value.to_borrowed_str() {
            Some(text) if !is_plain(text) => write!(self.0, " {key}={text:?}"),
            _ => write!(self.0, " {key}={value}"),
        };
        Ok(written?)
    }
}

fn json_line(record: &Record<'_>) -> serde_json::Value {
    let mut members = JsonMembers(Map::new());
    members.add("time", json!(Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true)));
    members.add("level", json!(record.level().as_str().to_lowercase()));
    members.add("target", json!(record.target()));
    members.add("message", json!(record.args().to_string()));
    // Cannot fail, because `visit_pair` never fails.
    drop(record.key_values().visit(&mut members));
    serde_json::Value::Object(members.0)
}

struct JsonMembers(Map<String, serde_json::Value>);

impl JsonMembers {
    fn add(&mut self, name: &str, value: serde_json::Value) {
        self.0.insert(name.to_owned(), value);
    }
}

impl<'kvs> VisitSource<'kvs> for JsonMembers {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        if let Some(text) = value.to_borrowed_str() {
            self.add(key.as_str(), json!(text));
            return Ok(());
        }
        let json = match (value.to_u64(), value.to_f64(), value.to_bool()) {
            (Some(number), ..) => json!(number),
            (_, Some(number), _) => json!(number),
            (.., Some(truth)) => json!(truth),
            _ => json!(value.to_string()),
        };
        self.add(key.as_str(), json);
        Ok(())
    }
}
