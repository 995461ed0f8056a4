use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;

use percent_encoding::percent_decode_str;
use test_support::process::Process;
use test_support::{Backend, TestDatabase};

use crate::support::UseDatabase;

/// The part of the warning that does not depend on the build.
const WARNING: &str = "are not encrypted";

/// Passes TCP connections on to PostgreSQL, whose socket need not be a TCP socket, and returns the port.
fn forward_to(host: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = percent_decode_str(host).decode_utf8().unwrap().into_owned();
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            if host.starts_with('/') {
                let server = UnixStream::connect(format!("{host}/.s.PGSQL.5432")).unwrap();
                let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                copy(from, to);
                copy(client, server);
            } else {
                let server = TcpStream::connect(&host).unwrap();
                copy(server.try_clone().unwrap(), client.try_clone().unwrap());
                copy(client, server);
            }
        }
    });
    port
}

fn copy(mut from: impl io::Read + Send + 'static, mut to: impl io::Write + Send + 'static) {
    thread::spawn(move || drop(io::copy(&mut from, &mut to)));
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn the_start_warns_if_a_database_on_another_machine_is_reached_without_tls() {
    let database = TestDatabase::create(Backend::Postgres);
    let url = database.url();
    let (user, place) = url.strip_prefix("postgres://").unwrap().split_once('@').unwrap();
    let (host, name) = place.split_once('/').unwrap();
    let port = forward_to(host);
    for (host, is_exposed) in [("db.example", true), ("127.0.0.1", false)] {
        let mut command = database.program(&["serve"]);
        command
            .env("DATABASE_URL", format!("postgres://{user}@{host}:{port}/{name}"))
            // libpq connects to this address, whatever the host's name is.
            .env("PGHOSTADDR", "127.0.0.1");
        let process = Process::spawn(command);
        process.wait_for_log("listening on");
        assert_eq!(process.has_logged(WARNING), is_exposed, "{host}");
        if is_exposed {
            let shown = format!("postgres://db.example:{port}/{name}");
            assert!(process.has_logged(&shown) && process.has_logged("sslmode=verify-full"));
        }
    }
}
