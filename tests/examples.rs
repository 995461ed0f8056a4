//! Runs the programs in `examples/` against a server. `cargo test` builds them first; `cargo test --test examples` alone
//! does not, and needs `cargo build --examples`.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const PASSWORD: &str = "Tr0mbone-lake";

/// A program that listens on a port of its own. Dropping it ends it.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    /// Starts the program and waits for the line that names its address, on `Stdio::piped()` of either output.
    fn start(command: &mut Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the program can be started");
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("a pipe")),
            Box::new(child.stderr.take().expect("a pipe")),
        ];
        let (sender, receiver) = std::sync::mpsc::channel();
        for output in outputs {
            let sender = sender.clone();
            // Reads to the end, so that the program can always write.
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let address = line
                        .split_once("listening on ")
                        .map(|(_, url)| url.trim_end_matches('/'));
                    drop(sender.send(address.map(str::to_owned).ok_or(line)));
                }
            });
        }
        drop(sender);
        let mut log = Vec::new();
        for line in receiver {
            match line {
                Ok(url) => return Self { child, url },
                Err(line) => log.push(line),
            }
        }
        panic!("the program ended before it listened:\n{}", log.join("\n"));
    }

    fn shoko_auth(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoko-auth"));
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("SHOKO_AUTH_") {
                command.env_remove(name);
            }
        }
        command
            .env_remove("DATABASE_URL")
            .env("RUST_LOG", "info")
            .env("SHOKO_AUTH_LISTEN", "127.0.0.1:0")
            .env("SHOKO_AUTH_DATA_DIR", folder)
            .env("SHOKO_AUTH_ADMIN_PASSWORD", PASSWORD)
            .env("SHOKO_AUTH_PBKDF2_ROUNDS", "1000");
        Self::start(&mut command)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns the path of an example, which is beside the folder of this test program.
fn example(name: &str) -> PathBuf {
    let test = env::current_exe().expect("this program has a path");
    let profile = test.ancestors().nth(2).expect("it is in target/PROFILE/deps");
    let path = profile.join("examples").join(name);
    assert!(path.is_file(), "run `cargo build --examples` first");
    path
}

fn log_in(server: &Server, password: &str) -> Output {
    let mut command = Command::new(example("log_in"));
    command.args([&server.url, "Default"]).env("NO_PROXY", "*");
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("the example can be started");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(password.as_bytes()).expect("the example reads it");
    drop(stdin);
    child.wait_with_output().expect("the example ends")
}

#[test]
fn log_in_logs_in_and_revokes_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::shoko_auth(folder.path());
    let output = log_in(&server, PASSWORD);
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.starts_with("logged in\nthe key belongs to \"Default\"\nthe key is revoked: 401"),
        "{printed}"
    );
    let output = log_in(&server, "a wrong password");
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
}

#[test]
fn guard_lets_only_valid_keys_in() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::shoko_auth(folder.path());
    let mut command = Command::new(example("guard"));
    let guard = Server::start(command.args([&server.url, "127.0.0.1:0"]).env("NO_PROXY", "*"));
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    let agent: ureq::Agent = config.build().into();
    let login = format!(r#"{{"user":"Default","pass":"{PASSWORD}","device":"tv"}}"#);
    let request = agent.post(format!("{}/api/auth", server.url));
    let mut response = request.header("Content-Type", "application/json").send(login).unwrap();
    let body: serde_json::Value = serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap();
    let key = body["apikey"].as_str().unwrap();

    let get = |name: &str, value: &str| {
        let mut response = agent.get(&guard.url).header(name, value).call().unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), text)
    };
    let welcome = (200, "Hello, Default!\n".to_owned());
    assert_eq!(get("apikey", key), welcome);
    assert_eq!(get("Authorization", &format!("Bearer {key}")), welcome);
    assert_eq!(get("apikey", "unknown").0, 401);
    assert_eq!(get("Accept", "*/*").0, 401);
    drop(server);
    assert_eq!(get("apikey", key).0, 503);
}
