use test_support::{Backend, apply, both_databases};

use crate::account::{USER, USER_PASSWORD};
use crate::gateway::{HTML, PROXIES, Proxy, app, trust_this_machine};
use crate::support::{ADMIN, TestApp};

/// Headers with which a client might claim to have sent another request, or to be another user.
const SPOOFED: &[(&str, &str)] = &[
    ("X-Original-URL", "https://public.example/health"),
    ("X-Original-URI", "/health"),
    ("X-Original-Method", "OPTIONS"),
    ("X-Forwarded-Uri", "/health"),
    ("X-Forwarded-Method", "OPTIONS"),
    ("X-Forwarded-Host", "public.example"),
    ("X-Forwarded-Prefix", "/health"),
    ("X-Rewrite-Url", "/health"),
    ("X-HTTP-Method-Override", "OPTIONS"),
    ("X_Forwarded_Uri", "/health"),
    ("X_Original_URL", "https://public.example/"),
    ("X_Original_Method", "OPTIONS"),
    ("Forwarded", "for=127.0.0.1;host=public.example;proto=https"),
    ("Remote-User", ADMIN),
    ("Remote_User", ADMIN),
    ("Remote-Groups", "admin"),
    ("X-Forwarded-User", ADMIN),
    ("X-Auth-Request-User", ADMIN),
];

/// The headers of the routes' own families, which a proxy replaces.
fn is_own(proxy: Proxy, name: &str) -> bool {
    let own: &[&str] = match proxy {
        Proxy::ForwardAuth => &["X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Host"],
        Proxy::Nginx => &["X-Original-URL", "X-Original-Method"],
        Proxy::Envoy => &[],
    };
    own.contains(&name)
}

/// oauth2-proxy, GHSA-7x63-xv5r-3p2x: the path of a rule came from a header of the client.
#[apply(both_databases!)]
fn no_header_of_another_family_changes_the_decision(backend: Backend) {
    let app = app(backend);
    let key = app.key(USER, USER_PASSWORD, "tv");
    for proxy in PROXIES {
        for (name, value) in SPOOFED.iter().filter(|(name, _)| !is_own(proxy, name)) {
            let ask = |key: Option<&str>| {
                let request = proxy.get(&app, "preflight=allow", "/admin").headers(&[
                    (name, value),
                    ("Origin", "https://evil.example"),
                    ("Access-Control-Request-Method", "GET"),
                ]);
                key.into_iter()
                    .fold(request, |request, key| request.header("apikey", key))
                    .send()
            };
            let anonymous = ask(None);
            assert_eq!(anonymous.status, 401, "{proxy:?} {name}");
            assert_eq!(anonymous.header("remote-user"), None, "{proxy:?} {name}");
            let known = ask(Some(&key));
            assert_eq!(known.header("remote-user").as_deref(), Some(USER), "{proxy:?} {name}");
            assert_eq!(
                known.header("remote-groups").as_deref(),
                Some("user"),
                "{proxy:?} {name}"
            );
        }
    }
}

/// Proxies hide the routes from clients, and most of them compare the path as text.
#[apply(both_databases!)]
fn a_route_has_only_the_documented_spelling(backend: Backend) {
    let app = app(backend);
    let key = app.admin_key();
    let status = |path: &str| {
        let request = app.get(path).headers(&[
            ("apikey", &key),
            ("X-Forwarded-Proto", "https"),
            ("X-Original-Method", "GET"),
            ("X-Original-URL", "https://app.example.org/"),
        ]);
        request.send().status
    };
    assert_eq!(status("/api/authz/auth-request"), 200);
    assert_eq!(status("/api/authz/ext-authz/"), 200);
    for path in [
        "/API/authz/auth-request",
        "/api/auThz/ext-authz/x",
        "/api/Authz/auth-request/",
        "/%61pi/authz/auth-request",
        "/api/%61uthz/ext-authz/x",
        "//api/authz/auth-request",
        "/api//authz/auth-request",
        "/x/../api/authz/auth-request",
    ] {
        assert_eq!(status(path), 404, "{path}");
    }
}

/// A proxy that adds a header instead of replacing it sends two. Neither may count.
#[apply(both_databases!)]
fn a_description_that_the_client_has_completed_is_rejected(backend: Backend) {
    let app = app(backend);
    let key = app.admin_key();
    for proxy in [Proxy::ForwardAuth, Proxy::Nginx] {
        for (name, value) in SPOOFED.iter().filter(|(name, _)| is_own(proxy, name)) {
            let request = proxy.get(&app, "", "/").headers(&[(name, value), ("apikey", &key)]);
            request.send().problem(400);
        }
    }
}

/// oauth2-proxy, GHSA-pxq7-h93f-9jrg: `#` in the path, which the service read in another way than the rule. Here no
/// decision depends on the path, and a path with `#` is rejected.
#[apply(both_databases!)]
fn no_path_passes_without_a_key(backend: Backend) {
    let app = app(backend);
    let key = app.admin_key();
    for path in [
        "/public/..;/admin",
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/%252e%252e/admin",
        "//admin",
        "/.//admin",
        "/admin%00.css",
        "/admin;.css",
        "/admin%3f.css",
        "/admin%23",
        "/ADMIN",
        "/%61dmin",
        "/admin%20",
        "/admin/.",
        "/health",
        "/favicon.ico",
        "/.well-known/acme-challenge/x",
        "/api/authz/forward-auth",
        "/account/sign-in",
        "/swagger/",
        "/health/live",
        "/%FF",
        "/%0a",
    ] {
        for proxy in PROXIES {
            let response = proxy.get(&app, "preflight=allow", path).send();
            assert_eq!(response.status, 401, "{proxy:?} {path}: {}", response.text());
            let response = proxy.get(&app, "", path).header("apikey", &key).send();
            assert_eq!(response.status, 200, "{proxy:?} {path}: {}", response.text());
        }
    }
    for path in ["/admin#/../public", "/#", "/public#.css"] {
        for proxy in [Proxy::ForwardAuth, Proxy::Nginx] {
            let response = proxy.get(&app, "", path).header("apikey", &key).send();
            response.problem(400);
        }
    }
}

/// oauth2-proxy, GHSA-5hvv-m4w4-gf6v: requests with the user agent of a health check passed.
#[apply(both_databases!)]
fn no_user_agent_and_no_method_passes_without_a_key(backend: Backend) {
    let app = app(backend);
    for agent in [
        "GoogleHC/1.0",
        "kube-probe/1.30",
        "ELB-HealthChecker/2.0",
        "Envoy/HC",
        "Amazon-Route53-Health-Check-Service",
        "UptimeRobot/2.0",
        "Prometheus/3.0",
        "shoko-auth-healthcheck",
    ] {
        for proxy in PROXIES {
            let response = proxy.get(&app, "", "/ping").header("User-Agent", agent).send();
            assert_eq!(response.status, 401, "{proxy:?} {agent}");
        }
    }
    for method in ["OPTIONS", "HEAD", "TRACE", "PROPFIND", "get", "BREW"] {
        for proxy in PROXIES {
            let response = proxy
                .ask(&app, "preflight=allow", method, "app.example.org", "/")
                .send();
            assert_eq!(response.status, 401, "{proxy:?} {method}");
        }
    }
}

/// Caddy, GHSA-7r4p-vjf4-gxv4: a header that the response lacked was passed on as the client had sent it.
#[apply(both_databases!)]
fn a_response_always_replaces_every_identity_header(backend: Backend) {
    let app = app(backend);
    let key = app.key(USER, USER_PASSWORD, "tv");
    for proxy in PROXIES {
        let response = proxy
            .get(&app, "", "/")
            .headers(&[("apikey", &key), ("Remote-Email", "admin@example.org")]);
        let response = response.send();
        for name in ["user", "groups", "name", "email", "user-id", "device"] {
            let header = format!("remote-{name}");
            assert_eq!(
                response.headers.get_all(header.as_str()).iter().count(),
                1,
                "{proxy:?} {header}"
            );
        }
        assert_eq!(response.header("remote-email").as_deref(), Some(""), "{proxy:?}");
    }
}

/// Caddy adds the query of the client to the address of the route if the configuration contains no query.
#[apply(both_databases!)]
fn a_client_cannot_choose_options(backend: Backend) {
    let app = app(backend);
    let preflight = [
        ("Origin", "https://evil.example"),
        ("Access-Control-Request-Method", "GET"),
    ];
    for query in [
        "preflight=allow",
        "%70reflight=allow",
        "a=b&preflight=allow&preflight=allow",
    ] {
        let own = query.replace('&', ";");
        let uri = format!("/?{query}");
        for proxy in [Proxy::ForwardAuth, Proxy::Nginx] {
            let request = proxy
                .ask(&app, &own, "OPTIONS", "app.example.org", &uri)
                .headers(&preflight);
            assert_eq!(request.send().status, 401, "{proxy:?} {query}");
        }
        let request = Proxy::Envoy
            .ask(&app, "", "OPTIONS", "app.example.org", &uri)
            .headers(&preflight);
        assert_eq!(request.send().status, 401, "Envoy {query}");
        let path = format!("/;{query}/");
        let request = Proxy::Envoy
            .ask(&app, "", "OPTIONS", "app.example.org", &path)
            .headers(&preflight);
        assert_eq!(request.send().status, 401, "Envoy {path}");
    }
    let user = app.key(USER, USER_PASSWORD, "tv");
    for uri in ["/?require=admin", "/?require=", "/?require=user"] {
        for proxy in PROXIES {
            let request = proxy.get(&app, "require=admin", uri).header("apikey", &user);
            assert_eq!(request.send().status, 403, "{proxy:?} {uri}");
        }
    }
}

/// The CORS middleware of this server must not respond to a preflight that is meant for the guarded service: a 200
/// would let it pass.
#[apply(both_databases!)]
fn a_preflight_from_a_listed_origin_does_not_pass(backend: Backend) {
    for origins in ["*", "https://page.example"] {
        let app = TestApp::with(backend, |settings| {
            trust_this_machine(settings);
            settings.cors_origins = origins.parse().unwrap();
        });
        for proxy in PROXIES {
            let request = proxy.ask(&app, "", "OPTIONS", "app.example.org", "/").headers(&[
                ("Origin", "https://page.example"),
                ("Access-Control-Request-Method", "POST"),
            ]);
            assert_eq!(request.send().status, 401, "{proxy:?} {origins}");
        }
    }
}

#[apply(both_databases!)]
fn several_keys_in_one_place_are_rejected(backend: Backend) {
    let app = app(backend);
    let (one, two) = (app.admin_key(), app.key(USER, USER_PASSWORD, "tv"));
    let (bearer, basic) = (format!("Bearer {one}"), crate::gateway::basic("", &two));
    for proxy in PROXIES {
        for headers in [
            [("apikey", one.as_str()), ("apikey", two.as_str())],
            [("Authorization", &bearer), ("Authorization", &basic)],
        ] {
            proxy.get(&app, "", "/").headers(&headers).send().problem(401);
        }
        let uri = format!("/?apikey={one}&ApiKey={two}");
        proxy.get(&app, "", &uri).send().problem(401);
    }
}

#[apply(both_databases!)]
fn only_a_navigation_is_redirected(backend: Backend) {
    let app = app(backend);
    for headers in [
        &[("Accept", "*/*")][..],
        &[("Accept", "application/json")],
        &[HTML, ("X-Requested-With", "XMLHttpRequest")],
        &[HTML, ("Sec-Fetch-Mode", "cors")],
        &[HTML, ("Sec-Fetch-Mode", "no-cors")],
        &[HTML, ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")],
        &[HTML, ("Connection", "Upgrade"), ("Upgrade", "websocket")],
    ] {
        for proxy in PROXIES {
            let response = proxy.get(&app, "", "/").headers(headers).send();
            assert_eq!(response.status, 401, "{proxy:?} {headers:?}");
            assert_eq!(response.header("location"), None, "{proxy:?} {headers:?}");
            assert!(response.header("www-authenticate").is_some());
        }
    }
}
