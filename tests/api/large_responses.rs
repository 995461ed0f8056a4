use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use flate2::read::GzDecoder;
use serde_json::json;
use shoko_auth::settings::Settings;
use socket2::{Domain, Socket, Type};
use test_support::wait::{wait_for, wait_until};
use test_support::{Backend, Response, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp};

const STYLES: &str = "/swagger/swagger-ui.css";
/// The largest file, with 1.5 MB.
const BUNDLE: &str = "/swagger/swagger-ui-bundle.js";

fn decompressed(response: &Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(response.body.as_slice())
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

#[apply(both_databases!)]
fn swagger_ui_and_the_document_are_compressed_for_clients_that_accept_gzip(backend: Backend) {
    let app = TestApp::on(backend);
    for path in [STYLES, "/swagger/v3/swagger.json"] {
        let get = |encodings: &str| app.get(path).header("Accept-Encoding", encodings).send();
        let plain = app.get(path).send();
        assert_eq!((plain.status, plain.header("content-encoding")), (200, None));
        assert!(plain.header("vary").unwrap().contains("Accept-Encoding"), "{plain:?}");
        for encodings in ["gzip", "br, GZIP;q=0.5"] {
            let compressed = get(encodings);
            assert_eq!(compressed.status, 200);
            assert_eq!(
                compressed.header("content-encoding").as_deref(),
                Some("gzip"),
                "{encodings}"
            );
            assert!(compressed.header("vary").unwrap().contains("Accept-Encoding"));
            assert_eq!(compressed.header("content-type"), plain.header("content-type"));
            assert!(compressed.body.len() < plain.body.len() / 2);
            assert!(decompressed(&compressed) == plain.body, "{path}");
        }
        for encodings in ["gzip;q=0", "identity", "*;q=0.5"] {
            let response = get(encodings);
            assert_eq!(response.header("content-encoding"), None, "{encodings}");
            assert!(response.body == plain.body, "{path}");
        }
    }
    let icon = app.get("/swagger/favicon-32x32.png").header("Accept-Encoding", "gzip");
    assert_eq!(icon.send().header("content-encoding"), None);
}

#[apply(both_databases!)]
fn a_large_response_is_complete(backend: Backend) {
    let app = TestApp::on(backend);
    let response = app.get(BUNDLE).send();
    assert_eq!(response.header("content-length"), Some(response.body.len().to_string()));
    assert!(response.body.len() > 1_000_000 && response.text().contains("SwaggerUIBundle"));
    let head = app.request("HEAD", BUNDLE).send();
    assert_eq!(head.header("content-length"), response.header("content-length"));
    assert!(head.body.is_empty());
}

#[apply(both_databases!)]
fn swagger_ui_can_be_switched_off_without_the_documents(backend: Backend) {
    let app = TestApp::with(backend, |settings| settings.swagger_ui = false);
    for path in ["/swagger", "/swagger/", "/swagger/index.html", STYLES, BUNDLE] {
        app.get(path).send().problem(404);
    }
    assert_eq!(app.get("/swagger/v3/swagger.json").send().status, 200);
}

/// Connects with a small receive buffer and sends a request with these header lines, but reads nothing.
fn request_without_reading(app: &TestApp, path: &str, headers: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address: std::net::SocketAddr = app.address().parse().unwrap();
    socket.connect(&address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

#[apply(both_databases!)]
fn a_client_that_does_not_read_is_aborted_at_the_response_deadline(backend: Backend) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("index.html"), "x").unwrap();
    fs::write(folder.path().join("large.js"), vec![b'x'; 1_500_000]).unwrap();
    let app = TestApp::with(backend, |settings| {
        settings.web_ui = Some(folder.path().to_owned());
        settings.response_deadline = Duration::from_millis(100);
    });
    for path in [BUNDLE, "/webui/large.js"] {
        let mut stream = request_without_reading(&app, path, "");
        let error = || stream.take_error().unwrap().map(|error| error.kind());
        let mut found = None;
        wait_until("the server aborts the connection", || {
            found = error();
            found.is_some()
        });
        assert_eq!(found, Some(ErrorKind::ConnectionReset), "{path}");
        // The client has received only a small part of the response.
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received);
        assert!(received.len() < 200_000, "{path}: {}", received.len());
    }
    assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, "d").status, 200);
}

#[apply(both_databases!)]
fn a_network_that_reads_nothing_gets_only_its_share_of_the_memory(backend: Backend) {
    let proxied = |settings: &mut Settings| settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let app = TestApp::with(backend, proxied);
    let key = app.admin_key();
    let avatar = format!("data:image/png;base64,{}", "AAAA".repeat(500_000));
    let change = app.request("PUT", "/api/v3/User/Current").header("apikey", &key);
    assert_eq!(change.json(&json!({"Avatar": avatar})).send().status, 200);
    let read = |address: &str| {
        let request = app.get("/api/v3/User/Current").header("apikey", &key);
        request.header("X-Forwarded-For", address).send()
    };
    let headers = format!("apikey: {key}\r\nX-Forwarded-For: 192.0.2.1\r\n");
    let held: Vec<_> = (0..12)
        .map(|_| request_without_reading(&app, "/api/v3/User/Current", &headers))
        .collect();
    // The memory is full once all of them have been answered.
    for stream in &held {
        stream.peek(&mut [0]).unwrap();
    }
    let rejected = read("192.0.2.1");
    rejected.problem(503);
    assert_eq!(rejected.header("retry-after").as_deref(), Some("1"));
    assert_eq!(read("192.0.2.2").status, 200, "another network has a share of its own");
    drop(held);
    wait_for("the memory is free again", || {
        (read("192.0.2.1").status == 200).then_some(())
    });
}
