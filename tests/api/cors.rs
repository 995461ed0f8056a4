use serde_json::json;
use shoko_auth::settings::CorsOrigins;

use crate::support::{ADMIN, ADMIN_PASSWORD, Answer, Backend, TestApp, on_both_databases};

const HERE: &str = "https://here.example";
const ELSEWHERE: &str = "https://elsewhere.example";

fn with(backend: Backend, origins: &str) -> TestApp {
    let origins: CorsOrigins = origins.parse().unwrap();
    TestApp::with(backend, |settings| settings.cors_origins = origins)
}

fn preflight(app: &TestApp, origin: &str) -> Answer {
    let asked = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type,apikey"),
    ];
    app.request("OPTIONS", "/api/auth").headers(&asked).send()
}

fn login(app: &TestApp, origin: &str, password: &str) -> Answer {
    let body = json!({"user": ADMIN, "pass": password, "device": "d"});
    app.post("/api/auth").header("Origin", origin).json(&body).send()
}

fn allowed(answer: &Answer) -> Option<String> {
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    answer.header("access-control-allow-origin")
}

on_both_databases! {
    fn by_default_no_page_from_elsewhere_may_call(app: TestApp) {
        preflight(&app, HERE).problem(405);
        let answer = login(&app, HERE, ADMIN_PASSWORD);
        assert_eq!((answer.status, allowed(&answer), answer.header("vary")), (200, None, None));
    }

    fn a_page_that_is_listed_may_call_and_reads_problems_too(backend: Backend) {
        let app = with(backend, "https://here.example, http://localhost:5173");
        let answer = preflight(&app, HERE);
        assert_eq!((answer.status, allowed(&answer).as_deref(), answer.body.len()), (204, Some(HERE), 0));
        let methods = answer.header("access-control-allow-methods").unwrap();
        assert!(methods.contains("POST") && methods.contains("DELETE"), "{methods}");
        let headers = answer.header("access-control-allow-headers").unwrap();
        assert!(headers.contains("apikey") && headers.contains("content-type"), "{headers}");
        for (password, status) in [(ADMIN_PASSWORD, 200), ("wrong", 401)] {
            let answer = login(&app, HERE, password);
            assert_eq!((answer.status, allowed(&answer).as_deref()), (status, Some(HERE)));
            assert!(answer.header("vary").unwrap().to_lowercase().contains("origin"));
        }
    }

    fn a_page_that_is_not_listed_may_not(backend: Backend) {
        let app = with(backend, HERE);
        let answer = preflight(&app, ELSEWHERE);
        assert_eq!((&answer.problem(400)["title"], allowed(&answer)), (&json!("Bad Request"), None));
        let answer = login(&app, ELSEWHERE, ADMIN_PASSWORD);
        assert_eq!((answer.status, allowed(&answer)), (200, None), "the browser keeps it from the page");
        assert_eq!(app.request("OPTIONS", "/api/auth").send().status, 405, "no preflight");
    }

    fn all_pages_may_when_that_is_set(backend: Backend) {
        let app = with(backend, "*");
        assert_eq!((preflight(&app, ELSEWHERE).status, allowed(&preflight(&app, ELSEWHERE)).as_deref()), (204, Some("*")));
        let answer = login(&app, ELSEWHERE, ADMIN_PASSWORD);
        assert_eq!((allowed(&answer).as_deref(), answer.header("vary")), (Some("*"), None));
    }
}
