use test_support::{Backend, Response, apply, both_databases};

use super::{UNKNOWN_KEY, apikey, rejection, replay};
use crate::support::{RECORDED_PASSWORD as PASSWORD, TestApp, app_with_recorded_password};

/// The agent. The scanners send the same without `Accept`. Plex's framework, which was not at hand, may add headers.
const LOGIN: &str = "\
POST /api/auth HTTP/1.1
Accept-Encoding: identity
Accept: application/json
Connection: close
User-Agent: Python-urllib/2.7
Host: {host}
Content-Length: {length}
Content-Type: application/json";
const CALL: &str = "\
GET {path}&apikey={key} HTTP/1.1
Accept-Encoding: identity
Accept: application/json
Connection: close
User-Agent: Python-urllib/2.7
Host: {host}";

/// The client escapes nothing in the name and the password.
fn log_in(app: &TestApp, head: &str, password: &str, device: &str) -> Response {
    let body = format!(r#"{{"user":"Default", "pass":"{password}", "device":"{device}"}}"#);
    replay(app, head, &body)
}

fn call(app: &TestApp, path: &str, key: &str) -> Response {
    replay(app, &CALL.replace("{path}", path).replace("{key}", key), "")
}

#[apply(both_databases!)]
fn shoko_metadata_logs_in_as_two_devices(backend: Backend) {
    let app = app_with_recorded_password(backend);
    let agent = apikey(&log_in(&app, LOGIN, PASSWORD, "Shoko Metadata For Plex"));
    let scanner_login = LOGIN.replace("Accept: application/json\n", "");
    let scanner = apikey(&log_in(&app, &scanner_login, PASSWORD, "Shoko Series Scanner For Plex"));
    assert_ne!(agent, scanner);
    for key in [agent, scanner] {
        assert_eq!(call(&app, "/api/v3/User/Current?x=1", &key).status, 200);
        rejection(&call(&app, "/api/serie/search?query=a&level=1&fuzzy=1", &key), 404);
        rejection(&call(&app, "/api/ep/getbyfilename?filename=a.mkv", &key), 404);
    }
    rejection(&call(&app, "/api/v3/User/Current?x=1", UNKNOWN_KEY), 401);
}

#[apply(both_databases!)]
fn shoko_metadata_does_not_escape_the_password(backend: Backend) {
    let app = app_with_recorded_password(backend);
    for (password, status) in [
        ("certainly wrong", 401),
        ("", 401),
        (r#"with"quote"#, 400),
        (r"with\quack", 400),
    ] {
        let rejected = log_in(&app, LOGIN, password, "Shoko Metadata For Plex");
        rejection(&rejected, status);
    }
}
