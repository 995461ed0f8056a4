use chrono::TimeDelta;
use shoko_auth::auth::Auth;
use shoko_auth::model::name_digest;
use test_support::wait::{wait_for, wait_until};
use test_support::{Backend, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp};
use crate::throttle::{log_in_from, throttling};

/// Returns an SQL literal of bytes in hex.
fn bytes(backend: Backend, hex: &str) -> String {
    match backend {
        Backend::Postgres => format!(r"'\x{hex}'"),
        Backend::Sqlite => format!("x'{hex}'"),
    }
}

fn admin_digest() -> String {
    name_digest(ADMIN)
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

#[apply(both_databases!)]
fn an_ipv6_56_is_throttled_after_60_failures_and_a_48_after_200(backend: Backend) {
    let mut clock = None;
    let app = TestApp::with(backend, |settings| clock = Some(throttling(settings)));
    let clock = clock.unwrap();
    // Each name and each /64 fails once.
    let fail = |subnet: usize, number: usize| {
        let address = format!("2001:db8:1:{subnet:02x}{number:02x}::1");
        log_in_from(&app, &address, &format!("name {subnet} {number}"), "wrong")
    };
    for number in 0..60 {
        fail(0, number).problem(401);
    }
    let rejected = fail(0, 60);
    rejected.problem(429);
    assert_eq!(
        rejected.header("ratelimit").as_deref(),
        Some(r#""network-56";r=0;t=600"#)
    );
    for number in 0..140 {
        fail(1 + number / 50, number % 50).problem(401);
    }
    let rejected = fail(9, 0);
    rejected.problem(429);
    assert_eq!(
        rejected.header("ratelimit").as_deref(),
        Some(r#""network-48";r=0;t=600"#)
    );
    assert_eq!(log_in_from(&app, "2001:db8:2::1", ADMIN, ADMIN_PASSWORD).status, 200);
    clock.advance(TimeDelta::minutes(10));
    fail(9, 0).problem(401);
}

#[apply(both_databases!)]
fn a_count_has_the_same_size_for_every_name(backend: Backend) {
    let app = TestApp::with(backend, |settings| drop(throttling(settings)));
    for name in ["x".to_owned(), "\u{20000}".repeat(255)] {
        log_in_from(&app, "192.0.2.1", &name, "wrong").problem(401);
    }
    let lengths = app
        .database
        .texts("SELECT CAST(length(account) AS TEXT) AS text FROM login_failures WHERE length(account) > 0");
    assert_eq!(lengths, ["32", "32"]);
}

#[apply(both_databases!)]
fn stale_counts_are_deleted_and_others_are_kept(backend: Backend) {
    let mut clock = None;
    let mut core = None;
    let app = TestApp::with(backend, |settings| {
        clock = Some(throttling(settings));
        core = Some(settings.core.clone());
    });
    let (clock, auth) = (clock.unwrap(), Auth::open(&core.unwrap()).unwrap());
    log_in_from(&app, "2001:db8::1", "nobody", "wrong").problem(401);
    let counts = || {
        let sql = "SELECT CAST(length(account) AS TEXT) AS text FROM login_failures ORDER BY 1";
        app.database.texts(sql)
    };
    assert_eq!(counts(), ["0", "0", "0", "32"]);
    clock.advance(TimeDelta::minutes(9));
    while auth.delete_stale_failures().unwrap() {}
    assert_eq!(counts().len(), 4);
    clock.advance(TimeDelta::minutes(3));
    while auth.delete_stale_failures().unwrap() {}
    assert_eq!(counts(), ["32"]);
    clock.advance(TimeDelta::days(1));
    while auth.delete_stale_failures().unwrap() {}
    assert!(counts().is_empty());
}

#[apply(both_databases!)]
fn a_new_network_replaces_the_least_recently_used_known_network(backend: Backend) {
    let mut clock = None;
    let app = TestApp::with(backend, |settings| clock = Some(throttling(settings)));
    let clock = clock.unwrap();
    app.add_user("bob", "bobs long password");
    let log_in = |address: &str| log_in_from(&app, address, ADMIN, ADMIN_PASSWORD).status;
    let address = |number: usize| format!("198.51.100.{number}");
    let known = |user_id: i32| {
        app.database.texts(&format!(
            "SELECT network AS text FROM known_networks WHERE user_id = {user_id} ORDER BY last_login_at"
        ))
    };
    assert_eq!(log_in_from(&app, "192.0.2.1", "bob", "bobs long password").status, 200);
    for number in 0..100 {
        assert_eq!(log_in(&address(number)), 200);
        clock.advance(TimeDelta::seconds(1));
    }
    // A login from the first network a day later makes the second one the least recently used.
    clock.advance(TimeDelta::days(1));
    assert_eq!(log_in(&address(0)), 200);
    assert_eq!(known(1).len(), 100, "a known network replaces no other");
    clock.advance(TimeDelta::seconds(1));
    assert_eq!(log_in("192.0.2.2"), 200);
    let networks = known(1);
    assert_eq!(networks.len(), 100);
    assert_eq!(networks.first().unwrap(), "198.51.100.2/32");
    assert_eq!(networks[98..], ["198.51.100.0/32", "192.0.2.2/32"]);
    assert_eq!(known(2), ["192.0.2.1/32"], "other users keep their known networks");
    // The replaced network shares the count of all unknown networks again.
    for _ in 0..5 {
        log_in_from(&app, "203.0.113.1", ADMIN, "wrong").problem(401);
    }
    assert_eq!(log_in(&address(1)), 429);
    assert_eq!(log_in(&address(2)), 200);
}

#[apply(both_databases!)]
fn known_networks_beyond_the_limit_are_deleted_by_the_next_login_from_a_new_one(backend: Backend) {
    let mut clock = None;
    let app = TestApp::with(backend, |settings| clock = Some(throttling(settings)));
    let now = clock.unwrap().now().format("%Y-%m-%d %H:%M:%S");
    // An older version stored any number of networks. All have the same time, so only the new one is certain to stay.
    let rows: Vec<_> = (0..300)
        .map(|n| format!("(1, '2001:db8:1:{n:x}::/64', '{now}')"))
        .collect();
    app.database.execute(&format!(
        "INSERT INTO known_networks (user_id, network, last_login_at) VALUES {}",
        rows.join(", ")
    ));
    assert_eq!(log_in_from(&app, "2001:db8:2::1", ADMIN, ADMIN_PASSWORD).status, 200);
    let known = app
        .database
        .texts("SELECT network AS text FROM known_networks ORDER BY network");
    assert_eq!(known.len(), 100);
    assert_eq!(known.last().unwrap(), "2001:db8:2::/64");
}

/// Inserts five attempts of the administrator that another node has recorded and not settled.
fn occupy(app: &TestApp, now: i64) {
    let account = bytes(app.database.backend, &admin_digest());
    let none = bytes(app.database.backend, "");
    let values = format!("{now}, {now}, 0, 5, 2147483647, {account}, {none}");
    app.database.execute(&format!(
        "INSERT INTO login_failures (failed_at, pending_at, failures, pending, stale_minute, account, network)
         VALUES ({values})"
    ));
}

#[apply(both_databases!)]
fn waiting_attempts_continue_when_another_node_settles_its_attempts(backend: Backend) {
    for (settled, expected) in [("pending = 0", 200), ("pending = 0, failures = 20", 429)] {
        let mut clock = None;
        let app = TestApp::with(backend, |settings| clock = Some(throttling(settings)));
        let now = clock.unwrap().now().and_utc().timestamp_micros();
        occupy(&app, now);
        std::thread::scope(|scope| {
            let log_in = || {
                wait_for("a login that is not 503", || {
                    let status = log_in_from(&app, "192.0.2.1", ADMIN, ADMIN_PASSWORD).status;
                    (status != 503).then_some(status)
                })
            };
            let logins: Vec<_> = (0..20).map(|_| scope.spawn(log_in)).collect();
            assert!(
                logins.iter().all(|login| !login.is_finished()),
                "none is checked before"
            );
            app.database.execute(&format!(
                "UPDATE login_failures SET {settled} WHERE length(account) = 32"
            ));
            for login in logins {
                assert_eq!(login.join().unwrap(), expected);
            }
        });
        wait_until("no attempt is pending", || {
            let sql = "SELECT CAST(pending AS TEXT) AS text FROM login_failures WHERE pending > 0";
            app.database.texts(sql).is_empty()
        });
    }
}
