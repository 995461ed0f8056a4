use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use shoko_auth::auth::Auth;
use shoko_auth::clock::Clock;
use test_support::database::SEALING_SECRET;
use test_support::{Backend, TestDatabase, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, Server, TestApp, UseDatabase, program};

/// Returns a PostgreSQL database whose clock a test can set, and the value of `DATABASE_URL` with which sessions see
/// this clock.
fn database_with_clock() -> (TestDatabase, String) {
    let database = TestDatabase::create(Backend::Postgres);
    set_ahead(&database, "0");
    // Other sessions look up functions in `pg_catalog` first. PgBouncer rejects `options`.
    let url = format!("{}?options=-c%20search_path%3Dpublic,pg_catalog", database.direct_url());
    (database, url)
}

/// Sets the clock that `clock_timestamp()` reads ahead.
fn set_ahead(database: &TestDatabase, interval: &str) {
    database.execute(&format!(
        "CREATE OR REPLACE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE SQL
         RETURN pg_catalog.clock_timestamp() + interval '{interval}'"
    ));
}

/// Issues a key that expires after `lifetime`, and returns its text and how many minutes remain by the machine's clock.
fn issue(app: &Server, lifetime: &str) -> (String, i64) {
    let body = json!({"User": ADMIN, "Password": ADMIN_PASSWORD, "Device": "d", "Expires": lifetime});
    let issued = app.post("/api/v3/Auth/SignIn").json(&body).send().json();
    let expires: DateTime<Utc> = issued["ExpiresAt"].as_str().unwrap().parse().unwrap();
    let key = issued["Token"].as_str().unwrap().to_owned();
    (key, (expires - Utc::now()).num_minutes())
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn on_postgresql_the_time_is_that_of_the_database() {
    let (database, url) = database_with_clock();
    let mut settings = database.server_settings();
    settings.core.database = url.parse().unwrap();
    let own = Server::start(database.server_settings());
    let (key, remaining) = issue(&own, "30m");
    assert!((28..=30).contains(&remaining), "{remaining}");
    assert!(own.accepts(&key));
    drop(own);

    set_ahead(&database, "1 hour");
    let server = Server::start(settings);
    assert!(!server.accepts(&key), "it expires in 30 minutes by the machine's clock");
    let (_, remaining) = issue(&server, "30m");
    assert!((88..=90).contains(&remaining), "{remaining}");

    let mut list = program(&["key", "list", "--json"]);
    list.env("DATABASE_URL", url)
        .env("SHOKO_AUTH_SECRET_KEY", SEALING_SECRET);
    let listed: Value = serde_json::from_slice(&list.output().unwrap().stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "a command reads the same clock");
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn a_jump_of_the_database_s_clock_has_no_immediate_effect() {
    let (database, url) = database_with_clock();
    let mut settings = database.server_settings();
    settings.core.database = url.parse().unwrap();
    let auth = Auth::open(&settings.core).unwrap();
    let is_right = || (settings.core.clock.now() - Utc::now().naive_utc()).num_seconds().abs() < 5;
    for ahead in ["1 hour", "-1 hour", "5000 days"] {
        set_ahead(&database, ahead);
        auth.follow_clock().unwrap();
        assert!(is_right(), "{ahead}");
        set_ahead(&database, "0");
        auth.follow_clock().unwrap();
        assert!(is_right(), "{ahead}");
    }
}

#[apply(both_databases!)]
fn rows_that_a_wrong_clock_may_have_made_expire_survive_a_start(backend: Backend) {
    let app = TestApp::on(backend);
    for (device, age) in [("recent", 1), ("old", 48)] {
        let expiry = Utc::now() - TimeDelta::hours(age);
        let hash = match backend {
            Backend::Sqlite => "randomblob(32)".to_owned(),
            Backend::Postgres => format!("decode(md5('{device}') || md5('{age}'), 'hex')"),
        };
        app.database.execute(&format!(
            "INSERT INTO api_keys (user_id, device, device_folded, hash, created_at, expires_at)
             VALUES (1, '{device}', '{device}', {hash}, '2001-01-01 00:00:00', '{}')",
            expiry.format("%Y-%m-%d %H:%M:%S%.6f")
        ));
    }
    let devices = || app.database.texts("SELECT device AS text FROM api_keys ORDER BY id");
    let mut settings = app.database.server_settings();
    let auth = Auth::open(&settings.core).unwrap();
    while auth.sweep_keys().unwrap() > 0 {}
    assert_eq!(devices(), ["recent"]);

    settings.core.clock = Clock::manual();
    let auth = Auth::open(&settings.core).unwrap();
    assert_eq!(auth.sweep_keys().unwrap(), 1, "this clock is never in doubt");
}

#[apply(both_databases!)]
fn the_lifetime_of_a_key_counts_from_the_time_of_the_service(backend: Backend) {
    let clock = Clock::manual();
    let app = TestApp::with(backend, |settings| settings.core.clock = clock.clone());
    clock.advance(TimeDelta::hours(5));
    let (key, remaining) = issue(&app, "30m");
    assert!((328..=330).contains(&remaining), "{remaining}");
    clock.advance(TimeDelta::minutes(29));
    assert!(app.accepts(&key));
    clock.advance(TimeDelta::minutes(1));
    assert!(!app.accepts(&key));
}
