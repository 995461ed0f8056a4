//! PostgreSQL servers, databases and roles that allow few connections.

use std::thread;

use test_support::process::ServerProcess;
use test_support::wait::wait_until;
use test_support::{Backend, Client, TestDatabase};

use crate::support::{ADMIN, ADMIN_PASSWORD, UseDatabase};

/// Starts a server as a role that may have `limit` connections.
fn start(database: &TestDatabase, limit: u32) -> ServerProcess {
    let mut command = database.program(&["serve"]);
    command
        .env("DATABASE_URL", database.limited_role(limit))
        .env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD)
        .env("SHOKO_AUTH_LOGIN_THROTTLE", "off");
    ServerProcess::start(command)
}

/// Logs in on 48 devices at once. Returns the keys.
fn log_in_on_many_devices(server: &Client) -> Vec<String> {
    thread::scope(|scope| {
        let devices = 0..48;
        let logins: Vec<_> = devices
            .map(|number| scope.spawn(move || server.key(ADMIN, ADMIN_PASSWORD, &format!("device {number}"))))
            .collect();
        logins.into_iter().map(|login| login.join().unwrap()).collect()
    })
}

/// Asserts that keys are verified, and that the server is ready and learns about changes by others.
fn assert_works(server: &Client, keys: &[String]) {
    assert!(keys.iter().all(|key| server.accepts(key)));
    wait_until("the change feed is up", || {
        assert!(server.accepts(&keys[0]));
        let health = server.get("/health/ready").send();
        assert_eq!(health.status, 200);
        health.text().contains(r#""changeFeed":"up""#)
    });
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn three_connections_are_enough_for_logins_verifications_and_readiness() {
    let database = TestDatabase::create(Backend::Postgres);
    let server = start(&database, 3);
    let keys = log_in_on_many_devices(&server);
    assert_works(&server, &keys);
    // All connections are opened again, in any order.
    database.close_connections();
    wait_until("the server is ready again", || {
        server.get("/health/ready").send().status == 200
    });
    let keys = log_in_on_many_devices(&server);
    assert_works(&server, &keys);
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn a_limit_that_is_lowered_later_does_not_stop_verifications() {
    let database = TestDatabase::create(Backend::Postgres);
    let server = start(&database, 50);
    let key = server.key(ADMIN, ADMIN_PASSWORD, "before");
    assert_works(&server, &[key]);
    database.limit_role(3);
    let keys = log_in_on_many_devices(&server);
    assert_works(&server, &keys);
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn the_start_warns_about_few_connections_with_the_limits() {
    for (limit, warns) in [(9, true), (50, false)] {
        let database = TestDatabase::create(Backend::Postgres);
        let mut server = start(&database, limit);
        server.signal("TERM");
        let (_, log) = server.wait_until_exit();
        let warning = log.lines().find(|line| line.contains("CONNECTION LIMIT"));
        assert_eq!(warning.is_some(), warns, "{log}");
        if let Some(warning) = warning {
            assert!(
                warning.contains(" WARN ") && warning.contains("the role 9"),
                "{warning}"
            );
            assert!(warning.contains("the database any number"), "{warning}");
        }
    }
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn fewer_than_three_connections_are_refused_with_what_to_do() {
    for limit in [1, 2] {
        let database = TestDatabase::create(Backend::Postgres);
        let mut command = database.program(&["serve"]);
        let output = command
            .env("DATABASE_URL", database.limited_role(limit))
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(
            error.contains(&format!("at most {limit} ")) && error.contains("ALTER ROLE") && !error.contains("retrying"),
            "{error}"
        );
        assert!(
            database
                .texts("SELECT tablename AS text FROM pg_tables WHERE tablename = 'users'")
                .is_empty()
        );
    }
}
