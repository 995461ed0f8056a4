//! Database connections that stay open but no longer work.

use std::fs;
use std::thread;
use std::time::Duration;

use test_support::process::Process;
use test_support::wait::wait_until;
use test_support::{Backend, TestDatabase};

use crate::support::{ADMIN, ADMIN_PASSWORD, DEVICE, Server, TestApp, UseDatabase};

/// Opens more than one of the server's connections to the database.
fn open_connections(server: &Server) {
    thread::scope(|scope| {
        for number in 0..12 {
            scope.spawn(move || server.log_in(ADMIN, ADMIN_PASSWORD, &format!("device {number}")));
        }
    });
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn sessions_of_a_read_only_server_are_replaced_when_it_accepts_changes_again() {
    let app = TestApp::on(Backend::Postgres);
    let key = app.admin_key();
    app.database.make_read_only(true);
    app.database.close_connections();
    open_connections(&app);
    app.log_in(ADMIN, ADMIN_PASSWORD, "new").problem(503);
    app.get("/health/ready").send().problem(503);
    assert!(app.accepts(&key), "keys are verified on a read-only server");

    app.database.make_read_only(false);
    assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, "new").status, 200);
    assert_eq!(app.get("/health/ready").send().status, 200);
    assert_eq!(app.change_password(&key, "Bassoon-hill-9").status, 200);
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn a_server_that_becomes_read_only_is_not_ready() {
    let app = TestApp::on(Backend::Postgres);
    app.admin_key();
    app.database.make_read_only(true);
    wait_until("the server reports that it is not ready", || {
        app.database.close_connections();
        app.get("/health/ready").send().status == 503
    });
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn a_start_waits_for_a_server_that_accepts_changes() {
    let database = TestDatabase::create(Backend::Postgres);
    database.make_read_only(true);
    let process = Process::spawn(database.program(&["serve"]));
    process.wait_for_log("the database accepts no changes");
    database.make_read_only(false);
    process.wait_until_listening();
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn statements_that_no_longer_match_their_tables_are_prepared_again() {
    let app = TestApp::on(Backend::Postgres);
    let key = app.admin_key();
    open_connections(&app);
    app.database
        .execute("ALTER TABLE users ALTER COLUMN password TYPE varchar(5000)");
    for device in 0..12 {
        assert_eq!(
            app.log_in(ADMIN, ADMIN_PASSWORD, &format!("device {device}")).status,
            200
        );
    }
    assert!(app.accepts(&key));
}

#[test]
fn a_server_whose_database_file_was_deleted_is_not_ready() {
    let app = TestApp::on(Backend::Sqlite);
    assert_eq!(app.get("/health/ready").send().status, 200);
    let file = app.database.url().replace("sqlite://", "");
    fs::rename(&file, file.clone() + ".bak").unwrap();
    app.get("/health/ready").send().problem(503);
    fs::rename(file.clone() + ".bak", &file).unwrap();
    assert_eq!(app.get("/health/ready").send().status, 200);
}

#[test]
fn a_server_whose_database_file_was_replaced_is_not_ready() {
    let app = TestApp::on(Backend::Sqlite);
    assert_eq!(app.get("/health/ready").send().status, 200);
    let file = app.database.url().replace("sqlite://", "");
    let (original, copy) = (file.clone() + ".original", file.clone() + ".copy");
    fs::copy(&file, &copy).unwrap();
    fs::rename(&file, &original).unwrap();
    fs::rename(&copy, &file).unwrap();
    app.get("/health/ready").send().problem(503);
    fs::rename(&original, &file).unwrap();
    assert_eq!(app.get("/health/ready").send().status, 200);
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn connections_that_become_silent_are_replaced() {
    let database = TestDatabase::create(Backend::Postgres);
    let (relay, url) = database.relay();
    let mut settings = database.server_settings();
    settings.core.database = url.parse().unwrap();
    settings.core.max_wait = Duration::from_millis(200);
    let server = Server::start(settings);
    let key = server.admin_key();
    open_connections(&server);
    assert!(server.accepts(&key));

    assert!(relay.silence() > 4);
    // The requests that meet the silent connections fail. Do not wait for them.
    thread::scope(|scope| {
        for number in 0..20 {
            let (server, key) = (&server, &key);
            scope.spawn(move || match number % 2 {
                0 => drop(server.log_in(ADMIN, ADMIN_PASSWORD, DEVICE)),
                _ => drop(server.get("/api/auth/verify").header("apikey", key).send()),
            });
        }
        wait_until("logins work again", || {
            server.log_in(ADMIN, ADMIN_PASSWORD, DEVICE).status == 200
        });
    });
    wait_until("keys are verified again", || {
        server.get("/api/auth/verify").header("apikey", &key).send().status == 200
    });
    wait_until("the change feed works again", || {
        assert!(server.accepts(&key));
        server
            .get("/health/ready")
            .send()
            .text()
            .contains(r#""changeFeed":"up""#)
    });
}
