use std::io::Write;
use std::net::TcpStream;
use std::thread::{available_parallelism, sleep};
use std::time::Duration;

use crate::support::{ADMIN, ADMIN_PASSWORD, Backend, TestApp, on_both_databases};

/// Rounds that take a good part of a second.
const SLOW: u32 = 4_000_000;

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
    fn logins_that_cannot_be_hashed_in_time_are_refused_and_places_of_who_has_left_are_free(backend: Backend) {
        let app = TestApp::with(backend, |settings| settings.core.pbkdf2_rounds = SLOW);
        // Four times what can be hashed in the longest wait.
        let waiting: Vec<TcpStream> = (0..32 * available_parallelism().unwrap().get()).map(|_| begin_login(&app)).collect();
        sleep(Duration::from_millis(200));
        let refused = app.log_in(ADMIN, ADMIN_PASSWORD, "d");
        let problem = refused.problem(503);
        assert!(problem["detail"].as_str().unwrap().contains("The server is busy"), "{problem}");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=2).contains(&wait), "{wait}");
        assert_eq!(app.get("/health/ready").send().status, 200, "what needs no hash goes on");
        drop(waiting);
        sleep(Duration::from_millis(500));
        assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, "d").status, 200);
    }
}
