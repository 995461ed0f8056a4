use chrono::TimeDelta;
use serde_json::json;
use shoko_auth::clock::Clock;
use test_support::{Backend, Client, Request, Response, apply, both_databases};

use crate::account::{USER, USER_PASSWORD};
use crate::change_feed::wait_for_change_feed;
use crate::gateway::{HTML, PROXIES, Proxy, app, trust_this_machine};
use crate::pages::{encoded, location};
use crate::support::TestApp;

const COOKIE: &str = "__Secure-shoko-auth-gateway";
const SERVICE: &str = "https://app.example.org/Films?page=2&q=%C3%BC";

/// Ends the session of a browser.
type End<'a> = &'a dyn Fn(&Browser);

/// A browser at the sign-in host of `example.org`, behind a proxy with https.
#[derive(Clone, Default)]
struct Browser {
    /// The session of the account, as in the header `Cookie`.
    session: String,
    /// The cookie for guarded services.
    gateway: String,
}

impl Browser {
    /// Signs in with the form, and returns the browser and the response.
    fn sign_in(app: &Client, rd: &str) -> (Self, Response) {
        let mut browser = Self::default();
        let fields = [("user", USER), ("password", USER_PASSWORD), ("rd", rd)];
        let response = browser
            .at_sign_in(app, "POST", "/account/sign-in")
            .form(&encoded(&fields))
            .send();
        browser.store(&response);
        (browser, response)
    }

    /// Returns a request to the sign-in host.
    fn at_sign_in(&self, app: &Client, method: &str, path: &str) -> Request {
        let cookies = format!("{}; {}", self.session, self.gateway);
        app.request(method, path).headers(&[
            ("X-Forwarded-Host", "login.example.org"),
            ("X-Forwarded-Proto", "https"),
            ("Sec-Fetch-Site", "same-origin"),
            ("Cookie", &cookies),
        ])
    }

    /// Stores the cookies of a response.
    fn store(&mut self, response: &Response) {
        for cookie in response.headers.get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
            if pair.starts_with(COOKIE) {
                self.gateway = pair;
            } else if pair.starts_with("__Host-") {
                self.session = pair;
            }
        }
    }

    /// Returns the status of a request to a guarded service.
    fn visit(&self, app: &Client, proxy: Proxy, host: &str) -> u16 {
        let request = proxy.ask(app, "", "GET", host, "/").header("Cookie", &self.gateway);
        request.send().status
    }

    fn passes(&self, app: &Client) -> bool {
        self.visit(app, Proxy::Nginx, "app.example.org") == 200
    }

    fn secret(&self) -> &str {
        self.gateway.split_once('=').unwrap().1
    }
}

fn sign_in_page(rd: &str) -> String {
    format!("/account/sign-in?{}", encoded(&[("rd", rd)]))
}

#[apply(both_databases!)]
fn a_browser_signs_in_and_returns_to_the_service(backend: Backend) {
    let app = app(backend);
    let expected = format!("https://login.example.org{}", sign_in_page(SERVICE));
    for (proxy, method, status) in [
        (Proxy::ForwardAuth, "GET", 302),
        (Proxy::ForwardAuth, "HEAD", 302),
        (Proxy::ForwardAuth, "POST", 303),
        (Proxy::Envoy, "GET", 302),
        (Proxy::Envoy, "DELETE", 303),
        (Proxy::Nginx, "GET", 401),
        (Proxy::Nginx, "POST", 401),
    ] {
        let request = proxy.ask(&app, "", method, "app.example.org", "/Films?page=2&q=%C3%BC");
        let response = request.header("Sec-Fetch-Mode", "navigate").send();
        let found = (response.status, response.header("location"));
        assert_eq!(found, (status, Some(expected.clone())), "{proxy:?} {method}");
        assert_eq!(response.header("cache-control").as_deref(), Some("no-store"));
        assert_eq!(response.header("www-authenticate").is_some(), status == 401);
    }
    let page = Browser::default()
        .at_sign_in(&app, "GET", &sign_in_page(SERVICE))
        .send();
    assert!(
        page.text()
            .contains(r#"name="rd" value="https://app.example.org/Films?page=2&#38;q=%C3%BC""#),
        "{}",
        page.text()
    );
    let policy = page.header("content-security-policy").unwrap();
    let targets = "form-action 'self' https://example.org:* https://*.example.org:*;";
    assert!(policy.contains(targets), "{policy}");
    let (browser, response) = Browser::sign_in(&app, SERVICE);
    assert_eq!(location(&response), SERVICE);
    let cookies = response.header("set-cookie").unwrap();
    let attributes = "; HttpOnly; SameSite=Lax; Secure; Path=/; Domain=example.org; Max-Age=2592000";
    assert!(cookies.contains(attributes), "{cookies}");
    for proxy in PROXIES {
        assert_eq!(browser.visit(&app, proxy, "app.example.org"), 200, "{proxy:?}");
        assert_eq!(browser.visit(&app, proxy, "other.example.org:8443"), 200, "{proxy:?}");
    }
    let request = Proxy::Nginx
        .get(&app, "", "/")
        .header("Cookie", &browser.gateway)
        .send();
    assert_eq!(request.header("remote-user").as_deref(), Some(USER));
    assert_eq!(request.header("remote-device").as_deref(), Some("Browser"));
    let request = Proxy::Nginx
        .get(&app, "require=admin", "/")
        .headers(&[HTML, ("Cookie", &browser.gateway)]);
    assert_eq!(request.send().status, 403, "signed in but not permitted");
}

#[apply(both_databases!)]
fn the_scheme_of_a_websocket_needs_no_page(backend: Backend) {
    let app = app(backend);
    let (browser, _) = Browser::sign_in(&app, SERVICE);
    let socket = |cookie: &str| {
        let request = app.get("/api/authz/forward-auth").headers(&[
            ("X-Forwarded-Method", "GET"),
            ("X-Forwarded-Proto", "wss"),
            ("X-Forwarded-Host", "app.example.org"),
            ("X-Forwarded-Uri", "/socket"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            HTML,
        ]);
        request.header("Cookie", cookie).send().status
    };
    assert_eq!((socket(&browser.gateway), socket("")), (200, 401));
}

#[apply(both_databases!)]
fn an_invalid_key_never_falls_back_to_the_cookie(backend: Backend) {
    let app = app(backend);
    let (browser, _) = Browser::sign_in(&app, SERVICE);
    let unknown = "00000000-0000-4000-8000-000000000000";
    for proxy in PROXIES {
        let send = |uri: &str, headers: &[(&str, &str)]| {
            let request = proxy
                .get(&app, "", uri)
                .headers(headers)
                .headers(&[HTML, ("Cookie", &browser.gateway)]);
            request.send().status
        };
        assert_eq!(send("/", &[("apikey", unknown)]), 401);
        assert_eq!(send(&format!("/?apikey={unknown}"), &[]), 401);
        assert_eq!(send("/", &[("Authorization", "Bearer of-the-service")]), 200);
    }
}

#[apply(both_databases!)]
fn the_cookie_is_good_for_forward_auth_of_its_domain_only(backend: Backend) {
    let app = app(backend);
    let (browser, _) = Browser::sign_in(&app, SERVICE);
    for proxy in PROXIES {
        for host in [
            "app.example.net",
            "app.example.org.evil.example",
            "evilexample.org",
            "login.example.net",
        ] {
            assert_eq!(browser.visit(&app, proxy, host), 401, "{proxy:?} {host}");
        }
    }
    let secret = browser.secret();
    for cookie in [
        format!("__Host-shoko-auth={secret}"),
        format!("shoko-auth={secret}"),
        browser.gateway.clone(),
    ] {
        let request = Browser {
            session: cookie,
            ..Browser::default()
        };
        request
            .at_sign_in(&app, "GET", "/api/account/session")
            .send()
            .problem(401);
    }
    assert!(!app.accepts(secret));
    app.get("/api/auth/verify").header("apikey", secret).send().problem(401);
    let plain = format!("shoko-auth-gateway={secret}");
    let request = Proxy::Nginx.get(&app, "", "/").header("Cookie", &plain);
    request.send().problem(401);
    let session = browser.session.split_once('=').unwrap().1;
    let request = Proxy::Nginx
        .get(&app, "", "/")
        .header("Cookie", &format!("{COOKIE}={session}"));
    request.send().problem(401);
    let http = app.get("/api/authz/auth-request").headers(&[
        ("X-Original-Method", "GET"),
        ("X-Original-URL", "http://app.example.org/"),
        HTML,
        ("Cookie", &browser.gateway),
    ]);
    let http = http.send();
    assert_eq!(
        (http.status, http.header("location")),
        (401, None),
        "the cookie is only for https"
    );
}

#[apply(both_databases!)]
fn a_cookie_that_occurs_twice_is_rejected_without_a_redirect(backend: Backend) {
    let app = app(backend);
    let (one, _) = Browser::sign_in(&app, SERVICE);
    let (two, _) = Browser::sign_in(&app, SERVICE);
    for cookies in [
        format!("{}; {}", one.gateway, two.gateway),
        format!("{}; {}", one.gateway, one.gateway),
        format!("{COOKIE}=x; {}", one.gateway),
    ] {
        for proxy in PROXIES {
            let response = proxy.get(&app, "", "/").headers(&[HTML, ("Cookie", &cookies)]).send();
            response.problem(401);
            assert_eq!(
                response.header("location"),
                None,
                "{proxy:?}: signing in would not help"
            );
        }
    }
}

#[apply(both_databases!)]
fn the_cookie_becomes_invalid_together_with_its_session(backend: Backend) {
    let app = app(backend);
    let key = app.key(USER, USER_PASSWORD, "pc");
    let ends: [(&str, End<'_>); 5] = [
        ("sign out", &|browser| {
            let out = browser.at_sign_in(&app, "DELETE", "/api/account/session").send();
            assert_eq!(out.status, 204);
            let deleted = out.header("set-cookie").unwrap();
            assert!(deleted.contains(&format!("{COOKIE}=; ")), "{deleted}");
        }),
        ("another sign-in of the browser", &|browser| {
            let fields = encoded(&[("user", USER), ("password", USER_PASSWORD)]);
            location(
                &browser
                    .at_sign_in(&app, "POST", "/account/sign-in")
                    .form(&fields)
                    .send(),
            );
        }),
        ("revocation by SQL", &|_| {
            app.database.execute("DELETE FROM api_keys WHERE kind = 'session'");
            wait_for_change_feed();
        }),
        ("revocation of all others", &|_| {
            let request = app.delete("/api/account/keys?except=current").header("apikey", &key);
            assert_eq!(request.send().status, 204);
        }),
        ("password change", &|browser| {
            let body = json!({"currentPassword": USER_PASSWORD, "newPassword": USER_PASSWORD});
            let changed = browser
                .at_sign_in(&app, "POST", "/api/account/password")
                .json(&body)
                .send();
            assert_eq!(changed.status, 200, "{}", changed.text());
            let mut renewed = browser.clone();
            renewed.store(&changed);
            assert!(renewed.gateway != browser.gateway && renewed.passes(&app));
        }),
    ];
    for (name, end) in ends {
        let (browser, _) = Browser::sign_in(&app, SERVICE);
        assert!(browser.passes(&app), "{name}");
        end(&browser);
        assert!(!browser.passes(&app), "{name}");
        let request = Proxy::ForwardAuth
            .get(&app, "", "/")
            .headers(&[HTML, ("Cookie", &browser.gateway)]);
        assert_eq!(request.send().status, 302, "{name}: the browser can sign in again");
    }
}

#[apply(both_databases!)]
fn the_use_of_services_keeps_the_session_alive_until_its_end(backend: Backend) {
    let clock = Clock::manual();
    let app = TestApp::with(backend, |settings| {
        trust_this_machine(settings);
        settings.core.clock = clock.clone();
    });
    app.add_user(USER, USER_PASSWORD);
    let (browser, _) = Browser::sign_in(&app, SERVICE);
    let (idle, _) = Browser::sign_in(&app, SERVICE);
    for day in [6, 12, 18, 24, 29] {
        clock.advance(TimeDelta::days(if day == 29 { 5 } else { 6 }));
        assert!(browser.passes(&app), "day {day}");
    }
    assert!(!idle.passes(&app));
    clock.advance(TimeDelta::days(2));
    assert!(!browser.passes(&app));
}

#[apply(both_databases!)]
fn a_browser_that_is_signed_in_gets_a_missing_cookie_without_a_loop(backend: Backend) {
    let app = app(backend);
    let (mut browser, _) = Browser::sign_in(&app, "");
    let stored = browser.gateway.clone();
    app.database.execute("UPDATE api_keys SET gateway_hash = NULL");
    wait_for_change_feed();
    browser.gateway = String::new();
    let first = browser.at_sign_in(&app, "GET", &sign_in_page(SERVICE)).send();
    let marked = format!("{}&stored=1", sign_in_page(SERVICE));
    assert_eq!(location(&first), marked);
    let without = browser.at_sign_in(&app, "GET", &marked).send();
    assert_eq!(without.status, 200, "the browser has not stored the cookie");
    browser.store(&first);
    assert_eq!(browser.gateway, stored, "the cookie of a session is always the same");
    assert!(browser.passes(&app));
    assert_eq!(location(&browser.at_sign_in(&app, "GET", &marked).send()), SERVICE);
    let loops = browser.at_sign_in(&app, "GET", &sign_in_page(SERVICE)).send();
    assert_eq!(loops.status, 200, "the service has rejected the cookie");
    let link = r#"<a class="button" href="https://app.example.org/Films?page=2&#38;q=%C3%BC">"#;
    assert!(loops.text().contains(link), "{}", loops.text());
}

/// Open redirects: the sign-in returns only to services of its own domain.
#[apply(both_databases!)]
fn the_sign_in_returns_only_to_its_own_domain(backend: Backend) {
    let app = app(backend);
    for rd in [
        "//evil.example/",
        "\\\\evil.example/",
        "/\\evil.example",
        "https:evil.example",
        "https:/evil.example",
        "https://app.example.org.evil.example/",
        "https://evil@app.example.org/",
        "https://app.example.org@evil.example/",
        "https://evil.example\\.example.org/",
        "https://evil.example/#.example.org/",
        "https://app.example.net/",
        "http://app.example.org/",
        "https%3A%2F%2Fapp.example.org%2F",
        "javascript:alert(document.domain)",
        "https://app.example.org/\r\nSet-Cookie: a=b",
        "https://app.exa\tmple.org/",
        " https://app.example.org/",
    ] {
        let page = Browser::default().at_sign_in(&app, "GET", &sign_in_page(rd)).send();
        assert!(
            page.status == 200 && !page.text().contains(r#"name="rd""#),
            "{rd}: {}",
            page.text()
        );
        let (browser, response) = Browser::sign_in(&app, rd);
        assert_eq!(location(&response), "/account/", "{rd}");
        let again = browser.at_sign_in(&app, "GET", &sign_in_page(rd)).send();
        assert_eq!(location(&again), "/account/", "{rd}");
    }
    let other = app.get(&sign_in_page(SERVICE)).header("Host", "127.0.0.1").send();
    assert!(!other.text().contains(r#"name="rd""#), "another host has no services");
}

#[apply(both_databases!)]
fn a_host_without_a_domain_gets_no_redirect(backend: Backend) {
    let app = app(backend);
    for proxy in PROXIES {
        let response = proxy
            .ask(&app, "", "GET", "app.example.com", "/")
            .headers(&[HTML])
            .send();
        response.problem(401);
        assert_eq!(response.header("location"), None, "{proxy:?}");
    }
}
