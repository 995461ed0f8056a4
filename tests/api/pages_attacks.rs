use serde_json::json;
use test_support::{Backend, Client, apply, both_databases};

use crate::account::{Browser, USER, USER_PASSWORD};
use crate::pages::{anonymous_form, encoded, location};
use crate::pages_own::key_id;
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp, UseDatabase};

const PASSWORD: (&str, &str) = ("current-password", ADMIN_PASSWORD);
/// Texts that would run a script or change the page if a page contained them as they are.
const MARKUP: [&str; 4] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'--></title></textarea><svg/onload=alert(1)>",
    "{{7*7}} &lt;b&gt; ${x} <b>",
];

/// Starts a server with the user [`USER`] and a device of that user.
fn app(backend: Backend) -> TestApp {
    let app = TestApp::on(backend);
    app.add_user(USER, USER_PASSWORD);
    app.key(USER, USER_PASSWORD, "tv");
    app
}

/// Forms that change something if they are accepted, each with its fields.
fn forms(app: &Client, admin: &Browser) -> Vec<(String, Vec<(&'static str, &'static str)>)> {
    let tv = key_id(&admin.page(app, "/account/users/2"), "tv");
    let new_password = [
        PASSWORD,
        ("new-password", "Clarinet-bay"),
        ("new-password-again", "Clarinet-bay"),
    ];
    vec![
        ("/account/sign-out".to_owned(), vec![]),
        ("/account/revoke-others".to_owned(), vec![]),
        ("/account/revoke-all".to_owned(), vec![]),
        (
            "/account/new-key".to_owned(),
            vec![("device", "eve"), ("expiry", ""), ("scope", "full"), PASSWORD],
        ),
        ("/account/password".to_owned(), new_password.to_vec()),
        (
            "/account/new-user".to_owned(),
            vec![("user", "eve"), ("admin", "on"), PASSWORD],
        ),
        (
            "/account/users/2".to_owned(),
            vec![("was-user", USER), ("user", "eve"), PASSWORD],
        ),
        ("/account/users/2/link".to_owned(), vec![PASSWORD]),
        ("/account/users/2/unlock".to_owned(), vec![PASSWORD]),
        ("/account/users/2/revoke-keys".to_owned(), vec![PASSWORD]),
        (format!("/account/users/2/keys/{tv}/revoke"), vec![PASSWORD]),
        ("/account/users/2/delete".to_owned(), vec![PASSWORD]),
        ("/account/throttled".to_owned(), vec![("unlock-user", USER), PASSWORD]),
    ]
}

/// Returns everything that the forms could change.
fn state(app: &TestApp) -> Vec<String> {
    let users = "SELECT name || password || is_admin || is_disabled || key_epoch AS text FROM users ORDER BY id";
    let keys = "SELECT id || device || epoch AS text FROM api_keys ORDER BY id";
    let links = "SELECT user_id || '' AS text FROM one_time_links";
    [users, keys, links]
        .iter()
        .flat_map(|query| app.database.texts(query))
        .collect()
}

#[apply(both_databases!)]
fn forms_of_other_sites_change_nothing(backend: Backend) {
    let app = app(backend);
    let admin = Browser::with_form(&app, ADMIN, ADMIN_PASSWORD);
    let (token, before) = (admin.token(&app), state(&app));
    for (path, fields) in forms(&app, &admin) {
        let fields = encoded(&[&[("token", token.as_str())], &fields[..]].concat());
        for headers in [
            &[][..],
            &[("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.example")],
            &[("Sec-Fetch-Site", "same-site"), ("Origin", "http://127.0.0.1:1")],
            &[("Sec-Fetch-Site", "none")],
            &[("Origin", "https://evil.example")],
            &[("Origin", "http://127.0.0.1:1")],
            &[("Origin", "null")],
        ] {
            // Under this name, the cookie is read over any connection.
            let cookie = format!("__Host-{}", admin.0);
            let request = app.post(&path).header("Cookie", &cookie).form(&fields);
            let response = request.headers(headers).send();
            assert_eq!(response.status, 403, "{path} {headers:?}: {}", response.text());
        }
        assert_eq!(
            admin
                .request(&app, "GET", &format!("{path}?{fields}"))
                .send()
                .header("set-cookie"),
            None
        );
    }
    assert_eq!(state(&app), before);
}

#[apply(both_databases!)]
fn a_form_needs_the_token_of_its_session(backend: Backend) {
    let app = app(backend);
    let admin = Browser::with_form(&app, ADMIN, ADMIN_PASSWORD);
    let same_user = Browser::with_form(&app, ADMIN, ADMIN_PASSWORD).token(&app);
    let other_user = Browser::with_form(&app, USER, USER_PASSWORD).token(&app);
    let before = state(&app);
    for (path, fields) in forms(&app, &admin) {
        for token in ["", "x", &same_user, &other_user, admin.secret()] {
            let fields = encoded(&[&[("token", token)], &fields[..]].concat());
            let response = admin.request(&app, "POST", &path).form(&fields).send();
            assert_eq!(response.status, 403, "{path}: {}", response.text());
            assert!(response.text().contains("This form belongs to another session."));
        }
        let without = admin.request(&app, "POST", &path).form(&encoded(&fields)).send();
        assert_eq!(without.status, 403, "{path}");
    }
    assert_eq!(state(&app), before);
}

#[apply(both_databases!)]
fn the_sign_in_and_the_link_take_only_forms_of_this_server(backend: Backend) {
    let app = app(backend);
    let path = "/account/sign-in";
    let fields = encoded(&[("user", ADMIN), ("password", ADMIN_PASSWORD)]);
    let link = app.database.run(&["user", "reset-link", USER], "");
    let link = String::from_utf8(link.stdout).unwrap();
    let link = link
        .lines()
        .find(|line| line.starts_with("/account/link/"))
        .unwrap()
        .to_owned();
    let new_password = encoded(&[("new-password", "Clarinet-bay"), ("new-password-again", "Clarinet-bay")]);
    for headers in [
        &[][..],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Origin", "https://evil.example")],
        &[("Origin", "http://127.0.0.1:1")],
    ] {
        let signed_in = app.post(path).headers(headers).form(&fields).send();
        assert_eq!(
            (signed_in.status, signed_in.header("set-cookie")),
            (403, None),
            "{headers:?}"
        );
        assert_eq!(app.post(&link).headers(headers).form(&new_password).send().status, 403);
    }
    let own = format!("http://{}", app.address());
    let signed_in = app.post(path).header("Origin", &own).form(&fields).send();
    assert_eq!(
        signed_in.status, 303,
        "without encryption, browsers send only the origin"
    );
    assert_eq!(app.get(&link).send().status, 200);
}

#[apply(both_databases!)]
fn a_planted_session_is_not_used(backend: Backend) {
    let app = app(backend);
    let attacker = Browser::with_form(&app, USER, USER_PASSWORD);
    for planted in [
        attacker.0.as_str(),
        "shoko-auth=00112233445566778899aabbccddeeff",
        "shoko-auth=x",
    ] {
        let fields = [("user", ADMIN), ("password", ADMIN_PASSWORD)];
        let response = anonymous_form(&app, "/account/sign-in", &fields)
            .header("Cookie", planted)
            .send();
        let browser = Browser::of(&response);
        assert_ne!(browser.0, planted);
        assert!(browser.page(&app, "/account/").contains("Signed in as Default"));
        assert!(!Browser(planted.to_owned()).is_signed_in(&app));
    }
}

#[apply(both_databases!)]
fn only_the_cookie_of_a_session_opens_a_page(backend: Backend) {
    let app = app(backend);
    let key = app.key(USER, USER_PASSWORD, "d");
    let cookie = format!("shoko-auth={}", key.replace('-', ""));
    for request in [
        app.get("/account/").header("apikey", &key),
        app.get("/account/").header("Authorization", &format!("Bearer {key}")),
        app.get(&format!("/account/?apikey={key}")),
        app.get("/account/").header("Cookie", &cookie),
    ] {
        assert!(location(&request.send()).starts_with("/account/sign-in?return="));
    }
}

/// Returns the pages of a browser that is signed in as administrator, and of one that is not signed in.
fn pages(app: &Client, admin: &Browser) -> Vec<(String, String)> {
    let mut pages = Vec::new();
    for path in [
        "",
        "new-key",
        "password",
        "users",
        "new-user",
        "users/2",
        "users/2/delete",
        "throttled",
    ] {
        let path = format!("/account/{path}");
        pages.push((path.clone(), admin.page(app, &path)));
    }
    for text in MARKUP {
        let query = encoded(&[("search", text), ("notice", text), ("return", text), ("page", text)]);
        for path in ["users", "sign-in", "none"] {
            let path = format!("/account/{path}?{query}");
            pages.push((path.clone(), app.get(&path).send().text()));
            pages.push((path.clone(), admin.request(app, "GET", &path).send().text()));
        }
        let fields = [("user", text), ("password", text), ("return", text)];
        pages.push((
            text.to_owned(),
            anonymous_form(app, "/account/sign-in", &fields).send().text(),
        ));
        let fields = [
            ("user", text),
            ("email", text),
            ("device", text),
            ("hosts", text),
            ("scope", "gateway"),
        ];
        for path in ["new-key", "new-user", "users/2", "throttled"] {
            let path = format!("/account/{path}");
            pages.push((path.clone(), admin.submit(app, &path, &fields).text()));
        }
    }
    pages
}

#[apply(both_databases!)]
fn names_and_addresses_are_shown_as_text(backend: Backend) {
    let app = TestApp::with(backend, |settings| settings.core.login_throttle = true);
    let admin_key = app.admin_key();
    for (number, text) in MARKUP.iter().enumerate() {
        let user = json!({"name": format!("{number}{text}"), "email": format!("mail{number}{text}"),
            "password": USER_PASSWORD});
        let created = app
            .post("/api/account/users")
            .header("apikey", &admin_key)
            .json(&user)
            .send();
        assert_eq!(created.status, 201, "{}", created.text());
        app.key(&format!("{number}{text}"), USER_PASSWORD, text);
        app.key(ADMIN, ADMIN_PASSWORD, text);
    }
    for _ in 0..5 {
        app.log_in(&format!("1{}", MARKUP[1]), "wrong", "d");
    }
    let admin = Browser::with_form(&app, ADMIN, ADMIN_PASSWORD);
    let mut pages = pages(&app, &admin);
    let user = Browser::with_form(&app, &format!("0{}", MARKUP[0]), USER_PASSWORD);
    pages.push(("own".to_owned(), user.page(&app, "/account/")));
    let fields = [("user", "<i>new</i>"), PASSWORD];
    pages.push((
        "link".to_owned(),
        admin.submit(&app, "/account/new-user", &fields).text(),
    ));
    let fields = [("device", "<i>new</i>"), ("expiry", "1"), ("scope", "full")];
    pages.push(("key".to_owned(), admin.submit(&app, "/account/new-key", &fields).text()));
    for escaped in ["&#60;script&#62;alert(1)", "{{7*7}} &#38;lt;b&#38;gt;"] {
        assert!(pages.iter().any(|(_, html)| html.contains(escaped)), "{escaped}");
    }
    for (path, html) in pages {
        for tag in ["<script>", "<img", "<svg", "<i>", "<b>", "</textarea>", "\"\"><"] {
            assert!(!html.contains(tag), "{tag} on {path}: {html}");
        }
        assert!(
            html.matches("<script").count() <= 1 && html.matches("</title>").count() <= 1,
            "{path}: {html}"
        );
    }
}
