use std::fs;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha2::{Digest, Sha256};
use shoko_auth::settings::{CorsOrigins, Settings, ZettelstoreAuth, ZettelstoreSettings, ZulipSettings};
use test_support::{Backend, Response, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, DEVICE, TestApp};

/// Enables all dialects and optional routes. Returns the folder of the web UI.
fn with_everything(settings: &mut Settings) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("index.html"), "<!doctype html><title>Shoko</title>").unwrap();
    settings.web_ui = Some(folder.path().to_owned());
    settings.v1_login = true;
    settings.cors_origins = "https://here.example".parse::<CorsOrigins>().unwrap();
    settings.dialects.zulip = Some(ZulipSettings { dev_login: false });
    settings.dialects.zettelstore = Some(ZettelstoreSettings {
        login_delay: Duration::ZERO,
        token_lifetime: chrono::TimeDelta::minutes(10),
        auth: ZettelstoreAuth::On,
    });
    folder
}

/// Starts a server with all optional routes.
fn app(backend: Backend) -> (TestApp, tempfile::TempDir) {
    let mut folder = None;
    let app = TestApp::with(backend, |settings| folder = Some(with_everything(settings)));
    (app, folder.unwrap())
}

fn policy(response: &Response) -> String {
    response.header("content-security-policy").unwrap_or_default()
}

#[apply(both_databases!)]
fn every_response_restricts_what_browsers_do_with_it(backend: Backend) {
    let (app, _folder) = app(backend);
    let key = app.admin_key();
    let requests = [
        app.get("/"),
        app.get("/webui/"),
        app.get("/swagger/"),
        app.get("/swagger/v3/swagger.json"),
        app.get("/swagger/docs/clients"),
        app.get("/swagger/none"),
        app.get("/health/ready"),
        app.get("/api/v3/Init/Status"),
        app.get("/none"),
        app.post("/api/auth/verify"),
        app.get("/api/auth/verify"),
        app.get("/api/auth/verify").header("apikey", &key),
        app.request("HEAD", "/api/auth/verify").header("apikey", &key),
        app.post("/api/auth").json(&json!({})),
        app.get("/api/v1/users/me"),
        app.post("/a"),
        app.request("OPTIONS", "/api/auth").headers(&[
            ("Origin", "https://here.example"),
            ("Access-Control-Request-Method", "POST"),
        ]),
        app.get("/api/v3/User/Current")
            .headers(&[("Origin", "https://here.example"), ("apikey", &key)]),
    ];
    for request in requests {
        let response = request.clone().send();
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(response.header(name).as_deref(), Some(value), "{request:?}");
        }
        let policy = policy(&response);
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{request:?}: {policy}"
        );
        assert!(!policy.contains("unsafe-eval"), "{request:?}: {policy}");
    }
}

#[apply(both_databases!)]
fn pages_run_only_scripts_of_this_server(backend: Backend) {
    let (app, _folder) = app(backend);
    for path in ["/swagger/", "/webui/", "/webui/login"] {
        let policy = policy(&app.get(path).send());
        assert!(policy.contains("script-src 'self';"), "{path}: {policy}");
        assert!(policy.contains("connect-src 'self';"), "{path}: {policy}");
        assert!(policy.contains("base-uri 'none'"), "{path}: {policy}");
    }
    let page = app.get("/swagger/").send().text();
    assert!(
        page.matches("<script").count() == page.matches("<script src=").count() && !page.contains("<style"),
        "Swagger UI needs no inline scripts and styles: {page}"
    );
    let logo = app.get("/swagger/swagger-ui-standalone-preset.js").send().text();
    let style = ".logo_small_svg__cls-2{fill:#fff}.logo_small_svg__cls-3{fill:#85ea2d}";
    let hash = STANDARD.encode(Sha256::digest(style));
    assert!(
        logo.contains(style) && policy(&app.get("/swagger/").send()).contains(&format!("'sha256-{hash}'")),
        "the style in Swagger UI's logo is allowed"
    );
    let initializer = app.get("/swagger/swagger-initializer.js").send().text();
    assert!(
        initializer.contains(r#"validatorUrl: "none""#),
        "Swagger UI calls no other server: {initializer}"
    );
}

#[apply(both_databases!)]
fn caches_must_not_store_a_response_to_a_key(backend: Backend) {
    let (app, _folder) = app(backend);
    let key = app.admin_key();
    let basic = |key: &str| {
        let text = format!("{ADMIN}:{}", key.replace('-', ""));
        format!("Basic {}", STANDARD.encode(text))
    };
    let wrong = "00000000-0000-4000-8000-000000000000";
    let mut requests = Vec::new();
    for key in [key.as_str(), wrong] {
        for path in [
            "/api/auth",
            "/api/auth/verify",
            "/api/v3/Auth/ListTokens",
            "/api/v3/User",
            "/api/v3/User/1",
            "/api/v3/User/99",
            "/api/v3/User/Current",
            "/api/v3/Settings",
            "/api/v3/none",
            "/api/ping",
            "/api/myid/get",
        ] {
            requests.push(app.get(path).header("apikey", key));
            requests.push(app.request("HEAD", path).header("apikey", key));
            requests.push(app.get(&format!("{path}?apikey={key}")));
        }
        requests.push(app.get("/api/v1/users/me").header("Authorization", &basic(key)));
        requests.push(
            app.request("PUT", "/a")
                .header("Authorization", &format!("Bearer {key}")),
        );
        requests.push(app.post("/api/auth/apikey").header("apikey", key).json(&json!(DEVICE)));
    }
    let login = json!({"user": ADMIN, "pass": ADMIN_PASSWORD, "device": "d"});
    requests.push(app.post("/api/auth").json(&login));
    let login = format!("username={ADMIN}&password={ADMIN_PASSWORD}");
    requests.push(app.post("/api/v1/fetch_api_key").form(&login));
    requests.push(app.post("/a").form(&login));
    requests.push(app.get("/v1/User"));
    for request in requests {
        let response = request.clone().send();
        assert_eq!(
            response.header("cache-control").as_deref(),
            Some("no-store"),
            "{request:?}"
        );
    }
}

#[apply(both_databases!)]
fn caches_may_store_files_that_are_the_same_for_everyone(backend: Backend) {
    let (app, _folder) = app(backend);
    for path in ["/swagger/swagger-ui.css", "/swagger/v3/swagger.json", "/webui/"] {
        let caching = app.get(path).send().header("cache-control");
        assert_ne!(caching.as_deref(), Some("no-store"), "{path}");
    }
}
