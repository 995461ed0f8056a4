//! What can go wrong, in no dialect's words. No HTTP in here: every dialect matches [`AuthError`]
//! exhaustively and says it in its own way, so that a new error breaks the build where it must be answered.

use std::time::Duration;

use crate::model::Attribute;

/// Why a text cannot be a new password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFault {
    /// No characters at all.
    #[error("The password must not be empty.")]
    Empty,
    /// Fewer characters than the setting asks for.
    #[error("The password must have at least {min} characters.")]
    TooShort {
        /// The setting.
        min: usize,
    },
    /// More bytes than anybody types; a bound on what is hashed.
    #[error("The password may have at most {max} bytes.")]
    TooLong {
        /// The bound.
        max: usize,
    },
    /// A NUL character: HMAC, and so PBKDF2, cannot tell a password from one with NULs behind it.
    #[error("The password must not contain the NUL character.")]
    Nul,
    /// On the list of the commonest passwords.
    #[error("The password is one of the commonest and would be guessed at once.")]
    Common,
    /// The user's own name.
    #[error("The password must not be the user's name.")]
    UserName,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Failures from one client network.
    Network,
    /// Failures in a row for one account.
    Account,
}

/// Why nobody may try now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttled {
    /// Which count is full.
    pub axis: Axis,
    /// After which time one may.
    pub retry_after: Duration,
}

/// A time to wait as clients are told it: at least a second.
#[must_use]
pub fn whole_seconds(time: &Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

/// Why the service did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The user is unknown or disabled, or the password is not the right one: nobody is told which.
    #[error("The user name or the password is wrong.")]
    WrongCredentials,
    /// The password is right, but the user is disabled: for who may know, which is nobody who does not have it.
    #[error("The user is disabled.")]
    Disabled,
    /// No key was presented where one is needed.
    #[error("An API key is required.")]
    KeyRequired,
    /// A key was presented, but it is unknown, has expired or was revoked.
    #[error("The API key is unknown, expired or revoked.")]
    InvalidKey,
    /// The caller is known and may not do this.
    #[error("Only an administrator may do this.")]
    Forbidden,
    /// The caller may change the user, but not this about him.
    #[error("Only an administrator may change this.")]
    AdminOnly(Attribute),
    /// No user has this id or name.
    #[error("There is no such user.")]
    UnknownUser,
    /// Nothing was found to revoke.
    #[error("There is no such key or device.")]
    UnknownKey,
    /// The time at which a key shall end cannot be read, or is less than a minute ahead.
    #[error("The key must end at a time that is at least a minute ahead.")]
    BadExpiry,
    /// A key that ends by itself makes none that does not.
    #[error("A key that expires cannot make one that does not.")]
    SessionExpires,
    /// A key that ends by itself makes none that ends later.
    #[error("A key that expires cannot make one that expires later.")]
    BeyondSession,
    /// Another user has this name, or this e-mail address, already.
    #[error("The name or e-mail address is taken.")]
    NameTaken,
    /// Nobody could manage users any more.
    #[error("There must be at least one administrator who is not disabled.")]
    LastAdmin,
    /// A new password that breaks the rules for new passwords.
    #[error("{0}")]
    BadPassword(#[from] PasswordFault),
    /// Too many wrong passwords: nobody tries again before that time, not even with the right one.
    #[error("Too many tries. Try again in {} s.", whole_seconds(&.0.retry_after))]
    Throttled(Throttled),
    /// More passwords are to be checked than can be in a sensible time.
    #[error("Too many logins at once. Try again in {} s.", whole_seconds(.retry_after))]
    Busy {
        /// After which another try may succeed.
        retry_after: Duration,
    },
    /// The client has gone away before it was its turn.
    #[error("The client has gone away.")]
    Gone,
    /// The database is away, busy or full. Another try, later, may succeed.
    #[error("The database cannot be used now: {0}")]
    Unavailable(String),
    /// Something that should not happen; the text is for the log, not for the client.
    #[error("Internal error: {0}")]
    Internal(String),
}

/// The usual result of what the service does.
pub type Result<T> = std::result::Result<T, AuthError>;
