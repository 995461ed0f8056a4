use serde_json::{Value, json};

use crate::support::{Backend, TestApp, on_both_databases};

fn get(app: &TestApp, path: &str, key: Option<&str>) -> Value {
    let request = app.get(path);
    let answer = key
        .into_iter()
        .fold(request, |request, key| request.header("apikey", key))
        .send();
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

on_both_databases! {
    fn the_version_is_one_that_every_client_accepts(app: TestApp) {
        let version = get(&app, "/api/v3/Init/Version", None);
        assert_eq!(version["Server"], json!({"Version": "6.0.0", "ReleaseChannel": "Stable"}));
        assert_eq!(version["ShokoAuth"]["Version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(get(&app, "/api/version", None)[0], json!({"name": "server", "version": "6.0.0"}));
    }

    fn the_status_tells_more_to_who_is_signed_in(app: TestApp) {
        let anybody = app.get("/api/v3/Init/Status").send();
        assert_eq!(anybody.text(), r#"{"State":"Started","StartupMessage":null}"#);
        let dead = get(&app, "/api/v3/Init/Status", Some("dead"));
        assert_eq!(dead, anybody.json(), "a key that does not work is no error here");
        let status = get(&app, "/api/v3/Init/Status", Some(&app.admin_key()));
        let members: Vec<&String> = status.as_object().unwrap().keys().collect();
        let expected = [
            "State", "StartupMessage", "CanShutdown", "CanRestart", "BootstrappedAt", "StartedAt", "Uptime",
            "StartupTime", "DatabaseBlocked",
        ];
        assert_eq!(members, expected);
        assert_eq!(get(&app, "/api/v3/Init/InUse", None), json!(false));
    }

    fn of_the_status_the_document_promises_what_everybody_sees(app: TestApp) {
        let document = get(&app, "/swagger/v3/swagger.json", None);
        let parts = document["components"]["schemas"]["ServerStatus"]["allOf"].as_array().unwrap().iter();
        let anybody = get(&app, "/api/v3/Init/Status", None);
        for part in parts {
            assert_eq!(part["type"], "object", "a stranger's answer is to fit each part");
            for member in part["required"].as_array().into_iter().flatten() {
                assert!(anybody.get(member.as_str().unwrap()).is_some(), "{member} is not always there");
            }
        }
    }

    fn kodi_asks_before_and_after_the_login(app: TestApp) {
        let status = get(&app, "/api/init/status", None);
        assert_eq!((&status["server_started"], &status["startup_state"]), (&json!(true), &json!("Complete!")));
        app.get("/api/ping").send().problem(401);
        app.get("/api/myid/get").send().problem(401);
        let key = app.admin_key();
        assert_eq!(get(&app, "/api/ping", Some(&key)), json!({"response": "pong"}));
        assert_eq!(get(&app, "/api/myid/get", Some(&key)), json!({"userid": 1}));
    }
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn while_the_database_is_away_clients_are_told_that_it_is_starting() {
    let app = TestApp::on(Backend::Postgres);
    let key = app.admin_key();
    app.database.go_away();
    assert_eq!(get(&app, "/api/v3/Init/Status", None)["State"], "Starting");
    assert_eq!(get(&app, "/api/v3/Init/Status", Some(&key))["State"], "Starting");
    assert_eq!(get(&app, "/api/init/status", None)["server_started"], false);
    get(&app, "/api/v3/Init/Version", Some(&key));
    get(&app, "/api/v3/Init/InUse", None);
    get(&app, "/api/version", None);
    app.get("/api/ping").header("apikey", &key).send().problem(503);
    app.database.come_back();
}
