use serde_json::json;
use test_support::shoko_database::{ShokoDatabase, ShokoVersion, key};
use test_support::wait::wait_until;
use test_support::{Backend, TestDatabase, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, Server, TestApp, UseDatabase};

/// More keys than one batch of a sweep deletes.
const MANY: usize = 450;

fn rows(database: &TestDatabase) -> usize {
    database.texts("SELECT device AS text FROM api_keys").len()
}

/// Inserts [`MANY`] keys of the administrator with this expiry, which is an SQL expression.
fn insert_keys(database: &TestDatabase, expires_at: &str) {
    let columns = "user_id, device, device_folded, hash, created_at, expires_at";
    database.execute(&match database.backend {
        Backend::Sqlite => format!(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {MANY})
             INSERT INTO api_keys ({columns})
             SELECT 1, 'many', 'many', randomblob(32), '2001-01-01 00:00:00', {expires_at} FROM numbers"
        ),
        Backend::Postgres => format!(
            "INSERT INTO api_keys ({columns})
             SELECT 1, 'many', 'many', decode(md5(n::text) || md5((-n)::text), 'hex'), '2001-01-01', {expires_at}
             FROM generate_series(1, {MANY}) AS n"
        ),
    });
}

/// Restarts the server of `app`, because a start begins with a sweep.
fn restart(app: TestApp) -> TestApp {
    let TestApp { server, database } = app;
    drop(server);
    TestApp {
        server: Server::start(database.server_settings()),
        database,
    }
}

/// Creates a Shoko database with the user `carol` and one of her keys.
fn shoko_with_carol(database: &TestDatabase, id: i64) -> String {
    let mut shoko = ShokoDatabase::create(database.folder.path(), ShokoVersion::V5_3);
    shoko.user(id, Some("carol"), Some(""), false);
    shoko.key(1, id, "tv", &key(1));
    shoko.file.to_str().unwrap().to_owned()
}

#[apply(both_databases!)]
fn expired_keys_are_deleted_in_batches(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    insert_keys(&app.database, "'2001-01-02 00:00:00'");
    let app = restart(app);
    wait_until("only the unexpired key is left", || rows(&app.database) == 1);
    assert!(app.accepts(&key));
}

#[apply(both_databases!)]
fn a_password_change_revokes_many_keys_at_once_and_they_are_deleted_later(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    insert_keys(&app.database, "NULL");
    assert_eq!(app.change_password(&key, ADMIN_PASSWORD).status, 200);
    assert!(!app.accepts(&key));
    let new = app.admin_key();
    let listed = app.get("/api/auth").header("apikey", &new).send().json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "revoked keys are not listed");
    let output = app.database.run(&["key", "list", "--json"], "");
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "revoked keys are not listed");
    let revoked = app.delete("/api/auth").json(&json!(key)).send();
    revoked.problem(400);
    let by_device = app.delete("/api/auth").header("apikey", &new).json(&json!("many"));
    by_device.send().problem(400);
    let app = restart(app);
    wait_until("only the new key is left", || rows(&app.database) == 1);
    wait_until("the queue is empty", || {
        let queue = "SELECT CAST(user_id AS TEXT) AS text FROM revoked_keys";
        app.database.texts(queue).is_empty()
    });
    assert!(app.accepts(&new) && !app.accepts(&key));
}

#[apply(both_databases!)]
fn a_user_with_the_id_of_a_deleted_user_does_not_get_their_keys(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "Bassoon-hill");
    let bobs = app.key("bob", "Bassoon-hill", "tv");
    let delete = app.database.run(&["user", "delete", "bob"], "");
    assert!(delete.status.success() && !app.accepts(&bobs));
    let file = shoko_with_carol(&app.database, 2);
    assert!(app.database.run(&["import", "shoko", &file], "").status.success());
    assert!(!app.accepts(&bobs) && app.accepts(&key(1)));
    let carol = app.get("/api/auth").header("apikey", &key(1)).send().json();
    assert_eq!(
        (carol[0]["UserID"].as_i64(), carol.as_array().unwrap().len()),
        (Some(2), 1)
    );
    let app = restart(app);
    wait_until("the row of the deleted user's key is gone", || rows(&app.database) == 1);
    assert!(!app.accepts(&bobs) && app.accepts(&key(1)));
}

#[apply(both_databases!)]
fn a_user_whose_id_is_changed_to_that_of_a_deleted_user_does_not_get_their_keys(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "Bassoon-hill");
    let bobs = app.key("bob", "Bassoon-hill", "tv");
    app.add_user("carol", "Bassoon-hill");
    let delete = app.database.run(&["user", "delete", "bob"], "");
    assert!(delete.status.success() && !app.accepts(&bobs));
    app.database.execute("UPDATE users SET id = 2 WHERE name = 'carol'");
    assert!(!app.accepts(&bobs));
    let carols = app.key("carol", "Bassoon-hill", "tv");
    assert!(app.accepts(&carols) && carols != bobs);
}

#[apply(both_databases!)]
fn a_revoked_key_can_be_imported_again(backend: Backend) {
    let app = TestApp::on(backend);
    let file = shoko_with_carol(&app.database, 2);
    let import = || app.database.run(&["import", "shoko", &file], "").status.success();
    assert!(import() && app.accepts(&key(1)));
    let revoke = app.database.run(&["key", "revoke", "--user", "carol"], "");
    assert_eq!(String::from_utf8(revoke.stdout).unwrap(), "Revoked 1 key.\n");
    let again = app.database.run(&["key", "revoke", "--user", "carol"], "");
    assert_eq!(again.status.code(), Some(1), "no key is left to revoke");
    wait_until("the revocation arrives", || !app.accepts(&key(1)));
    assert!(import() && app.accepts(&key(1)));
    assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, "tv").status, 200);
}

#[apply(both_databases!)]
fn an_enabled_user_gets_no_keys_back_that_were_revoked(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "Bassoon-hill");
    let key = app.key("bob", "Bassoon-hill", "tv");
    for arguments in [
        &["key", "revoke", "--user", "bob"][..],
        &["user", "disable", "bob"],
        &["user", "enable", "bob"],
    ] {
        assert!(app.database.run(arguments, "").status.success());
    }
    assert!(!app.accepts(&key));
    assert_ne!(app.key("bob", "Bassoon-hill", "tv"), key);
}
