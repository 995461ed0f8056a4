//! Replays what Shoko 5.3.3's and 6.0-dev's own controllers were asked, and compares what they answered: status, kind
//! of body, members, texts. `tests/contract/differences.json` lists what differs on purpose, and nothing else may.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::LazyLock;

use fancy_regex::Regex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::support::{Answer, Backend, Recorded, on_both_databases};

/// One request of the run, and what Shoko answered.
#[derive(Deserialize)]
struct Step {
    name: String,
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Option<String>,
    /// Values to take from the answer for later steps, by the name of its member.
    save: BTreeMap<String, String>,
    status: u16,
    answer_headers: BTreeMap<String, String>,
    answer: Option<String>,
}

/// Why something is not as in Shoko: in both recordings and all steps, unless it says in which.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    reason: String,
    recording: Option<String>,
    #[serde(default)]
    steps: Vec<String>,
    /// `fact: value in Shoko -> value here`; `*` is any value in Shoko, and alone any change.
    changes: Vec<String>,
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = format!("{}/tests/contract/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

on_both_databases! {
    fn what_shoko_answered_is_answered_but_for_what_is_listed(backend: Backend) {
        let listed: Vec<Difference> = read("differences.json");
        assert!(listed.iter().all(|difference| !difference.reason.is_empty()));
        let mut used = BTreeSet::new();
        let mut unexplained = Vec::new();
        for recording in ["5.3.3", "6.0-dev"] {
            let steps: Vec<Step> = read(&format!("recorded-{recording}.json"));
            let mut run = Run { server: Recorded::on(backend), values: BTreeMap::new() };
            for step in &steps {
                let (shoko, here) = (facts_of_shoko(step), facts(&run.play(step)));
                for (fact, theirs) in &shoko {
                    // What is missing here shows in the members, or in the number of items.
                    let Some(ours) = here.get(fact).filter(|ours| *ours != theirs) else { continue };
                    let changes = [format!("{fact}: {theirs} -> {ours}"), format!("{fact}: * -> {ours}"), "*".to_owned()];
                    let explained = explain(&listed, recording, &step.name, &changes);
                    if explained.is_empty() {
                        unexplained.push(format!("{recording}, {}: {}", step.name, changes[0]));
                    }
                    used.extend(explained);
                }
            }
        }
        assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
        let never_seen: Vec<_> = entries(&listed).filter(|entry| !used.contains(entry)).collect();
        assert!(never_seen.is_empty(), "listed, but never seen: {never_seen:#?}");
    }
}

/// A change or a step of a listed difference, with the number of that difference.
type Entry = (usize, String);

fn entries(listed: &[Difference]) -> impl Iterator<Item = Entry> {
    let numbered = listed.iter().enumerate();
    numbered.flat_map(|(number, difference)| {
        let entries = difference.changes.iter().chain(&difference.steps).cloned();
        entries.map(move |entry| (number, entry))
    })
}

/// What in the list allows a change in this step; `changes` are the ways in which it may be listed.
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

/// A server in the middle of a run.
struct Run {
    server: Recorded,
    values: BTreeMap<String, String>,
}

impl Run {
    fn play(&mut self, step: &Step) -> Answer {
        let request = self.server.request(&step.method, &self.fill_in(&step.path));
        let headers = step.headers.iter();
        let mut request = headers.fold(request, |request, (name, value)| {
            request.header(name, &self.fill_in(value))
        });
        if let Some(body) = &step.body {
            request = request.body(bytes(&self.fill_in(body)));
        }
        let answer = request.send();
        for (name, member) in &step.save {
            match &serde_json::from_slice(&answer.body).unwrap_or(Value::Null)[member] {
                Value::Null => drop(self.values.remove(name)),
                Value::String(text) => drop(self.values.insert(name.clone(), text.clone())),
                other => drop(self.values.insert(name.clone(), other.to_string())),
            }
        }
        answer
    }

    /// `{k1}` is the value of that name, `{K1}` the same in upper case, `{n1}` without dashes.
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

/// `\xff` stands for that byte.
fn bytes(text: &str) -> Vec<u8> {
    let Some((before, after)) = text.split_once("\\x") else {
        return text.as_bytes().to_vec();
    };
    let byte = u8::from_str_radix(&after[..2], 16).unwrap();
    [before.as_bytes(), &[byte], &bytes(&after[2..])].concat()
}

type Facts = BTreeMap<String, String>;

fn facts_of_shoko(step: &Step) -> Facts {
    let kind = step.answer_headers.get("content-type");
    collect_facts(
        step.status,
        kind.map(String::as_str),
        step.answer.as_deref().unwrap_or_default(),
    )
}

fn facts(answer: &Answer) -> Facts {
    collect_facts(answer.status, answer.header("content-type").as_deref(), &answer.text())
}

/// What is compared of an answer. A bare text counts as the `detail` of a problem, where ours stands.
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

/// What a text is when each answer has another.
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
