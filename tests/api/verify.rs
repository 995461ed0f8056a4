use test_support::{Backend, Response, apply, both_databases};

use crate::change_feed::wait_for_change_feed;
use crate::support::{ADMIN, ADMIN_PASSWORD, DEVICE, TestApp};

fn verify(app: &TestApp, headers: &[(&str, &str)]) -> Response {
    app.get("/api/auth/verify").headers(headers).send()
}

#[apply(both_databases!)]
fn verify_returns_the_owner_of_the_key_in_headers(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("jörg 100%", "Clarinet-creek");
    let admin = verify(&app, &[("apikey", &app.admin_key())]);
    assert_eq!((admin.status, admin.body.len()), (200, 0));
    assert_eq!(admin.header("remote-user").as_deref(), Some(ADMIN));
    assert_eq!(admin.header("remote-user-id").as_deref(), Some("1"));
    assert_eq!(admin.header("remote-groups").as_deref(), Some("admin,user"));
    assert_eq!(admin.header("remote-device").as_deref(), Some(DEVICE));
    let user = verify(&app, &[("apikey", &app.key("jörg 100%", "Clarinet-creek", "fön"))]);
    assert_eq!(user.header("remote-user").as_deref(), Some("j%C3%B6rg 100%25"));
    assert_eq!(user.header("remote-groups").as_deref(), Some("user"));
    assert_eq!(user.header("remote-device").as_deref(), Some("f%C3%B6n"));
}

#[apply(both_databases!)]
fn verify_does_not_repeat_a_user_that_the_client_claims_to_be(backend: Backend) {
    let app = TestApp::on(backend);
    let response = verify(&app, &[("Remote-User", ADMIN)]);
    response.problem(401);
    assert_eq!(response.header("remote-user"), None);
}

#[apply(both_databases!)]
fn verify_supports_head(backend: Backend) {
    let app = TestApp::on(backend);
    let response = app
        .request("HEAD", "/api/auth/verify")
        .header("apikey", &app.admin_key())
        .send();
    assert_eq!(
        (response.status, response.header("remote-user").as_deref()),
        (200, Some(ADMIN))
    );
    assert_eq!(app.request("HEAD", "/api/auth/verify").send().status, 401);
}

#[apply(both_databases!)]
fn a_key_is_read_from_every_place_where_clients_send_it(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    let upper = format!(" {} ", key.to_uppercase());
    let status = |headers: &[(&str, &str)]| verify(&app, headers).status;
    for headers in [
        ("apikey", key.as_str()),
        ("ApiKey", &upper),
        ("apikey", &key.replace('-', "")),
        ("Authorization", &format!("Bearer {key}")),
        ("authorization", &format!("BEARER  {key}")),
    ] {
        assert_eq!(status(&[headers]), 200, "{headers:?}");
    }
    assert_eq!(app.get(&format!("/api/auth/verify?ApiKey={key}")).send().status, 200);
    assert_eq!(
        app.get(&format!("/api/auth/verify?apikey=%7B{key}%7D")).send().status,
        200
    );
    assert_eq!(status(&[("Authorization", &format!("Basic {key}"))]), 401);
    assert_eq!(
        status(&[("apikey", &format!("{key},{key}"))]),
        401,
        "a list is not a valid key"
    );
}

#[apply(both_databases!)]
fn the_first_valid_key_of_a_request_is_used(backend: Backend) {
    let app = TestApp::on(backend);
    let (key, kodi) = (app.admin_key(), app.key(ADMIN, ADMIN_PASSWORD, "kodi"));
    let device = |headers: &[(&str, &str)], query: &str| {
        let request = app.get(&format!("/api/auth/verify{query}")).headers(headers);
        request.send().header("remote-device")
    };
    let bearer = format!("Bearer {kodi}");
    assert_eq!(
        device(&[("apikey", ""), ("Authorization", &bearer)], "").as_deref(),
        Some("kodi")
    );
    assert_eq!(
        device(&[("Authorization", &bearer), ("apikey", &key)], "").as_deref(),
        Some(DEVICE)
    );
    assert_eq!(
        device(&[("apikey", "dead")], &format!("?apikey={kodi}")).as_deref(),
        Some("kodi")
    );
    assert_eq!(
        device(&[("apikey", "dead"), ("apikey", &kodi)], "").as_deref(),
        Some("kodi")
    );
}

#[apply(both_databases!)]
fn the_challenge_distinguishes_a_missing_from_an_invalid_key(backend: Backend) {
    let app = TestApp::on(backend);
    let challenge = |headers: &[(&str, &str)]| {
        let response = verify(&app, headers);
        response.problem(401);
        response.header("www-authenticate")
    };
    assert_eq!(challenge(&[]).as_deref(), Some(r#"Bearer realm="shoko-auth""#));
    assert_eq!(
        challenge(&[("apikey", " ")]).as_deref(),
        Some(r#"Bearer realm="shoko-auth""#)
    );
    let invalid = Some(r#"Bearer realm="shoko-auth", error="invalid_token""#);
    assert_eq!(challenge(&[("apikey", "dead")]).as_deref(), invalid);
    assert_eq!(
        challenge(&[("Authorization", "Bearer 00000000-0000-4000-8000-000000000000")]).as_deref(),
        invalid
    );
}

#[apply(both_databases!)]
fn an_expired_key_is_rejected(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    app.database
        .execute("UPDATE api_keys SET expires_at = '2999-01-01 00:00:00'");
    assert!(app.accepts(&key));
    app.database
        .execute("UPDATE api_keys SET expires_at = '2001-01-01 00:00:00'");
    wait_for_change_feed();
    assert!(!app.accepts(&key));
}

#[apply(both_databases!)]
fn the_current_user_has_shokos_members_in_shokos_order(backend: Backend) {
    let app = TestApp::on(backend);
    let response = app
        .get("/api/v3/User/Current")
        .header("apikey", &app.admin_key())
        .send();
    let expected = r#"{"ID":1,"Username":"Default","IsAdmin":true,"CommunitySites":[],"RestrictedTags":[],"Avatar":"","PlexUsernames":""}"#;
    assert_eq!((response.status, response.text().as_str()), (200, expected));
    assert_eq!(response.header("api-supported-versions").as_deref(), Some("3.0"));
}
