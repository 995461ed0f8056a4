use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use shoko_auth::settings::{Settings, ZettelstoreAuth, ZettelstoreSettings, ZulipSettings};
use test_support::shoko_database::{ShokoDatabase, ShokoVersion, key};
use test_support::{Backend, Response, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, DEVICE, TestApp, UseDatabase};

const MAX_KEYS: usize = 5;
const TOO_MANY: &str = "A user may have at most 5 API keys. Revoke a key that is no longer needed.";

fn limited(settings: &mut Settings) {
    settings.core.key_limits.max_per_user = MAX_KEYS;
}

fn sign_in(app: &TestApp, device: &str, expires: Option<&str>) -> Response {
    let body = json!({"User": ADMIN, "Password": ADMIN_PASSWORD, "Device": device, "Expires": expires});
    app.post("/api/v3/Auth/SignIn").json(&body).send()
}

fn expiring_key(app: &TestApp, expires: &str) -> String {
    let response = sign_in(app, DEVICE, Some(expires));
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()["Token"].as_str().unwrap().to_owned()
}

fn generate(app: &TestApp, key: &str, body: &Value) -> Response {
    let request = app.post("/api/v3/Auth/GenerateToken").header("apikey", key);
    request.json(body).send()
}

/// Logs in on as many devices as the limit allows and returns their keys.
fn fill_with_lasting_keys(app: &TestApp) -> Vec<String> {
    (0..MAX_KEYS)
        .map(|number| app.key(ADMIN, ADMIN_PASSWORD, &format!("device {number}")))
        .collect()
}

#[apply(both_databases!)]
fn at_the_limit_a_new_expiring_key_replaces_the_one_that_expires_first(backend: Backend) {
    let app = TestApp::with(backend, limited);
    let lasting = app.admin_key();
    let keys = ["3h", "1h", "2h", "4h"].map(|expires| expiring_key(&app, expires));
    let accepted = || keys.clone().map(|key| app.accepts(&key));
    assert_eq!(accepted(), [true; 4]);
    let new = expiring_key(&app, "5h");
    assert_eq!(accepted(), [true, false, true, true]);
    let issued = generate(&app, &lasting, &json!({"Device": "script", "Expires": "6h"}));
    assert_eq!(issued.status, 200);
    assert_eq!(accepted(), [true, false, false, true]);
    assert!(app.accepts(&new) && app.accepts(&lasting));
}

#[apply(both_databases!)]
fn at_the_limit_a_new_lasting_key_is_rejected_and_a_known_device_logs_in(backend: Backend) {
    let app = TestApp::with(backend, limited);
    app.add_user("bob", "Bassoon-hill");
    let keys = fill_with_lasting_keys(&app);
    let login = json!({"user": ADMIN, "pass": ADMIN_PASSWORD, "device": "new"});
    assert_eq!(
        app.post("/api/auth").json(&login).send().problem(400)["detail"],
        TOO_MANY
    );
    assert_eq!(sign_in(&app, "new", None).problem(400)["detail"], TOO_MANY);
    let other = app
        .post("/api/auth/apikey")
        .header("apikey", &keys[0])
        .json(&json!("new"));
    assert_eq!(other.send().problem(400)["detail"], TOO_MANY);
    let issued = generate(&app, &keys[0], &json!({"Device": "new"}));
    assert_eq!(issued.problem(400)["detail"], TOO_MANY);
    // There is no expiring key to replace.
    assert_eq!(sign_in(&app, "new", Some("1h")).problem(400)["detail"], TOO_MANY);
    assert_eq!(app.key(ADMIN, ADMIN_PASSWORD, "device 0"), keys[0]);
    assert!(keys.iter().all(|key| app.accepts(key)));
    app.key("bob", "Bassoon-hill", "new");
    assert_eq!(app.delete(&format!("/api/auth?apikey={}", keys[1])).send().status, 200);
    app.key(ADMIN, ADMIN_PASSWORD, "new");
}

#[apply(both_databases!)]
fn expired_and_revoked_keys_do_not_count(backend: Backend) {
    let app = TestApp::with(backend, limited);
    fill_with_lasting_keys(&app);
    app.database
        .execute("UPDATE api_keys SET expires_at = '2001-01-01 00:00:00', sealed = NULL");
    let keys = fill_with_lasting_keys(&app);
    assert_eq!(app.change_password(&keys[0], ADMIN_PASSWORD).status, 200);
    assert!(keys.iter().all(|key| !app.accepts(key)));
    let new = fill_with_lasting_keys(&app);
    assert!(new.iter().all(|key| app.accepts(key) && !keys.contains(key)));
}

#[apply(both_databases!)]
fn an_expiry_beyond_the_maximum_lifetime_is_rejected(backend: Backend) {
    let app = TestApp::with(backend, |settings| {
        settings.core.key_limits.max_lifetime = Duration::from_secs(2 * 24 * 60 * 60);
    });
    let limit = json!(["The expiry may be at most 2 days in the future."]);
    for expires in ["3d", "P3D", "2099-01-01", "9999-12-30"] {
        let problem = sign_in(&app, DEVICE, Some(expires)).problem(400);
        assert_eq!(problem["errors"]["Expires"], limit, "{expires}");
        let body = json!({"Device": "script", "Expires": expires});
        let problem = generate(&app, &app.admin_key(), &body).problem(400);
        assert_eq!(problem["errors"]["Expires"], limit, "{expires}");
    }
    expiring_key(&app, "2d");
    let tomorrow = Utc::now() + TimeDelta::days(1);
    let response = sign_in(&app, DEVICE, Some(&tomorrow.format("%Y-%m-%dT%H:%M:%S").to_string()));
    let expected = tomorrow.format("%Y-%m-%dT%H:%M:%S+00:00").to_string();
    assert_eq!(
        (response.status, &response.json()["ExpiresAt"]),
        (200, &json!(expected))
    );
}

#[apply(both_databases!)]
fn an_import_may_exceed_the_limit(backend: Backend) {
    let app = TestApp::with(backend, limited);
    let mut shoko = ShokoDatabase::create(app.database.folder.path(), ShokoVersion::V5_3);
    shoko.user(7, Some("carol"), Some(""), false);
    let imported: Vec<String> = (1..=8)
        .map(|number| {
            shoko.key(i64::from(number), 7, &format!("device {number}"), &key(number));
            key(number)
        })
        .collect();
    let file = shoko.file.to_str().unwrap();
    let arguments = ["import", "shoko", file, "--max-keys-per-user", "5"];
    assert!(app.database.run(&arguments, "").status.success());
    assert!(imported.iter().all(|key| app.accepts(key)));
    let issued = generate(&app, &imported[0], &json!({"Device": "new"}));
    assert_eq!(issued.problem(400)["detail"], TOO_MANY);
}

#[apply(both_databases!)]
fn zulip_reports_the_limit_in_its_own_format(backend: Backend) {
    let app = TestApp::with(backend, |settings| {
        limited(settings);
        settings.dialects.zulip = Some(ZulipSettings { dev_login: false });
    });
    let keys = fill_with_lasting_keys(&app);
    let fetch = app.post("/api/v1/fetch_api_key");
    let form = format!("username={ADMIN}&password={ADMIN_PASSWORD}");
    let response = fetch
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send();
    assert_eq!(response.status, 400);
    let expected = json!({"result": "error", "msg": TOO_MANY, "code": "BAD_REQUEST"});
    assert_eq!(response.json(), expected);
    assert!(keys.iter().all(|key| app.accepts(key)));
}

#[apply(both_databases!)]
fn zettelstores_tokens_count_as_expiring_keys(backend: Backend) {
    let app = TestApp::with(backend, |settings| {
        limited(settings);
        settings.dialects.zettelstore = Some(ZettelstoreSettings {
            login_delay: Duration::ZERO,
            token_lifetime: TimeDelta::minutes(10),
            auth: ZettelstoreAuth::On,
        });
    });
    let form = format!("username={ADMIN}&password={ADMIN_PASSWORD}");
    let log_in = || {
        let request = app
            .post("/a")
            .header("content-type", "application/x-www-form-urlencoded");
        request.body(form.as_str()).send()
    };
    let renew = |key: &str| {
        let request = app.request("PUT", "/a");
        request.header("authorization", &format!("Bearer {key}")).send()
    };
    let first = log_in();
    assert_eq!(first.status, 200);
    let lasting = app.admin_key();
    for _ in 0..MAX_KEYS {
        assert_eq!(log_in().status, 200);
        assert_eq!(renew(&lasting).status, 200, "a lasting key is exchanged for a token");
    }
    assert!(app.accepts(&lasting));
    app.database
        .execute("UPDATE api_keys SET expires_at = '2001-01-01 00:00:00' WHERE expires_at IS NOT NULL");
    let others = (1..MAX_KEYS).map(|number| app.key(ADMIN, ADMIN_PASSWORD, &format!("device {number}")));
    assert!(others.collect::<Vec<_>>().iter().all(|key| app.accepts(key)));
    for response in [log_in(), renew(&lasting)] {
        assert_eq!((response.status, response.text()), (400, format!("{TOO_MANY}\n")));
    }
}
