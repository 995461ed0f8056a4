use serde_json::json;
use shoko_auth::settings::Settings;
use test_support::process::ServerProcess;
use test_support::{Backend, Client, Response, TestDatabase, apply, both_databases};

use crate::dialects::{AllDialects, basic};
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp, UseDatabase};

/// Sends a wrong password with these headers.
fn guess(app: &Client, headers: &[(&str, &str)]) -> Response {
    let body = json!({"user": ADMIN, "pass": "wrong", "device": "d"});
    app.post("/api/auth").headers(headers).json(&body).send()
}

/// Checks which requests reach the password check (401) and which are rejected before it (403).
fn check(backend: Backend, change: impl FnOnce(&mut Settings), cases: &[(&[(&str, &str)], u16)]) {
    let app = TestApp::with(backend, change);
    for (headers, status) in cases {
        let response = guess(&app, headers);
        assert_eq!(response.status, *status, "{headers:?}: {}", response.text());
        if *status == 403 {
            response.problem(403);
        }
    }
}

#[apply(both_databases!)]
fn only_requests_of_foreign_pages_are_rejected(backend: Backend) {
    let own = "https://login.example.org";
    check(
        backend,
        |settings| settings.public_url = Some(own.parse().unwrap()),
        &[
            (&[], 401),
            (&[("Host", "any.example.net")], 401),
            (
                &[("Sec-Fetch-Site", "same-origin"), ("Origin", "https://a.example")],
                401,
            ),
            (&[("Sec-Fetch-Site", "none")], 401),
            (&[("Sec-Fetch-Site", "same-site")], 401),
            (&[("Sec-Fetch-Site", "same-site"), ("Origin", own)], 401),
            (&[("Origin", "http://login.example.org:8111")], 401),
            (&[("Host", "nas.local:8111"), ("Origin", "http://NAS.local")], 401),
            (&[("Host", "[::1]:8111"), ("Origin", "http://[::1]:5173")], 401),
            (&[("Host", "localhost:1"), ("Origin", "capacitor://localhost")], 401),
            (&[("Sec-Fetch-Site", "cross-site")], 403),
            (&[("Sec-Fetch-Site", "cross-site"), ("Origin", own)], 403),
            (
                &[("Sec-Fetch-Site", "same-site"), ("Origin", "https://a.example.org")],
                403,
            ),
            (&[("Origin", "null")], 403),
            (&[("Origin", "https://evil.example")], 403),
            (&[("Origin", "https://login.example.org.evil.example")], 403),
            (&[("Origin", "")], 403),
            (&[("Origin", own), ("Origin", "https://evil.example")], 403),
            (
                &[("X-Forwarded-Host", "evil.example"), ("Origin", "https://evil.example")],
                403,
            ),
        ],
    );
}

#[apply(both_databases!)]
fn pages_of_listed_origins_may_log_in(backend: Backend) {
    let listed = "https://app.example, capacitor://localhost".parse().unwrap();
    check(
        backend,
        |settings| settings.cors_origins = listed,
        &[
            (
                &[("Origin", "https://app.example"), ("Sec-Fetch-Site", "cross-site")],
                401,
            ),
            (
                &[("Origin", "capacitor://localhost"), ("Sec-Fetch-Site", "cross-site")],
                401,
            ),
            (
                &[("Origin", "http://app.example"), ("Sec-Fetch-Site", "cross-site")],
                403,
            ),
            (&[("Origin", "https://app.example:8443")], 403),
        ],
    );
    check(
        backend,
        |settings| settings.cors_origins = "*".parse().unwrap(),
        &[
            (
                &[("Origin", "https://any.example"), ("Sec-Fetch-Site", "cross-site")],
                401,
            ),
            (&[("Origin", "null"), ("Sec-Fetch-Site", "cross-site")], 401),
            (&[("Sec-Fetch-Site", "cross-site")], 403),
        ],
    );
}

#[apply(both_databases!)]
fn a_trusted_proxy_names_the_host(backend: Backend) {
    let forwarded = ("X-Forwarded-Host", "login.example.org");
    check(
        backend,
        |settings| settings.trusted_proxies = vec!["127.0.0.1".parse::<std::net::IpAddr>().unwrap().into()],
        &[
            (&[forwarded, ("Origin", "https://login.example.org")], 401),
            (&[forwarded, ("Origin", "https://evil.example")], 403),
        ],
    );
}

/// A page can make its own host name resolve to a loopback address (DNS rebinding). Its requests are then of the same
/// origin.
#[apply(both_databases!)]
fn a_page_cannot_reach_a_local_server_under_another_name(backend: Backend) {
    let rebound = ("Host", "rebind.evil.example:8111");
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[rebound], 401),
        (&[rebound, ("Origin", "http://rebind.evil.example:8111")], 403),
        (&[rebound, ("Sec-Fetch-Site", "same-origin")], 403),
        (&[("Host", "app.localhost"), ("Sec-Fetch-Site", "same-origin")], 401),
        (&[("Host", "127.1.2.3"), ("Sec-Fetch-Site", "same-origin")], 401),
    ];
    check(backend, |_| (), cases);
    let hosts = |settings: &mut Settings| settings.hosts = vec![url::Host::parse("nas.local").unwrap()];
    check(backend, hosts, cases);
    check(
        backend,
        hosts,
        &[(&[("Host", "NAS.local:8111"), ("Sec-Fetch-Site", "same-origin")], 401)],
    );
}

#[apply(both_databases!)]
fn a_rejected_page_is_not_counted_as_a_failure_and_learns_which_setting_to_use(backend: Backend) {
    let app = TestApp::with(backend, |settings| settings.core.login_throttle = true);
    for _ in 0..30 {
        let detail = guess(&app, &[("Origin", "https://evil.example")]).problem(403)["detail"].clone();
        let detail = detail.as_str().unwrap();
        assert!(
            detail.contains("SHOKO_AUTH_PUBLIC_URL") && detail.contains("SHOKO_AUTH_CORS_ORIGINS"),
            "{detail}"
        );
    }
    let rebound = guess(&app, &[("Host", "a.example"), ("Sec-Fetch-Site", "same-origin")]).problem(403);
    assert!(
        rebound["detail"].as_str().unwrap().contains("SHOKO_AUTH_HOSTS"),
        "{rebound}"
    );
    assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, "d").status, 200);
}

#[apply(both_databases!)]
fn every_route_that_checks_a_password_rejects_foreign_pages(backend: Backend) {
    let app = AllDialects::with(backend, |settings| settings.v1_login = true);
    let sign_in = json!({"User": ADMIN, "Password": "wrong", "Device": "d"});
    let key = app.zulip_key();
    let requests = || {
        [
            app.post("/api/auth")
                .json(&json!({"user": ADMIN, "pass": "wrong", "device": "d"})),
            app.post("/api/v3/Auth/SignIn").json(&sign_in),
            app.post("/v1/User/Default").form("password=wrong"),
            app.post("/api/v1/fetch_api_key")
                .form("username=Default&password=wrong"),
            app.post("/a").form("username=Default&password=wrong"),
            basic(app.post("/a"), ADMIN, "wrong"),
            basic(app.get("/api/v1/users/me"), ADMIN, &key),
            basic(app.post("/api/v1/users/me/api_key/regenerate"), ADMIN, &key),
        ]
    };
    for request in requests() {
        let response = request.header("Sec-Fetch-Site", "cross-site").send();
        assert_eq!(response.status, 403, "{}", response.text());
        assert!(
            response.text().contains("SHOKO_AUTH_CORS_ORIGINS"),
            "{}",
            response.text()
        );
    }
    for request in requests() {
        let response = request.header("Sec-Fetch-Site", "same-origin").send();
        assert_ne!(response.status, 403, "{}", response.text());
    }
}

#[apply(both_databases!)]
fn the_first_use_of_an_unknown_host_name_is_logged(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut server = ServerProcess::start(database.program(&["serve"]));
    for _ in 0..3 {
        guess(&server, &[("Host", "nas.local:8111")]);
    }
    server.signal("TERM");
    let (_, log) = server.wait_until_exit();
    assert_eq!(log.matches("SHOKO_AUTH_HOSTS").count(), 1, "{log}");
}
