use serde_json::{Value, json};
use test_support::{Backend, apply, both_databases};

use crate::support::{TestApp, limit_waits};

fn get(app: &TestApp, path: &str, key: Option<&str>) -> Value {
    let request = app.get(path);
    let response = key
        .into_iter()
        .fold(request, |request, key| request.header("apikey", key))
        .send();
    assert_eq!(response.status, 200, "{path}: {}", response.text());
    response.json()
}

#[apply(both_databases!)]
fn the_version_is_one_that_every_client_accepts(backend: Backend) {
    let app = TestApp::on(backend);
    let version = get(&app, "/api/v3/Init/Version", None);
    assert_eq!(
        version["Server"],
        json!({"Version": "6.0.0", "ReleaseChannel": "Stable"})
    );
    assert_eq!(
        get(&app, "/api/version", None)[0],
        json!({"name": "server", "version": "6.0.0"})
    );
}

#[apply(both_databases!)]
fn strangers_learn_neither_the_version_of_this_program_nor_its_uptime(backend: Backend) {
    let app = TestApp::on(backend);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    for path in [
        "/api/v3/Init/Version",
        "/api/version",
        "/api/v3/Init/Status",
        "/health/ready",
        "/health/live",
    ] {
        let response = get(&app, path, None).to_string();
        assert!(!response.contains(env!("CARGO_PKG_VERSION")), "{path}: {response}");
    }
    assert_eq!(get(&app, "/api/init/status", None)["server_uptime"], "00:00:00");
    assert!(get(&app, "/api/v3/Init/Status", None).get("Uptime").is_none());
    assert_ne!(
        get(&app, "/api/v3/Init/Status", Some(&app.admin_key()))["Uptime"],
        "00:00:00"
    );
}

#[apply(both_databases!)]
fn the_status_has_more_members_for_a_client_with_a_key(backend: Backend) {
    let app = TestApp::on(backend);
    let without_key = app.get("/api/v3/Init/Status").send();
    assert_eq!(without_key.text(), r#"{"State":"Started","StartupMessage":null}"#);
    let with_invalid_key = get(&app, "/api/v3/Init/Status", Some("dead"));
    assert_eq!(with_invalid_key, without_key.json(), "an invalid key is ignored");
    let status = get(&app, "/api/v3/Init/Status", Some(&app.admin_key()));
    let members: Vec<&String> = status.as_object().unwrap().keys().collect();
    let expected = [
        "State",
        "StartupMessage",
        "CanShutdown",
        "CanRestart",
        "BootstrappedAt",
        "StartedAt",
        "Uptime",
        "StartupTime",
        "DatabaseBlocked",
    ];
    assert_eq!(members, expected);
    assert_eq!(get(&app, "/api/v3/Init/InUse", None), json!(false));
}

#[apply(both_databases!)]
fn the_document_requires_only_status_members_that_every_client_receives(backend: Backend) {
    let app = TestApp::on(backend);
    let document = get(&app, "/swagger/v3/swagger.json", None);
    let parts = document["components"]["schemas"]["ServerStatus"]["allOf"]
        .as_array()
        .unwrap()
        .iter();
    let without_key = get(&app, "/api/v3/Init/Status", None);
    for part in parts {
        assert_eq!(
            part["type"], "object",
            "the response to a client without a key must match every part of the schema"
        );
        for member in part["required"].as_array().into_iter().flatten() {
            assert!(
                without_key.get(member.as_str().unwrap()).is_some(),
                "{member} is required but missing for a client without a key"
            );
        }
    }
}

#[apply(both_databases!)]
fn kodi_gets_status_and_user_id_around_a_login(backend: Backend) {
    let app = TestApp::on(backend);
    let status = get(&app, "/api/init/status", None);
    assert_eq!(
        (&status["server_started"], &status["startup_state"]),
        (&json!(true), &json!("Complete!"))
    );
    app.get("/api/ping").send().problem(401);
    app.get("/api/myid/get").send().problem(401);
    let key = app.admin_key();
    assert_eq!(get(&app, "/api/ping", Some(&key)), json!({"response": "pong"}));
    assert_eq!(get(&app, "/api/myid/get", Some(&key)), json!({"userid": 1}));
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn the_status_is_starting_while_the_database_is_offline() {
    let app = TestApp::with(Backend::Postgres, limit_waits);
    let key = app.admin_key();
    app.database.take_offline();
    assert_eq!(get(&app, "/api/v3/Init/Status", None)["State"], "Starting");
    assert_eq!(get(&app, "/api/v3/Init/Status", Some(&key))["State"], "Starting");
    assert_eq!(get(&app, "/api/init/status", None)["server_started"], false);
    get(&app, "/api/v3/Init/Version", Some(&key));
    get(&app, "/api/v3/Init/InUse", None);
    get(&app, "/api/version", None);
    app.get("/api/ping").header("apikey", &key).send().problem(503);
    app.database.bring_online();
}
