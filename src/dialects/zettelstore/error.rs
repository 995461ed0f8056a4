//! Zettelstore's error responses: a line of text.

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};

use crate::error::{Cause, KeyError, LoginError, RenewError, ServiceError, whole_seconds};
use crate::web::body::{ACCEPTED_ENCODING, BodyError};
use crate::web::middleware::InternalCause;
use crate::web::origin::OriginError;

#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct ZettelstoreError {
    status: StatusCode,
    /// Empty for a response without a body.
    text: String,
    /// Whether the encoding of the body is the reason.
    has_wrong_encoding: bool,
    /// In seconds.
    retry_after: Option<u64>,
    cause: Option<Cause>,
}

impl ZettelstoreError {
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            has_wrong_encoding: false,
            retry_after: None,
            cause: None,
        }
    }

    pub fn authentication_failed() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Authentication failed")
    }

    pub fn bad_request() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Bad Request")
    }

    /// Converts the error of a missing or invalid token to that of `/x`, which has another status than that of `PUT /a`.
    pub fn of_command(self) -> Self {
        match self.status {
            StatusCode::BAD_REQUEST => Self::new(StatusCode::UNAUTHORIZED, ""),
            _ => self,
        }
    }

    /// Returns the names of the headers that every such response has, for the document.
    pub fn header_names(&self) -> impl Iterator<Item = &'static str> {
        let challenge = (self.status == StatusCode::UNAUTHORIZED).then_some("WWW-Authenticate");
        challenge.into_iter().chain(self.retry_after.map(|_| "Retry-After"))
    }

    fn retry_later(status: StatusCode, text: String, retry_after: u64) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(status, text)
        }
    }
}

impl ResponseError for ZettelstoreError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if self.text.is_empty() {
            return response.finish();
        }
        response.insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"));
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header((WWW_AUTHENTICATE, "Bearer realm=\"Default\""));
        }
        if self.has_wrong_encoding {
            response.insert_header((ACCEPT_ENCODING, ACCEPTED_ENCODING));
        }
        if let Some(seconds) = self.retry_after {
            response.insert_header((RETRY_AFTER, seconds));
        }
        let mut response = response.body(format!("{}\n", self.text));
        if let Some(cause) = &self.cause {
            response.extensions_mut().insert(InternalCause(cause.clone()));
        }
        response
    }
}

impl From<ServiceError> for ZettelstoreError {
    fn from(error: ServiceError) -> Self {
        let text = error.to_string();
        match error {
            ServiceError::Busy { retry_after } => {
                Self::retry_later(StatusCode::SERVICE_UNAVAILABLE, text, whole_seconds(&retry_after))
            }
            ServiceError::Unavailable(_) | ServiceError::ClientDisconnected => {
                Self::retry_later(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable".to_owned(), 1)
            }
            ServiceError::Internal(cause) => Self {
                cause: Some(cause),
                ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
            },
        }
    }
}

impl From<LoginError> for ZettelstoreError {
    fn from(error: LoginError) -> Self {
        let text = error.to_string();
        match error {
            LoginError::WrongCredentials | LoginError::Disabled => Self::authentication_failed(),
            LoginError::Throttled(throttled) => {
                let seconds = whole_seconds(&throttled.retry_after);
                Self::retry_later(StatusCode::TOO_MANY_REQUESTS, text, seconds)
            }
            LoginError::BadExpiry(_) | LoginError::TooManyKeys(_) => Self::new(StatusCode::BAD_REQUEST, text),
            LoginError::Service(error) => error.into(),
        }
    }
}

impl From<OriginError> for ZettelstoreError {
    fn from(error: OriginError) -> Self {
        Self::new(StatusCode::FORBIDDEN, error.to_string())
    }
}

impl From<KeyError> for ZettelstoreError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Required | KeyError::Invalid => Self::new(StatusCode::BAD_REQUEST, "Not authenticated"),
            KeyError::Service(error) => error.into(),
        }
    }
}

impl From<RenewError> for ZettelstoreError {
    fn from(error: RenewError) -> Self {
        match error {
            RenewError::TooManyKeys(error) => Self::new(StatusCode::BAD_REQUEST, error.to_string()),
            RenewError::Key(error) => error.into(),
        }
    }
}

impl From<BodyError> for ZettelstoreError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large"),
            BodyError::Incomplete | BodyError::NotUtf8 => Self::bad_request(),
            BodyError::UnsupportedEncoding => Self {
                has_wrong_encoding: true,
                ..Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_string())
            },
            BodyError::UnsupportedCharset => Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_string()),
        }
    }
}
