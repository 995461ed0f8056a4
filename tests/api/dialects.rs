use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use serde_json::{Value, json};
use shoko_auth::clock::Clock;
use shoko_auth::settings::{Settings, ZulipSettings};

use crate::dialect_cases::speak_both;
use crate::support::{
    ADMIN, ADMIN_PASSWORD, Answer, Backend, Request, TestApp, on_both_databases, program, run_with_input,
};

/// A server that speaks all dialects.
struct Polyglot(TestApp);

impl Polyglot {
    fn on(backend: Backend) -> Self {
        Self::with(backend, |_| ())
    }

    fn with(backend: Backend, change: impl FnOnce(&mut Settings)) -> Self {
        Self(TestApp::with(backend, |settings| {
            speak_both(settings);
            change(settings);
        }))
    }

    /// A server that throttles by a clock that stands still.
    fn throttling(backend: Backend) -> (Self, Clock) {
        let clock = Clock::manual();
        let app = Self::with(backend, |settings| {
            settings.core.clock = clock.clone();
            settings.core.login_throttle = true;
        });
        (app, clock)
    }

    fn form(&self, path: &str, pairs: &str) -> Request {
        self.0
            .post(path)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(pairs)
    }

    fn zulip_key(&self) -> String {
        let answer = self
            .form(
                "/api/v1/fetch_api_key",
                &format!("username={ADMIN}&password={ADMIN_PASSWORD}"),
            )
            .send();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["api_key"].as_str().unwrap().to_owned()
    }

    fn zettelstore_token(&self) -> String {
        let answer = self
            .form("/a", &format!("username={ADMIN}&password={ADMIN_PASSWORD}"))
            .send();
        token(&answer).0
    }

    fn as_user(&self, name: &str, key: &str) -> Answer {
        basic(self.0.get("/api/v1/users/me"), name, key).send()
    }

    fn renewed(&self, token: &str) -> Answer {
        self.0
            .request("PUT", "/a")
            .header("Authorization", &format!("Bearer {token}"))
            .send()
    }
}

impl std::ops::Deref for Polyglot {
    type Target = TestApp;

    fn deref(&self) -> &TestApp {
        &self.0
    }
}

fn basic(request: Request, user: &str, secret: &str) -> Request {
    request.header(
        "Authorization",
        &format!("Basic {}", STANDARD.encode(format!("{user}:{secret}"))),
    )
}

/// The token and its seconds.
fn token(answer: &Answer) -> (String, u64) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    let parts: Vec<&str> = text.trim_matches(['(', ')']).split(' ').collect();
    (parts[1].trim_matches('"').to_owned(), parts[2].parse().unwrap())
}

fn zulip_error(answer: &Answer, status: u16, code: &str) -> Value {
    let json = answer.json();
    assert_eq!(
        (answer.status, &json["code"], &json["result"]),
        (status, &json!(code), &json!("error")),
        "{json}"
    );
    assert_eq!(answer.header("content-type").as_deref(), Some("application/json"));
    json
}

on_both_databases! {
    fn a_key_of_one_dialect_works_in_all_and_is_dead_in_all(app: Polyglot) {
        let (zulip, zettelstore) = (app.zulip_key(), app.zettelstore_token());
        for key in [&zulip, &zettelstore] {
            assert!(app.accepts(key));
            let plain = key.replace('-', "");
            assert_eq!(app.as_user(ADMIN, &plain).status, 200);
            assert_eq!(app.renewed(key).status, 200);
        }
        assert_eq!(app.zulip_key(), zulip, "the same key again");
        assert_eq!(app.delete(&format!("/api/auth?apikey={zulip}")).send().status, 200);
        zulip_error(&app.as_user(ADMIN, &zulip), 401, "UNAUTHORIZED");
        assert_eq!((app.renewed(&zulip).status, app.accepts(&zulip)), (400, false));
        let (key, again) = (app.admin_key(), app.zulip_key());
        assert_eq!(app.change_password(&key, "a new password").status, 200);
        assert!(!app.accepts(&again) && app.as_user(ADMIN, &again).status == 401);
        assert_eq!(app.renewed(&zettelstore).status, 400);
        let check = app.post("/x?cmd=authenticated").header("Authorization", &format!("Bearer {zettelstore}")).send();
        assert_eq!((check.status, check.text().as_str(), check.header("content-type")), (401, "", None));
    }

    fn the_throttle_counts_across_dialects(backend: Backend) {
        let (app, clock) = Polyglot::throttling(backend);
        app.add_user("alice", "pw");
        let zulip = |password: &str| app.form("/api/v1/fetch_api_key", &format!("username=alice&password={password}")).send();
        let zettelstore = |password: &str| basic(app.post("/a"), "alice", password).send();
        let first = zulip("wrong");
        zulip_error(&first, 401, "AUTHENTICATION_FAILED");
        assert_eq!(first.header("x-ratelimit-limit").as_deref(), Some("5"));
        assert_eq!(first.header("x-ratelimit-remaining").as_deref(), Some("4"));
        assert_eq!((zettelstore("wrong").status, zettelstore("wrong").status), (401, 401));
        app.log_in("alice", "wrong", "d").problem(401);
        assert_eq!(zulip("wrong").header("x-ratelimit-remaining").as_deref(), Some("0"));
        app.log_in("alice", "pw", "d").problem(429);
        let refused = zulip("pw");
        let body = zulip_error(&refused, 429, "RATE_LIMIT_HIT");
        assert!(body["retry-after"].as_f64().unwrap() > 0.0 && body["msg"] == "API usage exceeded rate limit");
        assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
        assert_eq!(refused.header("x-ratelimit-remaining").as_deref(), Some("0"));
        let refused = zettelstore("pw");
        assert_eq!((refused.status, refused.header("content-type").as_deref()), (429, Some("text/plain; charset=utf-8")));
        assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
        clock.advance(TimeDelta::seconds(1));
        assert_eq!(zulip("pw").header("x-ratelimit-remaining").as_deref(), Some("5"), "a success clears the count");
    }

    fn name_and_e_mail_address_are_one_account(backend: Backend) {
        let (app, _) = Polyglot::throttling(backend);
        let add = ["user", "add", "alice", "--email", "Alice@example.com", "--password-stdin"];
        assert!(app.database.run(&add, "a long password").status.success());
        let key = app.key("ALICE@example.com", "a long password", "d");
        assert_eq!(app.key("alice", "a long password", "d"), key);
        for (number, name) in ["alice", "alice@example.com", "Alice", "alice@EXAMPLE.com", "alice"].iter().enumerate() {
            assert_eq!(app.log_in(name, "wrong", "d").status, 401, "{number}");
        }
        assert_eq!(app.log_in("alice@example.com", "a long password", "d").status, 429);
    }

    fn zulip_says_no_in_its_own_way(app: Polyglot) {
        let key = app.zulip_key();
        app.add_user("bob", "pw");
        let nobody = app.get("/api/v1/users/me").send();
        zulip_error(&nobody, 401, "UNAUTHORIZED");
        assert_eq!(nobody.header("www-authenticate").as_deref(), Some("Basic realm=\"zulip\""));
        assert_eq!(zulip_error(&app.as_user("bob", &key), 401, "UNAUTHORIZED")["msg"], "Invalid API key");
        let bob = app.form("/api/v1/fetch_api_key", "username=bob&password=pw&b=1&a=2&b=3").send().json();
        assert_eq!(bob["ignored_parameters_unsupported"], json!(["a", "b"]));
        assert_eq!(bob["email"], "bob", "who has no address");
        assert!(app.database.run(&["user", "disable", "bob"], "").status.success());
        let disabled = app.as_user("bob", bob["api_key"].as_str().unwrap());
        assert_eq!(zulip_error(&disabled, 401, "UNAUTHORIZED")["msg"], "Account is deactivated");
        zulip_error(&app.form("/api/v1/fetch_api_key", "username=bob&password=pw").send(), 401, "USER_DEACTIVATED");
        app.log_in("bob", "pw", "d").problem(401);
        for (method, path, allowed) in [
            ("GET", "/api/v1/fetch_api_key", "POST"),
            ("PUT", "/api/v1/users/me/api_key/regenerate", "POST"),
            ("POST", "/api/v1/users/me", "GET"),
        ] {
            let answer = app.request(method, path).send();
            assert_eq!((answer.status, answer.header("allow").as_deref()), (405, Some(allowed)), "{method} {path}");
            assert_eq!(answer.json()["allowed_methods"], json!([allowed]));
        }
        let answer = app.post("/api/v1/server_settings").send();
        assert_eq!((answer.status, answer.text().as_str(), answer.header("allow").as_deref()), (405, "", Some("GET, HEAD")));
        let long = app.form("/api/v1/fetch_api_key", &"x".repeat(20_000)).send();
        zulip_error(&long, 413, "BAD_REQUEST");
    }

    fn zulip_regenerates_a_key(app: Polyglot) {
        let (key, other) = (app.zulip_key(), app.admin_key());
        let answer = basic(app.post("/api/v1/users/me/api_key/regenerate"), ADMIN, &key).send().json();
        let new = answer["api_key"].as_str().unwrap();
        assert!(new.len() == 32 && new != key && !app.accepts(&key) && app.accepts(new) && app.accepts(&other));
        assert_eq!(app.zulip_key(), new);
    }

    fn nothing_outlives_a_session_that_ends(app: Polyglot) {
        let lasting = app.zulip_key();
        let soon = json!({"user": ADMIN, "password": ADMIN_PASSWORD, "device": "kiosk", "expires": "2m"});
        let session = app.post("/api/v3/Auth/SignIn").json(&soon).send().json();
        let session = session["Token"].as_str().unwrap();
        let (same, seconds) = token(&app.renewed(session));
        assert!(same == session && seconds <= 120, "{seconds}");
        // Not even with a name that looks like it.
        let wanted = json!({"device": "Zettelstore", "expires": "1m"});
        let made = app.post("/api/v3/Auth/GenerateToken").header("apikey", session).json(&wanted).send();
        let made = made.json()["Token"].as_str().unwrap().to_owned();
        let (same, seconds) = token(&app.renewed(&made));
        assert!(same == made && seconds <= 60, "{seconds}");
        for ends in [session, &app.zettelstore_token()] {
            let plain = ends.replace('-', "");
            let refused = basic(app.post("/api/v1/users/me/api_key/regenerate"), ADMIN, &plain).send();
            zulip_error(&refused, 400, "BAD_REQUEST");
            assert!(app.accepts(ends) && app.accepts(&lasting));
        }
        let (new, _) = token(&app.renewed(&lasting));
        assert!(new != lasting && app.accepts(&lasting));
    }

    fn zulip_reads_credentials_as_clients_write_them(app: Polyglot) {
        app.add_user("J\u{fc}rgen", "pw");
        let answer = app.form("/api/v1/fetch_api_key", "username=J%C3%BCrgen&password=pw").send().json();
        let key = answer["api_key"].as_str().unwrap();
        assert_eq!(app.as_user("J\u{fc}rgen", key).status, 200);
        let latin = STANDARD.encode([b"J\xfcrgen:", key.as_bytes()].concat());
        let answer = app.get("/api/v1/users/me").header("Authorization", &format!("basic  {latin}")).send();
        assert_eq!(answer.status, 200, "{}", answer.text());
        for (value, status) in [("Basic", 401), ("Basic ", 401), ("", 401), ("Basic a b", 401), ("Bearer", 400)] {
            let answer = app.get("/api/v1/users/me").header("Authorization", value).send();
            assert_eq!(answer.status, status, "{value:?}: {}", answer.text());
        }
        let path = format!("/api/v1/fetch_api_key?username={ADMIN}&password={ADMIN_PASSWORD}");
        let answer = app.post(&path).header("Content-Type", "application/json").body([0xff_u8, 0xfe]).send();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = app.post("/a").header("Content-Type", "multipart/form-data").body([0xff_u8]).send();
        assert_eq!(answer.status, 401, "{}", answer.text());
    }

    fn zulip_is_told_what_the_network_may(backend: Backend) {
        let (app, _) = Polyglot::throttling(backend);
        let ask = |name: &str| app.form("/api/v1/fetch_api_key", &format!("username={name}&password=x")).send();
        for number in 0..20 {
            assert_eq!(ask(&format!("u{number}")).status, 401);
        }
        let refused = ask("fresh");
        assert_eq!((refused.status, refused.header("x-ratelimit-remaining").as_deref()), (429, Some("0")));
        assert_eq!(Polyglot::on(backend).form("/api/v1/fetch_api_key", "username=a&password=x").send()
            .header("x-ratelimit-remaining"), None, "nothing is counted there");
    }

    fn zulip_is_told_where_the_server_is(backend: Backend) {
        let app = Polyglot::on(backend);
        let url = |app: &TestApp| app.get("/api/v1/server_settings").send().json();
        assert_eq!(url(&app)["realm_uri"], app.url);
        assert_eq!(app.request("HEAD", "/api/v1/server_settings").send().status, 200);
        let icon = url(&app)["realm_icon"].as_str().unwrap().strip_prefix(&app.url).unwrap().to_owned();
        assert_eq!(app.get(&icon).send().status, 200);
        let strange = app.get("/api/v1/server_settings").header("Host", "a<b/c?d").send();
        assert!(strange.status == 400 || strange.json()["realm_url"] == "http://localhost", "{}", strange.text());
        let app = Polyglot::with(backend, |settings| settings.base_path = "/login".parse().unwrap());
        let answer = app.get("/login/api/v1/server_settings").send();
        assert_eq!(answer.json()["realm_uri"], format!("{}/login", app.url));
        let app = Polyglot::with(backend, |settings| settings.public_url = Some("https://login.example.org/x/".parse().unwrap()));
        assert_eq!(url(&app)["realm_url"], "https://login.example.org/x");
    }

    fn the_login_for_development_is_there_only_where_it_is_wanted(backend: Backend) {
        let ask = |app: &Polyglot, more: &[(&str, &str)]| {
            app.form("/api/v1/dev_fetch_api_key", "username=default").headers(more).send()
        };
        let app = Polyglot::on(backend);
        assert_eq!(zulip_error(&ask(&app, &[]), 400, "BAD_REQUEST")["msg"], "Endpoint not available in production.");
        zulip_error(&app.post("/api/v1/dev_fetch_api_key").send(), 400, "REQUEST_VARIABLE_MISSING");
        let app = Polyglot::with(backend, |settings| settings.dialects.zulip = Some(ZulipSettings { dev_login: true }));
        assert_eq!(ask(&app, &[]).json()["api_key"].as_str().unwrap(), app.zulip_key());
        for header in ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Proto", "Via", "Origin"] {
            zulip_error(&ask(&app, &[(header, "for=192.0.2.1")]), 400, "BAD_REQUEST");
        }
        zulip_error(&ask(&app, &[("Host", "rebound.example.org")]), 400, "BAD_REQUEST");
        assert_eq!(ask(&app, &[("Host", "localhost:1")]).status, 200);
        let nobody = app.form("/api/v1/dev_fetch_api_key", "username=nobody").send();
        zulip_error(&nobody, 401, "AUTHENTICATION_FAILED");
    }

    fn a_zettelstore_token_is_the_same_while_it_is_young_and_then_a_new_one(backend: Backend) {
        let clock = Clock::manual();
        let app = Polyglot::with(backend, |settings| {
            settings.core.clock = clock.clone();
            settings.dialects.zettelstore.as_mut().unwrap().token_lifetime = TimeDelta::seconds(8);
        });
        let first = app.zettelstore_token();
        clock.advance(TimeDelta::milliseconds(1999));
        let (same, seconds) = token(&app.renewed(&first));
        assert!(same == first && (6..=7).contains(&seconds), "{seconds}");
        clock.advance(TimeDelta::milliseconds(1));
        let (new, seconds) = token(&app.renewed(&first));
        assert!(new != first && seconds == 8 && app.accepts(&first) && app.accepts(&new));
        assert_ne!(app.zettelstore_token(), new, "every login gives a new one");
        for value in [format!("Bearer  {first}"), format!("Basic {first}"), "Bearer".to_owned(), String::new()] {
            let answer = app.request("PUT", "/a").header("Authorization", &value).send();
            assert_eq!((answer.status, answer.text().as_str()), (400, "Not authenticated\n"), "{value}");
        }
        assert_eq!((app.request("DELETE", "/a/").send().status, app.get("/a/20240101000000").send().status), (405, 405));
    }

    fn each_dialect_has_a_document_where_it_is_spoken(backend: Backend) {
        let app = Polyglot::on(backend);
        for (path, operation) in [("zulip", "/api/v1/fetch_api_key"), ("zettelstore", "/a")] {
            let document = app.get(&format!("/swagger/{path}/swagger.json")).send().json();
            assert!(document["paths"][operation]["post"].is_object(), "{document}");
        }
        let list = app.get("/swagger/swagger-initializer.js").send().text();
        assert!(list.contains("zulip/swagger.json") && list.contains("zettelstore/swagger.json"), "{list}");
        let app = TestApp::on(backend);
        app.get("/swagger/zulip/swagger.json").send().problem(404);
        for path in ["/a", "/x?cmd=authenticated", "/api/v1/fetch_api_key"] {
            app.post(path).send().problem(404);
        }
    }
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn a_database_that_is_away_is_said_in_each_dialects_way() {
    let app = Polyglot::on(Backend::Postgres);
    let key = app.zulip_key();
    app.database.go_away();
    let zulip = zulip_error(&app.as_user(ADMIN, &key), 503, "SERVICE_UNAVAILABLE");
    assert!(zulip["msg"].as_str().unwrap().contains("later"));
    let zettelstore = app.renewed(&key);
    assert_eq!(
        (zettelstore.status, zettelstore.text().as_str()),
        (503, "Service Unavailable\n")
    );
    assert_eq!(zettelstore.header("retry-after").as_deref(), Some("1"));
}

#[test]
fn the_login_for_development_is_refused_at_the_start_where_others_could_reach_it() {
    for (name, value) in [
        ("SHOKO_AUTH_LISTEN", "0.0.0.0:8111"),
        ("SHOKO_AUTH_TRUSTED_PROXIES", "10.0.0.0/8"),
    ] {
        let mut command = program(&["serve"]);
        command
            .env("SHOKO_AUTH_ZULIP_DEV_LOGIN", "on")
            .env("SHOKO_AUTH_DIALECTS", "zulip")
            .env(name, value);
        let output = run_with_input(&mut command, "");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && error.contains("SHOKO_AUTH_ZULIP_DEV_LOGIN"),
            "{error}"
        );
    }
}

#[test]
fn durations_that_make_no_sense_are_refused_at_the_start() {
    for (name, value) in [
        ("SHOKO_AUTH_ZETTELSTORE_TOKEN_LIFETIME", "300000y"),
        ("SHOKO_AUTH_ZETTELSTORE_TOKEN_LIFETIME", "0s"),
        ("SHOKO_AUTH_ZETTELSTORE_LOGIN_DELAY", "500000000000y"),
    ] {
        let output = run_with_input(program(&["openapi"]).env(name, value), "");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && (error.contains("must be between") || error.contains("the maximum is")),
            "{error}"
        );
    }
}
