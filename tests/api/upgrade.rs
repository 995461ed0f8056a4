use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;
use test_support::{Backend, apply, both_databases};

use crate::bad_input::exchange;
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp};

/// The headers with which Java's `HttpClient` and `curl --http2` request an upgrade to HTTP/2.
const H2C: &str = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                   HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\n";
const WEBSOCKET: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";

/// Returns a login with these additional header lines.
fn login(headers: &str, password: &str) -> String {
    let body = json!({"user": ADMIN, "pass": password, "device": "d"}).to_string();
    let length = body.len();
    format!(
        "POST /api/auth HTTP/1.1\r\nHost: x\r\n{headers}Content-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

/// Returns the same login with its body in chunks.
fn chunked_login(headers: &str) -> String {
    let body = json!({"user": ADMIN, "pass": ADMIN_PASSWORD, "device": "d"}).to_string();
    let (one, two) = body.split_at(10);
    format!(
        "POST /api/auth HTTP/1.1\r\nHost: x\r\n{headers}Content-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x};a=b\r\n{one}\r\n{:X}\r\n{two}\r\n0\r\n\r\n",
        one.len(),
        two.len()
    )
}

fn get(headers: &str) -> String {
    format!("GET /health/live HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
}

/// A connection on which each request is sent after the response to the one before.
struct Connection(TcpStream);

impl Connection {
    fn open(app: &TestApp) -> Self {
        let stream = TcpStream::connect(app.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Sends a request and returns the head of its response in lower case.
    fn send(&mut self, request: &str) -> String {
        self.0.write_all(request.as_bytes()).unwrap();
        self.receive()
    }

    fn receive(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).expect("the connection is open");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head
            .split("content-length: ")
            .nth(1)
            .map_or("0", |rest| rest.split("\r\n").next().unwrap());
        self.0.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
        head
    }
}

/// Asserts that a response has this status, does not mention an upgrade and does not close the connection.
#[track_caller]
fn assert_kept(head: &str, status: u16) {
    assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
    assert!(
        !head.contains("upgrade") && !head.contains("connection: close"),
        "{head}"
    );
}

#[apply(both_databases!)]
fn a_request_for_an_upgrade_is_served_without_one_and_keeps_the_connection(backend: Backend) {
    let app = TestApp::on(backend);
    let mut connection = Connection::open(&app);
    for headers in [
        H2C,
        WEBSOCKET,
        "connection: upgrade\r\n",
        "CONNECTION:Upgrade\r\nUPGRADE:WebSocket\r\n",
        "Upgrade: websocket\r\n",
        "Connection: ,\tupgrade ,,keep-alive\r\nUpgrade: TLS/1.0, h2c\r\n",
        "Connection: keep-alive\r\nConnection: upgrade\r\nUpgrade: foo\r\nUpgrade: websocket\r\n",
    ] {
        assert_kept(&connection.send(&login(headers, ADMIN_PASSWORD)), 200);
        assert_kept(&connection.send(&login(headers, "wrong")), 401);
        assert_kept(&connection.send(&chunked_login(headers)), 200);
        assert_kept(&connection.send(&get(headers)), 200);
        assert_kept(&connection.send(&get(headers).replace("/health/live", "/nothing")), 404);
        assert_kept(&connection.send(&get(headers).replace("GET", "OPTIONS")), 405);
    }
    assert_kept(&connection.send(&get("")), 200);
}

#[apply(both_databases!)]
fn a_request_for_an_upgrade_that_also_closes_the_connection_is_answered_with_close(backend: Backend) {
    let app = TestApp::on(backend);
    for headers in [
        "Connection: close, Upgrade\r\n",
        "Connection: upgrade,close\r\nUpgrade: h2c\r\n",
    ] {
        let response = exchange(&app, login(headers, ADMIN_PASSWORD).as_bytes()).to_ascii_lowercase();
        assert!(response.contains("\r\nconnection: close\r\n"), "{response}");
    }
    let old = get(H2C).replace("HTTP/1.1", "HTTP/1.0");
    let response = exchange(&app, old.as_bytes()).to_ascii_lowercase();
    assert!(
        response.contains(" 200 ok") && !response.contains("connection:"),
        "{response}"
    );
}

#[apply(both_databases!)]
fn pipelined_requests_for_an_upgrade_keep_the_connection(backend: Backend) {
    let app = TestApp::on(backend);
    let mut connection = Connection::open(&app);
    let requests = [
        login(H2C, ADMIN_PASSWORD),
        chunked_login(WEBSOCKET),
        get(H2C),
        login("", ADMIN_PASSWORD),
        chunked_login(""),
        get(WEBSOCKET),
    ];
    connection.0.write_all(requests.concat().as_bytes()).unwrap();
    for _ in &requests {
        assert_kept(&connection.receive(), 200);
    }
    assert_kept(&connection.send(&get("")), 200);
}

#[apply(both_databases!)]
fn a_request_for_an_upgrade_may_arrive_byte_by_byte(backend: Backend) {
    let app = TestApp::on(backend);
    let mut connection = Connection::open(&app);
    for request in [login(H2C, ADMIN_PASSWORD), chunked_login(WEBSOCKET)] {
        for byte in request.as_bytes() {
            connection.0.write_all(&[*byte]).unwrap();
        }
        assert_kept(&connection.receive(), 200);
    }
}

#[apply(both_databases!)]
fn text_about_upgrades_is_not_changed_outside_their_headers(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    let device = "Connection: upgrade, Upgrade: websocket";
    let upgrade = [("Connection", "Upgrade"), ("Upgrade", "h2c")];
    let login = app.post("/api/auth").headers(&upgrade);
    let login = login.json(&json!({"user": ADMIN, "pass": ADMIN_PASSWORD, "device": device}));
    assert_eq!(login.send().status, 200);
    let list = app.get("/api/auth").header("apikey", &key).headers(&upgrade).send();
    assert!(list.text().contains(device), "{}", list.text());
    // The text after the line break would be a header in a head.
    let form = format!("password={ADMIN_PASSWORD}&x=\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    let app = TestApp::with(backend, |settings| settings.v1_login = true);
    assert_eq!(
        app.post("/v1/User/Default").headers(&upgrade).form(&form).send().status,
        200
    );
}
