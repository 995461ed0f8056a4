use test_support::process::Process;
use test_support::{Backend, TestDatabase, apply, both_databases};

use crate::support::UseDatabase;

const WARNING: &str = "a failover can undo acknowledged changes";

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn a_start_that_requires_synchronous_replication_is_refused_without_a_standby() {
    let database = TestDatabase::create(Backend::Postgres);
    let mut serve = database.program(&["serve"]);
    serve.env("SHOKO_AUTH_SYNCHRONOUS_REPLICATION", "require");
    let output = serve.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(WARNING), "{error}");
    assert!(error.contains("no standby is connected"), "{error}");
    assert!(error.contains("SHOKO_AUTH_SYNCHRONOUS_REPLICATION=warn"), "{error}");
}

#[apply(both_databases!)]
fn a_single_server_starts_without_a_warning(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut serve = database.program(&["serve"]);
    serve.env("SHOKO_AUTH_SYNCHRONOUS_REPLICATION", "warn");
    let process = Process::spawn(serve);
    process.wait_for_log("listening on");
    assert!(!process.has_logged(WARNING));
}

#[test]
fn a_start_that_requires_synchronous_replication_is_refused_on_the_embedded_database() {
    let database = TestDatabase::create(Backend::Sqlite);
    let mut serve = database.program(&["serve"]);
    serve.env("SHOKO_AUTH_SYNCHRONOUS_REPLICATION", "require");
    let output = serve.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("the embedded database is not replicated"), "{error}");
}
