use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::serving::Serving;
use crate::support::{
    ADMIN, ADMIN_PASSWORD, Backend, Client, DEVICE, Server, TestApp, TestDatabase, on_both_databases,
};
use crate::wait::wait_until;

/// The longest delay before a server notices a change that another process makes to its database, however busy the
/// machine is: a server whose change feed is late does not use its cache.
const MAX_CHANGE_DELAY: Duration = Duration::from_millis(100);

/// Waits until every server must have noticed what another process has done to its database. The delay itself is the
/// promise under test, so there is no condition to wait for.
pub fn heard() {
    sleep(MAX_CHANGE_DELAY);
}

/// Whether the server may remember keys, as it says itself.
fn feed(server: &Client) -> String {
    let answer = server.get("/health/ready").send();
    assert_eq!(answer.status, 200, "without the feed it serves, too");
    answer.json()["changeFeed"].as_str().unwrap().to_owned()
}

#[track_caller]
fn wait_for_feed(server: &Client, state: &str) {
    wait_until(&format!("the change feed is {state}"), || feed(server) == state);
}

fn user_of(server: &Client, key: &str) -> Option<String> {
    server
        .get("/api/auth/verify")
        .header("apikey", key)
        .send()
        .header("remote-user")
}

/// What may be done to the user `U` by hand, and the name that the key of device `D` shows then, if it works.
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
    ("UPDATE api_keys SET user_id = 1 WHERE device = 'D'", Some(ADMIN)),
    ("UPDATE api_keys SET hash = sealed WHERE device = 'D'", None),
    ("DELETE FROM api_keys", None),
];

/// Only SQLite has it, and it tells no trigger of what it deletes.
#[test]
fn what_sqlite_replaces_is_heard_of() {
    let app = TestApp::on(Backend::Sqlite);
    app.add_user("bob", "Bassoon-hill");
    wait_for_feed(&app, "up");
    for (table, change) in [
        ("api_keys", "expires_at = '2001-01-01 00:00:00'"),
        ("users", "is_disabled = TRUE"),
    ] {
        let key = app.key("bob", "Bassoon-hill", table);
        assert!(user_of(&app, &key).is_some());
        app.database.execute(&format!(
            "CREATE TEMP TABLE changed AS SELECT * FROM {table};
             UPDATE changed SET {change};
             REPLACE INTO {table} SELECT * FROM changed"
        ));
        heard();
        assert!(user_of(&app, &key).is_none(), "{table}");
    }
}

on_both_databases! {
    fn what_somebody_does_by_hand_is_heard_of(app: TestApp) {
        wait_for_feed(&app, "up");
        for (number, (sql, seen)) in BY_HAND.iter().enumerate() {
            let (user, device) = (format!("user {number}"), format!("device {number}"));
            app.add_user(&user, "Bassoon-hill");
            let key = app.key(&user, "Bassoon-hill", &device);
            assert_eq!(user_of(&app, &key), Some(user.clone()));
            app.database.execute(&sql.replace("'U'", &format!("'{user}'")).replace("'D'", &format!("'{device}'")));
            heard();
            let seen = seen.map(|seen| if seen == "U" { &user } else { seen });
            assert_eq!(user_of(&app, &key).as_deref(), seen, "{sql}");
        }
    }

    fn a_key_that_was_looked_up_costs_no_query(app: TestApp) {
        let key = app.admin_key();
        // While the change feed is late, as on a busy machine, nothing is cached.
        wait_until("a key is accepted without its table", || {
            assert!(user_of(&app, &key).is_some());
            app.database.execute("ALTER TABLE api_keys RENAME TO elsewhere");
            let seen = user_of(&app, &key);
            app.database.execute("ALTER TABLE elsewhere RENAME TO api_keys");
            seen.is_some()
        });
        assert!(user_of(&app, &key).is_some());
    }

    fn what_one_node_ends_has_ended_on_the_other(app: TestApp) {
        let other = Server::start(app.database.server_settings());
        app.add_user("bob", "Bassoon-hill");
        let admin = app.admin_key();
        wait_for_feed(&app, "up");
        wait_for_feed(&other, "up");
        for end in [
            &(|key: &str| app.delete(&format!("/api/auth?apikey={key}")).send().status) as &dyn Fn(&str) -> u16,
            &|key| app.change_password(key, "Bassoon-hill").status,
            &|_| app.delete("/api/v3/User/2").header("apikey", &admin).send().status,
        ] {
            let key = app.key("bob", "Bassoon-hill", DEVICE);
            assert!(other.accepts(&key) && app.accepts(&key));
            assert_eq!(end(&key), 200);
            assert!(!app.accepts(&key), "the node that ended it knows at once");
            heard();
            assert!(!other.accepts(&key));
            assert!(other.accepts(&admin));
        }
    }

    fn a_server_that_hears_nothing_asks_the_database(app: TestApp) {
        let key = app.admin_key();
        wait_for_feed(&app, "up");
        assert!(app.accepts(&key));
        let mut execute = app.database.deafen();
        wait_for_feed(&app, "down");
        assert!(app.accepts(&key));
        execute("DELETE FROM api_keys");
        assert!(!app.accepts(&key), "nothing is remembered");
        let key = app.admin_key();
        app.database.undeafen();
        wait_for_feed(&app, "up");
        assert!(app.accepts(&key) && app.accepts(&key));
    }

    fn when_a_key_was_used_is_written_down_at_the_end_at_the_latest(database: TestDatabase) {
        let mut command: Command = database.program(&["serve"]);
        command.env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD);
        let mut server = Serving::start(command);
        let used = server.server().key(ADMIN, ADMIN_PASSWORD, "used");
        server.server().key(ADMIN, ADMIN_PASSWORD, "unused");
        let list = || {
            let listed = database.run(&["key", "list", "--json"], "");
            serde_json::from_slice::<Vec<Value>>(&listed.stdout).unwrap()
        };
        for _ in 0..3 {
            assert!(server.server().accepts(&used));
        }
        assert!(list().iter().all(|key| key["lastUsedAt"].is_null()), "it is not written at once");
        server.signal("TERM");
        assert!(server.ended().0.success());
        let keys = list();
        let of = |device: &str| keys.iter().find(|key| key["device"] == device).unwrap();
        assert_eq!(of("used")["lastUsedFrom"], "127.0.0.1");
        assert!(of("used")["lastUsedAt"].as_str() >= of("used")["createdAt"].as_str());
        assert!(of("unused")["lastUsedAt"].is_null() && of("unused")["lastUsedFrom"].is_null());
    }
}
