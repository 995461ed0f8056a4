use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use shoko_auth::settings::Settings;
use test_support::process::ServerProcess;
use test_support::{Backend, Client, Request, Response, TestDatabase, apply, both_databases};

use crate::account::{USER, USER_PASSWORD};
use crate::support::{ADMIN, ADMIN_PASSWORD, DEVICE, TestApp, UseDatabase};

pub const HTML: (&str, &str) = ("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");

/// Trusts proxies on this machine, and lets users sign in for `example.org` and `example.net`.
pub fn trust_this_machine(settings: &mut Settings) {
    settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let domains = [
        "example.org=https://login.example.org",
        "example.net=https://login.example.net",
    ];
    let domains = domains.map(|domain| domain.parse().unwrap());
    settings.gateway_domains = shoko_auth::settings::GatewayDomains::new(domains.into()).unwrap();
}

/// Starts a server behind a trusted proxy, with an ordinary user.
pub fn app(backend: Backend) -> TestApp {
    let app = TestApp::with(backend, trust_this_machine);
    app.add_user(USER, USER_PASSWORD);
    app
}

/// A proxy, by the way in which it describes the original request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// Caddy and Traefik.
    ForwardAuth,
    Nginx,
    Envoy,
}

pub const PROXIES: [Proxy; 3] = [Proxy::ForwardAuth, Proxy::Nginx, Proxy::Envoy];

impl Proxy {
    /// Returns the request that the proxy sends for a request to `https://{host}{uri}`. `options` are separated by
    /// semicolons.
    pub fn ask(self, app: &Client, options: &str, method: &str, host: &str, uri: &str) -> Request {
        let query = options.replace(';', "&");
        let mark = if query.is_empty() { "" } else { "?" };
        match self {
            Self::ForwardAuth => app.get(&format!("/api/authz/forward-auth{mark}{query}")).headers(&[
                ("X-Forwarded-Method", method),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", host),
                ("X-Forwarded-Uri", uri),
            ]),
            Self::Nginx => app.get(&format!("/api/authz/auth-request{mark}{query}")).headers(&[
                ("X-Original-Method", method),
                ("X-Original-URL", &format!("https://{host}{uri}")),
            ]),
            Self::Envoy => {
                let semicolon = if options.is_empty() { "" } else { ";" };
                app.request(method, &format!("/api/authz/ext-authz{semicolon}{options}{uri}"))
                    .headers(&[("Host", host), ("X-Forwarded-Proto", "https")])
            }
        }
    }

    /// Returns the request for a page of `app.example.org`.
    pub fn get(self, app: &Client, options: &str, uri: &str) -> Request {
        self.ask(app, options, "GET", "app.example.org", uri)
    }
}

pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn remote(response: &Response) -> Vec<Option<String>> {
    ["user", "groups", "name", "email", "user-id", "device"]
        .map(|name| response.header(&format!("remote-{name}")))
        .into()
}

/// Issues a key for the gateway.
fn gateway_key(app: &Client, key: &str, hosts: Option<&[&str]>) -> String {
    let mut body = json!({"device": "tv", "scope": "gateway"});
    if let Some(hosts) = hosts {
        body["hosts"] = json!(hosts);
    }
    let response = app.post("/api/account/keys").header("apikey", key).json(&body).send();
    assert_eq!(response.status, 201, "{}", response.text());
    response.json()["key"].as_str().unwrap().to_owned()
}

#[apply(both_databases!)]
fn a_key_passes_behind_every_proxy_from_every_place(backend: Backend) {
    let app = app(backend);
    let key = app.admin_key();
    for proxy in PROXIES {
        for (name, value) in [
            ("apikey", key.clone()),
            ("Authorization", format!("Bearer {key}")),
            ("Authorization", basic("", &key)),
            ("Authorization", basic("default", &key.replace('-', ""))),
        ] {
            let response = proxy.get(&app, "", "/a").header(name, &value).send();
            assert_eq!(response.status, 200, "{proxy:?} {name}: {}", response.text());
            assert_eq!(response.header("cache-control").as_deref(), Some("no-store"));
            assert_eq!(
                remote(&response),
                [ADMIN, "admin,user", ADMIN, "", "1", DEVICE].map(|text| Some(text.to_owned()))
            );
        }
        for uri in [
            format!("/Stream/1?apikey={key}"),
            format!("/?a=b&access_token={key}"),
            format!("/?ApiKey={key}"),
        ] {
            assert_eq!(proxy.get(&app, "", &uri).send().status, 200, "{proxy:?} {uri}");
        }
        for method in ["POST", "PUT", "DELETE", "HEAD", "PROPFIND", "OPTIONS"] {
            let request = proxy
                .ask(&app, "", method, "app.example.org", "/")
                .header("apikey", &key);
            assert_eq!(request.send().status, 200, "{proxy:?} {method}");
        }
    }
}

#[apply(both_databases!)]
fn names_and_addresses_reach_the_service_in_ascii(backend: Backend) {
    let app = app(backend);
    let (name, admin) = ("jörg 100%", app.admin_key());
    app.add_user(name, "Clarinet-creek");
    let change = app.request("PATCH", "/api/account/users/3").header("apikey", &admin);
    let changed = change.json(&json!({"email": "jörg@example.org"})).send();
    assert_eq!(changed.status, 200, "{}", changed.text());
    let key = app.key(name, "Clarinet-creek", "fön");
    let response = Proxy::Nginx.get(&app, "", "/").header("apikey", &key).send();
    let encoded = [
        "j%C3%B6rg 100%25",
        "user",
        "j%C3%B6rg 100%25",
        "j%C3%B6rg@example.org",
        "3",
        "f%C3%B6n",
    ];
    assert_eq!(remote(&response), encoded.map(|text| Some(text.to_owned())));
    let change = app.request("PATCH", "/api/account/users/3").header("apikey", &admin);
    change.json(&json!({"email": "j@example.org"})).send();
    let response = Proxy::Nginx.get(&app, "", "/").header("apikey", &key).send();
    assert_eq!(
        response.header("remote-email").as_deref(),
        Some("j@example.org"),
        "the cache is invalid"
    );
}

#[apply(both_databases!)]
fn an_invalid_key_is_401_for_every_client(backend: Backend) {
    let app = app(backend);
    let (unknown, user) = (
        "00000000-0000-4000-8000-000000000000",
        app.key(USER, USER_PASSWORD, "tv"),
    );
    for proxy in PROXIES {
        for (name, value) in [
            ("apikey", unknown.to_owned()),
            ("Authorization", format!("Bearer {unknown}")),
            ("Authorization", basic("", unknown)),
            ("Authorization", basic(ADMIN, &user)),
        ] {
            let request = proxy.get(&app, "", "/").headers(&[HTML, (name, &value)]);
            let response = request.send();
            response.problem(401);
            assert_eq!(response.header("location"), None);
            assert_eq!(
                response.header("www-authenticate").as_deref(),
                Some(r#"Bearer realm="shoko-auth", error="invalid_token""#)
            );
            assert!(remote(&response).iter().all(Option::is_none));
        }
        let good = format!("/?apikey={user}");
        let request = proxy.get(&app, "", &good).header("apikey", unknown);
        assert_eq!(request.send().status, 401, "{proxy:?}: the first place decides");
        let request = proxy
            .get(&app, "", &good)
            .header("Authorization", "Bearer eyJhbGciOiJub25lIn0");
        assert_eq!(request.send().status, 200, "{proxy:?}: the token is the service's own");
    }
}

#[apply(both_databases!)]
fn a_client_can_wait_for_a_basic_challenge(backend: Backend) {
    let app = app(backend);
    for proxy in PROXIES {
        let response = proxy.get(&app, "challenge=basic", "/").send();
        response.problem(401);
        assert_eq!(
            response.header("www-authenticate").as_deref(),
            Some(r#"Basic realm="shoko-auth", charset="UTF-8""#),
            "{proxy:?}"
        );
    }
}

#[apply(both_databases!)]
fn a_proxy_can_require_an_administrator(backend: Backend) {
    let app = app(backend);
    let (admin, user) = (app.admin_key(), app.key(USER, USER_PASSWORD, "tv"));
    for proxy in PROXIES {
        let status = |key: &str| {
            proxy
                .get(&app, "require=admin", "/")
                .header("apikey", key)
                .send()
                .status
        };
        assert_eq!((status(&admin), status(&user)), (200, 403), "{proxy:?}");
        let misspelled = proxy.get(&app, "require=admins", "/").header("apikey", &admin).send();
        assert!(
            misspelled.problem(400)["detail"]
                .as_str()
                .unwrap()
                .contains("require=admin")
        );
    }
}

#[apply(both_databases!)]
fn a_gateway_key_passes_only_for_its_hosts(backend: Backend) {
    let app = app(backend);
    let own = app.key(USER, USER_PASSWORD, "pc");
    let (every, one) = (
        gateway_key(&app, &own, None),
        gateway_key(&app, &own, Some(&["app.example.org"])),
    );
    for proxy in PROXIES {
        let status = |key: &str, host: &str| {
            proxy
                .ask(&app, "", "GET", host, "/")
                .header("apikey", key)
                .send()
                .status
        };
        assert_eq!(status(&every, "else.example.org"), 200, "{proxy:?}");
        assert_eq!(status(&one, "APP.example.org:8443"), 200, "{proxy:?}");
        for host in ["else.example.org", "app.example.org.evil", "example.org"] {
            assert_eq!(status(&one, host), 401, "{proxy:?} {host}");
        }
    }
    assert!(!app.accepts(&every));
}

#[apply(both_databases!)]
fn only_a_preflight_passes_without_a_key_and_only_if_allowed(backend: Backend) {
    let app = app(backend);
    let preflight = [
        ("Origin", "https://page.example"),
        ("Access-Control-Request-Method", "POST"),
    ];
    for proxy in PROXIES {
        let options = |options: &str| proxy.ask(&app, options, "OPTIONS", "app.example.org", "/");
        let passed = options("preflight=allow").headers(&preflight).send();
        assert_eq!(passed.status, 200, "{proxy:?}");
        assert!(remote(&passed).iter().all(|value| value.as_deref() == Some("")));
        assert_eq!(options("").headers(&preflight).send().status, 401, "{proxy:?}");
        for headers in [&preflight[..1], &preflight[1..]] {
            assert_eq!(
                options("preflight=allow").headers(headers).send().status,
                401,
                "{proxy:?}"
            );
        }
        let get = proxy.get(&app, "preflight=allow", "/").headers(&preflight);
        assert_eq!(get.send().status, 401, "{proxy:?}");
    }
}

#[apply(both_databases!)]
fn a_description_that_is_incomplete_or_ambiguous_is_400(backend: Backend) {
    let app = app(backend);
    let key = app.admin_key();
    for (path, all) in [
        (
            "/api/authz/forward-auth",
            &[
                ("X-Forwarded-Method", "GET"),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", "app.example.org"),
                ("X-Forwarded-Uri", "/"),
            ][..],
        ),
        (
            "/api/authz/auth-request",
            &[
                ("X-Original-Method", "GET"),
                ("X-Original-URL", "https://app.example.org/"),
            ],
        ),
        ("/api/authz/ext-authz/x", &[("X-Forwarded-Proto", "https")]),
    ] {
        let send = |headers: &[(&str, &str)]| app.get(path).header("apikey", &key).headers(headers).send();
        assert_eq!(send(all).status, 200, "{path}");
        for (index, (name, value)) in all.iter().enumerate() {
            let others = [&all[..index], &all[index + 1..]].concat();
            let missing = send(&others).problem(400);
            assert!(
                missing["detail"].as_str().unwrap().contains(&name.to_lowercase()),
                "{missing}"
            );
            let repeated = send(&[all, &[(name, value)]].concat()).problem(400);
            assert!(
                repeated["detail"].as_str().unwrap().contains("more than once"),
                "{repeated}"
            );
        }
    }
}

#[apply(both_databases!)]
fn a_peer_that_is_not_a_trusted_proxy_is_403_and_logged(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut command = database.program(&["serve"]);
    let server = ServerProcess::start({
        command.env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD);
        command
    });
    let key = server.key(ADMIN, ADMIN_PASSWORD, "d");
    for proxy in PROXIES {
        let problem = proxy.get(&server, "", "/").header("apikey", &key).send().problem(403);
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("SHOKO_AUTH_TRUSTED_PROXIES")
        );
    }
    let mut server = server;
    server.signal("TERM");
    let (_, log) = server.wait_until_exit();
    assert!(
        log.contains("rejected forward-auth")
            && log.contains("SHOKO_AUTH_TRUSTED_PROXIES")
            && log.contains("127.0.0.1"),
        "{log}"
    );
}

#[apply(both_databases!)]
fn the_routes_work_below_a_base_path(backend: Backend) {
    let app = TestApp::with(backend, |settings| {
        trust_this_machine(settings);
        settings.base_path = "/Auth".parse().unwrap();
    });
    let login = app.post("/auth/api/auth");
    let login = login.json(&json!({"user": ADMIN, "pass": ADMIN_PASSWORD, "device": "d"}));
    let key = login.send().json()["apikey"].as_str().unwrap().to_owned();
    let envoy = |path: &str| {
        let request = app
            .get(path)
            .headers(&[("Host", "app.example.org"), ("X-Forwarded-Proto", "https"), HTML]);
        request.send()
    };
    assert_eq!(envoy(&format!("/Auth/api/authz/ext-authz/A?apikey={key}")).status, 200);
    assert_eq!(envoy(&format!("/auth/api/authz/ext-authz/A?apikey={key}")).status, 404);
    assert_eq!(
        envoy("/Auth/api/authz/ext-authz/Path/?q=A")
            .header("location")
            .as_deref(),
        Some("https://login.example.org/Auth/account/sign-in?rd=https%3A%2F%2Fapp.example.org%2FPath%2F%3Fq%3DA")
    );
}
