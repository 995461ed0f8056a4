use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use shoko_auth::auth::Auth;
use test_support::database::SEALING_SECRET;
use test_support::process::ServerProcess;
use test_support::process::run_with_input;
use test_support::{Backend, TestDatabase, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, Server, TestApp, UseDatabase, program};

/// Returns the password in the greeting of a first start.
pub fn generated_password(greeting: &str) -> &str {
    let lines = greeting.lines();
    let rest = lines.map(str::trim).find_map(|line| line.strip_prefix("password  "));
    rest.unwrap().split_whitespace().next().unwrap()
}

#[apply(both_databases!)]
fn only_the_first_start_prints_a_generated_password(backend: Backend) {
    let database = TestDatabase::create(backend);
    let first = ServerProcess::start(database.program(&["serve"]));
    let greeting = first.greeting();
    let password = generated_password(&greeting);
    assert!(
        greeting.contains("curl ") && greeting.contains("/swagger/") && greeting.contains("/account/"),
        "{greeting}"
    );
    assert!(password.len() >= 20, "{password}");
    assert!(
        greeting.contains(&format!(r#""pass":"{password}""#)),
        "the printed curl command contains the password"
    );
    assert_eq!(first.log_in(ADMIN, password, "d").status, 200);
    drop(first);
    assert_eq!(ServerProcess::start(database.program(&["serve"])).greeting(), "");
}

#[apply(both_databases!)]
fn a_given_password_is_not_printed(backend: Backend) {
    let database = TestDatabase::create(backend);
    let file = database.folder.path().join("password");
    fs::write(&file, format!(" {ADMIN_PASSWORD}\r\n")).unwrap();
    let mut command = database.program(&[]);
    command
        .env("SHOKO_AUTH_ADMIN_PASSWORD_FILE", &file)
        .env("SHOKO_AUTH_ADMIN_USER", "O'Hara");
    let server = ServerProcess::start(command);
    let greeting = server.greeting();
    assert!(greeting.contains("curl") && !greeting.contains(ADMIN_PASSWORD));
    assert!(greeting.contains(r"'O'\''Hara'"), "{greeting}");
    assert_eq!(server.log_in("o'hara", &format!(" {ADMIN_PASSWORD}"), "d").status, 200);
}

#[apply(both_databases!)]
fn one_of_several_starting_nodes_creates_the_administrator(backend: Backend) {
    let database = TestDatabase::create(backend);
    let settings = Arc::new(database.server_settings());
    let created: Vec<bool> = std::thread::scope(|scope| {
        let nodes: Vec<_> = (0..6)
            .map(|_| {
                let settings = settings.clone();
                scope.spawn(move || {
                    let auth = Auth::open(&settings.core).unwrap();
                    auth.create_first_admin(&settings.first_admin).unwrap().is_some()
                })
            })
            .collect();
        nodes.into_iter().map(|node| node.join().unwrap()).collect()
    });
    assert_eq!(
        created.iter().filter(|created| **created).count(),
        1,
        "one node creates the administrator"
    );
}

#[apply(both_databases!)]
fn keys_and_passwords_survive_a_restart(backend: Backend) {
    let database = TestDatabase::create(backend);
    let settings = database.server_settings();
    let key = Server::start(settings.clone()).admin_key();
    let server = Server::start(settings);
    assert!(server.accepts(&key));
    assert_eq!(server.admin_key(), key);
}

#[apply(both_databases!)]
fn two_nodes_share_users_and_keys(backend: Backend) {
    let database = TestDatabase::create(backend);
    let settings = database.server_settings();
    let (one, two) = (Server::start(settings.clone()), Server::start(settings));
    let key = one.admin_key();
    assert_eq!(two.admin_key(), key);
    assert_eq!(two.delete(&format!("/api/auth?apikey={key}")).send().status, 200);
    assert!(!one.accepts(&key));
}

/// Starts the program with these variables, and returns its warnings.
fn warnings(backend: Backend, variables: &[(&str, &str)]) -> String {
    let database = TestDatabase::create(backend);
    let mut command = database.program(&["serve"]);
    command.env("SHOKO_AUTH_PBKDF2_ROUNDS", "100000");
    let mut server = ServerProcess::start({
        command.envs(variables.iter().copied());
        command
    });
    server.signal("TERM");
    let (_, log) = server.wait_until_exit();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains(" WARN ")).collect();
    warnings.join("\n")
}

#[apply(both_databases!)]
fn risky_settings_cause_a_warning_at_every_start(backend: Backend) {
    assert_eq!(warnings(backend, &[]), "");
    for (name, value) in [
        ("SHOKO_AUTH_LOGIN_THROTTLE", "off"),
        ("SHOKO_AUTH_PBKDF2_ROUNDS", "99999"),
        ("SHOKO_AUTH_PASSWORD_MIN_LENGTH", "7"),
        ("SHOKO_AUTH_V1_LOGIN", "on"),
        ("SHOKO_AUTH_ZULIP_DEV_LOGIN", "on"),
        ("SHOKO_AUTH_TRUSTED_PROXIES", "0.0.0.0/0"),
    ] {
        let mut variables = vec![(name, value)];
        if name == "SHOKO_AUTH_ZULIP_DEV_LOGIN" {
            variables.push(("SHOKO_AUTH_DIALECTS", "zulip"));
        }
        let warnings = warnings(backend, &variables);
        assert!(
            warnings.lines().count() == 1 && warnings.contains(name),
            "{name}: {warnings}"
        );
    }
    let zulip = [("SHOKO_AUTH_LISTEN", "0.0.0.0:0"), ("SHOKO_AUTH_DIALECTS", "zulip")];
    assert!(warnings(backend, &zulip).contains("SHOKO_AUTH_PUBLIC_URL"));
}

#[apply(both_databases!)]
fn an_invalid_administrator_password_fails_the_start(backend: Backend) {
    let database = TestDatabase::create(backend);
    let fails = |variables: &[(&str, &str)]| {
        let mut command = database.program(&[]);
        let output = run_with_input(command.envs(variables.iter().copied()), "");
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = fails(&[("SHOKO_AUTH_ADMIN_PASSWORD", "short")]);
    assert!(code == Some(2) && error.contains("at least 8 characters"), "{error}");
    let both = [
        ("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD),
        ("SHOKO_AUTH_ADMIN_PASSWORD_FILE", "/nowhere"),
    ];
    let (code, error) = fails(&both);
    assert!(code == Some(2) && error.contains("not both"), "{error}");
    let (code, error) = fails(&both[1..]);
    assert!(code == Some(2) && error.contains("/nowhere"), "{error}");
}

#[apply(both_databases!)]
fn a_generated_password_has_the_required_length(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut settings = database.server_settings();
    settings.first_admin.password = None;
    settings.core.password_min_length = 100;
    let auth = Auth::open(&settings.core).unwrap();
    assert!(auth.create_first_admin(&settings.first_admin).unwrap().is_some());
}

#[apply(both_databases!)]
fn a_taken_administrator_name_fails_the_start(backend: Backend) {
    let database = TestDatabase::create(backend);
    assert!(
        database
            .run(&["user", "add", "default", "--password-stdin"], ADMIN_PASSWORD)
            .status
            .success()
    );
    let output = database.run(&["serve"], "");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && error.contains("SHOKO_AUTH_ADMIN_USER"),
        "{error}"
    );
}

#[apply(both_databases!)]
fn healthcheck_fails_if_the_server_is_unreachable(backend: Backend) {
    let app = TestApp::on(backend);
    let address = app.address().to_owned();
    let healthcheck = |address: &str| {
        let output = app
            .database
            .program(&["healthcheck"])
            .env("SHOKO_AUTH_LISTEN", address)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(healthcheck(&address), (Some(0), String::new()));
    let port = address.rsplit(':').next().unwrap();
    assert_eq!(healthcheck(&format!("0.0.0.0:{port}")).0, Some(0));
    let (code, error) = healthcheck("127.0.0.1:1");
    assert!(
        code == Some(1) && error.starts_with("error: http://127.0.0.1:1/health/ready"),
        "{error}"
    );
}

#[test]
fn healthcheck_does_not_use_the_proxy_of_the_environment() {
    let app = TestApp::on(Backend::Sqlite);
    let mut command = app.database.program(&["healthcheck"]);
    command.env("SHOKO_AUTH_LISTEN", app.address());
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(name, "http://127.0.0.1:1");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn an_address_in_use_fails_the_start_and_creates_no_administrator() {
    let app = TestApp::on(Backend::Sqlite);
    let database = TestDatabase::create(Backend::Sqlite);
    let mut command = database.program(&["serve"]);
    let output = command.env("SHOKO_AUTH_LISTEN", app.address()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("error: cannot listen on"), "{error}");
    assert!(database.texts("SELECT name AS text FROM users").is_empty());
}

#[test]
fn only_the_owner_can_read_the_embedded_database_and_its_secret() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for data in [folder.path().to_owned(), folder.path().join("new/data")] {
        let mut command = program(&["user", "list"]);
        command.env("SHOKO_AUTH_DATA_DIR", &data);
        assert!(command.output().unwrap().status.success());
        assert_eq!(mode(&data.join("secret.key")), 0o600);
        assert_eq!(mode(&data.join("shoko-auth.db")), 0o600);
        let secret = fs::read(data.join("secret.key")).unwrap();
        assert!(command.output().unwrap().status.success());
        assert_eq!(
            fs::read(data.join("secret.key")).unwrap(),
            secret,
            "the second start keeps the secret"
        );
    }
    assert_eq!(mode(&folder.path().join("new/data")), 0o700);
}

#[test]
fn processes_that_start_without_a_secret_agree_on_one() {
    let database = TestDatabase::create(Backend::Sqlite);
    let mut settings = database.server_settings();
    settings.core.secret_key = None;
    let settings = &settings;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| Auth::open(&settings.core).unwrap());
        }
    });
    let files = fs::read_dir(database.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let files: Vec<_> = files
        .filter(|name| !name.to_string_lossy().contains("test.db"))
        .collect();
    assert_eq!(files, ["secret.key"], "no temporary file is left");
}

#[test]
fn postgresql_without_a_sealing_secret_exits_with_code_2() {
    let output = program(&["serve"])
        .env("DATABASE_URL", "postgres://localhost:1/none")
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(2) && error.contains("SHOKO_AUTH_SECRET_KEY"),
        "{error}"
    );
}

#[test]
fn an_invalid_sealing_secret_is_reported_with_the_setting_that_it_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "AAAA").unwrap();
    for (setting, value) in [
        ("SHOKO_AUTH_SECRET_KEY", "AAAA"),
        ("SHOKO_AUTH_SECRET_KEY_FILE", file.to_str().unwrap()),
    ] {
        let mut command = program(&["serve"]);
        command.env("SHOKO_AUTH_DATA_DIR", folder.path()).env(setting, value);
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        let reason = format!("The sealing secret ({setting}) cannot be used: it has 3 bytes");
        assert!(output.status.code() == Some(2) && error.contains(&reason), "{error}");
    }
}

#[test]
fn a_damaged_secret_file_is_named_and_exits_with_code_1() {
    let database = TestDatabase::create(Backend::Sqlite);
    let list = || {
        database
            .program(&["user", "list"])
            .env_remove("SHOKO_AUTH_SECRET_KEY")
            .output()
            .unwrap()
    };
    assert!(list().status.success());
    let file = database.folder.path().join("secret.key");
    fs::write(&file, "AAAA\n").unwrap();
    let output = list();
    let error = String::from_utf8(output.stderr).unwrap();
    let reason = format!(
        "error: The sealing secret ({}) cannot be used: it has 3 bytes",
        file.display()
    );
    assert!(output.status.code() == Some(1) && error.starts_with(&reason), "{error}");
}

#[test]
fn connection_errors_do_not_contain_the_database_password() {
    for (url, code, hint) in [
        ("postgres://me:hunter22@127.0.0.1:1/none", 1, "127.0.0.1:1/none"),
        ("postgress://me:hunter22@127.0.0.1:1/none", 2, "DATABASE_URL"),
        ("postgres://me:hunter%22%@127.0.0.1:1/none", 2, "percent-encode"),
        ("postgres://me:1/hunter22@127.0.0.1:1/none", 1, "127.0.0.1:1/none"),
        ("host=127.0.0.1 password=hunter22", 2, "postgres://"),
    ] {
        let mut command = program(&["user", "list"]);
        let output = command
            .env("DATABASE_URL", url)
            .env("SHOKO_AUTH_SECRET_KEY", SEALING_SECRET)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && error.contains(hint), "{error}");
        assert!(!error.contains("hunter"), "{error}");
    }
}
