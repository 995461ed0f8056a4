//! Problems: errors in the format of RFC 9457 with ASP.NET Core's extensions (see [`MvcProblemDetails`]).
//!
//! A handler returns a [`Problem`]. The request middleware then calls [`Problem::complete`], which adds the trace id
//! and chooses the media type.

mod errors;

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::dev::ServiceResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, Accept, Header, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::body::ACCEPTED_ENCODING;
use super::middleware::InternalCause;
use crate::auth::{longest_wait, max_failures};
use crate::error::{Cause, ThrottleScope, whole_seconds};
use crate::model::TraceId;

const MEDIA_TYPE: &str = "application/problem+json; charset=utf-8";
/// The `Retry-After` of a 503 that does not set its own, in seconds.
pub const DEFAULT_RETRY_AFTER: u64 = 1;
/// The challenge for a request that presents no key, such as a failed login. Because no key was presented, the
/// challenge has no error code (RFC 6750, section 3). Its scheme is not Basic, because a Basic challenge would
/// make browsers open their own login dialog.
const CHALLENGE: &str = r#"Bearer realm="shoko-auth""#;
const INVALID_KEY_CHALLENGE: &str = r#"Bearer realm="shoko-auth", error="invalid_token""#;

/// The reason why a request failed.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    detail: Option<String>,
    errors: Errors,
    challenge: Option<&'static str>,
    /// Whether the encoding of the body is the reason.
    has_wrong_encoding: bool,
    /// The number of seconds to wait before trying again.
    retry_after: Option<u64>,
    throttled: Option<ThrottleScope>,
    cause: Option<Cause>,
}

impl Problem {
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        Self {
            status,
            detail: None,
            errors: Errors::default(),
            challenge: None,
            has_wrong_encoding: false,
            retry_after: None,
            throttled: None,
            cause: None,
        }
    }

    /// Creates a problem with an explanation for people.
    #[must_use]
    pub fn with_detail(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::new(status)
        }
    }

    /// Creates a 400 about one member of the request; `""` stands for the request as a whole.
    #[must_use]
    pub fn invalid(member: &str, text: impl Into<String>) -> Self {
        let mut errors = Errors::default();
        errors.add(member, text);
        Self::from(errors)
    }

    /// Sets the `WWW-Authenticate` of a 401.
    #[must_use]
    pub fn with_challenge(self, challenge: &'static str) -> Self {
        let challenge = Some(challenge);
        Self { challenge, ..self }
    }

    /// Returns whether the reason is that the request presents no valid key or session.
    #[must_use]
    pub fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    /// Creates a 415 about the encoding of the body.
    #[must_use]
    pub fn unsupported_encoding(detail: String) -> Self {
        Self {
            has_wrong_encoding: true,
            ..Self::with_detail(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
        }
    }

    fn unauthorized(challenge: &'static str, detail: String) -> Self {
        Self {
            challenge: Some(challenge),
            ..Self::with_detail(StatusCode::UNAUTHORIZED, detail)
        }
    }

    fn retry_later(status: StatusCode, retry_after: &Duration, detail: String) -> Self {
        Self {
            retry_after: Some(whole_seconds(retry_after)),
            ..Self::with_detail(status, detail)
        }
    }

    /// Adds the body of this problem to its response, with the trace id of the request and in a media type that the
    /// client accepts.
    #[must_use]
    pub fn complete(&self, response: ServiceResponse, trace: TraceId) -> ServiceResponse {
        let body = self.json(trace);
        let media_type = HeaderValue::from_static(media_type(response.request()));
        let (request, response) = response.into_parts();
        let mut response = response.set_body(BoxBody::new(body));
        response.headers_mut().insert(header::CONTENT_TYPE, media_type);
        ServiceResponse::new(request, response)
    }

    /// Adds the media type of this problem to the response to a request whose head is not known, and returns the body.
    #[must_use]
    pub fn write_to(&self, response: &mut HttpResponse, trace: TraceId) -> String {
        let media_type = HeaderValue::from_static(MEDIA_TYPE);
        response.headers_mut().insert(header::CONTENT_TYPE, media_type);
        self.json(trace)
    }

    fn json(&self, trace: TraceId) -> String {
        serde_json::to_string(&self.details(trace)).unwrap_or_default()
    }

    fn details(&self, trace: TraceId) -> MvcProblemDetails {
        let invalid = !self.errors.is_empty();
        MvcProblemDetails {
            errors: invalid.then(|| self.errors.clone()),
            r#type: Some(type_url(self.status).to_owned()),
            title: Some(title(self.status, invalid).to_owned()),
            status: Some(self.status.as_u16()),
            detail: self.detail.clone(),
            instance: None,
            trace_id: Some(trace.to_string()),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.status)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if let Some(challenge) = self.challenge {
            response.insert_header((header::WWW_AUTHENTICATE, challenge));
        }
        if self.has_wrong_encoding {
            response.insert_header((header::ACCEPT_ENCODING, ACCEPTED_ENCODING));
        }
        let default = (self.status == StatusCode::SERVICE_UNAVAILABLE).then_some(DEFAULT_RETRY_AFTER);
        if let Some(seconds) = self.retry_after.or(default) {
            response.insert_header((header::RETRY_AFTER, seconds));
            if let Some(scope) = self.throttled {
                let [policy, limit] = rate_limit(scope, seconds);
                response.insert_header(policy).insert_header(limit);
            }
        }
        let mut response = response.finish();
        if let Some(cause) = &self.cause {
            response.extensions_mut().insert(InternalCause(cause.clone()));
        }
        response
    }
}

impl From<Errors> for Problem {
    fn from(errors: Errors) -> Self {
        Self {
            errors,
            ..Self::new(StatusCode::BAD_REQUEST)
        }
    }
}

/// Returns the headers `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10). The limit of
/// `scope` has been reached, and logins are rejected for `seconds`. The policies are the same in every response, as the
/// draft recommends, so they include those of wide IPv6 networks even for a client with an IPv4 address.
#[must_use]
fn rate_limit(scope: ThrottleScope, seconds: u64) -> [(HeaderName, String); 2] {
    let scopes = [
        ThrottleScope::Network,
        ThrottleScope::Network56,
        ThrottleScope::Network48,
        ThrottleScope::Account,
    ];
    let policies = scopes.map(|scope| {
        let (quota, window) = (max_failures(scope), longest_wait(scope).num_seconds());
        format!(r#""{}";q={quota};w={window}"#, policy_name(scope))
    });
    let header = HeaderName::from_static;
    [
        (header("ratelimit-policy"), policies.join(", ")),
        (
            header("ratelimit"),
            format!(r#""{}";r=0;t={seconds}"#, policy_name(scope)),
        ),
    ]
}

fn policy_name(scope: ThrottleScope) -> &'static str {
    match scope {
        ThrottleScope::Network => "network",
        ThrottleScope::Network56 => "network-56",
        ThrottleScope::Network48 => "network-48",
        ThrottleScope::Account => "account",
    }
}

/// The errors of each member of a request; `""` stands for the request as a whole.
#[derive(Clone, Debug, Default)]
pub struct Errors(BTreeMap<(usize, String), Vec<String>>);

impl Errors {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a text about `member`.
    pub fn add(&mut self, member: &str, text: impl Into<String>) {
        let texts = self.0.entry((member.len(), member.to_owned())).or_default();
        texts.push(text.into());
    }
}

/// Orders members as ASP.NET Core does: by length, then by name.
impl Serialize for Errors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|((_, member), texts)| (member, texts)))
    }
}

/// The reason why a request failed (RFC 9457).
#[derive(Serialize, ToSchema)]
pub struct MvcProblemDetails {
    /// The errors of each field of the request; `""` stands for the request as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, Vec<String>>>, nullable = false)]
    errors: Option<Errors>,
    /// The section of the standard that defines the status.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    r#type: Option<String>,
    /// A short title of the status.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    title: Option<String>,
    /// The HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status: Option<u16>,
    /// An explanation of this occurrence for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
    /// Identifies this occurrence. Not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    instance: Option<String>,
    /// The id of the request in the server's log (W3C Trace Context).
    #[serde(rename = "traceId", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    trace_id: Option<String>,
}

/// Returns the title that ASP.NET Core gives the status.
pub(super) fn title(status: StatusCode, invalid: bool) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST if invalid => "One or more validation errors occurred.",
        StatusCode::INTERNAL_SERVER_ERROR => "An error occurred while processing your request.",
        status => status.canonical_reason().unwrap_or("Error"),
    }
}

/// Returns the URL of the section that defines the status.
pub(super) fn type_url(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "https://tools.ietf.org/html/rfc9110#section-15.5.1",
        401 => "https://tools.ietf.org/html/rfc9110#section-15.5.2",
        403 => "https://tools.ietf.org/html/rfc9110#section-15.5.4",
        404 => "https://tools.ietf.org/html/rfc9110#section-15.5.5",
        409 => "https://tools.ietf.org/html/rfc9110#section-15.5.10",
        405 => "https://tools.ietf.org/html/rfc9110#section-15.5.6",
        408 => "https://tools.ietf.org/html/rfc9110#section-15.5.9",
        413 => "https://tools.ietf.org/html/rfc9110#section-15.5.14",
        415 => "https://tools.ietf.org/html/rfc9110#section-15.5.16",
        429 => "https://tools.ietf.org/html/rfc6585#section-4",
        431 => "https://tools.ietf.org/html/rfc6585#section-5",
        500 => "https://tools.ietf.org/html/rfc9110#section-15.6.1",
        503 => "https://tools.ietf.org/html/rfc9110#section-15.6.4",
        _ => "about:blank",
    }
}

/// Returns `application/problem+json`, or plain JSON for clients that accept only plain JSON. Examples are SDKs
/// generated from Shoko's own OpenAPI document: for a response with status 400 or 401, they accept only plain JSON
/// without a `charset`.
fn media_type(request: &HttpRequest) -> &'static str {
    let accept = Accept::parse(request).map(|accept| accept.0).unwrap_or_default();
    let mut named = None;
    for range in accept.iter().filter(|range| range.quality > header::Quality::ZERO) {
        match range.item.essence_str() {
            "application/problem+json" | "application/*" | "*/*" => return MEDIA_TYPE,
            "application/json" => named = named.or(Some("application/json")),
            "text/json" => named = named.or(Some("text/json")),
            _ => {}
        }
    }
    named.unwrap_or(MEDIA_TYPE)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn clients_that_accept_only_plain_json_receive_plain_json() {
        let given = |accept: &str| {
            media_type(
                &TestRequest::default()
                    .insert_header(("Accept", accept))
                    .to_http_request(),
            )
        };
        for accept in [
            "application/json, text/plain, */*",
            "application/json, application/problem+json",
            "application/*, text/json",
            "text/html",
            "nonsense",
            "application/json;q=0",
            "",
        ] {
            assert_eq!(given(accept), MEDIA_TYPE, "{accept}");
        }
        assert_eq!(given("text/plain, application/json, text/json"), "application/json");
        assert_eq!(given("text/json;q=0.2, application/json"), "text/json");
        assert_eq!(given("application/json, */*;q=0"), "application/json");
    }
}
