use std::fs::File;
use std::process::Output;

use serde_json::Value;
use test_support::{Backend, TestDatabase, apply, both_databases};

use crate::change_feed::wait_for_change_feed;
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp, UseDatabase, program};
use crate::terminal::Terminal;

/// Asserts that a command succeeded, and returns its standard output.
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Asserts that a command failed with this exit code, and returns its standard error.
fn error(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Compose files and unit files often set unused variables to the empty text.
#[test]
fn an_empty_variable_counts_as_absent() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(&["user", "list", "--json"]);
    for name in [
        "LISTEN",
        "LOGIN_THROTTLE",
        "TRUSTED_PROXIES",
        "V1_LOGIN",
        "WEBUI",
        "DIALECTS",
        "PUBLIC_URL",
        "PBKDF2_ROUNDS",
    ] {
        command.env(format!("SHOKO_AUTH_{name}"), "");
    }
    let output = command
        .env("DATABASE_URL", "")
        .env("SHOKO_AUTH_DATA_DIR", folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let help = program(&["--help"])
        .env("SHOKO_AUTH_LOGIN_THROTTLE", "")
        .output()
        .unwrap();
    assert!(String::from_utf8(help.stdout).unwrap().contains("--login-throttle"));
}

#[apply(both_databases!)]
fn a_user_created_on_the_command_line_can_log_in_at_once(backend: Backend) {
    let app = TestApp::on(backend);
    let arguments = ["user", "add", " Bob ", "--email", "bob@example.org", "--password-stdin"];
    assert_eq!(
        printed(&app.database.run(&arguments, "Bassoon-hill\r\n")),
        "Created the user Bob (id 2).\n"
    );
    assert_eq!(app.log_in("bob", "Bassoon-hill", "d").status, 200);
    let key = app.key("bob", "Bassoon-hill", "d");
    let me = app.get("/api/v3/User/Current").header("apikey", &key).send().json();
    assert_eq!(
        (&me["ID"], &me["Username"], &me["IsAdmin"]),
        (&2.into(), &"Bob".into(), &false.into())
    );
}

#[apply(both_databases!)]
fn names_and_e_mail_addresses_are_one_namespace(backend: Backend) {
    let database = TestDatabase::create(backend);
    let add = |arguments: &[&str]| {
        database.run(
            &[&["user", "add", "--password-stdin"], arguments].concat(),
            "Bassoon-hill",
        )
    };
    printed(&add(&["bob", "--email", "bob@example.org"]));
    for taken in [
        ["BOB", "--email", "x@example.org"],
        ["BOB@example.org", "--email", "y@example.org"],
    ] {
        assert!(error(&add(&taken), 1).contains("taken"), "{taken:?}");
    }
    assert!(error(&add(&["carol", "--email", "Bob"]), 1).contains("taken"));
}

#[apply(both_databases!)]
fn user_list_prints_a_table_or_json(backend: Backend) {
    let app = TestApp::on(backend);
    app.database
        .run(&["user", "add", "bob", "--admin", "--password-stdin"], "Bassoon-hill");
    let table = printed(&app.database.run(&["user", "list"], ""));
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 3, "{table}");
    assert!(
        rows[0].contains("NAME") && rows[1].contains(ADMIN) && rows[2].contains("bob"),
        "{table}"
    );
    let list: Value = serde_json::from_str(&printed(&app.database.run(&["user", "list", "--json"], ""))).unwrap();
    let members: Vec<&String> = list[0].as_object().unwrap().keys().collect();
    let expected = [
        "id",
        "name",
        "email",
        "isAdmin",
        "isDisabled",
        "createdAt",
        "throttledUntil",
    ];
    assert_eq!(members, expected);
    assert_eq!((&list[0]["name"], &list[1]["isAdmin"]), (&ADMIN.into(), &true.into()));
    assert!(list[0]["createdAt"].as_str().unwrap().ends_with('Z'), "{list}");
}

#[apply(both_databases!)]
fn set_password_revokes_all_keys_while_the_server_runs(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    printed(&app.database.run(
        &["user", "set-password", "default", "--password-stdin"],
        " Oboe-n-harbour\n",
    ));
    assert!(!app.accepts(&key));
    assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, "d").status, 401);
    assert_eq!(app.log_in(ADMIN, " Oboe-n-harbour", "d").status, 200);
}

#[apply(both_databases!)]
fn user_commands_take_effect_in_the_running_server(backend: Backend) {
    let app = TestApp::on(backend);
    let run = |arguments: &[&str]| {
        printed(&app.database.run(arguments, ""));
        wait_for_change_feed();
    };
    app.add_user("bob", "Bassoon-hill");
    let key = app.key("bob", "Bassoon-hill", "phone");
    let groups = || {
        app.get("/api/auth/verify")
            .header("apikey", &key)
            .send()
            .header("remote-groups")
    };
    run(&["user", "disable", "BOB"]);
    assert!(!app.accepts(&key) && app.log_in("bob", "Bassoon-hill", "phone").status == 401);
    run(&["user", "enable", "bob"]);
    assert_eq!(app.key("bob", "Bassoon-hill", "phone"), key);
    run(&["user", "grant-admin", "bob"]);
    assert_eq!(groups().as_deref(), Some("admin,user"));
    run(&["user", "revoke-admin", "bob"]);
    assert_eq!(groups().as_deref(), Some("user"));
    run(&["user", "delete", "bob"]);
    assert!(!app.accepts(&key) && app.log_in("bob", "Bassoon-hill", "phone").status == 401);
}

#[apply(both_databases!)]
fn the_last_administrator_cannot_be_removed(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "Bassoon-hill");
    let key = app.admin_key();
    for command in ["disable", "delete", "revoke-admin"] {
        assert!(error(&app.database.run(&["user", command, ADMIN], ""), 1).contains("last administrator"));
    }
    printed(&app.database.run(&["user", "grant-admin", "bob"], ""));
    printed(&app.database.run(&["user", "disable", "bob"], ""));
    assert!(error(&app.database.run(&["user", "delete", ADMIN], ""), 1).contains("last administrator"));
    assert!(app.accepts(&key), "a disabled administrator does not count");
}

#[apply(both_databases!)]
fn an_administrator_who_cannot_log_in_does_not_count_as_one(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "Bassoon-hill");
    printed(&app.database.run(&["user", "grant-admin", "bob"], ""));
    let demote = || app.database.run(&["user", "revoke-admin", ADMIN], "");
    app.database
        .execute("UPDATE users SET password = '!' WHERE name = 'bob'");
    assert!(
        error(&demote(), 1).contains("last administrator"),
        "no password and no key"
    );
    let hash = match backend {
        Backend::Postgres => "convert_to(name_folded, 'UTF8')",
        Backend::Sqlite => "name_folded",
    };
    app.database.execute(&format!(
        "INSERT INTO api_keys (user_id, device, device_folded, hash, created_at, expires_at)
         SELECT id, 'd', 'd', {hash}, '2026-01-01 00:00:00', '2126-01-01 00:00:00' FROM users WHERE name = 'bob'"
    ));
    assert!(error(&demote(), 1).contains("last administrator"), "an expiring key");
    app.database.execute("UPDATE api_keys SET expires_at = NULL");
    printed(&demote());
}

#[apply(both_databases!)]
fn keys_are_revoked_by_user_by_device_and_by_id(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "Bassoon-hill");
    let keys = ["web-ui", "Kodi", "tv"].map(|device| app.key(ADMIN, ADMIN_PASSWORD, device));
    let bobs = app.key("bob", "Bassoon-hill", "tv");
    let run = |arguments: &[&str]| {
        let output = app.database.run(&[&["key"], arguments].concat(), "");
        wait_for_change_feed();
        output
    };
    let list: Value = serde_json::from_str(&printed(&run(&["list", "--user", "default", "--json"]))).unwrap();
    let devices: Vec<&Value> = list.as_array().unwrap().iter().map(|key| &key["device"]).collect();
    assert_eq!(devices, ["Kodi", "tv", "web-ui"]);
    let id = list[2]["id"].to_string();
    assert_eq!(printed(&run(&["revoke", "--id", &id])), "Revoked 1 key.\n");
    assert!(!app.accepts(&keys[0]) && app.accepts(&keys[1]));
    assert_eq!(
        printed(&run(&["revoke", "--user", ADMIN, "--device", " KODI"])),
        "Revoked 1 key.\n"
    );
    assert!(!app.accepts(&keys[1]) && app.accepts(&keys[2]));
    printed(&run(&["revoke", "--user", ADMIN]));
    assert!(!app.accepts(&keys[2]) && app.accepts(&bobs));
    let table = printed(&run(&["list"]));
    assert!(
        table.contains("bob") && !table.contains(&bobs) && table.lines().count() == 2,
        "{table}"
    );
    error(&run(&["revoke", "--id", &id]), 1);
    error(&run(&["revoke", "--user", "nobody"]), 1);
    for wrong in [
        &["revoke"][..],
        &["revoke", "--device", "tv"],
        &["revoke", "--user", "bob", "--id", "1"],
    ] {
        error(&run(wrong), 2);
    }
}

#[apply(both_databases!)]
fn the_password_prompt_repeats_and_does_not_show_the_password(backend: Backend) {
    let app = TestApp::on(backend);
    let add_bob = |typed: [&str; 2]| {
        let mut terminal = Terminal::run(&app.database.program(&["user", "add", "bob"]));
        terminal.type_at_prompt("New password: ", typed[0]);
        terminal.type_at_prompt("Again: ", typed[1]);
        terminal.wait_until_exit()
    };
    let (code, screen) = add_bob(["Bassoon-hill", "Bassoon-hall"]);
    assert!(screen.contains("differ") && code == Some(1), "{screen}");
    let (code, screen) = add_bob(["Bassoon-hill", "Bassoon-hill"]);
    assert!(screen.contains("Created the user bob") && code == Some(0), "{screen}");
    assert!(!screen.contains("Bassoon"), "{screen}");
    assert_eq!(app.log_in("bob", "Bassoon-hill", "d").status, 200);
}

#[apply(both_databases!)]
fn errors_say_what_to_do(backend: Backend) {
    let database = TestDatabase::create(backend);
    let set = ["user", "set-password", "nobody", "--password-stdin"];
    assert!(error(&database.run(&set, "Oboe-n-harbour"), 1).contains("no user 'nobody'; `shoko-auth user list`"));
    let add = ["user", "add", "bob", "--password-stdin"];
    assert!(error(&database.run(&add, "short"), 1).contains("at least 8 characters"));
    assert!(error(&database.run(&["user", "add", " "], ""), 2).contains("must not be empty"));
    error(&database.run(&["user", "frobnicate"], ""), 2);
    assert!(error(&database.run(&["--pbkdf2-rounds", "999", "user", "list"], ""), 2).contains("999"));
    error(&database.run(&["--database-url", "mysql://x", "user", "list"], ""), 2);
}

#[test]
fn a_command_whose_output_cannot_be_written_says_that_it_has_finished() {
    let database = TestDatabase::create(Backend::Sqlite);
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let invited = database
        .program(&["user", "invite", "bob"])
        .stdout(full())
        .output()
        .unwrap();
    let error = error(&invited, 1);
    assert!(
        error.contains("the command has finished, but its output cannot be written"),
        "{error}"
    );
    let listed = printed(&database.run(&["user", "list"], ""));
    assert!(listed.contains("bob"), "{listed}");
    let failed = database
        .program(&["user", "delete", "stranger"])
        .stderr(full())
        .status()
        .unwrap();
    assert_eq!(failed.code(), Some(1));
}
