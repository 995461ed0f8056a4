//! Shoko Desktop, which runs on .NET: `Host` is first, then the headers of the request, then those of its body.

use test_support::{Backend, Response, apply, both_databases};

use super::{rejection, replay};
use crate::support::{ADMIN_PASSWORD, TestApp};

const GET: &str = "\
GET {path} HTTP/1.1
Host: {host}
Accept: application/json";
const LOGIN: &str = "\
POST /v1/User/{name} HTTP/1.1
Host: {host}
Accept: application/json
Content-Type: application/x-www-form-urlencoded
Content-Length: {length}";

fn get(app: &TestApp, path: &str) -> Response {
    replay(app, &GET.replace("{path}", path), "")
}

/// Sends a login. `name` and `password` are encoded as in a form, with `+` for a space.
fn log_in(app: &TestApp, name: &str, password: &str) -> Response {
    replay(app, &LOGIN.replace("{name}", name), &format!("password={password}"))
}

#[apply(both_databases!)]
fn desktop_logs_in_only_if_another_server_tells_it_the_settings(backend: Backend) {
    let app = TestApp::with(backend, |settings| settings.v1_login = true);
    app.add_user("golden bob", "bob+s & password");
    for path in ["/v1/Server", "/v1/Server/Settings"] {
        rejection(&get(&app, path), 404);
    }
    let users = get(&app, "/v1/User").json();
    let names: Vec<&str> = users
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|user| user["Username"].as_str())
        .collect();
    assert_eq!(names, ["Default", "golden bob"]);
    let user = log_in(&app, "golden+bob", "bob%2Bs+%26+password").json();
    assert_eq!(user["JMMUserID"], 2);
    let rejected = log_in(&app, "golden+bob", "certainly+wrong");
    assert_eq!((rejected.status, rejected.body.len()), (204, 0));
}

/// Desktop first tries an empty password for the user who logged in last.
#[apply(both_databases!)]
fn desktop_can_be_started_any_number_of_times(backend: Backend) {
    let app = TestApp::with(backend, |settings| {
        settings.v1_login = true;
        settings.core.login_throttle = true;
    });
    for _ in 0..6 {
        assert_eq!(log_in(&app, "Default", "").status, 204);
        assert_eq!(log_in(&app, "Default", ADMIN_PASSWORD).status, 200);
    }
}
