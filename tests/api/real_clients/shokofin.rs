//! .NET's `HttpClient` sends no `User-Agent` and no `Accept`. It writes `Host` first, then the headers of the request,
//! then those of its body. Within a request of a browser to Jellyfin, it adds `traceparent`.

use serde_json::json;
use test_support::{Backend, Response, apply, both_databases};

use super::{UNKNOWN_KEY, apikey, rejection, replay};
use crate::support::{RECORDED_PASSWORD as PASSWORD, TestApp, app_with_recorded_password};

const VERSION: &str = "\
GET /api/v3/Init/Version HTTP/1.1
Host: {host}
traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const LOGIN: &str = "\
POST /api/auth HTTP/1.1
Host: {host}
traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00
Content-Type: application/json; charset=utf-8
Content-Length: {length}";
/// Every later request has an empty string as its body, even a GET.
const CALL: &str = "\
{call} HTTP/1.1
Host: {host}
apikey: {key}
Content-Type: text/plain; charset=utf-8
Content-Length: {length}";
const NEGOTIATE: &str = "\
POST /signalr/aggregate/negotiate?feeds=shoko&negotiateVersion=1 HTTP/1.1
Host: {host}
Authorization: Bearer {key}
X-Requested-With: XMLHttpRequest
User-Agent: Microsoft SignalR/8.0 (8.0.7; Linux; .NET; .NET 8.0.8)
Content-Length: {length}";

const DEVICE: &str = "Shoko Jellyfin Plugin (Shokofin)";
const USER_DEVICE: &str = "Shoko Jellyfin Plugin (Shokofin) - User Key";

/// `user` and `password` are as .NET escapes them: everything outside ASCII, and `&`, `+`, `<`, `>`, `'` and `"`.
fn log_in(app: &TestApp, user: &str, password: &str, device: &str) -> Response {
    let body = format!(r#"{{"user":"{user}","pass":"{password}","device":"{device}"}}"#);
    replay(app, LOGIN, &body)
}

fn call(app: &TestApp, call: &str, key: &str) -> Response {
    replay(app, &CALL.replace("{call}", call).replace("{key}", key), "")
}

#[apply(both_databases!)]
fn shokofin_reads_the_version_as_plain_numbers(backend: Backend) {
    let app = app_with_recorded_password(backend);
    let server = replay(&app, VERSION, "").json()["Server"].clone();
    let version = server["Version"].as_str().unwrap();
    assert!(
        version.split('.').all(|number| number.parse::<u32>().is_ok()),
        "{server}"
    );
    assert_eq!(server["ReleaseChannel"], "Stable");
    assert_eq!(
        server.get("Commit"),
        None,
        "Shokofin cuts it to 7 characters without a check"
    );
}

#[apply(both_databases!)]
fn shokofin_gets_a_key_for_itself_and_one_for_each_user(backend: Backend) {
    let app = app_with_recorded_password(backend);
    app.add_user("jellyfin", "bär & co+1");
    let escaped = r"b\u00E4r \u0026 co\u002B1";
    let key = apikey(&log_in(&app, "jellyfin", escaped, DEVICE));
    assert_eq!(apikey(&log_in(&app, "jellyfin", escaped, DEVICE)), key);
    let user_key = apikey(&log_in(&app, "jellyfin", escaped, USER_DEVICE));
    assert_ne!(user_key, key);
    for key in [key, user_key] {
        assert_eq!(
            call(&app, "GET /api/v3/User/Current", &key).json()["Username"],
            "jellyfin"
        );
    }
    for password in ["certainly wrong", ""] {
        rejection(&log_in(&app, "Default", password, DEVICE), 401);
    }
    let problem = rejection(&log_in(&app, "", PASSWORD, DEVICE), 400);
    assert_eq!(problem["errors"], json!({"user": ["Username is required"]}));
}

#[apply(both_databases!)]
fn shokofin_finds_no_series_and_no_notifications(backend: Backend) {
    let app = app_with_recorded_password(backend);
    let key = apikey(&log_in(&app, "Default", PASSWORD, DEVICE));
    for request in [
        "GET /api/v3/ImportFolder/1",
        "GET /api/v3/File/PathEndsWith?path=%2Fa.mkv&includeDataFrom=AniDB&limit=1",
        "GET /api/v3/Series/1/File?pageSize=0&include=XRefs&includeDataFrom=AniDB",
        "PATCH /api/v3/File/1/Scrobble?event=play&episodeID=1&resumePosition=0",
    ] {
        rejection(&call(&app, request, &key), 404);
    }
    let negotiated = replay(&app, &NEGOTIATE.replace("{key}", &key), "");
    rejection(&negotiated, 404);
}

#[apply(both_databases!)]
fn shokofin_sees_401_after_its_key_is_revoked(backend: Backend) {
    let app = app_with_recorded_password(backend);
    let key = apikey(&log_in(&app, "Default", PASSWORD, DEVICE));
    assert_eq!(app.delete(&format!("/api/auth?apikey={key}")).send().status, 200);
    for key in [key.as_str(), UNKNOWN_KEY] {
        rejection(&call(&app, "GET /api/v3/User/Current", key), 401);
    }
}
