use serde_json::json;
use test_support::{Backend, apply, both_databases};

use crate::bad_input::exchange;
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp};

/// Returns a login that also requests an upgrade, as Java's `HttpClient` and `curl --http2` send it.
fn login(upgrade: &str, password: &str) -> String {
    let body = json!({"user": ADMIN, "pass": password, "device": "d"}).to_string();
    format!(
        "POST /api/auth HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\n\
         HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[apply(both_databases!)]
fn a_request_for_an_upgrade_is_answered_without_one_and_the_response_says_that_the_connection_closes(backend: Backend) {
    let app = TestApp::on(backend);
    for (password, status) in [(ADMIN_PASSWORD, "200"), ("wrong", "401")] {
        let response = exchange(&app, login("h2c", password).as_bytes());
        let head = response.split("\r\n\r\n").next().unwrap().to_ascii_lowercase();
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
        assert!(head.contains("\r\nconnection: close"), "{head}");
        assert!(!head.contains("upgrade"), "{head}");
    }
    for request in [
        "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n\r\n",
        "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "OPTIONS /api/auth HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        let head = exchange(&app, request.as_bytes()).to_ascii_lowercase();
        assert!(head.contains("\r\nconnection: close"), "{head}");
        assert!(!head.contains("connection: upgrade"), "{head}");
    }
}
