use serde_json::{Value, json};
use test_support::{Backend, Response, apply, both_databases};

use crate::change_feed::wait_for_change_feed;
use crate::support::{ADMIN, ADMIN_PASSWORD, DEVICE, TestApp};

fn sign_in(app: &TestApp, expires: Option<&str>) -> Response {
    let body = json!({"User": ADMIN, "Password": ADMIN_PASSWORD, "Device": DEVICE, "Expires": expires});
    app.post("/api/v3/Auth/SignIn").json(&body).send()
}

fn token(response: &Response) -> String {
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()["Token"].as_str().unwrap().to_owned()
}

fn generate(app: &TestApp, key: &str, body: &Value) -> Response {
    app.post("/api/v3/Auth/GenerateToken")
        .header("apikey", key)
        .json(body)
        .send()
}

fn listed(app: &TestApp, path: &str, key: &str) -> Vec<(String, String)> {
    let response = app.get(path).header("apikey", key).send();
    assert_eq!(response.status, 200, "{}", response.text());
    let text = |value: &Value| value.as_str().unwrap_or("null").to_owned();
    let items = response.json();
    items
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (text(&item["Username"]), text(&item["Device"])))
        .collect()
}

#[apply(both_databases!)]
fn sign_in_without_expires_returns_the_lasting_key_of_the_device(backend: Backend) {
    let app = TestApp::on(backend);
    let response = sign_in(&app, None);
    assert_eq!(response.header("cache-control").as_deref(), Some("no-store"));
    assert_eq!(response.header("api-supported-versions").as_deref(), Some("3.0"));
    assert_eq!(token(&response), app.admin_key());
    assert_eq!(response.json()["ExpiresAt"], Value::Null);
}

#[apply(both_databases!)]
fn each_sign_in_with_expires_issues_a_new_key(backend: Backend) {
    let app = TestApp::on(backend);
    let lasting = app.admin_key();
    let (one, two) = (token(&sign_in(&app, Some("1h"))), token(&sign_in(&app, Some("PT1H"))));
    assert!(one != two && one != lasting);
    assert!([&lasting, &one, &two].into_iter().all(|key| app.accepts(key)));
    assert_eq!(app.admin_key(), lasting, "a login returns the lasting key");
    assert_eq!(app.change_password(&lasting, "Oboe-n-harbour").status, 200);
    assert!([&lasting, &one, &two].into_iter().all(|key| !app.accepts(key)));
}

#[apply(both_databases!)]
fn an_expired_key_is_invalid_and_not_listed(backend: Backend) {
    let app = TestApp::on(backend);
    let (lasting, expiring) = (app.admin_key(), token(&sign_in(&app, Some("1h"))));
    assert_eq!(listed(&app, "/api/auth", &lasting).len(), 2);
    app.database
        .execute("UPDATE api_keys SET expires_at = '2001-01-01 00:00:00' WHERE expires_at IS NOT NULL");
    wait_for_change_feed();
    assert!(!app.accepts(&expiring) && app.accepts(&lasting));
    assert_eq!(listed(&app, "/api/auth", &lasting).len(), 1);
}

#[apply(both_databases!)]
fn an_expiring_key_cannot_issue_a_key_that_outlives_it(backend: Backend) {
    let app = TestApp::on(backend);
    let session = token(&sign_in(&app, Some("1h")));
    let rejected = |body: Value| generate(&app, &session, &body).problem(400)["detail"].clone();
    let lasting = "Cannot create a non-expiring token from an expiring session.";
    let later = "Requested expiration extends beyond the current session's expiration.";
    assert_eq!(rejected(json!({"Device": "script"})), lasting);
    assert_eq!(rejected(json!({"Device": "script", "Expires": "2h"})), later);
    let old = app
        .post("/api/auth/apikey")
        .header("apikey", &session)
        .json(&json!("script"))
        .send();
    assert_eq!(old.problem(400)["detail"], lasting);
    let issued = token(&generate(&app, &session, &json!({"Device": "script", "Expires": "5m"})));
    assert!(app.accepts(&issued));
    let problem = generate(&app, &session, &json!({"Device": "script", "Expires": "soon"})).problem(400);
    assert_eq!(problem["errors"]["Expires"], json!(["Invalid expires value"]));
    let problem = generate(&app, &session, &json!({})).problem(400);
    assert_eq!(problem["errors"]["Device"], json!(["Device is required"]));
}

#[apply(both_databases!)]
fn a_key_for_another_device_is_issued_once(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    let issue = |body: &str, accept: &str| {
        let headers = [
            ("apikey", key.as_str()),
            ("Content-Type", "application/json"),
            ("Accept", accept),
        ];
        let response = app.post("/api/auth/apikey").headers(&headers).body(body).send();
        assert_eq!(
            (response.status, response.header("cache-control").as_deref()),
            (200, Some("no-store"))
        );
        (response.header("content-type").unwrap(), response.text())
    };
    let (media_type, issued) = issue("\"my script\"", "application/json, text/plain, */*");
    assert_eq!(media_type, "text/plain; charset=utf-8");
    assert!(app.accepts(&issued) && issued != key);
    assert_eq!(issue("\" MY SCRIPT \"", "*/*").1, issued);
    let quoted = ("application/json; charset=utf-8".to_owned(), format!("\"{issued}\""));
    assert_eq!(issue("\"my script\"", "application/json"), quoted);
    assert_eq!(app.key(ADMIN, ADMIN_PASSWORD, "my script"), issued);
    assert_ne!(issue("1.50", "*/*").1, issued);
    assert_eq!(app.key(ADMIN, ADMIN_PASSWORD, "1.50"), issue("1.50", "*/*").1);
}

#[apply(both_databases!)]
fn users_list_their_own_keys_and_administrators_all(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "Bassoon-hill");
    let (admin, bob) = (app.admin_key(), app.key("bob", "Bassoon-hill", "phone"));
    token(&sign_in(&app, Some("1h")));
    let (admins, bobs) = (
        (ADMIN.to_owned(), DEVICE.to_owned()),
        ("bob".to_owned(), "phone".to_owned()),
    );
    let all = vec![admins.clone(), admins.clone(), bobs.clone()];
    assert_eq!(listed(&app, "/api/auth", &admin), all);
    assert_eq!(listed(&app, "/api/auth", &bob), all[2..]);
    assert_eq!(listed(&app, "/api/v3/Auth/ListTokens", &admin), all[..2]);
    assert_eq!(listed(&app, "/api/v3/Auth/ListTokens?showAll=TRUE", &admin), all);
    assert_eq!(listed(&app, "/api/v3/Auth/ListTokens?showAll=true", &bob), [bobs]);
    let times = app.get("/api/auth").header("apikey", &admin).send().json();
    assert!(
        times[0]["ExpiresAt"].is_string() && times[1]["ExpiresAt"].is_null(),
        "{times}"
    );
    let problem = app
        .get("/api/v3/Auth/ListTokens?showAll=maybe")
        .header("apikey", &bob)
        .send()
        .problem(400);
    assert_eq!(problem["errors"]["showAll"], json!(["The value 'maybe' is not valid."]));
    app.get("/api/auth").send().problem(401);
    app.get("/api/v3/Auth/ListTokens").send().problem(401);
}

#[apply(both_databases!)]
fn invalidate_revokes_the_given_key_or_that_of_the_caller(backend: Backend) {
    let app = TestApp::on(backend);
    let (given, own) = (
        app.key(ADMIN, ADMIN_PASSWORD, "given"),
        token(&sign_in(&app, Some("1h"))),
    );
    let path = format!("/api/v3/Auth/InvalidateToken?token={given}");
    assert_eq!(app.delete(&path).send().status, 200);
    assert!(!app.accepts(&given) && app.accepts(&own));
    assert_eq!(
        app.delete(&path).send().problem(400)["detail"],
        "Unable to invalidate token."
    );
    assert_eq!(
        app.delete("/api/v3/Auth/InvalidateToken")
            .header("apikey", &own)
            .send()
            .status,
        200
    );
    assert!(!app.accepts(&own));
    let nothing = app.delete("/api/v3/Auth/InvalidateToken").send().problem(400);
    assert_eq!(nothing["detail"], "An API token must be provided if not signed in.");
}

#[apply(both_databases!)]
fn change_password_in_v3_revokes_all_keys(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "Bassoon-hill");
    let (admin, bob) = (app.admin_key(), app.key("bob", "Bassoon-hill", "phone"));
    let change = |key: &str, query: &str, password: &str| {
        let request = app
            .post(&format!("/api/v3/Auth/ChangePassword{query}"))
            .header("apikey", key);
        request.json(&json!(password)).send()
    };
    assert_eq!(
        change(&admin, "?userID=99", "Oboe-n-harbour").problem(400)["detail"],
        "Unable to find user."
    );
    change(&bob, "?userID=1", "Oboe-n-harbour").problem(403);
    assert!(change(&bob, "", "short").problem(400)["errors"]["newPassword"].is_array());
    assert_eq!(change(&admin, "?userID=2", "Oboe-n-harbour").status, 200);
    assert!(!app.accepts(&bob) && app.accepts(&admin));
    assert_eq!(change(&admin, "", "Oboe-n-harbour").status, 200);
    assert!(!app.accepts(&admin));
}
