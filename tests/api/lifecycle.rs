use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::serving::Serving;
use crate::support::{ADMIN, ADMIN_PASSWORD, Backend, Client, DEVICE, TestApp, TestDatabase, on_both_databases};

fn serving(database: &TestDatabase, grace: &str) -> Serving {
    let mut command = database.program(&["serve"]);
    command
        .env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD)
        .env("SHOKO_AUTH_SHUTDOWN_GRACE", grace);
    Serving::start(command)
}

/// Opens a connection and sends `text`.
fn connect(server: &Client, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
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

on_both_databases! {
    fn told_to_stop_it_finishes_what_has_begun_and_ends_well(database: TestDatabase) {
        for signal in ["TERM", "INT"] {
            let mut serving = serving(&database, "0s");
            let body = format!(r#"{{"user":"{ADMIN}","pass":"{ADMIN_PASSWORD}","device":"d"}}"#);
            let mut begun = connect(serving.server(), &login_head(body.len()));
            begun.write_all(&body.as_bytes()[..10]).unwrap();
            sleep(Duration::from_millis(300));
            serving.signal(signal);
            sleep(Duration::from_millis(300));
            let address = serving.server().url.trim_start_matches("http://").to_owned();
            assert!(TcpStream::connect(address).is_err(), "no new connections");
            begun.write_all(&body.as_bytes()[10..]).unwrap();
            let answer = answer(begun);
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("apikey"), "{answer}");
            let (status, log) = serving.ended();
            assert_eq!(status.code(), Some(0), "{log}");
            assert!(log.contains("stopping") && log.contains("stopped"), "{log}");
        }
    }

    fn during_the_grace_time_it_is_not_ready_but_serves(database: TestDatabase) {
        let mut serving = serving(&database, "1500ms");
        assert_eq!(serving.server().get("/health/ready").send().status, 200);
        serving.signal("TERM");
        sleep(Duration::from_millis(300));
        let ready = serving.server().get("/health/ready").send();
        assert_eq!(ready.problem(503)["detail"], "The server is stopping.");
        assert_eq!(serving.server().get("/health/live").send().status, 200);
        let login = serving.server().log_in(ADMIN, ADMIN_PASSWORD, "d");
        assert_eq!((login.status, login.header("connection").as_deref()), (200, Some("close")));
        assert_eq!(serving.ended().0.code(), Some(0));
    }

    fn no_request_that_was_answered_fails_while_it_stops(database: TestDatabase) {
        let mut serving = serving(&database, "300ms");
        let (server, stop) = (serving.server().clone(), AtomicBool::new(false));
        let request = "GET /api/v3/User/Current HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut answered = 0;
                        let address = server.url.trim_start_matches("http://");
                        while !stop.load(Ordering::Relaxed) {
                            // Refused or reset before a byte came back: it was not accepted.
                            let Ok(mut stream) = TcpStream::connect(address) else { continue };
                            let mut answer = Vec::new();
                            if stream.write_all(request.as_bytes()).is_err() {
                                continue;
                            }
                            drop(stream.read_to_end(&mut answer));
                            if !answer.is_empty() {
                                let text = String::from_utf8(answer).unwrap();
                                assert!(text.starts_with("HTTP/1.1 401") && text.ends_with('}'), "{text}");
                                answered += 1;
                            }
                        }
                        answered
                    })
                })
                .collect();
            sleep(Duration::from_millis(300));
            serving.signal("TERM");
            let (status, log) = serving.ended();
            stop.store(true, Ordering::Relaxed);
            assert_eq!(status.code(), Some(0), "{log}");
            assert!(clients.into_iter().map(|client| client.join().unwrap()).sum::<u32>() > 20);
        });
    }

    fn slow_clients_do_not_keep_others_out_and_are_sent_away(app: TestApp) {
        let start = Instant::now();
        let mut slow: Vec<TcpStream> = (0..200).map(|_| connect(&app, "GET /health/live HT")).collect();
        assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, DEVICE).status, 200);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        for stream in &mut slow {
            let mut answer = Vec::new();
            // 408, or just the end of the connection.
            drop(stream.read_to_end(&mut answer));
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"));
        }
        let waited = start.elapsed();
        assert!(waited > Duration::from_secs(8) && waited < Duration::from_secs(15), "{waited:?}");
    }
}

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
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
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
    let back = Instant::now();
    while app.get("/health/ready").send().status != 200 {
        assert!(back.elapsed() < Duration::from_secs(2), "service again within 2 s");
        sleep(Duration::from_millis(50));
    }
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
fn cutting_connections_under_load_is_never_a_500_and_seldom_a_503() {
    let app = TestApp::on(Backend::Postgres);
    let key = app.admin_key();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|n| {
                let (app, key, stop) = (&app, &key, &stop);
                scope.spawn(move || {
                    let mut unavailable = 0;
                    while !stop.load(Ordering::Relaxed) {
                        // Half of them read, half of them write.
                        let answer = match n % 2 {
                            0 => app.get("/api/v3/User/Current").header("apikey", key).send(),
                            _ => app
                                .delete("/api/auth?apikey=00000000-0000-4000-8000-000000000000")
                                .send(),
                        };
                        match answer.status {
                            200 => (),
                            503 => unavailable += 1,
                            other => panic!("{other}: {}", answer.text()),
                        }
                    }
                    (n % 2, unavailable)
                })
            })
            .collect();
        for _ in 0..5 {
            sleep(Duration::from_millis(200));
            app.database.cut_connections();
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            let (kind, unavailable) = client.join().unwrap();
            let allowed = if kind == 0 { 0 } else { 5 };
            assert!(unavailable <= allowed, "{unavailable} of kind {kind}");
        }
    });
}
