//! How log lines look: text for people, or one JSON object a line for programs.

use std::io::Write;

use chrono::{SecondsFormat, Utc};
use clap::ValueEnum;
use env_logger::{Builder, Env};
use log::Record;
use log::kv::{self, Key, Value, VisitSource};
use serde_json::{Map, json};

#[derive(Clone, Copy, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Without `RUST_LOG`: what we have to say, without the server library's news of its own start and of every
/// malformed request.
const DEFAULT_FILTER: &str = "info,actix_server=warn,actix_http=off";

/// Starts logging to standard error.
pub fn start(format: LogFormat) {
    let mut builder = Builder::from_env(Env::default().default_filter_or(DEFAULT_FILTER));
    if let LogFormat::Json = format {
        builder.format(|out, record| writeln!(out, "{}", json_line(record)));
    }
    builder.init();
}

fn json_line(record: &Record<'_>) -> serde_json::Value {
    let mut members = Members(Map::new());
    members.add("time", json!(Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true)));
    members.add("level", json!(record.level().as_str().to_lowercase()));
    members.add("target", json!(record.target()));
    members.add("message", json!(record.args().to_string()));
    // Visiting never fails: `visit_pair` does not.
    drop(record.key_values().visit(&mut members));
    serde_json::Value::Object(members.0)
}

struct Members(Map<String, serde_json::Value>);

impl Members {
    fn add(&mut self, name: &str, value: serde_json::Value) {
        self.0.insert(name.to_owned(), value);
    }
}

impl<'kvs> VisitSource<'kvs> for Members {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
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
