//! Requests built from the lines of an input.

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::test::TestRequest;

/// Header names and values, in the order of the request.
pub type Headers = Vec<(HeaderName, HeaderValue)>;

/// Parses each line as a header. Skips lines that are not headers.
pub fn headers<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Headers {
    let header = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        Some((name, value))
    };
    lines.filter_map(header).collect()
}

/// Returns the builder of a request with these headers.
pub fn request(headers: &Headers) -> TestRequest {
    let add = |request: TestRequest, header: &(HeaderName, HeaderValue)| request.append_header(header.clone());
    headers.iter().fold(TestRequest::default(), add)
}
