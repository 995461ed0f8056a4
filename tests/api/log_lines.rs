use serde_json::Value;

use crate::serving::Serving;
use crate::support::{ADMIN, ADMIN_PASSWORD, Backend, Client, TestDatabase, on_both_databases};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Some requests of every kind, with secrets wherever they can be. Gives back the secrets.
fn talk(server: &Client) -> Vec<String> {
    let key = server.key(ADMIN, ADMIN_PASSWORD, "d");
    let (shout, wrong) = (key.to_uppercase(), "wrong-password-in-the-log");
    server
        .get(&format!("/api/v3/User/Current?apikey={key}&x=hidden-in-the-query"))
        .send();
    server.get("/api/auth/verify").header("apikey", &shout).send();
    server
        .get("/api/auth/verify")
        .header("Authorization", &format!("Bearer {key}"))
        .send();
    server.log_in(ADMIN, wrong, "d");
    server
        .post("/api/auth")
        .header("Content-Type", "application/json")
        .body(format!("{{\"pass\":\"{wrong}"))
        .send();
    server
        .get(&format!("/api/nothing?apikey={key}"))
        .header("traceparent", &format!("00-{TRACE}-b7ad6b7169203331-01"))
        .send();
    server
        .request("PUT", &format!("/api/auth?apikey={key}"))
        .body("")
        .send();
    server.change_password(&key, "short");
    server.delete(&format!("/api/auth?apikey={key}")).send();
    let plain = key.replace('-', "");
    vec![
        key,
        shout,
        plain,
        wrong.to_owned(),
        ADMIN_PASSWORD.to_owned(),
        "hidden-in-the-query".to_owned(),
    ]
}

fn log_of(database: &TestDatabase, level: Option<&str>, format: &str) -> String {
    let mut command = database.program(&["serve", "--log-format", format]);
    command
        .env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD)
        .envs(level.map(|level| ("RUST_LOG", level)));
    let mut serving = Serving::start(command);
    let secrets = talk(serving.server());
    serving.signal("TERM");
    let (_, log) = serving.ended();
    for secret in secrets {
        assert!(!log.contains(&secret), "{log}");
    }
    log
}

on_both_databases! {
    fn each_request_is_one_line_of_json_with_its_trace(database: TestDatabase) {
        let log = log_of(&database, Some("debug"), "json");
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let requests: Vec<&Value> = lines.iter().filter(|line| line["target"] == "shoko_auth::web::request").collect();
        let found: Vec<String> = requests
            .iter()
            .map(|line| format!("{} {} {}", line["method"], line["route"], line["status"]).replace('"', ""))
            .collect();
        let expected = [
            "POST /api/auth 200",
            "GET /api/v3/user/current 200",
            "GET /api/auth/verify 200",
            "GET /api/auth/verify 200",
            "POST /api/auth 401",
            "POST /api/auth 400",
            "GET none 404",
            "PUT /api/auth 405",
            "POST /api/auth/changepassword 400",
            "DELETE /api/auth 200",
        ];
        assert_eq!(found, expected);
        assert!(requests.iter().all(|line| line["seconds"].as_f64().is_some() && line["level"] == "debug"));
        assert!(requests[6]["trace"].as_str().unwrap().contains(TRACE));
        assert!(lines.iter().all(|line| line["time"].as_str().unwrap().ends_with('Z')));
    }

    fn each_security_event_is_one_line_with_who_from_where_and_the_trace(database: TestDatabase) {
        let log = log_of(&database, None, "json");
        let lines = log.lines().map(|line| serde_json::from_str(line).expect(line));
        let events: Vec<Value> = lines.filter(|line: &Value| line["target"] == "shoko_auth::audit").collect();
        let found: Vec<String> = events
            .iter()
            .map(|event| format!("{} {} {} {}", event["event"], event["user"], event["device"], event["address"]))
            .collect();
        let expected = [
            r#""user_made" "Default" "" "local""#,
            r#""admin_granted" "Default" "" "local""#,
            r#""login_ok" "Default" "d" "127.0.0.1""#,
            r#""key_made" "Default" "d" "127.0.0.1""#,
            r#""login_failed" "Default" "" "127.0.0.1""#,
            r#""key_revoked" "Default" "d" "127.0.0.1""#,
        ];
        assert_eq!(found, expected);
        assert!(events.iter().skip(2).all(|event| event["trace"].as_str().unwrap().starts_with("00-")));
    }

    fn no_name_passes_for_an_address(database: TestDatabase) {
        let mut command = database.program(&["serve"]);
        command.env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD);
        let mut serving = Serving::start(command);
        for name in ["bob address=192.0.2.1", "x\" address=192.0.2.1 \"", "событие", ""] {
            serving.server().log_in(name, "wrong", "d");
        }
        serving.signal("TERM");
        let (_, log) = serving.ended();
        let failed: Vec<&str> = log.lines().filter_map(|line| Some(line.split_once("event=login_failed ")?.1)).collect();
        assert!(failed[0].starts_with(r#"address=127.0.0.1 user="bob address=192.0.2.1" device="" by="" trace=00-"#), "{log}");
        assert!(failed[1].starts_with(r#"address=127.0.0.1 user="x\" address=192.0.2.1 \"" device="#), "{log}");
        assert!(failed[2].starts_with("address=127.0.0.1 user=событие device="), "{log}");
        assert_eq!(failed.len(), 3);
    }

    fn no_level_shows_a_secret(database: TestDatabase) {
        let log = log_of(&database, Some("trace"), "text");
        assert!(log.contains("status=401"), "{log}");
    }

    fn what_is_our_fault_is_logged_with_the_trace_in_every_dialect(database: TestDatabase) {
        let mut command = database.program(&["serve", "--log-format", "json", "--dialects", "shoko,zulip,zettelstore"]);
        command.env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD);
        let mut serving = Serving::start(command);
        let server = serving.server();
        server.key(ADMIN, ADMIN_PASSWORD, "d");
        // Only one key can be stored.
        database.execute("CREATE UNIQUE INDEX broken ON api_keys ((length(device) * 0))");
        let form = format!("username={ADMIN}&password={ADMIN_PASSWORD}");
        let json = format!(r#"{{"user":"{ADMIN}","pass":"{ADMIN_PASSWORD}","device":"e"}}"#);
        let calls = [
            ("/api/auth", "application/json", &json),
            ("/api/v1/fetch_api_key", "application/x-www-form-urlencoded", &form),
            ("/a", "application/x-www-form-urlencoded", &form),
        ];
        for (path, kind, body) in calls {
            let request = server.post(path).header("Content-Type", kind).body(body.as_str());
            let answer = request.header("traceparent", &format!("00-{TRACE}-b7ad6b7169203331-01")).send();
            assert_eq!(answer.status, 500, "{path}: {}", answer.text());
            assert!(!answer.text().contains("broken"), "{path}: {}", answer.text());
        }
        serving.signal("TERM");
        let (_, log) = serving.ended();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let faults: Vec<Value> = lines.filter(|line| line["level"] == "error").collect();
        assert_eq!(faults.len(), calls.len(), "{log}");
        for fault in faults {
            assert!(fault["trace"].as_str().is_some_and(|trace| trace.contains(TRACE)), "{fault}");
        }
    }
}

#[test]
fn by_default_only_what_a_person_must_know_is_logged() {
    let database = TestDatabase::create(Backend::Sqlite);
    let log = log_of(&database, None, "text");
    let events = log.lines().filter(|line| line.contains("shoko_auth::audit"));
    assert_eq!(events.count(), 6, "{log}");
    // On a busy machine the change feed may be late, which is logged.
    let lines = log.lines().filter(|line| !line.contains("change feed"));
    assert!(lines.count() < 13, "{log}");
}
