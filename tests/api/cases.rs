//! Runs the cases in `tests/contract/cases-shoko.json`, in `cases-account.json` and in
//! `cases-gateway.json`. The first file explains its format under `case_keys` and `expect_keys`.
//!
//! For `sleep_until_expired`, this runner advances the server's clock instead of sleeping. `within_ms` is measured in
//! real time.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use shoko_auth::clock::Clock;
use test_support::shoko_database::{ShokoDatabase, ShokoVersion};
use test_support::{Backend, Request, Response, apply, both_databases};

use crate::support::{TestApp, UseDatabase, limit_waits};

fn read(name: &str) -> Value {
    let path = format!("{}/tests/contract/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[apply(both_databases!)]
fn every_case_of_shoko_passes(backend: Backend) {
    play_all(backend, &read("cases-shoko.json"));
}

#[apply(both_databases!)]
fn every_case_of_the_account_passes(backend: Backend) {
    play_all(backend, &read("cases-account.json"));
}

#[apply(both_databases!)]
fn every_case_of_the_gateway_passes(backend: Backend) {
    play_all(backend, &read("cases-gateway.json"));
}

fn play_all(backend: Backend, file: &Value) {
    let mut failures = Vec::new();
    let (mut run, mut elsewhere) = (0, 0);
    for case in file["cases"].as_array().unwrap() {
        let id = case["id"].as_str().unwrap();
        let runs_here = |names: &Vec<Value>| names.contains(&json!(format!("{backend:?}").to_lowercase()));
        if !case["backends"].as_array().is_none_or(runs_here) {
            elsewhere += 1;
            continue;
        }
        let mut world = World::new(backend, file, case);
        if let Err(failure) = world.play(case) {
            failures.push(format!("{id} {}: {failure}", case["title"]));
        }
        run += 1;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(run > 0 && run + elsewhere == file["cases"].as_array().unwrap().len());
}

/// The lifetime of imported keys. It replaces the file's `expires_in_s`, which is short because other runners sleep
/// until the key expires. On a busy machine, such a key could expire before its import is done.
const IMPORTED_LIFETIME: TimeDelta = TimeDelta::hours(1);

/// The server of one case, and the values of the placeholders in the case.
struct World {
    app: TestApp,
    clock: Clock,
    values: BTreeMap<String, String>,
}

impl World {
    fn new(backend: Backend, file: &Value, case: &Value) -> Self {
        let passwords = &file["passwords"];
        assert!(case.get("settings").is_none(), "the runner does not support `settings`");
        let clock = Clock::manual();
        let app = TestApp::with(backend, |settings| {
            settings.core.clock = clock.clone();
            settings.core.password_min_length = 1;
            if file["trusts_this_machine"] == true {
                settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
            }
            limit_waits(settings);
        });
        app.add_user("bob", passwords["bob"].as_str().unwrap());
        let mut world = Self {
            values: BTreeMap::new(),
            app,
            clock,
        };
        world.values.insert("BASE".to_owned(), world.app.url.clone());
        world.values.insert("id.default".to_owned(), "1".to_owned());
        world.values.insert("id.bob".to_owned(), "2".to_owned());
        for part in case["setup"].as_str().unwrap().split('+').skip(1) {
            world.set_up(part, file);
        }
        world
    }

    fn set_up(&mut self, part: &str, file: &Value) {
        let passwords = &file["passwords"];
        match part.split('.').collect::<Vec<_>>()[..] {
            ["user", user] => {
                let (name, password) = user.trim_end_matches(')').split_once("(password=").unwrap();
                self.app.add_user(name, password);
            }
            ["key", user, device] => {
                let key = self.app.key(user, passwords[user].as_str().unwrap(), device);
                self.values.insert(part.to_owned(), key);
            }
            ["import", name] => self.import(&file["imports"][name]),
            _ => panic!("unknown set-up {part}"),
        }
    }

    fn import(&mut self, rows: &Value) {
        assert_eq!(rows["generation"], "v6");
        let mut shoko = ShokoDatabase::create(self.app.database.folder.path(), ShokoVersion::V6_0);
        for user in rows["users"].as_array().unwrap() {
            let id = user["id"].as_i64().unwrap();
            shoko.user(
                id,
                user["name"].as_str(),
                user["password_sha512"].as_str(),
                user["admin"] == true,
            );
        }
        for (row, key) in (1..).zip(rows["keys"].as_array().unwrap()) {
            let text = |name: &str| key[name].as_str().unwrap();
            assert!(key["expires_in_s"].is_u64());
            let expires_at = Utc::now() + IMPORTED_LIFETIME;
            let expires_at = expires_at.format("%Y-%m-%d %H:%M:%S%.f").to_string();
            shoko.expiring_key(
                row,
                key["user"].as_i64().unwrap(),
                text("device"),
                text("key"),
                &expires_at,
            );
            self.values.insert("imported.key".to_owned(), text("key").to_owned());
        }
        let mut import = self
            .app
            .database
            .program(&["import", "shoko", shoko.file.to_str().unwrap(), "--json"]);
        assert!(import.env("TZ", "UTC").output().unwrap().status.success());
    }

    fn play(&mut self, case: &Value) -> Result<(), String> {
        let steps = |name: &str| case[name].as_array().cloned().unwrap_or_default();
        let before = steps("before");
        let then = steps("then");
        for step in before.iter().chain([case]).chain(&then) {
            if step["sleep_until_expired"] == true {
                self.clock.advance(IMPORTED_LIFETIME + IMPORTED_LIFETIME);
                continue;
            }
            if let Some(state) = step["database"].as_str() {
                match state {
                    "away" => self.app.database.take_offline(),
                    _ => self.app.database.bring_online(),
                }
                continue;
            }
            for _ in 0..step["repeat"].as_u64().unwrap_or(1) {
                self.play_step(step)?;
            }
        }
        Ok(())
    }

    /// Sends one request. Retries until the response is as expected or the step's time limit (`within_ms`) has passed.
    fn play_step(&self, step: &Value) -> Result<(), String> {
        let max_wait = Duration::from_millis(step["within_ms"].as_u64().unwrap_or(0));
        let start = Instant::now();
        loop {
            let response = self.request(&step["request"]).send();
            match check(&response, &self.fill_in(&step["expect"])) {
                Err(_) if start.elapsed() < max_wait => sleep(Duration::from_millis(50)),
                checked => {
                    return checked.map_err(|failure| {
                        let request = &step["request"];
                        format!(
                            "{} {}: {failure}\n  {}",
                            request["method"],
                            request["path"],
                            response.text()
                        )
                    });
                }
            }
        }
    }

    fn request(&self, step: &Value) -> Request {
        let step = self.fill_in(step);
        let query: Vec<String> = members(&step["query"])
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mark = if query.is_empty() { "" } else { "?" };
        let path = format!("{}{mark}{}", step["path"].as_str().unwrap(), query.join("&"));
        let request = self.app.request(step["method"].as_str().unwrap(), &path);
        let request = members(&step["headers"]).fold(request, |request, (name, value)| request.header(name, &value));
        if let Some(json) = step.get("json") {
            request.json(json)
        } else if let Some(body) = step["raw_body"].as_str() {
            request.body(body)
        } else if let Some(hex) = step["raw_hex"].as_str() {
            request.body(from_hex(hex))
        } else {
            request
        }
    }

    /// Replaces `${name}` and `${upper:name}` in every text of `value`.
    fn fill_in(&self, value: &Value) -> Value {
        let mut text = value.to_string();
        for (name, value) in &self.values {
            text = text.replace(&format!("${{{name}}}"), value);
            text = text.replace(&format!("${{upper:{name}}}"), &value.to_uppercase());
        }
        assert!(!text.contains("${"), "{text}");
        serde_json::from_str(&text).unwrap()
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, String)> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name, value.as_str().unwrap().to_owned()))
}

fn from_hex(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn ensure(holds: bool, failure: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(failure.into()) }
}

/// Checks every expectation in `expect`. An unknown expectation is a failure.
fn check(response: &Response, expect: &Value) -> Result<(), String> {
    for (name, wanted) in expect.as_object().unwrap() {
        check_one(response, name, wanted).map_err(|failure| format!("{name}: {failure}"))?;
    }
    Ok(())
}

fn check_one(response: &Response, name: &str, wanted: &Value) -> Result<(), String> {
    let header = |name: &str| response.header(name).unwrap_or_default();
    match name {
        "status" => ensure(wanted == response.status, response.status.to_string()),
        "problem" => check_problem(response, wanted),
        "content_type" => {
            let found = header("content-type");
            let wanted = wanted.as_str().unwrap();
            let found = if wanted.contains(';') {
                found.as_str()
            } else {
                found.split(';').next().unwrap()
            };
            ensure(found == wanted, found)
        }
        "body" => ensure(wanted == &response.text(), "the body differs"),
        "json_subset" => subset(&response.json(), wanted),
        "json_keys_exact" => {
            let json = response.json();
            let mut keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
            keys.sort_unstable();
            let mut expected: Vec<&str> = strings(wanted).collect();
            expected.sort_unstable();
            ensure(expected == keys, format!("{keys:?}"))
        }
        "body_regex" => members(&json!({"": wanted}))
            .try_for_each(|(_, pattern)| ensure(matches(&pattern, &response.text()), "the body does not match")),
        "body_lacks" => strings(wanted).try_for_each(|text| ensure(!response.text().contains(text), text)),
        "json_type" => members(wanted).try_for_each(|(path, kind)| {
            let json = response.json();
            ensure(kind == "string" && at(&json, path).is_some_and(Value::is_string), path)
        }),
        "json_array_item_keys" => {
            let json = response.json();
            let items = json.as_array().ok_or("no array")?;
            let has_all = |item: &Value| strings(wanted).all(|name| item.get(name).is_some());
            ensure(!items.is_empty() && items.iter().all(has_all), "an item lacks a member")
        }
        "json_has" => strings(wanted).try_for_each(|path| ensure(at(&response.json(), path).is_some(), path)),
        "json_regex" => members(wanted).try_for_each(|(path, pattern)| {
            let json = response.json();
            let text = at(&json, path).and_then(Value::as_str).unwrap_or_default();
            ensure(matches(&pattern, text), text)
        }),
        "json_not_equal" => members(wanted).try_for_each(|(path, other)| {
            ensure(at(&response.json(), path).is_some_and(|value| *value != other), path)
        }),
        "has_headers" => strings(wanted).try_for_each(|name| ensure(response.header(name).is_some(), name)),
        "no_headers" => strings(wanted).try_for_each(|name| ensure(response.header(name).is_none(), name)),
        "header_regex" => members(wanted).try_for_each(|(name, pattern)| {
            let value = header(name);
            ensure(matches(&pattern, &value), format!("{name}: {value}"))
        }),
        _ => Err("the runner does not know this expectation".to_owned()),
    }
}

fn check_problem(response: &Response, wanted: &Value) -> Result<(), String> {
    let kind = response.header("content-type").unwrap_or_default();
    ensure(kind.starts_with("application/problem+json"), kind)?;
    let problem = response.json();
    ensure(
        problem["status"] == response.status,
        "the status in the body differs from the HTTP status",
    )?;
    ensure(
        problem["type"].is_string() && problem["title"].is_string(),
        "type or title is missing",
    )?;
    let trace = problem["traceId"].as_str().unwrap_or_default();
    ensure(matches("^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$", trace), trace)?;
    let capital = problem
        .as_object()
        .unwrap()
        .keys()
        .find(|name| name.starts_with(char::is_uppercase));
    ensure(capital.is_none(), "a member begins with a capital")?;
    subset(&problem, wanted)
}

fn subset(found: &Value, wanted: &Value) -> Result<(), String> {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted.iter().try_for_each(|(name, value)| {
            let inner = found.get(name).ok_or_else(|| format!("no {name}"))?;
            subset(inner, value)
        }),
        _ => ensure(found == wanted, format!("{found} is not {wanted}")),
    }
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Returns the value at a path, such as `errors.user`. The empty path stands for the whole value.
fn at<'a>(json: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .filter(|name| !name.is_empty())
        .try_fold(json, |json, name| json.get(name))
}

fn matches(pattern: &str, text: &str) -> bool {
    fancy_regex::Regex::new(pattern).unwrap().is_match(text).unwrap()
}
