use chrono::TimeDelta;
use serde_json::{Value, json};
use shoko_auth::auth::Auth;
use shoko_auth::clock::Clock;
use shoko_auth::model::{Acceptance, RequestContext};
use shoko_auth::secret::key::Key;
use test_support::wait::wait_until;
use test_support::{Backend, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp, UseDatabase};
use crate::throttle::{log_in_from, throttling};

const HOME: &str = "192.0.2.1";
const ELSEWHERE: &str = "198.51.100.9";

/// Starts a server on `backend` with the throttle on. Also returns its clock.
fn throttled_app(backend: Backend) -> (TestApp, Clock) {
    let mut clock = None;
    let app = TestApp::with(backend, |settings| clock = Some(throttling(settings)));
    (app, clock.unwrap())
}

fn retry_after(app: &TestApp, address: &str, user: &str) -> Option<u64> {
    let response = log_in_from(app, address, user, ADMIN_PASSWORD);
    let header = response.header("retry-after");
    assert_eq!(response.status == 429, header.is_some(), "{}", response.status);
    header.map(|seconds| seconds.parse().unwrap())
}

#[apply(both_databases!)]
fn after_a_clock_was_ahead_no_wait_is_longer_than_usual(backend: Backend) {
    for ahead in [TimeDelta::minutes(2), TimeDelta::days(3), TimeDelta::days(4000)] {
        let (app, clock) = throttled_app(backend);
        clock.advance(ahead);
        for number in 0..20 {
            log_in_from(&app, ELSEWHERE, &format!("name {number}"), "wrong").problem(401);
        }
        for _ in 0..5 {
            log_in_from(&app, HOME, ADMIN, "wrong").problem(401);
        }
        clock.advance(-ahead);
        assert_eq!(retry_after(&app, ELSEWHERE, "bob"), Some(600), "{ahead}");
        assert_eq!(retry_after(&app, HOME, ADMIN), Some(1), "{ahead}");
        clock.advance(TimeDelta::seconds(1));
        assert_eq!(retry_after(&app, ELSEWHERE, "bob"), Some(599), "{ahead}");
        assert_eq!(log_in_from(&app, HOME, ADMIN, ADMIN_PASSWORD).status, 200, "{ahead}");
        clock.advance(TimeDelta::seconds(599));
        assert_eq!(
            log_in_from(&app, ELSEWHERE, ADMIN, ADMIN_PASSWORD).status,
            200,
            "{ahead}"
        );
    }
}

#[apply(both_databases!)]
fn attempts_that_were_abandoned_while_the_clock_was_ahead_become_failures(backend: Backend) {
    let (app, clock) = throttled_app(backend);
    clock.advance(TimeDelta::days(3));
    log_in_from(&app, HOME, ADMIN, "wrong").problem(401);
    app.database
        .execute("UPDATE login_failures SET pending = 5 WHERE length(account) > 0");
    clock.advance(TimeDelta::days(-3));
    let latest = || {
        let sql = "SELECT CAST(max(pending_at) AS TEXT) AS text FROM login_failures";
        app.database.texts(sql)[0].parse::<i64>().unwrap()
    };
    std::thread::scope(|scope| {
        let login = scope.spawn(|| log_in_from(&app, HOME, ADMIN, ADMIN_PASSWORD).status);
        let now = clock.now().and_utc().timestamp_micros();
        wait_until("the waiting attempt corrects the times", || latest() <= now);
        clock.advance(TimeDelta::seconds(15));
        assert_eq!(login.join().unwrap(), 200, "15 seconds are longer than the wait");
    });
}

#[apply(both_databases!)]
fn counts_from_a_clock_that_was_ahead_are_deleted_after_a_day(backend: Backend) {
    let mut settings = None;
    let app = TestApp::with(backend, |changed| {
        throttling(changed);
        settings = Some(changed.core.clone());
    });
    let core = settings.unwrap();
    let auth = Auth::open(&core).unwrap();
    core.clock.advance(TimeDelta::days(4000));
    log_in_from(&app, HOME, "nobody", "wrong").problem(401);
    core.clock.advance(TimeDelta::days(-4000));
    let counts = || app.database.texts("SELECT 'count' AS text FROM login_failures").len();
    while auth.delete_stale_failures().unwrap() {}
    assert_eq!(counts(), 2);
    core.clock.advance(TimeDelta::days(1) + TimeDelta::minutes(2));
    while auth.delete_stale_failures().unwrap() {}
    assert_eq!(counts(), 0);
}

#[apply(both_databases!)]
fn times_of_uses_and_logins_from_a_clock_that_was_ahead_are_replaced(backend: Backend) {
    let mut settings = None;
    let app = TestApp::with(backend, |changed| {
        throttling(changed);
        settings = Some(changed.core.clone());
    });
    let core = settings.unwrap();
    let key = log_in_from(&app, HOME, ADMIN, ADMIN_PASSWORD).json()["apikey"]
        .as_str()
        .unwrap()
        .to_owned();
    let ahead = match backend {
        Backend::Sqlite => "'2999-01-01 00:00:00.000000'",
        Backend::Postgres => "'2999-01-01'",
    };
    app.database.execute(&format!(
        "UPDATE known_networks SET last_login_at = {ahead}; UPDATE api_keys SET last_used_at = {ahead}"
    ));
    let auth = Auth::open(&core).unwrap();
    assert!(
        auth.verify(
            &[Key::parse(&key).unwrap()],
            &Acceptance::FullKeys,
            &RequestContext::default()
        )
        .unwrap()
        .is_some()
    );
    assert_eq!(auth.flush_last_used().unwrap(), 1);
    assert_eq!(log_in_from(&app, HOME, ADMIN, ADMIN_PASSWORD).status, 200);
    let today = core.clock.now().date().to_string();
    for sql in [
        "SELECT CAST(last_login_at AS TEXT) AS text FROM known_networks",
        "SELECT CAST(last_used_at AS TEXT) AS text FROM api_keys",
    ] {
        let time = &app.database.texts(sql)[0];
        assert!(time.starts_with(&today), "{time}");
    }
}

#[apply(both_databases!)]
fn the_command_line_lists_and_clears_waiting_networks_and_users(backend: Backend) {
    let (app, _clock) = throttled_app(backend);
    let run = |arguments: &[&str]| {
        let output = app.database.run(arguments, "");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let list = || serde_json::from_str::<Value>(&run(&["throttle", "list", "--json"])).unwrap();
    assert_eq!(list(), json!({"waits": [], "unknownNames": 0}));
    for number in 0..20 {
        log_in_from(&app, "2001:db8:1:2::3", &format!("name {number}"), "wrong").problem(401);
    }
    app.database
        .execute("UPDATE login_failures SET failures = 15 WHERE length(account) > 0");
    for number in 0..9 {
        log_in_from(&app, &format!("203.0.113.{number}"), ADMIN, "wrong");
    }
    app.database
        .execute("UPDATE login_failures SET failures = 15 WHERE failures BETWEEN 5 AND 15");
    let found = list();
    assert_eq!(found["unknownNames"], 20);
    let waits = found["waits"].as_array().unwrap();
    let shown: Vec<_> = waits
        .iter()
        .map(|wait| (wait["user"].as_str(), wait["network"].as_str()))
        .collect();
    assert_eq!(shown, [(Some(ADMIN), None), (None, Some("2001:db8:1:2::/64"))]);
    assert!(waits.iter().all(|wait| wait["until"].as_str().unwrap().ends_with('Z')));
    let table = run(&["throttle", "list"]);
    assert!(table.contains(ADMIN) && table.contains("2001:db8:1:2::/64"), "{table}");
    assert!(
        table.ends_with("Names that no user has, and that have to wait: 20.\n"),
        "{table}"
    );

    assert_eq!(retry_after(&app, "2001:db8:1:2::9", "bob"), Some(600));
    run(&["throttle", "clear", "--network", "2001:db8:1:2::/64"]);
    log_in_from(&app, "2001:db8:1:2::9", "bob", "wrong").problem(401);
    assert_eq!(retry_after(&app, HOME, ADMIN), Some(900));
    run(&["throttle", "clear", "--all"]);
    assert_eq!(list(), json!({"waits": [], "unknownNames": 0}));
    assert_eq!(log_in_from(&app, HOME, ADMIN, ADMIN_PASSWORD).status, 200);
    for wrong in [
        &["throttle", "clear"][..],
        &["throttle", "clear", "--network", "10.0.0.0/8"],
    ] {
        assert_eq!(app.database.run(wrong, "").status.code(), Some(2));
    }
}
