use serde_json::json;
use test_support::{Backend, Client, Response, apply, both_databases};

use crate::support::{ADMIN_PASSWORD, TestApp, UseDatabase, limit_waits};

/// Starts a server that Shoko Desktop can log in to.
fn app_with_v1_login(backend: Backend) -> TestApp {
    TestApp::with(backend, |settings| settings.v1_login = true)
}

fn log_in(server: &Client, name: &str, form: &str) -> Response {
    server.post(&format!("/v1/User/{name}")).form(form).send()
}

#[apply(both_databases!)]
fn the_v1_login_is_off_by_default(backend: Backend) {
    let app = TestApp::on(backend);
    app.get("/v1/User").send().problem(404);
    log_in(&app, "Default", &format!("password={ADMIN_PASSWORD}")).problem(404);
}

#[apply(both_databases!)]
fn shoko_desktop_lists_the_users_and_logs_one_in(backend: Backend) {
    let app = app_with_v1_login(backend);
    app.add_user("golden bob", "bob+s & password");
    app.add_user("gone", "bobs long password");
    assert!(app.database.run(&["user", "disable", "gone"], "").status.success());
    let users = app.get("/v1/User").send().json();
    let default = json!({"JMMUserID": 1, "Username": "Default", "Password": "", "IsAdmin": 1, "IsAniDBUser": 0,
        "IsTraktUser": 0, "HideCategories": "", "CanEditServerSettings": 1, "PlexUsers": "", "PlexToken": ""});
    assert_eq!(
        (&users[0], users.as_array().unwrap().len()),
        (&default, 2),
        "disabled users are not listed"
    );
    assert_eq!(
        (&users[1]["Username"], &users[1]["IsAdmin"]),
        (&json!("golden bob"), &json!(0))
    );
    let charset = ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8");
    let form = "password=bob%2Bs+%26+password";
    assert_eq!(
        app.post("/v1/User/golden+bob")
            .headers(&[charset])
            .body(form)
            .send()
            .status,
        200
    );
    for name in ["golden+bob", "GOLDEN%20Bob", "golden%2Bbob"] {
        let response = log_in(&app, name, "password=bob%2Bs+%26+password");
        assert_eq!(
            (response.status, &response.json()["JMMUserID"]),
            (200, &json!(2)),
            "{name}"
        );
    }
}

#[apply(both_databases!)]
fn a_failed_v1_login_is_an_empty_204(backend: Backend) {
    let app = app_with_v1_login(backend);
    app.add_user("gone", "bobs long password");
    assert!(app.database.run(&["user", "disable", "gone"], "").status.success());
    let long = format!("password={}", "x".repeat(2000));
    for (name, form) in [
        ("Default", "password=certainly wrong"),
        ("Default", "password="),
        ("Default", "pass=x"),
        ("Default", &long),
        ("nobody", "password=bobs long password"),
        ("gone", "password=bobs long password"),
        ("%20", "password=x"),
        ("%00", "password=x"),
    ] {
        let response = log_in(&app, name, form);
        assert_eq!((response.status, response.body.len()), (204, 0), "{name} {form}");
    }
    let empty = app.post("/v1/User/Default").send();
    assert_eq!(empty.status, 204);
    app.post("/v1/User/Default")
        .json(&json!({"password": ADMIN_PASSWORD}))
        .send()
        .problem(415);
    log_in(&app, "Default", &"x".repeat(20_000)).problem(413);
    app.get("/v1/User/Default").send().problem(405);
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn the_v1_login_is_503_while_the_database_is_offline() {
    let app = TestApp::with(Backend::Postgres, |settings| {
        settings.v1_login = true;
        limit_waits(settings);
    });
    app.database.take_offline();
    app.get("/v1/User").send().problem(503);
    log_in(&app, "Default", &format!("password={ADMIN_PASSWORD}")).problem(503);
}
