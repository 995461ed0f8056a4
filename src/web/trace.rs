//! The trace id that a problem and its log lines carry: W3C Trace Context, level 1.

use std::hash::{BuildHasher, RandomState};

use actix_web::{HttpMessage, HttpRequest};

use crate::model::TraceId;

/// Of this request: the trace of an incoming `traceparent`, else a new one, with a span of its own.
#[must_use]
pub fn trace_id(request: &HttpRequest) -> TraceId {
    *request.extensions_mut().get_or_insert_with(|| {
        let header = request.headers().get("traceparent");
        let given = header.and_then(|value| parse(value.to_str().ok()?));
        let (trace, flags) = given.unwrap_or_else(|| (u128::from(random()) << 64 | u128::from(random()), 0));
        let span = random();
        TraceId { trace, span, flags }
    })
}

/// Random enough for an id on which nothing depends, and without asking the system at every request.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

/// Trace and flags of a `traceparent` (Trace Context, section 3.2). A later version may have more members.
fn parse(header: &str) -> Option<(u128, u8)> {
    let mut members = header.trim().split('-');
    let (version, trace, parent, flags) = (members.next()?, members.next()?, members.next()?, members.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let zero = |text: &str| text.bytes().all(|b| b == b'0');
    let sound = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    let complete = version != "00" || members.next().is_none();
    if !sound || !complete || zero(trace) || zero(parent) {
        return None;
    }
    Some((
        u128::from_str_radix(trace, 16).ok()?,
        u8::from_str_radix(flags, 16).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn the_trace_of_the_request_is_taken_over_with_a_new_span() {
        let header = format!("00-{TRACE}-b7ad6b7169203331-01");
        let request = TestRequest::default()
            .insert_header(("traceparent", header.as_str()))
            .to_http_request();
        let id = trace_id(&request).to_string();
        assert!(
            id.starts_with(&format!("00-{TRACE}-")) && id.ends_with("-01") && id != header,
            "{id}"
        );
    }

    #[test]
    fn a_header_that_is_none_is_ignored() {
        for header in [
            "",
            "nonsense",
            "00-0af7651916cd43dd8448eb211c80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(parse(header).is_none(), "{header}");
        }
    }
}
