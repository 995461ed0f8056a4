//! Malformed requests. Most of them are sent over raw connections, because no client library sends them. No malformed
//! request may cause a 5xx response, revoke a key or hang.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::json;
use test_support::{Backend, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp};

/// How long a test waits for the server to send something. This is less than the server's request deadline of 30 s,
/// after which the server would close a hanging connection.
const MAX_SILENCE: Duration = Duration::from_secs(20);

/// Sends `bytes` on a new connection, closes the sending side, and returns everything that the server sends.
pub fn exchange(app: &TestApp, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(app.address()).unwrap();
    stream.set_read_timeout(Some(MAX_SILENCE)).unwrap();
    // The server may close the connection before it has read everything. That is not an error.
    drop(stream.write_all(bytes));
    drop(stream.shutdown(Shutdown::Write));
    let mut response = Vec::new();
    match stream.read_to_end(&mut response) {
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => panic!("the server hangs"),
        _ => String::from_utf8_lossy(&response).into_owned(),
    }
}

/// Returns the status of each response in `responses`.
fn statuses(responses: &str) -> Vec<u16> {
    let lines = responses.split("HTTP/1.1 ").skip(1);
    lines.map(|line| line[..3].parse().unwrap()).collect()
}

/// Asserts that every response is a 4xx. A closed connection without a response is fine, too.
#[track_caller]
fn assert_rejected(response: &str) {
    let statuses = statuses(response);
    assert!(statuses.iter().all(|status| (400..500).contains(status)), "{response}");
}

/// Returns the bytes of a login request with these additional header lines.
fn post(body: &[u8], headers: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn login_body() -> String {
    json!({"user": ADMIN, "pass": ADMIN_PASSWORD, "device": "d"}).to_string()
}

#[apply(both_databases!)]
fn malformed_json_is_400(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(1000), close.repeat(1000));
    let bodies: Vec<Vec<u8>> = vec![
        b"{".to_vec(),
        b"{\"user\":}".to_vec(),
        b"nul".to_vec(),
        b"\xff\xfe\x00".to_vec(),
        b"{\"user\":\"\xc3\x28\",\"pass\":\"x\",\"device\":\"d\"}".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        br#"{"user":{"a":1},"pass":[1],"device":{}}"#.to_vec(),
        br#"{"user":"a\u0000b","pass":"x","device":"d"}"#.to_vec(),
        br#"{"user":"\ud800","pass":"x","device":"d"}"#.to_vec(),
        deep("[", "]").into_bytes(),
        format!(r#"{{"user":{},"pass":"x","device":"d"}}"#, deep("[", "]")).into_bytes(),
        format!(r#"{{"user":{},"pass":"x","device":"d"}}"#, deep("{\"a\":", "}")).into_bytes(),
        json!({"user": "x".repeat(256), "pass": "x", "device": "d"})
            .to_string()
            .into_bytes(),
        json!({"user": "x".repeat(10_000), "pass": "x", "device": "d"})
            .to_string()
            .into_bytes(),
    ];
    for body in bodies {
        let request = app
            .post("/api/auth")
            .header("Content-Type", "application/json")
            .body(body.clone());
        let response = request.send();
        assert_eq!(
            response.status,
            400,
            "{}: {}",
            String::from_utf8_lossy(&body),
            response.text()
        );
        let change = app.post("/api/auth/ChangePassword").header("apikey", &key);
        let response = change.header("Content-Type", "application/json").body(body).send();
        assert_eq!(response.status, 400, "{}", response.text());
    }
    assert!(app.accepts(&key), "a malformed request revoked the key");
}

#[apply(both_databases!)]
fn a_deeply_nested_unknown_member_is_harmless(backend: Backend) {
    let app = TestApp::on(backend);
    let deep = format!("{}{}", "[".repeat(7000), "]".repeat(7000));
    let body = format!(r#"{{"user":"{ADMIN}","pass":"{ADMIN_PASSWORD}","device":"d","more":{deep}}}"#);
    let request = app
        .post("/api/auth")
        .header("Content-Type", "application/json")
        .body(body);
    assert!([200, 400].contains(&request.send().status));
}

#[apply(both_databases!)]
fn a_body_of_a_megabyte_is_rejected(backend: Backend) {
    let app = TestApp::on(backend);
    let body = json!({"user": ADMIN, "pass": "x".repeat(1 << 20), "device": "d"});
    app.post("/api/auth").json(&body).send().problem(413);
    let huge = json!({"user": ADMIN, "pass": "x".repeat(20 << 20), "device": "d"}).to_string();
    assert_rejected(&exchange(&app, &post(huge.as_bytes(), "")));
}

#[apply(both_databases!)]
fn overlong_passwords_are_401(backend: Backend) {
    let app = TestApp::on(backend);
    app.log_in(ADMIN, &"x".repeat(1025), "d").problem(401);
    app.log_in(ADMIN, &"\u{1F5DD}".repeat(300), "d").problem(401);
}

#[apply(both_databases!)]
fn malformed_headers_are_rejected(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    let body = login_body();
    assert_eq!(
        statuses(&exchange(&app, b"GET /health/live HTTP/1.1\r\n\r\n")).len(),
        1,
        "a request without a Host header gets one response"
    );
    for headers in [
        vec![("Content-Type", "application/json"), ("Content-Type", "text/plain")],
        vec![
            ("Content-Type", "application/json"),
            ("Accept", "\u{e9}"),
            ("Accept", ";;;,,/"),
        ],
        vec![
            ("Content-Type", "application/json"),
            ("traceparent", "x"),
            ("traceparent", "y"),
        ],
        vec![
            ("Content-Type", "application/json"),
            ("apikey", "x"),
            ("Authorization", "Bearer"),
        ],
    ] {
        let response = app.post("/api/auth").headers(&headers).body(body.as_str()).send();
        assert!(
            [200, 415].contains(&response.status),
            "{headers:?}: {}",
            response.text()
        );
    }
    for headers in [
        vec![("apikey", "no guid")],
        vec![("apikey", "no guid"), ("apikey", "")],
        vec![("Authorization", "Bearer a b c")],
        vec![("Authorization", "nonsense"), ("Authorization", "")],
        vec![("apikey", "{0x1,2}")],
    ] {
        app.get("/api/v3/User/Current").headers(&headers).send().problem(401);
    }
    let raw = b"GET /api/v3/User/Current HTTP/1.1\r\nHost: x\r\napikey: \xff\xfe\r\nConnection: close\r\n\r\n";
    assert_eq!(statuses(&exchange(&app, raw)), [401]);
    let many = format!(
        "GET /health/live HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "X: y\r\n".repeat(5000)
    );
    assert_rejected(&exchange(&app, many.as_bytes()));
    assert!(app.accepts(&key));
}

#[apply(both_databases!)]
fn of_two_keys_in_one_request_the_header_authenticates_and_the_query_is_revoked(backend: Backend) {
    let app = TestApp::on(backend);
    let (one, two) = (app.admin_key(), app.key(ADMIN, ADMIN_PASSWORD, "two"));
    let request = app
        .get(&format!("/api/auth/verify?apikey={two}"))
        .header("apikey", &one);
    assert_eq!(request.send().header("remote-device").as_deref(), Some("web-ui"));
    assert_eq!(
        app.delete(&format!("/api/auth?apikey={two}"))
            .header("apikey", &one)
            .send()
            .status,
        200
    );
    assert!(
        app.accepts(&one) && !app.accepts(&two),
        "only the key in the query is revoked"
    );
    app.delete(&format!("/api/auth?apikey={one}&apikey={two}"))
        .send()
        .problem(400);
    assert!(app.accepts(&one));
}

#[apply(both_databases!)]
fn queries_are_read_in_every_encoding(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    let hex = key.replace('-', "%2D").replace('a', "%61");
    assert_eq!(app.get(&format!("/api/auth/verify?%61pikey={hex}")).send().status, 200);
    assert_eq!(
        app.get(&format!("/api/auth/verify?apikey=+{key}+")).send().status,
        200,
        "a plus sign in a query stands for a space"
    );
    for query in [
        "apikey=%",
        "apikey=%zz",
        "apikey=%ff%fe",
        "apikey",
        "=&&=&",
        "%00=%00",
        "apikey=%00",
    ] {
        app.get(&format!("/api/auth/verify?{query}")).send().problem(401);
        assert!(
            [200, 400].contains(&app.delete(&format!("/api/auth?{query}")).send().status),
            "{query}"
        );
        let change = app
            .post(&format!("/api/auth/ChangePassword?userID={query}"))
            .header("apikey", &key);
        change.json(&json!("Oboe-n-harbour")).send().problem(400);
    }
    assert!(app.accepts(&key));
}

#[apply(both_databases!)]
fn unknown_methods_are_rejected(backend: Backend) {
    let app = TestApp::on(backend);
    for method in ["HEAD", "OPTIONS", "BREW", "get", "TRACE", "CONNECT"] {
        let raw = format!("{method} /api/auth HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_rejected(&exchange(&app, raw.as_bytes()));
    }
}

#[apply(both_databases!)]
fn pipelined_requests_are_answered_in_order(backend: Backend) {
    let app = TestApp::on(backend);
    let body = login_body();
    let login = post(body.as_bytes(), "");
    let live = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n".as_slice();
    let last = b"GET /api/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".as_slice();
    let response = exchange(&app, &[live, &login, live, &login, last].concat());
    assert_eq!(statuses(&response), [200, 200, 200, 200, 404], "{response}");
}

#[apply(both_databases!)]
fn a_body_shorter_than_its_content_length_is_rejected(backend: Backend) {
    let app = TestApp::on(backend);
    let mut request = post(login_body().as_bytes(), "");
    request.truncate(request.len() - 5);
    assert_rejected(&exchange(&app, &request));
    assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, "d").status, 200);
}

#[apply(both_databases!)]
fn chunked_bodies_are_read_and_malformed_ones_rejected(backend: Backend) {
    let app = TestApp::on(backend);
    let head = "POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    let body = login_body();
    let (one, two) = body.split_at(20);
    let chunks = format!(
        "{:x}\r\n{one}\r\n{:x};extension=1\r\n{two}\r\n0\r\n\r\n",
        one.len(),
        two.len()
    );
    assert_eq!(statuses(&exchange(&app, format!("{head}{chunks}").as_bytes())), [200]);
    for chunks in [
        "zz\r\nx\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nx",
        "5\r\nab",
        "-1\r\n\r\n",
    ] {
        assert_rejected(&exchange(&app, format!("{head}{chunks}").as_bytes()));
    }
    let long = head.to_owned() + &format!("400\r\n{}\r\n", "x".repeat(0x400)).repeat(100) + "0\r\n\r\n";
    assert_eq!(statuses(&exchange(&app, long.as_bytes())), [413]);
}

#[apply(both_databases!)]
fn request_smuggling_is_rejected(backend: Backend) {
    let app = TestApp::on(backend);
    let both = "POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\
                Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_rejected(&exchange(&app, both.as_bytes()));
    let twice = "POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde";
    assert_rejected(&exchange(&app, twice.as_bytes()));
}

#[apply(both_databases!)]
fn overlong_and_malformed_request_lines_are_rejected(backend: Backend) {
    let app = TestApp::on(backend);
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000));
    let query = format!(
        "GET /api/auth/verify?apikey={} HTTP/1.1\r\nHost: x\r\n\r\n",
        "x".repeat(100_000)
    );
    for raw in [
        long.as_bytes(),
        query.as_bytes(),
        b"\r\n\r\n\r\n",
        b"\0\0\0\0",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ] {
        assert_rejected(&exchange(&app, raw));
    }
    assert_eq!(app.get("/health/ready").send().status, 200);
}
