use serde_json::{Value, json};
use test_support::{Backend, Request, Response, apply, both_databases};

use crate::account::{Browser, SESSION, USER, USER_PASSWORD};
use crate::expiring_keys::expiring_key;
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp};

const NEW: &str = "Clarinet-bay";
const PASSWORD: &str = "/api/account/password";

fn app(backend: Backend) -> TestApp {
    let app = TestApp::on(backend);
    app.add_user(USER, USER_PASSWORD);
    app
}

fn change() -> Value {
    json!({"currentPassword": USER_PASSWORD, "newPassword": NEW})
}

#[apply(both_databases!)]
fn a_password_change_keeps_this_browser_signed_in_and_revokes_everything_else(backend: Backend) {
    let app = app(backend);
    let key = app.key(USER, USER_PASSWORD, "tv");
    let other = Browser::sign_in(&app, USER, USER_PASSWORD);
    let stranger = Browser::sign_in(&app, ADMIN, ADMIN_PASSWORD);
    let browser = Browser::sign_in(&app, USER, USER_PASSWORD);
    let response = browser.send(&app, "POST", PASSWORD, &change());
    assert_eq!(response.status, 200, "{}", response.text());
    let renewed = Browser::of(&response);
    assert_ne!(renewed.secret(), browser.secret());
    assert!(renewed.is_signed_in(&app));
    assert!(!browser.is_signed_in(&app) && !other.is_signed_in(&app) && !app.accepts(&key));
    assert!(stranger.is_signed_in(&app));
    app.log_in(USER, USER_PASSWORD, "tv").problem(401);
    assert_eq!(app.log_in(USER, NEW, "tv").status, 200);
}

#[apply(both_databases!)]
fn a_password_change_takes_the_current_password(backend: Backend) {
    let app = app(backend);
    let browser = Browser::sign_in(&app, USER, USER_PASSWORD);
    let key = app.key(USER, USER_PASSWORD, "tv");
    let with_key = |request: Request| request.header("apikey", &key);
    let wrong = json!({"currentPassword": "wrong", "newPassword": NEW});
    let without = json!({"newPassword": NEW});
    browser.send(&app, "POST", PASSWORD, &wrong).problem(403);
    browser.send(&app, "POST", PASSWORD, &without).problem(400);
    with_key(app.post(PASSWORD)).json(&wrong).send().problem(403);
    with_key(app.post(PASSWORD)).json(&without).send().problem(400);
    let expiring = expiring_key(&app, USER, USER_PASSWORD);
    app.post(PASSWORD)
        .header("apikey", &expiring)
        .json(&change())
        .send()
        .problem(403);
    let common = json!({"currentPassword": USER_PASSWORD, "newPassword": "password1"});
    let problem = browser.send(&app, "POST", PASSWORD, &common).problem(400);
    assert!(problem["errors"]["newPassword"].is_array(), "{problem}");
    assert!(app.accepts(&key) && browser.is_signed_in(&app), "nothing has changed");
    let changed: Response = with_key(app.post(PASSWORD)).json(&change()).send();
    assert_eq!(changed.status, 204, "{}", changed.text());
    assert!(!app.accepts(&key) && !browser.is_signed_in(&app));
}

fn origin(value: &str) -> (&str, &str) {
    ("Origin", value)
}

fn site(value: &str) -> (&str, &str) {
    ("Sec-Fetch-Site", value)
}

#[apply(both_databases!)]
fn cross_site_requests_with_the_cookie_change_nothing(backend: Backend) {
    let app = TestApp::with(backend, |settings| {
        settings.public_url = Some("https://login.example.org".parse().unwrap());
        settings.cors_origins = "https://app.example".parse().unwrap();
    });
    app.add_user(USER, USER_PASSWORD);
    let own = format!("http://{}", app.address());
    let (own, other_port) = (own.as_str(), "http://127.0.0.1:1");

    for (headers, is_accepted) in [
        (&[site("same-origin")][..], true),
        (&[site("same-origin"), origin(own)], true),
        (&[origin(own)], true),
        (&[origin("https://login.example.org")], true),
        (&[origin("https://login.example.org:443")], true),
        (&[], false),
        (&[site("none")], false),
        (&[site("same-site")], false),
        (&[site("cross-site")], false),
        (&[site("cross-site"), origin(own)], false),
        (&[site("same-site"), origin(own)], false),
        (&[site("same-origin"), site("cross-site")], false),
        (&[origin("null")], false),
        (&[origin("")], false),
        (&[origin(other_port)], false),
        (&[origin("http://login.example.org")], false),
        (&[origin("https://login.example.org:8443")], false),
        (&[origin("https://login.example.org.evil.example")], false),
        (&[origin("https://app.example")], false),
        (
            &[origin("https://evil.example"), ("X-Forwarded-Host", "evil.example")],
            false,
        ),
        (&[origin(own), origin("https://evil.example")], false),
        // The port of the server is not the default port.
        (&[origin("http://127.0.0.1")], false),
    ] {
        let browser = Browser::sign_in(&app, USER, USER_PASSWORD);
        let sent = |method: &str, path: &str, body: &Value| {
            // Under this name, the cookie is read over any connection.
            let cookie = format!("__Host-{}", browser.0);
            let request = app.request(method, path).header("Cookie", &cookie);
            request.headers(headers).json(body).send()
        };
        let keys = sent(
            "POST",
            "/api/account/keys",
            &json!({"device": "d", "expiresAt": "2000-01-01T00:00:00Z"}),
        );
        // An accepted request fails only later, because the time has passed.
        let expected = if is_accepted { 400 } else { 403 };
        assert_eq!(keys.status, expected, "{headers:?}: {}", keys.text());
        let signed_out = sent("DELETE", SESSION, &json!({}));
        assert_eq!(signed_out.status, if is_accepted { 204 } else { 403 }, "{headers:?}");
        assert_eq!(browser.is_signed_in(&app), !is_accepted);
    }
    let key = app.key(USER, USER_PASSWORD, "tv");
    let with_key = app.delete("/api/account/keys?except=current").header("apikey", &key);
    let foreign = with_key
        .header("Origin", "https://app.example")
        .header("Sec-Fetch-Site", "cross-site");
    assert_eq!(foreign.send().status, 204, "no browser adds a key by itself");
}

#[apply(both_databases!)]
fn an_unknown_host_name_cannot_use_the_cookie(backend: Backend) {
    let app = app(backend);
    let browser = Browser::sign_in(&app, USER, USER_PASSWORD);
    let request = app
        .delete(SESSION)
        .header("Cookie", &browser.0)
        .header("Host", "evil.example");
    request.header("Sec-Fetch-Site", "same-origin").send().problem(403);
    assert!(browser.is_signed_in(&app));
}
