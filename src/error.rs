//! The errors of the service, in no dialect's words and without HTTP.
//!
//! Every dialect matches [`AuthError`] exhaustively and answers in its own way, so a new error breaks the build wherever it
//! needs an answer.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crate::model::Attribute;

/// The reason why a text cannot be a new password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("The password must not be empty.")]
    Empty,
    #[error("The password must have at least {min} characters.")]
    TooShort { min: usize },
    /// Bounds how much is hashed.
    #[error("The password may have at most {max} bytes.")]
    TooLong { max: usize },
    /// HMAC, and so PBKDF2, cannot distinguish a password from the same one with NULs appended.
    #[error("The password must not contain the NUL character.")]
    Nul,
    #[error("The password is one of the most common ones and would be guessed at once.")]
    Common,
    #[error("The password must not be the user's name.")]
    UserName,
}

/// What a login limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThrottleScope {
    /// Failures from one client network.
    Network,
    /// Failures in a row for one account.
    Account,
}

/// A login limit has been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttled {
    pub scope: ThrottleScope,
    pub retry_after: Duration,
}

/// Rounds a wait up to whole seconds, at least one, for clients.
#[must_use]
pub fn whole_seconds(time: &Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

/// The underlying cause of an error. Shared, because one failed query may fail many requests.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// The reason why an operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuthError {
    /// The user is unknown or disabled, or the password is wrong. Clients must not learn which.
    #[error("The user name or the password is wrong.")]
    WrongCredentials,
    /// The password is correct but the user is disabled. Tell only a client that has proved it knows the password.
    #[error("The user is disabled.")]
    Disabled,
    /// The request presents no key.
    #[error("An API key is required.")]
    KeyRequired,
    #[error("The API key is unknown, expired or revoked.")]
    InvalidKey,
    /// The caller is known but not permitted to do this.
    #[error("Only an administrator may do this.")]
    Forbidden,
    /// The caller may change the user, but not this attribute.
    #[error("Only an administrator may change this.")]
    AdminOnly(Attribute),
    #[error("There is no such user.")]
    UnknownUser,
    #[error("There is no such key or device.")]
    UnknownKey,
    /// The requested expiry cannot be parsed or is less than a minute ahead.
    #[error("The key must expire at a time that is at least a minute ahead.")]
    BadExpiry,
    #[error("A key that expires cannot issue one that does not.")]
    SessionExpires,
    #[error("A key that expires cannot issue one that expires later.")]
    BeyondSession,
    /// Another user has this name or e-mail address.
    #[error("The name or e-mail address is taken.")]
    NameTaken,
    #[error("There must be at least one administrator who is not disabled.")]
    LastAdmin,
    #[error("{0}")]
    BadPassword(#[from] PasswordError),
    /// Too many failed logins. Even the correct password is rejected until the wait is over.
    #[error("Too many failed logins. Try again in {} s.", whole_seconds(&.0.retry_after))]
    Throttled(Throttled),
    /// Too many requests are waiting for the same resource.
    #[error("The server is busy. Try again in {} s.", whole_seconds(.retry_after))]
    Busy { retry_after: Duration },
    /// The client disconnected while its request was waiting.
    #[error("The client has disconnected.")]
    ClientDisconnected,
    /// The database is unreachable, busy or full. A later attempt may succeed.
    #[error("The database cannot be used now: {0}")]
    Unavailable(#[source] Cause),
    /// A bug or a broken invariant. The cause is for the log, not for clients.
    #[error("Internal error: {0}")]
    Internal(#[source] Cause),
}

impl AuthError {
    pub fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(cause.into().into())
    }

    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into().into())
    }
}

/// The result of most operations of the service.
pub type Result<T> = std::result::Result<T, AuthError>;
