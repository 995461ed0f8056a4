use serde_json::{Value, json};
use test_support::process::ServerProcess;
use test_support::shoko_database::{ShokoDatabase, ShokoVersion, key, sha512};
use test_support::{Backend, TestDatabase, apply, both_databases};

use crate::import::{import, row};
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp, UseDatabase};

const PASSWORD: &str = "Bassoon-hill";
/// A name that older versions accepted. The right-to-left override displays it as `bobtxe`.
const OLD_NAME: &str = "bob\u{202e}ext";

fn add_user(database: &TestDatabase, arguments: &[&str]) -> (Option<i32>, String) {
    let output = database.run(&[&["user", "add", "--password-stdin"], arguments].concat(), PASSWORD);
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn printed(database: &TestDatabase, arguments: &[&str]) -> String {
    let output = database.run(arguments, "");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Gives the user `bob` the name [`OLD_NAME`], as an older version would have done.
fn rename_bob(database: &TestDatabase) {
    database.execute(&format!(
        "UPDATE users SET name = '{OLD_NAME}', name_folded = '{OLD_NAME}' WHERE name = 'bob'"
    ));
}

#[apply(both_databases!)]
fn new_user_names_contain_no_invisible_characters(backend: Backend) {
    let app = TestApp::on(backend);
    let admin = app.admin_key();
    app.add_user("bob", PASSWORD);
    let send = |method: &str, path: &str, body: &Value| {
        let request = app.request(method, &format!("/api/v3/User{path}"));
        request.header("apikey", &admin).json(body).send()
    };
    for name in [
        "a\u{202e}b",
        "a\u{200b}b",
        "a\u{ad}b",
        "\u{feff}a",
        "a\u{2028}b",
        "a\u{e0041}",
        "\u{200d}",
        "a\u{200c}",
        "a\u{200d}b",
        "ж\u{200c}д",
        "a\u{fe0f}",
        "a\u{e0101}",
        "a\u{34f}b",
        "\u{3164}",
        "a\u{2800}b",
    ] {
        let patch = json!([{"op": "replace", "path": "/Username", "value": name}]);
        for (method, path, body) in [
            ("POST", "", json!({"Username": name, "Password": PASSWORD})),
            ("PUT", "/2", json!({"Username": name})),
            ("PATCH", "/2", patch),
        ] {
            let problem = send(method, path, &body).problem(400);
            let text = problem["errors"]["Username"][0].as_str().unwrap_or_default();
            assert!(text.contains("invisible characters"), "{name:?}: {problem}");
        }
        for arguments in [&[name] as &[_], &["carol", "--email", name]] {
            let (code, error) = add_user(&app.database, arguments);
            assert!(code == Some(2) && error.contains("Remove the character U+"), "{error}");
            assert!(
                !error.contains(|c| name.contains(c) && !char::is_ascii(&c) && c != 'ж' && c != 'д'),
                "{error}"
            );
            let is_about_email = arguments.contains(&"--email");
            assert_eq!(error.contains("An e-mail address must"), is_about_email, "{error}");
        }
        let mut serve = app.database.program(&["serve"]);
        let output = serve.env("SHOKO_AUTH_ADMIN_USER", name).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        let is_explained = error.contains("invisible") || error.contains("byte order mark");
        assert!(output.status.code() == Some(2) && is_explained, "{error}");
    }
    for name in ["می\u{200c}خواهم", "👩\u{200d}💻"] {
        let renamed = send("PUT", "/2", &json!({"Username": name}));
        assert_eq!((renamed.status, &renamed.json()["Username"]), (200, &json!(name)));
        assert_eq!(app.log_in(name, PASSWORD, "d").status, 200);
    }
}

#[apply(both_databases!)]
fn users_with_old_names_log_in_and_are_changed_as_before(backend: Backend) {
    let app = TestApp::on(backend);
    let admin = app.admin_key();
    app.add_user("bob", PASSWORD);
    rename_bob(&app.database);
    let own_key = app.key(OLD_NAME, PASSWORD, "d");
    let put = |path: &str, key: &str, body: &Value| {
        let request = app.request("PUT", &format!("/api/v3/User{path}"));
        request.header("apikey", key).json(body).send()
    };
    let same = json!({"Username": OLD_NAME, "PlexUsernames": "me"});
    for (path, key) in [("/Current", &own_key), ("/2", &admin)] {
        let changed = put(path, key, &same);
        assert_eq!(
            (changed.status, &changed.json()["Username"]),
            (200, &json!(OLD_NAME)),
            "{path}"
        );
    }
    put("/2", &admin, &json!({"Username": format!("{OLD_NAME}2")})).problem(400);
    let disabled = printed(&app.database, &["user", "disable", OLD_NAME]);
    assert_eq!(disabled, "bob\\u{202e}ext is disabled.\n");
    printed(&app.database, &["user", "enable", OLD_NAME]);
    assert_eq!(put("/2", &admin, &json!({"Username": "Bob"})).json()["Username"], "Bob");
}

#[apply(both_databases!)]
fn lists_show_invisible_characters_as_escapes(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", PASSWORD);
    rename_bob(&app.database);
    assert_eq!(app.log_in(OLD_NAME, PASSWORD, "❤\u{fe0f}").status, 200);
    let device = "tv\u{2066}\u{200b}";
    assert_eq!(app.log_in(OLD_NAME, PASSWORD, device).status, 200);
    let users = printed(&app.database, &["user", "list"]);
    assert!(users.contains(r"bob\u{202e}ext"), "{users}");
    let keys = printed(&app.database, &["key", "list"]);
    assert!(
        keys.contains(r"bob\u{202e}ext") && keys.contains(r"tv\u{2066}\u{200b}"),
        "{keys}"
    );
    assert!(keys.contains("❤\u{fe0f}"), "{keys}");
    let json = printed(&app.database, &["key", "list", "--json"]);
    assert!(json.contains(r#""device": "tv\u2066\u200b""#), "{json}");
    let rows: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&rows[0]["user"], &rows[0]["device"]),
        (&json!(OLD_NAME), &json!(device))
    );
    let unknown = app.database.run(&["user", "disable", "x\u{202e}"], "");
    let error = String::from_utf8(unknown.stderr).unwrap();
    assert!(error.contains(r"there is no user 'x\u{202e}'"), "{error}");
}

#[apply(both_databases!)]
fn logs_show_invisible_characters_as_escapes(backend: Backend) {
    for (format, user, device) in [
        ("text", r#"user="x\u{202e}" "#, r#"device="tv\u{2066}""#),
        ("json", r#""user":"x\u202e""#, r#""device":"tv\u2066""#),
    ] {
        let database = TestDatabase::create(backend);
        let mut command = database.program(&["serve", "--log-format", format]);
        command.env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD);
        let mut server = ServerProcess::start(command);
        assert_eq!(server.log_in("x\u{202e}", "wrong", "d").status, 401);
        assert_eq!(server.log_in(ADMIN, ADMIN_PASSWORD, "tv\u{2066}").status, 200);
        server.signal("TERM");
        let (_, log) = server.wait_until_exit();
        assert!(log.contains(user) && log.contains(device), "{log}");
        assert!(!log.contains(['\u{202e}', '\u{2066}']), "{log}");
    }
}

#[apply(both_databases!)]
fn an_import_replaces_invisible_characters_in_names_of_users(backend: Backend) {
    let app = TestApp::on(backend);
    let mut shoko = ShokoDatabase::create(app.database.folder.path(), ShokoVersion::V5_3);
    shoko.user(1, Some("Default"), Some(&sha512(PASSWORD)), true);
    shoko.user(2, Some("\u{feff}Al\u{200b}ice"), Some(&sha512(PASSWORD)), false);
    shoko.user(3, Some("\u{200b}"), Some(&sha512(PASSWORD)), false);
    shoko.key(1, 2, "tv\u{202e}", &key(1));
    let report = import(&app.database, &shoko, &[]);
    let (done, why) = row(&report, "JMMUser", 2);
    assert!(done == "added" && why.contains("invisible characters"), "{why}");
    assert_eq!(row(&report, "JMMUser", 3).0, "skipped");
    assert_eq!(app.log_in("Al ice", PASSWORD, "d").status, 200);
    let device = app.get("/api/auth/verify").header("apikey", &key(1)).send();
    assert_eq!(device.header("Remote-Device").as_deref(), Some("tv%E2%80%AE"));
    assert_eq!(import(&app.database, &shoko, &[])["users"]["added"], 0);
    // A user whom an older version has imported keeps the name.
    app.database.execute(
        "UPDATE users SET name = '\u{feff}Al\u{200b}ice', name_folded = '\u{feff}al\u{200b}ice' WHERE name = 'Al ice'",
    );
    let again = import(&app.database, &shoko, &[]);
    assert_eq!(
        (&again["users"]["added"], &again["keys"]["added"]),
        (&json!(0), &json!(0))
    );
}
