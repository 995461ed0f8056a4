use chrono::TimeDelta;
use serde_json::{Value, json};
use shoko_auth::clock::Clock;
use shoko_auth::settings::Settings;
use test_support::{Backend, Client, Request, Response, apply, both_databases};

use crate::dialects::{AllDialects, basic};
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp};

pub const USER: &str = "bob";
pub const USER_PASSWORD: &str = "Bassoon-hill";

pub const SESSION: &str = "/api/account/session";

/// A browser that is signed in: the session cookie, as in the header `Cookie`.
#[derive(Clone)]
pub struct Browser(pub String);

impl Browser {
    /// Signs in.
    #[track_caller]
    pub fn sign_in(app: &Client, user: &str, password: &str) -> Self {
        let response = sign_in(app, user, password).send();
        assert_eq!(response.status, 200, "{}", response.text());
        Self::of(&response)
    }

    /// Returns the browser whose cookie a response sets.
    #[track_caller]
    pub fn of(response: &Response) -> Self {
        let cookie = response.header("set-cookie").expect("a cookie");
        Self(cookie.split(';').next().unwrap().to_owned())
    }

    /// Returns the secret of the session.
    pub fn secret(&self) -> &str {
        self.0.split_once('=').unwrap().1
    }

    /// Returns a request of a page of the server.
    pub fn request(&self, app: &Client, method: &str, path: &str) -> Request {
        let request = app.request(method, path).header("Cookie", &self.0);
        request.header("Sec-Fetch-Site", "same-origin")
    }

    pub fn send(&self, app: &Client, method: &str, path: &str, body: &Value) -> Response {
        self.request(app, method, path).json(body).send()
    }

    pub fn is_signed_in(&self, app: &Client) -> bool {
        let response = self.request(app, "GET", SESSION).send();
        assert!([200, 401].contains(&response.status), "{}", response.text());
        response.status == 200
    }
}

pub fn sign_in(app: &Client, user: &str, password: &str) -> Request {
    app.post(SESSION).json(&json!({"user": user, "password": password}))
}

/// Starts a server with an ordinary user and a clock that the test moves.
pub fn app_with_clock(backend: Backend, change: impl FnOnce(&mut Settings)) -> (TestApp, Clock) {
    let clock = Clock::manual();
    let app = TestApp::with(backend, |settings| {
        settings.core.clock = clock.clone();
        change(settings);
    });
    app.add_user(USER, USER_PASSWORD);
    (app, clock)
}

#[apply(both_databases!)]
fn a_browser_signs_in_and_out(backend: Backend) {
    let app = TestApp::on(backend);
    app.get(SESSION).send().problem(401);
    let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
    let response = sign_in(&app, ADMIN, ADMIN_PASSWORD).header("User-Agent", agent).send();
    assert_eq!(response.status, 200, "{}", response.text());
    let browser = Browser::of(&response);
    let session = browser.request(&app, "GET", SESSION).send().json();
    assert_eq!(session, response.json());
    assert_eq!(
        (
            &session["user"],
            &session["userId"],
            &session["isAdmin"],
            &session["kind"],
            &session["device"]
        ),
        (
            &json!(ADMIN),
            &json!(1),
            &json!(true),
            &json!("session"),
            &json!("Firefox on Linux")
        )
    );
    let signed_out = browser.request(&app, "DELETE", SESSION).send();
    assert_eq!(signed_out.status, 204);
    let deleted = signed_out.header("set-cookie").unwrap();
    assert!(
        deleted.contains("shoko-auth=; ") && deleted.contains("Max-Age=0"),
        "{deleted}"
    );
    assert!(!browser.is_signed_in(&app));
    assert_eq!(browser.request(&app, "DELETE", SESSION).send().status, 204, "again");
}

#[apply(both_databases!)]
fn a_wrong_password_starts_no_session(backend: Backend) {
    let app = TestApp::on(backend);
    for (user, password) in [(ADMIN, "wrong"), ("nobody", ADMIN_PASSWORD)] {
        let response = sign_in(&app, user, password).send();
        response.problem(401);
        assert_eq!(response.header("set-cookie"), None);
    }
    for body in [
        json!({}),
        json!({"user": ADMIN}),
        json!({"user": " ", "password": "x"}),
        json!({"user": ADMIN, "password": ADMIN_PASSWORD, "typo": 1}),
        json!({"user": ADMIN, "password": 1}),
        json!(["x"]),
        json!([ADMIN, ADMIN_PASSWORD]),
        json!(null),
        json!("x"),
    ] {
        app.post(SESSION).json(&body).send().problem(400);
    }
    sign_in(&app, ADMIN, ADMIN_PASSWORD)
        .header("Origin", "https://evil.example")
        .send()
        .problem(403);
    app.post(SESSION).form("user=Default&password=x").send().problem(415);
}

#[apply(both_databases!)]
fn a_sign_in_always_creates_a_new_secret_and_ends_the_old_session(backend: Backend) {
    let app = TestApp::on(backend);
    let first = Browser::sign_in(&app, ADMIN, ADMIN_PASSWORD);
    let again = sign_in(&app, ADMIN, ADMIN_PASSWORD).header("Cookie", &first.0).send();
    let second = Browser::of(&again);
    assert_ne!(first.secret(), second.secret());
    assert!(!first.is_signed_in(&app) && second.is_signed_in(&app));
    let planted = "shoko-auth=00112233445566778899aabbccddeeff";
    let response = sign_in(&app, ADMIN, ADMIN_PASSWORD).header("Cookie", planted).send();
    assert_ne!(Browser::of(&response).0, planted);
    assert!(!Browser(planted.to_owned()).is_signed_in(&app));
}

#[apply(both_databases!)]
fn the_cookie_is_secure_if_the_connection_of_the_browser_is(backend: Backend) {
    let app = TestApp::with(backend, |settings| {
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        settings.public_url = Some("https://login.example.org".parse().unwrap());
    });
    let https = ("X-Forwarded-Proto", "https");
    let own = ("Host", "login.example.org");
    for (headers, is_secure) in [
        (&[https][..], true),
        (&[("Origin", "https://login.example.org"), own], true),
        (&[own], true),
        (
            &[("Host", "nas.local:8111"), ("Origin", "http://nas.local:8111")],
            false,
        ),
        (&[("X-Forwarded-Proto", "http"), own], false),
        (&[], false),
    ] {
        let response = sign_in(&app, ADMIN, ADMIN_PASSWORD).headers(headers).send();
        let cookie = response.header("set-cookie").unwrap();
        assert_eq!(
            cookie.starts_with("__Host-shoko-auth="),
            is_secure,
            "{headers:?}: {cookie}"
        );
        assert_eq!(cookie.contains("; Secure"), is_secure, "{headers:?}: {cookie}");
        assert!(cookie.contains("; HttpOnly; SameSite=Lax"), "{cookie}");
        assert!(cookie.contains("; Path=/") && !cookie.contains("Domain"), "{cookie}");
    }
    let plain = Browser::sign_in(&app, ADMIN, ADMIN_PASSWORD);
    assert!(plain.is_signed_in(&app));
    let over_https = plain.request(&app, "GET", SESSION).headers(&[https]).send();
    assert_eq!(over_https.status, 401, "any machine can set the plain cookie");
    let secure = format!("__Host-{}", plain.0);
    assert_eq!(
        app.get(SESSION)
            .header("Cookie", &secure)
            .headers(&[https])
            .send()
            .status,
        200
    );
    let twice = format!("{}; {}", plain.0, plain.0);
    assert_eq!(app.get(SESSION).header("Cookie", &twice).send().status, 401);
}

#[apply(both_databases!)]
fn the_secret_of_a_session_is_no_key_and_a_key_is_no_session(backend: Backend) {
    let app = AllDialects::on(backend);
    app.add_user(USER, USER_PASSWORD);
    let browser = Browser::sign_in(&app, USER, USER_PASSWORD);
    let secret = browser.secret();
    for _ in 0..2 {
        assert!(browser.is_signed_in(&app), "it is in the cache now");
        assert!(!app.accepts(secret));
        for path in ["/api/auth/verify", "/api/auth", SESSION, "/api/account/keys"] {
            app.get(path).header("apikey", secret).send().problem(401);
            let bearer = format!("Bearer {secret}");
            app.get(path).header("Authorization", &bearer).send().problem(401);
            app.get(&format!("{path}?apikey={secret}")).send().problem(401);
        }
        let zulip = basic(app.get("/api/v1/users/me"), USER, secret).send();
        assert_eq!(zulip.status, 401);
        let bearer = format!("Bearer {secret}");
        let zettelstore = app.post("/x?cmd=authenticated").header("Authorization", &bearer).send();
        assert_eq!(zettelstore.status, 401);
        assert_eq!(
            app.request("PUT", "/a").header("Authorization", &bearer).send().status,
            400
        );
    }
    assert_eq!(app.delete(&format!("/api/auth?apikey={secret}")).send().status, 200);
    assert!(browser.is_signed_in(&app), "the secret was not taken for a key");
    let key = app.key(USER, USER_PASSWORD, "tv").replace('-', "");
    for name in ["shoko-auth", "__Host-shoko-auth"] {
        assert!(!Browser(format!("{name}={key}")).is_signed_in(&app));
    }
}

#[apply(both_databases!)]
fn the_cookie_works_on_no_route_outside_of_the_account(backend: Backend) {
    let app = AllDialects::on(backend);
    let browser = Browser::sign_in(&app, ADMIN, ADMIN_PASSWORD);
    for (method, path) in [
        ("GET", "/api/auth/verify"),
        ("GET", "/api/auth"),
        ("POST", "/api/auth/apikey"),
        ("POST", "/api/auth/ChangePassword"),
        ("GET", "/api/v3/User/Current"),
        ("GET", "/api/v3/User"),
        ("GET", "/api/v3/Auth/ListTokens"),
        ("GET", "/api/v3/Settings"),
        ("GET", "/api/ping"),
        ("GET", "/api/v1/users/me"),
        ("POST", "/api/v1/users/me/api_key/regenerate"),
        ("POST", "/x?cmd=authenticated"),
    ] {
        let response = browser.send(&app, method, path, &json!("x"));
        assert_eq!(response.status, 401, "{method} {path}: {}", response.text());
    }
    assert_eq!(browser.request(&app, "PUT", "/a").send().status, 400);
}

#[apply(both_databases!)]
fn a_session_expires_when_it_is_idle_and_at_its_end(backend: Backend) {
    let (app, clock) = app_with_clock(backend, |_| ());
    let idle = Browser::sign_in(&app, USER, USER_PASSWORD);
    let used = Browser::sign_in(&app, USER, USER_PASSWORD);
    let until = |browser: &Browser| browser.request(&app, "GET", SESSION).send().json()["expiresAt"].clone();
    let first = until(&used);
    clock.advance(TimeDelta::minutes(30));
    assert_eq!(until(&used), first, "the expiry is written at most once an hour");
    for _ in 0..4 {
        clock.advance(TimeDelta::days(6));
        assert!(used.is_signed_in(&app));
    }
    assert!(!idle.is_signed_in(&app));
    let session = used.request(&app, "GET", SESSION).send().json();
    assert_eq!(
        session["expiresAt"], session["endsAt"],
        "the end is less than a week away"
    );
    clock.advance(TimeDelta::days(6));
    assert!(!used.is_signed_in(&app), "no use moves the end");
}

#[apply(both_databases!)]
fn a_user_has_at_most_50_sessions_and_a_new_one_replaces_the_oldest(backend: Backend) {
    let (app, clock) = app_with_clock(backend, |settings| settings.core.key_limits.max_per_user = 1);
    let key = app.key(USER, USER_PASSWORD, "tv");
    let browsers: Vec<Browser> = (0..51)
        .map(|_| {
            clock.advance(TimeDelta::seconds(1));
            Browser::sign_in(&app, USER, USER_PASSWORD)
        })
        .collect();
    assert!(!browsers[0].is_signed_in(&app));
    assert!(browsers[1].is_signed_in(&app) && browsers[50].is_signed_in(&app));
    assert!(app.accepts(&key), "sessions do not count as keys");
}

#[apply(both_databases!)]
fn sign_ins_and_other_logins_share_the_throttle(backend: Backend) {
    let (app, clock) = app_with_clock(backend, |settings| settings.core.login_throttle = true);
    let browser = Browser::sign_in(&app, USER, USER_PASSWORD);
    for _ in 0..2 {
        sign_in(&app, USER, "wrong").send().problem(401);
        app.log_in(USER, "wrong", "d").problem(401);
    }
    let change = json!({"currentPassword": "wrong", "newPassword": "Clarinet-bay"});
    let response = browser.send(&app, "POST", "/api/account/password", &change);
    response.problem(403);
    for response in [
        sign_in(&app, USER, USER_PASSWORD).send(),
        app.log_in(USER, USER_PASSWORD, "d"),
        browser.send(&app, "POST", "/api/account/password", &change),
    ] {
        response.problem(429);
        assert!(response.header("retry-after").is_some());
    }
    assert!(browser.is_signed_in(&app));
    clock.advance(TimeDelta::hours(1));
    assert_eq!(sign_in(&app, USER, USER_PASSWORD).send().status, 200);
}

#[apply(both_databases!)]
fn the_sign_in_of_a_disabled_user_fails_and_their_session_ends(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user(USER, USER_PASSWORD);
    let browser = Browser::sign_in(&app, USER, USER_PASSWORD);
    let admin = app.admin_key();
    let disable = |is_disabled: bool| {
        let request = app.request("PATCH", "/api/account/users/2").header("apikey", &admin);
        let response = request.json(&json!({"isDisabled": is_disabled})).send();
        assert_eq!(response.json()["isDisabled"], is_disabled);
    };
    disable(true);
    assert!(!browser.is_signed_in(&app));
    sign_in(&app, USER, USER_PASSWORD).send().problem(401);
    disable(false);
    assert!(browser.is_signed_in(&app));
}
