use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use shoko_auth::settings::ZulipSettings;
use test_support::process::run_with_input;
use test_support::{Backend, apply, both_databases};

use crate::bad_input::exchange;
use crate::dialects::{AllDialects, basic, zulip_error};
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp, UseDatabase, program};

#[apply(both_databases!)]
fn zulip_errors_have_zulips_format(backend: Backend) {
    let app = AllDialects::on(backend);
    let key = app.zulip_key();
    app.add_user("bob", "pw");
    let without_key = app.get("/api/v1/users/me").send();
    zulip_error(&without_key, 401, "UNAUTHORIZED");
    assert_eq!(
        without_key.header("www-authenticate").as_deref(),
        Some("Basic realm=\"zulip\"")
    );
    assert_eq!(
        zulip_error(&app.zulip_user("bob", &key), 401, "UNAUTHORIZED")["msg"],
        "Invalid API key"
    );
    let bob = app
        .post_form("/api/v1/fetch_api_key", "username=bob&password=pw&b=1&a=2&b=3")
        .json();
    assert_eq!(bob["ignored_parameters_unsupported"], json!(["a", "b"]));
    assert_eq!(bob["email"], "bob", "a user without an e-mail address is shown by name");
    assert!(app.database.run(&["user", "disable", "bob"], "").status.success());
    let disabled = app.zulip_user("bob", bob["api_key"].as_str().unwrap());
    assert_eq!(
        zulip_error(&disabled, 401, "UNAUTHORIZED")["msg"],
        "Account is deactivated"
    );
    zulip_error(
        &app.post_form("/api/v1/fetch_api_key", "username=bob&password=pw"),
        401,
        "USER_DEACTIVATED",
    );
    app.log_in("bob", "pw", "d").problem(401);
    for (method, path, allowed) in [
        ("GET", "/api/v1/fetch_api_key", "POST"),
        ("PUT", "/api/v1/users/me/api_key/regenerate", "POST"),
        ("POST", "/api/v1/users/me", "GET"),
    ] {
        let response = app.request(method, path).send();
        assert_eq!(
            (response.status, response.header("allow").as_deref()),
            (405, Some(allowed)),
            "{method} {path}"
        );
        assert_eq!(response.json()["allowed_methods"], json!([allowed]));
    }
    let response = app.post("/api/v1/server_settings").send();
    assert_eq!(
        (
            response.status,
            response.text().as_str(),
            response.header("allow").as_deref()
        ),
        (405, "", Some("GET, HEAD"))
    );
    let long = app.post_form("/api/v1/fetch_api_key", &"x".repeat(20_000));
    zulip_error(&long, 413, "BAD_REQUEST");
}

#[apply(both_databases!)]
fn zulip_regenerates_a_key(backend: Backend) {
    let app = AllDialects::on(backend);
    let (key, other) = (app.zulip_key(), app.admin_key());
    let response = basic(app.post("/api/v1/users/me/api_key/regenerate"), ADMIN, &key)
        .send()
        .json();
    let new = response["api_key"].as_str().unwrap();
    assert!(new.len() == 32 && new != key && !app.accepts(&key) && app.accepts(new) && app.accepts(&other));
    assert_eq!(app.zulip_key(), new);
}

#[apply(both_databases!)]
fn zulip_reads_credentials_as_clients_write_them(backend: Backend) {
    let app = AllDialects::on(backend);
    app.add_user("J\u{fc}rgen", "pw");
    let response = app
        .post_form("/api/v1/fetch_api_key", "username=J%C3%BCrgen&password=pw")
        .json();
    let key = response["api_key"].as_str().unwrap();
    assert_eq!(app.zulip_user("J\u{fc}rgen", key).status, 200);
    let latin = STANDARD.encode([b"J\xfcrgen:", key.as_bytes()].concat());
    let response = app
        .get("/api/v1/users/me")
        .header("Authorization", &format!("basic  {latin}"))
        .send();
    assert_eq!(response.status, 200, "{}", response.text());
    for (value, status) in [
        ("Basic", 401),
        ("Basic ", 401),
        ("", 401),
        ("Basic a b", 401),
        ("Bearer", 400),
    ] {
        let response = app.get("/api/v1/users/me").header("Authorization", value).send();
        assert_eq!(response.status, status, "{value:?}: {}", response.text());
    }
    let path = format!("/api/v1/fetch_api_key?username={ADMIN}&password={ADMIN_PASSWORD}");
    let response = app
        .post(&path)
        .header("Content-Type", "application/json")
        .body([0xff_u8, 0xfe])
        .send();
    assert_eq!(response.status, 200, "{}", response.text());
    let response = app
        .post("/a")
        .header("Content-Type", "multipart/form-data")
        .body([0xff_u8])
        .send();
    assert_eq!(response.status, 401, "{}", response.text());
}

#[apply(both_databases!)]
fn zulips_rate_limit_headers_include_the_limit_of_the_network(backend: Backend) {
    let (app, _) = AllDialects::throttling(backend);
    let log_in =
        |app: &AllDialects, name: &str| app.post_form("/api/v1/fetch_api_key", &format!("username={name}&password=x"));
    for number in 0..20 {
        assert_eq!(log_in(&app, &format!("u{number}")).status, 401);
    }
    let rejected = log_in(&app, "fresh");
    assert_eq!(
        (rejected.status, rejected.header("x-ratelimit-remaining").as_deref()),
        (429, Some("0"))
    );
    let unthrottled = log_in(&AllDialects::on(backend), "a");
    assert_eq!(unthrottled.header("x-ratelimit-remaining"), None);
}

#[apply(both_databases!)]
fn zulips_server_settings_contain_the_url_of_the_server(backend: Backend) {
    let app = AllDialects::on(backend);
    let settings = |app: &TestApp| app.get("/api/v1/server_settings").send().json();
    assert_eq!(settings(&app)["realm_uri"], app.url);
    assert_eq!(app.request("HEAD", "/api/v1/server_settings").send().status, 200);
    let icon = settings(&app)["realm_icon"]
        .as_str()
        .unwrap()
        .strip_prefix(&app.url)
        .unwrap()
        .to_owned();
    assert_eq!(app.get(&icon).send().status, 200);
    let strange = app.get("/api/v1/server_settings").header("Host", "a<b/c?d").send();
    assert!(
        strange.status == 400 || strange.json()["realm_url"] == "http://localhost",
        "{}",
        strange.text()
    );
    let rebound = app.get("/api/v1/server_settings").header("Host", "evil.example");
    assert_eq!(rebound.send().json()["realm_url"], "http://localhost");
    let long = app.get("/api/v1/server_settings").header("Host", &"a.".repeat(5000));
    assert!(long.send().body.len() < 3000);
    let app = AllDialects::with(backend, |settings| settings.base_path = "/login".parse().unwrap());
    let response = app.get("/login/api/v1/server_settings").send();
    assert_eq!(response.json()["realm_uri"], format!("{}/login", app.url));
    let app = AllDialects::with(backend, |settings| {
        settings.public_url = Some("https://login.example.org/x/".parse().unwrap());
    });
    assert_eq!(settings(&app)["realm_url"], "https://login.example.org/x");
}

#[apply(both_databases!)]
fn the_development_login_works_only_if_enabled_and_only_locally(backend: Backend) {
    let log_in = |app: &AllDialects, headers: &[(&str, &str)]| {
        let request = app.post("/api/v1/dev_fetch_api_key").form("username=default");
        request.headers(headers).send()
    };
    let app = AllDialects::on(backend);
    assert_eq!(
        zulip_error(&log_in(&app, &[]), 400, "BAD_REQUEST")["msg"],
        "Endpoint not available in production."
    );
    zulip_error(
        &app.post("/api/v1/dev_fetch_api_key").send(),
        400,
        "REQUEST_VARIABLE_MISSING",
    );
    let app = AllDialects::with(backend, |settings| {
        settings.dialects.zulip = Some(ZulipSettings { dev_login: true });
    });
    assert_eq!(log_in(&app, &[]).json()["api_key"].as_str().unwrap(), app.zulip_key());
    for header in [
        "X-Forwarded-For",
        "Forwarded",
        "X-Real-IP",
        "X-Forwarded-Proto",
        "Via",
        "CF-Connecting-IP",
        "X-Client-IP",
    ] {
        zulip_error(&log_in(&app, &[(header, "for=192.0.2.1")]), 400, "BAD_REQUEST");
    }
    zulip_error(&log_in(&app, &[("Origin", &app.url)]), 400, "BAD_REQUEST");
    for (site, status) in [
        ("none", 200),
        ("same-origin", 200),
        ("same-site", 400),
        ("cross-site", 403),
    ] {
        assert_eq!(log_in(&app, &[("Sec-Fetch-Site", site)]).status, status, "{site}");
    }
    let old = "POST /api/v1/dev_fetch_api_key HTTP/1.0\r\nHost: 127.0.0.1\r\n\
               Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 16\r\n\r\nusername=default";
    let response = exchange(&app, old.as_bytes());
    assert!(response.contains("Endpoint not available in production."), "{response}");
    zulip_error(&log_in(&app, &[("Host", "rebound.example.org")]), 400, "BAD_REQUEST");
    assert_eq!(log_in(&app, &[("Host", "localhost:1")]).status, 200);
    let unknown = app.post_form("/api/v1/dev_fetch_api_key", "username=nobody");
    zulip_error(&unknown, 401, "AUTHENTICATION_FAILED");
}

#[test]
fn a_development_login_that_others_can_reach_fails_the_start() {
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
