use crate::changes::heard;
use crate::support::{ADMIN, ADMIN_PASSWORD, Answer, Backend, DEVICE, TestApp, on_both_databases};

fn verify(app: &TestApp, headers: &[(&str, &str)]) -> Answer {
    app.get("/api/auth/verify").headers(headers).send()
}

on_both_databases! {
    fn a_proxy_is_told_who_calls(app: TestApp) {
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

    fn what_a_client_claims_to_be_is_not_repeated(app: TestApp) {
        let answer = verify(&app, &[("Remote-User", ADMIN)]);
        answer.problem(401);
        assert_eq!(answer.header("remote-user"), None);
    }

    fn head_is_answered_like_get(app: TestApp) {
        let answer = app.request("HEAD", "/api/auth/verify").header("apikey", &app.admin_key()).send();
        assert_eq!((answer.status, answer.header("remote-user").as_deref()), (200, Some(ADMIN)));
        assert_eq!(app.request("HEAD", "/api/auth/verify").send().status, 401);
    }

    fn a_key_is_found_wherever_clients_put_it(app: TestApp) {
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
        assert_eq!(app.get(&format!("/api/auth/verify?apikey=%7B{key}%7D")).send().status, 200);
        assert_eq!(status(&[("Authorization", &format!("Basic {key}"))]), 401);
        assert_eq!(status(&[("apikey", &format!("{key},{key}"))]), 401, "a list is one bad key");
    }

    fn the_first_key_that_works_decides(app: TestApp) {
        let (key, kodi) = (app.admin_key(), app.key(ADMIN, ADMIN_PASSWORD, "kodi"));
        let device = |headers: &[(&str, &str)], query: &str| {
            let request = app.get(&format!("/api/auth/verify{query}")).headers(headers);
            request.send().header("remote-device")
        };
        let bearer = format!("Bearer {kodi}");
        assert_eq!(device(&[("apikey", ""), ("Authorization", &bearer)], "").as_deref(), Some("kodi"));
        assert_eq!(device(&[("Authorization", &bearer), ("apikey", &key)], "").as_deref(), Some(DEVICE));
        assert_eq!(device(&[("apikey", "dead")], &format!("?apikey={kodi}")).as_deref(), Some("kodi"));
        assert_eq!(device(&[("apikey", "dead"), ("apikey", &kodi)], "").as_deref(), Some("kodi"));
    }

    fn no_key_and_a_key_that_does_not_work_are_told_apart_by_the_challenge(app: TestApp) {
        let challenge = |headers: &[(&str, &str)]| {
            let answer = verify(&app, headers);
            answer.problem(401);
            answer.header("www-authenticate")
        };
        assert_eq!(challenge(&[]).as_deref(), Some(r#"Bearer realm="shoko-auth""#));
        assert_eq!(challenge(&[("apikey", " ")]).as_deref(), Some(r#"Bearer realm="shoko-auth""#));
        let invalid = Some(r#"Bearer realm="shoko-auth", error="invalid_token""#);
        assert_eq!(challenge(&[("apikey", "dead")]).as_deref(), invalid);
        assert_eq!(challenge(&[("Authorization", "Bearer 00000000-0000-4000-8000-000000000000")]).as_deref(), invalid);
    }

    fn an_expired_key_does_not_work(app: TestApp) {
        let key = app.admin_key();
        app.database.execute("UPDATE api_keys SET expires_at = '2999-01-01 00:00:00'");
        assert!(app.accepts(&key));
        app.database.execute("UPDATE api_keys SET expires_at = '2001-01-01 00:00:00'");
        heard();
        assert!(!app.accepts(&key));
    }

    fn the_current_user_is_shown_as_shoko_shows_him(app: TestApp) {
        let answer = app.get("/api/v3/User/Current").header("apikey", &app.admin_key()).send();
        let expected = r#"{"ID":1,"Username":"Default","IsAdmin":true,"CommunitySites":[],"RestrictedTags":[],"Avatar":"","PlexUsernames":""}"#;
        assert_eq!((answer.status, answer.text().as_str()), (200, expected));
        assert_eq!(answer.header("api-supported-versions").as_deref(), Some("3.0"));
    }
}
