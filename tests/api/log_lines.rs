use std::thread;
use std::time::Duration;

use serde_json::Value;
use test_support::process::ServerProcess;
use test_support::{Backend, Client, TestDatabase, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, UseDatabase, program};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Sends requests of every kind, with secrets wherever a request can contain them. Returns the secrets.
fn send_secrets(server: &Client) -> Vec<String> {
    let key = server.key(ADMIN, ADMIN_PASSWORD, "d");
    let (upper, wrong) = (key.to_uppercase(), "wrong-password-in-the-log");
    server
        .get(&format!("/api/v3/User/Current?apikey={key}&x=hidden-in-the-query"))
        .send();
    server.get("/api/auth/verify").header("apikey", &upper).send();
    server
        .get("/api/auth/verify")
        .header("Authorization", &format!("Bearer {key}"))
        .send();
    server.log_in(ADMIN, wrong, "d");
    server
        .post("/api/auth")
        .header("Content-Type", "application/json")
        .body(format!("{{\"pass\":\"{wrong}"))
        .send();
    server
        .get(&format!("/api/nothing?apikey={key}"))
        .header("traceparent", &format!("00-{TRACE}-b7ad6b7169203331-01"))
        .send();
    server
        .request("PUT", &format!("/api/auth?apikey={key}"))
        .body("")
        .send();
    server.change_password(&key, "short");
    server.delete(&format!("/api/auth?apikey={key}")).send();
    let plain = key.replace('-', "");
    vec![
        key,
        upper,
        plain,
        wrong.to_owned(),
        ADMIN_PASSWORD.to_owned(),
        "hidden-in-the-query".to_owned(),
    ]
}

fn log_of(database: &TestDatabase, level: Option<&str>, format: &str) -> String {
    let mut command = database.program(&["serve", "--log-format", format]);
    command
        .env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD)
        .envs(level.map(|level| ("RUST_LOG", level)));
    let mut server = ServerProcess::start(command);
    let secrets = send_secrets(&server);
    server.signal("TERM");
    let (_, log) = server.wait_until_exit();
    for secret in secrets {
        assert!(!log.contains(&secret), "{log}");
    }
    log
}

#[apply(both_databases!)]
fn each_request_is_one_json_line_with_its_trace_id(backend: Backend) {
    let database = TestDatabase::create(backend);
    let log = log_of(&database, Some("debug"), "json");
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let requests: Vec<&Value> = lines
        .iter()
        .filter(|line| line["target"] == "shoko_auth::web::request")
        .collect();
    let found: Vec<String> = requests
        .iter()
        .map(|line| format!("{} {} {}", line["method"], line["route"], line["status"]).replace('"', ""))
        .collect();
    let expected = [
        "POST /api/auth 200",
        "GET /api/v3/user/current 200",
        "GET /api/auth/verify 200",
        "GET /api/auth/verify 200",
        "POST /api/auth 401",
        "POST /api/auth 400",
        "GET none 404",
        "PUT /api/auth 405",
        "POST /api/auth/changepassword 400",
        "DELETE /api/auth 200",
    ];
    assert_eq!(found, expected);
    assert!(
        requests
            .iter()
            .all(|line| line["seconds"].as_f64().is_some() && line["level"] == "debug")
    );
    assert!(requests[6]["trace"].as_str().unwrap().contains(TRACE));
    assert!(lines.iter().all(|line| line["time"].as_str().unwrap().ends_with('Z')));
}

#[apply(both_databases!)]
fn each_security_event_is_one_line_with_user_address_and_trace_id(backend: Backend) {
    let database = TestDatabase::create(backend);
    let log = log_of(&database, None, "json");
    let lines = log.lines().map(|line| serde_json::from_str(line).expect(line));
    let events: Vec<Value> = lines
        .filter(|line: &Value| line["target"] == "shoko_auth::audit")
        .collect();
    let found: Vec<String> = events
        .iter()
        .map(|event| {
            format!(
                "{} {} {} {}",
                event["event"], event["user"], event["device"], event["address"]
            )
        })
        .collect();
    let expected = [
        r#""user_made" "Default" "" "local""#,
        r#""admin_granted" "Default" "" "local""#,
        r#""login_ok" "Default" "d" "127.0.0.1""#,
        r#""key_made" "Default" "d" "127.0.0.1""#,
        r#""login_failed" "Default" "" "127.0.0.1""#,
        r#""key_revoked" "Default" "d" "127.0.0.1""#,
    ];
    assert_eq!(found, expected);
    assert!(
        events
            .iter()
            .skip(2)
            .all(|event| event["trace"].as_str().unwrap().starts_with("00-"))
    );
}

#[apply(both_databases!)]
fn a_user_name_cannot_forge_the_address_in_the_log(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut command = database.program(&["serve"]);
    command.env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD);
    let mut server = ServerProcess::start(command);
    for name in ["bob address=192.0.2.1", "x\" address=192.0.2.1 \"", "событие", ""] {
        server.log_in(name, "wrong", "d");
    }
    server.signal("TERM");
    let (_, log) = server.wait_until_exit();
    let failed: Vec<&str> = log
        .lines()
        .filter_map(|line| Some(line.split_once("event=login_failed ")?.1))
        .collect();
    assert!(
        failed[0].starts_with(r#"address=127.0.0.1 user="bob address=192.0.2.1" device="" by="" trace=00-"#),
        "{log}"
    );
    assert!(
        failed[1].starts_with(r#"address=127.0.0.1 user="x\" address=192.0.2.1 \"" device="#),
        "{log}"
    );
    assert!(failed[2].starts_with("address=127.0.0.1 user=событие device="), "{log}");
    assert_eq!(failed.len(), 3);
}

#[apply(both_databases!)]
fn no_log_level_shows_a_secret(backend: Backend) {
    let database = TestDatabase::create(backend);
    let log = log_of(&database, Some("trace"), "text");
    assert!(log.contains("status=401"), "{log}");
}

#[apply(both_databases!)]
fn internal_errors_are_logged_with_the_trace_id_in_every_dialect(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut command = database.program(&["serve", "--log-format", "json", "--dialects", "shoko,zulip,zettelstore"]);
    command.env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD);
    let mut server = ServerProcess::start(command);
    server.key(ADMIN, ADMIN_PASSWORD, "d");
    // This index allows only one key, so issuing another is an internal error.
    database.execute("CREATE UNIQUE INDEX broken ON api_keys ((length(device) * 0))");
    let form = format!("username={ADMIN}&password={ADMIN_PASSWORD}");
    let json = format!(r#"{{"user":"{ADMIN}","pass":"{ADMIN_PASSWORD}","device":"e"}}"#);
    let calls = [
        ("/api/auth", "application/json", &json),
        ("/api/v1/fetch_api_key", "application/x-www-form-urlencoded", &form),
        ("/a", "application/x-www-form-urlencoded", &form),
    ];
    for (path, kind, body) in calls {
        let request = server.post(path).header("Content-Type", kind).body(body.as_str());
        let response = request
            .header("traceparent", &format!("00-{TRACE}-b7ad6b7169203331-01"))
            .send();
        assert_eq!(response.status, 500, "{path}: {}", response.text());
        assert!(!response.text().contains("broken"), "{path}: {}", response.text());
    }
    server.signal("TERM");
    let (_, log) = server.wait_until_exit();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let faults: Vec<Value> = lines.filter(|line| line["level"] == "error").collect();
    assert_eq!(faults.len(), calls.len(), "{log}");
    for fault in faults {
        assert!(
            fault["trace"].as_str().is_some_and(|trace| trace.contains(TRACE)),
            "{fault}"
        );
    }
}

#[apply(both_databases!)]
fn repeated_rejections_of_a_client_log_one_line_and_a_summary(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut server = ServerProcess::start(database.program(&["serve"]));
    for number in 0..20 {
        assert_eq!(server.log_in(&format!("name {number}"), "wrong", "d").status, 401);
    }
    // A character that takes ten bytes in the log.
    let name = "\u{10fffe}".repeat(255);
    for _ in 0..30 {
        assert_eq!(server.log_in(&name, "wrong", "d").status, 429);
    }
    server.signal("TERM");
    let (_, log) = server.wait_until_exit();
    let throttled: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("event=login_throttled"))
        .collect();
    let [first, summary] = throttled[..] else {
        panic!("{log}")
    };
    let user = format!("address=127.0.0.1 user=\"{}…\" ", r"\u{10fffe}".repeat(64));
    assert!(first.contains(&user) && !first.contains("count="), "{first}");
    assert!(summary.contains(&user) && summary.ends_with("count=29"), "{summary}");
}

#[test]
fn by_default_only_events_for_people_are_logged() {
    let database = TestDatabase::create(Backend::Sqlite);
    let log = log_of(&database, None, "text");
    let events = log.lines().filter(|line| line.contains("shoko_auth::audit"));
    assert_eq!(events.count(), 6, "{log}");
    // Ignore lines about the change feed. On a busy machine, the feed can be late, which the server logs.
    let lines = log.lines().filter(|line| !line.contains("change feed"));
    assert!(lines.count() < 13, "{log}");
}

#[apply(both_databases!)]
fn a_stored_hash_with_too_many_rounds_fails_like_a_wrong_password_and_is_logged(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut command = database.program(&["serve"]);
    command.env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD);
    let mut server = ServerProcess::start(command);
    database.execute(
        "UPDATE users SET password = '$pbkdf2-sha256$i=4000000000,l=32$bm9ib2R5J3Mgc2FsdC4uLg\
         $bm9ib2R5J3MgaGFzaCBvZiBub2JvZHkncyBwYXNzd28'",
    );
    let of_user = server.log_in(ADMIN, ADMIN_PASSWORD, "d").problem(401);
    let of_nobody = server.log_in("nobody", ADMIN_PASSWORD, "d").problem(401);
    assert_eq!(of_user["detail"], of_nobody["detail"]);
    server.signal("TERM");
    let (_, log) = server.wait_until_exit();
    assert!(
        log.contains("has 4000000000 rounds, more than the maximum of 10000000"),
        "{log}"
    );
}

#[apply(both_databases!)]
fn security_events_are_logged_at_every_level_unless_they_are_switched_off(backend: Backend) {
    let database = TestDatabase::create(backend);
    // The test needs the line with the address of the server, whatever the filter is.
    let log = |filter: &str| {
        log_of(
            &database,
            Some(&format!("{filter},shoko_auth::cli::serve=info")),
            "text",
        )
    };
    for filter in ["warn", "shoko_auth=error"] {
        assert!(log(filter).contains("event=login_failed"), "{filter}");
    }
    for filter in ["off", "info,shoko_auth::audit=off"] {
        assert!(!log(filter).contains("event="), "{filter}");
    }
}

#[test]
fn an_invalid_log_filter_fails_the_start() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["serve", "openapi"] {
        let mut program = program(&[command]);
        program
            .env("RUST_LOG", "warning")
            .env("SHOKO_AUTH_DATA_DIR", folder.path());
        let output = program.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.starts_with("error: RUST_LOG: 'warning' is not valid"), "{error}");
    }
}

/// Starts a server without the login throttle that hashes passwords with this number of rounds.
fn server_with_rounds(database: &TestDatabase, rounds: &str) -> ServerProcess {
    let mut command = database.program(&["serve"]);
    command
        .env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD)
        .env("SHOKO_AUTH_LOGIN_THROTTLE", "off")
        .env("SHOKO_AUTH_PBKDF2_ROUNDS", rounds);
    ServerProcess::start(command)
}

fn log_after_exit(mut server: ServerProcess) -> String {
    server.signal("TERM");
    server.wait_until_exit().1
}

#[test]
fn a_request_that_gets_no_connection_is_logged() {
    let database = TestDatabase::create(Backend::Sqlite);
    let server = server_with_rounds(&database, "1000");
    let mut other = database.session();
    other("BEGIN IMMEDIATE");
    let statuses: Vec<u16> = thread::scope(|scope| {
        let log_in = |number: usize| {
            scope.spawn({
                let server = &server;
                move || server.log_in(ADMIN, ADMIN_PASSWORD, &format!("device {number}")).status
            })
        };
        // The pool has fewer connections.
        let logins: Vec<_> = (0..20).map(log_in).collect();
        // Longer than a request waits for a connection, and shorter than SQLite waits for the lock.
        thread::sleep(Duration::from_millis(3500));
        other("ROLLBACK");
        logins.into_iter().map(|login| login.join().unwrap()).collect()
    });
    assert!(statuses.contains(&503) && statuses.contains(&200), "{statuses:?}");
    let log = log_after_exit(server);
    assert!(log.contains("no connection to the database was free"), "{log}");
}

#[test]
fn a_request_that_waits_too_long_for_its_operation_is_logged() {
    let database = TestDatabase::create(Backend::Sqlite);
    let server = server_with_rounds(&database, "20000000");
    let status = thread::scope(|scope| {
        let login = scope.spawn(|| server.log_in(ADMIN, ADMIN_PASSWORD, "d").status);
        thread::sleep(Duration::from_millis(300));
        server.signal("STOP");
        // Longer than a request waits, while the hash makes no progress.
        thread::sleep(Duration::from_millis(10_500));
        server.signal("CONT");
        login.join().unwrap()
    });
    assert_eq!(status, 503);
    let log = log_after_exit(server);
    assert!(log.contains("its operation took longer than 10s"), "{log}");
}
