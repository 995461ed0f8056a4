//! Databases of released versions, which `tests/schema/` stores, and their upgrade to this version.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use test_support::process::Process;
use test_support::{Backend, TestDatabase, apply, both_databases};

use crate::support::UseDatabase;

/// What `scripts/dump-schema` has stored in a database.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    sealing_secret: String,
    valid: Vec<DeviceKey>,
    /// Keys that are revoked or belong to a disabled user.
    invalid: Vec<String>,
}

#[derive(Deserialize)]
struct DeviceKey {
    user: String,
    password: String,
    device: String,
    key: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schema")
}

fn suffix(backend: Backend) -> &'static str {
    match backend {
        Backend::Sqlite => "-sqlite",
        Backend::Postgres => "-postgres",
    }
}

/// Returns the released versions of which there is a dump.
fn versions(backend: Backend) -> Vec<String> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let ending = format!("{}.sql", suffix(backend));
    let versions = files.filter_map(|name| name.to_str().unwrap().strip_suffix(&ending).map(str::to_owned));
    let mut versions: Vec<_> = versions.collect();
    versions.sort();
    versions
}

/// Returns the versions of this program's migrations: their names up to the underscore, without hyphens.
fn migrations(backend: Backend) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let folders = fs::read_dir(folder.join(suffix(backend).trim_start_matches('-'))).unwrap();
    let names = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let versions = names.map(|name| name.split('_').next().unwrap().replace('-', ""));
    let mut versions: Vec<_> = versions.collect();
    versions.sort();
    versions
}

/// Stores the content of a release in the database.
fn load(database: &TestDatabase, version: &str) -> Content {
    let file = |ending| folder().join(format!("{version}{}.{ending}", suffix(database.backend)));
    database.execute(&fs::read_to_string(file("sql")).unwrap());
    serde_json::from_str(&fs::read_to_string(file("json")).unwrap()).unwrap()
}

fn start(database: &TestDatabase, content: &Content) -> Process {
    let mut command = database.program(&["serve"]);
    command.env("SHOKO_AUTH_SECRET_KEY", &content.sealing_secret);
    Process::spawn(command)
}

#[test]
fn a_backup_of_each_release_can_be_restored() {
    for version in versions(Backend::Sqlite) {
        let (old, new) = (
            TestDatabase::create(Backend::Sqlite),
            TestDatabase::create(Backend::Sqlite),
        );
        load(&old, &version);
        let file = old.url().replace("sqlite://", "");
        let output = new.run(&["restore", &file], "");
        assert!(output.status.success(), "{version}: {output:?}");
        let applied = new.texts("SELECT version AS text FROM __diesel_schema_migrations ORDER BY version");
        assert_eq!(applied, migrations(Backend::Sqlite), "{version}");
    }
}

#[apply(both_databases!)]
fn a_database_of_each_release_is_upgraded_without_losing_a_key(backend: Backend) {
    let versions = versions(backend);
    assert!(versions.contains(&"0.1.0".to_owned()), "{versions:?}");
    for version in versions {
        let database = TestDatabase::create(backend);
        let content = load(&database, &version);
        let server = start(&database, &content).wait_until_listening();
        let applied = database.texts("SELECT version AS text FROM __diesel_schema_migrations ORDER BY version");
        assert_eq!(applied, migrations(backend), "{version}");
        assert!(content.valid.len() >= 3 && content.invalid.len() >= 2);
        for DeviceKey {
            user,
            password,
            device,
            key,
        } in &content.valid
        {
            let response = server.get("/api/v3/User/Current").header("apikey", key).send();
            assert_eq!(response.status, 200, "{version}: {device}");
            assert_eq!(response.json()["Username"], user.as_str());
            assert_eq!(
                &server.key(user, password, device),
                key,
                "the same device gets the same key"
            );
        }
        for key in &content.invalid {
            assert!(!server.accepts(key), "{version}");
        }
        assert_eq!(server.log_in("dave", "Dulcimer-dale", "kodi").status, 401);
    }
}

/// Without a lock on all tables at once, PostgreSQL would find a deadlock and abort the query of the other node.
#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn a_migration_gives_way_to_a_transaction_of_another_node_and_is_tried_again() {
    let database = TestDatabase::create(Backend::Postgres);
    let content = load(&database, "0.1.0");
    let mut other_node = database.session();
    other_node("BEGIN; SELECT count(*) FROM api_keys");
    let process = start(&database, &content);
    process.wait_for_log("the tables cannot be locked for the migration");
    other_node("SELECT count(*) FROM users");
    other_node("COMMIT");
    let server = process.wait_until_listening();
    assert!(server.accepts(&content.valid[0].key));
}

/// Diesel runs only one of several migrations with the same version.
#[test]
fn each_migration_has_a_version_of_its_own() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let versions = migrations(backend);
        assert!(versions.len() > 10);
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    }
    assert_eq!(migrations(Backend::Sqlite), migrations(Backend::Postgres));
}

#[test]
fn both_databases_have_dumps_of_the_same_releases() {
    assert_eq!(versions(Backend::Sqlite), versions(Backend::Postgres));
}
