use std::thread;

use chrono::TimeDelta;
use serde_json::{Value, json};
use shoko_auth::settings::Settings;
use test_support::shoko_database::{ShokoDatabase, ShokoVersion};
use test_support::{Backend, Client, Response, apply, both_databases};

use crate::account::{Browser, USER, USER_PASSWORD, app_with_clock};
use crate::expiring_keys::audited;
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp, UseDatabase};

const NEW: &str = "Clarinet-bay";
const LINK: &str = "/api/account/link";

fn public_url(settings: &mut Settings) {
    settings.public_url = Some("https://login.example.org/auth".parse().unwrap());
}

fn issue(app: &TestApp, key: &str) -> Value {
    let response = app.post("/api/account/users/2/link").header("apikey", key).send();
    assert_eq!(response.status, 201, "{}", response.text());
    response.json()
}

/// Returns the token of a link, which is the last part of its path.
fn token(link: &Value) -> String {
    link["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
}

fn use_link(app: &Client, token: &str, password: &str) -> Response {
    app.post(LINK)
        .json(&json!({"token": token, "password": password}))
        .send()
}

#[apply(both_databases!)]
fn a_new_user_chooses_a_password_with_a_link(backend: Backend) {
    let app = TestApp::with(backend, public_url);
    let key = app.admin_key();
    let created = app
        .post("/api/account/users")
        .header("apikey", &key)
        .json(&json!({"name": "carol"}))
        .send();
    assert_eq!(created.status, 201, "{}", created.text());
    let link = created.json()["link"].clone();
    let token = token(&link);
    assert_eq!(token.len(), 32);
    assert_eq!(link["path"], format!("/account/link/{token}"));
    assert_eq!(
        link["url"],
        format!("https://login.example.org/auth/account/link/{token}")
    );
    app.log_in("carol", "", "d").problem(401);
    let problem = use_link(&app, &token, "carol-1987").problem(400);
    assert!(problem["errors"]["password"].is_array(), "{problem}");
    let used = use_link(&app, &token.to_uppercase(), NEW);
    assert_eq!(
        (used.status, used.json()),
        (200, json!({"user": "carol"})),
        "a bad password does not use it up"
    );
    assert_eq!(app.log_in("carol", NEW, "d").status, 200);
    use_link(&app, &token, "Another-0ne").problem(404);
}

#[apply(both_databases!)]
fn a_link_revokes_all_keys_of_its_user(backend: Backend) {
    let (app, _) = app_with_clock(backend, |_| ());
    let (key, browser) = (
        app.key(USER, USER_PASSWORD, "tv"),
        Browser::sign_in(&app, USER, USER_PASSWORD),
    );
    let token = token(&issue(&app, &app.admin_key()));
    assert!(app.accepts(&key), "a link alone changes nothing");
    assert_eq!(use_link(&app, &token, NEW).status, 200);
    assert!(!app.accepts(&key) && !browser.is_signed_in(&app));
}

#[apply(both_databases!)]
fn a_link_is_revoked_by_the_next_one_a_password_change_its_expiry_and_its_user(backend: Backend) {
    let (app, clock) = app_with_clock(backend, |_| ());
    let admin = app.admin_key();
    let revoked = |token: &str| use_link(&app, token, NEW).problem(404);
    let (first, second) = (token(&issue(&app, &admin)), token(&issue(&app, &admin)));
    revoked(&first);
    assert_eq!(
        app.change_password(&app.key(USER, USER_PASSWORD, "d"), "Oboe-n-harbour")
            .status,
        200
    );
    revoked(&second);
    let third = token(&issue(&app, &admin));
    let set = app
        .database
        .run(&["user", "set-password", USER, "--password-stdin"], "Oboe-n-harbour");
    assert!(set.status.success());
    revoked(&third);
    let fourth = token(&issue(&app, &admin));
    clock.advance(TimeDelta::hours(24));
    revoked(&fourth);
    let fifth = token(&issue(&app, &admin));
    assert!(app.database.run(&["user", "disable", USER], "").status.success());
    revoked(&fifth);
    assert!(app.database.run(&["user", "delete", USER], "").status.success());
    revoked(&fifth);
    for text in ["", "x", "00112233445566778899aabbccddeeff", &fifth[1..]] {
        revoked(text);
    }
}

#[apply(both_databases!)]
fn of_two_requests_with_a_link_at_once_only_one_succeeds(backend: Backend) {
    let (app, _) = app_with_clock(backend, |_| ());
    let admin = app.admin_key();
    for _ in 0..3 {
        let token = token(&issue(&app, &admin));
        let statuses: Vec<u16> = thread::scope(|scope| {
            let send = |password| use_link(&app, &token, password).status;
            let threads =
                ["Clarinet-bay", "Oboe-n-harbour", "Bassoon-hill"].map(|text| scope.spawn(move || send(text)));
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(
            statuses.iter().filter(|status| **status == 200).count(),
            1,
            "{statuses:?}"
        );
        assert!(
            statuses.iter().all(|status| [200, 404, 503].contains(status)),
            "{statuses:?}"
        );
    }
}

#[apply(both_databases!)]
fn links_are_stored_hashed_and_foreign_pages_cannot_use_them(backend: Backend) {
    let (app, _) = app_with_clock(backend, |_| ());
    let token = token(&issue(&app, &app.admin_key()));
    let bytes = "SELECT count(*) || '' AS text FROM one_time_links WHERE length(hash) = 32";
    assert_eq!(app.database.texts(bytes), ["1"]);
    let request = app.post(LINK).json(&json!({"token": token, "password": NEW}));
    request.header("Origin", "https://evil.example").send().problem(403);
    app.get(LINK).send().problem(405);
    assert_eq!(use_link(&app, &token, NEW).status, 200);
    assert_eq!(app.database.texts(bytes), ["0"]);
}

#[apply(both_databases!)]
fn the_command_line_prints_links(backend: Backend) {
    let app = TestApp::with(backend, |_| ());
    let run = |arguments: &[&str], public_url: Option<&str>| {
        let mut program = app.database.program(arguments);
        public_url.map(|url| program.env("SHOKO_AUTH_PUBLIC_URL", url));
        let output = program.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let invited = run(&["user", "invite", "carol", "--email", "c@example.org"], None);
    let path = invited.lines().find(|line| line.starts_with("/account/link/")).unwrap();
    assert!(invited.contains("Created the user carol (id 2).") && invited.contains("SHOKO_AUTH_PUBLIC_URL"));
    assert_eq!(use_link(&app, path.rsplit('/').next().unwrap(), NEW).status, 200);
    assert_eq!(app.log_in("c@example.org", NEW, "d").status, 200);
    let reset = run(&["user", "reset-link", "carol"], Some("https://a.example/"));
    let url = reset
        .lines()
        .find(|line| line.starts_with("https://a.example/account/link/"))
        .unwrap();
    assert_eq!(
        use_link(&app, url.rsplit('/').next().unwrap(), "Oboe-n-harbour").status,
        200
    );
    let missing = app.database.run(&["user", "reset-link", "stranger"], "");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no user 'stranger'"));
}

#[apply(both_databases!)]
fn an_import_prints_links_for_users_without_a_password(backend: Backend) {
    let app = TestApp::with(backend, |_| ());
    let mut shoko = ShokoDatabase::create(app.database.folder.path(), ShokoVersion::V6_0);
    shoko.user(1, Some("Default"), None, true);
    shoko.user(7, Some("Family"), Some(""), false);
    let file = shoko.file.to_str().unwrap().to_owned();
    let printed = app
        .database
        .run(&["import", "shoko", &file, "--invite-links", "--json"], "");
    assert!(printed.status.success(), "{printed:?}");
    let report: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let links = report["links"].as_array().unwrap();
    assert_eq!(links.len(), report["withoutPassword"].as_array().unwrap().len());
    assert!(!links.is_empty(), "{report}");
    for link in links {
        let token = link["link"].as_str().unwrap().rsplit('/').next().unwrap();
        let used = use_link(&app, token, NEW);
        assert_eq!((used.status, &used.json()["user"]), (200, &link["user"]));
    }
}

#[apply(both_databases!)]
fn every_change_of_the_account_is_an_audit_event(backend: Backend) {
    let events = audited(backend, |app| {
        let browser = Browser::sign_in(app, ADMIN, ADMIN_PASSWORD);
        let send = |method: &str, path: &str, mut body: Value| {
            body["currentPassword"] = json!(ADMIN_PASSWORD);
            let response = browser.send(app, method, path, &body);
            assert!(response.status < 300, "{method} {path}: {}", response.text());
            serde_json::from_slice::<Value>(&response.body).unwrap_or_default()
        };
        let created = send("POST", "/api/account/users", json!({"name": "carol"}));
        let used = use_link(app, &token(&created["link"]), NEW);
        assert_eq!(used.status, 200, "{}", used.text());
        let change = json!({"email": "c@example.org", "isDisabled": true});
        send("PATCH", "/api/account/users/2", change);
        send(
            "POST",
            "/api/account/keys",
            json!({"device": "script", "scope": "gateway"}),
        );
        send("POST", "/api/account/users/2/unlock", json!({}));
        send("DELETE", "/api/account/throttled?network=203.0.113.7", json!({}));
        send("DELETE", "/api/account/users/2", json!({}));
        let unconfirmed = browser.send(app, "POST", "/api/account/users", &json!({"name": "dave"}));
        unconfirmed.problem(400);
        assert_eq!(
            browser.send(app, "DELETE", "/api/account/session", &json!({})).status,
            204
        );
    });
    let expected = [
        "user_made Default  ",
        "admin_granted Default  ",
        "login_ok Default Browser ",
        "key_made Default Browser ",
        "user_made carol  Default",
        "link_made carol  Default",
        "link_used carol  ",
        "password_changed carol  ",
        "email_changed carol  Default",
        "user_disabled carol  Default",
        "key_made Default script Default",
        "user_unlocked carol  Default",
        "throttle_cleared   Default",
        "user_deleted carol  Default",
        "access_denied Default  Default",
        "key_revoked Default Browser Default",
    ];
    assert_eq!(events, expected);
}
