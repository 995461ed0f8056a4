//! Converts the errors of the service to problems.

use actix_web::http::StatusCode;

use super::{CHALLENGE, INVALID_KEY_CHALLENGE, Problem};
use crate::error::{
    ConfirmError, IssueError, KeyError, LinkError, LoginError, ManageError, NewKeyError, ServiceError, Throttled,
};
use crate::web::origin::OriginError;

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        let text = error.to_string();
        match error {
            ServiceError::Busy { retry_after } => {
                Self::retry_later(StatusCode::SERVICE_UNAVAILABLE, &retry_after, text)
            }
            // Only a client that has closed just its sending side sees this response.
            ServiceError::ClientDisconnected => Self::new(StatusCode::SERVICE_UNAVAILABLE),
            // The log contains the cause.
            ServiceError::Unavailable(_) => Self::with_detail(
                StatusCode::SERVICE_UNAVAILABLE,
                "The database is unavailable. Try again later.",
            ),
            ServiceError::Internal(cause) => Self {
                cause: Some(cause),
                ..Self::new(StatusCode::INTERNAL_SERVER_ERROR)
            },
        }
    }
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        let text = error.to_string();
        match error {
            // The response must not reveal that the password of a disabled user is correct.
            LoginError::WrongCredentials | LoginError::Disabled => {
                Self::unauthorized(CHALLENGE, LoginError::WrongCredentials.to_string())
            }
            LoginError::Throttled(throttled) => Self::throttled(throttled, text),
            LoginError::BadExpiry(_) => Self::invalid("", text),
            LoginError::TooManyKeys(_) => Self::with_detail(StatusCode::BAD_REQUEST, text),
            LoginError::Service(error) => error.into(),
        }
    }
}

impl Problem {
    fn throttled(Throttled { scope, retry_after }: Throttled, text: String) -> Self {
        Self {
            throttled: Some(scope),
            ..Self::retry_later(StatusCode::TOO_MANY_REQUESTS, &retry_after, text)
        }
    }
}

impl From<ConfirmError> for Problem {
    fn from(error: ConfirmError) -> Self {
        let text = error.to_string();
        match error {
            ConfirmError::WrongPassword => Self::with_detail(StatusCode::FORBIDDEN, text),
            ConfirmError::Throttled(throttled) => Self::throttled(throttled, text),
            ConfirmError::Key(error) => error.into(),
        }
    }
}

impl From<NewKeyError> for Problem {
    fn from(error: NewKeyError) -> Self {
        let text = error.to_string();
        match error {
            NewKeyError::BadExpiry(_) => Self::invalid("expiresAt", text),
            NewKeyError::DeviceHasKey => Self::with_detail(StatusCode::CONFLICT, text),
            NewKeyError::WouldOutliveCaller => Self::with_detail(StatusCode::FORBIDDEN, text),
            NewKeyError::PasswordRequired => Self::invalid("currentPassword", text),
            NewKeyError::TooManyKeys(_) => Self::with_detail(StatusCode::BAD_REQUEST, text),
            NewKeyError::Key(error) => error.into(),
        }
    }
}

impl From<LinkError> for Problem {
    fn from(error: LinkError) -> Self {
        let text = error.to_string();
        match error {
            LinkError::Unknown => Self::with_detail(StatusCode::NOT_FOUND, text),
            LinkError::BadPassword(_) => Self::invalid("password", text),
            LinkError::Service(error) => error.into(),
        }
    }
}

impl From<OriginError> for Problem {
    fn from(error: OriginError) -> Self {
        Self::with_detail(StatusCode::FORBIDDEN, error.to_string())
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Required => Self::unauthorized(CHALLENGE, error.to_string()),
            KeyError::Invalid => Self::unauthorized(INVALID_KEY_CHALLENGE, error.to_string()),
            KeyError::Service(error) => error.into(),
        }
    }
}

impl From<IssueError> for Problem {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::BadExpiry(_) | IssueError::WouldNeverExpire | IssueError::WouldOutliveCaller => {
                Self::invalid("", error.to_string())
            }
            IssueError::TooManyKeys(error) => Self::with_detail(StatusCode::BAD_REQUEST, error.to_string()),
            IssueError::Key(error) => error.into(),
        }
    }
}

impl From<ManageError> for Problem {
    fn from(error: ManageError) -> Self {
        let text = error.to_string();
        match error {
            ManageError::Forbidden | ManageError::AdminOnly(_) | ManageError::ExpiringKey => {
                Self::with_detail(StatusCode::FORBIDDEN, text)
            }
            ManageError::PasswordRequired => Self::invalid("currentPassword", text),
            ManageError::UnknownUser | ManageError::UnknownKey => Self::with_detail(StatusCode::NOT_FOUND, text),
            ManageError::NameTaken | ManageError::LastAdmin | ManageError::BadPassword(_) => Self::invalid("", text),
            ManageError::Key(error) => error.into(),
        }
    }
}
