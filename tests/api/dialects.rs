use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use serde_json::{Value, json};
use shoko_auth::clock::Clock;
use shoko_auth::settings::Settings;
use test_support::{Backend, Request, Response, apply, both_databases};

use crate::dialect_cases::speak_both;
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp, UseDatabase, limit_waits};

/// A server with all dialects enabled.
pub struct AllDialects(TestApp);

impl AllDialects {
    pub fn on(backend: Backend) -> Self {
        Self::with(backend, |_| ())
    }

    /// Starts a server. `change` adjusts its settings first.
    pub fn with(backend: Backend, change: impl FnOnce(&mut Settings)) -> Self {
        Self(TestApp::with(backend, |settings| {
            speak_both(settings);
            change(settings);
        }))
    }

    /// Starts a server with the throttle on, and returns it with the clock that the throttle reads.
    pub fn throttling(backend: Backend) -> (Self, Clock) {
        let clock = Clock::manual();
        let app = Self::with(backend, |settings| {
            settings.core.clock = clock.clone();
            settings.core.login_throttle = true;
        });
        (app, clock)
    }

    pub fn post_form(&self, path: &str, fields: &str) -> Response {
        self.post(path).form(fields).send()
    }

    /// Logs the administrator in through Zulip's API, and returns the key.
    pub fn zulip_key(&self) -> String {
        let login = format!("username={ADMIN}&password={ADMIN_PASSWORD}");
        let response = self.post_form("/api/v1/fetch_api_key", &login);
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()["api_key"].as_str().unwrap().to_owned()
    }

    /// Logs the administrator in through Zettelstore's API, and returns the token.
    pub fn zettelstore_token(&self) -> String {
        let login = format!("username={ADMIN}&password={ADMIN_PASSWORD}");
        token(&self.post_form("/a", &login)).0
    }

    /// Requests the user's own data through Zulip's API.
    pub fn zulip_user(&self, name: &str, key: &str) -> Response {
        basic(self.get("/api/v1/users/me"), name, key).send()
    }

    /// Renews a Zettelstore token.
    pub fn renew(&self, token: &str) -> Response {
        self.request("PUT", "/a")
            .header("Authorization", &format!("Bearer {token}"))
            .send()
    }
}

impl std::ops::Deref for AllDialects {
    type Target = TestApp;

    fn deref(&self) -> &TestApp {
        &self.0
    }
}

/// Adds credentials in HTTP's basic scheme.
pub fn basic(request: Request, user: &str, secret: &str) -> Request {
    request.header(
        "Authorization",
        &format!("Basic {}", STANDARD.encode(format!("{user}:{secret}"))),
    )
}

/// Returns the token in a response of Zettelstore's API, and the token's lifetime in seconds.
pub fn token(response: &Response) -> (String, u64) {
    assert_eq!(response.status, 200, "{}", response.text());
    let text = response.text();
    let parts: Vec<&str> = text.trim_matches(['(', ')']).split(' ').collect();
    (parts[1].trim_matches('"').to_owned(), parts[2].parse().unwrap())
}

/// Asserts that the response is an error of Zulip's API with this status and code, and returns its body.
#[track_caller]
pub fn zulip_error(response: &Response, status: u16, code: &str) -> Value {
    let json = response.json();
    assert_eq!(
        (response.status, &json["code"], &json["result"]),
        (status, &json!(code), &json!("error")),
        "{json}"
    );
    assert_eq!(response.header("content-type").as_deref(), Some("application/json"));
    json
}

#[apply(both_databases!)]
fn a_key_is_valid_and_revoked_in_all_dialects(backend: Backend) {
    let app = AllDialects::on(backend);
    let (zulip, zettelstore) = (app.zulip_key(), app.zettelstore_token());
    for key in [&zulip, &zettelstore] {
        assert!(app.accepts(key));
        let plain = key.replace('-', "");
        assert_eq!(app.zulip_user(ADMIN, &plain).status, 200);
        assert_eq!(app.renew(key).status, 200);
    }
    assert_eq!(app.zulip_key(), zulip, "a device gets the same key again");
    assert_eq!(app.delete(&format!("/api/auth?apikey={zulip}")).send().status, 200);
    zulip_error(&app.zulip_user(ADMIN, &zulip), 401, "UNAUTHORIZED");
    assert_eq!((app.renew(&zulip).status, app.accepts(&zulip)), (400, false));
    let (key, again) = (app.admin_key(), app.zulip_key());
    assert_eq!(app.change_password(&key, "a new password").status, 200);
    assert!(!app.accepts(&again) && app.zulip_user(ADMIN, &again).status == 401);
    assert_eq!(app.renew(&zettelstore).status, 400);
    let check = app
        .post("/x?cmd=authenticated")
        .header("Authorization", &format!("Bearer {zettelstore}"))
        .send();
    assert_eq!(
        (check.status, check.text().as_str(), check.header("content-type")),
        (401, "", None)
    );
}

#[apply(both_databases!)]
fn the_throttle_counts_across_dialects(backend: Backend) {
    let (app, clock) = AllDialects::throttling(backend);
    app.add_user("alice", "pw");
    let zulip = |password: &str| app.post_form("/api/v1/fetch_api_key", &format!("username=alice&password={password}"));
    let zettelstore = |password: &str| basic(app.post("/a"), "alice", password).send();
    let first = zulip("wrong");
    zulip_error(&first, 401, "AUTHENTICATION_FAILED");
    assert_eq!(first.header("x-ratelimit-limit").as_deref(), Some("5"));
    assert_eq!(first.header("x-ratelimit-remaining").as_deref(), Some("4"));
    assert_eq!((zettelstore("wrong").status, zettelstore("wrong").status), (401, 401));
    app.log_in("alice", "wrong", "d").problem(401);
    assert_eq!(zulip("wrong").header("x-ratelimit-remaining").as_deref(), Some("0"));
    app.log_in("alice", "pw", "d").problem(429);
    let rejected = zulip("pw");
    let body = zulip_error(&rejected, 429, "RATE_LIMIT_HIT");
    assert!(body["retry-after"].as_f64().unwrap() > 0.0 && body["msg"] == "API usage exceeded rate limit");
    assert_eq!(rejected.header("retry-after").as_deref(), Some("1"));
    assert_eq!(rejected.header("x-ratelimit-remaining").as_deref(), Some("0"));
    let rejected = zettelstore("pw");
    assert_eq!(
        (rejected.status, rejected.header("content-type").as_deref()),
        (429, Some("text/plain; charset=utf-8"))
    );
    assert_eq!(rejected.header("retry-after").as_deref(), Some("1"));
    clock.advance(TimeDelta::seconds(1));
    assert_eq!(
        zulip("pw").header("x-ratelimit-remaining").as_deref(),
        Some("5"),
        "a successful login clears the failures"
    );
}

#[apply(both_databases!)]
fn failures_by_name_and_e_mail_address_count_together(backend: Backend) {
    let (app, _) = AllDialects::throttling(backend);
    let add = [
        "user",
        "add",
        "alice",
        "--email",
        "Alice@example.com",
        "--password-stdin",
    ];
    assert!(app.database.run(&add, "a long password").status.success());
    let key = app.key("ALICE@example.com", "a long password", "d");
    assert_eq!(app.key("alice", "a long password", "d"), key);
    for (number, name) in ["alice", "alice@example.com", "Alice", "alice@EXAMPLE.com", "alice"]
        .iter()
        .enumerate()
    {
        assert_eq!(app.log_in(name, "wrong", "d").status, 401, "{number}");
    }
    assert_eq!(app.log_in("alice@example.com", "a long password", "d").status, 429);
}

#[apply(both_databases!)]
fn no_dialect_extends_an_expiring_key(backend: Backend) {
    let app = AllDialects::on(backend);
    let lasting = app.zulip_key();
    let login = json!({"user": ADMIN, "password": ADMIN_PASSWORD, "device": "kiosk", "expires": "2m"});
    let session = app.post("/api/v3/Auth/SignIn").json(&login).send().json();
    let session = session["Token"].as_str().unwrap();
    let (same, seconds) = token(&app.renew(session));
    assert!(same == session && seconds <= 120, "{seconds}");
    // The device name "Zettelstore" does not make a key renewable: its expiry stays the same.
    let wanted = json!({"device": "Zettelstore", "expires": "1m"});
    let issued = app
        .post("/api/v3/Auth/GenerateToken")
        .header("apikey", session)
        .json(&wanted)
        .send();
    let issued = issued.json()["Token"].as_str().unwrap().to_owned();
    let (same, seconds) = token(&app.renew(&issued));
    assert!(same == issued && seconds <= 60, "{seconds}");
    for expiring in [session, &app.zettelstore_token()] {
        let plain = expiring.replace('-', "");
        let rejected = basic(app.post("/api/v1/users/me/api_key/regenerate"), ADMIN, &plain).send();
        zulip_error(&rejected, 400, "BAD_REQUEST");
        assert!(app.accepts(expiring) && app.accepts(&lasting));
    }
    let (new, _) = token(&app.renew(&lasting));
    assert!(new != lasting && app.accepts(&lasting));
}

#[apply(both_databases!)]
fn each_enabled_dialect_serves_its_document(backend: Backend) {
    let app = AllDialects::on(backend);
    for (path, operation) in [("zulip", "/api/v1/fetch_api_key"), ("zettelstore", "/a")] {
        let document = app.get(&format!("/swagger/{path}/swagger.json")).send().json();
        assert!(document["paths"][operation]["post"].is_object(), "{document}");
    }
    let list = app.get("/swagger/swagger-initializer.js").send().text();
    assert!(
        list.contains("zulip/swagger.json") && list.contains("zettelstore/swagger.json"),
        "{list}"
    );
    let app = TestApp::on(backend);
    app.get("/swagger/zulip/swagger.json").send().problem(404);
    for path in ["/a", "/x?cmd=authenticated", "/api/v1/fetch_api_key"] {
        app.post(path).send().problem(404);
    }
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn an_offline_database_is_503_in_each_dialects_format() {
    let app = AllDialects::with(Backend::Postgres, limit_waits);
    let key = app.zulip_key();
    app.database.take_offline();
    let zulip = zulip_error(&app.zulip_user(ADMIN, &key), 503, "SERVICE_UNAVAILABLE");
    assert!(zulip["msg"].as_str().unwrap().contains("later"));
    let zettelstore = app.renew(&key);
    assert_eq!(
        (zettelstore.status, zettelstore.text().as_str()),
        (503, "Service Unavailable\n")
    );
    assert_eq!(zettelstore.header("retry-after").as_deref(), Some("1"));
}
