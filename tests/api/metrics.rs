//! The metrics, and the documentation, the dashboard and the alert rules that name them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use test_support::process::{Process, ServerProcess};
use test_support::wait::wait_for;
use test_support::{Backend, Client, TestDatabase, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, UseDatabase};

/// A server with a listener for metrics.
struct Measured {
    server: ServerProcess,
    metrics: Client,
    _database: TestDatabase,
}

impl Measured {
    fn on(backend: Backend) -> Self {
        Self::with(backend, &[])
    }

    fn with(backend: Backend, variables: &[(&str, &str)]) -> Self {
        let database = TestDatabase::create(backend);
        let mut command = database.program(&["serve"]);
        command
            .env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD)
            .env("SHOKO_AUTH_METRICS_LISTEN", "127.0.0.1:0")
            .envs(variables.iter().copied());
        let process = Process::spawn(command);
        let url = process.wait_for_log("metrics are served at ");
        let url = url.trim_end_matches("/metrics").to_owned();
        Self {
            server: process.wait_until_listening(),
            metrics: Client { url },
            _database: database,
        }
    }

    fn scrape(&self) -> String {
        let response = self.metrics.get("/metrics").send();
        assert_eq!(response.status, 200);
        response.text()
    }

    /// Returns the value of a sample, or zero if there is none.
    fn value(&self, sample: &str) -> f64 {
        let text = self.scrape();
        let found = text.lines().find_map(|line| line.strip_prefix(sample));
        found.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// Verifies a key and returns the status.
    fn verify(&self, key: &str) -> u16 {
        self.server.get("/api/auth/verify").header("apikey", key).send().status
    }
}

fn page(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A metric's type and labels.
type Description = (String, BTreeSet<String>);

/// Returns the metrics in the table of `docs/metrics.md`.
fn documented() -> BTreeMap<String, Description> {
    let page = page("docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `shoko_auth_"));
    let of_row = |row: &str| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[3].split(", ").filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.trim_matches('`').to_owned()).collect();
        (cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), labels))
    };
    rows.map(of_row).collect()
}

/// Returns the metrics in a scrape.
fn exposed(text: &str) -> BTreeMap<String, Description> {
    let mut metrics = BTreeMap::<String, Description>::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (metric, kind) = rest.split_once(' ').unwrap();
            metric.clone_into(&mut name);
            metrics.insert(name.clone(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((_, labels)) = line.split_once('{') {
            let labels = labels.split_once('}').unwrap().0.split("\",");
            let names = labels.map(|label| label.split_once('=').unwrap().0.to_owned());
            let labels = &mut metrics.get_mut(&name).unwrap().1;
            labels.extend(names.filter(|label| label != "le"));
        }
    }
    metrics
}

/// Returns the names of metrics in a query, without the endings of histograms.
fn named_in(query: &str) -> Vec<String> {
    let pattern = fancy_regex::Regex::new("shoko_auth_[a-z_]+").unwrap();
    let names = pattern.find_iter(query).map(|found| found.unwrap().as_str());
    let names = names.map(|name| name.trim_end_matches("_bucket").trim_end_matches("_count"));
    names.map(str::to_owned).collect()
}

fn queries_of_dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&page("docs/monitoring/grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect()
}

#[apply(both_databases!)]
fn the_documentation_lists_exactly_the_metrics_that_the_server_sends(backend: Backend) {
    let app = Measured::on(backend);
    let key = app.server.key(ADMIN, ADMIN_PASSWORD, "d");
    assert_eq!(app.verify(&key), 200);
    let text = wait_for("the first count", || {
        Some(app.scrape()).filter(|text| text.contains("\nshoko_auth_users 1\n"))
    });
    assert_eq!(exposed(&text), documented());
    for line in text.lines().filter(|line| line.starts_with("# HELP ")) {
        assert!(line.ends_with('.'), "{line}");
    }
}

#[test]
fn the_dashboard_and_the_alert_rules_use_only_documented_metrics_and_all_of_them() {
    let documented = documented();
    let queries = queries_of_dashboard();
    assert!(queries.len() > 10);
    let mut used = BTreeSet::new();
    for query in &queries {
        let names = named_in(query);
        assert!(!names.is_empty(), "{query}");
        used.extend(names);
    }
    let known: BTreeSet<String> = documented.into_keys().collect();
    assert_eq!(used, known, "the dashboard shows each metric");
    let rules = page("docs/monitoring/alerts.yml");
    let in_rules = named_in(&rules);
    assert!(in_rules.len() > 5);
    for name in in_rules {
        assert!(known.contains(&name), "{name}");
    }
}

#[apply(both_databases!)]
fn requests_verifications_and_logins_are_counted(backend: Backend) {
    let app = Measured::on(backend);
    let key = app.server.key(ADMIN, ADMIN_PASSWORD, "d");
    assert_eq!(app.server.log_in(ADMIN, "wrong", "d").status, 401);
    for _ in 0..5 {
        assert_eq!(app.verify(&key), 200);
    }
    assert_eq!(app.verify("00000000-0000-4000-8000-000000000000"), 401);
    assert_eq!(app.server.get("/nowhere/at/all").send().status, 404);
    app.server.request("BREW", "/api/auth/verify").send();
    let route = |method: &str, status: u16| {
        format!(r#"shoko_auth_requests_total{{method="{method}",route="/api/auth/verify",status="{status}"}}"#)
    };
    let verification = |result: &str, source: &str| {
        format!(r#"shoko_auth_verifications_total{{result="{result}",source="{source}"}}"#)
    };
    let cached = app.value(&verification("valid", "cache"));
    for (sample, expected) in [
        (route("GET", 200), 5.0),
        (route("GET", 401), 1.0),
        (route("other", 405), 1.0),
        (verification("valid", "lookup"), 5.0 - cached),
        (verification("invalid", "lookup"), 1.0),
        (
            r#"shoko_auth_logins_total{dialect="shoko",result="ok"}"#.to_owned(),
            1.0,
        ),
        (
            r#"shoko_auth_logins_total{dialect="shoko",result="wrong"}"#.to_owned(),
            1.0,
        ),
        (
            r#"shoko_auth_requests_total{method="GET",route="none",status="404"}"#.to_owned(),
            1.0,
        ),
        (
            r#"shoko_auth_request_duration_seconds_count{method="GET",route="/api/auth/verify"}"#.to_owned(),
            6.0,
        ),
        ("shoko_auth_hashing_seconds_count".to_owned(), 2.0),
    ] {
        let found = app.value(&sample);
        assert!((found - expected).abs() < 0.1, "{sample} {found} instead of {expected}");
    }
}

#[apply(both_databases!)]
fn a_logged_in_browser_and_each_dialect_are_counted_apart(backend: Backend) {
    let app = Measured::with(backend, &[("SHOKO_AUTH_DIALECTS", "shoko,zulip,zettelstore")]);
    let form = format!("username={ADMIN}&password={ADMIN_PASSWORD}");
    assert_eq!(app.server.post("/api/v1/fetch_api_key").form(&form).send().status, 200);
    assert_eq!(app.server.post("/a").form(&form).send().status, 200);
    let sign_in = serde_json::json!({"user": ADMIN, "password": ADMIN_PASSWORD});
    assert_eq!(
        app.server.post("/api/account/session").json(&sign_in).send().status,
        200
    );
    for dialect in ["zulip", "zettelstore", "account"] {
        let sample = format!(r#"shoko_auth_logins_total{{dialect="{dialect}",result="ok"}}"#);
        let found = app.value(&sample);
        assert!((found - 1.0).abs() < 0.1, "{sample} {found}");
    }
}

#[apply(both_databases!)]
fn metrics_contain_neither_names_nor_addresses_nor_keys_nor_the_base_path(backend: Backend) {
    let app = Measured::with(backend, &[("SHOKO_AUTH_BASE_PATH", "/Under")]);
    let key = app.server.key(ADMIN, ADMIN_PASSWORD, "my-kodi");
    assert_eq!(app.verify(&key), 200);
    assert_eq!(
        app.server.get("/api/v3/user/1").header("apikey", &key).send().status,
        200
    );
    let wrong = app.server.log_in("Mallory", "wrong", "my-kodi");
    assert_eq!(wrong.status, 401);
    app.server.get("/somewhere/else").send();
    let text = app.scrape().to_lowercase();
    for secret in [
        ADMIN,
        "mallory",
        "my-kodi",
        "127.0.0.1",
        &key,
        "under",
        "somewhere",
        "user/1",
    ] {
        assert!(!text.contains(&secret.to_lowercase()), "{secret}: {text}");
    }
    assert!(text.contains(r#"route="/api/v3/user/{id}""#), "{text}");
}

#[test]
fn the_listener_for_metrics_accepts_only_get_and_head() {
    let measured = Measured::on(Backend::Sqlite);
    for (method, status) in [("HEAD", 200), ("POST", 405), ("DELETE", 405)] {
        let response = measured.metrics.request(method, "/metrics").send();
        assert_eq!(response.status, status, "{method}");
        if status == 405 {
            assert_eq!(response.header("allow").as_deref(), Some("GET, HEAD"));
        }
    }
    assert_eq!(measured.metrics.get("/").send().status, 404);
}

#[test]
fn without_the_setting_there_is_no_listener_for_metrics() {
    let database = TestDatabase::create(Backend::Sqlite);
    let mut server = ServerProcess::start(database.program(&["serve"]));
    assert_eq!(server.get("/metrics").send().status, 404);
    server.signal("TERM");
    let (_, log) = server.wait_until_exit();
    assert!(!log.contains("metrics"), "{log}");
}

#[test]
fn a_server_with_metrics_closes_the_database_when_it_stops() {
    let mut app = Measured::on(Backend::Sqlite);
    app.scrape();
    app.server.signal("TERM");
    let (status, log) = app.server.wait_until_exit();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("still in use"), "{log}");
}
