use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use test_support::{Backend, Request, Response, apply, both_databases};

use crate::dialect_cases::speak_both;
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// A login of a dialect.
struct Login {
    path: &'static str,
    content_type: &'static str,
    body: String,
    /// Asserts that a response is an error in the form of the dialect.
    check: fn(&Response, u16),
}

fn app(backend: Backend) -> TestApp {
    TestApp::with(backend, |settings| {
        speak_both(settings);
        settings.v1_login = true;
    })
}

fn logins() -> [Login; 5] {
    let problem: fn(&Response, u16) = |response, status| drop(response.problem(status));
    let form = format!("username={ADMIN}&password={ADMIN_PASSWORD}");
    [
        Login {
            path: "/api/auth",
            content_type: JSON,
            body: json!({"user": ADMIN, "pass": ADMIN_PASSWORD, "device": "d"}).to_string(),
            check: problem,
        },
        Login {
            path: "/api/v3/Auth/SignIn",
            content_type: JSON,
            body: json!({"User": ADMIN, "Password": ADMIN_PASSWORD, "Device": "d"}).to_string(),
            check: problem,
        },
        Login {
            path: "/v1/User/Default",
            content_type: FORM,
            body: format!("password={ADMIN_PASSWORD}"),
            check: problem,
        },
        Login {
            path: "/api/v1/fetch_api_key",
            content_type: FORM,
            body: form.clone(),
            check: |response, status| {
                assert_eq!(response.status, status, "{}", response.text());
                assert_eq!(response.json()["result"], "error");
            },
        },
        Login {
            path: "/a",
            content_type: FORM,
            body: form,
            check: |response, status| {
                assert_eq!(response.status, status, "{}", response.text());
                let kind = response.header("content-type");
                assert_eq!(kind.as_deref(), Some("text/plain; charset=utf-8"));
            },
        },
    ]
}

impl Login {
    fn request(&self, app: &TestApp, parameters: &str) -> Request {
        app.post(self.path)
            .header("Content-Type", &format!("{}{parameters}", self.content_type))
            .body(self.body.as_str())
    }
}

#[apply(both_databases!)]
fn a_path_with_too_many_slashes_is_404(backend: Backend) {
    let app = app(backend);
    for login in logins() {
        let path = login.path;
        let send = |path: &str| {
            let request = app.post(path).header("Content-Type", login.content_type);
            request.body(login.body.as_str()).send()
        };
        for good in [path.to_owned(), format!("{path}/")] {
            assert_eq!(send(&good).status, 200, "{good}");
        }
        for bad in [
            format!("{path}//"),
            format!("/{path}"),
            path.replace('/', "//"),
            format!("{path}/%2F"),
        ] {
            send(&bad).problem(404);
        }
    }
    for path in [
        "//",
        "///",
        "/swagger//",
        "//health/live",
        "/health//live",
        "/health/live//",
    ] {
        app.get(path).send().problem(404);
    }
}

#[apply(both_databases!)]
fn a_body_with_a_content_encoding_is_415(backend: Backend) {
    let app = app(backend);
    for login in logins() {
        let send = |encodings: &[&str]| {
            let add = |request: Request, encoding: &&str| request.header("Content-Encoding", encoding);
            encodings.iter().fold(login.request(&app, ""), add).send()
        };
        for good in [
            &["identity"] as &[_],
            &["Identity, identity"],
            &[""],
            &["identity", "identity"],
        ] {
            assert_eq!(send(good).status, 200, "{} {good:?}", login.path);
        }
        for bad in [
            &["gzip"] as &[_],
            &["x-gzip"],
            &["deflate"],
            &["br"],
            &["zstd"],
            &["nonsense"],
            &["identity, gzip"],
            &["identity", "gzip"],
        ] {
            let response = send(bad);
            (login.check)(&response, 415);
            assert_eq!(response.header("accept-encoding").as_deref(), Some("identity"));
        }
        // The bytes are those of a gzip file, which are not UTF-8. The body may also be too large.
        for body in [b"\x1f\x8b\x08\x00\xff".to_vec(), vec![0xff; 20_000]] {
            let request = login.request(&app, "").header("Content-Encoding", "gzip").body(body);
            (login.check)(&request.send(), 415);
        }
    }
}

#[apply(both_databases!)]
fn a_body_in_a_charset_other_than_utf_8_is_415(backend: Backend) {
    let app = app(backend);
    for login in logins() {
        for good in [
            "utf-8",
            "UTF-8",
            "\"utf-8\"",
            "utf8",
            "us-ascii",
            "\"US-ASCII\"",
            "ascii",
        ] {
            let response = login.request(&app, &format!("; charset={good}")).send();
            assert_eq!(response.status, 200, "{} {good}", login.path);
        }
        for bad in [
            "utf-16",
            "UTF-16LE",
            "iso-8859-1",
            "latin1",
            "nonsense",
            "\"utf-32\"",
            "utf-8; charset=utf-16",
        ] {
            let parameters = format!("; charset={bad}");
            let response = login.request(&app, &parameters).send();
            (login.check)(&response, 415);
            assert_eq!(response.header("accept-encoding"), None);
            let binary = login.request(&app, &parameters).body([0xff, 0xfe, 0x7b, 0x00]);
            (login.check)(&binary.send(), 415);
        }
    }
}

#[apply(both_databases!)]
fn an_empty_body_may_have_any_encoding(backend: Backend) {
    let app = app(backend);
    let key = app.admin_key();
    let revoke = app.delete(&format!("/api/auth?apikey={key}"));
    assert_eq!(revoke.header("Content-Encoding", "gzip").send().status, 200);
    let basic = STANDARD.encode(format!("{ADMIN}:{ADMIN_PASSWORD}"));
    let login = app.post("/a").header("Authorization", &format!("Basic {basic}"));
    assert_eq!(login.header("Content-Encoding", "gzip").body("").send().status, 200);
}

#[apply(both_databases!)]
fn a_json_body_with_two_content_types_is_415(backend: Backend) {
    let app = app(backend);
    for other in [JSON, "text/plain"] {
        let [login, ..] = logins();
        login
            .request(&app, "")
            .header("Content-Type", other)
            .send()
            .problem(415);
    }
}
