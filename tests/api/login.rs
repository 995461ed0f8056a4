use std::sync::Barrier;

use serde_json::json;

use crate::changes::heard;
use crate::support::{ADMIN, ADMIN_PASSWORD, Backend, DEVICE, Server, TestApp, TestDatabase, on_both_databases};

on_both_databases! {
    fn a_second_login_from_the_same_device_gets_the_same_key(app: TestApp) {
        let key = app.admin_key();
        assert_eq!(app.key(ADMIN, ADMIN_PASSWORD, DEVICE), key);
        assert_eq!(app.key(" dEFAULT\t", ADMIN_PASSWORD, " WEB-ui "), key, "names are trimmed and have no case");
    }

    fn another_device_or_user_gets_another_key(app: TestApp) {
        app.add_user("bob", "Bassoon-hill");
        let keys = [
            app.admin_key(),
            app.key(ADMIN, ADMIN_PASSWORD, "kodi"),
            app.key("bob", "Bassoon-hill", DEVICE),
        ];
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
        assert!(keys.iter().all(|key| app.accepts(key)));
    }

    fn an_answer_with_a_key_may_not_be_stored(app: TestApp) {
        let answer = app.log_in(ADMIN, ADMIN_PASSWORD, DEVICE);
        assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
        assert_eq!(answer.header("content-type").as_deref(), Some("application/json; charset=utf-8"));
    }

    fn logins_of_one_new_device_at_the_same_time_get_one_key(app: TestApp) {
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

    fn a_wrong_password_an_unknown_and_a_disabled_user_are_the_same_401(app: TestApp) {
        app.add_user("bob", "Bassoon-hill");
        app.database.execute("UPDATE users SET is_disabled = TRUE WHERE name = 'bob'");
        let mut answers = Vec::new();
        for (user, password) in [(ADMIN, "wrong"), (ADMIN, ""), ("nobody", ADMIN_PASSWORD), ("bob", "Bassoon-hill")] {
            let answer = app.log_in(user, password, DEVICE);
            assert_eq!(answer.header("www-authenticate").as_deref(), Some(r#"Bearer realm="shoko-auth""#));
            let mut problem = answer.problem(401);
            problem["traceId"] = json!("");
            answers.push(problem);
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }

    fn a_disabled_users_key_works_again_when_he_is_enabled(app: TestApp) {
        let key = app.admin_key();
        app.database.execute("UPDATE users SET is_disabled = TRUE");
        heard();
        assert!(!app.accepts(&key));
        app.database.execute("UPDATE users SET is_disabled = FALSE");
        assert!(app.accepts(&key));
    }

    fn a_password_is_taken_exactly_as_it_came(app: TestApp) {
        app.add_user("bob", " Bassoon-hill ");
        assert_eq!(app.log_in("bob", "Bassoon-hill", DEVICE).status, 401);
        assert_eq!(app.log_in("bob", " Bassoon-hill \0", DEVICE).status, 401);
        assert_eq!(app.log_in("bob", " Bassoon-hill ", DEVICE).status, 200);
    }

    fn names_and_devices_have_255_characters_at_most_and_no_control_characters(app: TestApp) {
        let long = "ü".repeat(255);
        assert_eq!(app.log_in(&long, "wrong", &long).status, 401);
        assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, &long).status, 200);
        for bad in ["ü".repeat(256), "a\0b".to_owned(), "a\nb".to_owned()] {
            let problem = app.log_in(&bad, ADMIN_PASSWORD, &bad).problem(400);
            assert!(problem["errors"]["user"].is_array() && problem["errors"]["device"].is_array(), "{problem}");
        }
    }

    fn the_hash_is_raised_when_the_rounds_setting_has_risen(database: TestDatabase) {
        let mut settings = database.server_settings();
        let key = Server::start(settings.clone()).admin_key();
        settings.core.pbkdf2_rounds = 2000;
        let server = Server::start(settings);
        assert_eq!(server.log_in(ADMIN, "wrong", DEVICE).status, 401);
        assert_eq!(stored_rounds(&database), "i=1000,l=32", "only who knows the password raises it");
        assert_eq!(server.admin_key(), key, "a rehash is not a password change");
        assert_eq!(stored_rounds(&database), "i=2000,l=32");
        assert_eq!(server.admin_key(), key);
    }

    fn with_another_secret_old_keys_work_and_logins_make_new_ones(database: TestDatabase) {
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
}

/// The parameters of the administrator's PHC string.
fn stored_rounds(database: &TestDatabase) -> String {
    let hashes = database.texts("SELECT password AS text FROM users");
    hashes[0].split('$').nth(2).unwrap().to_owned()
}
