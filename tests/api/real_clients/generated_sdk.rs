use test_support::{Backend, Response, apply, both_databases};

use super::{apikey, replay};
use crate::support::{ADMIN, RECORDED_PASSWORD as PASSWORD, TestApp, app_with_recorded_password};

/// The SDK joins the prefix of the document, `/api/v3`, with the whole path.
const LOGIN: &str = "\
POST /api/v3/api/auth HTTP/1.1
Host: {host}
Accept-Encoding: identity
Content-Length: {length}
User-Agent: OpenAPI-Generator/1.0.0/python
Accept: text/plain, application/json, text/json
Content-Type: application/json-patch+json";
const CHANGE_PASSWORD: &str = "\
POST /api/v3/api/auth/ChangePassword HTTP/1.1
Host: {host}
Accept-Encoding: identity
Content-Length: {length}
User-Agent: OpenAPI-Generator/1.0.0/python
apikey: {key}
Content-Type: application/json-patch+json";
const REVOKE: &str = "\
DELETE /api/v3/api/auth?apikey={key} HTTP/1.1
Host: {host}
Accept-Encoding: identity
User-Agent: OpenAPI-Generator/1.0.0/python";

fn log_in(app: &TestApp, head: &str, password: &str) -> Response {
    let body = format!(r#"{{"pass":"{password}","device":"sdk","user":"Default"}}"#);
    replay(app, head, &body)
}

#[apply(both_databases!)]
fn the_sdk_generated_from_shokos_document_works(backend: Backend) {
    let app = app_with_recorded_password(backend);
    let key = apikey(&log_in(&app, LOGIN, PASSWORD));
    let changed = replay(
        &app,
        &CHANGE_PASSWORD.replace("{key}", &key),
        r#""the second password""#,
    );
    assert_eq!(changed.status, 200);
    let key = apikey(&log_in(&app, LOGIN, "the second password"));
    assert_eq!(app.key(ADMIN, "the second password", "sdk"), key);
    assert_eq!(replay(&app, &REVOKE.replace("{key}", &key), "").status, 200);
    assert!(!app.accepts(&key));
}

/// The SDK raises an error of its own for any other type, before it looks at the status.
#[apply(both_databases!)]
fn the_sdk_gets_problems_of_a_type_that_it_reads(backend: Backend) {
    let app = app_with_recorded_password(backend);
    let accept = "Accept: text/plain, application/json, text/json";
    let lines = "Accept: text/plain\nAccept: application/json\nAccept: text/json";
    for head in [LOGIN, &LOGIN.replace(accept, lines)] {
        let missing_members = replay(&app, head, "{}");
        for (rejected, status) in [
            (missing_members, 400),
            (log_in(&app, head, "certainly wrong"), 401),
            (log_in(&app, head, ""), 401),
        ] {
            assert_eq!(rejected.status, status);
            assert_eq!(rejected.header("content-type").as_deref(), Some("application/json"));
        }
    }
}
