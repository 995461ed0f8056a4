use serde_json::{Value, json};
use test_support::{Backend, Client, Response, apply, both_databases};

use crate::account::{Browser, USER, USER_PASSWORD, sign_in};
use crate::expiring_keys::expiring_key;
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp};

const USERS: &str = "/api/account/users";
const BOB: &str = "/api/account/users/2";
const THROTTLED: &str = "/api/account/throttled";

fn app(backend: Backend) -> TestApp {
    let app = TestApp::on(backend);
    app.add_user(USER, USER_PASSWORD);
    app
}

fn send(app: &Client, key: &str, method: &str, path: &str, body: &Value) -> Response {
    app.request(method, path).header("apikey", key).json(body).send()
}

#[apply(both_databases!)]
fn every_change_by_an_administrator_with_a_session_takes_the_password(backend: Backend) {
    let app = app(backend);
    let browser = Browser::sign_in(&app, ADMIN, ADMIN_PASSWORD);
    let key = app.key(USER, USER_PASSWORD, "tv");
    let keys = browser.request(&app, "GET", &format!("{BOB}/keys")).send().json();
    let key_id = keys["list"][0]["id"].to_string();
    let changes = [
        ("POST", USERS.to_owned(), json!({"name": "carol"})),
        (
            "POST",
            USERS.to_owned(),
            json!({"name": "dave", "password": "Clarinet-bay"}),
        ),
        ("PATCH", BOB.to_owned(), json!({"isAdmin": true})),
        ("PATCH", BOB.to_owned(), json!({"email": "bob@example.org"})),
        ("POST", format!("{BOB}/unlock"), json!({})),
        ("POST", format!("{BOB}/link"), json!({})),
        ("DELETE", format!("{BOB}/keys/{key_id}"), json!({})),
        ("DELETE", format!("{BOB}/keys"), json!({})),
        ("DELETE", format!("{THROTTLED}?network=203.0.113.7"), json!({})),
        ("DELETE", format!("{THROTTLED}?user={USER}"), json!({})),
        ("DELETE", BOB.to_owned(), json!({})),
    ];
    for (method, path, body) in &changes {
        let problem = browser.send(&app, method, path, body).problem(400);
        assert!(
            problem["errors"]["currentPassword"].is_array(),
            "{method} {path}: {problem}"
        );
        let mut wrong = body.clone();
        wrong["currentPassword"] = json!("wrong");
        browser.send(&app, method, path, &wrong).problem(403);
    }
    assert!(app.accepts(&key), "nothing has changed");
    for (method, path, body) in &changes {
        let mut body = body.clone();
        body["currentPassword"] = json!(ADMIN_PASSWORD);
        let response = browser.send(&app, method, path, &body);
        assert!(response.status < 300, "{method} {path}: {}", response.text());
    }
    assert!(!app.accepts(&key));
}

#[apply(both_databases!)]
fn a_lasting_key_of_an_administrator_needs_no_password(backend: Backend) {
    let app = app(backend);
    let admin = app.admin_key();
    let patched = send(
        &app,
        &admin,
        "PATCH",
        BOB,
        &json!({"name": "Rob", "email": "rob@example.org"}),
    );
    let expected = json!({"id": 2, "name": "Rob", "email": "rob@example.org", "isAdmin": false, "isDisabled": false,
        "hasPassword": true, "createdAt": patched.json()["createdAt"], "throttledUntil": null});
    assert_eq!(patched.json(), expected);
    assert_eq!(app.log_in("rob@example.org", USER_PASSWORD, "d").status, 200);
    let expiring = expiring_key(&app, ADMIN, ADMIN_PASSWORD);
    for (method, path, body) in [
        ("PATCH", BOB.to_owned(), json!({"isAdmin": true})),
        ("POST", USERS.to_owned(), json!({"name": "carol"})),
        ("POST", format!("{BOB}/link"), json!({})),
    ] {
        send(&app, &expiring, method, &path, &body).problem(403);
    }
}

/// Some generated SDKs send null for every member that is not set.
#[apply(both_databases!)]
fn null_members_change_nothing(backend: Backend) {
    let app = app(backend);
    let admin = app.admin_key();
    let before = send(&app, &admin, "PATCH", BOB, &json!({"email": "bob@example.org"})).json();
    let nulls = json!({"name": null, "email": null, "isAdmin": null, "isDisabled": null, "currentPassword": null});
    assert_eq!(send(&app, &admin, "PATCH", BOB, &nulls).json(), before);
}

#[apply(both_databases!)]
fn an_empty_email_address_removes_it(backend: Backend) {
    let app = app(backend);
    let admin = app.admin_key();
    send(&app, &admin, "PATCH", BOB, &json!({"email": "bob@example.org"}));
    let after = send(&app, &admin, "PATCH", BOB, &json!({"email": ""})).json();
    assert_eq!(after["email"], Value::Null);
    assert_eq!(app.log_in("bob@example.org", USER_PASSWORD, "d").status, 401);
}

#[apply(both_databases!)]
fn the_error_about_an_email_address_does_not_call_it_a_name(backend: Backend) {
    let app = app(backend);
    let admin = app.admin_key();
    let error = |method, path: &str, body| {
        let errors = send(&app, &admin, method, path, &body).problem(400)["errors"].clone();
        errors["email"][0].as_str().unwrap().to_owned()
    };
    for email in [" ".to_owned(), "x".repeat(256), "a\u{202e}b".to_owned()] {
        for error in [
            error("PATCH", BOB, json!({"email": email})),
            error("POST", USERS, json!({"name": "carol", "email": email})),
        ] {
            assert!(error.starts_with("An e-mail address m"), "{error}");
        }
    }
}

#[apply(both_databases!)]
fn only_administrators_administer_users(backend: Backend) {
    let app = app(backend);
    let (key, browser) = (
        app.key(USER, USER_PASSWORD, "tv"),
        Browser::sign_in(&app, USER, USER_PASSWORD),
    );
    for (method, path) in [
        ("GET", USERS.to_owned()),
        ("POST", USERS.to_owned()),
        ("PATCH", BOB.to_owned()),
        ("DELETE", BOB.to_owned()),
        ("POST", format!("{BOB}/unlock")),
        ("POST", format!("{BOB}/link")),
        ("GET", format!("{BOB}/keys")),
        ("DELETE", format!("{BOB}/keys")),
        ("DELETE", format!("{BOB}/keys/1")),
        ("GET", THROTTLED.to_owned()),
        ("DELETE", format!("{THROTTLED}?user=x")),
    ] {
        send(&app, &key, method, &path, &json!({})).problem(403);
        browser
            .send(&app, method, &path, &json!({"currentPassword": USER_PASSWORD}))
            .problem(403);
        app.request(method, &path).send().problem(401);
    }
}

#[apply(both_databases!)]
fn a_change_of_a_user_is_made_as_a_whole_or_not_at_all(backend: Backend) {
    let app = app(backend);
    let admin = app.admin_key();
    let own = "/api/account/users/1";
    for (path, body, status) in [
        (BOB, json!({"isAdmin": true, "name": ADMIN}), 400),
        (BOB, json!({"name": "rob", "email": ADMIN}), 400),
        (own, json!({"name": "Root", "isAdmin": false}), 400),
        (own, json!({"name": "Root", "isDisabled": true}), 400),
        (BOB, json!({"name": "a\u{202e}b"}), 400),
        (BOB, json!({"name": "x\r\nSet-Cookie: a=b"}), 400),
        (BOB, json!({"isadmin": true}), 400),
        ("/api/account/users/99", json!({"name": "x"}), 404),
        ("/api/account/users/x", json!({"name": "x"}), 400),
    ] {
        send(&app, &admin, "PATCH", path, &body).problem(status);
    }
    let users = send(&app, &admin, "GET", USERS, &json!({})).json();
    let names: Vec<_> = users["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| user["name"].clone())
        .collect();
    assert_eq!(names, [ADMIN, USER]);
    assert!(users["list"][1]["isAdmin"] == false && users["list"][0]["isAdmin"] == true);
}

#[apply(both_databases!)]
fn users_are_found_by_a_part_of_their_name_or_address(backend: Backend) {
    let app = app(backend);
    let admin = app.admin_key();
    for (name, email) in [
        ("Jörg_1", "j@example.org"),
        ("100%", "p@example.org"),
        ("<b>x</b>", "x@Example.com"),
    ] {
        let body = json!({"name": name, "email": email});
        assert_eq!(send(&app, &admin, "POST", USERS, &body).status, 201);
    }
    let found = |query: &str| {
        let response = send(&app, &admin, "GET", &format!("{USERS}?{query}"), &json!({})).json();
        let list = response["list"].as_array().unwrap().iter();
        let names: Vec<_> = list.map(|user| user["name"].as_str().unwrap().to_owned()).collect();
        (response["total"].as_u64().unwrap(), names.join(" "))
    };
    for (query, total, names) in [
        ("", 5, "Default bob Jörg_1 100% <b>x</b>"),
        ("search=J%C3%96RG", 1, "Jörg_1"),
        ("search=_", 1, "Jörg_1"),
        ("search=%25", 1, "100%"),
        ("search=%5C", 0, ""),
        ("search=%00", 0, ""),
        ("search=example%00", 0, ""),
        ("search=EXAMPLE.COM", 1, "<b>x</b>"),
        ("search=example", 3, "Jörg_1 100% <b>x</b>"),
        ("pageSize=2&page=2", 5, "Jörg_1 100%"),
    ] {
        assert_eq!(found(query), (total, names.to_owned()), "{query}");
    }
}

#[apply(both_databases!)]
fn throttled_users_and_networks_are_listed_and_cleared(backend: Backend) {
    let app = TestApp::with(backend, |settings| {
        settings.core.login_throttle = true;
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    });
    app.add_user(USER, USER_PASSWORD);
    let admin = app.admin_key();
    let from = |user: &str, password: &str, address: &str| {
        let request = sign_in(&app, user, password).header("X-Forwarded-For", address);
        request.send().status
    };
    for index in 0..6 {
        from(USER, "wrong", "203.0.113.7");
        from("nobody", "wrong", "203.0.113.7");
        from(&format!("name{index}"), "wrong", "203.0.113.7");
        from(&format!("other{index}"), "wrong", "203.0.113.7");
    }
    let list = || send(&app, &admin, "GET", THROTTLED, &json!({})).json();
    let listed = list();
    assert_eq!(
        (&listed["total"], &listed["unknownNames"]),
        (&json!(2), &json!(1)),
        "{listed}"
    );
    let items = listed["list"].as_array().unwrap();
    assert!(
        items
            .iter()
            .any(|item| item["user"] == USER && item["network"].is_null())
    );
    assert!(
        items
            .iter()
            .any(|item| item["network"] == "203.0.113.7/32" && item["user"].is_null())
    );
    let users = send(&app, &admin, "GET", &format!("{USERS}?search={USER}"), &json!({})).json();
    assert!(users["list"][0]["throttledUntil"].is_string(), "{users}");
    assert_eq!(from(USER, USER_PASSWORD, "203.0.113.8"), 429);
    let clear = |query: &str| send(&app, &admin, "DELETE", &format!("{THROTTLED}?{query}"), &json!({}));
    for query in ["", "user=a&network=203.0.113.7", "network=203.0.113.0/24", "network=x"] {
        clear(query).problem(400);
    }
    clear("user=unknown").problem(404);
    assert_eq!(clear("network=203.0.113.7").status, 204);
    assert_eq!(clear(&format!("user={USER}")).status, 204);
    assert_eq!(list()["total"], 0);
    assert_eq!(from(USER, USER_PASSWORD, "203.0.113.7"), 200);
}
