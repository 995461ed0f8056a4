use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use test_support::{Backend, Client, Request, Response, apply, both_databases};

use crate::account::{Browser, SESSION, USER, USER_PASSWORD, app_with_clock};
use crate::dialects::{AllDialects, basic};
use crate::expiring_keys::expiring_key;
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp, UseDatabase};

const KEYS: &str = "/api/account/keys";

fn app(backend: Backend) -> TestApp {
    let app = TestApp::on(backend);
    app.add_user(USER, USER_PASSWORD);
    app
}

fn with_key(request: Request, key: &str) -> Request {
    request.header("apikey", key)
}

/// Issues a key and returns the response.
fn issue(app: &Client, key: &str, body: &Value) -> Response {
    with_key(app.post(KEYS), key).json(body).send()
}

/// Issues a key and returns it.
#[track_caller]
fn issued(app: &Client, key: &str, body: &Value) -> String {
    let response = issue(app, key, body);
    assert_eq!(response.status, 201, "{}", response.text());
    response.json()["key"].as_str().unwrap().to_owned()
}

fn list(app: &Client, key: &str) -> Vec<Value> {
    let response = with_key(app.get(KEYS), key).send().json();
    let list = response["list"].as_array().unwrap().clone();
    assert_eq!(response["total"], list.len());
    list
}

fn verify(app: &Client, key: &str, headers: &[(&str, &str)]) -> u16 {
    with_key(app.get("/api/auth/verify"), key)
        .headers(headers)
        .send()
        .status
}

fn tomorrow() -> String {
    (Utc::now() + TimeDelta::days(1)).to_rfc3339()
}

#[apply(both_databases!)]
fn a_new_key_is_shown_once_and_a_device_has_one_lasting_full_key(backend: Backend) {
    let app = app(backend);
    let key = app.key(USER, USER_PASSWORD, "tv");
    let response = issue(&app, &key, &json!({"device": "Script"}));
    assert_eq!(response.status, 201, "{}", response.text());
    let new = response.json();
    assert!(app.accepts(new["key"].as_str().unwrap()));
    assert_eq!(
        (&new["device"], &new["scope"], &new["hosts"]),
        (&json!("Script"), &json!("full"), &Value::Null)
    );
    let listed = list(&app, &key);
    assert!(listed.iter().all(|key| key.get("key").is_none()));
    let current: Vec<_> = listed.iter().filter(|key| key["isCurrent"] == true).collect();
    assert_eq!((current.len(), &current[0]["device"]), (1, &json!("tv")));
    for device in ["script", " SCRIPT ", "tv"] {
        let problem = issue(&app, &key, &json!({"device": device})).problem(409);
        assert!(
            problem["detail"].as_str().unwrap().contains("already has a key"),
            "{problem}"
        );
    }
    assert_eq!(
        app.key(USER, USER_PASSWORD, "script"),
        new["key"],
        "a login returns it, as everywhere"
    );
}

#[apply(both_databases!)]
fn gateway_and_expiring_keys_share_a_device_and_no_login_returns_them(backend: Backend) {
    let app = AllDialects::on(backend);
    app.add_user(USER, USER_PASSWORD);
    let key = app.key(USER, USER_PASSWORD, "tv");
    let mut others = Vec::new();
    for device in ["tv", "Zulip", "new"] {
        others.push(issued(&app, &key, &json!({"device": device, "scope": "gateway"})));
        others.push(issued(
            &app,
            &key,
            &json!({"device": device, "scope": "gateway", "hosts": ["a.example"]}),
        ));
        others.push(issued(&app, &key, &json!({"device": device, "expiresAt": tomorrow()})));
        others.push(issued(
            &app,
            &key,
            &json!({"device": device, "scope": "gateway", "expiresAt": tomorrow()}),
        ));
    }
    assert_eq!(app.key(USER, USER_PASSWORD, "tv"), key);
    let fresh = app.key(USER, USER_PASSWORD, "new");
    let zulip = app
        .post("/api/v1/fetch_api_key")
        .form(&format!("username={USER}&password={USER_PASSWORD}"));
    let zulip = zulip.send().json()["api_key"].as_str().unwrap().to_owned();
    let generated = with_key(app.post("/api/auth/apikey"), &key).json(&json!("new")).send();
    assert_eq!(generated.text(), fresh);
    for other in others {
        assert!(![&fresh, &zulip].contains(&&other) && other.replace('-', "") != zulip);
    }
}

#[apply(both_databases!)]
fn a_gateway_key_is_accepted_by_forward_auth_and_nowhere_else(backend: Backend) {
    let app = AllDialects::on(backend);
    let admin = app.key(ADMIN, ADMIN_PASSWORD, "tv");
    let gateway = issued(&app, &admin, &json!({"device": "proxy", "scope": "gateway"}));
    for _ in 0..2 {
        assert_eq!(verify(&app, &gateway, &[]), 200);
        for (method, path) in [
            ("GET", "/api/auth"),
            ("POST", "/api/auth/apikey"),
            ("GET", "/api/v3/User/Current"),
            ("GET", "/api/v3/User"),
            ("GET", "/api/v3/Auth/ListTokens"),
            ("GET", "/api/ping"),
            ("GET", SESSION),
            ("GET", KEYS),
            ("POST", KEYS),
            ("GET", "/api/account/users"),
        ] {
            with_key(app.request(method, path), &gateway)
                .json(&json!("x"))
                .send()
                .problem(401);
        }
        let plain = gateway.replace('-', "");
        assert_eq!(basic(app.get("/api/v1/users/me"), ADMIN, &plain).send().status, 401);
        let bearer = format!("Bearer {gateway}");
        let with_bearer = |method: &str, path: &str| app.request(method, path).header("Authorization", &bearer);
        assert_eq!(with_bearer("POST", "/x?cmd=authenticated").send().status, 401);
        assert_eq!(with_bearer("PUT", "/a").send().status, 400);
    }
    // Later keys of a request count if the first one is not accepted.
    let both = app.get("/api/ping").header("apikey", &gateway);
    assert_eq!(
        both.header("Authorization", &format!("Bearer {admin}")).send().status,
        200
    );
    assert_eq!(app.delete(&format!("/api/auth?apikey={gateway}")).send().status, 200);
    assert_eq!(verify(&app, &gateway, &[]), 401, "knowing a key is enough to revoke it");
}

#[apply(both_databases!)]
fn a_key_for_hosts_is_good_only_for_these_hosts(backend: Backend) {
    let app = TestApp::with(backend, |settings| {
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    });
    let admin = app.admin_key();
    let hosts = json!(["App.example", "b.example"]);
    let key = issued(
        &app,
        &admin,
        &json!({"device": "proxy", "scope": "gateway", "hosts": hosts}),
    );
    let forwarded = |host| ("X-Forwarded-Host", host);
    for (headers, status) in [
        (&[forwarded("app.example")][..], 200),
        (&[forwarded("APP.example:8443"), ("Host", "auth.example")], 200),
        (&[("Host", "b.example")], 200),
        (&[], 401),
        (&[forwarded("c.example"), ("Host", "app.example")], 401),
        (&[forwarded("app.example, evil.example")], 401),
        (&[forwarded("app.example"), forwarded("evil.example")], 401),
        (&[forwarded("sub.app.example")], 401),
        (&[forwarded("app.example.evil.example")], 401),
        (&[forwarded("")], 401),
    ] {
        assert_eq!(verify(&app, &key, headers), status, "{headers:?}");
        assert_eq!(verify(&app, &admin, headers), 200, "a full key is good for every host");
    }
    for bad in [
        json!([]),
        json!(["a b"]),
        json!(["https://a.example"]),
        json!("a.example"),
        json!([1]),
    ] {
        let body = json!({"device": "x", "scope": "gateway", "hosts": bad});
        issue(&app, &admin, &body).problem(400);
    }
    let full = json!({"device": "x", "hosts": ["a.example"]});
    issue(&app, &admin, &full).problem(400);
}

#[apply(both_databases!)]
fn what_outlives_a_session_needs_the_password(backend: Backend) {
    let app = app(backend);
    let browser = Browser::sign_in(&app, USER, USER_PASSWORD);
    let send = |body: &Value| browser.send(&app, "POST", KEYS, body);
    assert_eq!(send(&json!({"device": "a", "expiresAt": tomorrow()})).status, 201);
    let later = (Utc::now() + TimeDelta::days(60)).to_rfc3339();
    for body in [
        json!({"device": "b"}),
        json!({"device": "b", "scope": "gateway"}),
        json!({"device": "b", "expiresAt": later}),
    ] {
        let problem = send(&body).problem(400);
        assert!(problem["errors"]["currentPassword"].is_array(), "{problem}");
        let with = |password: &str| {
            let mut body = body.clone();
            body["currentPassword"] = json!(password);
            send(&body)
        };
        with("wrong").problem(403);
        assert_eq!(with(USER_PASSWORD).status, 201);
    }
    let expiring = expiring_key(&app, USER, USER_PASSWORD);
    issue(&app, &expiring, &json!({"device": "c"})).problem(403);
    issue(&app, &expiring, &json!({"device": "c", "expiresAt": tomorrow()})).problem(403);
    for expiry in ["soon", "2000-01-01T00:00:00Z", "9999-01-01T00:00:00Z"] {
        let problem = send(&json!({"device": "c", "expiresAt": expiry})).problem(400);
        assert!(problem["errors"]["expiresAt"].is_array(), "{problem}");
    }
}

#[apply(both_databases!)]
fn keys_are_revoked_one_by_one_or_all_but_the_current_one(backend: Backend) {
    let app = app(backend);
    let (tv, phone) = (
        app.key(USER, USER_PASSWORD, "tv"),
        app.key(USER, USER_PASSWORD, "phone"),
    );
    let (browser, other) = (
        Browser::sign_in(&app, USER, USER_PASSWORD),
        Browser::sign_in(&app, USER, USER_PASSWORD),
    );
    let admin = app.admin_key();
    let admin_id = list(&app, &admin)[0]["id"].clone();
    let foreign = browser.send(&app, "DELETE", &format!("{KEYS}/{admin_id}"), &json!({}));
    foreign.problem(404);
    let keys = list(&app, &tv);
    assert_eq!(keys.iter().filter(|key| key["kind"] == "session").count(), 2);
    let phone_id = keys.iter().find(|key| key["device"] == "phone").unwrap()["id"].clone();
    let path = format!("{KEYS}/{phone_id}");
    assert_eq!(browser.send(&app, "DELETE", &path, &json!({})).status, 204);
    assert!(!app.accepts(&phone) && app.accepts(&tv));
    browser.send(&app, "DELETE", &path, &json!({})).problem(404);
    browser
        .send(&app, "DELETE", &format!("{KEYS}/x"), &json!({}))
        .problem(400);
    browser
        .send(&app, "DELETE", &format!("{KEYS}?except=x"), &json!({}))
        .problem(400);
    assert_eq!(
        browser
            .send(&app, "DELETE", &format!("{KEYS}?except=current"), &json!({}))
            .status,
        204
    );
    assert!(browser.is_signed_in(&app) && !other.is_signed_in(&app) && !app.accepts(&tv));
    assert!(app.accepts(&admin));
    let tv = app.key(USER, USER_PASSWORD, "tv");
    assert_eq!(browser.send(&app, "DELETE", KEYS, &json!({})).status, 204);
    assert!(!browser.is_signed_in(&app) && !app.accepts(&tv));
    for path in [KEYS.to_owned(), format!("{KEYS}?except=current")] {
        let only = Browser::sign_in(&app, USER, USER_PASSWORD);
        assert_eq!(
            only.send(&app, "DELETE", &path, &json!({})).status,
            204,
            "without other keys"
        );
    }
    let only = Browser::sign_in(&app, USER, USER_PASSWORD);
    let revoked = app.database.run(&["key", "revoke", "--user", USER], "");
    assert!(revoked.status.success(), "{revoked:?}");
    assert!(!only.is_signed_in(&app));
}

#[apply(both_databases!)]
fn a_value_of_the_wrong_type_is_not_called_invalid_json(backend: Backend) {
    let app = app(backend);
    let key = app.admin_key();
    let error = |body: &str| {
        let request = with_key(app.post(KEYS), &key).header("Content-Type", "application/json");
        request.body(body.to_owned()).send().problem(400)["errors"].clone()
    };
    for value in ["null", "5", "[]", "{}"] {
        let errors = error(&format!(r#"{{"device": "tv", "scope": {value}}}"#));
        assert_eq!(errors, json!({"scope": ["The value has the wrong type."]}), "{value}");
    }
    let errors = error(r#"{"device": "tv", "scope": }"#);
    assert!(
        errors["scope"][0].as_str().unwrap().contains("not valid JSON"),
        "{errors}"
    );
}

#[apply(both_databases!)]
fn lists_have_pages(backend: Backend) {
    let (app, _) = app_with_clock(backend, |_| ());
    let key = app.key(USER, USER_PASSWORD, "a");
    for device in ["b", "c", "d", "e"] {
        app.key(USER, USER_PASSWORD, device);
    }
    let page = |query: &str| {
        let response = with_key(app.get(&format!("{KEYS}?{query}")), &key).send().json();
        assert_eq!(response["total"], 5);
        let devices = response["list"].as_array().unwrap().iter();
        devices
            .map(|key| key["device"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(page(""), ["a", "b", "c", "d", "e"]);
    assert_eq!(page("pageSize=2"), ["a", "b"]);
    assert_eq!(page("pageSize=2&page=3"), ["e"]);
    assert!(page("pageSize=2&page=4").is_empty());
    let last = app.key(USER, USER_PASSWORD, "e");
    let list = list(&app, &last);
    let devices: Vec<_> = list.iter().map(|key| key["device"].as_str().unwrap()).collect();
    assert_eq!(devices, ["e", "a", "b", "c", "d"], "the caller's own key is the first");
    for query in [
        "page=0",
        "page=-1",
        "page=1000001",
        "page=x",
        "pageSize=0",
        "pageSize=101",
        "page=1&page=2",
    ] {
        with_key(app.get(&format!("{KEYS}?{query}")), &key).send().problem(400);
    }
}

#[apply(both_databases!)]
fn names_are_returned_as_json_and_never_in_headers(backend: Backend) {
    let app = app(backend);
    let key = app.key(USER, USER_PASSWORD, "tv");
    let html = "<script>alert(1)</script>\"'&\u{202e}";
    let response = issue(&app, &key, &json!({"device": html}));
    assert_eq!(response.header("content-type").as_deref(), Some("application/json"));
    assert_eq!(response.json()["device"], html);
    assert_eq!(response.header("x-content-type-options").as_deref(), Some("nosniff"));
    let injection = "x\r\nSet-Cookie: shoko-auth=1";
    issue(&app, &key, &json!({"device": injection})).problem(400);
    let agent = "Firefox/1 Linux <b>; shoko-auth=1";
    let body = json!({"user": USER, "password": USER_PASSWORD});
    let response = app.post(SESSION).header("User-Agent", agent).json(&body).send();
    assert_eq!(response.json()["device"], "Firefox on Linux");
    assert_eq!(response.header("set-cookie").unwrap().matches("shoko-auth").count(), 1);
}

#[apply(both_databases!)]
fn the_command_line_lists_kind_scope_and_hosts(backend: Backend) {
    let app = app(backend);
    let key = app.key(USER, USER_PASSWORD, "tv");
    issued(
        &app,
        &key,
        &json!({"device": "proxy", "scope": "gateway", "hosts": ["a.example"]}),
    );
    Browser::sign_in(&app, USER, USER_PASSWORD);
    let listed = app.database.run(&["key", "list", "--user", USER, "--json"], "").stdout;
    let listed: Vec<Value> = serde_json::from_slice(&listed).unwrap();
    let of = |device: &str| listed.iter().find(|key| key["device"] == device).unwrap();
    assert_eq!(
        (&of("Browser")["kind"], &of("tv")["kind"]),
        (&json!("session"), &json!("device"))
    );
    assert_eq!(
        (&of("proxy")["scope"], &of("proxy")["hosts"]),
        (&json!("gateway"), &json!(["a.example"]))
    );
}
