use std::sync::Barrier;

use serde_json::json;
use test_support::{Backend, TestDatabase, apply, both_databases};

use crate::change_feed::wait_for_change_feed;
use crate::support::{ADMIN, ADMIN_PASSWORD, DEVICE, Server, TestApp, UseDatabase};

#[apply(both_databases!)]
fn login_on_the_same_device_returns_the_same_key(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    assert_eq!(app.key(ADMIN, ADMIN_PASSWORD, DEVICE), key);
    assert_eq!(
        app.key(" dEFAULT\t", ADMIN_PASSWORD, " WEB-ui "),
        key,
        "names are normalized"
    );
}

#[apply(both_databases!)]
fn login_on_another_device_or_by_another_user_returns_another_key(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "Bassoon-hill");
    let keys = [
        app.admin_key(),
        app.key(ADMIN, ADMIN_PASSWORD, "kodi"),
        app.key("bob", "Bassoon-hill", DEVICE),
    ];
    assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
    assert!(keys.iter().all(|key| app.accepts(key)));
}

#[apply(both_databases!)]
fn a_response_with_a_key_must_not_be_stored(backend: Backend) {
    let app = TestApp::on(backend);
    let response = app.log_in(ADMIN, ADMIN_PASSWORD, DEVICE);
    assert_eq!(response.header("cache-control").as_deref(), Some("no-store"));
    assert_eq!(
        response.header("content-type").as_deref(),
        Some("application/json; charset=utf-8")
    );
}

#[apply(both_databases!)]
fn concurrent_logins_on_a_new_device_return_one_key(backend: Backend) {
    let app = TestApp::on(backend);
    for round in 0..5 {
        let device = format!("device {round}");
        let barrier = Barrier::new(8);
        let keys: Vec<String> = std::thread::scope(|scope| {
            let logins: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        app.key(ADMIN, ADMIN_PASSWORD, &device)
                    })
                })
                .collect();
            logins.into_iter().map(|login| login.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        assert!(app.accepts(&keys[0]));
    }
}

#[apply(both_databases!)]
fn wrong_passwords_unknown_and_disabled_users_are_the_same_401(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "Bassoon-hill");
    app.database
        .execute("UPDATE users SET is_disabled = TRUE WHERE name = 'bob'");
    let mut responses = Vec::new();
    for (user, password) in [
        (ADMIN, "wrong"),
        (ADMIN, ""),
        ("nobody", ADMIN_PASSWORD),
        ("bob", "Bassoon-hill"),
    ] {
        let response = app.log_in(user, password, DEVICE);
        assert_eq!(
            response.header("www-authenticate").as_deref(),
            Some(r#"Bearer realm="shoko-auth""#)
        );
        let mut problem = response.problem(401);
        problem["traceId"] = json!("");
        responses.push(problem);
    }
    assert!(
        responses.iter().all(|response| *response == responses[0]),
        "{responses:?}"
    );
}

#[apply(both_databases!)]
fn the_key_of_a_disabled_user_is_valid_again_once_they_are_enabled(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    app.database.execute("UPDATE users SET is_disabled = TRUE");
    wait_for_change_feed();
    assert!(!app.accepts(&key));
    app.database.execute("UPDATE users SET is_disabled = FALSE");
    assert!(app.accepts(&key));
}

#[apply(both_databases!)]
fn a_password_is_compared_as_typed(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", " Bassoon-hill ");
    assert_eq!(app.log_in("bob", "Bassoon-hill", DEVICE).status, 401);
    assert_eq!(app.log_in("bob", " Bassoon-hill \0", DEVICE).status, 401);
    assert_eq!(app.log_in("bob", " Bassoon-hill ", DEVICE).status, 200);
}

#[apply(both_databases!)]
fn names_and_devices_have_at_most_255_characters_and_no_control_characters(backend: Backend) {
    let app = TestApp::on(backend);
    let long = "ü".repeat(255);
    assert_eq!(app.log_in(&long, "wrong", &long).status, 401);
    assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, &long).status, 200);
    for bad in ["ü".repeat(256), "a\0b".to_owned(), "a\nb".to_owned()] {
        let problem = app.log_in(&bad, ADMIN_PASSWORD, &bad).problem(400);
        assert!(
            problem["errors"]["user"].is_array() && problem["errors"]["device"].is_array(),
            "{problem}"
        );
    }
}

#[apply(both_databases!)]
fn a_login_rehashes_the_password_after_the_rounds_setting_rises(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut settings = database.server_settings();
    let key = Server::start(settings.clone()).admin_key();
    settings.core.pbkdf2_rounds = 2000;
    let server = Server::start(settings);
    assert_eq!(server.log_in(ADMIN, "wrong", DEVICE).status, 401);
    assert_eq!(
        stored_rounds(&database),
        "i=1000,l=32",
        "a failed login does not rehash the password"
    );
    assert_eq!(server.admin_key(), key, "a rehash is not a password change");
    assert_eq!(stored_rounds(&database), "i=2000,l=32");
    assert_eq!(server.admin_key(), key);
}

#[apply(both_databases!)]
fn with_another_sealing_secret_old_keys_stay_valid_and_logins_issue_new_ones(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut settings = database.server_settings();
    let old = Server::start(settings.clone()).admin_key();
    let secret = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned();
    settings.core.secret_key = Some(shoko_auth::model::SecretText::new(secret));
    let server = Server::start(settings);
    let new = server.admin_key();
    assert_ne!(new, old);
    assert_eq!(server.admin_key(), new);
    assert!(server.accepts(&old) && server.accepts(&new));
    assert_eq!(server.change_password(&new, "Oboe-n-harbour").status, 200);
    assert!(!server.accepts(&old) && !server.accepts(&new));
}

/// Returns the parameters in the administrator's PHC string.
fn stored_rounds(database: &TestDatabase) -> String {
    let hashes = database.texts("SELECT password AS text FROM users");
    hashes[0].split('$').nth(2).unwrap().to_owned()
}

#[apply(both_databases!)]
fn a_password_works_however_its_letters_are_composed(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "Tr\u{f6}te-hill");
    app.add_user("carol", "Tro\u{308}te-hill");
    for user in ["bob", "carol"] {
        for password in ["Tr\u{f6}te-hill", "Tro\u{308}te-hill"] {
            assert_eq!(app.log_in(user, password, "phone").status, 200, "{user}");
        }
        app.log_in(user, "Trote-hill", "phone").problem(401);
    }
}
