use test_support::{Backend, Response, apply, both_databases};

use super::{UNKNOWN_KEY, apikey, rejection, replay};
use crate::support::{RECORDED_PASSWORD as PASSWORD, TestApp, app_with_recorded_password};

/// Nakamori-lts always asks for gzip here. `{stored}` is the header with the stored key, if there is one.
const LTS_LOGIN: &str = "\
POST /api/auth HTTP/1.1
Content-Length: {length}
Host: {host}
User-Agent: Python-urllib/3.11
Content-Type: application/json
Accept: application/json
Accept-Encoding: gzip
{stored}Connection: close";
const LOGIN: &str = "\
POST /api/auth HTTP/1.1
Accept-Encoding: identity
Content-Length: {length}
Host: {host}
User-Agent: Python-urllib/3.11
Content-Type: application/json
Accept: application/json
{stored}Connection: close";
/// Both ask for gzip instead of `identity` if the server is on another machine.
const GET: &str = "\
GET {path} HTTP/1.1
Accept-Encoding: {encoding}
Host: {host}
User-Agent: Python-urllib/3.11
Accept: application/json
Apikey: {key}
Connection: close";

/// The client escapes nothing in the name and the password.
fn log_in(app: &TestApp, head: &str, password: &str, stored_key: Option<&str>) -> Response {
    let stored = stored_key.map_or_else(String::new, |key| format!("Apikey: {key}\n"));
    let body = format!(r#"{{"user":"Default","pass":"{password}","device":"nakamori"}}"#);
    replay(app, &head.replace("{stored}", &stored), &body)
}

fn get(app: &TestApp, path: &str, key: &str) -> Response {
    let head = GET.replace("{path}", path).replace("{key}", key);
    let local = replay(app, &head.replace("{encoding}", "identity"), "");
    let remote = replay(app, &head.replace("{encoding}", "gzip"), "");
    assert_eq!((local.status, remote.status), (remote.status, local.status));
    assert_eq!(remote.header("content-encoding"), None);
    local
}

/// The requests when the add-on starts: is this a server, has it started, and does the key work?
#[apply(both_databases!)]
fn nakamori_starts(backend: Backend) {
    let app = app_with_recorded_password(backend);
    let no_key = "";
    assert!(get(&app, "/api/version", no_key).json().is_array());
    let status = get(&app, "/api/init/status", no_key).json();
    assert_eq!(
        (&status["server_started"], &status["startup_failed"]),
        (&true.into(), &false.into())
    );
    for head in [LTS_LOGIN, LOGIN] {
        let key = apikey(&log_in(&app, head, PASSWORD, None));
        assert!(get(&app, "/api/ping", &key).text().contains("pong"));
        assert_eq!(get(&app, "/api/version", &key).status, 200);
        rejection(&get(&app, "/api/filter?id=0&level=0", &key), 404);
    }
}

#[apply(both_databases!)]
fn nakamori_logs_in_with_an_invalid_stored_key(backend: Backend) {
    let app = app_with_recorded_password(backend);
    let key = apikey(&log_in(&app, LOGIN, PASSWORD, None));
    // "Log out" stores this text instead of the key.
    for stored in ["set-new-apikey", UNKNOWN_KEY] {
        rejection(&get(&app, "/api/ping", stored), 401);
        for head in [LTS_LOGIN, LOGIN] {
            assert_eq!(apikey(&log_in(&app, head, PASSWORD, Some(stored))), key);
        }
    }
    assert!(app.accepts(&key), "logging out of Nakamori revokes nothing");
}

#[apply(both_databases!)]
fn nakamori_does_not_escape_the_password(backend: Backend) {
    let app = app_with_recorded_password(backend);
    for head in [LTS_LOGIN, LOGIN] {
        for (password, status) in [
            ("certainly wrong", 401),
            ("", 401),
            (r#"with"quote"#, 400),
            (r"with\quack", 400),
            (r"an\nescape", 401),
        ] {
            rejection(&log_in(&app, head, password, None), status);
        }
    }
}
