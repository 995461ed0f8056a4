use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};
use shoko_auth::clock::Clock;
use shoko_auth::settings::Settings;
use socket2::SockRef;
use test_support::wait::{wait_for, wait_until};
use test_support::{Backend, Client, Response, TestDatabase, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, Server, TestApp, UseDatabase};

/// A server with the throttle on and a clock that moves only when a test advances it. The server trusts the forwarding
/// headers of local clients.
struct ThrottledApp {
    app: TestApp,
    clock: Clock,
}

impl ThrottledApp {
    fn on(backend: Backend) -> Self {
        let mut clock = None;
        let app = TestApp::with(backend, |settings| clock = Some(throttling(settings)));
        let clock = clock.expect("the settings were changed");
        Self { app, clock }
    }
}

/// Switches the throttle on, and makes the server trust the forwarding headers of local clients. Returns the throttle's
/// clock, which moves only when a test advances it.
pub fn throttling(settings: &mut Settings) -> Clock {
    let clock = Clock::manual();
    settings.core.clock = clock.clone();
    settings.core.login_throttle = true;
    settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    clock
}

impl std::ops::Deref for ThrottledApp {
    type Target = TestApp;

    fn deref(&self) -> &TestApp {
        &self.app
    }
}

/// Logs in with a forwarding header that gives `address` as the client's address.
pub fn log_in_from(server: &Client, address: &str, user: &str, password: &str) -> Response {
    let body = json!({"user": user, "pass": password, "device": "d"});
    server
        .post("/api/auth")
        .header("X-Forwarded-For", address)
        .json(&body)
        .send()
}

/// Logs in, and retries as long as the response is 503. On a busy machine, a 503 can happen at any time. Returns the
/// status of the last response.
fn log_in_when_not_busy(server: &Client, address: &str, user: &str, password: &str) -> u16 {
    wait_for("a login that is not 503", || {
        let status = log_in_from(server, address, user, password).status;
        (status != 503).then_some(status)
    })
}

/// Sends logins at the same time and returns their statuses, sorted.
fn at_once(server: &Client, logins: &[(String, &str, &str)]) -> Vec<u16> {
    let mut statuses: Vec<u16> = std::thread::scope(|scope| {
        let logins = logins.iter().map(|(address, user, password)| {
            scope.spawn(move || log_in_when_not_busy(server, address, user, password))
        });
        let logins: Vec<_> = logins.collect();
        logins.into_iter().map(|response| response.join().unwrap()).collect()
    });
    statuses.sort_unstable();
    statuses
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|found| **found == status).count()
}

const USUAL_NETWORK: &str = "192.0.2.1";
const OTHER_NETWORK: &str = "198.51.100.9";

#[apply(both_databases!)]
fn after_five_failures_even_the_correct_password_is_rejected(backend: Backend) {
    let app = ThrottledApp::on(backend);
    for _ in 0..5 {
        log_in_from(&app, OTHER_NETWORK, ADMIN, "wrong").problem(401);
    }
    let rejected = log_in_from(&app, OTHER_NETWORK, ADMIN, ADMIN_PASSWORD);
    let problem = rejected.problem(429);
    assert_eq!(problem["type"], "https://tools.ietf.org/html/rfc6585#section-4");
    assert!(
        problem["detail"].as_str().unwrap().contains("Try again in 1 s"),
        "{problem}"
    );
    assert_eq!(rejected.header("retry-after").as_deref(), Some("1"));
    assert_eq!(rejected.header("ratelimit").as_deref(), Some(r#""account";r=0;t=1"#));
    assert_eq!(
        rejected.header("ratelimit-policy").as_deref(),
        Some(r#""network";q=20;w=600, "network-56";q=60;w=600, "network-48";q=200;w=600, "account";q=5;w=900"#)
    );
    assert_eq!(
        log_in_from(&app, OTHER_NETWORK, ADMIN, "wrong").status,
        429,
        "a wrong password is rejected, too"
    );
    app.clock.advance(TimeDelta::seconds(1));
    assert_eq!(log_in_from(&app, OTHER_NETWORK, ADMIN, ADMIN_PASSWORD).status, 200);
    log_in_from(&app, USUAL_NETWORK, ADMIN, "wrong").problem(401);
    assert_eq!(
        log_in_from(&app, USUAL_NETWORK, ADMIN, ADMIN_PASSWORD).status,
        200,
        "a successful login clears the failures"
    );
}

#[apply(both_databases!)]
fn the_wait_doubles_with_each_failure(backend: Backend) {
    let app = ThrottledApp::on(backend);
    for _ in 0..5 {
        log_in_from(&app, OTHER_NETWORK, ADMIN, "wrong").problem(401);
    }
    app.clock.advance(TimeDelta::seconds(1));
    log_in_from(&app, OTHER_NETWORK, ADMIN, "wrong").problem(401);
    assert_eq!(
        log_in_from(&app, OTHER_NETWORK, ADMIN, "wrong")
            .header("retry-after")
            .as_deref(),
        Some("2")
    );
}

#[apply(both_databases!)]
fn failures_from_other_networks_do_not_lock_out_a_known_network(backend: Backend) {
    let app = ThrottledApp::on(backend);
    assert_eq!(log_in_from(&app, USUAL_NETWORK, ADMIN, ADMIN_PASSWORD).status, 200);
    let guesses: Vec<_> = (0..40).map(|n| (format!("203.0.113.{n}"), ADMIN, "wrong")).collect();
    let statuses = at_once(&app, &guesses);
    assert_eq!(
        (count(&statuses, 401), count(&statuses, 429)),
        (5, 35),
        "failures from unknown networks are counted together"
    );
    assert_eq!(log_in_from(&app, "203.0.113.77", ADMIN, ADMIN_PASSWORD).status, 429);
    assert_eq!(log_in_from(&app, USUAL_NETWORK, ADMIN, ADMIN_PASSWORD).status, 200);
    assert_eq!(
        log_in_from(&app, "203.0.113.77", ADMIN, ADMIN_PASSWORD).status,
        429,
        "a successful login clears only the failures of its own network"
    );
}

#[apply(both_databases!)]
fn a_network_is_rejected_after_twenty_failures_despite_successes(backend: Backend) {
    let app = ThrottledApp::on(backend);
    app.add_user("bob", "bobs long password");
    for number in 0..20 {
        log_in_from(&app, OTHER_NETWORK, &format!("name {number}"), "wrong").problem(401);
        assert_eq!(
            log_in_from(&app, OTHER_NETWORK, "bob", "bobs long password").status,
            if number < 19 { 200 } else { 429 }
        );
    }
    let rejected = log_in_from(&app, OTHER_NETWORK, "bob", "bobs long password");
    assert_eq!(
        (rejected.status, rejected.header("retry-after").as_deref()),
        (429, Some("600"))
    );
    assert!(rejected.header("ratelimit").unwrap().starts_with(r#""network";r=0;"#));
    assert_eq!(
        log_in_from(&app, USUAL_NETWORK, "bob", "bobs long password").status,
        200
    );
}

#[apply(both_databases!)]
fn of_many_concurrent_wrong_passwords_five_are_checked(backend: Backend) {
    let app = ThrottledApp::on(backend);
    let same: Vec<_> = (0..50).map(|_| (OTHER_NETWORK.to_owned(), ADMIN, "wrong")).collect();
    let statuses = at_once(&app, &same);
    assert_eq!((count(&statuses, 401), count(&statuses, 429)), (5, 45));
}

#[apply(both_databases!)]
fn concurrent_logins_with_the_correct_password_all_succeed(backend: Backend) {
    let app = ThrottledApp::on(backend);
    let same: Vec<_> = (0..12)
        .map(|_| (OTHER_NETWORK.to_owned(), ADMIN, ADMIN_PASSWORD))
        .collect();
    assert_eq!(at_once(&app, &same), [200; 12]);
    let many: Vec<_> = (0..40)
        .map(|_| (OTHER_NETWORK.to_owned(), ADMIN, ADMIN_PASSWORD))
        .collect();
    assert_eq!(at_once(&app, &many), [200; 40]);
}

#[apply(both_databases!)]
fn failures_of_unknown_users_are_counted(backend: Backend) {
    let app = ThrottledApp::on(backend);
    for _ in 0..5 {
        log_in_from(&app, OTHER_NETWORK, "NOBODY ", "wrong").problem(401);
    }
    assert_eq!(log_in_from(&app, USUAL_NETWORK, "nobody", "wrong").status, 429);
    assert_eq!(log_in_from(&app, USUAL_NETWORK, ADMIN, ADMIN_PASSWORD).status, 200);
}

#[apply(both_databases!)]
fn failures_on_two_nodes_count_together(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut settings = database.server_settings();
    throttling(&mut settings);
    let (one, two) = (Server::start(settings.clone()), Server::start(settings));
    for number in 0..5 {
        let node = if number % 2 == 0 { &one } else { &two };
        log_in_from(node, OTHER_NETWORK, ADMIN, "wrong").problem(401);
    }
    assert_eq!(log_in_from(&one, OTHER_NETWORK, ADMIN, ADMIN_PASSWORD).status, 429);
    assert_eq!(log_in_from(&two, OTHER_NETWORK, ADMIN, ADMIN_PASSWORD).status, 429);
}

#[apply(both_databases!)]
fn forwarding_headers_of_untrusted_peers_are_ignored(backend: Backend) {
    let app = TestApp::with(backend, |settings| {
        throttling(settings);
        settings.trusted_proxies.clear();
    });
    let guesses: Vec<_> = (0..30).map(|n| (format!("203.0.113.{n}"), "nobody", "wrong")).collect();
    let statuses = at_once(&app, &guesses);
    assert_eq!((count(&statuses, 401), count(&statuses, 429)), (5, 25));
    for number in 0..15 {
        log_in_from(&app, &format!("203.0.113.{number}"), &format!("name {number}"), "wrong").problem(401);
    }
    assert_eq!(
        log_in_from(&app, USUAL_NETWORK, ADMIN, ADMIN_PASSWORD).status,
        429,
        "all requests count for one network, whatever their headers contain"
    );
}

#[apply(both_databases!)]
fn the_throttle_can_be_switched_off(backend: Backend) {
    let app = TestApp::on(backend);
    for _ in 0..8 {
        assert_eq!(app.log_in(ADMIN, "wrong", "d").status, 401);
    }
    assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, "d").status, 200);
}

#[apply(both_databases!)]
fn failures_of_every_login_route_count_together(backend: Backend) {
    let app = TestApp::with(backend, |settings| {
        throttling(settings);
        settings.v1_login = true;
    });
    log_in_from(&app, OTHER_NETWORK, ADMIN, "wrong").problem(401);
    let sign_in = |password: &str| {
        let body = json!({"User": ADMIN, "Password": password, "Device": "d"});
        app.post("/api/v3/Auth/SignIn")
            .header("X-Forwarded-For", OTHER_NETWORK)
            .json(&body)
            .send()
    };
    let desktop = |password: &str| {
        let request = app.post("/v1/User/default").header("X-Forwarded-For", OTHER_NETWORK);
        request
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(format!("password={password}"))
            .send()
    };
    for _ in 0..2 {
        sign_in("wrong").problem(401);
        assert_eq!(desktop("wrong").status, 204);
    }
    sign_in(ADMIN_PASSWORD).problem(429);
    desktop(ADMIN_PASSWORD).problem(429);
    let body = json!("a new password");
    let key = app.post("/api/v3/api/auth").header("X-Forwarded-For", OTHER_NETWORK);
    key.json(&json!({"user": ADMIN, "pass": ADMIN_PASSWORD, "device": "d"}))
        .send()
        .problem(429);
    app.post("/api/auth/ChangePassword").json(&body).send().problem(401);
}

#[apply(both_databases!)]
fn unlocking_or_deleting_a_user_does_not_disturb_their_concurrent_logins(backend: Backend) {
    let app = TestApp::with(backend, |settings| {
        throttling(settings);
        settings.core.pbkdf2_rounds = 100_000;
    });
    for name in ["carl", "eve"] {
        app.add_user(name, "a long password");
    }
    std::thread::scope(|scope| {
        let logins: Vec<_> = (0..24)
            .map(|_| (OTHER_NETWORK.to_owned(), "carl", "a long password"))
            .collect();
        let app = &app;
        let logins = scope.spawn(move || at_once(app, &logins));
        while !logins.is_finished() {
            assert!(app.database.run(&["user", "unlock", "carl"], "").status.success());
        }
        assert_eq!(logins.join().unwrap(), [200; 24]);
    });
    let succeeded = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let status = log_in_when_not_busy(&app, USUAL_NETWORK, "eve", "a long password");
                assert!([200, 401].contains(&status), "{status}");
                succeeded.fetch_add(u32::from(status == 200), Ordering::Relaxed);
            });
        }
        wait_until("the first login succeeds", || succeeded.load(Ordering::Relaxed) > 0);
        assert!(app.database.run(&["user", "delete", "eve"], "").status.success());
    });
    log_in_from(&app, USUAL_NETWORK, "eve", "a long password").problem(401);
}

#[apply(both_databases!)]
fn logins_whose_connection_is_reset_are_counted(backend: Backend) {
    let app = TestApp::with(backend, |settings| {
        throttling(settings);
        settings.trusted_proxies.clear();
    });
    let address = app.address().to_owned();
    let body = r#"{"user":"nobody","pass":"wrong","device":"d"}"#;
    let head = "POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length:";
    for _ in 0..40 {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream
            .write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes())
            .unwrap();
        // With a linger time of zero, closing the connection resets it.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
        // This request gives the server time to begin the login.
        assert_eq!(app.get("/health/live").send().status, 200);
    }
    let others = [(); 6].map(|()| log_in_when_not_busy(&app, USUAL_NETWORK, "nobody", "wrong"));
    assert_eq!(others[5], 429, "{others:?}");
    wait_until("no login is pending", || {
        app.database
            .texts("SELECT CAST(pending AS TEXT) AS text FROM login_failures WHERE pending > 0")
            .is_empty()
    });
    assert_eq!(
        app.database
            .texts("SELECT CAST(failures AS TEXT) AS text FROM login_failures WHERE length(account) = 32"),
        ["5"]
    );
    let of_network = "FROM login_failures WHERE length(account) = 0";
    let others = match backend {
        Backend::Postgres => {
            format!(r"SELECT encode(network, 'hex') AS text {of_network} AND network <> '\x207f000001'")
        }
        Backend::Sqlite => format!("SELECT hex(network) AS text {of_network} AND network <> x'207f000001'"),
    };
    assert!(
        app.database.texts(&others).is_empty(),
        "all failures count for 127.0.0.1/32"
    );
}

#[apply(both_databases!)]
fn the_command_line_lists_and_unlocks_throttled_users(backend: Backend) {
    let app = ThrottledApp::on(backend);
    for _ in 0..5 {
        log_in_from(&app, OTHER_NETWORK, ADMIN, "wrong").problem(401);
    }
    app.clock.advance(TimeDelta::hours(1));
    log_in_from(&app, OTHER_NETWORK, ADMIN, "wrong").problem(401);
    let throttled_until = || {
        let list: Value = serde_json::from_slice(&app.database.run(&["user", "list", "--json"], "").stdout).unwrap();
        list[0]["throttledUntil"].clone()
    };
    assert!(
        throttled_until().as_str().unwrap().ends_with('Z'),
        "{}",
        throttled_until()
    );
    assert_eq!(log_in_from(&app, OTHER_NETWORK, ADMIN, ADMIN_PASSWORD).status, 429);
    assert!(app.database.run(&["user", "unlock", "default"], "").status.success());
    assert_eq!(throttled_until(), Value::Null);
    assert_eq!(log_in_from(&app, OTHER_NETWORK, ADMIN, ADMIN_PASSWORD).status, 200);
    assert_eq!(
        app.database.run(&["user", "unlock", "nobody"], "").status.code(),
        Some(1)
    );
}
