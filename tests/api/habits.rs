use serde_json::json;

use crate::support::{ADMIN, ADMIN_PASSWORD, Backend, Request, TestApp, on_both_databases};

fn login(app: &TestApp) -> Request {
    app.post("/api/auth")
        .json(&json!({"user": ADMIN, "pass": ADMIN_PASSWORD, "device": "d"}))
}

on_both_databases! {
    fn paths_match_in_any_case_and_with_a_slash_at_the_end(app: TestApp) {
        let body = json!({"user": ADMIN, "pass": ADMIN_PASSWORD, "device": "d"});
        for path in ["/API/Auth", "/api/auth/", "/Api/V3/Api/Auth", "/api/v3/api/auth/"] {
            assert_eq!(app.post(path).json(&body).send().status, 200, "{path}");
        }
        for path in ["/api/auth//", "//api/auth", "/api/authx", "/api/v3/auth/x", "/api/v3"] {
            app.post(path).json(&body).send().problem(404);
        }
    }

    fn the_aliases_of_the_generated_sdk_are_the_same_routes(app: TestApp) {
        let key = app.admin_key();
        let change = app.post("/api/v3/api/auth/ChangePassword").header("apikey", &key).json(&json!("Oboe-n-harbour"));
        let answer = change.send();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("api-supported-versions").as_deref(), Some("3.0"));
        let key = app.key(ADMIN, "Oboe-n-harbour", "d");
        assert_eq!(app.delete(&format!("/api/v3/api/auth?apikey={key}")).send().status, 200);
        assert!(!app.accepts(&key));
        let refused = app.post("/api/v3/api/auth").json(&json!({})).send();
        refused.problem(400);
        assert_eq!(refused.header("api-supported-versions"), None);
    }

    fn a_wrong_method_is_405_and_names_the_right_ones(app: TestApp) {
        for method in ["PUT", "PATCH", "OPTIONS", "HEAD", "BREW"] {
            let answer = app.request(method, "/api/auth").send();
            assert_eq!(answer.status, 405, "{method}");
            let allowed = answer.header("allow").unwrap();
            assert!(allowed.contains("POST") && allowed.contains("DELETE"), "{allowed}");
        }
        app.get("/api/auth/ChangePassword").send().problem(405);
        assert_eq!(app.request("HEAD", "/api/v3/User/Current").send().status, 405);
    }

    fn an_unknown_route_is_a_404_problem(app: TestApp) {
        for path in ["/api", "/api/", "/api/nothing", "/api/v3/nothing", "/nothing"] {
            let problem = app.get(path).send().problem(404);
            assert_eq!(problem["type"], "https://tools.ietf.org/html/rfc9110#section-15.5.5");
        }
    }

    fn a_body_must_be_json_in_utf_8(app: TestApp) {
        let send = |content_type: &str| {
            let request = app.post("/api/auth").header("Content-Type", content_type);
            request.json(&json!({"user": ADMIN, "pass": ADMIN_PASSWORD, "device": "d"})).send()
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
            assert_eq!(problem["type"], "https://tools.ietf.org/html/rfc9110#section-15.5.16", "{bad}");
        }
        app.post("/api/auth").body("{}").send().problem(415);
    }

    fn bodies_over_16_kib_are_413(app: TestApp) {
        let body = |length: usize| {
            let start = format!(r#"{{"user":"{ADMIN}","pass":"{ADMIN_PASSWORD}","device":"d","more":""#);
            let filler = "x".repeat(length - start.len() - 2);
            app.post("/api/auth").header("Content-Type", "application/json").body(format!("{start}{filler}\"}}"))
        };
        assert_eq!(body(16 * 1024).send().status, 200);
        let problem = body(16 * 1024 + 1).send().problem(413);
        assert_eq!(problem["type"], "https://tools.ietf.org/html/rfc9110#section-15.5.14");
    }

    fn json_that_shoko_lets_pass_is_400_here(app: TestApp) {
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
            let request = app.post("/api/auth").header("Content-Type", "application/json").body(body);
            assert!(request.send().problem(400)["errors"][""].is_array(), "{body}");
        }
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        let request = app.post("/api/auth").header("Content-Type", "application/json");
        request.body(format!(r#"{{"user":{deep},"pass":"x","device":"d"}}"#)).send().problem(400);
    }

    fn a_problem_has_its_members_in_order_and_no_others(app: TestApp) {
        let answer = app.post("/api/auth").json(&json!({})).send();
        let text = answer.text();
        let start = r#"{"errors":{"pass":["Password is required"],"user":["Username is required"],"device":["Device is required"]},"type":"https://tools.ietf.org/html/rfc9110#section-15.5.1","title":"One or more validation errors occurred.","status":400,"traceId":"00-"#;
        assert!(text.starts_with(start), "{text}");
        let unauthorized = app.get("/api/v3/User/Current").send().text();
        let start = r#"{"type":"https://tools.ietf.org/html/rfc9110#section-15.5.2","title":"Unauthorized","status":401,"detail":"An API key is required.","traceId":"00-"#;
        assert!(unauthorized.starts_with(start), "{unauthorized}");
    }

    fn the_trace_of_a_request_is_taken_over(app: TestApp) {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let request = app.get("/api/nothing").header("traceparent", &format!("00-{trace}-b7ad6b7169203331-01"));
        let id = request.send().problem(404)["traceId"].as_str().unwrap().to_owned();
        assert!(id.starts_with(&format!("00-{trace}-")) && id.len() == 55, "{id}");
    }

    fn a_problem_is_exactly_json_for_who_can_read_nothing_else(app: TestApp) {
        let kind = |accept: &[&str]| {
            let request = accept.iter().fold(app.get("/api/nothing"), |request, value| request.header("Accept", value));
            request.send().header("content-type").unwrap()
        };
        assert_eq!(kind(&["text/plain, application/json, text/json"]), "application/json");
        assert_eq!(kind(&["text/plain", "text/json", "application/json"]), "text/json");
        for accept in ["application/json, text/plain, */*", "application/problem+json, application/json", "text/html"] {
            assert_eq!(kind(&[accept]), "application/problem+json; charset=utf-8", "{accept}");
        }
    }

    fn an_answer_is_text_json_for_who_asks_for_it(app: TestApp) {
        for (accept, kind) in [
            ("text/json", "text/json; charset=utf-8"),
            ("text/plain", "application/json; charset=utf-8"),
            ("text/html, */*;q=0.8", "application/json; charset=utf-8"),
        ] {
            let answer = login(&app).header("Accept", accept).send();
            assert_eq!(answer.header("content-type").as_deref(), Some(kind));
        }
    }

    fn every_answer_forbids_guessing_its_type(app: TestApp) {
        for request in [login(&app), app.get("/api/nothing"), app.get("/swagger/"), app.get("/health/live")] {
            assert_eq!(request.send().header("x-content-type-options").as_deref(), Some("nosniff"));
        }
    }

    fn an_over_long_password_is_a_401_like_any_other(app: TestApp) {
        app.log_in(ADMIN, &"x".repeat(1025), "d").problem(401);
        app.log_in(ADMIN, &"x".repeat(1024), "d").problem(401);
    }
}
