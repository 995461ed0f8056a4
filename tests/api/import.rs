use serde_json::{Value, json};
use test_support::process::ServerProcess;
use test_support::shoko_database::{ShokoDatabase, ShokoVersion, key, sha512};
use test_support::{Backend, TestDatabase, apply, both_databases};

use crate::start::generated_password;
use crate::support::{ADMIN, ADMIN_PASSWORD, Server, TestApp, UseDatabase};

/// Runs `import shoko FILE --json` and returns the report that it prints.
pub fn import(database: &TestDatabase, shoko: &ShokoDatabase, arguments: &[&str]) -> Value {
    let file = shoko.file.to_str().unwrap();
    let output = database.run(&[&["import", "shoko", file, "--json"], arguments].concat(), "");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns the users and keys in the database, including ids and stored passwords.
fn content(database: &TestDatabase) -> Vec<String> {
    let users = "SELECT id || name || password || password_version || is_admin || community_sites || avatar AS text \
                 FROM users ORDER BY id";
    let keys = "SELECT user_id || device || hash AS text FROM api_keys ORDER BY id";
    let keys_on_sqlite = "SELECT user_id || device || hex(hash) AS text FROM api_keys ORDER BY id";
    let keys = if database.backend == Backend::Sqlite {
        keys_on_sqlite
    } else {
        keys
    };
    [database.texts(users), database.texts(keys)].concat()
}

/// Returns what the report says about one row of a table: the row's outcome, and the remarks about it.
pub fn row<'a>(report: &'a Value, table: &str, id: i64) -> (&'a str, String) {
    let rows = report["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["table"] == table && row["row"] == id);
    let row = row.unwrap_or_else(|| panic!("the report has no row {table} {id}: {report:#}"));
    let remarks = row["remarks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|remark| remark.as_str().unwrap());
    (row["done"].as_str().unwrap(), remarks.collect::<Vec<_>>().join("; "))
}

/// Returns the device of a key, or `None` if the key is not valid.
fn device_of(server: &Server, key: &str) -> Option<String> {
    let response = server.get("/api/auth/verify").header("apikey", key).send();
    response.header("Remote-Device")
}

const PASSWORD: &str = "correct horse battery";

/// Inserts 200 users with 5 keys each, and every kind of unusual row.
pub fn insert_rows(shoko: &mut ShokoDatabase) {
    shoko.execute("BEGIN");
    let hash = sha512(PASSWORD);
    for id in 1..=200 {
        let name = if id == 1 {
            "Default".to_owned()
        } else {
            format!("user {id}")
        };
        shoko.user(id, Some(&name), Some(&hash), id == 1);
        for number in 0..5 {
            let row = (id - 1) * 5 + number + 1;
            shoko.key(row, id, &format!("device {number}"), &key(u32::try_from(row).unwrap()));
        }
    }
    shoko.user(301, None, Some(&hash), true);
    shoko.user(302, Some("no hash"), None, false);
    shoko.user(303, Some("empty"), Some(""), false);
    shoko.user(304, Some("lower"), Some(&hash.to_lowercase()), false);
    shoko.user(305, Some(&"ü".repeat(300)), Some(&hash), false);
    shoko.user(306, Some("two\tlines\n"), Some(&hash), false);
    shoko.user(307, Some(" USER 7 "), Some(&sha512("another")), true);
    shoko.user(308, Some(" \t "), Some(&hash), false);
    shoko.user(5_000_000_000, Some("far away"), Some(&hash), false);
    shoko.user(309, Some("trimmed"), Some(&sha512("with blanks")), false);
    for (row, user, device, token) in [
        (2001, 301, "of nobody", key(2001)),
        (2002, 302, "tablet", key(2002)),
        (2003, 999, "orphan", key(2003)),
        (2004, 7, "DEVICE 0 ", key(2004)),
        (2005, 7, "device 0", key(2005)),
        (2006, 7, "broken", "no guid".to_owned()),
        (2007, 7, "", key(2007)),
        (2008, 7, &*"d".repeat(300), key(2008)),
        (2009, 7, "bell\u{7}", key(2009)),
        (2010, 307, "phone", key(2010).to_uppercase()),
        (2011, 8, "again", key(1)),
        (2012, 5_000_000_000, "tv", key(2012)),
        (2013, 7, "", String::new()),
    ] {
        shoko.key(row, user, device, &token);
    }
    shoko.execute("COMMIT");
}

#[apply(both_databases!)]
fn users_and_keys_of_every_shoko_version_are_imported(backend: Backend) {
    for generation in ShokoVersion::ALL {
        let app = TestApp::on(backend);
        let mut shoko = ShokoDatabase::create(app.database.folder.path(), generation);
        insert_rows(&mut shoko);
        let report = import(&app.database, &shoko, &[]);
        assert_eq!(
            report["users"],
            json!({"added": 207, "merged": 1, "skipped": 2}),
            "{generation:?}"
        );
        assert_eq!(
            report["keys"],
            json!({"added": 1008, "merged": 0, "skipped": 5}),
            "{generation:?}"
        );
        for number in (1..=1000).chain([2002, 2004, 2005, 2007, 2008, 2009, 2010, 2012]) {
            assert!(device_of(&app, &key(number)).is_some(), "{generation:?}: key {number}");
        }
        for number in [2001, 2003, 2006, 2011] {
            assert_eq!(device_of(&app, &key(number)), None, "{generation:?}: key {number}");
        }
        assert_eq!(
            app.key("user 2", PASSWORD, "Device 0"),
            key(6),
            "a device gets the same key again"
        );
        let stored = |name: &str| {
            app.database
                .texts(&format!("SELECT password AS text FROM users WHERE name = '{name}'"))
                .remove(0)
        };
        assert!(stored("user 2").starts_with("$pbkdf2-sha256$"), "{}", stored("user 2"));
        assert!(
            stored("user 3").starts_with("$shoko-sha512$pbkdf2-sha256$"),
            "{}",
            stored("user 3")
        );
        assert_eq!(app.log_in("user 3", &sha512(PASSWORD), "d").status, 401);
        for _ in 0..2 {
            assert_eq!(
                app.log_in("trimmed", " with blanks ", "d").status,
                200,
                "the first login stores the password as typed"
            );
        }
        let before = content(&app.database);
        let again = import(&app.database, &shoko, &[]);
        assert_eq!(again["users"], json!({"added": 0, "merged": 208, "skipped": 2}));
        assert_eq!(again["keys"], json!({"added": 0, "merged": 1008, "skipped": 5}));
        assert_eq!(
            content(&app.database),
            before,
            "{generation:?}: a second import changes nothing"
        );
    }
}

#[apply(both_databases!)]
fn each_unusual_row_is_reported_with_outcome_and_reason(backend: Backend) {
    let app = TestApp::on(backend);
    let mut shoko = ShokoDatabase::create(app.database.folder.path(), ShokoVersion::V5_3);
    insert_rows(&mut shoko);
    let dry = import(&app.database, &shoko, &["--dry-run"]);
    assert_eq!(
        app.database.texts("SELECT name AS text FROM users"),
        ["Default"],
        "a dry run writes nothing"
    );
    let mut report = import(&app.database, &shoko, &[]);
    report["dryRun"] = json!(true);
    assert_eq!(report, dry, "a dry run prints the same report");
    for (table, id, done, why) in [
        ("JMMUser", 301, "skipped", "no name"),
        ("JMMUser", 302, "added", "no password"),
        ("JMMUser", 303, "added", "no password"),
        ("JMMUser", 304, "added", "not one of Shoko's hashes"),
        ("JMMUser", 305, "added", "cut to 255"),
        ("JMMUser", 306, "added", "replaced"),
        ("JMMUser", 307, "merged", "(id 7), without administrator rights"),
        ("JMMUser", 308, "skipped", "no name"),
        ("JMMUser", 5_000_000_000, "added", "gets the id 310"),
        ("AuthTokens", 2001, "skipped", "that user is skipped"),
        ("AuthTokens", 2003, "skipped", "no user"),
        ("AuthTokens", 2004, "added", "'DEVICE 0 (2)'"),
        ("AuthTokens", 2005, "added", "'device 0 (3)'"),
        ("AuthTokens", 2006, "skipped", "not a GUID"),
        ("AuthTokens", 2007, "added", "'unnamed device'"),
        ("AuthTokens", 2008, "added", "cut to 255"),
        ("AuthTokens", 2009, "added", "replaced"),
        ("AuthTokens", 2011, "skipped", "row 1"),
        ("AuthTokens", 2013, "skipped", "not a GUID"),
    ] {
        let (found, remarks) = row(&report, table, id);
        assert!(
            found == done && remarks.contains(why),
            "{table} {id}: {found}, {remarks}"
        );
    }
    assert_eq!(report["rows"].as_array().unwrap().len(), 19, "{report:#}");
    assert_eq!(report["withoutPassword"], json!(["no hash", "empty", "lower"]));
    assert_eq!(report["addedAdministrators"], json!(["Default"]));
    assert_eq!(report["commands"][0], "shoko-auth user set-password 'no hash'");
    assert_eq!(
        device_of(&app, &key(31)).as_deref(),
        Some("device 0"),
        "the key with the lowest AuthID keeps the device name"
    );
    assert_eq!(device_of(&app, &key(2005)).as_deref(), Some("device 0 (3)"));
    assert_eq!(app.log_in("two lines", PASSWORD, "d").status, 200);
    assert!(!report.to_string().contains("1f6b-4a0e"), "the report contains no key");
    let set = app.database.run(
        &["user", "set-password", "no hash", "--password-stdin"],
        "a new password",
    );
    assert!(set.status.success() && app.log_in("no hash", "a new password", "tablet").status == 200);
    let created = app
        .database
        .run(&["user", "add", "next", "--password-stdin"], "a new password");
    assert!(String::from_utf8(created.stdout).unwrap().contains("(id 311)"));
}

#[apply(both_databases!)]
fn an_import_after_the_first_start_replaces_the_generated_administrator(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut shoko = ShokoDatabase::create(database.folder.path(), ShokoVersion::V5_3);
    shoko.user(1, Some("Default"), Some(""), true);
    shoko.user(2, Some("Family Friendly"), Some(""), true);
    shoko.key(1, 1, "web-ui", &key(1));
    shoko.key(2, 2, "kodi", &key(2));
    let server = ServerProcess::start(database.program(&["serve"]));
    let report = import(&database, &shoko, &[]);
    assert_eq!(
        (&report["users"]["added"], &report["keys"]["added"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(report["removedAdministrator"], "Default");
    let commands = [
        "shoko-auth user set-password 'Default'",
        "shoko-auth user set-password 'Family Friendly'",
    ];
    assert_eq!(report["commands"], json!(commands));
    let me = server
        .get("/api/v3/User/Current")
        .header("apikey", &key(1))
        .send()
        .json();
    assert_eq!(
        (&me["ID"], &me["Username"], &me["IsAdmin"]),
        (&json!(1), &json!("Default"), &json!(true))
    );
    assert!(server.accepts(&key(2)));
    assert_eq!(
        server.log_in(ADMIN, generated_password(&server.greeting()), "d").status,
        401,
        "the import replaces the administrator of the first start"
    );
    assert_eq!(server.log_in(ADMIN, "", "d").status, 401);
    let body = json!({"Password": "Tr0mbone-lake", "RevokeAPIKeys": false});
    let request = server.post("/api/v3/User/1/ChangePassword").header("apikey", &key(2));
    assert_eq!(
        request.json(&body).send().status,
        200,
        "the imported user has administrator rights"
    );
    assert_eq!(server.key(ADMIN, "Tr0mbone-lake", "web-ui"), key(1));
    let text = database.run(&["import", "shoko", shoko.file.to_str().unwrap()], "");
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("Users: 0 added, 2 merged, 0 skipped.") && text.contains("Keys: 0 added, 2 merged"),
        "{text}"
    );
}

#[apply(both_databases!)]
fn an_administrator_who_has_logged_in_stays_and_receives_the_imported_keys(backend: Backend) {
    let app = TestApp::on(backend);
    let (own, mut shoko) = (
        app.admin_key(),
        ShokoDatabase::create(app.database.folder.path(), ShokoVersion::V6_0),
    );
    app.add_user("bob", "bobs long password");
    assert!(
        app.database
            .run(
                &["user", "add", "carol", "--email", "eve@example.org", "--password-stdin"],
                "carols long one"
            )
            .status
            .success()
    );
    shoko.user(1, Some("default"), Some(&sha512(PASSWORD)), true);
    shoko.user(2, Some("Eve"), Some(&sha512(PASSWORD)), false);
    shoko.user(3, Some("eve@Example.org"), Some(&sha512(PASSWORD)), false);
    shoko.key(1, 1, "WEB-UI", &key(1));
    shoko.key(2, 2, "tv", &key(2));
    shoko.key(3, 3, "tv", &key(3));
    let report = import(&app.database, &shoko, &[]);
    assert_eq!(report["removedAdministrator"], Value::Null);
    assert_eq!(row(&report, "JMMUser", 1).0, "merged");
    assert_eq!(
        app.log_in(ADMIN, ADMIN_PASSWORD, "d").status,
        200,
        "a merged user keeps the existing password"
    );
    assert_eq!(
        (app.admin_key(), device_of(&app, &key(1)).as_deref()),
        (own, Some("WEB-UI (2)"))
    );
    assert!(row(&report, "JMMUser", 2).1.contains("gets the id 4"), "{report:#}");
    assert!(row(&report, "JMMUser", 3).0 == "skipped" && row(&report, "JMMUser", 3).1.contains("e-mail"));
    assert_eq!(
        app.get("/api/v3/User/Current").header("apikey", &key(2)).send().json()["ID"],
        4
    );
}

#[apply(both_databases!)]
fn names_that_are_equal_only_after_normalization_grant_no_rights(backend: Backend) {
    let app = TestApp::on(backend);
    let mut shoko = ShokoDatabase::create(app.database.folder.path(), ShokoVersion::V5_3);
    app.add_user("helper", "helpers long password");
    assert!(
        app.database
            .run(&["user", "grant-admin", "helper"], "")
            .status
            .success()
    );
    shoko.user(1, Some("a\tb"), Some(&sha512(PASSWORD)), false);
    shoko.user(2, Some("a b"), Some(&sha512(PASSWORD)), true);
    shoko.user(3, Some(&("n".repeat(255) + "x")), Some(&sha512(PASSWORD)), true);
    shoko.user(4, Some(&("n".repeat(255) + "y")), Some(&sha512(PASSWORD)), false);
    shoko.user(5, Some("helper\u{7}"), Some(&sha512(PASSWORD)), false);
    for (id, user) in (1..).zip([1, 2, 3, 4, 5]) {
        shoko.key(id, user, "tv", &key(u32::try_from(id).unwrap()));
    }
    for _ in 0..2 {
        let report = import(&app.database, &shoko, &[]);
        for id in [1, 4, 5] {
            assert_eq!(row(&report, "JMMUser", id).0, "skipped", "{report:#}");
            assert_eq!(device_of(&app, &key(u32::try_from(id).unwrap())), None);
        }
        assert!(device_of(&app, &key(2)).is_some() && device_of(&app, &key(3)).is_some());
    }
}

#[apply(both_databases!)]
fn unusual_values_are_read_as_shoko_reads_them(backend: Backend) {
    let app = TestApp::on(backend);
    let mut shoko = ShokoDatabase::create(app.database.folder.path(), ShokoVersion::V6_0);
    shoko.user(1, Some("Default"), Some(&sha512(PASSWORD)), true);
    shoko.user(2, Some("two"), Some(&sha512("")), true);
    shoko.execute("UPDATE JMMUser SET IsAdmin = 2, PlexUsers = 'a' || char(0) || 'b' WHERE JMMUserID = 2");
    shoko.user(3, Some("-v"), None, false);
    shoko.expiring_key(1, 2, "tv", &key(1), "9999-12-31 23:59:59.9999999");
    let report = import(&app.database, &shoko, &[]);
    assert_eq!(report["addedAdministrators"], json!(["Default"]));
    assert_eq!(
        app.log_in("two", "", "d").status,
        401,
        "an empty password is not imported"
    );
    assert_eq!(
        device_of(&app, &key(1)).as_deref(),
        Some("tv"),
        "a key with .NET's latest time never expires"
    );
    assert_eq!(report["commands"][1], "shoko-auth user set-password -- '-v'");
    assert_eq!(
        import(&app.database, &shoko, &[])["commands"],
        report["commands"],
        "a second import prints the commands again"
    );
    shoko.execute("CREATE TABLE t AS SELECT * FROM AuthTokens; DROP TABLE AuthTokens; ALTER TABLE t RENAME TO AuthTokens; INSERT INTO AuthTokens SELECT * FROM AuthTokens");
    let output = app.database.run(&["import", "shoko", shoko.file.to_str().unwrap()], "");
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("two rows have the same id")
    );
}
