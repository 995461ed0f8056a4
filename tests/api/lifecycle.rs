use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::serving::{Process, Serving};
use crate::support::{
    ADMIN, ADMIN_PASSWORD, Backend, Client, DEVICE, PROGRAM, TestApp, TestDatabase, on_both_databases,
};
use crate::wait::{MAX_WAIT, wait_until};

fn serving(database: &TestDatabase, grace: &str) -> Serving {
    let mut command = database.program(&["serve"]);
    command
        .env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD)
        .env("SHOKO_AUTH_SHUTDOWN_GRACE", grace);
    Serving::start(command)
}

const UNKNOWN_KEY: &str = "00000000-0000-4000-8000-000000000000";

/// Opens a connection and sends `text`.
fn connect(server: &Client, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(MAX_WAIT)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn login_head(length: usize) -> String {
    format!("POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n")
}

/// Reads one answer from a connection that stays open; empty when it ended before the answer began.
fn read_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut byte = [0];
    loop {
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.expect("a length").parse::<usize>().unwrap() {
                return text.into_owned();
            }
        }
        match stream.read(&mut byte) {
            Ok(1) => answer.push(byte[0]),
            _ if answer.is_empty() => return String::new(),
            end => panic!("{end:?} in the middle of {}", String::from_utf8_lossy(&answer)),
        }
    }
}

/// Sends requests one after the other, on one connection as long as it stays open or on a new one each, and counts the
/// responses. Every request that begins before `stopped` must get one.
fn client(address: &str, connection: &str, answered: &AtomicU32, stopped: &Mutex<Option<Instant>>) {
    let request = format!("GET /api/v3/User/Current HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n");
    let mut open = None;
    loop {
        let begun = Instant::now();
        let Ok(mut stream) = open.take().map_or_else(|| TcpStream::connect(address), Ok) else {
            return;
        };
        let sent = stream.write_all(request.as_bytes());
        let answer = if sent.is_ok() {
            read_answer(&mut stream)
        } else {
            String::new()
        };
        if answer.is_empty() {
            let stopped = *stopped.lock().unwrap();
            assert!(
                stopped.is_some_and(|stopped| begun > stopped),
                "a request that was accepted got no answer"
            );
            return;
        }
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        answered.fetch_add(1, Ordering::Relaxed);
        if connection == "keep-alive" && !answer.contains("connection: close") {
            open = Some(stream);
        }
    }
}

on_both_databases! {
    fn told_to_stop_it_finishes_what_has_begun_and_ends_well(database: TestDatabase) {
        for signal in ["TERM", "INT"] {
            let mut serving = serving(&database, "0s");
            let body = format!(r#"{{"user":"{ADMIN}","pass":"{ADMIN_PASSWORD}","device":"d"}}"#);
            let head = login_head(body.len()).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
            let mut begun = connect(serving.server(), &head);
            let mut continues = [0; 25];
            begun.read_exact(&mut continues).unwrap();
            assert!(continues.starts_with(b"HTTP/1.1 100"), "the handler waits for the body");
            serving.signal(signal);
            let address = serving.server().url.trim_start_matches("http://").to_owned();
            wait_until("new connections are refused", || TcpStream::connect(&address).is_err());
            begun.write_all(body.as_bytes()).unwrap();
            let answer = answer(begun);
            assert!(answer.contains("HTTP/1.1 200") && answer.contains("apikey"), "{answer}");
            let (status, log) = serving.ended();
            assert_eq!(status.code(), Some(0), "{log}");
            assert!(log.contains("stopping") && log.contains("stopped"), "{log}");
        }
    }

    fn during_the_grace_time_it_is_not_ready_but_serves(database: TestDatabase) {
        // Longer than the test takes: the server is killed at the end.
        let serving = serving(&database, "5m");
        let ready = || serving.server().get("/health/ready").send();
        assert_eq!(ready().status, 200);
        serving.signal("TERM");
        wait_until("it is not ready", || ready().status == 503);
        assert_eq!(ready().problem(503)["detail"], "The server is stopping.");
        assert_eq!(serving.server().get("/health/live").send().status, 200);
        let login = serving.server().log_in(ADMIN, ADMIN_PASSWORD, "d");
        assert_eq!((login.status, login.header("connection").as_deref()), (200, Some("close")));
    }

    fn after_the_grace_time_it_ends_well(database: TestDatabase) {
        let mut serving = serving(&database, "1s");
        let start = Instant::now();
        serving.signal("TERM");
        assert_eq!(serving.ended().0.code(), Some(0));
        assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    }

    fn told_to_stop_under_load_it_answers_every_request_that_it_accepted(database: TestDatabase) {
        let (answered, stopped) = (AtomicU32::new(0), Mutex::new(None));
        thread::scope(|scope| {
            // In here, so that the clients end, too, if the test fails.
            let mut serving = serving(&database, "0s");
            for connection in ["close", "keep-alive", "close", "keep-alive"] {
                let address = serving.server().url.trim_start_matches("http://").to_owned();
                let (answered, stopped) = (&answered, &stopped);
                scope.spawn(move || client(&address, connection, answered, stopped));
            }
            wait_until("the clients are at work", || answered.load(Ordering::Relaxed) > 20);
            *stopped.lock().unwrap() = Some(Instant::now());
            serving.signal("TERM");
            let (status, log) = serving.ended();
            assert_eq!(status.code(), Some(0), "{log}");
        });
    }

    fn a_client_can_send_the_rest_of_its_body_after_an_early_answer(app: TestApp) {
        let head = login_head(1000).replace("/api/auth ", "/api/auth/ChangePassword ");
        let mut stream = connect(&app, &head);
        assert!(read_answer(&mut stream).starts_with("HTTP/1.1 401"));
        stream.write_all(&[b'x'; 1000]).expect("no reset");
        stream.shutdown(Shutdown::Write).expect("no reset");
        assert_eq!(stream.read(&mut [0]).expect("no reset"), 0);
    }

    fn the_limit_of_open_files_is_raised(database: TestDatabase) {
        let mut command = database.command("sh", &["-c", "ulimit -Sn 256 && exec \"$0\" serve", PROGRAM]);
        command.env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD);
        let serving = Serving::start(command);
        let limits = fs::read_to_string(format!("/proc/{}/limits", serving.process_id())).unwrap();
        let limits = limits.lines().find(|line| line.starts_with("Max open files")).unwrap().to_owned();
        let numbers: Vec<&str> = limits.split_whitespace().skip(3).collect();
        assert!(numbers[0] == numbers[1] && numbers[0] != "256", "{limits}");
    }
}

/// Takes half a minute, and no database plays a part in it: one is enough.
#[test]
fn slow_clients_do_not_keep_others_out_and_are_sent_away() {
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
        // The pace of a slow client.
        sleep(Duration::from_secs(1));
    }
    assert!(
        slow.is_empty(),
        "{} are still there after {:?}",
        slow.len(),
        start.elapsed()
    );
    assert!(logins > 0, "the slow clients were sent away at once");
}

/// After this time the server gives up on any request. One that needs the database must not take so long to fail.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What a server says while its database is away.
fn assert_away(server: &Client, key: &str) {
    for request in [
        server.get("/api/v3/User/Current").header("apikey", key),
        server.get("/api/auth/verify").header("apikey", key),
        server.delete(&format!("/api/auth?apikey={key}")),
        server.get("/health/ready"),
    ] {
        let start = Instant::now();
        let answer = request.send();
        let problem = answer.problem(503);
        assert_eq!(problem["title"], "Service Unavailable");
        assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
        assert!(
            !answer.text().contains("shoko_auth_test"),
            "nothing of the database's own words"
        );
        assert!(start.elapsed() < CALL_TIMEOUT, "{:?}", start.elapsed());
    }
    server.log_in(ADMIN, ADMIN_PASSWORD, DEVICE).problem(503);
    assert_eq!(server.get("/health/live").send().status, 200);
    assert_eq!(server.get("/swagger/").send().status, 200);
    server.get("/api/v3/User/Current").send().problem(401);
    server
        .post("/api/auth")
        .json(&serde_json::json!({}))
        .send()
        .problem(400);
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn while_the_database_is_away_it_says_so_and_serves_again_when_it_is_back() {
    let app = TestApp::on(Backend::Postgres);
    let key = app.admin_key();
    app.database.go_away();
    assert_away(&app, &key);
    app.database.come_back();
    wait_until("the server is ready again", || {
        app.get("/health/ready").send().status == 200
    });
    assert!(app.accepts(&key));
    assert_eq!(app.admin_key(), key);
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn connections_that_the_database_cut_are_replaced_unseen() {
    let app = TestApp::on(Backend::Postgres);
    let key = app.admin_key();
    for _ in 0..10 {
        app.database.cut_connections();
        assert!(app.accepts(&key));
        app.database.cut_connections();
        assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, "a new one").status, 200);
    }
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn each_connection_that_the_database_cuts_under_load_costs_at_most_one_request() {
    let app = TestApp::on(Backend::Postgres);
    let key = app.admin_key();
    let answered: [AtomicU32; 4] = Default::default();
    thread::scope(|scope| {
        // Dropped when all connections have been cut, or when the test fails.
        let running = Arc::new(());
        let clients: Vec<_> = (0..)
            .zip(&answered)
            .map(|(number, answered)| {
                let (app, key, running) = (&app, &key, Arc::downgrade(&running));
                scope.spawn(move || {
                    let mut unavailable = 0;
                    while running.strong_count() > 0 {
                        // Half of them read, half of them write.
                        let answer = match number % 2 {
                            0 => app.get("/api/v3/User/Current").header("apikey", key).send(),
                            _ => app.delete(&format!("/api/auth?apikey={UNKNOWN_KEY}")).send(),
                        };
                        match answer.status {
                            200 => drop(answered.fetch_add(1, Ordering::Relaxed)),
                            503 => unavailable += 1,
                            other => panic!("{other}: {}", answer.text()),
                        }
                    }
                    unavailable
                })
            })
            .collect();
        let mut closed = 0;
        for _ in 0..5 {
            let before = answered.each_ref().map(|count| count.load(Ordering::Relaxed));
            wait_until("every client goes on", || {
                let mut counts = answered.iter().zip(before);
                counts.all(|(count, before)| count.load(Ordering::Relaxed) > before + 10)
            });
            closed += app.database.cut_connections();
        }
        drop(running);
        let unavailable: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert!(unavailable <= closed, "{unavailable} for {closed} connections");
    });
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn a_start_without_the_database_waits_for_it() {
    let database = TestDatabase::create(Backend::Postgres);
    database.go_away();
    let mut command = database.program(&["serve"]);
    command.env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD);
    let process = Process::spawn(command);
    process.wait_for_log("retrying");
    assert!(!process.has_logged("listening on"));
    database.come_back();
    let serving = process.wait_until_listening();
    assert_eq!(serving.server().get("/health/ready").send().status, 200);
}
