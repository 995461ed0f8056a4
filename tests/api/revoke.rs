use serde_json::json;

use crate::support::{ADMIN, ADMIN_PASSWORD, Answer, Backend, TestApp, on_both_databases};

const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

fn by_body(app: &TestApp, text: &str, key: Option<&str>) -> Answer {
    let request = app.delete("/api/auth").json(&json!(text));
    match key {
        Some(key) => request.header("apikey", key).send(),
        None => request.send(),
    }
}

on_both_databases! {
    fn a_key_in_the_query_ends_and_no_other(app: TestApp) {
        let (ended, other) = (app.admin_key(), app.key(ADMIN, ADMIN_PASSWORD, "kodi"));
        let answer = app.delete(&format!("/api/auth?apikey={ended}")).send();
        assert_eq!((answer.status, answer.text().as_str()), (200, ""));
        assert!(!app.accepts(&ended) && app.accepts(&other));
    }

    fn a_key_in_the_query_that_nobody_has_is_200(app: TestApp) {
        for key in [UNKNOWN, "nonsense", "%F0%9F%97%9D"] {
            assert_eq!(app.delete(&format!("/api/auth?apikey={key}")).send().status, 200, "{key}");
        }
    }

    fn a_device_that_logs_in_after_its_key_ended_gets_a_new_one(app: TestApp) {
        let ended = app.admin_key();
        app.delete(&format!("/api/auth?apikey={ended}")).send();
        let new = app.admin_key();
        assert!(new != ended && app.accepts(&new) && !app.accepts(&ended));
    }

    fn a_key_in_the_body_ends_in_any_spelling(app: TestApp) {
        let key = app.admin_key();
        assert_eq!(by_body(&app, &format!(" {{{}}} ", key.to_uppercase()), None).status, 200);
        assert!(!app.accepts(&key));
        by_body(&app, &key, None).problem(400);
    }

    fn an_own_device_ends_by_name_and_nobody_elses(app: TestApp) {
        app.add_user("bob", "Bassoon-hill");
        let (mine, kodi, bobs) = (
            app.admin_key(),
            app.key(ADMIN, ADMIN_PASSWORD, "Kodi"),
            app.key("bob", "Bassoon-hill", "kodi"),
        );
        assert_eq!(by_body(&app, " KODI ", Some(&mine)).status, 200);
        assert!(app.accepts(&mine) && !app.accepts(&kodi) && app.accepts(&bobs));
        let problem = by_body(&app, "kodi", Some(&mine)).problem(400);
        assert_eq!(problem["detail"], "Could not find apikey or device name to delete");
        by_body(&app, "kodi", None).problem(400);
        assert!(app.accepts(&bobs));
    }

    fn with_a_body_the_key_in_the_query_only_tells_who_calls(app: TestApp) {
        let (mine, kodi) = (app.admin_key(), app.key(ADMIN, ADMIN_PASSWORD, "kodi"));
        let answer = app.delete(&format!("/api/auth?apikey={mine}")).json(&json!("kodi")).send();
        assert_eq!(answer.status, 200);
        assert!(app.accepts(&mine) && !app.accepts(&kodi));
    }

    fn without_anything_to_end_it_is_a_400(app: TestApp) {
        let key = app.admin_key();
        for request in [
            app.delete("/api/auth"),
            app.delete("/api/auth?apikey="),
            app.delete("/api/auth").header("apikey", &key),
            app.delete("/api/auth").json(&json!(null)),
            app.delete("/api/auth").json(&json!("  ")),
        ] {
            let problem = request.send().problem(400);
            assert_eq!(problem["detail"], "Must provide an apikey or device name to delete");
        }
        for body in [json!({"apikey": key}), json!([key])] {
            app.delete("/api/auth").json(&body).send().problem(400);
        }
        assert!(app.accepts(&key));
    }

    fn a_key_given_twice_in_the_query_ends_nothing(app: TestApp) {
        let key = app.admin_key();
        app.delete(&format!("/api/auth?apikey={key}&APIKEY={key}")).send().problem(400);
        assert!(app.accepts(&key));
    }
}
