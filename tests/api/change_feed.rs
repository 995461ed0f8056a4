use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use test_support::process::ServerProcess;
use test_support::wait::wait_until;
use test_support::{Backend, Client, TestDatabase, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, DEVICE, Server, TestApp, UseDatabase};

/// The longest time before a server notices a change by another process. This limit holds even on a busy machine,
/// because a server whose change feed is stale does not use its cache.
const MAX_CHANGE_DELAY: Duration = Duration::from_millis(100);

const UNKNOWN_KEY: &str = "00000000-0000-4000-8000-000000000000";

/// Waits until every server must have noticed the changes that other processes have made. This sleeps instead of
/// polling, because the delay itself is under test.
pub fn wait_for_change_feed() {
    sleep(MAX_CHANGE_DELAY);
}

/// Returns the state of the change feed as the server reports it.
fn feed_state(server: &Client) -> String {
    let response = server.get("/health/ready").send();
    assert_eq!(response.status, 200, "the server is ready even if the feed is down");
    response.json()["changeFeed"].as_str().unwrap().to_owned()
}

/// Waits until the server reports this state of its change feed. Verifies keys in the meantime, so that the feed does
/// not become idle.
#[track_caller]
pub fn wait_until_feed_is(server: &Client, state: &str) {
    wait_until(&format!("the change feed is {state}"), || {
        server.get("/api/auth/verify").header("apikey", UNKNOWN_KEY).send();
        feed_state(server) == state
    });
}

fn owner_of(server: &Client, key: &str) -> Option<String> {
    server
        .get("/api/auth/verify")
        .header("apikey", key)
        .send()
        .header("remote-user")
}

/// SQL statements that change the user `U` or the key of the device `D`. Each comes with the owner of the key after the
/// statement, or with `None` if the key is no longer valid.
const BY_HAND: &[(&str, Option<&str>)] = &[
    ("UPDATE users SET name = 'renamed' WHERE name = 'U'", Some("renamed")),
    ("UPDATE api_keys SET device = 'another' WHERE device = 'D'", Some("U")),
    ("UPDATE users SET is_disabled = TRUE WHERE name = 'U'", None),
    ("DELETE FROM users WHERE name = 'U'", None),
    ("DELETE FROM api_keys WHERE device = 'D'", None),
    (
        "UPDATE api_keys SET expires_at = '2001-01-01 00:00:00' WHERE device = 'D'",
        None,
    ),
    ("UPDATE users SET key_epoch = key_epoch + 1 WHERE name = 'U'", None),
    ("UPDATE api_keys SET epoch = epoch + 1 WHERE device = 'D'", None),
    ("UPDATE api_keys SET user_id = 1 WHERE device = 'D'", Some(ADMIN)),
    ("UPDATE api_keys SET hash = sealed WHERE device = 'D'", None),
    ("DELETE FROM api_keys", None),
];

/// Only SQLite has `REPLACE`. It does not run delete triggers for the rows that it replaces.
#[test]
fn a_replace_statement_on_sqlite_invalidates_cached_keys() {
    let app = TestApp::on(Backend::Sqlite);
    app.add_user("bob", "Bassoon-hill");
    wait_until_feed_is(&app, "up");
    for (table, change) in [
        ("api_keys", "expires_at = '2001-01-01 00:00:00'"),
        ("users", "is_disabled = TRUE"),
    ] {
        let key = app.key("bob", "Bassoon-hill", table);
        assert!(owner_of(&app, &key).is_some());
        app.database.execute(&format!(
            "CREATE TEMP TABLE changed AS SELECT * FROM {table};
             UPDATE changed SET {change};
             REPLACE INTO {table} SELECT * FROM changed"
        ));
        wait_for_change_feed();
        assert!(owner_of(&app, &key).is_none(), "{table}");
    }
}

/// Only PostgreSQL has `TRUNCATE`. It does not run delete triggers.
#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn a_truncate_statement_on_postgres_invalidates_cached_keys() {
    let app = TestApp::on(Backend::Postgres);
    wait_until_feed_is(&app, "up");
    for table in ["api_keys", "users"] {
        let key = app.admin_key();
        assert!(owner_of(&app, &key).is_some());
        app.database.execute(&format!("TRUNCATE {table} CASCADE"));
        wait_for_change_feed();
        assert!(owner_of(&app, &key).is_none(), "{table}");
    }
    let queued = "SELECT CAST(user_id AS TEXT) AS text FROM revoked_keys";
    assert_eq!(
        app.database.texts(queued),
        ["1"],
        "a sweep will delete the rows of the keys"
    );
}

#[apply(both_databases!)]
fn sql_statements_by_hand_invalidate_cached_keys(backend: Backend) {
    let app = TestApp::on(backend);
    wait_until_feed_is(&app, "up");
    for (number, (sql, owner)) in BY_HAND.iter().enumerate() {
        let (user, device) = (format!("user {number}"), format!("device {number}"));
        app.add_user(&user, "Bassoon-hill");
        let key = app.key(&user, "Bassoon-hill", &device);
        assert_eq!(owner_of(&app, &key), Some(user.clone()));
        app.database.execute(
            &sql.replace("'U'", &format!("'{user}'"))
                .replace("'D'", &format!("'{device}'")),
        );
        wait_for_change_feed();
        let owner = owner.map(|owner| if owner == "U" { &user } else { owner });
        assert_eq!(owner_of(&app, &key).as_deref(), owner, "{sql}");
    }
}

#[apply(both_databases!)]
fn a_cached_key_costs_no_query(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    // Retry: on a busy machine, the change feed can be stale for a while, and nothing is cached during that time.
    wait_until("a key is accepted without its table", || {
        assert!(owner_of(&app, &key).is_some());
        app.database.execute("ALTER TABLE api_keys RENAME TO elsewhere");
        let owner = owner_of(&app, &key);
        app.database.execute("ALTER TABLE elsewhere RENAME TO api_keys");
        owner.is_some()
    });
    assert!(owner_of(&app, &key).is_some());
}

#[apply(both_databases!)]
fn a_revocation_on_one_node_takes_effect_on_the_other(backend: Backend) {
    let app = TestApp::on(backend);
    let other = Server::start(app.database.server_settings());
    app.add_user("bob", "Bassoon-hill");
    let admin = app.admin_key();
    wait_until_feed_is(&app, "up");
    wait_until_feed_is(&other, "up");
    for revoke in [
        &(|key: &str| app.delete(&format!("/api/auth?apikey={key}")).send().status) as &dyn Fn(&str) -> u16,
        &|key| app.change_password(key, "Bassoon-hill").status,
        &|_| app.delete("/api/v3/User/2").header("apikey", &admin).send().status,
    ] {
        let key = app.key("bob", "Bassoon-hill", DEVICE);
        assert!(other.accepts(&key) && app.accepts(&key));
        assert_eq!(revoke(&key), 200);
        assert!(
            !app.accepts(&key),
            "the revocation takes effect at once on the node that revoked the key"
        );
        wait_for_change_feed();
        assert!(!other.accepts(&key));
        assert!(other.accepts(&admin));
    }
}

#[apply(both_databases!)]
fn an_idle_feed_wakes_up_with_the_first_verification(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "Bassoon-hill");
    let (key, other) = (app.admin_key(), app.key("bob", "Bassoon-hill", DEVICE));
    wait_until_feed_is(&app, "up");
    assert!(app.accepts(&key) && app.accepts(&other));
    // This polls a health route, so the test also shows that health checks do not wake the feed.
    wait_until("the change feed is idle", || feed_state(&app) == "idle");
    app.database.execute("DELETE FROM api_keys WHERE user_id = 1");
    assert!(!app.accepts(&key), "a key that was revoked while the feed was idle");
    assert!(app.accepts(&other));
    wait_until_feed_is(&app, "up");
    app.database.execute("DELETE FROM api_keys");
    wait_for_change_feed();
    assert!(
        !app.accepts(&other),
        "a key that was revoked after the feed has woken up"
    );
}

#[apply(both_databases!)]
fn without_the_change_feed_every_verification_queries_the_database(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    wait_until_feed_is(&app, "up");
    assert!(app.accepts(&key));
    let mut execute = app.database.break_change_feed();
    wait_until_feed_is(&app, "down");
    assert!(app.accepts(&key));
    execute("DELETE FROM api_keys");
    assert!(!app.accepts(&key), "no cached key is used");
    let key = app.admin_key();
    app.database.repair_change_feed();
    wait_until_feed_is(&app, "up");
    assert!(app.accepts(&key) && app.accepts(&key));
}

#[apply(both_databases!)]
fn last_used_times_are_flushed_when_the_server_stops(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut command: Command = database.program(&["serve"]);
    command.env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD);
    let mut server = ServerProcess::start(command);
    let used = server.key(ADMIN, ADMIN_PASSWORD, "used");
    server.key(ADMIN, ADMIN_PASSWORD, "unused");
    let list = || {
        let listed = database.run(&["key", "list", "--json"], "");
        serde_json::from_slice::<Vec<Value>>(&listed.stdout).unwrap()
    };
    for _ in 0..3 {
        assert!(server.accepts(&used));
    }
    assert!(
        list().iter().all(|key| key["lastUsedAt"].is_null()),
        "last-used times are not flushed yet"
    );
    server.signal("TERM");
    assert!(server.wait_until_exit().0.success());
    let keys = list();
    let of = |device: &str| keys.iter().find(|key| key["device"] == device).unwrap();
    assert_eq!(of("used")["lastUsedFrom"], "127.0.0.1");
    assert!(of("used")["lastUsedAt"].as_str() >= of("used")["createdAt"].as_str());
    assert!(of("unused")["lastUsedAt"].is_null() && of("unused")["lastUsedFrom"].is_null());
}
