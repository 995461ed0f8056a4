//! The errors of the service, independent of any dialect and of HTTP.
//!
//! Each kind of operation has its own error type, so a dialect does not handle errors that cannot occur. Dialects match
//! exhaustively, so a new error breaks the build wherever it needs a response.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::Attribute;

/// The reason why a text is rejected as a new password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("The password must not be empty.")]
    Empty,
    #[error("The password must have at least {min} characters.")]
    TooShort { min: usize },
    /// Limits the amount of text that is hashed.
    #[error("The password may have at most {max} bytes.")]
    TooLong { max: usize },
    /// HMAC, and so PBKDF2, cannot distinguish a password from the same password with NULs appended.
    #[error("The password must not contain the NUL character.")]
    Nul,
    #[error("The password is one of the most common ones and would be guessed at once. Choose another one.")]
    Common,
    #[error("The password must not be the user's name, even with digits or punctuation. Choose another one.")]
    UserName,
    #[error("The password must not be the name of this product, even with digits or punctuation. Choose another one.")]
    ProductName,
    #[error("The password only repeats one character or a short text. Choose another one.")]
    Repetitive,
}

/// The kind of failures that a login limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThrottleScope {
    /// Failures from one client network: an IPv4 address or an IPv6 /64.
    Network,
    /// Failures from one IPv6 /56.
    Network56,
    /// Failures from one IPv6 /48.
    Network48,
    /// Failures in a row for one user name.
    Account,
}

/// A login limit has been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttled {
    pub scope: ThrottleScope,
    pub retry_after: Duration,
}

/// Rounds a wait up to whole seconds, for responses to clients. Returns at least 1.
#[must_use]
pub fn whole_seconds(time: &Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

/// The underlying cause of an error. Shared, because one failed query may fail many requests.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// An operation failed because of the service itself, not because of the request.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ServiceError {
    /// Too many requests are waiting for the same resource.
    #[error("The server is busy. Try again in {} s.", whole_seconds(.retry_after))]
    Busy { retry_after: Duration },
    /// The client disconnected while its request was waiting.
    #[error("The client has disconnected.")]
    ClientDisconnected,
    /// The database is unreachable, busy or full. A later attempt may succeed.
    #[error("The database is unavailable: {0}")]
    Unavailable(#[source] Cause),
    /// A bug or a broken invariant. The cause is for the log, not for clients.
    #[error("Internal error: {0}")]
    Internal(#[source] Cause),
}

impl ServiceError {
    pub fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(cause.into().into())
    }

    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into().into())
    }
}

/// The reason why a login failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoginError {
    /// The user is unknown or disabled, or the password is wrong. Clients must not learn which.
    #[error("The user name or the password is wrong.")]
    WrongCredentials,
    /// The password is correct, but the user is disabled. A dialect may report this, because the client has proved that
    /// it knows the password.
    #[error("The user is disabled.")]
    Disabled,
    /// Too many failed logins. Even the correct password is rejected until the wait is over.
    #[error("Too many failed logins. Try again in {} s.", whole_seconds(&.0.retry_after))]
    Throttled(Throttled),
    /// The password is correct, but the requested expiry is not accepted.
    #[error(transparent)]
    BadExpiry(#[from] BadExpiry),
    /// The password is correct, but the user has the maximum number of keys.
    #[error(transparent)]
    TooManyKeys(#[from] TooManyKeys),
    #[error("{0}")]
    Service(#[from] ServiceError),
}

/// The reason why a requested expiry is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadExpiry {
    /// It cannot be parsed or is less than a minute in the future.
    #[error("The expiry must be a valid time at least one minute in the future.")]
    Invalid,
    #[error("The expiry may be at most {max} in the future.")]
    TooLate { max: Lifetime },
}

/// The longest lifetime of a key, for messages. Displayed in days if it is a whole number of days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime(pub Duration);

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: u64 = 24 * 60 * 60;
        match (self.0.as_secs() / DAY, self.0.as_secs() % DAY) {
            (1, 0) => f.write_str("1 day"),
            (days, 0) => write!(f, "{days} days"),
            _ => humantime::format_duration(self.0).fmt(f),
        }
    }
}

/// The user has the maximum number of unexpired keys, and the new key cannot replace one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("A user may have at most {max} API keys. Revoke a key that is no longer needed.")]
pub struct TooManyKeys {
    pub max: usize,
}

/// The reason why a request was not authenticated by a key.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyError {
    /// The request presents no key.
    #[error("An API key is required.")]
    Required,
    #[error("The API key is unknown, expired or revoked.")]
    Invalid,
    #[error("{0}")]
    Service(#[from] ServiceError),
}

/// The reason why no key was issued to the holder of another key.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IssueError {
    #[error(transparent)]
    BadExpiry(#[from] BadExpiry),
    #[error("An expiring key cannot be used to get a key that never expires.")]
    WouldNeverExpire,
    #[error("An expiring key cannot be used to get a key that expires later.")]
    WouldOutliveCaller,
    #[error(transparent)]
    TooManyKeys(#[from] TooManyKeys),
    #[error("{0}")]
    Key(#[from] KeyError),
}

impl From<ServiceError> for IssueError {
    fn from(error: ServiceError) -> Self {
        Self::Key(error.into())
    }
}

/// The reason why the API of the account issued no key.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NewKeyError {
    #[error(transparent)]
    BadExpiry(#[from] BadExpiry),
    /// The device has a lasting full key, which is never shown again.
    #[error("The device already has a key. Revoke that key first, or choose another name.")]
    DeviceHasKey,
    /// The caller's key expires, and the new key would expire later or never.
    #[error("An expiring key cannot be used to get a key that expires later or never.")]
    WouldOutliveCaller,
    /// The new key would outlive the caller's session.
    #[error("The current password is required for a key that expires later than the session.")]
    PasswordRequired,
    #[error(transparent)]
    TooManyKeys(#[from] TooManyKeys),
    #[error("{0}")]
    Key(#[from] KeyError),
}

impl From<ServiceError> for NewKeyError {
    fn from(error: ServiceError) -> Self {
        Self::Key(error.into())
    }
}

/// The reason why the current password in a request was not accepted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConfirmError {
    #[error("The current password is wrong.")]
    WrongPassword,
    #[error("Too many failed logins. Try again in {} s.", whole_seconds(&.0.retry_after))]
    Throttled(Throttled),
    #[error("{0}")]
    Key(#[from] KeyError),
}

impl From<ServiceError> for ConfirmError {
    fn from(error: ServiceError) -> Self {
        Self::Key(error.into())
    }
}

/// The reason why a one-time link set no password.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LinkError {
    #[error("The link has been used, replaced or revoked, or it has expired. Ask an administrator for a new one.")]
    Unknown,
    #[error(transparent)]
    BadPassword(#[from] PasswordError),
    #[error("{0}")]
    Service(#[from] ServiceError),
}

/// The reason why a key was not renewed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RenewError {
    #[error(transparent)]
    TooManyKeys(#[from] TooManyKeys),
    #[error("{0}")]
    Key(#[from] KeyError),
}

impl From<ServiceError> for RenewError {
    fn from(error: ServiceError) -> Self {
        Self::Key(error.into())
    }
}

/// The reason why users, keys or settings were not shown or changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ManageError {
    /// The actor is known but not permitted to do this.
    #[error("Only an administrator may do this.")]
    Forbidden,
    /// The actor may change the user, but not this attribute.
    #[error("Only an administrator may change this.")]
    AdminOnly(Attribute),
    /// The actor's key expires, so it must not be used to gain lasting access.
    #[error(
        "A key that expires cannot be used to create users or to change passwords, names or rights. Log in again with \
         the password, without requesting an expiry."
    )]
    ExpiringKey,
    /// The caller presents a session, which may do this only in a request with the current password.
    #[error("The current password is required.")]
    PasswordRequired,
    #[error("There is no such user.")]
    UnknownUser,
    #[error("There is no such key or device.")]
    UnknownKey,
    /// Another user has this name or e-mail address.
    #[error("The name or e-mail address is taken.")]
    NameTaken,
    #[error("There must be at least one administrator who can log in.")]
    LastAdmin,
    #[error(transparent)]
    BadPassword(#[from] PasswordError),
    /// The actor's key was revoked or expired while the operation ran, or the service failed.
    #[error("{0}")]
    Key(#[from] KeyError),
}

impl From<ServiceError> for ManageError {
    fn from(error: ServiceError) -> Self {
        Self::Key(error.into())
    }
}

/// Returns the first [`ServiceError`] among `error` and its sources.
pub fn service_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a ServiceError> {
    error.downcast_ref().or_else(|| service_error(error.source()?))
}

/// The result of an operation. With the default error type, the request itself cannot cause a failure.
pub type Result<T, E = ServiceError> = std::result::Result<T, E>;
