use test_support::{Backend, Response, apply, both_databases};

use super::{apikey, rejection, replay};
use crate::support::{ADMIN, RECORDED_PASSWORD as PASSWORD, TestApp, app_with_recorded_password};

/// Every request has a content type and the version, even in the routes that have none. `{key}` is the header with the
/// key, which a login does not have.
const CALL: &str = "\
{call} HTTP/1.1
Accept-Encoding: identity
Content-Length: {length}
Host: {host}
User-Agent: Python-urllib/3.11
Accept: */*
Content-Type: application/json
Api-Version: {version}
{key}Connection: close";

/// One of the two API clients.
struct ApiClient<'a> {
    app: &'a TestApp,
    version: u8,
}

impl ApiClient<'_> {
    fn call(&self, call: &str, key: Option<&str>, body: &str) -> Response {
        let key = key.map_or_else(String::new, |key| format!("Apikey: {key}\n"));
        let head = CALL
            .replace("{call}", call)
            .replace("{version}", &self.version.to_string())
            .replace("{key}", &key);
        let head = if call.starts_with("GET") {
            head.replace("Content-Length: {length}\n", "")
        } else {
            head
        };
        replay(self.app, &head, body)
    }

    fn log_in(&self, path: &str, password: &str) -> Response {
        let body = format!(r#"{{"user": "Default", "pass": "{password}", "device": "kodi"}}"#);
        self.call(&format!("POST {path}"), None, &body)
    }
}

#[apply(both_databases!)]
fn the_client_of_version_3_logs_in_and_changes_the_password(backend: Backend) {
    let app = app_with_recorded_password(backend);
    let client = ApiClient { app: &app, version: 3 };
    for password in ["certainly wrong", ""] {
        rejection(&client.log_in("/api/auth", password), 401);
    }
    let key = apikey(&client.log_in("/api/auth", PASSWORD));
    for path in ["Init/Version", "Init/status", "Init/inuse", "User", "Settings"] {
        let response = client.call(&format!("GET /api/v3/{path}"), Some(&key), "");
        assert_eq!(response.status, 200, "{path}");
    }
    rejection(&client.call("GET /api/v3/Series", Some(&key), ""), 404);
    let body = r#""the second password""#;
    let changed = client.call("POST /api/auth/ChangePassword", Some(&key), body);
    assert_eq!((changed.status, changed.body.len()), (200, 0));
    rejection(&client.call("GET /api/v3/User", Some(&key), ""), 401);
    assert_eq!(app.log_in(ADMIN, "the second password", "kodi").status, 200);
}

#[apply(both_databases!)]
fn the_client_of_version_3_cannot_revoke_a_key_just_as_in_shoko_5(backend: Backend) {
    let app = app_with_recorded_password(backend);
    let client = ApiClient { app: &app, version: 3 };
    let key = apikey(&client.log_in("/api/auth", PASSWORD));
    let body = format!(r#"{{"apikey": "{key}"}}"#);
    rejection(&client.call("DELETE /api/auth", Some(&key), &body), 400);
    assert!(app.accepts(&key));
}

#[apply(both_databases!)]
fn the_client_of_version_2_revokes_a_key_with_a_null_body(backend: Backend) {
    let app = app_with_recorded_password(backend);
    let client = ApiClient { app: &app, version: 2 };
    let key = apikey(&client.log_in("/api/auth?api-version=2", PASSWORD));
    for path in ["/api/ping", "/api/version", "/api/myid/get"] {
        let response = client.call(&format!("GET {path}?api-version=2"), Some(&key), "");
        assert_eq!(response.status, 200, "{path}");
    }
    rejection(&client.call("GET /api/filter?api-version=2", Some(&key), ""), 404);
    let call = format!("DELETE /api/auth?apikey={key}&api-version=2");
    assert_eq!(client.call(&call, None, "null").status, 200);
    rejection(&client.call("GET /api/ping?api-version=2", Some(&key), ""), 401);
}
