//! What every test needs: a server of its own on a database of its own, and a client that sends exactly what it is told.

use std::env;
use std::future::pending;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::rt::System;
use serde_json::{Value, json};
use shoko_auth::auth::Auth;
use shoko_auth::model::{Name, SecretText};
use shoko_auth::server;
use shoko_auth::settings::{CorsOrigins, Dialects, FirstAdmin, Settings};
use ureq::http;

pub(crate) use crate::database::on_both_databases;
pub use crate::database::{Backend, SECRET_KEY, TestDatabase};
use crate::wait::MAX_WAIT;

pub const ADMIN: &str = "Default";
pub const ADMIN_PASSWORD: &str = "Tr0mbone-lake";
pub const DEVICE: &str = "web-ui";

/// For tests that start servers themselves.
impl Backend {
    pub fn on(backend: Self) -> Self {
        backend
    }
}

/// For tests that set something up before the server starts.
impl TestDatabase {
    pub fn on(backend: Backend) -> Self {
        Self::create(backend)
    }

    /// The settings of a server on this database that listens on a free port.
    pub fn server_settings(&self) -> Settings {
        Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            base_path: "/".parse().unwrap(),
            cors_origins: CorsOrigins::None,
            trusted_proxies: Vec::new(),
            v1_login: false,
            web_ui: None,
            public_url: None,
            dialects: Dialects {
                shoko: true,
                zulip: None,
                zettelstore: None,
            },
            shutdown_grace: Duration::ZERO,
            core: self.settings(),
            first_admin: FirstAdmin {
                name: Name::parse(ADMIN).unwrap(),
                password: Some(SecretText::new(ADMIN_PASSWORD.to_owned())),
            },
        }
    }

    /// The program itself, set up for this database; port 0, so that a `serve` finds one.
    pub fn program(&self, arguments: &[&str]) -> Command {
        self.command(PROGRAM, arguments)
    }

    /// The same for another program that runs it.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = command(program, arguments);
        command
            .env("DATABASE_URL", self.url())
            .env("SHOKO_AUTH_DATA_DIR", self.folder.path())
            .env("SHOKO_AUTH_SECRET_KEY", SECRET_KEY)
            .env("SHOKO_AUTH_LISTEN", "127.0.0.1:0")
            .env("SHOKO_AUTH_PBKDF2_ROUNDS", "1000");
        command
    }

    /// Runs the program with `input`, to its end.
    pub fn run(&self, arguments: &[&str], input: &str) -> Output {
        run_with_input(&mut self.program(arguments), input)
    }
}

/// Where it is.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_shoko-auth");

/// The program itself, without any setting of whoever runs the tests.
pub fn program(arguments: &[&str]) -> Command {
    command(PROGRAM, arguments)
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("SHOKO_AUTH_") || ["DATABASE_URL", "RUST_LOG"].contains(&&*name) {
            command.env_remove(&*name);
        }
    }
    command
}

pub fn run_with_input(command: &mut Command, input: &str) -> Output {
    use std::io::Write;
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("the program");
    // A program that does not want the input may be gone already.
    drop(child.stdin.take().expect("a pipe").write_all(input.as_bytes()));
    child.wait_with_output().expect("the program's end")
}

/// A server in this process.
pub struct Server {
    client: Client,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl std::ops::Deref for Server {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Server {
    pub fn start(settings: Settings) -> Self {
        let auth = Arc::new(Auth::open(&settings.core).expect("the service"));
        auth.create_first_admin(&settings.first_admin)
            .expect("the administrator");
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            System::new().block_on(async {
                let listener = TcpListener::bind(settings.listen).expect("a free port");
                let address = listener.local_addr().expect("an address");
                let server = server::run(&settings, listener, auth, pending()).expect("a server");
                sender.send((server.handle(), address)).expect("the test waits");
                server.await.expect("the server's end");
            });
        });
        let (handle, address) = receiver.recv().expect("the server's start");
        Self {
            client: Client {
                url: format!("http://{address}"),
            },
            handle,
            thread: Some(thread),
        }
    }
}

/// Who talks to a server.
#[derive(Clone)]
pub struct Client {
    pub url: String,
}

impl Client {
    pub fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    pub fn post(&self, path: &str) -> Request {
        self.request("POST", path)
    }

    pub fn delete(&self, path: &str) -> Request {
        self.request("DELETE", path)
    }

    pub fn request(&self, method: &str, path: &str) -> Request {
        Request {
            method: method.to_owned(),
            url: format!("{}{path}", self.url),
            headers: Vec::new(),
            body: None,
        }
    }

    pub fn log_in(&self, user: &str, password: &str, device: &str) -> Answer {
        self.post("/api/auth")
            .json(&json!({"user": user, "pass": password, "device": device}))
            .send()
    }

    /// The key of a login that must succeed.
    pub fn key(&self, user: &str, password: &str, device: &str) -> String {
        let answer = self.log_in(user, password, device);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["apikey"].as_str().expect("a key").to_owned()
    }

    pub fn admin_key(&self) -> String {
        self.key(ADMIN, ADMIN_PASSWORD, DEVICE)
    }

    /// Whether the key works.
    pub fn accepts(&self, key: &str) -> bool {
        let answer = self.get("/api/v3/User/Current").header("apikey", key).send();
        assert!([200, 401].contains(&answer.status), "{}", answer.text());
        answer.status == 200
    }

    pub fn change_password(&self, key: &str, password: &str) -> Answer {
        self.post("/api/auth/ChangePassword")
            .header("apikey", key)
            .json(&json!(password))
            .send()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the server panicked");
        }
    }
}

/// A server on a new database with the administrator `Default` and, on demand, others.
pub struct TestApp {
    pub server: Server,
    pub database: TestDatabase,
}

impl TestApp {
    pub fn on(backend: Backend) -> Self {
        Self::with(backend, |_| ())
    }

    pub fn with(backend: Backend, change: impl FnOnce(&mut Settings)) -> Self {
        let database = TestDatabase::create(backend);
        let mut settings = database.server_settings();
        change(&mut settings);
        Self {
            server: Server::start(settings),
            database,
        }
    }

    /// Makes a user on the command line, while the server runs.
    pub fn add_user(&self, name: &str, password: &str) {
        let made = self.database.run(
            &["user", "add", name, "--password-stdin", "--password-min-length", "1"],
            password,
        );
        assert!(made.status.success(), "{made:?}");
    }
}

impl std::ops::Deref for TestApp {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// The administrator's password in the recordings.
pub const RECORDED_PASSWORD: &str = "correct horse battery";

/// A server whose administrator has the password of the recordings.
pub struct Recorded(TestApp);

impl Recorded {
    pub fn on(backend: Backend) -> Self {
        Self(TestApp::with(backend, |settings| {
            settings.first_admin.password = Some(SecretText::new(RECORDED_PASSWORD.to_owned()));
        }))
    }
}

impl std::ops::Deref for Recorded {
    type Target = TestApp;

    fn deref(&self) -> &TestApp {
        &self.0
    }
}

/// A request that is sent as it is told, header by header.
#[derive(Clone)]
pub struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn headers(self, headers: &[(&str, &str)]) -> Self {
        headers
            .iter()
            .fold(self, |request, (name, value)| request.header(name, value))
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// A JSON body, with its type unless one was given.
    pub fn json(mut self, value: &Value) -> Self {
        if !self
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        {
            self = self.header("Content-Type", "application/json");
        }
        self.body(value.to_string())
    }

    pub fn send(self) -> Answer {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .proxy(None)
            .accept("")
            .user_agent("")
            .timeout_global(Some(MAX_WAIT));
        let agent = ureq::Agent::new_with_config(config.build());
        let mut request = http::Request::builder().method(self.method.as_str()).uri(&self.url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let sent = match self.body {
            Some(body) => agent.run(request.body(body).expect("a request")),
            None => agent.run(request.body(()).expect("a request")),
        };
        let mut response = sent.unwrap_or_else(|e| panic!("{} {}: {e}", self.method, self.url));
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.body_mut().read_to_vec().expect("a body"),
        }
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// A header's value; several are joined by a comma.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self
            .headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// Asserts that this is a problem of `status`, and gives it back.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(
            self.header("content-type").as_deref(),
            Some("application/problem+json; charset=utf-8")
        );
        let problem = self.json();
        assert_eq!(problem["status"], json!(status));
        assert!(problem["type"].is_string() && problem["title"].is_string(), "{problem}");
        problem
    }
}
