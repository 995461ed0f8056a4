use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::sync::Arc;

use shoko_auth::auth::Auth;

use crate::support::{ADMIN_PASSWORD, Backend, Server, TestApp, TestDatabase, on_both_databases, run_with_input};

/// The program, serving; killed when dropped.
struct Serving {
    child: Child,
    /// What it printed before it listened.
    greeting: String,
    url: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().expect("the program runs");
        self.child.wait().expect("the program's end");
    }
}

fn serve(database: &TestDatabase) -> Serving {
    let mut command = database.program(&["serve"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut url = String::new();
    let mut log = String::new();
    for line in BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok)
    {
        log += &line;
        if let Some((_, rest)) = line.split_once("listening on ") {
            rest.trim_end_matches('/').clone_into(&mut url);
            break;
        }
    }
    assert!(!url.is_empty(), "{log}");
    let mut greeting = String::new();
    if log.contains("made the administrator") {
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap())
            .lines()
            .map_while(Result::ok);
        let border = |line: &String| line.starts_with("====");
        lines.by_ref().find(border).expect("a border");
        greeting = lines.take_while(|line| !border(line)).collect::<Vec<_>>().join("\n");
    }
    Serving { child, greeting, url }
}

fn status(url: &str) -> u16 {
    ureq::get(url).call().map_or(0, |answer| answer.status().as_u16())
}

on_both_databases! {
    fn the_first_start_prints_a_password_that_works_and_the_second_none(database: TestDatabase) {
        let first = serve(&database);
        let password = first.greeting.lines().find_map(|line| line.trim().strip_prefix("password  ")).unwrap();
        let password = password.split_whitespace().next().unwrap();
        assert!(first.greeting.contains("curl ") && first.greeting.contains("/swagger/"), "{}", first.greeting);
        assert!(password.len() >= 20, "{password}");
        let body = format!(r#"{{"user":"Default","pass":"{password}","device":"d"}}"#);
        assert!(first.greeting.contains(&format!(r#""pass":"{password}""#)), "the curl line works as it stands");
        let login = ureq::post(format!("{}/api/auth", first.url)).content_type("application/json").send(&body);
        assert_eq!(login.unwrap().status(), 200);
        drop(first);
        assert_eq!(serve(&database).greeting, "");
    }

    fn several_nodes_may_start_at_once(database: TestDatabase) {
        let settings = Arc::new(database.server_settings());
        let made: Vec<bool> = std::thread::scope(|scope| {
            let nodes: Vec<_> = (0..6)
                .map(|_| {
                    let settings = settings.clone();
                    scope.spawn(move || {
                        let auth = Auth::open(&settings.core).unwrap();
                        auth.first_admin(&settings.first_admin).unwrap().is_some()
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
        let output = run_with_input(database.program(&[]).env("SHOKO_AUTH_ADMIN_PASSWORD", "short"), "");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && error.contains("at least 8 characters"), "{error}");
        let file = database.folder.path().join("password");
        fs::write(&file, format!("{ADMIN_PASSWORD}\n")).unwrap();
        let output = run_with_input(
            database.program(&[]).env("SHOKO_AUTH_ADMIN_PASSWORD", "x").env("SHOKO_AUTH_ADMIN_PASSWORD_FILE", &file),
            "",
        );
        assert_eq!(output.status.code(), Some(1), "not both");
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
        assert_eq!(status(&format!("{}/health/ready", app.url)), 200);
        let (code, error) = ask("127.0.0.1:1");
        assert!(code == Some(1) && error.starts_with("error: http://127.0.0.1:1/health/ready"), "{error}");
    }
}

#[test]
fn the_embedded_database_and_its_secret_are_made_for_the_owner_alone() {
    let database = TestDatabase::create(Backend::Sqlite);
    let folder = database.folder.path().join("new/data");
    let mut command = database.program(&["user", "list"]);
    command
        .env("SHOKO_AUTH_DATA_DIR", &folder)
        .env_remove("DATABASE_URL")
        .env_remove("SHOKO_AUTH_SECRET_KEY");
    assert!(command.status().unwrap().success());
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("secret.key")), 0o600);
    assert!(folder.join("shoko-auth.db").exists());
    let secret = fs::read(folder.join("secret.key")).unwrap();
    assert!(command.status().unwrap().success());
    assert_eq!(
        fs::read(folder.join("secret.key")).unwrap(),
        secret,
        "the second start keeps it"
    );
}

#[test]
fn postgresql_without_a_sealing_secret_is_refused_with_what_to_do() {
    let database = TestDatabase::create(Backend::Sqlite);
    let mut command = database.program(&["serve"]);
    command
        .env("DATABASE_URL", "postgres://localhost:1/none")
        .env_remove("SHOKO_AUTH_SECRET_KEY");
    let output = run_with_input(&mut command, "");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && error.contains("SHOKO_AUTH_SECRET_KEY"),
        "{error}"
    );
}

#[test]
fn a_database_that_is_not_there_is_an_error_without_its_password() {
    let database = TestDatabase::create(Backend::Sqlite);
    let mut command = database.program(&["serve"]);
    command.env("DATABASE_URL", "postgres://me:hunter22@127.0.0.1:1/none");
    let output = run_with_input(&mut command, "");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && error.contains("127.0.0.1:1/none"),
        "{error}"
    );
    assert!(!error.contains("hunter22"), "{error}");
}
