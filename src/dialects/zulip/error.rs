//! How Zulip says no: `result`, `msg`, whatever belongs to the error, `code`.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Map, Value, json};

use crate::error::{AuthError, whole_seconds};
use crate::web::answer::Verbatim;
use crate::web::body::BodyFault;

/// An answer that says no.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    msg: String,
    /// What stands between `msg` and `code`.
    more: Vec<(&'static str, Value)>,
    code: Option<&'static str>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Why it is our fault, for the log.
    cause: Option<String>,
}

impl Refusal {
    /// A status, a code and a sentence.
    pub fn new(status: StatusCode, code: &'static str, msg: impl Into<String>) -> Self {
        Self {
            code: Some(code),
            ..Self::without_code(status, msg)
        }
    }

    fn without_code(status: StatusCode, msg: impl Into<String>) -> Self {
        Self {
            status,
            msg: msg.into(),
            more: Vec::new(),
            code: None,
            headers: Vec::new(),
            cause: None,
        }
    }

    /// 400.
    pub fn bad_request(msg: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", msg)
    }

    /// 400: a parameter is not there.
    pub fn missing(name: &str) -> Self {
        let msg = format!("Missing '{name}' argument");
        let mut refusal = Self::new(StatusCode::BAD_REQUEST, "REQUEST_VARIABLE_MISSING", msg);
        refusal.more.push(("var_name", json!(name)));
        refusal
    }

    /// 401: the key, or how it was presented.
    pub fn unauthorized(msg: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", msg)
            .with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"zulip\""))
    }

    /// 405: only this method.
    pub fn only(method: &'static str) -> Self {
        let mut refusal = Self::without_code(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        refusal.more.push(("allowed_methods", json!([method])));
        refusal.with_header(ALLOW, HeaderValue::from_static(method))
    }

    /// The same with one more header.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.msg)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut body = Map::new();
        body.insert("result".to_owned(), json!("error"));
        body.insert("msg".to_owned(), json!(self.msg));
        for (name, value) in &self.more {
            body.insert((*name).to_owned(), value.clone());
        }
        if let Some(code) = self.code {
            body.insert("code".to_owned(), json!(code));
        }
        let mut response = HttpResponse::build(self.status).body(format!("{}\n", Value::Object(body)));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in &self.headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        let cause = self.cause.clone();
        response.extensions_mut().insert(Verbatim { cause });
        response
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        let failed = |code, msg: &str| Self::new(StatusCode::UNAUTHORIZED, code, msg);
        match error {
            AuthError::WrongCredentials => failed("AUTHENTICATION_FAILED", "Your username or password is incorrect"),
            AuthError::Disabled => failed("USER_DEACTIVATED", "Account is deactivated"),
            AuthError::KeyRequired => Self::unauthorized("Not logged in: API authentication or user session required"),
            AuthError::InvalidKey => Self::unauthorized("Invalid API key"),
            AuthError::Throttled(throttled) => {
                let seconds = whole_seconds(&throttled.retry_after);
                let msg = "API usage exceeded rate limit";
                let mut refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_HIT", msg);
                refusal
                    .more
                    .push(("retry-after", json!(throttled.retry_after.as_secs_f64())));
                refusal.with_header(RETRY_AFTER, seconds.into())
            }
            AuthError::Busy { retry_after } => unavailable(whole_seconds(&retry_after)),
            AuthError::Unavailable(_) | AuthError::ClientDisconnected => unavailable(1),
            AuthError::Internal(cause) => Self {
                cause: Some(cause.to_string()),
                ..Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "INTERNAL_SERVER_ERROR",
                    "Internal server error",
                )
            },
            AuthError::Forbidden
            | AuthError::AdminOnly(_)
            | AuthError::UnknownUser
            | AuthError::UnknownKey
            | AuthError::BadExpiry
            | AuthError::SessionExpires
            | AuthError::BeyondSession
            | AuthError::NameTaken
            | AuthError::LastAdmin
            | AuthError::BadPassword(_) => Self::bad_request(&error.to_string()),
        }
    }
}

fn unavailable(seconds: u64) -> Refusal {
    let msg = "The service cannot do this now. Try again later.";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", msg).with_header(RETRY_AFTER, seconds.into())
}

impl From<BodyFault> for Refusal {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge { .. } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "BAD_REQUEST",
                "The request is too large.",
            ),
            BodyFault::Incomplete => Self::bad_request("The request did not come whole."),
            BodyFault::NotUtf8 => Self::bad_request("The request is not valid UTF-8."),
        }
    }
}
