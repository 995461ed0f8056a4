use std::fs;
use std::process::Command;

use test_support::database::SEALING_SECRET;
use test_support::process::{ServerProcess, run_with_input};
use test_support::{Backend, TestDatabase, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, UseDatabase};

/// Runs a command that must fail, and returns its exit code and standard error.
fn failure(command: &mut Command) -> (Option<i32>, String) {
    let output = run_with_input(command, "");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[apply(both_databases!)]
fn the_database_url_can_be_read_from_a_file(backend: Backend) {
    let database = TestDatabase::create(backend);
    let file = database.folder.path().join("url");
    fs::write(&file, database.url() + "\n").unwrap();
    let mut command = database.program(&["serve"]);
    command
        .env_remove("DATABASE_URL")
        .env("DATABASE_URL_FILE", &file)
        .env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD);
    let server = ServerProcess::start(command);
    assert_eq!(server.log_in(ADMIN, ADMIN_PASSWORD, "d").status, 200);
    let names = "SELECT name AS text FROM users";
    assert_eq!(database.texts(names), [ADMIN], "the file names this database");
    let mut list = database.program(&["user", "list"]);
    let (code, error) = failure(list.env("DATABASE_URL_FILE", &file));
    assert!(code == Some(2) && error.contains("not both"), "{error}");
}

#[apply(both_databases!)]
fn the_flag_overrides_both_variables_of_the_database_url(backend: Backend) {
    let database = TestDatabase::create(backend);
    let output = database
        .program(&["user", "list", "--database-url", &database.url()])
        .env("DATABASE_URL", "nonsense")
        .env("DATABASE_URL_FILE", "/nowhere")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[apply(both_databases!)]
fn the_server_refuses_a_variable_that_is_almost_a_setting(backend: Backend) {
    let database = TestDatabase::create(backend);
    for (wrong, right) in [
        ("SHOKO_AUTH_DATABASE_URL", "DATABASE_URL"),
        ("SHOKO_AUTH_LISTEN_FILE", "SHOKO_AUTH_LISTEN"),
        ("SHOKO_AUTH_TRUSTED_PROXY", "SHOKO_AUTH_TRUSTED_PROXIES"),
        ("SHOKO_AUTH_LOGIN_THROTLE", "SHOKO_AUTH_LOGIN_THROTTLE"),
    ] {
        let (code, error) = failure(database.program(&["serve"]).env(wrong, "hunter22"));
        assert_eq!(code, Some(2), "{error}");
        assert!(
            error.contains(&format!("{wrong} is not a setting; use {right} instead")),
            "{error}"
        );
        assert!(!error.contains("hunter22"), "{error}");
        let output = database
            .program(&["user", "list"])
            .env(wrong, "hunter22")
            .output()
            .unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.success() && log.contains(wrong) && log.contains("WARN"),
            "{log}"
        );
    }
}

#[apply(both_databases!)]
fn the_server_refuses_a_domain_that_cannot_have_a_cookie(backend: Backend) {
    let database = TestDatabase::create(backend);
    for (value, reason) in [
        ("com=https://com", "not a domain for a cookie"),
        ("10.0.0.1=https://10.0.0.1", "not a domain for a cookie"),
        ("example.org=https://example.net", "a host below it"),
        ("example.org=https://login.example.org/auth", "without a path"),
        ("https://login.example.org", "DOMAIN=URL"),
        ("a.org=https://a.org,b.a.org=https://b.a.org", "overlap"),
    ] {
        let (code, error) = failure(database.program(&["serve"]).env("SHOKO_AUTH_GATEWAY_DOMAINS", value));
        assert!(code == Some(2) && error.contains(reason), "{value}: {error}");
    }
}

#[apply(both_databases!)]
fn the_server_warns_about_unknown_variables_but_not_about_those_of_container_platforms(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut command = database.program(&["serve"]);
    command
        .env("SHOKO_AUTH_COLOR", "red")
        .env("SHOKO_AUTH_SERVICE_HOST", "10.0.0.1")
        .env("SHOKO_AUTH_SERVICE_PORT_HTTP", "8111")
        .env("SHOKO_AUTH_PORT", "tcp://10.0.0.1:8111")
        .env("SHOKO_AUTH_WEB_PORT_80_TCP", "tcp://10.0.0.1:80");
    let mut server = ServerProcess::start(command);
    server.signal("TERM");
    let (_, log) = server.wait_until_exit();
    let unknown: Vec<_> = log.lines().filter(|line| line.contains("not a setting")).collect();
    assert!(unknown.len() == 1 && unknown[0].contains("SHOKO_AUTH_COLOR"), "{log}");
}

#[apply(both_databases!)]
fn line_ends_and_byte_order_marks_around_secrets_do_not_become_part_of_them(backend: Backend) {
    for (before, after) in [("", "\n\n"), ("", "\r\n\r\n"), ("\u{feff}", "\r\n"), ("", "")] {
        let database = TestDatabase::create(backend);
        let file = |name: &str, text: &str| {
            let path = database.folder.path().join(name);
            fs::write(&path, format!("{before}{text}{after}")).unwrap();
            path
        };
        let mut command = database.program(&["serve"]);
        command
            .env_remove("DATABASE_URL")
            .env_remove("SHOKO_AUTH_SECRET_KEY")
            .env("DATABASE_URL_FILE", file("url", &format!(" {}\t", database.url())))
            .env(
                "SHOKO_AUTH_SECRET_KEY_FILE",
                file("secret", &format!(" {SEALING_SECRET} ")),
            )
            .env("SHOKO_AUTH_ADMIN_PASSWORD_FILE", file("password", ADMIN_PASSWORD));
        let server = ServerProcess::start(command);
        assert_eq!(
            server.log_in(ADMIN, ADMIN_PASSWORD, "d").status,
            200,
            "{before:?} {after:?}"
        );
        let names = "SELECT name AS text FROM users";
        assert_eq!(database.texts(names), [ADMIN]);
        drop(server);
        let output = database
            .program(&["user", "list"])
            .env("DATABASE_URL", format!("{before} {}{after}", database.url()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

#[apply(both_databases!)]
fn quotes_and_line_breaks_in_settings_are_rejected_with_the_name_of_the_setting(backend: Backend) {
    let database = TestDatabase::create(backend);
    for (name, value, hint) in [
        ("SHOKO_AUTH_ADMIN_PASSWORD", "'Hunter-22-lake'", "quotes"),
        ("SHOKO_AUTH_ADMIN_PASSWORD", "Hunter-22-lake\nanother", "several lines"),
        ("SHOKO_AUTH_SECRET_KEY", "\"Hunter\"", "quotes"),
        ("DATABASE_URL", "\"postgres://me:Hunter@host/db\"", "quotes"),
        ("SHOKO_AUTH_ADMIN_USER", "\"alice\"", "quotes"),
        ("SHOKO_AUTH_DATA_DIR", "data\n", "line ending"),
        ("SHOKO_AUTH_SECRET_KEY_FILE", "/run/secret\n", "line ending"),
        ("SHOKO_AUTH_LISTEN", "127.0.0.1:0\n", "line ending"),
    ] {
        let (code, error) = failure(database.program(&["serve"]).env(name, value));
        assert_eq!(code, Some(2), "{error}");
        assert!(
            error.contains(name) && error.contains(hint) && !error.contains("Hunter"),
            "{error}"
        );
    }
    let file = database.folder.path().join("utf-16");
    fs::write(&file, b"\xff\xfeH\0u\0n\0t\0").unwrap();
    let (code, error) = failure(
        database
            .program(&["serve"])
            .env("SHOKO_AUTH_ADMIN_PASSWORD_FILE", &file),
    );
    assert!(code == Some(2) && error.contains("save it as UTF-8"), "{error}");
}

#[test]
fn names_of_hosts_and_origins_that_would_never_match_are_rejected() {
    let database = TestDatabase::create(Backend::Sqlite);
    let long_label = format!("{}.example.org", "a".repeat(64));
    let long_name = format!("{}org", "a.".repeat(126));
    for (name, value, reason) in [
        ("SHOKO_AUTH_HOSTS", "*", "list each name instead of `*`"),
        (
            "SHOKO_AUTH_HOSTS",
            "a.example.org,*.example.org",
            "list each name instead of `*`",
        ),
        ("SHOKO_AUTH_HOSTS", "a..example.org", "1 to 63 characters"),
        ("SHOKO_AUTH_HOSTS", ".example.org", "1 to 63 characters"),
        ("SHOKO_AUTH_HOSTS", "example.org..", "1 to 63 characters"),
        ("SHOKO_AUTH_HOSTS", ".", "1 to 63 characters"),
        ("SHOKO_AUTH_HOSTS", "login.-a.example.org", "hyphen"),
        ("SHOKO_AUTH_HOSTS", "login.a-.example.org", "hyphen"),
        ("SHOKO_AUTH_HOSTS", &long_label, "1 to 63 characters"),
        ("SHOKO_AUTH_HOSTS", &long_name, "at most 253"),
        ("SHOKO_AUTH_HOSTS", "login.example.org:443", "without a port"),
        ("SHOKO_AUTH_HOSTS", "https://login.example.org", "without a port"),
        (
            "SHOKO_AUTH_CORS_ORIGINS",
            "https://a..example.org",
            "1 to 63 characters",
        ),
        ("SHOKO_AUTH_PUBLIC_URL", "https://a..example.org", "1 to 63 characters"),
        ("SHOKO_AUTH_CORS_ORIGINS", "https://*.example.org", "no `*`"),
        ("SHOKO_AUTH_CORS_ORIGINS", "https://example.org/path", "no path"),
        ("SHOKO_AUTH_CORS_ORIGINS", "https://me@example.org", "no user name"),
        ("SHOKO_AUTH_PUBLIC_URL", "https://*.example.org", "expected a URL"),
        ("SHOKO_AUTH_PUBLIC_URL", "https://login.example.org.", "expected a URL"),
    ] {
        let (code, error) = failure(database.program(&["serve"]).env(name, value));
        assert!(code == Some(2) && error.contains(reason), "{name}={value}: {error}");
    }
}

#[apply(both_databases!)]
fn a_host_name_may_end_with_a_dot(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut command = database.program(&["serve"]);
    command
        .env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD)
        .env("SHOKO_AUTH_HOSTS", "login.example.org.");
    let server = ServerProcess::start(command);
    let login = format!(r#"{{"user": "{ADMIN}", "pass": "{ADMIN_PASSWORD}", "device": "d"}}"#);
    let body: serde_json::Value = serde_json::from_str(&login).unwrap();
    for (host, status) in [("login.example.org", 200), ("other.example.org", 403)] {
        let request = server
            .post("/api/auth")
            .headers(&[("Host", host), ("Sec-Fetch-Site", "same-origin")]);
        assert_eq!(request.json(&body).send().status, status, "{host}");
    }
}
