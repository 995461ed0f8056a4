use serde_json::{Value, json};
use test_support::{Backend, Client, Response, apply, both_databases};

use crate::account::{Browser, USER, USER_PASSWORD};
use crate::expiring_keys::expiring_key;
use crate::gateway::basic;
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp};

const PATH: &str = "/api/auth/introspect";

fn introspect(app: &Client, caller: &str, token: &str) -> Response {
    app.post(PATH)
        .header("apikey", caller)
        .form(&format!("token={token}"))
        .send()
}

fn inactive(app: &Client, caller: &str, token: &str) {
    let response = introspect(app, caller, token);
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, r#"{"active":false}"#),
        "{token}"
    );
}

fn app(backend: Backend) -> TestApp {
    let app = TestApp::on(backend);
    app.add_user(USER, USER_PASSWORD);
    app
}

fn gateway_key(app: &Client, key: &str, hosts: &Value) -> String {
    let body = json!({"device": "tv", "scope": "gateway", "hosts": hosts});
    let response = app.post("/api/account/keys").header("apikey", key).json(&body).send();
    assert_eq!(response.status, 201, "{}", response.text());
    response.json()["key"].as_str().unwrap().to_owned()
}

#[apply(both_databases!)]
fn a_service_learns_the_owner_of_a_key(backend: Backend) {
    let app = app(backend);
    let (admin, key) = (app.admin_key(), app.key(USER, USER_PASSWORD, "kodi"));
    let response = introspect(&app, &admin, &key);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("cache-control").as_deref(), Some("no-store"));
    let mut found = response.json();
    let issued_at = found.as_object_mut().unwrap().remove("iat").unwrap();
    assert!(issued_at.as_i64().unwrap() > 1_700_000_000);
    assert_eq!(
        found,
        json!({"active": true, "scope": "full", "client_id": "kodi", "username": USER, "token_type": "Bearer", "sub": "2"})
    );
    let expiring = introspect(&app, &admin, &expiring_key(&app, USER, USER_PASSWORD)).json();
    assert!(expiring["exp"].as_i64().unwrap() > issued_at.as_i64().unwrap());
    let gateway = introspect(&app, &admin, &gateway_key(&app, &key, &Value::Null)).json();
    assert_eq!(
        (&gateway["active"], &gateway["scope"]),
        (&json!(true), &json!("gateway"))
    );
}

#[apply(both_databases!)]
fn the_response_for_an_invalid_token_has_only_the_member_active(backend: Backend) {
    let app = app(backend);
    let (admin, own) = (app.admin_key(), app.key(USER, USER_PASSWORD, "pc"));
    let session = Browser::sign_in(&app, USER, USER_PASSWORD);
    let bound = gateway_key(&app, &own, &json!(["app.example.org"]));
    for token in ["x", "00000000-0000-4000-8000-000000000000", session.secret(), &bound] {
        inactive(&app, &admin, token);
    }
    let revoked = app.key(USER, USER_PASSWORD, "old");
    assert_eq!(introspect(&app, &admin, &revoked).json()["active"], true);
    app.delete(&format!("/api/auth?apikey={revoked}")).send();
    inactive(&app, &admin, &revoked);
    let disable = app.request("PATCH", "/api/account/users/2").header("apikey", &admin);
    assert_eq!(disable.json(&json!({"isDisabled": true})).send().status, 200);
    inactive(&app, &admin, &own);
}

#[apply(both_databases!)]
fn only_a_key_of_an_administrator_may_introspect(backend: Backend) {
    let app = app(backend);
    let (admin, user) = (app.admin_key(), app.key(USER, USER_PASSWORD, "tv"));
    let send = |name: &str, value: &str| app.post(PATH).header(name, value).form(&format!("token={user}")).send();
    let gateway = gateway_key(&app, &admin, &Value::Null);
    for (name, value) in [
        ("apikey", gateway.clone()),
        ("Authorization", format!("Bearer {admin}")),
        ("Authorization", basic(ADMIN, &admin)),
        ("Authorization", basic("", &gateway)),
    ] {
        assert_eq!(send(name, &value).json()["active"], true, "{value}");
    }
    send("apikey", &user).problem(403);
    send("apikey", &gateway_key(&app, &user, &Value::Null)).problem(403);
    send("apikey", &gateway_key(&app, &admin, &json!(["a.example"]))).problem(401);
    send("apikey", "00000000-0000-4000-8000-000000000000").problem(401);
    send("Authorization", &basic(USER, &admin)).problem(401);
    send("Authorization", &basic(ADMIN, ADMIN_PASSWORD)).problem(401);
    let anonymous = app.post(PATH).form(&format!("token={user}")).send();
    anonymous.problem(401);
    assert!(anonymous.header("www-authenticate").is_some());
    let session = Browser::sign_in(&app, ADMIN, ADMIN_PASSWORD);
    let request = session.request(&app, "POST", PATH).form(&format!("token={user}"));
    request.send().problem(401);
    app.post(&format!("{PATH}?apikey={admin}"))
        .form(&format!("token={user}"))
        .send()
        .problem(401);
}

#[apply(both_databases!)]
fn a_key_is_only_in_the_body_of_a_form(backend: Backend) {
    let app = app(backend);
    let admin = app.admin_key();
    let get = app
        .get(&format!("{PATH}?token={admin}"))
        .header("apikey", &admin)
        .send();
    get.problem(405);
    let post = |query: &str| app.post(&format!("{PATH}{query}")).header("apikey", &admin);
    post(&format!("?token={admin}")).form("").send().problem(400);
    let twice = post("").form(&format!("token={admin}&token={admin}"));
    assert_eq!(
        twice.send().problem(400)["errors"],
        json!({"token": ["The parameter 'token' may occur only once."]})
    );
    post("").form("token=%zz").send().problem(400);
    post("").json(&json!({"token": admin})).send().problem(415);
    let hint = post("")
        .form(&format!("token={admin}&token_type_hint=refresh_token&x=y"))
        .send();
    assert_eq!(hint.json()["active"], true, "other members are ignored");
}
