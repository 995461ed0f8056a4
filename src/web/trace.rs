//! The trace id that a problem and its log line carry: W3C Trace Context, level 1.

use std::fmt;

use crate::secret::key::random;
use actix_web::HttpRequest;

/// `00-<trace>-<span>-<flags>` of one request: the trace of an incoming `traceparent`, else a new one.
pub struct TraceId(String);

impl TraceId {
    /// For this request, with a span of its own.
    #[must_use]
    pub fn of(request: &HttpRequest) -> Self {
        // Nothing depends on an id: without random bytes it is zero.
        let span = u64::from_be_bytes(random().unwrap_or_default());
        let header = request
            .headers()
            .get("traceparent")
            .and_then(|value| value.to_str().ok());
        if let Some((trace, flags)) = header.and_then(parse) {
            return Self(format!("00-{trace}-{span:016x}-{flags}"));
        }
        let trace = u128::from_be_bytes(random().unwrap_or_default());
        Self(format!("00-{trace:032x}-{span:016x}-00"))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Trace and flags of a `traceparent` (Trace Context, section 3.2). A later version may have more members.
fn parse(header: &str) -> Option<(&str, &str)> {
    let mut members = header.trim().split('-');
    let (version, trace, parent, flags) = (members.next()?, members.next()?, members.next()?, members.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let zero = |text: &str| text.bytes().all(|b| b == b'0');
    let sound = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    let complete = version != "00" || members.next().is_none();
    (sound && complete && !zero(trace) && !zero(parent)).then_some((trace, flags))
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
        let id = TraceId::of(&request).to_string();
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
