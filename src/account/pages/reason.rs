//! The reasons why a request of a page failed. Each error that the service can return to a page is one of them.

use actix_web::http::StatusCode;

use crate::error::{
    Cause, ConfirmError, KeyError, LinkError, LoginError, ManageError, NewKeyError, ServiceError, service_error,
    whole_seconds,
};
use crate::model::{HostsError, NameError, NewNameError};
use crate::web::body::BodyError;
use crate::web::origin::OriginError;
use crate::web::problem::DEFAULT_RETRY_AFTER;

/// Why a request failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Reason {
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error(transparent)]
    Confirm(#[from] ConfirmError),
    #[error(transparent)]
    Manage(#[from] ManageError),
    #[error(transparent)]
    NewKey(#[from] NewKeyError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Not transparent, so that [`service_error`] finds it.
    #[error("{0}")]
    Service(#[from] ServiceError),
    #[error(transparent)]
    ForeignPage(#[from] OriginError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// A name or an e-mail address in this field is not valid.
    #[error("{error}")]
    Name { field: &'static str, error: NameError },
    #[error("{error}")]
    NewName { field: &'static str, error: NewNameError },
    /// The form is not one of this session.
    #[error("the form token is wrong")]
    WrongFormToken,
    #[error("the new password and its repetition differ")]
    PasswordsDiffer,
    #[error("the form contains a value that no page offers")]
    BadValue,
    #[error("there is no such page")]
    UnknownPage,
    /// The page does not support the method of the request.
    #[error("the page does not support this method")]
    WrongMethod,
}

/// The fields of forms that a reason may be about. Each is the name and the id of an `input`.
pub mod field {
    pub const USER: &str = "user";
    pub const EMAIL: &str = "email";
    pub const DEVICE: &str = "device";
    pub const HOSTS: &str = "hosts";
    pub const EXPIRY: &str = "expiry";
    pub const CURRENT_PASSWORD: &str = "current-password";
    pub const NEW_PASSWORD: &str = "new-password";
    pub const PASSWORD_AGAIN: &str = "new-password-again";
}

impl Reason {
    /// Returns whether the request presents no valid session.
    #[must_use]
    pub fn is_signed_out(&self) -> bool {
        matches!(
            self,
            Self::Key(KeyError::Required | KeyError::Invalid)
                | Self::Confirm(ConfirmError::Key(KeyError::Required | KeyError::Invalid))
                | Self::Manage(ManageError::Key(KeyError::Required | KeyError::Invalid))
                | Self::NewKey(NewKeyError::Key(KeyError::Required | KeyError::Invalid))
        )
    }

    /// Returns the field of the form that the user has to change, if it is a single one.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Confirm(ConfirmError::WrongPassword)
            | Self::Manage(ManageError::PasswordRequired)
            | Self::NewKey(NewKeyError::PasswordRequired) => Some(field::CURRENT_PASSWORD),
            Self::Manage(ManageError::BadPassword(_)) | Self::Link(LinkError::BadPassword(_)) => {
                Some(field::NEW_PASSWORD)
            }
            Self::NewKey(NewKeyError::DeviceHasKey) => Some(field::DEVICE),
            Self::NewKey(NewKeyError::BadExpiry(_)) => Some(field::EXPIRY),
            Self::Manage(ManageError::NameTaken) => Some(field::USER),
            Self::Hosts(_) => Some(field::HOSTS),
            Self::PasswordsDiffer => Some(field::PASSWORD_AGAIN),
            Self::Name { field, .. } | Self::NewName { field, .. } => Some(field),
            _ => None,
        }
    }

    /// Returns the status of the response. A wrong password is 403 and not 401, because a 401 must contain a challenge
    /// (RFC 9110, section 15.5.2), and a form is none.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        if let Some(error) = service_error(self) {
            return match error {
                ServiceError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
                ServiceError::Busy { .. } | ServiceError::ClientDisconnected | ServiceError::Unavailable(_) => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
            };
        }
        match self {
            Self::Login(LoginError::Throttled(_)) | Self::Confirm(ConfirmError::Throttled(_)) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Manage(ManageError::UnknownUser | ManageError::UnknownKey)
            | Self::Link(LinkError::Unknown)
            | Self::UnknownPage => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::NewKey(NewKeyError::DeviceHasKey) | Self::Manage(ManageError::NameTaken | ManageError::LastAdmin) => {
                StatusCode::CONFLICT
            }
            Self::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Login(_)
            | Self::Confirm(_)
            | Self::Key(_)
            | Self::ForeignPage(_)
            | Self::WrongFormToken
            | Self::Manage(ManageError::Forbidden | ManageError::AdminOnly(_) | ManageError::ExpiringKey) => {
                StatusCode::FORBIDDEN
            }
            Self::Manage(_)
            | Self::NewKey(_)
            | Self::Link(_)
            | Self::Service(_)
            | Self::Body(_)
            | Self::Hosts(_)
            | Self::Name { .. }
            | Self::NewName { .. }
            | Self::PasswordsDiffer
            | Self::BadValue => StatusCode::BAD_REQUEST,
        }
    }

    /// Returns the `Retry-After` of the response, in seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        let default = (self.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(DEFAULT_RETRY_AFTER);
        self.wait().or(default)
    }

    /// Returns the number of seconds after which the request may succeed, if the server knows it. The page shows it.
    #[must_use]
    pub fn wait(&self) -> Option<u64> {
        match (self, service_error(self)) {
            (Self::Login(LoginError::Throttled(throttled)) | Self::Confirm(ConfirmError::Throttled(throttled)), _) => {
                Some(whole_seconds(&throttled.retry_after))
            }
            (_, Some(ServiceError::Busy { retry_after })) => Some(whole_seconds(retry_after)),
            _ => None,
        }
    }

    /// Returns the cause of an internal error, for the log.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        match service_error(self)? {
            ServiceError::Internal(cause) => Some(cause.clone()),
            ServiceError::Busy { .. } | ServiceError::ClientDisconnected | ServiceError::Unavailable(_) => None,
        }
    }
}
