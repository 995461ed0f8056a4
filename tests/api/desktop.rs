use serde_json::json;

use crate::support::{ADMIN_PASSWORD, Answer, Backend, Client, TestApp, on_both_databases};

/// A server that Shoko Desktop can log in to.
fn with_v1(backend: Backend) -> TestApp {
    TestApp::with(backend, |settings| settings.v1_login = true)
}

fn log_in(server: &Client, name: &str, form: &str) -> Answer {
    let request = server.post(&format!("/v1/User/{name}"));
    request
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
}

on_both_databases! {
    fn it_is_not_there_unless_it_is_switched_on(app: TestApp) {
        app.get("/v1/User").send().problem(404);
        log_in(&app, "Default", &format!("password={ADMIN_PASSWORD}")).problem(404);
    }

    fn shoko_desktop_lists_the_users_and_logs_one_in(backend: Backend) {
        let app = with_v1(backend);
        app.add_user("golden bob", "bob+s & password");
        app.add_user("gone", "bobs long password");
        assert!(app.database.run(&["user", "disable", "gone"], "").status.success());
        let users = app.get("/v1/User").send().json();
        let default = json!({"JMMUserID": 1, "Username": "Default", "Password": "", "IsAdmin": 1, "IsAniDBUser": 0,
            "IsTraktUser": 0, "HideCategories": "", "CanEditServerSettings": 1, "PlexUsers": "", "PlexToken": ""});
        assert_eq!((&users[0], users.as_array().unwrap().len()), (&default, 2), "a disabled user cannot log in");
        assert_eq!((&users[1]["Username"], &users[1]["IsAdmin"]), (&json!("golden bob"), &json!(0)));
        let charset = ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8");
        let form = "password=bob%2Bs+%26+password";
        assert_eq!(app.post("/v1/User/golden+bob").headers(&[charset]).body(form).send().status, 200);
        for name in ["golden+bob", "GOLDEN%20Bob", "golden%2Bbob"] {
            let answer = log_in(&app, name, "password=bob%2Bs+%26+password");
            assert_eq!((answer.status, &answer.json()["JMMUserID"]), (200, &json!(2)), "{name}");
        }
    }

    fn shoko_desktop_is_told_nothing_when_the_password_is_wrong(backend: Backend) {
        let app = with_v1(backend);
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
            let answer = log_in(&app, name, form);
            assert_eq!((answer.status, answer.body.len()), (204, 0), "{name} {form}");
        }
        let empty = app.post("/v1/User/Default").send();
        assert_eq!(empty.status, 204);
        app.post("/v1/User/Default").json(&json!({"password": ADMIN_PASSWORD})).send().problem(415);
        log_in(&app, "Default", &"x".repeat(20_000)).problem(413);
        app.get("/v1/User/Default").send().problem(405);
    }
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn shoko_desktop_is_told_to_wait_while_the_database_is_away() {
    let app = with_v1(Backend::Postgres);
    app.database.go_away();
    app.get("/v1/User").send().problem(503);
    log_in(&app, "Default", &format!("password={ADMIN_PASSWORD}")).problem(503);
}
