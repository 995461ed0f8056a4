use std::process::Output;

use serde_json::Value;

use crate::changes::heard;
use crate::support::{ADMIN, ADMIN_PASSWORD, Backend, TestApp, TestDatabase, on_both_databases, program};
use crate::terminal::Terminal;

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// As Compose files and unit files write what is not set.
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

on_both_databases! {
    fn a_user_made_on_the_command_line_logs_in_at_once(app: TestApp) {
        let arguments = ["user", "add", " Bob ", "--email", "bob@example.org", "--password-stdin"];
        assert_eq!(out(&app.database.run(&arguments, "Bassoon-hill\r\n")), "Created the user Bob (id 2).\n");
        assert_eq!(app.log_in("bob", "Bassoon-hill", "d").status, 200);
        let key = app.key("bob", "Bassoon-hill", "d");
        let me = app.get("/api/v3/User/Current").header("apikey", &key).send().json();
        assert_eq!((&me["ID"], &me["Username"], &me["IsAdmin"]), (&2.into(), &"Bob".into(), &false.into()));
    }

    fn names_and_e_mail_addresses_are_one_namespace(database: TestDatabase) {
        let add = |arguments: &[&str]| {
            database.run(&[&["user", "add", "--password-stdin"], arguments].concat(), "Bassoon-hill")
        };
        out(&add(&["bob", "--email", "bob@example.org"]));
        for taken in [["BOB", "--email", "x@example.org"], ["BOB@example.org", "--email", "y@example.org"]] {
            assert!(refused(&add(&taken), 1).contains("taken"), "{taken:?}");
        }
        assert!(refused(&add(&["carol", "--email", "Bob"]), 1).contains("taken"));
    }

    fn user_list_shows_everybody_to_people_and_to_programs(app: TestApp) {
        app.database.run(&["user", "add", "bob", "--admin", "--password-stdin"], "Bassoon-hill");
        let table = out(&app.database.run(&["user", "list"], ""));
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows.len(), 3, "{table}");
        assert!(rows[0].contains("NAME") && rows[1].contains(ADMIN) && rows[2].contains("bob"), "{table}");
        let list: Value = serde_json::from_str(&out(&app.database.run(&["user", "list", "--json"], ""))).unwrap();
        let members: Vec<&String> = list[0].as_object().unwrap().keys().collect();
        let expected = ["id", "name", "email", "isAdmin", "isDisabled", "createdAt", "throttledUntil"];
        assert_eq!(members, expected);
        assert_eq!((&list[0]["name"], &list[1]["isAdmin"]), (&ADMIN.into(), &true.into()));
        assert!(list[0]["createdAt"].as_str().unwrap().ends_with('Z'), "{list}");
    }

    fn set_password_ends_all_keys_while_the_server_runs(app: TestApp) {
        let key = app.admin_key();
        out(&app.database.run(&["user", "set-password", "default", "--password-stdin"], " Oboe-n-harbour\n"));
        assert!(!app.accepts(&key));
        assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, "d").status, 401);
        assert_eq!(app.log_in(ADMIN, " Oboe-n-harbour", "d").status, 200);
    }

    fn what_is_done_to_a_user_holds_for_the_running_server_at_once(app: TestApp) {
        let done = |arguments: &[&str]| {
            out(&app.database.run(arguments, ""));
            heard();
        };
        app.add_user("bob", "Bassoon-hill");
        let key = app.key("bob", "Bassoon-hill", "phone");
        let groups = || app.get("/api/auth/verify").header("apikey", &key).send().header("remote-groups");
        done(&["user", "disable", "BOB"]);
        assert!(!app.accepts(&key) && app.log_in("bob", "Bassoon-hill", "phone").status == 401);
        done(&["user", "enable", "bob"]);
        assert_eq!(app.key("bob", "Bassoon-hill", "phone"), key);
        done(&["user", "grant-admin", "bob"]);
        assert_eq!(groups().as_deref(), Some("admin,user"));
        done(&["user", "revoke-admin", "bob"]);
        assert_eq!(groups().as_deref(), Some("user"));
        done(&["user", "delete", "bob"]);
        assert!(!app.accepts(&key) && app.log_in("bob", "Bassoon-hill", "phone").status == 401);
    }

    fn the_last_administrator_stays(app: TestApp) {
        app.add_user("bob", "Bassoon-hill");
        let key = app.admin_key();
        for deed in ["disable", "delete", "revoke-admin"] {
            assert!(refused(&app.database.run(&["user", deed, ADMIN], ""), 1).contains("last administrator"));
        }
        out(&app.database.run(&["user", "grant-admin", "bob"], ""));
        out(&app.database.run(&["user", "disable", "bob"], ""));
        assert!(refused(&app.database.run(&["user", "delete", ADMIN], ""), 1).contains("last administrator"));
        assert!(app.accepts(&key), "a disabled administrator is none");
    }

    fn keys_are_ended_by_user_by_device_and_by_id(app: TestApp) {
        app.add_user("bob", "Bassoon-hill");
        let keys = ["web-ui", "Kodi", "tv"].map(|device| app.key(ADMIN, ADMIN_PASSWORD, device));
        let bobs = app.key("bob", "Bassoon-hill", "tv");
        let run = |arguments: &[&str]| {
            let output = app.database.run(&[&["key"], arguments].concat(), "");
            heard();
            output
        };
        let list: Value = serde_json::from_str(&out(&run(&["list", "--user", "default", "--json"]))).unwrap();
        let devices: Vec<&Value> = list.as_array().unwrap().iter().map(|key| &key["device"]).collect();
        assert_eq!(devices, ["Kodi", "tv", "web-ui"]);
        let id = list[2]["id"].to_string();
        assert_eq!(out(&run(&["revoke", "--id", &id])), "Revoked 1 key.\n");
        assert!(!app.accepts(&keys[0]) && app.accepts(&keys[1]));
        assert_eq!(out(&run(&["revoke", "--user", ADMIN, "--device", " KODI"])), "Revoked 1 key.\n");
        assert!(!app.accepts(&keys[1]) && app.accepts(&keys[2]));
        out(&run(&["revoke", "--user", ADMIN]));
        assert!(!app.accepts(&keys[2]) && app.accepts(&bobs));
        let table = out(&run(&["list"]));
        assert!(table.contains("bob") && !table.contains(&bobs) && table.lines().count() == 2, "{table}");
        refused(&run(&["revoke", "--id", &id]), 1);
        refused(&run(&["revoke", "--user", "nobody"]), 1);
        for wrong in [&["revoke"][..], &["revoke", "--device", "tv"], &["revoke", "--user", "bob", "--id", "1"]] {
            refused(&run(wrong), 2);
        }
    }

    fn a_password_is_asked_for_twice_and_not_shown(app: TestApp) {
        let ask = |typed: [&str; 2]| {
            let mut terminal = Terminal::run(&app.database, &["user", "add", "bob"]);
            terminal.answer("New password: ", typed[0]);
            terminal.answer("Again: ", typed[1]);
            terminal.ended()
        };
        let (code, said) = ask(["Bassoon-hill", "Bassoon-hall"]);
        assert!(said.contains("differ") && code == Some(1), "{said}");
        let (code, said) = ask(["Bassoon-hill", "Bassoon-hill"]);
        assert!(said.contains("Created the user bob") && code == Some(0), "{said}");
        assert!(!said.contains("Bassoon"), "{said}");
        assert_eq!(app.log_in("bob", "Bassoon-hill", "d").status, 200);
    }

    fn what_cannot_be_done_is_said_with_what_to_do(database: TestDatabase) {
        let set = ["user", "set-password", "nobody", "--password-stdin"];
        assert!(refused(&database.run(&set, "Oboe-n-harbour"), 1).contains("no user 'nobody'; `shoko-auth user list`"));
        let add = ["user", "add", "bob", "--password-stdin"];
        assert!(refused(&database.run(&add, "short"), 1).contains("at least 8 characters"));
        assert!(refused(&database.run(&["user", "add", " "], ""), 2).contains("must not be empty"));
        refused(&database.run(&["user", "frobnicate"], ""), 2);
        assert!(refused(&database.run(&["--pbkdf2-rounds", "999", "user", "list"], ""), 2).contains("999"));
        refused(&database.run(&["--database-url", "mysql://x", "user", "list"], ""), 2);
    }
}
