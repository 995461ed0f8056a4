use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use test_support::wait::wait_for;
use test_support::{Backend, Response, apply, both_databases};

use crate::overload::{SLOW, begin_login};
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp};

const BUSY_NETWORK: &str = "192.0.2.1";
const OTHER_NETWORK: &str = "198.51.100.9";

/// A server that hashes slowly, so that logins stay in the queue.
fn slow_app(backend: Backend) -> TestApp {
    TestApp::with(backend, |settings| {
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        settings.core.pbkdf2_rounds = SLOW;
    })
}

fn log_in_from(app: &TestApp, address: &str, user: &str, password: &str) -> Response {
    let body = json!({"user": user, "pass": password, "device": "d"});
    let login = app.post("/api/auth").header("X-Forwarded-For", address);
    login.json(&body).send()
}

/// Three times, sends logins from [`BUSY_NETWORK`] until one is rejected for lack of room, and then runs `test`.
/// `name` returns the user name of each login.
fn while_logins_flood(app: &TestApp, name: impl Fn(usize) -> String, test: impl Fn()) {
    for _ in 0..3 {
        let mut waiting = Vec::new();
        wait_for("a login of the busy client is rejected", || {
            let next = waiting.len();
            waiting.extend((next..next + 64).map(|number| begin_login(app, BUSY_NETWORK, &name(number))));
            let login = begin_login(app, BUSY_NETWORK, &name(0));
            login.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let mut response = [0; 64];
            let received = (&login).read(&mut response).unwrap_or(0);
            response[..received].starts_with(b"HTTP/1.1 503").then_some(())
        });
        test();
    }
}

#[apply(both_databases!)]
fn many_logins_from_one_network_do_not_keep_other_networks_out(backend: Backend) {
    let app = slow_app(backend);
    while_logins_flood(
        &app,
        |number| format!("name {number}"),
        || {
            let login = log_in_from(&app, OTHER_NETWORK, ADMIN, ADMIN_PASSWORD);
            assert_eq!(login.status, 200, "{}", login.text());
        },
    );
}

#[apply(both_databases!)]
fn many_logins_as_one_user_do_not_keep_other_users_of_the_network_out(backend: Backend) {
    let app = slow_app(backend);
    while_logins_flood(
        &app,
        |_| "nobody".to_owned(),
        || {
            let login = log_in_from(&app, BUSY_NETWORK, ADMIN, ADMIN_PASSWORD);
            assert_eq!(login.status, 200, "{}", login.text());
        },
    );
}

#[apply(both_databases!)]
fn a_user_can_change_their_password_only_once_at_a_time(backend: Backend) {
    let app = slow_app(backend);
    let key = app.admin_key();
    let change = || {
        let body = json!({"Password": ADMIN_PASSWORD, "RevokeAPIKeys": false});
        let request = app.post("/api/v3/User/Current/ChangePassword").header("apikey", &key);
        request.json(&body).send()
    };
    wait_for("one change succeeds, and a concurrent one is rejected", || {
        let responses: Vec<Response> = thread::scope(|scope| {
            let changes: Vec<_> = (0..4).map(|_| scope.spawn(change)).collect();
            changes.into_iter().map(|change| change.join().unwrap()).collect()
        });
        let succeeded = responses.iter().filter(|response| response.status == 200).count();
        let rejected = responses.iter().find(|response| response.status == 503);
        assert!(succeeded > 0, "{responses:?}");
        rejected.map(|response| assert_eq!(response.header("retry-after").as_deref(), Some("1")))
    });
    assert_eq!(
        change().status,
        200,
        "a change that has ended does not prevent the next"
    );
}

/// Sends the head of a request that changes the caller's avatar, and a part of its large body.
fn begin_large_request(app: &TestApp, key: &str) -> TcpStream {
    let mut stream = TcpStream::connect(app.address()).unwrap();
    let head = format!(
        "PUT /api/v3/User/Current HTTP/1.1\r\nHost: x\r\napikey: {key}\r\nContent-Type: application/json\r\n\
         Content-Length: 100000\r\n\r\n{{\"Avatar\":\"data:"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// An avatar of about `kilobytes`.
fn avatar(kilobytes: usize) -> String {
    format!("data:image/png;base64,{}", "A".repeat(kilobytes * 1000 / 4 * 4))
}

fn put_avatar(app: &TestApp, key: &str, avatar: &str) -> Response {
    let request = app.request("PUT", "/api/v3/User/Current").header("apikey", key);
    request.json(&json!({"Avatar": avatar})).send()
}

#[apply(both_databases!)]
fn a_third_concurrent_large_request_of_a_user_is_rejected(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "Bassoon-hill");
    let (key, bob) = (app.admin_key(), app.key("bob", "Bassoon-hill", "d"));
    let begun: Vec<TcpStream> = (0..12).map(|_| begin_large_request(&app, &bob)).collect();
    let rejected = wait_for("a request of the same user is rejected", || {
        let response = put_avatar(&app, &bob, &avatar(1000));
        (response.status != 200).then_some(response)
    });
    rejected.problem(503);
    assert_eq!(rejected.header("retry-after").as_deref(), Some("2"));
    let patch = app.request("PATCH", "/api/v3/User/Current").header("apikey", &bob);
    patch.json(&json!([])).send().problem(503);
    assert_eq!(
        put_avatar(&app, &key, &avatar(1000)).status,
        200,
        "others are not affected"
    );
    drop(begun);
    wait_for("a large request is served", || {
        (put_avatar(&app, &bob, &avatar(1000)).status == 200).then_some(())
    });
}

#[apply(both_databases!)]
fn a_user_who_changes_passwords_does_not_block_an_administrator(backend: Backend) {
    let app = TestApp::with(backend, |settings| settings.core.pbkdf2_rounds = SLOW / 10);
    app.add_user("bob", "Bassoon-hill");
    let (key, bob) = (app.admin_key(), app.key("bob", "Bassoon-hill", "d"));
    let change = |key: &str, user: &str, password: &str| {
        let body = json!({"Password": password, "RevokeAPIKeys": false});
        let request = app
            .post(&format!("/api/v3/User/{user}/ChangePassword"))
            .header("apikey", key);
        request.json(&body).send().status
    };
    let is_done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                    change(&bob, "Current", "Bassoon-hill");
                }
            });
        }
        let statuses: Vec<u16> = (0..3).map(|_| change(&key, "2", "Clarinet-bay")).collect();
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(statuses, [200, 200, 200]);
    });
}

#[apply(both_databases!)]
fn a_large_body_with_many_values_is_rejected_before_it_is_parsed(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    let tags: Vec<u8> = vec![0; 100_000];
    for (method, body) in [
        ("PUT", json!({"RestrictedTags": tags})),
        (
            "PATCH",
            json!([{"op": "add", "path": "/RestrictedTags", "value": tags}]),
        ),
        ("PATCH", json!([{"op": "add", "path": "/Avatar", "value": {"x": tags}}])),
    ] {
        let request = app.request(method, "/api/v3/User/Current").header("apikey", &key);
        let problem = request.json(&body).send().problem(400);
        let error = problem["errors"][""][0].as_str().unwrap_or_default();
        assert!(error.contains("at most 1000 values"), "{problem}");
    }
    let names = json!({"PlexUsernames": "x".repeat(20_000)});
    let request = app.request("PUT", "/api/v3/User/Current").header("apikey", &key);
    let problem = request.json(&names).send().problem(400);
    assert!(problem["errors"]["PlexUsernames"] != Value::Null, "{problem}");
}
