//! The requests of Shoko's clients, byte for byte. They come from the source of each client, or were recorded while its
//! own code ran against this server: docs/clients.md says which. The web UI has `web_ui.rs`.

/// Shoko Desktop.
mod desktop;
/// The SDK that openapi-generator 6.6 generated from the document of Shoko 4.2, in the branch `v3` of nakamori-lts.
mod generated_sdk;
/// Nakamori and nakamori-lts, for Kodi.
mod nakamori;
/// The API clients in Nakamori's repository.
mod nakamori_api;
/// Shoko Metadata for Plex: an agent and two scanners.
mod plex_metadata;
/// Shoko Relay for Plex: an agent, a scanner and scripts.
mod shoko_relay;
/// Shokofin, for Jellyfin.
mod shokofin;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::Value;
use test_support::wait::MAX_WAIT;
use test_support::{Client, Response};
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

/// A key that no user has.
const UNKNOWN_KEY: &str = "00000000-0000-4000-8000-000000000000";

/// Sends a request as these bytes, and returns the response. The lines of `head` are as on the wire, except that
/// `{host}` stands for the address of the server and `{length}` for the length of `body`.
fn replay(server: &Client, head: &str, body: &str) -> Response {
    let head = head
        .replace("{host}", server.address())
        .replace("{length}", &body.len().to_string())
        .replace('\n', "\r\n");
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(MAX_WAIT)).unwrap();
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
    read_response(&mut BufReader::new(stream))
}

fn read_response(stream: &mut impl BufRead) -> Response {
    let mut lines = std::iter::from_fn(|| {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        Some(line.trim_end().to_owned()).filter(|line| !line.is_empty())
    });
    let status = lines.next().unwrap()["HTTP/1.1 ".len()..][..3].parse().unwrap();
    let headers: HeaderMap = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect();
    let length = headers
        .get("content-length")
        .map_or("0", |length| length.to_str().unwrap());
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    Response { status, headers, body }
}

/// Returns the key in the response to a login.
#[track_caller]
fn apikey(response: &Response) -> String {
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(
        response.header("content-type").as_deref(),
        Some("application/json; charset=utf-8")
    );
    response.json()["apikey"].as_str().unwrap().to_owned()
}

/// Asserts that the response has this status and a problem as its body, of any type, and returns the problem. Clients
/// that read errors expect a JSON object, and Shoko Relay's scripts read `status` in it.
#[track_caller]
fn rejection(response: &Response, status: u16) -> Value {
    assert_eq!(response.status, status, "{}", response.text());
    let problem = response.json();
    assert_eq!(problem["status"], status, "{problem}");
    assert!(problem["title"].is_string(), "{problem}");
    problem
}
