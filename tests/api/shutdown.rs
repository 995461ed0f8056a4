use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use test_support::process::ServerProcess;
use test_support::wait::{MAX_WAIT, wait_until};
use test_support::{Backend, Client, TestDatabase, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, DEVICE, PROGRAM, TestApp, UseDatabase};

fn start_server(database: &TestDatabase, grace: &str) -> ServerProcess {
    let mut command = database.program(&["serve"]);
    command
        .env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD)
        .env("SHOKO_AUTH_SHUTDOWN_GRACE", grace);
    ServerProcess::start(command)
}

/// Opens a connection and sends `text`.
fn connect(server: &Client, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(MAX_WAIT)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

fn response(mut stream: TcpStream) -> String {
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

fn login_head(length: usize) -> String {
    format!("POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n")
}

/// Reads one response from a connection that stays open. Returns an empty text if the connection is closed before
/// the response begins.
fn read_answer(stream: &mut TcpStream) -> String {
    let mut response = Vec::new();
    let mut byte = [0];
    loop {
        let text = String::from_utf8_lossy(&response);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.expect("a length").parse::<usize>().unwrap() {
                return text.into_owned();
            }
        }
        match stream.read(&mut byte) {
            Ok(1) => response.push(byte[0]),
            _ if response.is_empty() => return String::new(),
            end => panic!(
                "the response breaks off with {end:?} after {}",
                String::from_utf8_lossy(&response)
            ),
        }
    }
}

/// Sends requests one after the other, and counts the responses in `answered`. If `connection` is `keep-alive`, uses
/// one connection as long as it stays open. Otherwise, uses a new connection for each request. Every request that
/// begins before `stopped` must get a response.
fn client(address: &str, connection: &str, answered: &AtomicU32, stopped: &Mutex<Option<Instant>>) {
    let request = format!("GET /api/v3/User/Current HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n");
    let mut open = None;
    loop {
        let begun = Instant::now();
        let Ok(mut stream) = open.take().map_or_else(|| TcpStream::connect(address), Ok) else {
            return;
        };
        let sent = stream.write_all(request.as_bytes());
        let response = if sent.is_ok() {
            read_answer(&mut stream)
        } else {
            String::new()
        };
        if response.is_empty() {
            let stopped = *stopped.lock().unwrap();
            assert!(
                stopped.is_some_and(|stopped| begun > stopped),
                "an accepted request got no response"
            );
            return;
        }
        assert!(response.starts_with("HTTP/1.1 401"), "{response}");
        answered.fetch_add(1, Ordering::Relaxed);
        if connection == "keep-alive" && !response.contains("connection: close") {
            open = Some(stream);
        }
    }
}

#[apply(both_databases!)]
fn a_signal_stops_the_server_after_running_requests(backend: Backend) {
    let database = TestDatabase::create(backend);
    for signal in ["TERM", "INT"] {
        let mut server = start_server(&database, "0s");
        let body = format!(r#"{{"user":"{ADMIN}","pass":"{ADMIN_PASSWORD}","device":"d"}}"#);
        let head = login_head(body.len()).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
        let mut begun = connect(&server, &head);
        let mut continues = [0; 25];
        begun.read_exact(&mut continues).unwrap();
        assert!(continues.starts_with(b"HTTP/1.1 100"), "the handler waits for the body");
        server.signal(signal);
        let address = server.address().to_owned();
        wait_until("new connections are refused", || TcpStream::connect(&address).is_err());
        begun.write_all(body.as_bytes()).unwrap();
        let response = response(begun);
        assert!(
            response.contains("HTTP/1.1 200") && response.contains("apikey"),
            "{response}"
        );
        let (status, log) = server.wait_until_exit();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("stopping") && log.contains("stopped"), "{log}");
    }
}

#[apply(both_databases!)]
fn during_the_shutdown_grace_the_server_is_not_ready_but_serves(backend: Backend) {
    let database = TestDatabase::create(backend);
    // The shutdown grace is longer than the test, so the server still runs at the end of the test and is killed.
    let server = start_server(&database, "5m");
    let ready = || server.get("/health/ready").send();
    assert_eq!(ready().status, 200);
    server.signal("TERM");
    wait_until("the server is not ready", || ready().status == 503);
    assert_eq!(ready().problem(503)["detail"], "The server is stopping.");
    assert_eq!(server.get("/health/live").send().status, 200);
    let login = server.log_in(ADMIN, ADMIN_PASSWORD, "d");
    assert_eq!(
        (login.status, login.header("connection").as_deref()),
        (200, Some("close"))
    );
}

#[apply(both_databases!)]
fn after_the_shutdown_grace_the_server_exits_successfully(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut server = start_server(&database, "1s");
    let start = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait_until_exit().0.code(), Some(0));
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
}

#[apply(both_databases!)]
fn a_stop_under_load_loses_no_accepted_request(backend: Backend) {
    let database = TestDatabase::create(backend);
    let (answered, stopped) = (AtomicU32::new(0), Mutex::new(None));
    thread::scope(|scope| {
        // If the test fails, the server is dropped before the scope waits for the clients, so that they stop.
        let mut server = start_server(&database, "0s");
        for connection in ["close", "keep-alive", "close", "keep-alive"] {
            let address = server.address().to_owned();
            let (answered, stopped) = (&answered, &stopped);
            scope.spawn(move || client(&address, connection, answered, stopped));
        }
        wait_until("the clients send requests", || answered.load(Ordering::Relaxed) > 20);
        *stopped.lock().unwrap() = Some(Instant::now());
        server.signal("TERM");
        let (status, log) = server.wait_until_exit();
        assert_eq!(status.code(), Some(0), "{log}");
    });
}

#[apply(both_databases!)]
fn a_client_can_finish_its_body_after_an_early_response(backend: Backend) {
    let app = TestApp::on(backend);
    let head = login_head(1000).replace("/api/auth ", "/api/auth/ChangePassword ");
    let mut stream = connect(&app, &head);
    assert!(read_answer(&mut stream).starts_with("HTTP/1.1 401"));
    stream.write_all(&[b'x'; 1000]).expect("no reset");
    stream.shutdown(Shutdown::Write).expect("no reset");
    assert_eq!(stream.read(&mut [0]).expect("no reset"), 0);
}

/// Returns the soft and the hard limit of a process in the row `name`.
fn limits(server: &ServerProcess, name: &str) -> Vec<String> {
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.process_id())).unwrap();
    let row = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    row.split_whitespace().take(2).map(str::to_owned).collect()
}

#[apply(both_databases!)]
fn the_limit_of_open_files_is_raised(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut command = database.command("sh", &["-c", "ulimit -Sn 256 && exec \"$0\" serve", PROGRAM]);
    command.env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD);
    let limits = limits(&ServerProcess::start(command), "Max open files");
    assert!(limits[0] == limits[1] && limits[0] != "256", "{limits:?}");
}

#[apply(both_databases!)]
fn the_server_writes_no_core_dump(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut command = database.program(&["serve"]);
    command.env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD);
    let server = ServerProcess::start(command);
    assert_eq!(limits(&server, "Max core file size"), ["0", "0"]);
}

/// Runs only on SQLite, because this test takes half a minute and does not depend on the database.
#[test]
fn slow_clients_are_disconnected_and_do_not_block_others() {
    let app = TestApp::on(Backend::Sqlite);
    let start = Instant::now();
    let second_request = |mut stream: TcpStream| {
        assert!(read_answer(&mut stream).starts_with("HTTP/1.1 200"));
        stream
    };
    let live = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut slow: Vec<TcpStream> = (0..60).map(|_| connect(&app, "G")).collect();
    slow.extend((0..60).map(|_| second_request(connect(&app, live))));
    slow.extend((0..60).map(|_| connect(&app, &login_head(1000))));
    let (bytes, mut logins) = ("GET /health/live HTTP/1.1\r\nX: ".to_owned() + &"x".repeat(100), 0);
    for byte in bytes.bytes().skip(1) {
        slow.retain_mut(|stream| {
            stream.set_nonblocking(true).unwrap();
            let open = match stream.read(&mut [0; 1024]) {
                Ok(length) => length > 0,
                Err(e) => e.kind() == ErrorKind::WouldBlock,
            };
            open && stream.write_all(&[byte]).is_ok()
        });
        if slow.is_empty() {
            break;
        }
        assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, DEVICE).status, 200);
        logins += 1;
        // A slow client sends one byte per second.
        sleep(Duration::from_secs(1));
    }
    assert!(
        slow.is_empty(),
        "{} slow connections are still open after {:?}",
        slow.len(),
        start.elapsed()
    );
    assert!(logins > 0, "the slow clients were disconnected at once");
}
