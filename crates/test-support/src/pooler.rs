//! A PgBouncer in front of PostgreSQL. In transaction mode, its clients share sessions.

use std::fs::Permissions;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::wait::wait_until;

/// The value of `pool_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    Session,
    Transaction,
}

/// A running PgBouncer. Dropping this value kills it.
pub struct Pooler {
    child: Child,
    target: Target,
    pub port: u16,
}

/// How the pooler reaches PostgreSQL.
pub struct Target {
    /// A folder with PostgreSQL's socket, or a host.
    pub host: String,
    pub port: String,
    pub user: String,
    pub password: String,
}

impl Pooler {
    /// Starts a pooler in front of `target`.
    pub fn start(target: Target, mode: PoolMode) -> Self {
        let port = free_port();
        let child = spawn(&target, mode, port);
        Self { child, target, port }
    }

    /// Starts the pooler again, on the same port and in another mode.
    pub fn restart(&mut self, mode: PoolMode) {
        self.stop();
        self.child = spawn(&self.target, mode, self.port);
    }

    fn stop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns a free port for PgBouncer, which cannot choose one itself. The port is below those that the system assigns,
/// so it is not assigned to the server of another test before PgBouncer listens.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Starts PgBouncer. It has few sessions, and each transaction gets the one that has been idle for the longest time, so
/// clients rarely get the same session twice in a row.
fn spawn(target: &Target, mode: PoolMode, port: u16) -> Child {
    let (mode, size) = match mode {
        PoolMode::Session => ("session", 40),
        PoolMode::Transaction => ("transaction", 5),
    };
    let Target {
        host,
        port: server_port,
        user,
        password,
    } = target;
    // PgBouncer rejects an empty value.
    let password = match password.as_str() {
        "" => String::new(),
        password => format!(" password='{password}'"),
    };
    let settings = format!(
        "[databases]\n\
         * = host={host} port={server_port} user={user}{password}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = any\n\
         pool_mode = {mode}\n\
         default_pool_size = {size}\n\
         server_round_robin = 1\n\
         server_login_retry = 0.1\n\
         ignore_startup_parameters = options\n\
         max_client_conn = 500\n"
    );
    let mut file = tempfile::tempfile().expect("a temporary file");
    // PgBouncer opens the file again, as another user if this is root.
    file.set_permissions(Permissions::from_mode(0o644))
        .expect("the file is new");
    let is_root = file.metadata().expect("the file is open").uid() == 0;
    file.write_all(settings.as_bytes()).expect("the file is writable");
    let mut command = Command::new("pgbouncer");
    command.args(["-q", "/dev/stdin"]).stdin(file).stdout(Stdio::null());
    // PgBouncer refuses to run as root.
    if is_root {
        let socket = format!("{host}/.s.PGSQL.{server_port}");
        let owner = std::fs::metadata(socket).map_or(65534, |socket| socket.uid());
        command.uid(owner);
    }
    let child = command.stderr(Stdio::null()).spawn();
    let child = child.expect("PgBouncer is installed: run ./scripts/test, which installs it");
    wait_until("PgBouncer listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    child
}
