//! None of this may give a 5xx, lose a key or hang. Through raw connections, because no client library sends it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::support::{ADMIN, ADMIN_PASSWORD, Backend, TestApp, on_both_databases};

/// Shorter than the server's own deadline for a request, 30 s, which would end a connection that hangs.
const MAX_SILENCE: Duration = Duration::from_secs(20);

/// Sends `bytes` on a new connection and closes that side; everything that comes back.
fn exchange(app: &TestApp, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(app.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(MAX_SILENCE)).unwrap();
    // The server may close before it has read everything.
    drop(stream.write_all(bytes));
    drop(stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => panic!("the server hangs"),
        _ => String::from_utf8_lossy(&answer).into_owned(),
    }
}

/// The status of each answer in what came back.
fn statuses(answer: &str) -> Vec<u16> {
    let lines = answer.split("HTTP/1.1 ").skip(1);
    lines.map(|line| line[..3].parse().unwrap()).collect()
}

/// An answer that blames the client, or a connection that was just closed.
#[track_caller]
fn assert_refused(answer: &str) {
    let statuses = statuses(answer);
    assert!(statuses.iter().all(|status| (400..500).contains(status)), "{answer}");
}

fn post(body: &[u8], more: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn login_body() -> String {
    json!({"user": ADMIN, "pass": ADMIN_PASSWORD, "device": "d"}).to_string()
}

on_both_databases! {
    fn json_of_every_wrong_form(app: TestApp) {
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
            json!({"user": "x".repeat(256), "pass": "x", "device": "d"}).to_string().into_bytes(),
            json!({"user": "x".repeat(10_000), "pass": "x", "device": "d"}).to_string().into_bytes(),
        ];
        for body in bodies {
            let request = app.post("/api/auth").header("Content-Type", "application/json").body(body.clone());
            let answer = request.send();
            assert_eq!(answer.status, 400, "{}: {}", String::from_utf8_lossy(&body), answer.text());
            let change = app.post("/api/auth/ChangePassword").header("apikey", &key);
            let answer = change.header("Content-Type", "application/json").body(body).send();
            assert_eq!(answer.status, 400, "{}", answer.text());
        }
        assert!(app.accepts(&key), "no key was lost");
    }

    fn a_deeply_nested_member_that_nobody_reads_does_no_harm(app: TestApp) {
        let deep = format!("{}{}", "[".repeat(7000), "]".repeat(7000));
        let body = format!(r#"{{"user":"{ADMIN}","pass":"{ADMIN_PASSWORD}","device":"d","more":{deep}}}"#);
        let request = app.post("/api/auth").header("Content-Type", "application/json").body(body);
        assert!([200, 400].contains(&request.send().status));
    }

    fn a_body_of_a_megabyte(app: TestApp) {
        let body = json!({"user": ADMIN, "pass": "x".repeat(1 << 20), "device": "d"});
        app.post("/api/auth").json(&body).send().problem(413);
        let huge = json!({"user": ADMIN, "pass": "x".repeat(20 << 20), "device": "d"}).to_string();
        assert_refused(&exchange(&app, &post(huge.as_bytes(), "")));
    }

    fn an_over_long_password(app: TestApp) {
        app.log_in(ADMIN, &"x".repeat(1025), "d").problem(401);
        app.log_in(ADMIN, &"\u{1F5DD}".repeat(300), "d").problem(401);
    }

    fn headers_that_are_missing_repeated_or_nonsense(app: TestApp) {
        let key = app.admin_key();
        let body = login_body();
        assert_eq!(statuses(&exchange(&app, b"GET /health/live HTTP/1.1\r\n\r\n")).len(), 1, "no Host");
        for headers in [
            vec![("Content-Type", "application/json"), ("Content-Type", "text/plain")],
            vec![("Content-Type", "application/json"), ("Accept", "\u{e9}"), ("Accept", ";;;,,/")],
            vec![("Content-Type", "application/json"), ("traceparent", "x"), ("traceparent", "y")],
            vec![("Content-Type", "application/json"), ("apikey", "x"), ("Authorization", "Bearer")],
        ] {
            let answer = app.post("/api/auth").headers(&headers).body(body.as_str()).send();
            assert!([200, 415].contains(&answer.status), "{headers:?}: {}", answer.text());
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
        let many = format!("GET /health/live HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(5000));
        assert_refused(&exchange(&app, many.as_bytes()));
        assert!(app.accepts(&key));
    }

    fn two_different_keys_in_one_request(app: TestApp) {
        let (one, two) = (app.admin_key(), app.key(ADMIN, ADMIN_PASSWORD, "two"));
        let request = app.get(&format!("/api/auth/verify?apikey={two}")).header("apikey", &one);
        assert_eq!(request.send().header("remote-device").as_deref(), Some("web-ui"));
        assert_eq!(app.delete(&format!("/api/auth?apikey={two}")).header("apikey", &one).send().status, 200);
        assert!(app.accepts(&one) && !app.accepts(&two), "the query names what to end");
        app.delete(&format!("/api/auth?apikey={one}&apikey={two}")).send().problem(400);
        assert!(app.accepts(&one));
    }

    fn queries_in_every_encoding(app: TestApp) {
        let key = app.admin_key();
        let hex = key.replace('-', "%2D").replace('a', "%61");
        assert_eq!(app.get(&format!("/api/auth/verify?%61pikey={hex}")).send().status, 200);
        assert_eq!(app.get(&format!("/api/auth/verify?apikey=+{key}+")).send().status, 200, "+ is a blank");
        for query in ["apikey=%", "apikey=%zz", "apikey=%ff%fe", "apikey", "=&&=&", "%00=%00", "apikey=%00"] {
            app.get(&format!("/api/auth/verify?{query}")).send().problem(401);
            assert!([200, 400].contains(&app.delete(&format!("/api/auth?{query}")).send().status), "{query}");
            let change = app.post(&format!("/api/auth/ChangePassword?userID={query}")).header("apikey", &key);
            change.json(&json!("Oboe-n-harbour")).send().problem(400);
        }
        assert!(app.accepts(&key));
    }

    fn methods_that_are_none(app: TestApp) {
        for method in ["HEAD", "OPTIONS", "BREW", "get", "TRACE", "CONNECT"] {
            let raw = format!("{method} /api/auth HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            assert_refused(&exchange(&app, raw.as_bytes()));
        }
    }

    fn pipelined_requests_are_answered_in_order(app: TestApp) {
        let body = login_body();
        let login = post(body.as_bytes(), "");
        let live = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n".as_slice();
        let last = b"GET /api/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".as_slice();
        let answer = exchange(&app, &[live, &login, live, &login, last].concat());
        assert_eq!(statuses(&answer), [200, 200, 200, 200, 404], "{answer}");
    }

    fn a_body_that_is_shorter_than_announced(app: TestApp) {
        let mut request = post(login_body().as_bytes(), "");
        request.truncate(request.len() - 5);
        assert_refused(&exchange(&app, &request));
        assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, "d").status, 200);
    }

    fn chunked_bodies_work_when_they_are_sound(app: TestApp) {
        let head = "POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                    Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        let body = login_body();
        let (one, two) = body.split_at(20);
        let chunks = format!("{:x}\r\n{one}\r\n{:x};extension=1\r\n{two}\r\n0\r\n\r\n", one.len(), two.len());
        assert_eq!(statuses(&exchange(&app, format!("{head}{chunks}").as_bytes())), [200]);
        for chunks in ["zz\r\nx\r\n0\r\n\r\n", "ffffffffffffffffff\r\nx", "5\r\nab", "-1\r\n\r\n"] {
            assert_refused(&exchange(&app, format!("{head}{chunks}").as_bytes()));
        }
        let long = head.to_owned() + &format!("400\r\n{}\r\n", "x".repeat(0x400)).repeat(100) + "0\r\n\r\n";
        assert_eq!(statuses(&exchange(&app, long.as_bytes())), [413]);
    }

    fn smuggling_is_refused(app: TestApp) {
        let both = "POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\
                    Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_refused(&exchange(&app, both.as_bytes()));
        let twice = "POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde";
        assert_refused(&exchange(&app, twice.as_bytes()));
    }

    fn lines_that_are_too_long_or_none(app: TestApp) {
        let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000));
        let query = format!("GET /api/auth/verify?apikey={} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000));
        for raw in [long.as_bytes(), query.as_bytes(), b"\r\n\r\n\r\n", b"\0\0\0\0", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00"] {
            assert_refused(&exchange(&app, raw));
        }
        assert_eq!(app.get("/health/ready").send().status, 200);
    }
}
