use std::io::Write;
use std::net::TcpStream;
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};

use crate::support::{ADMIN, ADMIN_PASSWORD, Backend, TestApp, on_both_databases};

/// Rounds that take a good part of a second.
const SLOW: u32 = 6_000_000;

/// Sends a login and does not wait for the answer.
fn begin_login(app: &TestApp) -> TcpStream {
    let body = r#"{"user":"nobody","pass":"wrong","device":"d"}"#;
    let mut stream = TcpStream::connect(app.url.trim_start_matches("http://")).unwrap();
    let head = "POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length:";
    stream
        .write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes())
        .unwrap();
    stream
}

on_both_databases! {
    fn logins_beyond_what_can_be_hashed_in_time_are_refused_at_once_and_the_places_of_who_left_are_free(backend: Backend) {
        let app = TestApp::with(backend, |settings| settings.core.pbkdf2_rounds = SLOW);
        let mut waiting = Vec::new();
        let refused = loop {
            waiting.push(begin_login(&app));
            sleep(Duration::from_millis(20));
            let start = Instant::now();
            let answer = app.post("/api/auth").json(&serde_json::json!({"user": "", "pass": "x", "device": "d"})).send();
            assert_eq!(answer.status, 400, "what needs no hash is done at once");
            if waiting.len() < 8 * available_parallelism().unwrap().get() {
                continue;
            }
            let answer = app.log_in(ADMIN, ADMIN_PASSWORD, "d");
            assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
            break answer;
        };
        let problem = refused.problem(503);
        assert!(problem["detail"].as_str().unwrap().contains("Too many logins at once"), "{problem}");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=2).contains(&wait), "{wait}");
        drop(waiting);
        sleep(Duration::from_millis(500));
        let start = Instant::now();
        assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, "d").status, 200);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}: whoever has left is not waited for", start.elapsed());
    }
}
