use std::sync::Barrier;

use serde_json::{Value, json};
use test_support::{Backend, Response, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp};

const AVATAR: &str = "data:image/gif;base64,R0lGODlhAQABAAAAADs=";

fn send(app: &TestApp, method: &str, path: &str, key: &str, body: &Value) -> Response {
    let request = app
        .request(method, &format!("/api/v3/User{path}"))
        .header("apikey", key);
    if body.is_null() {
        request.send()
    } else {
        request.json(body).send()
    }
}

#[track_caller]
fn ok(response: &Response) -> Value {
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

fn error(response: &Response, member: &str) -> Value {
    response.problem(400)["errors"][member].clone()
}

#[apply(both_databases!)]
fn administrators_create_read_change_and_delete_users(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    let bob = json!({"Username": " Bob ", "Password": "Bassoon-hill", "CommunitySites": ["AniDB"], "Avatar": AVATAR});
    let bob = ok(&send(&app, "POST", "", &key, &bob));
    let expected = json!({"ID": 2, "Username": "Bob", "IsAdmin": false, "CommunitySites": ["AniDB"],
        "RestrictedTags": [], "Avatar": AVATAR, "PlexUsernames": ""});
    assert_eq!(bob, expected);
    assert_eq!(app.log_in("bob", "Bassoon-hill", "phone").status, 200);
    assert_eq!(ok(&send(&app, "GET", "", &key, &Value::Null))[1], expected);
    assert_eq!(ok(&send(&app, "GET", "/2", &key, &Value::Null)), expected);
    let put = ok(&send(
        &app,
        "PUT",
        "/2",
        &key,
        &json!({"username": "Rob", "RestrictedTags": [3, 4]}),
    ));
    assert_eq!(
        (&put["Username"], &put["RestrictedTags"]),
        (&json!("Rob"), &json!([3, 4]))
    );
    assert_eq!(put["CommunitySites"], json!(["AniDB"]), "absent fields are not changed");
    let patch = json!([{"op": "replace", "path": "/isadmin", "value": true},
        {"op": "add", "path": "/CommunitySites/-", "value": "Plex"}, {"op": "test", "path": "/Username", "value": "Rob"}]);
    let patched = ok(&send(&app, "PATCH", "/2", &key, &patch));
    assert_eq!(
        (&patched["IsAdmin"], &patched["CommunitySites"]),
        (&json!(true), &json!(["AniDB", "Plex"]))
    );
    let emptied = json!([{"op": "remove", "path": "/avatar"}, {"op": "remove", "path": "/CommunitySites/0"}]);
    let emptied = ok(&send(&app, "PATCH", "/2", &key, &emptied));
    assert_eq!(
        (&emptied["Avatar"], &emptied["CommunitySites"]),
        (&json!(""), &json!(["Plex"]))
    );
    let robs = app.key("rob", "Bassoon-hill", "phone");
    let deleted = send(&app, "DELETE", "/2", &key, &Value::Null);
    assert_eq!((deleted.status, deleted.text().as_str()), (200, ""));
    assert!(!app.accepts(&robs));
    for path in ["/2", "/99999"] {
        let unknown = send(&app, "GET", path, &key, &Value::Null).problem(404);
        assert_eq!(unknown["detail"], "An user by the given `userID` doesn't exist.");
    }
    send(&app, "DELETE", "/2", &key, &Value::Null).problem(404);
}

#[apply(both_databases!)]
fn errors_have_shokos_wording(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    let post = |body: Value| send(&app, "POST", "", &key, &body);
    assert_eq!(
        error(&post(json!({"Username": "x"})), "Password"),
        json!(["Password is required"])
    );
    assert_eq!(
        post(json!({})).problem(400)["errors"],
        json!({"Password": ["Password is required"]})
    );
    let none = json!(["A new user must have a username set."]);
    assert_eq!(error(&post(json!({"Password": "Bassoon-hill"})), "Username"), none);
    let blank = json!([
        "A new user must have a username set.",
        "Username cannot be empty or only white-spaces."
    ]);
    assert_eq!(
        error(&post(json!({"Username": " ", "Password": "Bassoon-hill"})), "Username"),
        blank
    );
    let taken = json!(["The username is unavailable."]);
    assert_eq!(
        error(
            &post(json!({"Username": "DEFAULT", "Password": "Bassoon-hill"})),
            "Username"
        ),
        taken
    );
    assert!(error(&post(json!({"Username": "x", "Password": "short"})), "Password").is_array());
    let range = json!(["The field userID must be between 1 and 2147483647."]);
    assert_eq!(error(&send(&app, "GET", "/0", &key, &Value::Null), "userID"), range);
    assert_eq!(
        error(&send(&app, "GET", "/x", &key, &Value::Null), "userID"),
        json!(["The value 'x' is not valid."])
    );
    for patch in [
        json!([{"op": "frobnicate", "path": "/Username"}]),
        json!([{"op": "replace", "path": "/Nothing", "value": 1}]),
        json!([{"op": "replace", "path": "", "value": {}}]),
        json!([{"op": "replace", "path": "/IsAdmin", "value": "perhaps"}]),
        json!([{"op": "test", "path": "/Username", "value": "somebody else"}]),
        json!({"op": "replace"}),
        json!([{"op": "replace", "path": "/Avatar", "value": AVATAR}, {"op": "test", "path": "/Avatar", "value": "y"}]),
        json!([{"op": "copy", "from": "/CommunitySites", "path": "/CommunitySites/-"}]),
        json!([{"op": "move", "from": "/CommunitySites/0", "path": "/CommunitySites"}]),
        json!([{"op": "add", "path": "/CommunitySites/0/x", "value": 1}]),
        json!([{"op": "replace", "path": "/ID", "value": 7}]),
        json!([{"op": "replace", "path": "/Avatar/", "value": AVATAR}]),
        json!([{"op": "remove", "path": "/Username"}]),
        json!([{"op": "remove", "path": "/IsAdmin"}]),
        json!([{"op": "replace", "path": "/Avatar", "value": "a\0b"}]),
        json!(vec![json!({"op": "replace", "path": "/Avatar", "value": AVATAR}); 101]),
    ] {
        send(&app, "PATCH", "/1", &key, &patch).problem(400);
    }
    assert!(
        error(
            &send(&app, "PUT", "/1", &key, &json!({"Password": "Oboe-n-harbour"})),
            "Password"
        )
        .is_array()
    );
    assert!(
        error(
            &send(&app, "PUT", "/1", &key, &json!({"PlexUsernames": "a\0"})),
            "PlexUsernames"
        )
        .is_array()
    );
    assert_eq!(
        ok(&send(&app, "GET", "/1", &key, &Value::Null))["Avatar"],
        "",
        "the rejected requests change nothing"
    );
    let quoted = send(&app, "PUT", "/1", &key, &json!({"IsAdmin": "hunter22"}));
    assert!(!quoted.text().contains("hunter22"), "{}", quoted.text());
}

#[apply(both_databases!)]
fn users_change_their_profile_but_not_their_rights(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "Bassoon-hill");
    let key = app.key("bob", "Bassoon-hill", "phone");
    let put = ok(&send(
        &app,
        "PUT",
        "/Current",
        &key,
        &json!({"PlexUsernames": "b,c", "IsAdmin": false, "Username": "bob"}),
    ));
    assert_eq!(put["PlexUsernames"], "b,c");
    let patch = json!([{"op": "replace", "path": "/Avatar", "value": AVATAR}]);
    assert_eq!(ok(&send(&app, "PATCH", "/Current", &key, &patch))["Avatar"], AVATAR);
    for (member, value) in [
        ("Username", json!("Default2")),
        ("IsAdmin", json!(true)),
        ("CommunitySites", json!(["AniDB"])),
        ("RestrictedTags", json!([1])),
    ] {
        assert!(
            error(
                &send(&app, "PUT", "/Current", &key, &json!({member.to_lowercase(): value})),
                member
            )
            .is_array()
        );
        for op in ["add", "replace"] {
            let patch = json!([{"op": op, "path": format!("/{member}"), "value": value}]);
            assert!(error(&send(&app, "PATCH", "/Current", &key, &patch), member).is_array());
        }
    }
    let expected = json!({"ID": 2, "Username": "bob", "IsAdmin": false, "CommunitySites": [], "RestrictedTags": [],
        "Avatar": AVATAR, "PlexUsernames": "b,c"});
    assert_eq!(ok(&send(&app, "GET", "/Current", &key, &Value::Null)), expected);
    for (method, path) in [
        ("GET", ""),
        ("POST", ""),
        ("GET", "/1"),
        ("PUT", "/1"),
        ("PATCH", "/1"),
        ("DELETE", "/1"),
    ] {
        send(&app, method, path, &key, &json!({})).problem(403);
    }
    send(
        &app,
        "POST",
        "/1/ChangePassword",
        &key,
        &json!({"Password": "Oboe-n-harbour"}),
    )
    .problem(403);
    send(&app, "GET", "", "dead", &Value::Null).problem(401);
}

#[apply(both_databases!)]
fn a_password_change_by_user_id_can_keep_the_keys(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "Bassoon-hill");
    let (admin, bob) = (app.admin_key(), app.key("bob", "Bassoon-hill", "phone"));
    let change = |key: &str, path: &str, password: &str, revoke: Value| {
        let body = json!({"Password": password, "RevokeAPIKeys": revoke});
        send(&app, "POST", &format!("/{path}/ChangePassword"), key, &body)
    };
    assert_eq!(change(&bob, "Current", "Oboe-n-harbour", json!(false)).status, 200);
    assert!(app.accepts(&bob) && app.log_in("bob", "Bassoon-hill", "d").status == 401);
    assert_eq!(change(&admin, "2", "Clarinet-creek", json!(false)).status, 200);
    assert!(app.accepts(&bob));
    assert_eq!(change(&admin, "2", "Bassoon-hill", Value::Null).status, 200);
    assert!(!app.accepts(&bob) && app.accepts(&admin));
    assert!(error(&change(&admin, "2", "", json!(false)), "Password").is_array());
    assert!(
        error(
            &send(&app, "POST", "/Current/ChangePassword", &admin, &json!({})),
            "Password"
        )
        .is_array()
    );
    change(&admin, "99", "Oboe-n-harbour", json!(true)).problem(404);
    assert_eq!(app.log_in("bob", "Bassoon-hill", "d").status, 200);
}

#[apply(both_databases!)]
fn the_last_administrator_cannot_be_removed_by_any_route(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    let last = json!(["There must be at least one admin user."]);
    assert_eq!(error(&send(&app, "DELETE", "/1", &key, &Value::Null), "IsAdmin"), last);
    for path in ["/1", "/Current"] {
        assert_eq!(
            error(&send(&app, "PUT", path, &key, &json!({"IsAdmin": false})), "IsAdmin"),
            last
        );
        let patch = json!([{"op": "replace", "path": "/IsAdmin", "value": false}]);
        assert_eq!(error(&send(&app, "PATCH", path, &key, &patch), "IsAdmin"), last);
    }
}

#[apply(both_databases!)]
fn one_of_two_administrators_who_demote_each_other_remains(backend: Backend) {
    let app = TestApp::on(backend);
    let user = json!({"Username": "second", "Password": ADMIN_PASSWORD, "IsAdmin": true});
    ok(&send(&app, "POST", "", &app.admin_key(), &user));
    let keys = [app.admin_key(), app.key("second", ADMIN_PASSWORD, "d")];
    let demote = json!([{"op": "replace", "path": "/IsAdmin", "value": false}]);
    let promote = json!([{"op": "replace", "path": "/IsAdmin", "value": true}]);
    for _ in 0..200 {
        let barrier = Barrier::new(2);
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let demotions = [(&keys[0], "/2"), (&keys[1], "/1")].map(|(key, path)| {
                let (app, barrier, demote) = (&app, &barrier, &demote);
                scope.spawn(move || {
                    barrier.wait();
                    send(app, "PATCH", path, key, demote).status
                })
            });
            demotions.map(|demotion| demotion.join().unwrap()).into()
        });
        let winner = statuses
            .iter()
            .position(|status| *status == 200)
            .expect("one demotion succeeds");
        assert!([400, 403].contains(&statuses[1 - winner]), "{statuses:?}");
        let loser = ["/2", "/1"][winner];
        ok(&send(&app, "PATCH", loser, &keys[winner], &promote));
    }
}

#[apply(both_databases!)]
fn the_settings_of_the_web_ui_are_stored(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "Bassoon-hill");
    let (admin, bob) = (app.admin_key(), app.key("bob", "Bassoon-hill", "phone"));
    let read = |key: &str| app.get("/api/v3/Settings").header("apikey", key).send();
    let patch = |key: &str, patch: Value| {
        app.request("PATCH", "/api/v3/Settings")
            .header("apikey", key)
            .json(&patch)
            .send()
    };
    assert_eq!(
        ok(&read(&bob)),
        json!({"WebUI_Settings": "", "AniDb": {"Username": ""}})
    );
    let text = "{\"theme\":\"".to_owned() + &"x".repeat(100_000) + "\"}";
    for text in ["first", &text] {
        let replace = json!([{"op": "replace", "path": "/WebUI_Settings", "value": text}]);
        patch(&bob, replace.clone()).problem(403);
        assert_eq!(patch(&admin, replace).status, 200);
        assert_eq!(ok(&read(&bob))["WebUI_Settings"], *text);
    }
    for rejected in [
        json!([{"op": "replace", "path": "/FirstRun", "value": true}]),
        json!([{"op": "remove", "path": "/WebUI_Settings"}]),
        json!([{"op": "replace", "path": "/WebUI_Settings", "value": {}}]),
        json!([{"op": "replace", "path": "/WebUI_Settings", "value": "a\0b"}]),
        json!({}),
    ] {
        patch(&admin, rejected).problem(400);
    }
    app.get("/api/v3/Settings").send().problem(401);
    assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, "d").status, 200);
}
