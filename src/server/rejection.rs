//! Responses to requests that actix rejects before the application sees them.
//!
//! Actix rejects malformed requests, heads that arrive too slowly and heads that are too large. Its responses have no
//! body, no security headers and often no `Connection: close`, and it has no setting for them. Here they are recognized
//! among the sent bytes and replaced by problems.

use std::io;
use std::time::SystemTime;

use actix_web::ResponseError;
use actix_web::http::StatusCode;
use actix_web::http::header::HttpDate;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::web::problem::Problem;
use crate::web::security_headers::add_security_headers;
use crate::web::trace::new_trace_id;

/// The ends of the status lines.
const STATUSES: [(StatusCode, &[u8]); 3] = [
    (StatusCode::BAD_REQUEST, b" 400 Bad Request"),
    (StatusCode::REQUEST_TIMEOUT, b" 408 Request Timeout"),
    (
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        b" 431 Request Header Fields Too Large",
    ),
];
/// The length of the last line, which contains the date, with the end of the head. Every date has the same length.
const DATE_LENGTH: usize = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n".len();

/// Returns where the bytes that end `bytes` and look like a rejection by actix begin, and the status of the rejection.
/// The body of a response can look like one, too.
pub fn find(bytes: &[u8]) -> Option<(usize, StatusCode)> {
    let (head, date) = bytes.split_at_checked(bytes.len().checked_sub(DATE_LENGTH)?)?;
    if !date.starts_with(b"date: ") || !date.ends_with(b" GMT\r\n\r\n") {
        return None;
    }
    let connections: [&[u8]; 2] = [b"connection: close\r\n", b"connection: keep-alive\r\n"];
    let head = connections
        .iter()
        .find_map(|line| head.strip_suffix(*line))
        .unwrap_or(head);
    let head = head.strip_suffix(b"\r\ncontent-length: 0\r\n")?;
    STATUSES.into_iter().find_map(|(status, line)| {
        let head = head.strip_suffix(line)?;
        let before = head.strip_suffix(b"HTTP/1.1").or(head.strip_suffix(b"HTTP/1.0"))?;
        Some((before.len(), status))
    })
}

/// Sends the problem that replaces a rejection, and closes the connection. A client that is still sending would lose
/// the response if the connection were closed at once, so this reads until the client closes its side. The response to
/// a HEAD request has no body.
pub async fn respond<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    status: StatusCode,
    is_head: bool,
) -> io::Result<()> {
    stream.write_all(&response(status, is_head)).await?;
    stream.flush().await?;
    stream.shutdown().await?;
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

fn response(status: StatusCode, is_head: bool) -> Vec<u8> {
    let detail = match status {
        StatusCode::REQUEST_TIMEOUT => "The head of the request did not arrive in time.",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "The head of the request is too large: it may have at most 96 headers and 128 KiB."
        }
        _ => "The request is not valid HTTP/1.1.",
    };
    let problem = Problem::with_detail(status, detail);
    let trace = new_trace_id();
    log::debug!(status = status.as_u16(), trace:%; "rejected a request that is not valid HTTP");
    let mut response = problem.error_response();
    let body = problem.write_to(&mut response, trace);
    add_security_headers(&mut response);
    let reason = status.canonical_reason().unwrap_or_default();
    let date = HttpDate::from(SystemTime::now());
    let mut bytes = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-length: {}\r\nconnection: close\r\ndate: {date}\r\n",
        status.as_u16(),
        body.len()
    )
    .into_bytes();
    for (name, value) in response.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    if !is_head {
        bytes.extend_from_slice(body.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";

    #[test]
    fn a_rejection_is_found_at_the_end() {
        for line in ["", "connection: close\r\n", "connection: keep-alive\r\n"] {
            for (start, status) in [
                ("HTTP/1.1 400 Bad Request", 400),
                ("HTTP/1.0 408 Request Timeout", 408),
                ("HTTP/1.1 431 Request Header Fields Too Large", 431),
            ] {
                let rejection = format!("{start}\r\ncontent-length: 0\r\n{line}{DATE}");
                let status = StatusCode::from_u16(status).unwrap();
                assert_eq!(find(rejection.as_bytes()), Some((0, status)), "{rejection}");
                let after_body = format!("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc{rejection}");
                let expected = after_body.len() - rejection.len();
                assert_eq!(find(after_body.as_bytes()), Some((expected, status)), "{after_body}");
            }
        }
    }

    #[test]
    fn responses_of_the_application_are_no_rejections() {
        for response in [
            "",
            DATE,
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nx-content-type-options: nosniff\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 10\r\n",
            "400 Bad Request\r\ncontent-length: 0\r\n",
        ] {
            assert_eq!(find(format!("{response}{DATE}").as_bytes()), None, "{response}");
        }
        let with_body = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n{DATE}x");
        assert_eq!(find(with_body.as_bytes()), None);
    }
}
