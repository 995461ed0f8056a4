//! Support for the tests in this folder: servers on databases of their own, and commands that run the program.

use std::future::pending;
use std::net::TcpListener;
use std::process::{Command, Output};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::rt::System;
use shoko_auth::auth::Auth;
use shoko_auth::clock::Clock;
use shoko_auth::model::{NewName, SecretText};
use shoko_auth::server;
use shoko_auth::settings::{
    CoreSettings, CorsOrigins, Dialects, FirstAdmin, GatewayDomains, KeyLimits, LINK_LIFETIME, MAX_WAIT,
    RESPONSE_DEADLINE, SessionLimits, Settings, SynchronousReplication,
};
use test_support::database::SEALING_SECRET;
use test_support::process::{command, run_with_input};
use test_support::{Backend, Client, TestDatabase, wait};

pub const ADMIN: &str = "Default";
pub const ADMIN_PASSWORD: &str = "Tr0mbone-lake";
pub const DEVICE: &str = "web-ui";

/// The path of the program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_shoko-auth");

/// Returns a command that runs the program with default settings.
pub fn program(arguments: &[&str]) -> Command {
    command(PROGRAM, arguments)
}

/// Servers and programs that use a test database.
pub trait UseDatabase {
    /// Returns the settings of a server on this database that listens on a free port. Its requests wait much longer
    /// for their turn than those of the program, so a busy machine does not cause a 503.
    fn server_settings(&self) -> Settings;

    /// Returns a command that runs the program on this database. `serve` listens on a free port.
    fn program(&self, arguments: &[&str]) -> Command;

    /// Returns a command that runs another program, such as a shell. The environment contains the settings of
    /// [`Self::program`], in case the other program starts `shoko-auth`.
    fn command(&self, program: &str, arguments: &[&str]) -> Command;

    /// Runs the program with `input` on its standard input, and waits until it exits.
    fn run(&self, arguments: &[&str], input: &str) -> Output {
        run_with_input(&mut self.program(arguments), input)
    }
}

impl UseDatabase for TestDatabase {
    fn server_settings(&self) -> Settings {
        Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            base_path: "/".parse().unwrap(),
            cors_origins: CorsOrigins::None,
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            v1_login: false,
            swagger_ui: true,
            web_ui: None,
            public_url: None,
            gateway_domains: GatewayDomains::default(),
            dialects: Dialects {
                shoko: true,
                zulip: None,
                zettelstore: None,
            },
            metrics_listen: None,
            shutdown_grace: Duration::ZERO,
            response_deadline: RESPONSE_DEADLINE,
            synchronous_replication: SynchronousReplication::Warn,
            core: CoreSettings {
                clock: Clock::system(),
                database: self.url().parse().unwrap(),
                data_dir: self.folder.path().to_owned(),
                secret_key: Some(SecretText::new(SEALING_SECRET.to_owned())),
                secret_key_file: None,
                pbkdf2_rounds: 1000,
                password_min_length: 8,
                login_throttle: false,
                key_limits: KeyLimits {
                    max_per_user: 1000,
                    max_lifetime: Duration::from_secs(366 * 24 * 60 * 60),
                },
                sessions: SessionLimits::default(),
                link_lifetime: LINK_LIFETIME,
                max_wait: wait::MAX_WAIT,
                allows_network_file_system: false,
                has_metrics: false,
            },
            first_admin: FirstAdmin {
                name: NewName::parse(ADMIN).unwrap(),
                password: Some(SecretText::new(ADMIN_PASSWORD.to_owned())),
            },
        }
    }

    fn program(&self, arguments: &[&str]) -> Command {
        self.command(PROGRAM, arguments)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = command(program, arguments);
        command
            .env("DATABASE_URL", self.url())
            .env("SHOKO_AUTH_DATA_DIR", self.folder.path())
            .env("SHOKO_AUTH_SECRET_KEY", SEALING_SECRET)
            .env("SHOKO_AUTH_LISTEN", "127.0.0.1:0")
            .env("SHOKO_AUTH_PBKDF2_ROUNDS", "1000");
        command
    }
}

/// A server in the process of the test. Dropping this value stops the server.
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
    /// Creates the administrator if there is none, and starts the server.
    pub fn start(settings: Settings) -> Self {
        let auth = Arc::new(Auth::open(&settings.core).expect("the service can be opened"));
        auth.create_first_admin(&settings.first_admin)
            .expect("the administrator can be created");
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            System::new().block_on(async {
                let listener = TcpListener::bind(settings.listen).expect("a free port");
                let address = listener.local_addr().expect("the listener has an address");
                let server = server::run(&settings, listener, auth, pending()).expect("the server starts");
                sender.send((server.handle(), address)).expect("the test waits");
                server.await.expect("the server stops without an error");
            });
        });
        let (handle, address) = receiver.recv().expect("the server starts");
        Self {
            client: Client {
                url: format!("http://{address}"),
            },
            handle,
            thread: Some(thread),
        }
    }

    /// Logs the administrator in and returns the API key of [`DEVICE`].
    pub fn admin_key(&self) -> String {
        self.key(ADMIN, ADMIN_PASSWORD, DEVICE)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            let stopped = thread.join();
            assert!(stopped.is_ok() || std::thread::panicking(), "the server panicked");
        }
    }
}

/// Limits the waits of requests as in the program. For tests that need a 503 soon: they take the database offline or
/// fill the queue.
pub fn limit_waits(settings: &mut Settings) {
    settings.core.max_wait = MAX_WAIT;
}

/// A server on a new database with the administrator [`ADMIN`].
pub struct TestApp {
    pub server: Server,
    pub database: TestDatabase,
}

impl TestApp {
    pub fn on(backend: Backend) -> Self {
        Self::with(backend, |_| ())
    }

    /// Starts a server. `change` adjusts its settings first.
    pub fn with(backend: Backend, change: impl FnOnce(&mut Settings)) -> Self {
        let database = TestDatabase::create(backend);
        let mut settings = database.server_settings();
        change(&mut settings);
        Self {
            server: Server::start(settings),
            database,
        }
    }

    /// Creates a user on the command line while the server runs. A password of one character is long enough.
    pub fn add_user(&self, name: &str, password: &str) {
        let created = self.database.run(
            &["user", "add", name, "--password-stdin", "--password-min-length", "1"],
            password,
        );
        assert!(created.status.success(), "{created:?}");
    }
}

impl std::ops::Deref for TestApp {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// The administrator's password in the recordings of Shoko.
pub const RECORDED_PASSWORD: &str = "correct horse battery";

/// Starts a server whose administrator has the password [`RECORDED_PASSWORD`].
pub fn app_with_recorded_password(backend: Backend) -> TestApp {
    TestApp::with(backend, |settings| {
        settings.first_admin.password = Some(SecretText::new(RECORDED_PASSWORD.to_owned()));
    })
}
