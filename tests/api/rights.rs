use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use test_support::{Backend, Client, Request, apply, both_databases};

use crate::dialects::{AllDialects, basic};
use crate::expiring_keys::expiring_key;
use crate::support::{ADMIN, ADMIN_PASSWORD};

const USER: &str = "bob";
const USER_PASSWORD: &str = "Bassoon-hill";

/// A row of the table: the route, and the cell of each kind of caller.
struct Row {
    route: String,
    cells: Vec<String>,
}

fn table() -> Vec<Row> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md")).unwrap();
    let (_, section) = text.split_once("## Who may call what").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("another section");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
        Row {
            route: cells.next().unwrap().trim_matches('`').to_owned(),
            cells: cells.collect(),
        }
    })
    .collect()
}

/// A caller: user name, password and key. Requests that change the password set the same password again.
struct Caller {
    name: &'static str,
    password: &'static str,
    key: Option<String>,
}

impl Caller {
    /// Returns a new caller for a column of the table, with a key that no earlier request has revoked.
    fn of_column(app: &Client, column: usize) -> Self {
        let (name, password) = match column {
            0..=2 => (USER, USER_PASSWORD),
            _ => (ADMIN, ADMIN_PASSWORD),
        };
        let key = match column {
            0 => None,
            1 | 3 => Some(expiring_key(app, name, password)),
            _ => Some(app.key(name, password, "d")),
        };
        Self { name, password, key }
    }
}

fn last_key_id(app: &AllDialects) -> String {
    app.database
        .texts("SELECT max(id) || '' AS text FROM api_keys WHERE device = 'lost'")
        .remove(0)
}

fn request(app: &AllDialects, route: &str, caller: &Caller) -> Request {
    let (method, path) = route.split_once(' ').unwrap();
    let path = path
        .replace("{userID}", "3")
        .replace("{name}", USER)
        .replace("{path}", "films")
        .replace("{id}", "4");
    let path = if route == "POST /x" {
        "/x?cmd=authenticated"
    } else {
        &path
    };
    let request = app.request(method, path);
    let key = caller.key.as_deref();
    let with_key = |request: Request| key.iter().fold(request, |request, key| request.header("apikey", key));
    let with_bearer = |request: Request| {
        let bearer = |key: &&str| format!("Bearer {key}");
        key.iter()
            .fold(request, |request, key| request.header("Authorization", &bearer(key)))
    };
    let with_basic = |request: Request| match key {
        Some(key) => basic(request, caller.name, &key.replace('-', "")),
        None => request,
    };
    let password = caller.password;
    let json = |body: Value| with_key(app.request(method, path)).json(&body);
    match route {
        "POST /api/account/session" => json(json!({"user": USER, "password": "wrong"})),
        "POST /api/account/keys" => json(json!({"device": "script"})),
        "POST /api/account/password" => json(json!({"currentPassword": password, "newPassword": password})),
        "POST /api/account/link" => json(json!({"token": "unknown", "password": "Clarinet-bay"})),
        "POST /api/account/users" => json(json!({"name": "newer"})),
        "PATCH /api/account/users/{id}" => json(json!({"isAdmin": false})),
        "DELETE /api/account/throttled" => with_key(app.delete("/api/account/throttled?network=203.0.113.7")),
        "DELETE /api/account/keys/{id}" => {
            app.key(caller.name, caller.password, "lost");
            with_key(app.delete(&format!("/api/account/keys/{}", last_key_id(app))))
        }
        "DELETE /api/account/users/{id}/keys/{key}" => {
            app.key("other", USER_PASSWORD, "lost");
            with_key(app.delete(&path.replace("{key}", &last_key_id(app))))
        }
        "POST /api/auth" => json(json!({"user": USER, "pass": "wrong", "device": "d"})),
        "POST /api/v3/Auth/SignIn" => json(json!({"User": USER, "Password": "wrong", "Device": "d"})),
        "POST /v1/User/{name}" => with_key(request).form("password="),
        "POST /api/v1/fetch_api_key" | "POST /a" => with_key(request).form("username=bob&password=wrong"),
        "POST /api/v1/dev_fetch_api_key" => with_key(request).form("username=bob"),
        "POST /api/auth/apikey" => json(json!("phone")),
        "POST /api/v3/Auth/GenerateToken" => json(json!({"Device": "phone"})),
        "POST /api/auth/ChangePassword" | "POST /api/v3/Auth/ChangePassword" => json(json!(password)),
        "POST /api/v3/User/Current/ChangePassword" => json(json!({"Password": password})),
        "POST /api/v3/User/{userID}/ChangePassword" => json(json!({"Password": "Clarinet-bay"})),
        "POST /api/v3/User" => json(json!({"Username": "new", "Password": "Clarinet-bay"})),
        "PUT /api/v3/User/Current" | "PUT /api/v3/User/{userID}" => json(json!({"CommunitySites": []})),
        "PATCH /api/v3/User/Current" | "PATCH /api/v3/User/{userID}" => json(json!([])),
        "PATCH /api/v3/Settings" => json(json!([{"op": "replace", "path": "/WebUI_Settings", "value": "{}"}])),
        "DELETE /api/auth" | "DELETE /api/v3/Auth/InvalidateToken" => {
            let parameter = if path == "/api/auth" { "apikey" } else { "token" };
            let revoked = app.key(caller.name, caller.password, "lost");
            with_key(app.delete(&format!("{path}?{parameter}={revoked}")))
        }
        "POST /api/auth/introspect" => with_key(request).form("token=unknown"),
        "GET /api/authz/forward-auth" | "GET /api/authz/auth-request" | "GET /api/authz/ext-authz/{path}" => {
            with_key(request).headers(&[
                ("X-Forwarded-Method", "GET"),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", "app.example.org"),
                ("X-Forwarded-Uri", "/"),
                ("X-Original-Method", "GET"),
                ("X-Original-URL", "https://app.example.org/"),
            ])
        }
        "GET /api/v1/users/me" | "POST /api/v1/users/me/api_key/regenerate" => with_basic(request),
        "PUT /a" | "POST /x" => with_bearer(request),
        _ => with_key(request),
    }
}

#[apply(both_databases!)]
fn each_route_admits_the_callers_that_the_table_lists(backend: Backend) {
    let app = AllDialects::with(backend, |settings| {
        settings.v1_login = true;
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    app.add_user(USER, USER_PASSWORD);
    app.add_user("target", USER_PASSWORD);
    app.add_user("other", USER_PASSWORD);
    for Row { route, cells } in table() {
        assert_eq!(cells.len(), 5, "{route}");
        for (column, cell) in cells.iter().enumerate() {
            let caller = Caller::of_column(&app, column);
            let response = request(&app, &route, &caller).send();
            let status = response.status;
            let as_listed = match cell.as_str() {
                // A wrong password is 401, or 204 on the v1 route.
                "password" => status == 401 || status == 204,
                "yes" => {
                    let deletes_user =
                        ["DELETE /api/v3/User/{userID}", "DELETE /api/account/users/{id}"].contains(&&*route);
                    status < 300 || (status == 404 && column == 4 && deletes_user)
                }
                number => number == status.to_string(),
            };
            assert!(as_listed, "{route}, column {column}: {status} {}", response.text());
        }
    }
}

#[apply(both_databases!)]
fn the_table_lists_each_documented_route(backend: Backend) {
    let app = AllDialects::with(backend, |settings| settings.v1_login = true);
    let listed: BTreeSet<String> = table().into_iter().map(|row| row.route).collect();
    let mut documented = BTreeSet::new();
    for path in [
        "/swagger/v3/swagger.json",
        "/swagger/zulip/swagger.json",
        "/swagger/zettelstore/swagger.json",
    ] {
        let document = app.get(path).send().json();
        for (path, operations) in document["paths"].as_object().expect(path) {
            for method in operations.as_object().unwrap().keys() {
                documented.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    assert_eq!(listed, documented);
}
