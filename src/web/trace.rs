//! Trace ids (W3C Trace Context, level 1), which appear in problems and log lines.

use std::hash::{BuildHasher, RandomState};

use actix_web::http::header::HeaderName;
use actix_web::{HttpMessage, HttpRequest};

use crate::model::TraceId;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Returns the trace id of a request. Later calls for the same request return the same id. The trace comes from the
/// header `traceparent`, or is new if there is no valid header. The span is always new.
#[must_use]
pub fn trace_id(request: &HttpRequest) -> TraceId {
    *request.extensions_mut().get_or_insert_with(|| {
        let header = request.headers().get(TRACEPARENT);
        let given = header.and_then(|value| parse(value.to_str().ok()?));
        let new = new_trace_id();
        match given {
            Some((trace, flags)) => TraceId { trace, flags, ..new },
            None => new,
        }
    })
}

/// Returns the id of a request that belongs to no other trace.
#[must_use]
pub fn new_trace_id() -> TraceId {
    TraceId {
        trace: u128::from(random()) << 64 | u128::from(random()),
        span: random(),
        flags: 0,
    }
}

/// Returns a number that is random enough for ids, without a system call.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

/// Parses the trace and the flags of a `traceparent` header (Trace Context, section 3.2). Later versions of the
/// standard may append members, which are ignored.
fn parse(header: &str) -> Option<(u128, u8)> {
    let mut members = header.trim().split('-');
    let (version, trace, parent, flags) = (members.next()?, members.next()?, members.next()?, members.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let is_zero = |text: &str| text.bytes().all(|b| b == b'0');
    let is_valid = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    let has_no_excess = version != "00" || members.next().is_none();
    if !is_valid || !has_no_excess || is_zero(trace) || is_zero(parent) {
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
    fn an_incoming_trace_continues_with_a_new_span() {
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
    fn an_invalid_header_is_ignored() {
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
