use std::io::Write;
use std::net::TcpStream;
use std::thread::available_parallelism;

use shoko_auth::model::name_digest;
use test_support::wait::{wait_for, wait_until};
use test_support::{Backend, Response, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp, limit_waits};
use crate::throttle::throttling;

/// A number of rounds with which one hash takes about a tenth of a second, so that few logins fit into the queue.
pub const SLOW: u32 = 1_000_000;

/// Sends a login with a wrong password and does not wait for the response. A forwarding header gives `address` as the
/// client's address.
pub fn begin_login(app: &TestApp, address: &str, user: &str) -> TcpStream {
    let body = format!(r#"{{"user":"{user}","pass":"wrong","device":"d"}}"#);
    let mut stream = TcpStream::connect(app.address()).unwrap();
    let head = format!(
        "POST /api/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Forwarded-For: {address}\r\n"
    );
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// Returns whether a login was rejected because the queue had no room. On a busy machine, a login can also time out.
/// That is another kind of 503.
fn is_rejected(login: &Response) -> bool {
    login.status == 503 && login.text().contains("The server is busy")
}

#[apply(both_databases!)]
fn logins_without_room_in_the_queue_are_rejected_and_abandoned_ones_are_not_hashed(backend: Backend) {
    let app = TestApp::with(backend, |settings| {
        throttling(settings);
        limit_waits(settings);
        settings.core.pbkdf2_rounds = SLOW;
    });
    // Counts the accounts other than the administrator's whose attempts meet a condition. The throttle records an
    // attempt before its password is checked and settles it afterward, so `pending > 0` means that a login is still
    // waiting.
    let of_admin = name_digest(ADMIN)
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let of_names = match backend {
        Backend::Postgres => format!(r"length(account) = 32 AND account <> '\x{of_admin}'"),
        Backend::Sqlite => format!("length(account) = 32 AND account <> x'{of_admin}'"),
    };
    let count = |condition: &str| {
        let sql = format!("SELECT CAST(failures AS TEXT) AS text FROM login_failures WHERE {of_names} AND {condition}");
        app.database.texts(&sql).len()
    };
    let threads = available_parallelism().unwrap().get();
    let mut waiting: Vec<TcpStream> = Vec::new();
    let rejected = wait_for("a login is rejected while others wait", || {
        let next = waiting.len();
        let logins = next..next + 32 * threads;
        waiting.extend(logins.map(|n| begin_login(&app, &format!("2001:db8:{n:x}::1"), &format!("name {n}"))));
        let login = app.log_in(ADMIN, ADMIN_PASSWORD, "d");
        (is_rejected(&login) && count("pending > 0") > threads).then_some(login)
    });
    drop(waiting);
    rejected.problem(503);
    let wait: u64 = rejected.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(
        app.get("/health/ready").send().status,
        200,
        "a request that needs no hash is not rejected"
    );
    wait_until("no login waits", || count("pending > 0") == 0);
    assert!(
        count("failures = 0") > 0,
        "an attempt is cancelled if its client disconnects"
    );
    wait_until("there is room for a login", || {
        !is_rejected(&app.log_in(ADMIN, ADMIN_PASSWORD, "d"))
    });
}
