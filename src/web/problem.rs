//! `MvcProblemDetails`: the one form of every error on the Shoko surface (RFC 9457, as ASP.NET Core writes it).
//!
//! A handler returns a [`Problem`]; what the request has to say about it, its trace id and the media type it
//! can read, is added at the surface by [`Problem::fill_in`].

use std::collections::BTreeMap;

use actix_web::body::BoxBody;
use actix_web::dev::ServiceResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, Accept, Header, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::auth::{ACCOUNT_FAILURES, MAX_BACKOFF, NETWORK_FAILURES, NETWORK_WINDOW};
use crate::error::{AuthError, ThrottleScope, whole_seconds};
use crate::model::TraceId;

const MEDIA_TYPE: &str = "application/problem+json; charset=utf-8";
/// How long a client may wait, in seconds, before it tries again what the database could not do.
const RETRY_AFTER: u64 = 1;

/// Why a request was not done, for the client; and for the log, when it is the server's fault.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    detail: Option<String>,
    errors: Errors,
    challenge: Option<&'static str>,
    /// In seconds.
    retry_after: Option<u64>,
    throttled: Option<ThrottleScope>,
    cause: Option<String>,
}

impl Problem {
    /// A status that speaks for itself.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        Self {
            status,
            detail: None,
            errors: Errors::default(),
            challenge: None,
            retry_after: None,
            throttled: None,
            cause: None,
        }
    }

    /// A status with a sentence for the person who reads it.
    #[must_use]
    pub fn with_detail(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::new(status)
        }
    }

    /// 400: one member of the request is not what it must be.
    #[must_use]
    pub fn invalid(member: &str, text: impl Into<String>) -> Self {
        let mut errors = Errors::default();
        errors.add(member, text);
        Self::from(errors)
    }

    /// What the log must know and the client must not.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// Gives the answer that was made from this problem, or from nothing but a status, what the request has to say:
    /// its trace id, and a type that its client can read.
    #[must_use]
    pub fn fill_in(&self, answer: ServiceResponse, trace: TraceId) -> ServiceResponse {
        let body = serde_json::to_string(&self.details(trace)).unwrap_or_default();
        let media_type = HeaderValue::from_static(media_type(answer.request()));
        let (request, response) = answer.into_parts();
        let mut response = response.set_body(BoxBody::new(body));
        response.headers_mut().insert(header::CONTENT_TYPE, media_type);
        ServiceResponse::new(request, response)
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
        let default = (self.status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER);
        if let Some(seconds) = self.retry_after.or(default) {
            response.insert_header((header::RETRY_AFTER, seconds));
            if let Some(axis) = self.throttled {
                let [policy, limit] = rate_limit(axis, seconds);
                response.insert_header(policy).insert_header(limit);
            }
        }
        response.finish()
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

/// What the core's errors are on the Shoko surface, unless a route has words of its own for one.
impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let text = error.to_string();
        let unauthorized = |challenge| Self {
            challenge: Some(challenge),
            ..Self::with_detail(StatusCode::UNAUTHORIZED, text.clone())
        };
        match error {
            // RFC 6750, section 3: no error code unless a key was presented. Never Basic: a browser would ask.
            AuthError::WrongCredentials | AuthError::KeyRequired => unauthorized(r#"Bearer realm="shoko-auth""#),
            // Nobody is told that the password is right.
            AuthError::Disabled => Self::from(AuthError::WrongCredentials),
            AuthError::InvalidKey => unauthorized(r#"Bearer realm="shoko-auth", error="invalid_token""#),
            AuthError::Forbidden | AuthError::AdminOnly(_) => Self::with_detail(StatusCode::FORBIDDEN, text),
            AuthError::UnknownUser | AuthError::UnknownKey => Self::with_detail(StatusCode::NOT_FOUND, text),
            AuthError::NameTaken
            | AuthError::LastAdmin
            | AuthError::BadPassword(_)
            | AuthError::BadExpiry
            | AuthError::SessionExpires
            | AuthError::BeyondSession => Self::invalid("", text),
            AuthError::Throttled(throttled) => Self {
                retry_after: Some(whole_seconds(&throttled.retry_after)),
                throttled: Some(throttled.scope),
                ..Self::with_detail(StatusCode::TOO_MANY_REQUESTS, text)
            },
            AuthError::Busy { retry_after } => Self {
                retry_after: Some(whole_seconds(&retry_after)),
                ..Self::with_detail(StatusCode::SERVICE_UNAVAILABLE, text)
            },
            // The client has disconnected. Only one that half-closed its connection will see this response.
            AuthError::ClientDisconnected => Self::new(StatusCode::SERVICE_UNAVAILABLE),
            // The store has logged the cause.
            AuthError::Unavailable(_) => Self::with_detail(
                StatusCode::SERVICE_UNAVAILABLE,
                "The database cannot be used now. Try again later.",
            ),
            AuthError::Internal(_) => Self {
                cause: Some(text),
                ..Self::new(StatusCode::INTERNAL_SERVER_ERROR)
            },
        }
    }
}

/// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10) of a count that is full for so many
/// seconds.
#[must_use]
pub fn rate_limit(axis: ThrottleScope, seconds: u64) -> [(HeaderName, String); 2] {
    let policies = format!(
        r#""network";q={NETWORK_FAILURES};w={}, "account";q={ACCOUNT_FAILURES};w={}"#,
        NETWORK_WINDOW.num_seconds(),
        MAX_BACKOFF.num_seconds()
    );
    let name = match axis {
        ThrottleScope::Network => "network",
        ThrottleScope::Account => "account",
    };
    let header = HeaderName::from_static;
    [
        (header("ratelimit-policy"), policies),
        (header("ratelimit"), format!(r#""{name}";r=0;t={seconds}"#)),
    ]
}

/// What is wrong with the members of a request; `""` is the request as a whole.
#[derive(Clone, Debug, Default)]
pub struct Errors(BTreeMap<(usize, String), Vec<String>>);

impl Errors {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one more text for `member`.
    pub fn add(&mut self, member: &str, text: impl Into<String>) {
        let texts = self.0.entry((member.len(), member.to_owned())).or_default();
        texts.push(text.into());
    }
}

/// In the order of ASP.NET Core: by length, then by name.
impl Serialize for Errors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|((_, member), texts)| (member, texts)))
    }
}

/// Why a request was not done (RFC 9457).
#[derive(Serialize, ToSchema)]
pub struct MvcProblemDetails {
    /// What is wrong, by the member of the request that it is about; `""` stands for the request as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, Vec<String>>>, nullable = false)]
    errors: Option<Errors>,
    /// Where the status is defined.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    r#type: Option<String>,
    /// The status in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    title: Option<String>,
    /// The status.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status: Option<u16>,
    /// What was wrong with this request, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
    /// Which occurrence of the problem this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    instance: Option<String>,
    /// The id under which the server's log knows the request (W3C Trace Context).
    #[serde(rename = "traceId", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    trace_id: Option<String>,
}

/// The status in words, as ASP.NET Core has them.
pub(super) fn title(status: StatusCode, invalid: bool) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST if invalid => "One or more validation errors occurred.",
        StatusCode::INTERNAL_SERVER_ERROR => "An error occurred while processing your request.",
        status => status.canonical_reason().unwrap_or("Error"),
    }
}

/// The section that defines the status.
pub(super) fn type_url(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "https://tools.ietf.org/html/rfc9110#section-15.5.1",
        401 => "https://tools.ietf.org/html/rfc9110#section-15.5.2",
        403 => "https://tools.ietf.org/html/rfc9110#section-15.5.4",
        404 => "https://tools.ietf.org/html/rfc9110#section-15.5.5",
        405 => "https://tools.ietf.org/html/rfc9110#section-15.5.6",
        413 => "https://tools.ietf.org/html/rfc9110#section-15.5.14",
        415 => "https://tools.ietf.org/html/rfc9110#section-15.5.16",
        429 => "https://tools.ietf.org/html/rfc6585#section-4",
        500 => "https://tools.ietf.org/html/rfc9110#section-15.6.1",
        503 => "https://tools.ietf.org/html/rfc9110#section-15.6.4",
        _ => "about:blank",
    }
}

/// `application/problem+json`, unless the client names JSON and nothing that covers it: SDKs generated from Shoko's
/// own document refuse any other type, and parameters, on a 400 or 401.
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
    fn problem_json_unless_json_is_named_and_nothing_covers_it() {
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
