//! Replays requests that were recorded with the controllers of Shoko 5.3.3 and 6.0-dev, and compares the responses
//! with Shoko's: status, media type, members and values. Only the differences in `tests/contract/differences.json` are
//! allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::LazyLock;

use fancy_regex::Regex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use test_support::{Backend, Response, apply, both_databases};

use crate::support::{TestApp, app_with_recorded_password};

/// A request of a recording, and Shoko's response.
#[derive(Deserialize)]
struct Step {
    name: String,
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Option<String>,
    /// The values of the response that later steps use. Maps the name of each value to the member that contains it.
    save: BTreeMap<String, String>,
    status: u16,
    response_headers: BTreeMap<String, String>,
    response: Option<String>,
}

/// An allowed difference from Shoko. Without `recording`, it applies to both recordings. Without `steps`, it applies
/// to all steps.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    reason: String,
    recording: Option<String>,
    #[serde(default)]
    steps: Vec<String>,
    /// Each change has the form `fact: value in Shoko -> value here`. A fact is a name such as `status`, or the path of
    /// a value in the body. `*` instead of Shoko's value stands for any value. `*` alone stands for any change.
    changes: Vec<String>,
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = format!("{}/tests/contract/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[apply(both_databases!)]
fn responses_differ_from_shokos_only_as_listed(backend: Backend) {
    let listed: Vec<Difference> = read("differences.json");
    assert!(listed.iter().all(|difference| !difference.reason.is_empty()));
    let mut used = BTreeSet::new();
    let mut unexplained = Vec::new();
    for recording in ["5.3.3", "6.0-dev"] {
        let steps: Vec<Step> = read(&format!("recorded-{recording}.json"));
        let mut run = Run {
            server: app_with_recorded_password(backend),
            values: BTreeMap::new(),
        };
        for step in &steps {
            let (shoko, here) = (facts_of_shoko(step), facts(&run.play(step)));
            for (fact, expected) in &shoko {
                // A missing fact is not a change of its own: the `members` or a number of items differ as well, and
                // these are compared.
                let Some(found) = here.get(fact).filter(|found| *found != expected) else {
                    continue;
                };
                let changes = [
                    format!("{fact}: {expected} -> {found}"),
                    format!("{fact}: * -> {found}"),
                    "*".to_owned(),
                ];
                let explained = explain(&listed, recording, &step.name, &changes);
                if explained.is_empty() {
                    unexplained.push(format!("{recording}, {}: {}", step.name, changes[0]));
                }
                used.extend(explained);
            }
        }
    }
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
    let unused: Vec<_> = entries(&listed).filter(|entry| !used.contains(entry)).collect();
    assert!(unused.is_empty(), "listed differences that do not exist: {unused:#?}");
}

/// The number of a listed difference, and one of its changes or steps.
type Entry = (usize, String);

fn entries(listed: &[Difference]) -> impl Iterator<Item = Entry> {
    let numbered = listed.iter().enumerate();
    numbered.flat_map(|(number, difference)| {
        let entries = difference.changes.iter().chain(&difference.steps).cloned();
        entries.map(move |entry| (number, entry))
    })
}

/// Returns the entries that allow a change in this step. `changes` contains every form in which the change can be
/// listed.
fn explain(listed: &[Difference], recording: &str, step: &str, changes: &[String]) -> Vec<Entry> {
    let mut found = Vec::new();
    for (number, difference) in listed.iter().enumerate() {
        let everywhere = difference.steps.is_empty();
        if !everywhere && !difference.steps.iter().any(|name| name == step) {
            continue;
        }
        if difference.recording.as_deref().is_some_and(|name| name != recording) {
            continue;
        }
        if let Some(change) = difference.changes.iter().find(|change| changes.contains(change)) {
            found.push((number, change.clone()));
            if !everywhere {
                found.push((number, step.to_owned()));
            }
        }
    }
    found
}

/// A server that receives the requests of a recording, and the values that its steps have saved.
struct Run {
    server: TestApp,
    values: BTreeMap<String, String>,
}

impl Run {
    fn play(&mut self, step: &Step) -> Response {
        let request = self.server.request(&step.method, &self.fill_in(&step.path));
        let headers = step.headers.iter();
        let mut request = headers.fold(request, |request, (name, value)| {
            request.header(name, &self.fill_in(value))
        });
        if let Some(body) = &step.body {
            request = request.body(bytes(&self.fill_in(body)));
        }
        let response = request.send();
        for (name, member) in &step.save {
            match &serde_json::from_slice(&response.body).unwrap_or(Value::Null)[member] {
                Value::Null => drop(self.values.remove(name)),
                Value::String(text) => drop(self.values.insert(name.clone(), text.clone())),
                other => drop(self.values.insert(name.clone(), other.to_string())),
            }
        }
        response
    }

    /// Replaces `{k1}` with the value of that name, `{K1}` with the value in upper case, and `{n1}` with the value
    /// without dashes.
    fn fill_in(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.values {
            text = text.replace(&format!("{{{name}}}"), value);
            text = text.replace(&format!("{{{}}}", name.to_uppercase()), &value.to_uppercase());
            text = text.replace(&format!("{{{}}}", name.replacen('k', "n", 1)), &value.replace('-', ""));
        }
        text
    }
}

/// Converts a text to bytes. `\x` and two hex digits stand for one byte.
fn bytes(text: &str) -> Vec<u8> {
    let Some((before, after)) = text.split_once("\\x") else {
        return text.as_bytes().to_vec();
    };
    let byte = u8::from_str_radix(&after[..2], 16).unwrap();
    [before.as_bytes(), &[byte], &bytes(&after[2..])].concat()
}

type Facts = BTreeMap<String, String>;

fn facts_of_shoko(step: &Step) -> Facts {
    let kind = step.response_headers.get("content-type");
    collect_facts(
        step.status,
        kind.map(String::as_str),
        step.response.as_deref().unwrap_or_default(),
    )
}

fn facts(response: &Response) -> Facts {
    collect_facts(
        response.status,
        response.header("content-type").as_deref(),
        &response.text(),
    )
}

/// Returns the facts about a response that the test compares. A plain-text body counts as the `detail` of a problem.
fn collect_facts(status: u16, kind: Option<&str>, body: &str) -> Facts {
    let kind = kind.map_or("none", |kind| kind.split(';').next().unwrap());
    let mut facts = Facts::from([
        ("status".to_owned(), status.to_string()),
        ("kind".to_owned(), kind.to_owned()),
    ]);
    let mut members = Vec::new();
    if kind.ends_with("json") && !body.is_empty() {
        let json: Value = serde_json::from_str(body).unwrap();
        collect_values(&json, "", &mut members, &mut facts);
    } else if kind == "text/plain" {
        members.push("detail".to_owned());
        facts.insert("detail".to_owned(), form(body));
    }
    facts.insert("members".to_owned(), members.join(" "));
    facts
}

fn collect_values(json: &Value, path: &str, members: &mut Vec<String>, facts: &mut Facts) {
    let value = match json {
        Value::Object(object) => {
            for (name, value) in object {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                if !members.contains(&path) {
                    members.push(path.clone());
                }
                collect_values(value, &path, members, facts);
            }
            return;
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect_values(item, &format!("{path}[{index}]"), members, facts);
            }
            format!("{} items", items.len())
        }
        Value::String(text) => form(text),
        other => other.to_string(),
    };
    facts.insert(path.to_owned(), value);
}

/// Patterns of texts that differ in each response. The name beside a pattern is compared instead of the text.
static FORMS: LazyLock<[(Regex, &str); 4]> = LazyLock::new(|| {
    let form = |pattern, name| (Regex::new(pattern).unwrap(), name);
    [
        form("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", "a key"),
        form("^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$", "a trace id"),
        form(r"^20[23]\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00$", "a time"),
        form(r"^\d\d:\d\d:\d\d(\.\d+)?$", "a duration"),
    ]
});

fn form(text: &str) -> String {
    let found = FORMS.iter().find(|(pattern, _)| pattern.is_match(text).unwrap());
    found.map_or(text, |(_, form)| form).to_owned()
}
