//! Runs the cases in `tests/contract/cases-zulip-zettelstore.json`. The file explains its format under `format`.
//!
//! For `sleep_ms`, this runner advances the server's clock instead of sleeping. `elapsed_ms` is measured in real time.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use shoko_auth::clock::Clock;
use shoko_auth::settings::{Settings, ZettelstoreAuth, ZettelstoreSettings, ZulipSettings};
use test_support::wait::wait_for;
use test_support::{Backend, Response, apply, both_databases};

use crate::support::{TestApp, UseDatabase};

fn file() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/contract/cases-zulip-zettelstore.json"
    );
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Enables the dialects of Zulip and Zettelstore, with settings for tests.
pub fn speak_both(settings: &mut Settings) {
    settings.core.password_min_length = 1;
    settings.dialects.zulip = Some(ZulipSettings { dev_login: false });
    settings.dialects.zettelstore = Some(ZettelstoreSettings {
        login_delay: Duration::ZERO,
        token_lifetime: TimeDelta::minutes(10),
        auth: ZettelstoreAuth::On,
    });
}

fn set_up(settings: &mut Settings, profile: &str) {
    speak_both(settings);
    let zettelstore = settings.dialects.zettelstore.as_mut().unwrap();
    let delay = Duration::from_millis(500);
    match profile {
        "default" | "zs_no_delay" => {}
        "zulip_dev_login" => settings.dialects.zulip = Some(ZulipSettings { dev_login: true }),
        "zs_auth_on" => zettelstore.login_delay = delay,
        "zs_auth_off" => {
            zettelstore.auth = ZettelstoreAuth::Off;
            zettelstore.login_delay = delay;
        }
        "zs_auth_refuse" => zettelstore.auth = ZettelstoreAuth::Refuse,
        "zs_short_token_4s" => zettelstore.token_lifetime = TimeDelta::seconds(4),
        other => panic!("unknown profile {other}"),
    }
}

#[apply(both_databases!)]
fn every_case_passes(backend: Backend) {
    let file = file();
    let mut failures = Vec::new();
    for case in file["cases"].as_array().unwrap() {
        let mut world = World::new(backend, &file["fixtures"], case["profile"].as_str().unwrap());
        let before = case["before"].as_array().cloned().unwrap_or_default();
        for step in before.iter().chain([case]) {
            if let Err(failure) = world.play(step) {
                failures.push(format!("{} {}: {failure}", case["id"], case["title"]));
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

struct World {
    app: TestApp,
    clock: Clock,
    values: BTreeMap<String, String>,
}

impl World {
    fn new(backend: Backend, fixtures: &Value, profile: &str) -> Self {
        let clock = Clock::manual();
        let app = TestApp::with(backend, |settings| {
            settings.core.clock = clock.clone();
            set_up(settings, profile);
        });
        let mut values = BTreeMap::from([("BASE".to_owned(), app.url.clone())]);
        for (name, user) in fixtures.as_object().unwrap() {
            let login = user["username"].as_str().or(user["ident"].as_str()).unwrap();
            let mut add = vec!["user", "add", login, "--password-stdin", "--password-min-length", "1"];
            add.extend(user["email"].as_str().iter().flat_map(|email| ["--email", *email]));
            let created = app.database.run(&add, user["password"].as_str().unwrap());
            let created = String::from_utf8(created.stdout).unwrap();
            let id = created.split("(id ").nth(1).unwrap().split(')').next().unwrap();
            values.insert(format!("{name}.id"), id.to_owned());
            for (member, value) in user.as_object().unwrap() {
                values.insert(
                    format!("{name}.{member}"),
                    value.as_str().unwrap_or_default().to_owned(),
                );
            }
            if user["active"] == false {
                assert!(app.database.run(&["user", "disable", login], "").status.success());
            }
        }
        Self { app, clock, values }
    }

    fn play(&mut self, step: &Value) -> Result<(), String> {
        if let Some(pause) = step["sleep_ms"].as_i64() {
            self.clock.advance(TimeDelta::milliseconds(pause));
            return Ok(());
        }
        let (response, elapsed) = self.send_until_fast(step);
        let failed =
            |name: &str, found: &str| Err(format!("{name}: {found}\n  {} {}", response.status, response.text()));
        for (name, wanted) in step["expect"].as_object().unwrap() {
            let holds = match name.as_str() {
                "status" => *wanted == response.status,
                "headers" => wanted.as_object().unwrap().iter().all(|(name, wanted)| {
                    matches(wanted.as_str().unwrap(), &response.header(name).unwrap_or_default())
                }),
                "header_absent" => strings(wanted).all(|name| response.header(name).is_none()),
                "content_type" => response
                    .header("content-type")
                    .unwrap()
                    .starts_with(wanted.as_str().unwrap()),
                "json" => is_subset(&response.json(), &self.fill_in_all(wanted)),
                "json_absent" => strings(wanted).all(|name| response.json().get(name).is_none()),
                "body" => *wanted == response.text(),
                "body_regex" => matches(&format!("~{}", wanted.as_str().unwrap()), &response.text()),
                "elapsed_ms" => limits(wanted).contains(&elapsed),
                other => panic!("the runner does not know {other}"),
            };
            if !holds {
                return failed(name, &format!("{:?} in {elapsed} ms", response.headers));
            }
        }
        for (name, source) in step["save"].as_object().into_iter().flatten() {
            let source = source.as_str().unwrap();
            let value = if let Some(member) = source.strip_prefix("json.") {
                response.json()[member].as_str().unwrap().to_owned()
            } else {
                let pattern = fancy_regex::Regex::new(source.strip_prefix("body_regex:").unwrap()).unwrap();
                let body = response.text();
                let found = pattern.captures(&body).unwrap().unwrap();
                found[1].to_owned()
            };
            self.values.insert(name.clone(), value);
        }
        Ok(())
    }

    /// Sends the request of a step, and returns the response and the time that it took, in milliseconds. Because a busy
    /// machine can slow down any response, the request is repeated while the time is above the upper limit of
    /// `elapsed_ms`. A time below the lower limit is returned at once.
    fn send_until_fast(&self, step: &Value) -> (Response, u64) {
        wait_for("a response within its time limit", || {
            let start = Instant::now();
            let response = self.send(&step["request"]);
            let elapsed = u64::try_from(start.elapsed().as_millis()).unwrap();
            let is_slow = step["expect"]
                .get("elapsed_ms")
                .is_some_and(|wanted| elapsed > *limits(wanted).end());
            (!is_slow).then_some((response, elapsed))
        })
    }

    fn send(&self, request: &Value) -> Response {
        let text = |value: &Value| self.fill_in(value.as_str().unwrap());
        let mut sent = self
            .app
            .request(request["method"].as_str().unwrap(), &text(&request["path"]));
        for (name, value) in request["headers"].as_object().into_iter().flatten() {
            sent = sent.header(name, &text(value));
        }
        if let Some([user, secret]) = request["basic"].as_array().map(Vec::as_slice) {
            let code = STANDARD.encode(format!("{}:{}", text(user), text(secret)));
            sent = sent.header("Authorization", &format!("Basic {code}"));
        }
        if let Some(form) = request["form"].as_object() {
            let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let pairs = form
                .iter()
                .map(|(name, value)| format!("{}={}", encode(name), encode(&text(value))));
            let body = pairs.collect::<Vec<_>>().join("&");
            sent = sent
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(body);
        } else if let Some(json) = request.get("json") {
            sent = sent.json(&self.fill_in_all(json));
        } else if let Some(body) = request.get("raw_body") {
            sent = sent.body(text(body));
        }
        sent.send()
    }

    fn fill_in_all(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.fill_in(text)),
            Value::Array(items) => items.iter().map(|item| self.fill_in_all(item)).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| (name.clone(), self.fill_in_all(value)))
                .collect(),
            other => other.clone(),
        }
    }

    fn fill_in(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.values {
            text = text.replace(&format!("${{{name}}}"), value);
            let encoded = utf8_percent_encode(value, NON_ALPHANUMERIC).to_string();
            text = text.replace(&format!("${{{name}|urlencode}}"), &encoded);
        }
        if let Some((before, rest)) = text.split_once("${base64:") {
            let (inner, after) = rest.rsplit_once('}').unwrap();
            text = format!("{before}{}{after}", STANDARD.encode(inner));
        }
        assert!(!text.contains("${"), "{text}");
        text
    }
}

/// Returns an expected `elapsed_ms` as a range.
fn limits(wanted: &Value) -> RangeInclusive<u64> {
    wanted[0].as_u64().unwrap()..=wanted[1].as_u64().unwrap()
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Returns whether `found` equals `wanted`. If `wanted` begins with `~`, the rest is a pattern that `found` must match.
fn matches(wanted: &str, found: &str) -> bool {
    match wanted.strip_prefix('~') {
        Some(pattern) => fancy_regex::Regex::new(pattern).unwrap().is_match(found).unwrap(),
        None => wanted == found,
    }
}

fn is_subset(found: &Value, wanted: &Value) -> bool {
    match wanted {
        Value::Object(members) => members.iter().all(|(name, wanted)| is_subset(&found[name], wanted)),
        Value::String(text) => match text.as_str() {
            "$string" => found.is_string(),
            "$integer" => found.is_i64(),
            "$array" => found.is_array(),
            "$number>0" => found.as_f64().is_some_and(|number| number > 0.0),
            _ => match found {
                Value::String(found) => matches(text, found),
                other => text.parse::<i64>().is_ok_and(|number| *other == number),
            },
        },
        other => found == other,
    }
}
