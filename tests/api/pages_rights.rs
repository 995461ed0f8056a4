use std::fs;

use test_support::{Backend, Client, Response, apply, both_databases};

use crate::account::{Browser, USER, USER_PASSWORD};
use crate::pages::{anonymous_form, encoded};
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp};

/// Returns the rows of the table: the method, the path and the cells.
fn table() -> Vec<(String, String, Vec<String>)> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md")).unwrap();
    let (_, section) = text.split_once("## Who may open which page").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("another section");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let rows = rows.map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
        let route = cells.next().unwrap();
        let (method, path) = route.trim_matches('`').split_once(' ').unwrap();
        (method.to_owned(), path.to_owned(), cells.collect())
    });
    rows.collect()
}

/// Sends a request without the current password. `browser` is signed in, unless it is `None`.
fn send(app: &Client, browser: Option<&Browser>, method: &str, path: &str) -> Response {
    // The user 2 and the key 1 exist.
    let path = path
        .replace("keys/{id}", "keys/99")
        .replace("{id}", "2")
        .replace("{key}", "1");
    let style = app.get("/account/sign-in").send().text();
    let style = style
        .split("/account/files/")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    let path = path
        .replace("{name}", &style)
        .replace("{token}", "00112233445566778899aabbccddeeff");
    let fields = [
        ("user", USER),
        ("was-user", USER),
        ("device", "lasting"),
        ("expiry", ""),
        ("scope", "full"),
        ("new-password", "Clarinet-bay"),
        ("new-password-again", "Clarinet-bay"),
        ("unlock-user", USER),
    ];
    match (method, browser) {
        ("GET", None) => app.get(&path).send(),
        ("GET", Some(browser)) => browser.request(app, "GET", &path).send(),
        (_, None) => anonymous_form(app, &path, &fields).send(),
        (_, Some(browser)) => {
            let token = browser.token(app);
            let body = encoded(&[&[("token", token.as_str())][..], &fields].concat());
            browser.request(app, "POST", &path).form(&body).send()
        }
    }
}

#[apply(both_databases!)]
fn each_page_admits_the_visitors_that_the_table_lists(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user(USER, USER_PASSWORD);
    app.key(USER, USER_PASSWORD, "tv");
    let rows = table();
    assert!(rows.len() >= 25);
    for (method, path, cells) in rows {
        assert_eq!(cells.len(), 3, "{path}");
        for (column, cell) in cells.iter().enumerate() {
            let browser = match column {
                0 => None,
                1 => Some(Browser::with_form(&app, USER, USER_PASSWORD)),
                _ => Some(Browser::with_form(&app, ADMIN, ADMIN_PASSWORD)),
            };
            let response = send(&app, browser.as_ref(), &method, &path);
            let (status, text) = (response.status, response.text());
            let to_sign_in = response
                .header("location")
                .is_some_and(|location| location.starts_with("/account/sign-in") && !location.contains("signed-out"));
            let as_listed = match cell.as_str() {
                // The link of the table is unknown.
                "yes" if path.contains("{token}") => status == 404,
                "yes" => (status == 200 || status == 303) && !to_sign_in,
                "303" => status == 303 && to_sign_in,
                "403" => status == 403 && text.contains("Only an administrator"),
                "confirm" => status == 400 && text.contains("current password"),
                "password" => status == 403 && text.contains("wrong"),
                "link" => status == 404,
                other => panic!("{other}"),
            };
            assert!(as_listed, "{method} {path}, column {column}: {status} {text}");
        }
    }
}
