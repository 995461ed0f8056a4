//! Several sealing secrets, and the replacement of the active one.

use std::collections::BTreeMap;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;
use test_support::process::ServerProcess;
use test_support::wait::wait_until;
use test_support::{Backend, Client, TestDatabase, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, UseDatabase};

const OLD: &str = "b2xkIHNlY3JldCwgb2xkIHNlY3JldCwgb2xkIHNlY3I=";
const NEW: &str = "bmV3IHNlY3JldCwgbmV3IHNlY3JldCwgbmV3IHNlY3I=";

/// Starts a node with these secrets, the active one first.
fn start(database: &TestDatabase, secrets: &[&str]) -> ServerProcess {
    let mut command = database.program(&["serve"]);
    command
        .env("SHOKO_AUTH_SECRET_KEY", secrets.join(","))
        .env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD)
        .env("SHOKO_AUTH_LOGIN_THROTTLE", "off");
    ServerProcess::start(command)
}

/// Runs a command with these secrets, and returns its standard output.
fn run(database: &TestDatabase, secrets: &[&str], arguments: &[&str]) -> String {
    let output = output(database, secrets, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn output(database: &TestDatabase, secrets: &[&str], arguments: &[&str]) -> Output {
    let mut command = database.program(arguments);
    let command = command.env("SHOKO_AUTH_SECRET_KEY", secrets.join(","));
    command.output().unwrap()
}

/// Runs `secret rotate` with these secrets, which must fail with exit code 1. Returns its standard output and error.
fn failed_rotation(database: &TestDatabase, secrets: &[&str]) -> (String, String) {
    let output = output(database, secrets, &["secret", "rotate"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

/// Returns the state and the number of keys of each secret that `secret list` shows.
fn list(database: &TestDatabase, secrets: &[&str]) -> Vec<(String, u64)> {
    let text = run(database, secrets, &["secret", "list", "--json"]);
    let rows: Value = serde_json::from_str(&text).unwrap();
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| (row["state"].as_str().unwrap().to_owned(), row["keys"].as_u64().unwrap()))
        .collect()
}

fn resealed(output: &str) -> usize {
    let number = output.strip_prefix("Keys sealed again: ").unwrap();
    number.lines().next().unwrap().parse().unwrap()
}

/// The keys that devices have got, by device.
type Keys = BTreeMap<String, String>;

/// Logs in on all devices and on a new one, and checks that all keys are the same and valid.
fn check(node: &Client, keys: &mut Keys) {
    for (device, key) in &*keys {
        assert_eq!(&node.key(ADMIN, ADMIN_PASSWORD, device), key, "{device}");
        assert!(node.accepts(key));
    }
    let device = format!("device {}", keys.len());
    let key = node.key(ADMIN, ADMIN_PASSWORD, &device);
    keys.insert(device, key);
}

/// Logs in on known devices, again and again, until the test stops it. Each device must get its key.
struct Load {
    is_over: Arc<AtomicBool>,
    logins: Arc<AtomicUsize>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn start(nodes: &[&ServerProcess], keys: &Keys) -> Self {
        let (is_over, logins) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let run = |node: &&ServerProcess| {
            let client = Client { url: node.url.clone() };
            let (keys, is_over, logins) = (keys.clone(), is_over.clone(), logins.clone());
            thread::spawn(move || {
                for (device, key) in keys.iter().cycle() {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    assert_eq!(&client.key(ADMIN, ADMIN_PASSWORD, device), key, "{device}");
                    assert!(client.accepts(key));
                    logins.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let threads = nodes.iter().map(run).collect();
        Self {
            is_over,
            logins,
            threads,
        }
    }

    fn stop(self) {
        let before = self.logins.load(Ordering::Relaxed);
        wait_until("the load goes on", || self.logins.load(Ordering::Relaxed) > before + 2);
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

#[apply(both_databases!)]
fn a_secret_is_replaced_on_two_nodes_under_load_and_every_device_keeps_its_key(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut keys = Keys::new();
    let (mut one, mut two) = (start(&database, &[OLD]), start(&database, &[OLD]));
    for number in 0..120 {
        let device = format!("early {number}");
        keys.insert(device.clone(), one.key(ADMIN, ADMIN_PASSWORD, &device));
    }
    let mut few: Keys = keys.clone().into_iter().take(5).collect();
    // The steps of docs/operations.md, one node after the other.
    for secrets in [&[OLD, NEW][..], &[NEW, OLD]] {
        let load = Load::start(&[&two], &few);
        one = start(&database, secrets);
        check(&one, &mut few);
        check(&two, &mut few);
        load.stop();
        let load = Load::start(&[&one], &few);
        two = start(&database, secrets);
        check(&two, &mut few);
        load.stop();
    }
    let load = Load::start(&[&one, &two], &few);
    let output = run(&database, &[NEW, OLD], &["secret", "rotate"]);
    load.stop();
    assert!(resealed(&output) >= 120, "{output}");
    keys.extend(few.clone());
    let all = keys.len() as u64;
    assert_eq!(
        list(&database, &[NEW, OLD]),
        [("active".to_owned(), all), ("known".to_owned(), 0)]
    );
    one = start(&database, &[NEW]);
    two = start(&database, &[NEW]);
    for node in [&one, &two] {
        check(node, &mut keys);
    }
    // Without the recorded ids, each secret is tried on each key.
    database.execute("UPDATE api_keys SET sealed_with = NULL");
    let (stdout, _) = failed_rotation(&database, &[OLD]);
    assert_eq!(resealed(&stdout), 0, "the old secret opens nothing");
    assert_eq!(resealed(&run(&database, &[NEW], &["secret", "rotate"])), keys.len());
}

#[apply(both_databases!)]
fn a_node_without_the_secret_of_a_key_warns_with_its_id_and_the_old_key_stays_valid(backend: Backend) {
    let database = TestDatabase::create(backend);
    let key = start(&database, &[OLD]).key(ADMIN, ADMIN_PASSWORD, "kodi");
    let id = database.texts("SELECT sealed_with AS text FROM api_keys").remove(0);
    let states = |secrets| {
        list(&database, secrets)
            .into_iter()
            .map(|(state, _)| state)
            .collect::<Vec<_>>()
    };
    assert_eq!(states(&[NEW]), ["active", "unknown"]);
    let mut server = start(&database, &[NEW]);
    let new = server.key(ADMIN, ADMIN_PASSWORD, "kodi");
    assert_ne!(new, key);
    assert!(server.accepts(&key) && server.accepts(&new));
    server.signal("TERM");
    let (_, log) = server.wait_until_exit();
    let warning = log.lines().find(|line| line.contains("sealed with another secret"));
    assert!(
        warning.is_some_and(|line| line.contains("WARN") && line.contains(&id)),
        "{id}: {log}"
    );
    assert!(log.contains("sealing secrets, the active one first: "), "{log}");
    assert!(!log.contains(NEW) && !log.contains(OLD), "{log}");
}

#[apply(both_databases!)]
fn a_rotation_fails_while_another_secret_seals_keys_and_says_what_to_do(backend: Backend) {
    let database = TestDatabase::create(backend);
    let server = start(&database, &[OLD]);
    let key = server.key(ADMIN, ADMIN_PASSWORD, "kodi");
    let id = database.texts("SELECT sealed_with AS text FROM api_keys").remove(0);
    let (stdout, stderr) = failed_rotation(&database, &[NEW]);
    assert_eq!(resealed(&stdout), 0);
    assert!(
        stdout.contains("unknown"),
        "the table is printed all the same: {stdout}"
    );
    let reason = format!("error: some keys are sealed with secrets that are not configured here (1 by {id})");
    assert!(stderr.starts_with(&reason), "{stderr}");
    assert!(stderr.contains("run `shoko-auth secret rotate` again"), "{stderr}");

    database.execute("UPDATE api_keys SET sealed_with = NULL");
    let (_, stderr) = failed_rotation(&database, &[NEW]);
    assert!(stderr.contains("(1 without a recorded id)"), "{stderr}");

    let output = run(&database, &[NEW, OLD], &["secret", "rotate"]);
    assert_eq!(resealed(&output), 1, "the command succeeds once it has the secret");
    assert!(server.accepts(&key));

    // A sealed copy that its recorded secret does not open, as after damage, also keeps the secret in use.
    database.execute(&format!(
        "UPDATE api_keys SET sealed_with = '{id}', sealed = {}",
        blob(backend)
    ));
    let (_, stderr) = failed_rotation(&database, &[NEW, OLD]);
    let reason = format!("error: some keys are still sealed with another secret (1 by {id})");
    assert!(stderr.starts_with(&reason), "{stderr}");
}

/// Returns bytes that no secret opens, as an SQL literal.
fn blob(backend: Backend) -> &'static str {
    match backend {
        Backend::Sqlite => "X'00'",
        Backend::Postgres => "'\\x00'",
    }
}

#[apply(both_databases!)]
fn keys_of_a_version_without_ids_are_opened_with_every_secret_and_sealed_again(backend: Backend) {
    let database = TestDatabase::create(backend);
    let key = start(&database, &[OLD]).key(ADMIN, ADMIN_PASSWORD, "kodi");
    database.execute("UPDATE api_keys SET sealed_with = NULL");
    let server = start(&database, &[NEW, OLD]);
    assert_eq!(server.key(ADMIN, ADMIN_PASSWORD, "kodi"), key);
    let state = |state: &str, keys| (state.to_owned(), keys);
    let before = [state("active", 0), state("known", 0), state("unrecorded", 1)];
    assert_eq!(list(&database, &[NEW, OLD]), before);
    assert_eq!(resealed(&run(&database, &[NEW, OLD], &["secret", "rotate"])), 1);
    assert_eq!(list(&database, &[NEW]), [state("active", 1)]);
    assert_eq!(server.key(ADMIN, ADMIN_PASSWORD, "kodi"), key);
}

#[test]
fn invalid_sealing_secrets_in_the_settings_exit_with_code_2() {
    let database = TestDatabase::create(Backend::Sqlite);
    for (secrets, reason) in [
        (&[OLD, "AAAA"][..], "secret 2: it has 3 bytes"),
        (&[OLD, OLD], "secret 2: it is the same"),
        (&["AAAA"], "(SHOKO_AUTH_SECRET_KEY) cannot be used: it has 3 bytes"),
    ] {
        let output = output(&database, secrets, &["user", "list"]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(reason), "{error}");
        assert!(!error.contains(OLD), "{error}");
    }
}
