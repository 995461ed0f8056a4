//! Zulip's error responses: `result`, `msg`, members that depend on the error, and `code`.

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Map, Value, json};

use crate::error::{Cause, IssueError, KeyError, LoginError, ManageError, ServiceError, whole_seconds};
use crate::web::body::{ACCEPTED_ENCODING, BodyError};
use crate::web::middleware::InternalCause;
use crate::web::origin::OriginError;

#[derive(Debug, thiserror::Error)]
#[error("{msg}")]
pub struct ZulipError {
    status: StatusCode,
    msg: String,
    /// The members between `msg` and `code`.
    details: Vec<(&'static str, Value)>,
    code: Option<&'static str>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Cause>,
    has_body: bool,
}

impl ZulipError {
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
            details: Vec::new(),
            code: None,
            headers: Vec::new(),
            cause: None,
            has_body: true,
        }
    }

    pub fn bad_request(msg: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", msg)
    }

    pub fn missing_parameter(name: &str) -> Self {
        let msg = format!("Missing '{name}' argument");
        let mut error = Self::new(StatusCode::BAD_REQUEST, "REQUEST_VARIABLE_MISSING", msg);
        error.details.push(("var_name", json!(name)));
        error
    }

    /// Creates a 401 about the key or the way it was presented.
    pub fn unauthorized(msg: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", msg)
            .with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"zulip\""))
    }

    /// Creates a 405 for a route that allows only `method`.
    pub fn only(method: &'static str) -> Self {
        let mut error = Self::without_code(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        error.details.push(("allowed_methods", json!([method])));
        error.with_header(ALLOW, HeaderValue::from_static(method))
    }

    /// Creates a 405 for a route that allows only GET and HEAD. Zulip sends this error without a body.
    pub fn read_only() -> Self {
        let error = Self::without_code(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        Self {
            has_body: false,
            ..error.with_header(ALLOW, HeaderValue::from_static("GET, HEAD"))
        }
    }

    fn unsupported(error: BodyError) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "BAD_REQUEST", error.to_string())
    }

    fn unavailable(seconds: u64) -> Self {
        let msg = "The service cannot do this now. Try again later.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", msg).with_header(RETRY_AFTER, seconds.into())
    }

    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Returns the body, for the document.
    #[must_use]
    pub fn example(&self) -> Value {
        self.members().into()
    }

    /// Returns the names of the headers, for the document.
    pub fn header_names(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.iter().map(|(name, _)| name)
    }

    fn members(&self) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("result".to_owned(), json!("error"));
        body.insert("msg".to_owned(), json!(self.msg));
        for (name, value) in &self.details {
            body.insert((*name).to_owned(), value.clone());
        }
        if let Some(code) = self.code {
            body.insert("code".to_owned(), json!(code));
        }
        body
    }
}

impl ResponseError for ZulipError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        for header in &self.headers {
            response.insert_header(header.clone());
        }
        if !self.has_body {
            return response.finish();
        }
        let mut response = response
            .insert_header((CONTENT_TYPE, "application/json"))
            .body(format!("{}\n", self.example()));
        if let Some(cause) = &self.cause {
            response.extensions_mut().insert(InternalCause(cause.clone()));
        }
        response
    }
}

impl From<ServiceError> for ZulipError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Busy { retry_after } => Self::unavailable(whole_seconds(&retry_after)),
            ServiceError::Unavailable(_) | ServiceError::ClientDisconnected => Self::unavailable(1),
            ServiceError::Internal(cause) => Self {
                cause: Some(cause),
                ..Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "INTERNAL_SERVER_ERROR",
                    "Internal server error",
                )
            },
        }
    }
}

impl From<LoginError> for ZulipError {
    fn from(error: LoginError) -> Self {
        let failed = |code, msg: &str| Self::new(StatusCode::UNAUTHORIZED, code, msg);
        match error {
            LoginError::WrongCredentials => failed("AUTHENTICATION_FAILED", "Your username or password is incorrect"),
            LoginError::Disabled => failed("USER_DEACTIVATED", "Account is deactivated"),
            LoginError::Throttled(throttled) => {
                let msg = "API usage exceeded rate limit";
                let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_HIT", msg);
                let seconds = throttled.retry_after.as_secs_f64();
                error.details.push(("retry-after", json!(seconds)));
                error.with_header(RETRY_AFTER, whole_seconds(&throttled.retry_after).into())
            }
            LoginError::BadExpiry(error) => Self::bad_request(&error.to_string()),
            LoginError::TooManyKeys(error) => Self::bad_request(&error.to_string()),
            LoginError::Service(error) => error.into(),
        }
    }
}

impl From<OriginError> for ZulipError {
    fn from(error: OriginError) -> Self {
        Self::new(StatusCode::FORBIDDEN, "CSRF_FAILED", error.to_string())
    }
}

impl From<KeyError> for ZulipError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Required => Self::unauthorized("Not logged in: API authentication or user session required"),
            KeyError::Invalid => Self::unauthorized("Invalid API key"),
            KeyError::Service(error) => error.into(),
        }
    }
}

impl From<IssueError> for ZulipError {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::BadExpiry(_)
            | IssueError::WouldNeverExpire
            | IssueError::WouldOutliveCaller
            | IssueError::TooManyKeys(_) => Self::bad_request(&error.to_string()),
            IssueError::Key(error) => error.into(),
        }
    }
}

impl From<ManageError> for ZulipError {
    fn from(error: ManageError) -> Self {
        match error {
            ManageError::Key(error) => error.into(),
            rejected @ (ManageError::Forbidden
            | ManageError::AdminOnly(_)
            | ManageError::ExpiringKey
            | ManageError::PasswordRequired
            | ManageError::UnknownUser
            | ManageError::UnknownKey
            | ManageError::NameTaken
            | ManageError::LastAdmin
            | ManageError::BadPassword(_)) => Self::bad_request(&rejected.to_string()),
        }
    }
}

impl From<BodyError> for ZulipError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { .. } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "BAD_REQUEST",
                "The request is too large.",
            ),
            BodyError::Incomplete => Self::bad_request("The request is incomplete."),
            BodyError::NotUtf8 => Self::bad_request("The request is not valid UTF-8."),
            BodyError::UnsupportedEncoding => {
                Self::unsupported(error).with_header(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED_ENCODING))
            }
            BodyError::UnsupportedCharset => Self::unsupported(error),
        }
    }
}
