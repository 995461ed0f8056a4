use serde_json::json;
use shoko_auth::settings::CorsOrigins;
use test_support::{Backend, Response, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp};

const HERE: &str = "https://here.example";
const ELSEWHERE: &str = "https://elsewhere.example";

fn with(backend: Backend, origins: &str) -> TestApp {
    let origins: CorsOrigins = origins.parse().unwrap();
    TestApp::with(backend, |settings| settings.cors_origins = origins)
}

fn preflight(app: &TestApp, origin: &str) -> Response {
    let headers = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type,apikey"),
    ];
    app.request("OPTIONS", "/api/auth").headers(&headers).send()
}

fn login(app: &TestApp, origin: &str, password: &str) -> Response {
    let body = json!({"user": ADMIN, "pass": password, "device": "d"});
    app.post("/api/auth").header("Origin", origin).json(&body).send()
}

fn allowed(response: &Response) -> Option<String> {
    assert_eq!(response.header("access-control-allow-credentials"), None);
    response.header("access-control-allow-origin")
}

#[apply(both_databases!)]
fn by_default_pages_of_other_origins_cannot_call(backend: Backend) {
    let app = TestApp::on(backend);
    preflight(&app, HERE).problem(405);
    let response = login(&app, HERE, ADMIN_PASSWORD);
    assert_eq!(
        (response.status, allowed(&response), response.header("vary")),
        (403, None, None)
    );
    let response = app.get("/api/init/status").header("Origin", HERE).send();
    assert_eq!((response.status, allowed(&response)), (200, None));
}

#[apply(both_databases!)]
fn pages_of_a_listed_origin_can_call_and_read_problems(backend: Backend) {
    let app = with(backend, "https://here.example, http://localhost:5173");
    let response = preflight(&app, HERE);
    assert_eq!(
        (response.status, allowed(&response).as_deref(), response.body.len()),
        (204, Some(HERE), 0)
    );
    let methods = response.header("access-control-allow-methods").unwrap();
    assert!(methods.contains("POST") && methods.contains("DELETE"), "{methods}");
    let headers = response.header("access-control-allow-headers").unwrap();
    assert!(
        headers.contains("apikey") && headers.contains("content-type"),
        "{headers}"
    );
    for (password, status) in [(ADMIN_PASSWORD, 200), ("wrong", 401)] {
        let response = login(&app, HERE, password);
        assert_eq!((response.status, allowed(&response).as_deref()), (status, Some(HERE)));
        assert!(response.header("vary").unwrap().to_lowercase().contains("origin"));
    }
}

#[apply(both_databases!)]
fn pages_of_an_unlisted_origin_cannot_call(backend: Backend) {
    let app = with(backend, HERE);
    let response = preflight(&app, ELSEWHERE);
    assert_eq!(
        (&response.problem(400)["title"], allowed(&response)),
        (&json!("Bad Request"), None)
    );
    let response = login(&app, ELSEWHERE, ADMIN_PASSWORD);
    assert_eq!((response.status, allowed(&response)), (403, None));
    let response = app.get("/api/init/status").header("Origin", ELSEWHERE).send();
    assert_eq!(
        (response.status, allowed(&response)),
        (200, None),
        "without the header, the browser hides the response from the page"
    );
    assert_eq!(app.request("OPTIONS", "/api/auth").send().status, 405, "no preflight");
}

#[apply(both_databases!)]
fn a_star_lets_pages_of_every_origin_call(backend: Backend) {
    let app = with(backend, "*");
    assert_eq!(
        (
            preflight(&app, ELSEWHERE).status,
            allowed(&preflight(&app, ELSEWHERE)).as_deref()
        ),
        (204, Some("*"))
    );
    let response = login(&app, ELSEWHERE, ADMIN_PASSWORD);
    assert_eq!(
        (allowed(&response).as_deref(), response.header("vary")),
        (Some("*"), None)
    );
}
