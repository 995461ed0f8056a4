use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use test_support::database::SEALING_SECRET;
use test_support::process::Process;
use test_support::wait::wait_until;
use test_support::{Backend, Client, TestDatabase};

use crate::support::{ADMIN, ADMIN_PASSWORD, DEVICE, TestApp, UseDatabase, limit_waits, program};

/// The server's time limit for a database call. While the database is offline, a request that
/// needs it must fail sooner.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

const UNKNOWN_KEY: &str = "00000000-0000-4000-8000-000000000000";

/// Asserts that routes that query the database return 503, and that other routes work.
fn assert_database_offline(server: &Client, key: &str) {
    for request in [
        server.get("/api/v3/User/Current").header("apikey", key),
        server.get("/api/auth/verify").header("apikey", key),
        server.delete(&format!("/api/auth?apikey={key}")),
        server.get("/health/ready"),
    ] {
        let start = Instant::now();
        let response = request.send();
        let problem = response.problem(503);
        assert_eq!(problem["title"], "Service Unavailable");
        assert!(response.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
        assert!(
            !response.text().contains("shoko_auth_test"),
            "the response contains an error message of the database"
        );
        assert!(start.elapsed() < CALL_TIMEOUT, "{:?}", start.elapsed());
    }
    server.log_in(ADMIN, ADMIN_PASSWORD, DEVICE).problem(503);
    assert_eq!(server.get("/health/live").send().status, 200);
    assert_eq!(server.get("/swagger/").send().status, 200);
    assert_eq!(server.get("/swagger/docs/clients").send().status, 200);
    server.get("/api/v3/User/Current").send().problem(401);
    server
        .post("/api/auth")
        .json(&serde_json::json!({}))
        .send()
        .problem(400);
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn an_offline_database_is_503_until_it_is_online_again() {
    let app = TestApp::with(Backend::Postgres, limit_waits);
    let key = app.admin_key();
    app.database.take_offline();
    assert_database_offline(&app, &key);
    app.database.bring_online();
    wait_until("the server is ready again", || {
        app.get("/health/ready").send().status == 200
    });
    assert!(app.accepts(&key));
    assert_eq!(app.admin_key(), key);
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn closed_database_connections_are_replaced_without_an_error() {
    let app = TestApp::on(Backend::Postgres);
    let key = app.admin_key();
    for _ in 0..10 {
        app.database.close_connections();
        assert!(app.accepts(&key));
        app.database.close_connections();
        assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, "another device").status, 200);
    }
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn each_database_connection_closed_under_load_costs_at_most_one_request() {
    let app = TestApp::on(Backend::Postgres);
    let key = app.admin_key();
    let answered: [AtomicU32; 4] = Default::default();
    thread::scope(|scope| {
        // The clients run until this is dropped: at the end of the scope, or when the test fails.
        let running = Arc::new(());
        let clients: Vec<_> = (0..)
            .zip(&answered)
            .map(|(number, answered)| {
                let (app, key, running) = (&app, &key, Arc::downgrade(&running));
                scope.spawn(move || {
                    let mut unavailable = 0;
                    while running.strong_count() > 0 {
                        // Half of the clients read, and the other half write.
                        let response = match number % 2 {
                            0 => app.get("/api/v3/User/Current").header("apikey", key).send(),
                            _ => app.delete(&format!("/api/auth?apikey={UNKNOWN_KEY}")).send(),
                        };
                        match response.status {
                            200 => drop(answered.fetch_add(1, Ordering::Relaxed)),
                            503 => unavailable += 1,
                            other => panic!("{other}: {}", response.text()),
                        }
                    }
                    unavailable
                })
            })
            .collect();
        let mut closed = 0;
        for _ in 0..5 {
            let before = answered.each_ref().map(|count| count.load(Ordering::Relaxed));
            wait_until("every client sends further requests", || {
                let mut counts = answered.iter().zip(before);
                counts.all(|(count, before)| count.load(Ordering::Relaxed) > before + 10)
            });
            closed += app.database.close_connections();
        }
        drop(running);
        let unavailable: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert!(
            unavailable <= closed,
            "{unavailable} requests failed, but only {closed} connections were closed"
        );
    });
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn the_server_waits_for_an_offline_database_at_the_start() {
    let database = TestDatabase::create(Backend::Postgres);
    database.take_offline();
    let mut command = database.program(&["serve"]);
    command.env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD);
    let process = Process::spawn(command);
    process.wait_for_log("retrying");
    assert!(!process.has_logged("listening on"));
    database.bring_online();
    let server = process.wait_until_listening();
    assert_eq!(server.get("/health/ready").send().status, 200);
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn the_start_fails_at_once_if_another_attempt_would_fail_too() {
    let database = TestDatabase::create(Backend::Postgres);
    let url = database.url();
    let (_, place) = url.rsplit_once('@').unwrap();
    let (address, _) = place.split_once('/').unwrap();
    for (url, hint) in [
        (format!("postgres://no_such_role@{address}/none"), "the role exists"),
        (format!("{url}_none"), "Create the database"),
        (format!("{url}?sslmode=require"), "postgres-tls"),
        (format!("{url}?sslmode=nonsense"), "Correct the parameters"),
        ("postgres:///?service=no_such_service".to_owned(), "service file"),
    ] {
        let start = Instant::now();
        let output = database.program(&["serve"]).env("DATABASE_URL", &url).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(1) && error.contains(hint),
            "{url}: {error}"
        );
        assert!(!error.contains("retrying") && start.elapsed() < MAX_START, "{error}");
    }
}

/// How soon a start must end that does not wait for the database. It would wait for 30 seconds.
const MAX_START: Duration = Duration::from_secs(15);

#[test]
fn a_signal_ends_a_start_that_waits_for_the_database() {
    for signal in ["TERM", "INT"] {
        let mut command = program(&["serve"]);
        command
            .env("DATABASE_URL", "postgres://127.0.0.1:1/none")
            .env("SHOKO_AUTH_SECRET_KEY", SEALING_SECRET);
        let mut process = Process::spawn(command);
        process.wait_for_log("retrying");
        let start = Instant::now();
        process.signal(signal);
        let (status, log) = process.wait_until_exit();
        // The default action of a signal would leave no exit code, and does not exist for PID 1.
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("stopped before the start was complete"), "{log}");
        assert!(start.elapsed() < MAX_START, "{:?}", start.elapsed());
    }
}
