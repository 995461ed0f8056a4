use serde_json::{Value, json};
use test_support::process::ServerProcess;
use test_support::{Backend, Client, Response, TestDatabase, apply, both_databases};

use crate::dialects::basic;
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp, UseDatabase};

/// Logs the user in with a key that expires.
pub fn expiring_key(app: &Client, user: &str, password: &str) -> String {
    let expires = chrono::Utc::now() + chrono::TimeDelta::minutes(2);
    let body = json!({"User": user, "Password": password, "Device": "d", "Expires": expires.to_rfc3339()});
    let response = app.post("/api/v3/Auth/SignIn").json(&body).send();
    response.json()["Token"].as_str().expect("a key").to_owned()
}

/// Checks that a request was rejected because its key expires, and says what to do.
fn assert_rejected(response: &Response) {
    let detail = response.problem(403)["detail"].clone();
    assert!(detail.as_str().unwrap().contains("Log in again"), "{detail}");
}

#[apply(both_databases!)]
fn an_expiring_key_cannot_change_passwords(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "x");
    let bob = app.key("bob", "x", "d");
    let bob_id = app.get("/api/v3/User/Current").header("apikey", &bob).send().json()["ID"].clone();
    let admin = expiring_key(&app, ADMIN, ADMIN_PASSWORD);
    let bob = expiring_key(&app, "bob", "x");
    let v3 = json!({"Password": "Another-0ne", "RevokeAPIKeys": false});
    for (key, path, body) in [
        (&bob, "/api/auth/ChangePassword", json!("Another-0ne")),
        (&bob, "/api/v3/Auth/ChangePassword", json!("Another-0ne")),
        (&bob, "/api/v3/User/Current/ChangePassword", v3.clone()),
        (
            &admin,
            &format!("/api/auth/ChangePassword?userID={bob_id}"),
            json!("Another-0ne"),
        ),
        (&admin, &format!("/api/v3/User/{bob_id}/ChangePassword"), v3),
    ] {
        assert_rejected(&app.post(path).header("apikey", key).json(&body).send());
    }
    assert_eq!(app.log_in("bob", "x", "d").status, 200, "the password is unchanged");
}

#[apply(both_databases!)]
fn an_expiring_key_cannot_create_users_or_change_names_and_rights(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "x");
    let key = expiring_key(&app, ADMIN, ADMIN_PASSWORD);
    let send = |method: &str, path: &str, body: &Value| {
        let request = app.request(method, path).header("apikey", &key).json(body);
        request.send()
    };
    let new = json!({"Username": "backdoor", "Password": "Another-0ne", "IsAdmin": true});
    assert_rejected(&send("POST", "/api/v3/User", &new));
    assert_rejected(&send("PUT", "/api/v3/User/2", &json!({"IsAdmin": true})));
    assert_rejected(&send("PUT", "/api/v3/User/2", &json!({"Username": "eve"})));
    assert_rejected(&send("PUT", "/api/v3/User/Current", &json!({"Username": "eve"})));
    let patch = json!([{"op": "replace", "path": "/IsAdmin", "value": true}]);
    assert_rejected(&send("PATCH", "/api/v3/User/2", &patch));
    let users = send("GET", "/api/v3/User", &Value::Null).json();
    let names: Vec<_> = users["List"]
        .as_array()
        .unwrap_or_else(|| users.as_array().unwrap())
        .clone();
    assert_eq!(names.len(), 2, "{users}");
    let current = send("GET", "/api/v3/User/Current", &Value::Null).json();
    let unchanged = json!({"Username": current["Username"], "IsAdmin": true});
    assert_eq!(
        send("PUT", "/api/v3/User/Current", &unchanged).status,
        200,
        "clients send these values back"
    );
}

#[apply(both_databases!)]
fn an_expiring_key_gets_no_other_devices_key(backend: Backend) {
    let app = TestApp::on(backend);
    app.key(ADMIN, ADMIN_PASSWORD, "laptop");
    let key = expiring_key(&app, ADMIN, ADMIN_PASSWORD);
    let device = app
        .post("/api/auth/apikey")
        .header("apikey", &key)
        .json(&json!("laptop"))
        .send();
    device.problem(400);
    let generate = app.post("/api/v3/Auth/GenerateToken").header("apikey", &key);
    generate.json(&json!({"Device": "laptop"})).send().problem(400);
}

/// Starts the program, runs `requests`, and returns the audit events as `event user device by`.
pub fn audited(backend: Backend, requests: impl FnOnce(&Client)) -> Vec<String> {
    let database = TestDatabase::create(backend);
    let mut command = database.program(&["serve", "--log-format", "json"]);
    command.env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD);
    command.env("SHOKO_AUTH_DIALECTS", "shoko,zulip,zettelstore");
    let mut server = ServerProcess::start(command);
    requests(&server);
    server.signal("TERM");
    let (_, log) = server.wait_until_exit();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    lines
        .filter(|line| line["target"] == "shoko_auth::audit")
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            format!("{} {} {} {}", text("event"), text("user"), text("device"), text("by"))
        })
        .collect()
}

#[apply(both_databases!)]
fn reading_another_devices_key_is_an_event_of_its_own(backend: Backend) {
    let events = audited(backend, |app| {
        let key = app.key(ADMIN, ADMIN_PASSWORD, "tv");
        let laptop = app.key(ADMIN, ADMIN_PASSWORD, "laptop");
        let get = |device: &str| {
            app.post("/api/auth/apikey")
                .header("apikey", &key)
                .json(&json!(device))
                .send()
        };
        assert_eq!(get("laptop").text(), laptop);
        assert_eq!(get("TV").text(), key, "the caller's own key");
        let generate = app.post("/api/v3/Auth/GenerateToken").header("apikey", &key);
        assert_eq!(
            generate.json(&json!({"Device": "laptop"})).send().json()["Token"],
            json!(laptop)
        );
        get("phone");
    });
    let shown = |event: &&String| event.starts_with("key_shown");
    assert_eq!(events.iter().filter(shown).count(), 2, "{events:?}");
    assert!(
        events.contains(&"key_shown Default laptop Default".to_owned()),
        "{events:?}"
    );
    assert!(
        events.contains(&"key_made Default phone Default".to_owned()),
        "{events:?}"
    );
}

#[apply(both_databases!)]
fn rejected_keys_and_denied_operations_are_logged_once_a_minute(backend: Backend) {
    let events = audited(backend, |app| {
        let key = expiring_key(app, ADMIN, ADMIN_PASSWORD);
        for _ in 0..5 {
            for wrong in ["7d9b6d7c-3a0c-4a51-9d1e-0f6c5a3b2e10", "nonsense"] {
                app.get("/api/auth/verify").header("apikey", wrong).send().problem(401);
            }
            let change = app.post("/api/auth/ChangePassword").header("apikey", &key);
            change.json(&json!("Another-0ne")).send().problem(403);
        }
        app.get("/api/auth/verify").send().problem(401);
    });
    let count = |event: &str| events.iter().filter(|line| line.starts_with(event)).count();
    assert_eq!(
        (count("key_rejected"), count("access_denied Default  Default")),
        (2, 2),
        "{events:?}"
    );
}

#[apply(both_databases!)]
fn every_dialect_logs_rejected_keys_and_denied_operations(backend: Backend) {
    let unknown = "7d9b6d7c3a0c4a519d1e0f6c5a3b2e10";
    // Sends a request without a key, and then the same request with a key.
    let zettelstore = |app: &Client, method: &str, path: &str, key: &str| {
        let with_key = app
            .request(method, path)
            .header("Authorization", &format!("Bearer {key}"));
        vec![app.request(method, path).send().status, with_key.send().status]
    };
    let zulip = |app: &Client, user: &str, key: &str| basic(app.get("/api/v1/users/me"), user, key).send().status;
    let statuses = std::cell::RefCell::new(Vec::new());
    let events_of = |requests: &dyn Fn(&Client, &str) -> Vec<u16>| {
        let events = audited(backend, |app| {
            let key = app.key(ADMIN, ADMIN_PASSWORD, "tv").replace('-', "");
            *statuses.borrow_mut() = requests(app, &key);
        });
        let is_about_keys = |event: &String| event.starts_with("key_rejected") || event.starts_with("access_denied");
        let events: Vec<String> = events.into_iter().filter(is_about_keys).collect();
        (statuses.take(), events)
    };
    let rejected = vec!["key_rejected   ".to_owned()];
    for (method, path, code) in [("POST", "/x?cmd=authenticated", 401), ("PUT", "/a", 400)] {
        for key in [unknown, "nonsense"] {
            let sent = events_of(&|app, _| zettelstore(app, method, path, key));
            assert_eq!(sent, (vec![code, code], rejected.clone()), "{path} {key}");
        }
    }
    let other_user = events_of(&|app, key| vec![zulip(app, ADMIN, key), zulip(app, "somebody", key)]);
    assert_eq!(other_user, (vec![200, 401], rejected.clone()));
    let foreign = |key: Option<&str>, app: &Client| {
        let request = app.get("/api/v1/users/me").header("Sec-Fetch-Site", "cross-site");
        match key {
            Some(key) => basic(request, ADMIN, key).send().status,
            None => request.send().status,
        }
    };
    let of_page = events_of(&|app, key| vec![foreign(None, app), foreign(Some(key), app)]);
    assert_eq!(
        of_page,
        (vec![403, 403], vec!["access_denied Default  Default".to_owned()])
    );
    let unknown_of_page = events_of(&|app, _| vec![foreign(Some(unknown), app)]);
    assert_eq!(unknown_of_page, (vec![403], rejected));
}

#[apply(both_databases!)]
fn a_revocation_names_the_holder_of_the_presented_key(backend: Backend) {
    let events = audited(backend, |app| {
        let key = app.key(ADMIN, ADMIN_PASSWORD, "tv");
        let revoke = |path: &str| app.delete(path).header("apikey", &key).send();
        let laptop = || app.key(ADMIN, ADMIN_PASSWORD, "laptop");
        assert_eq!(revoke(&format!("/api/auth?apikey={}", laptop())).status, 200);
        assert_eq!(
            revoke(&format!("/api/v3/Auth/InvalidateToken?token={}", laptop())).status,
            200
        );
        laptop();
        let device = app.request("DELETE", "/api/auth").header("apikey", &key);
        assert_eq!(device.json(&json!("laptop")).send().status, 200);
        app.delete(&format!("/api/auth?apikey={}", laptop())).send();
    });
    let revoked: Vec<_> = events.iter().filter(|line| line.starts_with("key_revoked")).collect();
    let by_default = "key_revoked Default laptop Default";
    assert_eq!(revoked[..3], [by_default, by_default, by_default], "{events:?}");
}
