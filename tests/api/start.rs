use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use shoko_auth::auth::Auth;

use crate::serving::Serving;
use crate::support::{
    ADMIN, ADMIN_PASSWORD, Backend, SECRET_KEY, Server, TestApp, TestDatabase, on_both_databases, program,
    run_with_input,
};

on_both_databases! {
    fn the_first_start_prints_a_password_that_works_and_the_second_none(database: TestDatabase) {
        let first = Serving::start(database.program(&["serve"]));
        let password = first.greeting.lines().find_map(|line| line.trim().strip_prefix("password  ")).unwrap();
        let password = password.split_whitespace().next().unwrap();
        assert!(first.greeting.contains("curl ") && first.greeting.contains("/swagger/"), "{}", first.greeting);
        assert!(password.len() >= 20, "{password}");
        assert!(first.greeting.contains(&format!(r#""pass":"{password}""#)), "the curl line works as it stands");
        assert_eq!(first.server().log_in(ADMIN, password, "d").status, 200);
        drop(first);
        assert_eq!(Serving::start(database.program(&["serve"])).greeting, "");
    }

    fn a_password_that_was_given_is_not_printed(database: TestDatabase) {
        let file = database.folder.path().join("password");
        fs::write(&file, format!(" {ADMIN_PASSWORD}\r\n")).unwrap();
        let mut command = database.program(&[]);
        command.env("SHOKO_AUTH_ADMIN_PASSWORD_FILE", &file).env("SHOKO_AUTH_ADMIN_USER", "O'Hara");
        let serving = Serving::start(command);
        assert!(serving.greeting.contains("curl") && !serving.greeting.contains(ADMIN_PASSWORD));
        assert!(serving.greeting.contains(r"'O'\''Hara'"), "{}", serving.greeting);
        assert_eq!(serving.server().log_in("o'hara", &format!(" {ADMIN_PASSWORD}"), "d").status, 200);
    }

    fn several_nodes_may_start_at_once(database: TestDatabase) {
        let settings = Arc::new(database.server_settings());
        let made: Vec<bool> = std::thread::scope(|scope| {
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
        assert_eq!(made.iter().filter(|made| **made).count(), 1, "one of them makes the administrator");
    }

    fn keys_and_passwords_survive_a_restart(database: TestDatabase) {
        let settings = database.server_settings();
        let key = Server::start(settings.clone()).admin_key();
        let server = Server::start(settings);
        assert!(server.accepts(&key));
        assert_eq!(server.admin_key(), key);
    }

    fn two_nodes_share_users_and_keys(database: TestDatabase) {
        let settings = database.server_settings();
        let (one, two) = (Server::start(settings.clone()), Server::start(settings));
        let key = one.admin_key();
        assert_eq!(two.admin_key(), key);
        assert_eq!(two.delete(&format!("/api/auth?apikey={key}")).send().status, 200);
        assert!(!one.accepts(&key));
    }

    fn a_password_for_the_administrator_that_breaks_the_rules_is_said_at_the_start(database: TestDatabase) {
        let fails = |variables: &[(&str, &str)]| {
            let mut command = database.program(&[]);
            let output = run_with_input(command.envs(variables.iter().copied()), "");
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        };
        let (code, error) = fails(&[("SHOKO_AUTH_ADMIN_PASSWORD", "short")]);
        assert!(code == Some(1) && error.contains("at least 8 characters"), "{error}");
        let both = [("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD), ("SHOKO_AUTH_ADMIN_PASSWORD_FILE", "/nowhere")];
        let (code, error) = fails(&both);
        assert!(code == Some(2) && error.contains("not both"), "{error}");
        let (code, error) = fails(&both[1..]);
        assert!(code == Some(2) && error.contains("/nowhere"), "{error}");
    }

    fn a_generated_password_meets_any_least_length(database: TestDatabase) {
        let mut settings = database.server_settings();
        settings.first_admin.password = None;
        settings.core.password_min_length = 100;
        let auth = Auth::open(&settings.core).unwrap();
        assert!(auth.create_first_admin(&settings.first_admin).unwrap().is_some());
    }

    fn the_name_of_the_administrator_may_be_taken(database: TestDatabase) {
        assert!(database.run(&["user", "add", "default", "--password-stdin"], ADMIN_PASSWORD).status.success());
        let output = database.run(&["serve"], "");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && error.contains("SHOKO_AUTH_ADMIN_USER"), "{error}");
    }

    fn healthcheck_tells_whether_the_server_can_serve(app: TestApp) {
        let address = app.url.trim_start_matches("http://").to_owned();
        let ask = |address: &str| {
            let output = app.database.program(&["healthcheck"]).env("SHOKO_AUTH_LISTEN", address).output().unwrap();
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        };
        assert_eq!(ask(&address), (Some(0), String::new()));
        let port = address.rsplit(':').next().unwrap();
        assert_eq!(ask(&format!("0.0.0.0:{port}")).0, Some(0));
        let (code, error) = ask("127.0.0.1:1");
        assert!(code == Some(1) && error.starts_with("error: http://127.0.0.1:1/health/ready"), "{error}");
    }
}

#[test]
fn the_embedded_database_and_its_secret_are_made_for_the_owner_alone() {
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
            "the second start keeps it"
        );
    }
    assert_eq!(mode(&folder.path().join("new/data")), 0o700);
}

#[test]
fn of_several_processes_that_find_no_secret_all_use_the_same() {
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
    assert_eq!(files, ["secret.key"], "and no draft is left");
}

#[test]
fn postgresql_without_a_sealing_secret_is_refused_with_what_to_do() {
    let output = program(&["serve"])
        .env("DATABASE_URL", "postgres://localhost:1/none")
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && error.contains("SHOKO_AUTH_SECRET_KEY"),
        "{error}"
    );
}

#[test]
fn a_database_that_is_not_there_is_an_error_without_its_password() {
    for (url, code, hint) in [
        ("postgres://me:hunter22@127.0.0.1:1/none", 1, "127.0.0.1:1/none"),
        ("postgress://me:hunter22@127.0.0.1:1/none", 2, "DATABASE_URL"),
        ("postgres://me:hunter%22%@127.0.0.1:1/none", 2, "percent-encode"),
        ("postgres://me:1/hunter22@127.0.0.1:1/none", 2, "percent-encode"),
        ("host=127.0.0.1 password=hunter22", 2, "postgres://"),
    ] {
        let mut command = program(&["user", "list"]);
        let output = command
            .env("DATABASE_URL", url)
            .env("SHOKO_AUTH_SECRET_KEY", SECRET_KEY)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && error.contains(hint), "{error}");
        assert!(!error.contains("hunter"), "{error}");
    }
}
