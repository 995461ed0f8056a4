//! How Zettelstore says no: a line of text.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};

use crate::error::{AuthError, whole_seconds};
use crate::web::answer::Verbatim;
use crate::web::body::BodyFault;

/// An answer that says no.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    text: String,
    retry_after: Option<u64>,
    /// Why it is our fault, for the log.
    cause: Option<String>,
}

impl Refusal {
    /// A status and a sentence.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            retry_after: None,
            cause: None,
        }
    }

    /// 401.
    pub fn failed() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Authentication failed")
    }

    /// 400: the body, or what came of it.
    pub fn unreadable() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Bad Request")
    }

    /// 400: there is no token that could be renewed.
    pub fn not_authenticated() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Not authenticated")
    }

    fn later(status: StatusCode, text: String, retry_after: u64) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(status, text)
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status).body(format!("{}\n", self.text));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"Default\""));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        let cause = self.cause.clone();
        response.extensions_mut().insert(Verbatim { cause });
        response
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        let text = error.to_string();
        match error {
            AuthError::WrongCredentials | AuthError::Disabled => Self::failed(),
            AuthError::KeyRequired | AuthError::InvalidKey => Self::not_authenticated(),
            AuthError::Throttled(throttled) => Self::later(
                StatusCode::TOO_MANY_REQUESTS,
                text,
                whole_seconds(&throttled.retry_after),
            ),
            AuthError::Busy { retry_after } => {
                Self::later(StatusCode::SERVICE_UNAVAILABLE, text, whole_seconds(&retry_after))
            }
            AuthError::Unavailable(_) | AuthError::ClientDisconnected => {
                Self::later(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable".to_owned(), 1)
            }
            AuthError::Internal(cause) => Self {
                cause: Some(cause.to_string()),
                ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
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
            | AuthError::BadPassword(_) => Self::new(StatusCode::BAD_REQUEST, text),
        }
    }
}

impl From<BodyFault> for Refusal {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large"),
            BodyFault::Incomplete | BodyFault::NotUtf8 => Self::unreadable(),
        }
    }
}
