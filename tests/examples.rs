//! Runs the Rust programs in `examples/` against a server; `scripts/test-clients` runs the others. `cargo test` builds the
//! examples first.
//! `cargo test --test examples` does not: run `cargo build --examples` before it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use test_support::process::{Process, ServerProcess, command, run_with_input};

const PASSWORD: &str = "Tr0mbone-lake";

fn start_server(folder: &Path) -> ServerProcess {
    let mut command = command(env!("CARGO_BIN_EXE_shoko-auth"), &["serve"]);
    command
        .env("SHOKO_AUTH_LISTEN", "127.0.0.1:0")
        .env("SHOKO_AUTH_DATA_DIR", folder)
        .env("SHOKO_AUTH_ADMIN_PASSWORD", PASSWORD)
        .env("SHOKO_AUTH_PBKDF2_ROUNDS", "1000");
    ServerProcess::start(command)
}

/// Returns a command that runs an example.
fn example(name: &str) -> Command {
    let test = env::current_exe().expect("this program has a path");
    let profile = test.ancestors().nth(2).expect("the test is in target/PROFILE/deps");
    let path: PathBuf = profile.join("examples").join(name);
    assert!(path.is_file(), "run `cargo build --examples` first");
    let mut command = Command::new(path);
    command.env("NO_PROXY", "*");
    command
}

fn log_in(server: &ServerProcess, password: &str) -> Output {
    run_with_input(
        example("log_in")
            .args([&server.url, "Default"])
            .env("PASSWORD", password),
        "",
    )
}

#[test]
fn log_in_logs_in_and_revokes_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_server(folder.path());
    let output = log_in(&server, PASSWORD);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "logged in as \"Default\"\n");
    let key = server.key("Default", PASSWORD, "tv");
    let keys = server.get("/api/auth").header("apikey", &key).send().json();
    assert_eq!((keys.as_array().unwrap().len(), &keys[0]["Device"]), (1, &"tv".into()));
    let output = log_in(&server, "a wrong password");
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    let reason = String::from_utf8(output.stderr).unwrap();
    assert!(reason.contains("The user name or the password is wrong."), "{reason}");
}

#[test]
fn guard_lets_only_valid_keys_in() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_server(folder.path());
    let mut command = example("guard");
    command.args([&server.url, "127.0.0.1:0"]);
    let guard = Process::spawn(command).wait_until_printed_listening();
    let key = server.key("Default", PASSWORD, "tv");

    let get = |name: &str, value: &str| {
        let response = guard.get("/").header(name, value).send();
        (response.status, response.text())
    };
    let welcome = (200, "Hello, Default!\n".to_owned());
    assert_eq!(get("apikey", &key), welcome);
    assert_eq!(get("Authorization", &format!("Bearer {key}")), welcome);
    assert_eq!(get("apikey", "unknown").0, 401);
    assert_eq!(get("Accept", "*/*").0, 401);
    drop(server);
    assert_eq!(get("apikey", &key).0, 503);
}
