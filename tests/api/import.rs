use std::process::Stdio;
use std::thread::sleep;
use std::time::Instant;

use serde_json::{Value, json};

use crate::serving::Serving;
use crate::shoko_database::{Generation, ShokoDatabase, key, sha512};
use crate::support::{ADMIN, ADMIN_PASSWORD, Backend, Server, TestApp, TestDatabase, on_both_databases};

/// What `import shoko FILE --json` printed.
pub fn import(database: &TestDatabase, shoko: &ShokoDatabase, arguments: &[&str]) -> Value {
    let file = shoko.file.to_str().unwrap();
    let output = database.run(&[&["import", "shoko", file, "--json"], arguments].concat(), "");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Everything that an import writes: passwords too, and ids.
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

/// What the report says about a row: what was done, and why.
pub fn row<'a>(report: &'a Value, table: &str, id: i64) -> (&'a str, String) {
    let rows = report["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["table"] == table && row["row"] == id);
    let row = row.unwrap_or_else(|| panic!("nothing about {table} {id} in {report:#}"));
    let remarks = row["remarks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|remark| remark.as_str().unwrap());
    (row["done"].as_str().unwrap(), remarks.collect::<Vec<_>>().join("; "))
}

/// Which device a key stands for, if it works.
fn device_of(server: &Server, key: &str) -> Option<String> {
    let answer = server.get("/api/auth/verify").header("apikey", key).send();
    answer.header("Remote-Device")
}

const PASSWORD: &str = "correct horse battery";

/// 200 users with 5 keys each, and every oddity there is.
fn fill(shoko: &mut ShokoDatabase) {
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

on_both_databases! {
    fn users_and_keys_of_every_generation_come_over(backend: Backend) {
        for generation in Generation::ALL {
            let app = TestApp::on(backend);
            let mut shoko = ShokoDatabase::create(app.database.folder.path(), generation);
            fill(&mut shoko);
            let report = import(&app.database, &shoko, &[]);
            assert_eq!(report["users"], json!({"added": 207, "merged": 1, "skipped": 2}), "{generation:?}");
            assert_eq!(report["keys"], json!({"added": 1008, "merged": 0, "skipped": 5}), "{generation:?}");
            for number in (1..=1000).chain([2002, 2004, 2005, 2007, 2008, 2009, 2010, 2012]) {
                assert!(device_of(&app, &key(number)).is_some(), "{generation:?}: key {number}");
            }
            for number in [2001, 2003, 2006, 2011] {
                assert_eq!(device_of(&app, &key(number)), None, "{generation:?}: key {number}");
            }
            assert_eq!(app.key("user 2", PASSWORD, "Device 0"), key(6), "the same device gets the same key");
            let stored = |name: &str| {
                app.database.texts(&format!("SELECT password AS text FROM users WHERE name = '{name}'")).remove(0)
            };
            assert!(stored("user 2").starts_with("$pbkdf2-sha256$"), "{}", stored("user 2"));
            assert!(stored("user 3").starts_with("$shoko-sha512$pbkdf2-sha256$"), "{}", stored("user 3"));
            assert_eq!(app.log_in("user 3", &sha512(PASSWORD), "d").status, 401);
            for _ in 0..2 {
                assert_eq!(app.log_in("trimmed", " with blanks ", "d").status, 200, "as it was typed from now on");
            }
            let before = content(&app.database);
            let again = import(&app.database, &shoko, &[]);
            assert_eq!(again["users"], json!({"added": 0, "merged": 208, "skipped": 2}));
            assert_eq!(again["keys"], json!({"added": 0, "merged": 1008, "skipped": 5}));
            assert_eq!(content(&app.database), before, "{generation:?}: a second import changes nothing");
        }
    }

    fn each_odd_row_is_reported_with_what_was_done_and_why(app: TestApp) {
        let mut shoko = ShokoDatabase::create(app.database.folder.path(), Generation::V5_3);
        fill(&mut shoko);
        let dry = import(&app.database, &shoko, &["--dry-run"]);
        assert_eq!(app.database.texts("SELECT name AS text FROM users"), ["Default"], "a dry run writes nothing");
        let mut report = import(&app.database, &shoko, &[]);
        report["dryRun"] = json!(true);
        assert_eq!(report, dry, "and says the same");
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
            assert!(found == done && remarks.contains(why), "{table} {id}: {found}, {remarks}");
        }
        assert_eq!(report["rows"].as_array().unwrap().len(), 19, "{report:#}");
        assert_eq!(report["withoutPassword"], json!(["no hash", "empty", "lower"]));
        assert_eq!(report["addedAdministrators"], json!(["Default"]));
        assert_eq!(report["commands"][0], "shoko-auth user set-password 'no hash'");
        assert_eq!(device_of(&app, &key(31)).as_deref(), Some("device 0"), "the lowest AuthID keeps the name");
        assert_eq!(device_of(&app, &key(2005)).as_deref(), Some("device 0 (3)"));
        assert_eq!(app.log_in("two lines", PASSWORD, "d").status, 200);
        assert!(!report.to_string().contains("1f6b-4a0e"), "no key is shown");
        let set = app.database.run(&["user", "set-password", "no hash", "--password-stdin"], "a new password");
        assert!(set.status.success() && app.log_in("no hash", "a new password", "tablet").status == 200);
        let made = app.database.run(&["user", "add", "next", "--password-stdin"], "a new password");
        assert!(String::from_utf8(made.stdout).unwrap().contains("(id 311)"));
    }

    fn the_common_case(database: TestDatabase) {
        let mut shoko = ShokoDatabase::create(database.folder.path(), Generation::V5_3);
        shoko.user(1, Some("Default"), Some(""), true);
        shoko.user(2, Some("Family Friendly"), Some(""), true);
        shoko.key(1, 1, "web-ui", &key(1));
        shoko.key(2, 2, "kodi", &key(2));
        let serving = Serving::start(database.program(&["serve"]));
        let report = import(&database, &shoko, &[]);
        assert_eq!((&report["users"]["added"], &report["keys"]["added"]), (&json!(2), &json!(2)));
        assert_eq!(report["removedAdministrator"], "Default");
        let commands = ["shoko-auth user set-password 'Default'", "shoko-auth user set-password 'Family Friendly'"];
        assert_eq!(report["commands"], json!(commands));
        let server = serving.server();
        let me = server.get("/api/v3/User/Current").header("apikey", &key(1)).send().json();
        assert_eq!((&me["ID"], &me["Username"], &me["IsAdmin"]), (&json!(1), &json!("Default"), &json!(true)));
        assert!(server.accepts(&key(2)));
        let password = serving.greeting.lines().find_map(|line| line.trim().strip_prefix("password  ")).unwrap();
        let password = password.split_whitespace().next().unwrap();
        assert_eq!(server.log_in(ADMIN, password, "d").status, 401, "the password of the first start is gone");
        assert_eq!(server.log_in(ADMIN, "", "d").status, 401);
        let body = json!({"Password": "Tr0mbone-lake", "RevokeAPIKeys": false});
        let request = server.post("/api/v3/User/1/ChangePassword").header("apikey", &key(2));
        assert_eq!(request.json(&body).send().status, 200, "somebody can administer");
        assert_eq!(server.key(ADMIN, "Tr0mbone-lake", "web-ui"), key(1));
        let text = database.run(&["import", "shoko", shoko.file.to_str().unwrap()], "");
        let text = String::from_utf8(text.stdout).unwrap();
        assert!(text.contains("Users: 0 added, 2 merged, 0 skipped.") && text.contains("Keys: 0 added, 2 merged"), "{text}");
    }

    fn who_has_logged_in_stays_and_gets_the_keys(app: TestApp) {
        let (own, mut shoko) = (app.admin_key(), ShokoDatabase::create(app.database.folder.path(), Generation::V6_0));
        app.add_user("bob", "bobs long password");
        assert!(app.database.run(&["user", "add", "carol", "--email", "eve@example.org", "--password-stdin"], "carols long one").status.success());
        shoko.user(1, Some("default"), Some(&sha512(PASSWORD)), true);
        shoko.user(2, Some("Eve"), Some(&sha512(PASSWORD)), false);
        shoko.user(3, Some("eve@Example.org"), Some(&sha512(PASSWORD)), false);
        shoko.key(1, 1, "WEB-UI", &key(1));
        shoko.key(2, 2, "tv", &key(2));
        shoko.key(3, 3, "tv", &key(3));
        let report = import(&app.database, &shoko, &[]);
        assert_eq!(report["removedAdministrator"], Value::Null);
        assert_eq!(row(&report, "JMMUser", 1).0, "merged");
        assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, "d").status, 200, "the password here stays");
        assert_eq!((app.admin_key(), device_of(&app, &key(1)).as_deref()), (own, Some("WEB-UI (2)")));
        assert!(row(&report, "JMMUser", 2).1.contains("gets the id 4"), "{report:#}");
        assert!(row(&report, "JMMUser", 3).0 == "skipped" && row(&report, "JMMUser", 3).1.contains("e-mail"));
        assert_eq!(app.get("/api/v3/User/Current").header("apikey", &key(2)).send().json()["ID"], 4);
    }

    fn names_that_are_the_same_only_here_make_nobody_an_administrator(app: TestApp) {
        let mut shoko = ShokoDatabase::create(app.database.folder.path(), Generation::V5_3);
        app.add_user("helper", "helpers long password");
        assert!(app.database.run(&["user", "grant-admin", "helper"], "").status.success());
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

    fn odd_values_are_read_as_shoko_reads_them(app: TestApp) {
        let mut shoko = ShokoDatabase::create(app.database.folder.path(), Generation::V6_0);
        shoko.user(1, Some("Default"), Some(&sha512(PASSWORD)), true);
        shoko.user(2, Some("two"), Some(&sha512("")), true);
        shoko.execute("UPDATE JMMUser SET IsAdmin = 2, PlexUsers = 'a' || char(0) || 'b' WHERE JMMUserID = 2");
        shoko.user(3, Some("-v"), None, false);
        shoko.expiring_key(1, 2, "tv", &key(1), "9999-12-31 23:59:59.9999999");
        let report = import(&app.database, &shoko, &[]);
        assert_eq!(report["addedAdministrators"], json!(["Default"]));
        assert_eq!(app.log_in("two", "", "d").status, 401, "what is empty is no password");
        assert_eq!(device_of(&app, &key(1)).as_deref(), Some("tv"), "the end of .NET's time is never");
        assert_eq!(report["commands"][1], "shoko-auth user set-password -- '-v'");
        assert_eq!(import(&app.database, &shoko, &[])["commands"], report["commands"], "as long as it is so");
        shoko.execute("CREATE TABLE t AS SELECT * FROM AuthTokens; DROP TABLE AuthTokens; ALTER TABLE t RENAME TO AuthTokens; INSERT INTO AuthTokens SELECT * FROM AuthTokens");
        let output = app.database.run(&["import", "shoko", shoko.file.to_str().unwrap()], "");
        assert!(String::from_utf8(output.stderr).unwrap().contains("two rows have the same id"));
    }

    fn logins_go_on_while_users_come_over(backend: Backend) {
        let app = TestApp::on(backend);
        let mut shoko = ShokoDatabase::create(app.database.folder.path(), Generation::V5_3);
        fill(&mut shoko);
        app.add_user("bob", "bobs long password");
        let mut command = app.database.program(&["import", "shoko", shoko.file.to_str().unwrap(), "--pbkdf2-rounds", "20000"]);
        let import = std::thread::spawn(move || command.output().unwrap());
        let mut logins = 0;
        while !import.is_finished() {
            assert_eq!(app.log_in("bob", "bobs long password", &format!("d{logins}")).status, 200);
            logins += 1;
        }
        assert!(import.join().unwrap().status.success());
        // The import hashes 200 passwords, and each hash takes as long as several logins.
        assert!(logins > 20, "{logins}");
    }

    fn an_import_that_is_killed_leaves_all_or_nothing(backend: Backend) {
        let folder = tempfile::tempdir().unwrap();
        let mut shoko = ShokoDatabase::create(folder.path(), Generation::V5_3);
        fill(&mut shoko);
        let start = Instant::now();
        import(&TestDatabase::create(backend), &shoko, &[]);
        let mut moment = start.elapsed();
        let (mut complete, mut untouched, mut database) = (0, 0, TestDatabase::create(backend));
        for round in 0.. {
            if round >= 15 && complete > 0 && untouched > 0 {
                break;
            }
            assert!(round < 200, "{complete} complete, {untouched} untouched");
            let mut command = database.program(&["import", "shoko", shoko.file.to_str().unwrap()]);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            sleep(moment);
            child.kill().unwrap();
            child.wait().unwrap();
            database.wait_until_unused();
            let users = database.run(&["user", "list", "--json"], "");
            let users: Value = serde_json::from_slice(&users.stdout).unwrap();
            let keys = database.run(&["key", "list", "--json"], "");
            let keys: Value = serde_json::from_slice(&keys.stdout).unwrap();
            match (users.as_array().unwrap().len(), keys.as_array().unwrap().len()) {
                // Closer and closer to the moment when everything is written.
                (0, 0) => {
                    untouched += 1;
                    moment = moment.mul_f64(1.07);
                }
                (207, 1008) => {
                    complete += 1;
                    moment = moment.mul_f64(0.9);
                    database = TestDatabase::create(backend);
                }
                other => panic!("(users, keys) are {other:?}"),
            }
        }
    }
}
