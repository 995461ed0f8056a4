use serde_json::json;
use test_support::{Backend, Response, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp};

const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

fn by_body(app: &TestApp, text: &str, key: Option<&str>) -> Response {
    let request = app.delete("/api/auth").json(&json!(text));
    match key {
        Some(key) => request.header("apikey", key).send(),
        None => request.send(),
    }
}

#[apply(both_databases!)]
fn a_key_in_the_query_is_revoked(backend: Backend) {
    let app = TestApp::on(backend);
    let (revoked, other) = (app.admin_key(), app.key(ADMIN, ADMIN_PASSWORD, "kodi"));
    let response = app.delete(&format!("/api/auth?apikey={revoked}")).send();
    assert_eq!((response.status, response.text().as_str()), (200, ""));
    assert!(!app.accepts(&revoked) && app.accepts(&other));
}

#[apply(both_databases!)]
fn revoking_an_unknown_key_in_the_query_is_200(backend: Backend) {
    let app = TestApp::on(backend);
    for key in [UNKNOWN, "nonsense", "%F0%9F%97%9D"] {
        assert_eq!(
            app.delete(&format!("/api/auth?apikey={key}")).send().status,
            200,
            "{key}"
        );
    }
}

#[apply(both_databases!)]
fn a_device_gets_a_new_key_after_a_revocation(backend: Backend) {
    let app = TestApp::on(backend);
    let revoked = app.admin_key();
    app.delete(&format!("/api/auth?apikey={revoked}")).send();
    let new = app.admin_key();
    assert!(new != revoked && app.accepts(&new) && !app.accepts(&revoked));
}

#[apply(both_databases!)]
fn a_key_in_the_body_is_revoked_in_any_spelling(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    assert_eq!(
        by_body(&app, &format!(" {{{}}} ", key.to_uppercase()), None).status,
        200
    );
    assert!(!app.accepts(&key));
    by_body(&app, &key, None).problem(400);
}

#[apply(both_databases!)]
fn a_device_name_revokes_only_a_key_of_the_caller(backend: Backend) {
    let app = TestApp::on(backend);
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

#[apply(both_databases!)]
fn with_a_body_the_key_in_the_query_only_authenticates(backend: Backend) {
    let app = TestApp::on(backend);
    let (mine, kodi) = (app.admin_key(), app.key(ADMIN, ADMIN_PASSWORD, "kodi"));
    let response = app
        .delete(&format!("/api/auth?apikey={mine}"))
        .json(&json!("kodi"))
        .send();
    assert_eq!(response.status, 200);
    assert!(app.accepts(&mine) && !app.accepts(&kodi));
}

#[apply(both_databases!)]
fn a_revocation_that_names_no_key_is_400(backend: Backend) {
    let app = TestApp::on(backend);
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

#[apply(both_databases!)]
fn a_repeated_query_key_revokes_nothing(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    app.delete(&format!("/api/auth?apikey={key}&APIKEY={key}"))
        .send()
        .problem(400);
    assert!(app.accepts(&key));
}

#[test]
fn a_request_without_a_valid_key_does_not_wait_for_the_write_lock() {
    let app = TestApp::on(Backend::Sqlite);
    let mut other = app.database.session();
    other("BEGIN IMMEDIATE");
    for text in [UNKNOWN, "kodi"] {
        by_body(&app, text, None).problem(400);
    }
}
