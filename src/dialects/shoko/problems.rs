//! Problems that contain Shoko's own texts, for errors that Shoko words differently from `crate::error`.

use actix_web::http::StatusCode;

use crate::error::{BadExpiry, IssueError, LoginError, ManageError};
use crate::model::Attribute;
use crate::web::problem::Problem;

/// Returns a 400 with `detail`.
pub fn bad_request(detail: &str) -> Problem {
    Problem::with_detail(StatusCode::BAD_REQUEST, detail)
}

fn bad_expiry(error: BadExpiry) -> Problem {
    match error {
        BadExpiry::Invalid => Problem::invalid("Expires", "Invalid expires value"),
        // Shoko has no such limit, so there is no text of Shoko to return.
        BadExpiry::TooLate { .. } => Problem::invalid("Expires", error.to_string()),
    }
}

/// Describes a failed login on a route whose keys may expire.
pub fn of_login(error: LoginError) -> Problem {
    match error {
        LoginError::BadExpiry(error) => bad_expiry(error),
        other => other.into(),
    }
}

/// Describes why no key was issued to the caller.
pub fn of_issue(error: IssueError) -> Problem {
    match error {
        IssueError::BadExpiry(error) => bad_expiry(error),
        IssueError::WouldNeverExpire => bad_request("Cannot create a non-expiring token from an expiring session."),
        IssueError::WouldOutliveCaller => {
            bad_request("Requested expiration extends beyond the current session's expiration.")
        }
        IssueError::TooManyKeys(error) => bad_request(&error.to_string()),
        IssueError::Key(error) => error.into(),
    }
}

/// Describes why no key was revoked. `unknown_key` is the route's text about an unknown key.
pub fn of_revocation(error: ManageError, unknown_key: &str) -> Problem {
    match error {
        ManageError::UnknownKey => bad_request(unknown_key),
        other => other.into(),
    }
}

/// Describes why a password was not changed. `unknown_user` is the route's text about an unknown user.
pub fn of_password_change(error: ManageError, unknown_user: &str) -> Problem {
    match error {
        ManageError::UnknownUser => bad_request(unknown_user),
        ManageError::BadPassword(error) => Problem::invalid("newPassword", error.to_string()),
        other => other.into(),
    }
}

/// Describes why a user was not shown or changed.
pub fn of_user(error: ManageError) -> Problem {
    match error {
        // Shoko's own text, with its grammar.
        ManageError::UnknownUser => {
            Problem::with_detail(StatusCode::NOT_FOUND, "An user by the given `userID` doesn't exist.")
        }
        ManageError::NameTaken => Problem::invalid("Username", "The username is unavailable."),
        ManageError::LastAdmin => Problem::invalid("IsAdmin", "There must be at least one admin user."),
        ManageError::BadPassword(error) => Problem::invalid("Password", error.to_string()),
        ManageError::AdminOnly(attribute) => {
            let (member, subject) = match attribute {
                Attribute::Name => ("Username", "username"),
                Attribute::Admin => ("IsAdmin", "admin status of users"),
                Attribute::CommunitySites => ("CommunitySites", "community sites of users"),
                Attribute::RestrictedTags => ("RestrictedTags", "restricted tags of users"),
            };
            Problem::invalid(member, format!("Only admins are allowed to change the {subject}."))
        }
        other => other.into(),
    }
}
