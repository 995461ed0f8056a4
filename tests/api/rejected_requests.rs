//! Requests that are rejected before the application sees them, sent over raw connections.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use test_support::{Backend, apply, both_databases};

use crate::bad_input::exchange;
use crate::dialect_cases::speak_both;
use crate::support::TestApp;

const LIVE: &str = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";

fn app(backend: Backend) -> TestApp {
    TestApp::with(backend, speak_both)
}

/// Returns a request with more headers than are allowed.
fn with_many_headers(method: &str) -> String {
    format!("{method} / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(97))
}

/// Asserts that a response is a problem with this status, has an exact length and closes the connection.
#[track_caller]
fn assert_problem(response: &str, status: u16) {
    let (head, body) = response.split_once("\r\n\r\n").expect(response);
    let head = format!("{head}\r\n");
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
    let length = format!("content-length: {}", body.len());
    for line in [
        length.as_str(),
        "connection: close",
        "content-type: application/problem+json; charset=utf-8",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cross-origin-resource-policy: same-origin",
        "content-security-policy: default-src 'none'; frame-ancestors 'none'",
        "cache-control: no-store",
    ] {
        assert_eq!(head.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line}: {head}");
    }
    assert_eq!(head.matches("\r\ndate: ").count(), 1, "{head}");
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["status"], status);
    assert!(problem["title"].is_string() && problem["detail"].is_string(), "{body}");
    assert!(problem["traceId"].as_str().unwrap().starts_with("00-"), "{body}");
    assert!(problem["type"].as_str().unwrap().starts_with("https://"), "{body}");
}

#[apply(both_databases!)]
fn a_malformed_head_is_a_400_problem(backend: Backend) {
    let app = app(backend);
    for request in [
        "nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        "POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST /api/v1/fetch_api_key HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        assert_problem(&exchange(&app, request.as_bytes()), 400);
    }
}

#[apply(both_databases!)]
fn a_head_that_is_too_large_is_a_431_problem(backend: Backend) {
    let app = app(backend);
    assert_problem(&exchange(&app, with_many_headers("GET").as_bytes()), 431);
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(140_000));
    assert_problem(&exchange(&app, long.as_bytes()), 431);
}

#[apply(both_databases!)]
fn a_rejected_head_request_gets_no_body(backend: Backend) {
    let app = app(backend);
    let response = exchange(&app, with_many_headers("HEAD").as_bytes());
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 431 ") && !head.contains("content-length: 0"),
        "{head}"
    );
    assert_eq!(body, "");
}

#[apply(both_databases!)]
fn requests_before_a_malformed_one_get_their_responses(backend: Backend) {
    let app = app(backend);
    let head = LIVE.replace("GET", "HEAD");
    for end in ["nonsense\r\n\r\n", &with_many_headers("GET")] {
        let response = exchange(&app, format!("{LIVE}{head}{LIVE}{end}").as_bytes());
        let starts: Vec<_> = response.match_indices("HTTP/1.1 ").map(|(start, _)| start).collect();
        assert_eq!(starts.len(), 4, "{response}");
        for start in &starts[..3] {
            assert!(response[*start..].starts_with("HTTP/1.1 200 "), "{response}");
        }
        let status = if end.starts_with("GET") { 431 } else { 400 };
        assert_problem(&response[starts[3]..], status);
    }
}

#[apply(both_databases!)]
fn a_client_that_is_still_sending_receives_the_rejection(backend: Backend) {
    let app = app(backend);
    let mut stream = TcpStream::connect(app.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut sender = stream.try_clone().unwrap();
    let sending = thread::spawn(move || {
        sender.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
        let block = vec![b'x'; 64 * 1024];
        // Much more than the buffers of a connection hold.
        for _ in 0..256 {
            sender.write_all(&block).expect("the server reads on");
        }
    });
    sending.join().unwrap();
    let mut response = String::new();
    let start = Instant::now();
    stream
        .read_to_string(&mut response)
        .expect("the connection is not reset");
    assert_problem(&response, 431);
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "the server closes its side at once"
    );
}

#[apply(both_databases!)]
fn a_file_that_looks_like_a_rejection_is_sent_unchanged(backend: Backend) {
    let rejection = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\
                     date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("index.html"), "<!doctype html><title>Shoko</title>").unwrap();
    // Large files are sent in slices, and the last slice may consist of a rejection only.
    let files = [0, 1, 64 * 1024 - rejection.len(), 64 * 1024, 256 * 1024, 1024 * 1024]
        .map(|length| "x".repeat(length) + rejection);
    for (number, file) in files.iter().enumerate() {
        fs::write(folder.path().join(format!("{number}.txt")), file).unwrap();
    }
    let app = TestApp::with(backend, |settings| settings.web_ui = Some(folder.path().to_owned()));
    let mut stream = TcpStream::connect(app.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for (number, file) in files.iter().enumerate() {
        write!(stream, "GET /webui/{number}.txt HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            response.push(byte[0]);
        }
        assert!(response.starts_with(b"HTTP/1.1 200 "), "{number}");
        let mut body = vec![0; file.len()];
        stream.read_exact(&mut body).unwrap();
        assert!(body == file.as_bytes(), "{number}");
        let closing = format!("GET /webui/{number}.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(
            exchange(&app, closing.as_bytes()).ends_with(&format!("\r\n\r\n{file}")),
            "{number}"
        );
        let malformed = format!("GET /webui/{number}.txt HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n");
        let responses = exchange(&app, malformed.as_bytes());
        let (start, problem) = responses.rsplit_once("HTTP/1.1 ").unwrap();
        assert!(start.ends_with(&format!("\r\n\r\n{file}")), "{number}");
        assert_problem(&format!("HTTP/1.1 {problem}"), 400);
    }
}
