use serde_json::json;
use test_support::{Backend, Request, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp};

fn login(app: &TestApp) -> Request {
    app.post("/api/auth")
        .json(&json!({"user": ADMIN, "pass": ADMIN_PASSWORD, "device": "d"}))
}

#[apply(both_databases!)]
fn paths_match_in_any_case_and_with_a_trailing_slash(backend: Backend) {
    let app = TestApp::on(backend);
    let body = json!({"user": ADMIN, "pass": ADMIN_PASSWORD, "device": "d"});
    for path in ["/API/Auth", "/api/auth/", "/Api/V3/Api/Auth", "/api/v3/api/auth/"] {
        assert_eq!(app.post(path).json(&body).send().status, 200, "{path}");
    }
    for path in ["/api/auth//", "//api/auth", "/api/authx", "/api/v3/auth/x", "/api/v3"] {
        app.post(path).json(&body).send().problem(404);
    }
}

#[apply(both_databases!)]
fn the_paths_of_the_generated_sdk_are_aliases(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    let change = app
        .post("/api/v3/api/auth/ChangePassword")
        .header("apikey", &key)
        .json(&json!("Oboe-n-harbour"));
    let response = change.send();
    assert_eq!(response.status, 200);
    assert_eq!(response.header("api-supported-versions").as_deref(), Some("3.0"));
    let key = app.key(ADMIN, "Oboe-n-harbour", "d");
    assert_eq!(app.delete(&format!("/api/v3/api/auth?apikey={key}")).send().status, 200);
    assert!(!app.accepts(&key));
    let rejected = app.post("/api/v3/api/auth").json(&json!({})).send();
    rejected.problem(400);
    assert_eq!(rejected.header("api-supported-versions"), None);
}

#[apply(both_databases!)]
fn an_unsupported_method_is_405_with_the_supported_ones(backend: Backend) {
    let app = TestApp::on(backend);
    for method in ["PUT", "PATCH", "OPTIONS", "HEAD", "BREW"] {
        let response = app.request(method, "/api/auth").send();
        assert_eq!(response.status, 405, "{method}");
        let allowed = response.header("allow").unwrap();
        assert!(allowed.contains("POST") && allowed.contains("DELETE"), "{allowed}");
    }
    app.get("/api/auth/ChangePassword").send().problem(405);
    assert_eq!(app.request("HEAD", "/api/v3/User/Current").send().status, 405);
}

#[apply(both_databases!)]
fn an_unknown_route_is_a_404_problem(backend: Backend) {
    let app = TestApp::on(backend);
    for path in ["/api", "/api/", "/api/nothing", "/api/v3/nothing", "/nothing"] {
        let problem = app.get(path).send().problem(404);
        assert_eq!(problem["type"], "https://tools.ietf.org/html/rfc9110#section-15.5.5");
    }
}

#[apply(both_databases!)]
fn a_body_must_be_json_in_utf_8(backend: Backend) {
    let app = TestApp::on(backend);
    let send = |content_type: &str| {
        let request = app.post("/api/auth").header("Content-Type", content_type);
        request
            .json(&json!({"user": ADMIN, "pass": ADMIN_PASSWORD, "device": "d"}))
            .send()
    };
    for good in [
        "application/json",
        "Application/JSON; Charset=UTF-8",
        "application/json; charset=\"utf-8\"",
        "text/json",
        "application/json-patch+json",
        "application/vnd.x+json",
    ] {
        assert_eq!(send(good).status, 200, "{good}");
    }
    for bad in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
        "text/x+json",
        "application/json; charset=utf-16",
        "nonsense",
        "",
    ] {
        let problem = send(bad).problem(415);
        assert_eq!(
            problem["type"], "https://tools.ietf.org/html/rfc9110#section-15.5.16",
            "{bad}"
        );
    }
    app.post("/api/auth").body("{}").send().problem(415);
}

#[apply(both_databases!)]
fn bodies_over_16_kib_are_413(backend: Backend) {
    let app = TestApp::on(backend);
    let body = |length: usize| {
        let start = format!(r#"{{"user":"{ADMIN}","pass":"{ADMIN_PASSWORD}","device":"d","more":""#);
        let filler = "x".repeat(length - start.len() - 2);
        app.post("/api/auth")
            .header("Content-Type", "application/json")
            .body(format!("{start}{filler}\"}}"))
    };
    assert_eq!(body(16 * 1024).send().status, 200);
    let problem = body(16 * 1024 + 1).send().problem(413);
    assert_eq!(problem["type"], "https://tools.ietf.org/html/rfc9110#section-15.5.14");
}

#[apply(both_databases!)]
fn json_that_only_shoko_accepts_is_400(backend: Backend) {
    let app = TestApp::on(backend);
    for body in [
        r#"{"user":"Default"} x"#,
        r"{'user':'Default'}",
        r#"{"user":"Default",}"#,
        r#"{/* comment */"user":"Default"}"#,
        "{",
        "\"text\"",
        "[]",
        "12",
        "\u{feff}{}",
    ] {
        let request = app
            .post("/api/auth")
            .header("Content-Type", "application/json")
            .body(body);
        assert!(request.send().problem(400)["errors"][""].is_array(), "{body}");
    }
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let request = app.post("/api/auth").header("Content-Type", "application/json");
    request
        .body(format!(r#"{{"user":{deep},"pass":"x","device":"d"}}"#))
        .send()
        .problem(400);
}

#[apply(both_databases!)]
fn a_problem_has_shokos_members_in_shokos_order(backend: Backend) {
    let app = TestApp::on(backend);
    let response = app.post("/api/auth").json(&json!({})).send();
    let text = response.text();
    let start = r#"{"errors":{"pass":["Password is required"],"user":["Username is required"],"device":["Device is required"]},"type":"https://tools.ietf.org/html/rfc9110#section-15.5.1","title":"One or more validation errors occurred.","status":400,"traceId":"00-"#;
    assert!(text.starts_with(start), "{text}");
    let unauthorized = app.get("/api/v3/User/Current").send().text();
    let start = r#"{"type":"https://tools.ietf.org/html/rfc9110#section-15.5.2","title":"Unauthorized","status":401,"detail":"An API key is required.","traceId":"00-"#;
    assert!(unauthorized.starts_with(start), "{unauthorized}");
}

#[apply(both_databases!)]
fn a_problem_contains_the_trace_id_of_the_request(backend: Backend) {
    let app = TestApp::on(backend);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = app
        .get("/api/nothing")
        .header("traceparent", &format!("00-{trace}-b7ad6b7169203331-01"));
    let id = request.send().problem(404)["traceId"].as_str().unwrap().to_owned();
    assert!(id.starts_with(&format!("00-{trace}-")) && id.len() == 55, "{id}");
}

#[apply(both_databases!)]
fn problems_are_plain_json_for_clients_that_accept_only_that(backend: Backend) {
    let app = TestApp::on(backend);
    let kind = |accept: &[&str]| {
        let request = accept.iter().fold(app.get("/api/nothing"), |request, value| {
            request.header("Accept", value)
        });
        request.send().header("content-type").unwrap()
    };
    assert_eq!(kind(&["text/plain, application/json, text/json"]), "application/json");
    assert_eq!(kind(&["text/plain", "text/json", "application/json"]), "text/json");
    for accept in [
        "application/json, text/plain, */*",
        "application/problem+json, application/json",
        "text/html",
    ] {
        assert_eq!(kind(&[accept]), "application/problem+json; charset=utf-8", "{accept}");
    }
}

#[apply(both_databases!)]
fn responses_are_text_json_for_clients_that_accept_only_that(backend: Backend) {
    let app = TestApp::on(backend);
    for (accept, kind) in [
        ("text/json", "text/json; charset=utf-8"),
        ("text/plain", "application/json; charset=utf-8"),
        ("text/html, */*;q=0.8", "application/json; charset=utf-8"),
    ] {
        let response = login(&app).header("Accept", accept).send();
        assert_eq!(response.header("content-type").as_deref(), Some(kind));
    }
}

#[apply(both_databases!)]
fn every_response_forbids_content_sniffing(backend: Backend) {
    let app = TestApp::on(backend);
    for request in [
        login(&app),
        app.get("/api/nothing"),
        app.get("/swagger/"),
        app.get("/health/live"),
    ] {
        assert_eq!(
            request.send().header("x-content-type-options").as_deref(),
            Some("nosniff")
        );
    }
}

#[apply(both_databases!)]
fn a_password_that_is_too_long_is_401(backend: Backend) {
    let app = TestApp::on(backend);
    app.log_in(ADMIN, &"x".repeat(1025), "d").problem(401);
    app.log_in(ADMIN, &"x".repeat(1024), "d").problem(401);
}
