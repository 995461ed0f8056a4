use serde_json::json;
use test_support::{Backend, Request, Response, apply, both_databases};

use crate::support::{ADMIN, RECORDED_PASSWORD as PASSWORD, app_with_recorded_password};

fn apikey(response: &Response) -> String {
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()["apikey"].as_str().unwrap().to_owned()
}

#[apply(both_databases!)]
fn shokofin_escapes_all_special_characters(backend: Backend) {
    let app = app_with_recorded_password(backend);
    app.add_user("jellyfin", "bär & co+1");
    let body = r#"{"user":"jellyfin","pass":"b\u00E4r \u0026 co\u002B1","device":"Shoko Jellyfin Plugin (Shokofin)"}"#;
    let login = app
        .post("/api/auth")
        .header("Content-Type", "application/json; charset=utf-8")
        .body(body);
    let key = apikey(&login.send());
    let headers = [
        ("apikey", key.as_str()),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", "0"),
    ];
    assert_eq!(app.get("/api/v3/User/Current").headers(&headers).send().status, 200);
}

#[apply(both_databases!)]
fn shoko_relay_reads_the_status_in_the_body(backend: Backend) {
    let app = app_with_recorded_password(backend);
    let headers = [("Accept", "application/json"), ("Content-Type", "application/json")];
    let body = r#"{"device": "Shoko Relay for Plex", "user": "Default", "pass": ""}"#;
    let rejected = app.post("/api/auth").headers(&headers).body(body).send();
    assert_eq!((rejected.status, &rejected.json()["status"]), (401, &json!(401)));
    let body = r#"{"user": "Default", "pass": "correct horse battery", "device": "Shoko Relay Scripts for Plex"}"#;
    let headers = [("Accept", "*/*"), ("Content-Type", "application/json")];
    let key = apikey(&app.post("/api/auth").headers(&headers).body(body).send());
    assert_eq!(
        app.get(&format!("/api/v3/User/Current?apikey={key}")).send().status,
        200
    );
    let body = r#"{"user": "", "pass": "x", "device": "d"}"#;
    let rejected = app.post("/api/auth").headers(&headers).body(body).send();
    assert_eq!((rejected.status, &rejected.json()["status"]), (400, &json!(400)));
}

#[apply(both_databases!)]
fn nakamori_does_not_escape(backend: Backend) {
    let app = app_with_recorded_password(backend);
    let post = |password: &str, key: Option<&str>| {
        let headers = [
            ("Content-Type", "application/json"),
            ("Accept", "application/json"),
            ("Accept-Encoding", "gzip"),
        ];
        let request = app.post("/api/auth").headers(&headers);
        let request = key
            .into_iter()
            .fold(request, |request, key| request.header("apikey", key));
        request
            .body(format!(
                r#"{{"user":"Default","pass":"{password}","device":"nakamori"}}"#
            ))
            .send()
    };
    let key = apikey(&post(PASSWORD, None));
    assert_eq!(
        apikey(&post(PASSWORD, Some("00000000-0000-4000-8000-000000000000"))),
        key,
        "a login ignores an invalid key"
    );
    for password in [r#"with"quote"#, r"with\quack"] {
        assert_eq!(post(password, None).status, 400, "{password}");
    }
    assert_eq!(post(r"an\nescape", None).status, 401);
}

#[apply(both_databases!)]
fn naka_revokes_a_key_with_a_null_body_and_changes_the_password(backend: Backend) {
    let app = app_with_recorded_password(backend);
    let headers = [
        ("Accept", "*/*"),
        ("Content-Type", "application/json"),
        ("api-version", "3"),
    ];
    let body = r#"{"user": "Default", "pass": "correct horse battery", "device": "kodi"}"#;
    let key = apikey(&app.post("/api/auth").headers(&headers).body(body).send());
    let path = format!("/api/auth?apikey={key}&api-version=2");
    let headers_2 = [
        ("Accept", "*/*"),
        ("Content-Type", "application/json"),
        ("api-version", "2"),
    ];
    assert_eq!(app.delete(&path).headers(&headers_2).body("null").send().status, 200);
    assert!(!app.accepts(&key));
    let login_2 = app.post("/api/auth?api-version=2").headers(&headers_2).body(body);
    let key = apikey(&login_2.send());
    let request = app
        .post("/api/auth/ChangePassword")
        .headers(&headers)
        .header("apikey", &key);
    assert_eq!(request.body(r#""new password""#).send().status, 200);
    assert_eq!(app.log_in(ADMIN, "new password", "kodi").status, 200);
}

#[apply(both_databases!)]
fn the_sdk_generated_from_shokos_document_reads_every_response(backend: Backend) {
    let app = app_with_recorded_password(backend);
    let accept = [("Content-Type", "application/json-patch+json")];
    let accepts = ["text/plain", "application/json", "text/json"];
    let request = |request: Request| {
        let request = request.headers(&accept);
        accepts
            .iter()
            .fold(request, |request, kind| request.header("Accept", kind))
    };
    let body = r#"{"user":"Default","pass":"correct horse battery","device":"sdk"}"#;
    let key = apikey(&request(app.post("/api/v3/api/auth")).body(body).send());
    for (body, status) in [
        (r#"{"user":"Default","pass":"wrong","device":"sdk"}"#, 401),
        ("{}", 400),
    ] {
        let rejected = request(app.post("/api/v3/api/auth")).body(body).send();
        assert_eq!(rejected.status, status);
        assert_eq!(rejected.header("content-type").as_deref(), Some("application/json"));
    }
    let change = request(app.post("/api/v3/api/auth/ChangePassword")).header("apikey", &key);
    assert_eq!(change.body(r#""new password""#).send().status, 200);
    let key = app.key(ADMIN, "new password", "sdk");
    assert_eq!(app.delete(&format!("/api/v3/api/auth?apikey={key}")).send().status, 200);
    assert!(!app.accepts(&key));
}
