use chrono::TimeDelta;
use test_support::{Backend, Client, Request, Response, apply, both_databases};
use url::form_urlencoded::Serializer;

use crate::account::{Browser, USER, USER_PASSWORD, app_with_clock};
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp, limit_waits};

/// Returns a form body.
pub fn encoded(fields: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Returns a request that a page of the server sends without a session.
pub fn anonymous_form(app: &Client, path: &str, fields: &[(&str, &str)]) -> Request {
    let request = app.post(path).header("Sec-Fetch-Site", "same-origin");
    request.form(&encoded(fields))
}

impl Browser {
    /// Signs in with the form.
    #[track_caller]
    pub fn with_form(app: &Client, user: &str, password: &str) -> Self {
        let fields = [("user", user), ("password", password)];
        let response = anonymous_form(app, "/account/sign-in", &fields).send();
        assert_eq!(location(&response), "/account/", "{}", response.text());
        Self::of(&response)
    }

    /// Returns a page.
    #[track_caller]
    pub fn page(&self, app: &Client, path: &str) -> String {
        let response = self.request(app, "GET", path).send();
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        response.text()
    }

    /// Returns the form token of the session.
    #[track_caller]
    pub fn token(&self, app: &Client) -> String {
        let page = self.page(app, "/account/new-key");
        between(&page, r#"name="token" value=""#, "\"")
    }

    /// Sends a form of a page.
    #[track_caller]
    pub fn submit(&self, app: &Client, path: &str, fields: &[(&str, &str)]) -> Response {
        let token = self.token(app);
        let fields = [&[("token", token.as_str())], fields].concat();
        self.request(app, "POST", path).form(&encoded(&fields)).send()
    }
}

/// Returns the first text between two others.
#[track_caller]
pub fn between(text: &str, start: &str, end: &str) -> String {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("{start} in {text}"));
    rest.split_once(end).expect(end).0.to_owned()
}

#[track_caller]
pub fn location(response: &Response) -> String {
    assert_eq!(response.status, 303, "{}", response.text());
    response.header("location").expect("a location")
}

#[apply(both_databases!)]
fn a_person_signs_in_and_out(backend: Backend) {
    let app = TestApp::on(backend);
    let start = app.get("/").send();
    assert_eq!(
        (start.status, start.header("location").as_deref()),
        (302, Some("/account/"))
    );
    assert_eq!(
        location(&app.get("/account/").send()),
        "/account/sign-in?return=%2Faccount"
    );
    let form = app.get("/account/sign-in?return=%2Faccount%2Fpassword").send();
    let html = form.text();
    assert_eq!(form.status, 200);
    assert_eq!(form.header("content-type").as_deref(), Some("text/html; charset=utf-8"));
    for part in [
        r#"autocomplete="username""#,
        r#"autocomplete="current-password""#,
        r#"<label for="user">"#,
        r#"<label for="password">"#,
        r#"<html lang="en">"#,
        r#"name="return" value="/account/password""#,
        r#"href="/swagger/""#,
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    let browser = Browser::with_form(&app, ADMIN, ADMIN_PASSWORD);
    assert!(browser.page(&app, "/account/").contains("This browser"));
    let again = browser.request(&app, "GET", "/account/sign-in").send();
    assert_eq!(location(&again), "/account/", "the browser is signed in already");
    let out = browser.submit(&app, "/account/sign-out", &[]);
    assert_eq!(location(&out), "/account/sign-in?notice=signed-out");
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert!(!browser.is_signed_in(&app));
    let ended = browser.request(&app, "GET", "/account/password").send();
    assert_eq!(
        location(&ended),
        "/account/sign-in?return=%2Faccount%2Fpassword&notice=session-expired"
    );
    assert!(
        app.get(&location(&ended))
            .send()
            .text()
            .contains("Your session has ended.")
    );
}

#[apply(both_databases!)]
fn a_failed_sign_in_is_explained(backend: Backend) {
    let (app, clock) = app_with_clock(backend, |settings| settings.core.login_throttle = true);
    let sign_in = |user: &str, password: &str| {
        let fields = [("user", user), ("password", password), ("return", "/account/password")];
        anonymous_form(&app, "/account/sign-in", &fields).send()
    };
    for user in [USER, "no-such-user"] {
        let wrong = sign_in(user, "wrong");
        let html = wrong.text();
        assert_eq!((wrong.status, wrong.header("set-cookie")), (403, None));
        assert!(html.contains("The user name or the password is wrong.") && html.contains(r#"role="alert""#));
        assert!(html.contains(&format!(r#"value="{user}""#)), "the name stays: {html}");
        assert!(html.contains(r#"value="/account/password""#) && !html.contains(r#"value="wrong""#));
    }
    for _ in 0..4 {
        sign_in(USER, "wrong");
    }
    let throttled = sign_in(USER, USER_PASSWORD);
    assert_eq!(
        (throttled.status, throttled.header("retry-after").as_deref()),
        (429, Some("1"))
    );
    let html = throttled.text();
    assert!(
        html.contains("Try again in 1 second.") && html.contains(r#"data-seconds="1""#),
        "{html}"
    );
    clock.advance(TimeDelta::hours(1));
    assert_eq!(location(&sign_in(USER, USER_PASSWORD)), "/account/password");
    for name in ["", "a\nb", &"x".repeat(256)] {
        let invalid = sign_in(name, "x");
        assert_eq!(invalid.status, 400);
        assert!(invalid.text().contains(r#"aria-invalid="true""#), "{}", invalid.text());
    }
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn an_offline_database_is_explained() {
    let app = TestApp::with(Backend::Postgres, limit_waits);
    let browser = Browser::with_form(&app, ADMIN, ADMIN_PASSWORD);
    app.database.take_offline();
    assert_eq!(app.get("/account/sign-in").send().status, 200);
    let fields = [("user", ADMIN), ("password", ADMIN_PASSWORD)];
    for response in [
        anonymous_form(&app, "/account/sign-in", &fields).send(),
        browser.request(&app, "GET", "/account/").send(),
    ] {
        assert_eq!(
            (response.status, response.header("retry-after").as_deref()),
            (503, Some("1"))
        );
        assert!(
            response.text().contains("The database cannot be reached"),
            "{}",
            response.text()
        );
    }
    app.database.bring_online();
}

#[apply(both_databases!)]
fn a_sign_in_returns_only_to_this_server(backend: Backend) {
    let app = TestApp::on(backend);
    for (path, target) in [
        (
            "/account/users?search=b%26b&page=2",
            "/account/users?search=b%26b&page=2",
        ),
        ("/swagger/", "/swagger/"),
        ("//evil.example", "/account/"),
        ("\\\\evil.example", "/account/"),
        ("/\\evil.example", "/account/"),
        ("https:evil.example", "/account/"),
        ("https://evil.example/", "/account/"),
        ("/%2fevil.example", "/account/"),
        ("/%5cevil.example", "/account/"),
        ("/\t/evil.example", "/account/"),
        ("/\r\nSet-Cookie: a=b", "/account/"),
        ("javascript:alert(1)", "/account/"),
    ] {
        let fields = [("user", ADMIN), ("password", ADMIN_PASSWORD), ("return", path)];
        let response = anonymous_form(&app, "/account/sign-in", &fields).send();
        assert_eq!(location(&response), target, "{path:?}");
        let browser = Browser::of(&response);
        let query = encoded(&[("return", path)]);
        let signed_in = browser
            .request(&app, "GET", &format!("/account/sign-in?{query}"))
            .send();
        assert_eq!(location(&signed_in), target, "{path:?}");
        let form = app.get(&format!("/account/sign-in?{query}")).send().text();
        assert_eq!(form.contains(r#"name="return""#), target != "/account/", "{form}");
    }
}

#[apply(both_databases!)]
fn a_page_says_if_the_connection_is_not_encrypted(backend: Backend) {
    let app = TestApp::with(backend, |settings| {
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    });
    for (headers, is_exposed) in [
        (&[][..], false),
        (&[("Host", "localhost:8111")], false),
        (&[("Host", "nas.local:8111")], true),
        (&[("Host", "192.168.1.2")], true),
        (&[("Host", "nas.local"), ("X-Forwarded-Proto", "http")], true),
        (&[("Host", "nas.local"), ("X-Forwarded-Proto", "https")], false),
        (&[("Host", "127.0.0.1:8111"), ("X-Forwarded-Host", "nas.local")], true),
        (&[("Host", "nas.local"), ("Sec-Fetch-Site", "none")], false),
        (&[("Host", "nas.local"), ("Cookie", "__Host-shoko-auth=x")], false),
    ] {
        let html = app.get("/account/sign-in").headers(headers).send().text();
        assert_eq!(
            html.contains("This connection is not encrypted."),
            is_exposed,
            "{headers:?}"
        );
    }
}

#[apply(both_databases!)]
fn pages_work_below_a_base_path(backend: Backend) {
    let app = TestApp::with(backend, |settings| settings.base_path = "/Some/Where".parse().unwrap());
    let start = app.get("/some/where/").send();
    assert_eq!(start.header("location").as_deref(), Some("/Some/Where/account/"));
    let to_sign_in = location(&app.get("/Some/Where/account/password").send());
    assert_eq!(
        to_sign_in,
        "/Some/Where/account/sign-in?return=%2Fsome%2Fwhere%2Faccount%2Fpassword"
    );
    let html = app.get(&to_sign_in).send().text();
    for start in ["href=\"/", "src=\"/", "action=\"/"] {
        let all = html.matches(start).count();
        assert!(
            all > 0 && html.matches(&format!("{start}Some/Where/")).count() == all,
            "{start}: {html}"
        );
    }
    let style = between(&html, r#"rel="stylesheet" href=""#, "\"");
    let style = app.get(&style).send();
    assert_eq!(style.status, 200);
    assert!(style.header("cache-control").unwrap().contains("immutable"));
    let fields = [
        ("user", ADMIN),
        ("password", ADMIN_PASSWORD),
        ("return", "/some/where/account/password"),
    ];
    let signed_in = anonymous_form(&app, "/some/where/account/sign-in", &fields).send();
    assert_eq!(location(&signed_in), "/some/where/account/password");
    let page = Browser::of(&signed_in).page(&app, "/some/where/account/password");
    assert!(page.contains(r#"aria-current="page""#), "{page}");
}

#[apply(both_databases!)]
fn a_missing_page_is_explained(backend: Backend) {
    let app = TestApp::on(backend);
    let missing = app.get("/account/none").send();
    assert_eq!(missing.status, 404);
    assert!(missing.text().contains("There is no such page."));
    for path in ["/account/files/none.css", "/account/link/a/b"] {
        let missing = app.get(path).send();
        assert_eq!(missing.status, 404, "{path}");
        assert!(missing.text().contains("There is no such page."), "{path}");
    }
}

#[apply(both_databases!)]
fn the_address_of_a_form_leads_to_the_page_with_the_form(backend: Backend) {
    let app = TestApp::on(backend);
    for (path, target) in [
        ("/account/sign-out", "/account/"),
        ("/account/keys/7/revoke", "/account/"),
        ("/account/revoke-others", "/account/"),
        ("/account/revoke-all", "/account/"),
        ("/account/users/7/link", "/account/users/7"),
        ("/account/users/7/unlock", "/account/users/7"),
        ("/account/users/7/revoke-keys", "/account/users/7"),
        ("/account/users/7/keys/8/revoke", "/account/users/7"),
    ] {
        assert_eq!(location(&app.get(path).send()), target);
    }
    assert_eq!(app.get("/account/users/%2F%2Fevil.example/link").send().status, 404);
}

#[apply(both_databases!)]
fn an_unsupported_method_is_explained(backend: Backend) {
    let app = TestApp::on(backend);
    for (method, path) in [
        ("PUT", "/account/password"),
        ("DELETE", "/account"),
        ("POST", "/account/users"),
    ] {
        let response = app.request(method, path).send();
        assert_eq!(response.status, 405, "{method} {path}");
        assert!(response.header("allow").unwrap().contains("GET"), "{method} {path}");
        assert_eq!(response.header("x-frame-options").as_deref(), Some("DENY"));
        assert!(response.text().contains("This address cannot be opened like this."));
    }
}
