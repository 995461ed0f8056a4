use test_support::{Backend, Response, apply, both_databases};

use super::{UNKNOWN_KEY, apikey, rejection, replay};
use crate::support::{RECORDED_PASSWORD as PASSWORD, TestApp, app_with_recorded_password};

/// The agent. The scanner sends the same without `Accept`. Plex's framework, which was not at hand, may add headers.
const AGENT_LOGIN: &str = "\
POST /api/auth HTTP/1.1
Accept-Encoding: identity
Accept: application/json
Connection: close
User-Agent: Python-urllib/2.7
Host: {host}
Content-Length: {length}
Content-Type: application/json";
const AGENT_CALL: &str = "\
GET {path} HTTP/1.1
Accept-Encoding: identity
Apikey: {key}
Accept: application/json
Connection: close
User-Agent: Python-urllib/2.7
Host: {host}";
const SCRIPT_LOGIN: &str = "\
POST /api/auth HTTP/1.1
Host: {host}
User-Agent: python-requests/2.34.2
Accept-Encoding: gzip, deflate
Accept: */*
Connection: keep-alive
Content-Length: {length}
Content-Type: application/json";
const SCRIPT_CALL: &str = "\
GET {path} HTTP/1.1
Host: {host}
User-Agent: python-requests/2.34.2
Accept-Encoding: gzip, deflate
Accept: */*
Connection: keep-alive";

/// `password` is escaped for JSON. Python 2 writes the members in the order of its hash table.
fn log_in_agent(app: &TestApp, head: &str, password: &str) -> Response {
    let body = format!(r#"{{"pass": "{password}", "user": "Default", "device": "Shoko Relay for Plex"}}"#);
    replay(app, head, &body)
}

fn call_as_agent(app: &TestApp, path: &str, key: &str) -> Response {
    replay(app, &AGENT_CALL.replace("{path}", path).replace("{key}", key), "")
}

fn log_in_script(app: &TestApp, user: &str, password: &str) -> Response {
    let body = format!(r#"{{"user": "{user}", "pass": "{password}", "device": "Shoko Relay Scripts for Plex"}}"#);
    replay(app, SCRIPT_LOGIN, &body)
}

#[apply(both_databases!)]
fn the_agent_and_the_scanner_share_a_key(backend: Backend) {
    let app = app_with_recorded_password(backend);
    let key = apikey(&log_in_agent(&app, AGENT_LOGIN, PASSWORD));
    let scanner_login = AGENT_LOGIN.replace("Accept: application/json\n", "");
    assert_eq!(apikey(&log_in_agent(&app, &scanner_login, PASSWORD)), key);
    assert_eq!(call_as_agent(&app, "/api/v3/User/Current", &key).status, 200);
}

#[apply(both_databases!)]
fn the_agent_logs_in_once_more_after_any_error(backend: Backend) {
    let app = app_with_recorded_password(backend);
    rejection(&call_as_agent(&app, "/api/v3/User/Current", UNKNOWN_KEY), 401);
    let key = apikey(&log_in_agent(&app, AGENT_LOGIN, PASSWORD));
    for path in [
        "/api/v3/Series/Search?query=Kowarekake+no+Orgel&fuzzy=false&limit=10",
        "/api/v3/File/PathEndsWith?path=a.mkv&include=XRefs&limit=0",
    ] {
        rejection(&call_as_agent(&app, path, &key), 404);
        assert_eq!(apikey(&log_in_agent(&app, AGENT_LOGIN, PASSWORD)), key);
    }
    for password in ["certainly wrong", ""] {
        rejection(&log_in_agent(&app, AGENT_LOGIN, password), 401);
    }
}

#[apply(both_databases!)]
fn the_scripts_read_the_status_in_the_body(backend: Backend) {
    let app = app_with_recorded_password(backend);
    for password in ["certainly wrong", "", r#"b\u00e4r & \"co\"+1"#] {
        let rejected = log_in_script(&app, "Default", password);
        rejection(&rejected, 401);
        rejected.problem(401);
    }
    rejection(&log_in_script(&app, "", PASSWORD), 400);
}

#[apply(both_databases!)]
fn the_scripts_put_their_key_in_the_query(backend: Backend) {
    let app = app_with_recorded_password(backend);
    let key = apikey(&log_in_script(&app, "Default", PASSWORD));
    let get = |path: &str| replay(&app, &SCRIPT_CALL.replace("{path}", path), "");
    assert_eq!(get(&format!("/api/v3/User/Current?apikey={key}")).status, 200);
    for path in ["/api/v3/ImportFolder", "/api/v3/Action/RemoveMissingFiles/true"] {
        rejection(&get(&format!("{path}?apikey={key}")), 404);
    }
}
