use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};
use shoko_auth::clock::Clock;
use shoko_auth::settings::Settings;
use socket2::SockRef;

use crate::support::{
    ADMIN, ADMIN_PASSWORD, Answer, Backend, Client, Server, TestApp, TestDatabase, on_both_databases,
};
use crate::wait::{wait_for, wait_until};

/// A server that throttles by a clock that stands still, and trusts the addresses that local clients claim.
struct Throttling {
    app: TestApp,
    clock: Clock,
}

impl Throttling {
    fn on(backend: Backend) -> Self {
        let mut clock = None;
        let app = TestApp::with(backend, |settings| clock = Some(throttling(settings)));
        let clock = clock.expect("the settings were changed");
        Self { app, clock }
    }
}

/// Switches the throttle on, and returns the clock that it reads.
pub fn throttling(settings: &mut Settings) -> Clock {
    let clock = Clock::manual();
    settings.core.clock = clock.clone();
    settings.core.login_throttle = true;
    settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    clock
}

impl std::ops::Deref for Throttling {
    type Target = TestApp;

    fn deref(&self) -> &TestApp {
        &self.app
    }
}

/// A login from an address.
fn log_in_from(server: &Client, address: &str, user: &str, password: &str) -> Answer {
    let body = json!({"user": user, "pass": password, "device": "d"});
    server
        .post("/api/auth")
        .header("X-Forwarded-For", address)
        .json(&body)
        .send()
}

/// Logs in again for as long as the server says that it is busy, which it may say at any time on a busy machine. Returns
/// the status of the last response.
fn log_in_when_not_busy(server: &Client, address: &str, user: &str, password: &str) -> u16 {
    wait_for("the server is not busy", || {
        let status = log_in_from(server, address, user, password).status;
        (status != 503).then_some(status)
    })
}

/// The statuses of many logins that are sent at once, sorted.
fn at_once(server: &Client, tries: &[(String, &str, &str)]) -> Vec<u16> {
    let mut statuses: Vec<u16> = std::thread::scope(|scope| {
        let tries = tries.iter().map(|(address, user, password)| {
            scope.spawn(move || log_in_when_not_busy(server, address, user, password))
        });
        let tries: Vec<_> = tries.collect();
        tries.into_iter().map(|answer| answer.join().unwrap()).collect()
    });
    statuses.sort_unstable();
    statuses
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|found| **found == status).count()
}

const OWNER: &str = "192.0.2.1";
const STRANGER: &str = "198.51.100.9";

on_both_databases! {
    fn after_five_wrong_passwords_the_right_one_has_to_wait_too(app: Throttling) {
        for _ in 0..5 {
            log_in_from(&app, STRANGER, ADMIN, "wrong").problem(401);
        }
        let refused = log_in_from(&app, STRANGER, ADMIN, ADMIN_PASSWORD);
        let problem = refused.problem(429);
        assert_eq!(problem["type"], "https://tools.ietf.org/html/rfc6585#section-4");
        assert!(problem["detail"].as_str().unwrap().contains("Try again in 1 s"), "{problem}");
        assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
        assert_eq!(refused.header("ratelimit").as_deref(), Some(r#""account";r=0;t=1"#));
        assert_eq!(refused.header("ratelimit-policy").as_deref(), Some(r#""network";q=20;w=600, "account";q=5;w=900"#));
        assert_eq!(log_in_from(&app, STRANGER, ADMIN, "wrong").status, 429, "the same for a wrong one");
        app.clock.advance(TimeDelta::seconds(1));
        assert_eq!(log_in_from(&app, STRANGER, ADMIN, ADMIN_PASSWORD).status, 200);
        log_in_from(&app, OWNER, ADMIN, "wrong").problem(401);
        assert_eq!(log_in_from(&app, OWNER, ADMIN, ADMIN_PASSWORD).status, 200, "a success has cleared the count");
    }

    fn the_wait_doubles_with_each_failure(app: Throttling) {
        for _ in 0..5 {
            log_in_from(&app, STRANGER, ADMIN, "wrong").problem(401);
        }
        app.clock.advance(TimeDelta::seconds(1));
        log_in_from(&app, STRANGER, ADMIN, "wrong").problem(401);
        assert_eq!(log_in_from(&app, STRANGER, ADMIN, "wrong").header("retry-after").as_deref(), Some("2"));
    }

    fn strangers_do_not_keep_out_who_has_logged_in_from_his_network(app: Throttling) {
        assert_eq!(log_in_from(&app, OWNER, ADMIN, ADMIN_PASSWORD).status, 200);
        let guesses: Vec<_> = (0..40).map(|n| (format!("203.0.113.{n}"), ADMIN, "wrong")).collect();
        let statuses = at_once(&app, &guesses);
        assert_eq!((count(&statuses, 401), count(&statuses, 429)), (5, 35), "all strangers count together");
        assert_eq!(log_in_from(&app, "203.0.113.77", ADMIN, ADMIN_PASSWORD).status, 429);
        assert_eq!(log_in_from(&app, OWNER, ADMIN, ADMIN_PASSWORD).status, 200);
        assert_eq!(log_in_from(&app, "203.0.113.77", ADMIN, ADMIN_PASSWORD).status, 429, "that cleared his count alone");
    }

    fn a_network_may_fail_twenty_times_whatever_it_gets_right_between(app: Throttling) {
        app.add_user("bob", "bobs long password");
        for number in 0..20 {
            log_in_from(&app, STRANGER, &format!("name {number}"), "wrong").problem(401);
            assert_eq!(log_in_from(&app, STRANGER, "bob", "bobs long password").status, if number < 19 { 200 } else { 429 });
        }
        let refused = log_in_from(&app, STRANGER, "bob", "bobs long password");
        assert_eq!((refused.status, refused.header("retry-after").as_deref()), (429, Some("600")));
        assert!(refused.header("ratelimit").unwrap().starts_with(r#""network";r=0;"#));
        assert_eq!(log_in_from(&app, OWNER, "bob", "bobs long password").status, 200);
    }

    fn of_many_wrong_guesses_at_once_five_are_checked(app: Throttling) {
        let same: Vec<_> = (0..50).map(|_| (STRANGER.to_owned(), ADMIN, "wrong")).collect();
        let statuses = at_once(&app, &same);
        assert_eq!((count(&statuses, 401), count(&statuses, 429)), (5, 45));
    }

    fn of_many_right_logins_at_once_all_succeed(app: Throttling) {
        let same: Vec<_> = (0..12).map(|_| (STRANGER.to_owned(), ADMIN, ADMIN_PASSWORD)).collect();
        assert_eq!(at_once(&app, &same), [200; 12]);
        let many: Vec<_> = (0..40).map(|_| (STRANGER.to_owned(), ADMIN, ADMIN_PASSWORD)).collect();
        assert_eq!(at_once(&app, &many), [200; 40]);
    }

    fn names_that_nobody_has_are_counted_alike(app: Throttling) {
        for _ in 0..5 {
            log_in_from(&app, STRANGER, "NOBODY ", "wrong").problem(401);
        }
        assert_eq!(log_in_from(&app, OWNER, "nobody", "wrong").status, 429);
        assert_eq!(log_in_from(&app, OWNER, ADMIN, ADMIN_PASSWORD).status, 200);
    }

    fn two_nodes_count_together(database: TestDatabase) {
        let mut settings = database.server_settings();
        throttling(&mut settings);
        let (one, two) = (Server::start(settings.clone()), Server::start(settings));
        for number in 0..5 {
            let node = if number % 2 == 0 { &one } else { &two };
            log_in_from(node, STRANGER, ADMIN, "wrong").problem(401);
        }
        assert_eq!(log_in_from(&one, STRANGER, ADMIN, ADMIN_PASSWORD).status, 429);
        assert_eq!(log_in_from(&two, STRANGER, ADMIN, ADMIN_PASSWORD).status, 429);
    }

    fn a_header_of_somebody_who_is_no_proxy_changes_nothing(backend: Backend) {
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
        assert_eq!(log_in_from(&app, OWNER, ADMIN, ADMIN_PASSWORD).status, 429, "all of them are one network");
    }

    fn it_can_be_switched_off(app: TestApp) {
        for _ in 0..8 {
            assert_eq!(app.log_in(ADMIN, "wrong", "d").status, 401);
        }
        assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, "d").status, 200);
    }

    fn every_way_to_log_in_is_counted(backend: Backend) {
        let app = TestApp::with(backend, |settings| {
            throttling(settings);
            settings.v1_login = true;
        });
        log_in_from(&app, STRANGER, ADMIN, "wrong").problem(401);
        let sign_in = |password: &str| {
            let body = json!({"User": ADMIN, "Password": password, "Device": "d"});
            app.post("/api/v3/Auth/SignIn").header("X-Forwarded-For", STRANGER).json(&body).send()
        };
        let desktop = |password: &str| {
            let request = app.post("/v1/User/default").header("X-Forwarded-For", STRANGER);
            request.header("Content-Type", "application/x-www-form-urlencoded").body(format!("password={password}")).send()
        };
        for _ in 0..2 {
            sign_in("wrong").problem(401);
            assert_eq!(desktop("wrong").status, 204);
        }
        sign_in(ADMIN_PASSWORD).problem(429);
        desktop(ADMIN_PASSWORD).problem(429);
        let body = json!("a new password");
        let key = app.post("/api/v3/api/auth").header("X-Forwarded-For", STRANGER);
        key.json(&json!({"user": ADMIN, "pass": ADMIN_PASSWORD, "device": "d"})).send().problem(429);
        app.post("/api/auth/ChangePassword").json(&body).send().problem(401);
    }

    fn who_is_unlocked_or_deleted_meanwhile_is_answered_as_always(backend: Backend) {
        let app = TestApp::with(backend, |settings| {
            throttling(settings);
            settings.core.pbkdf2_rounds = 300_000;
        });
        for name in ["carl", "eve"] {
            app.add_user(name, "a long password");
        }
        std::thread::scope(|scope| {
            let tries: Vec<_> = (0..60).map(|_| (STRANGER.to_owned(), "carl", "a long password")).collect();
            let app = &app;
            let logins = scope.spawn(move || at_once(app, &tries));
            while !logins.is_finished() {
                assert!(app.database.run(&["user", "unlock", "carl"], "").status.success());
            }
            assert_eq!(logins.join().unwrap(), [200; 60]);
        });
        let succeeded = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let status = log_in_when_not_busy(&app, OWNER, "eve", "a long password");
                    assert!([200, 401].contains(&status), "{status}");
                    succeeded.fetch_add(u32::from(status == 200), Ordering::Relaxed);
                });
            }
            wait_until("the first login succeeds", || succeeded.load(Ordering::Relaxed) > 0);
            assert!(app.database.run(&["user", "delete", "eve"], "").status.success());
        });
        log_in_from(&app, OWNER, "eve", "a long password").problem(401);
    }

    fn who_resets_the_connection_is_counted_like_anybody(backend: Backend) {
        let app = TestApp::with(backend, |settings| {
            throttling(settings);
            settings.trusted_proxies.clear();
        });
        let address = app.url.trim_start_matches("http://").to_owned();
        let body = r#"{"user":"nobody","pass":"wrong","device":"d"}"#;
        let head = "POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length:";
        for _ in 0..40 {
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
            // What has not been read when a connection is closed makes it a reset.
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            drop(stream);
            // While this is answered, the server may begin the login.
            assert_eq!(app.get("/health/live").send().status, 200);
        }
        let others = [(); 6].map(|()| log_in_when_not_busy(&app, OWNER, "nobody", "wrong"));
        assert_eq!(others[5], 429, "{others:?}");
        wait_until("no login is pending", || app.database.texts("SELECT account AS text FROM login_failures WHERE pending > 0").is_empty());
        assert_eq!(app.database.texts("SELECT CAST(failures AS TEXT) AS text FROM login_failures WHERE account <> ''"), ["5"]);
        let networks = app.database.texts("SELECT network AS text FROM login_failures WHERE account = ''");
        assert!(networks.iter().all(|network| network == "127.0.0.1/32"), "{networks:?}");
    }

    fn the_command_line_shows_who_has_to_wait_and_can_end_it(app: Throttling) {
        for _ in 0..5 {
            log_in_from(&app, STRANGER, ADMIN, "wrong").problem(401);
        }
        app.clock.advance(TimeDelta::hours(1));
        log_in_from(&app, STRANGER, ADMIN, "wrong").problem(401);
        let throttled_until = || {
            let list: Value = serde_json::from_slice(&app.database.run(&["user", "list", "--json"], "").stdout).unwrap();
            list[0]["throttledUntil"].clone()
        };
        assert!(throttled_until().as_str().unwrap().ends_with('Z'), "{}", throttled_until());
        assert_eq!(log_in_from(&app, STRANGER, ADMIN, ADMIN_PASSWORD).status, 429);
        assert!(app.database.run(&["user", "unlock", "default"], "").status.success());
        assert_eq!(throttled_until(), Value::Null);
        assert_eq!(log_in_from(&app, STRANGER, ADMIN, ADMIN_PASSWORD).status, 200);
        assert_eq!(app.database.run(&["user", "unlock", "nobody"], "").status.code(), Some(1));
    }
}
