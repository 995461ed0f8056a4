use std::process::Command;

use test_support::database::SEALING_SECRET;
use test_support::{Backend, TestDatabase, apply, both_databases};

use crate::support::{UseDatabase, program};

fn has_started(database: &TestDatabase) -> bool {
    database.run(&["user", "list"], "").status.success()
}

/// Runs a command, which must fail, and returns the error.
fn error_of(mut command: Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    error
}

fn errors(database: &TestDatabase) -> Vec<String> {
    let commands = [&["serve"][..], &["user", "list"]];
    commands
        .into_iter()
        .map(|command| error_of(database.program(command)))
        .collect()
}

const NEW_MIGRATION: &str = "INSERT INTO __diesel_schema_migrations (version) VALUES ('99990101000000')";

#[apply(both_databases!)]
fn a_database_that_needs_a_newer_program_is_refused_and_left_alone(backend: Backend) {
    let database = TestDatabase::create(backend);
    assert!(has_started(&database));
    database.execute(NEW_MIGRATION);
    database.execute("UPDATE oldest_program SET version = '9.8.7'");
    let own = env!("CARGO_PKG_VERSION");
    for error in errors(&database) {
        assert!(error.contains(own) && error.contains("9.8.7"), "{error}");
    }
    assert!(database.texts("SELECT name AS text FROM users").is_empty());
}

#[apply(both_databases!)]
fn a_newer_database_that_this_version_may_use_is_accepted(backend: Backend) {
    let database = TestDatabase::create(backend);
    assert!(has_started(&database));
    database.execute(NEW_MIGRATION);
    assert!(has_started(&database));
}

#[apply(both_databases!)]
fn unknown_migrations_without_a_record_are_refused(backend: Backend) {
    let database = TestDatabase::create(backend);
    assert!(has_started(&database));
    database.execute(NEW_MIGRATION);
    database.execute("DELETE FROM oldest_program");
    for error in errors(&database) {
        assert!(error.contains("unknown migration 99990101000000"), "{error}");
    }
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn a_database_that_is_not_in_utf8_is_refused() {
    let utf8 = TestDatabase::create(Backend::Postgres);
    let name = format!("shoko_auth_latin1_{}", std::process::id());
    utf8.execute(&format!(
        "CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'"
    ));
    let url = utf8.url();
    let own = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    let mut command = program(&["serve"]);
    command
        .env("DATABASE_URL", url.replace(own, &name))
        .env("SHOKO_AUTH_SECRET_KEY", SEALING_SECRET)
        .env("SHOKO_AUTH_LISTEN", "127.0.0.1:0");
    let output = command.output().unwrap();
    utf8.execute(&format!("DROP DATABASE {name} WITH (FORCE)"));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("LATIN1") && error.contains("createdb -E UTF8 -T template0"),
        "{error}"
    );
}
