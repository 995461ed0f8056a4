//! Users and changes to them.

use chrono::NaiveDateTime;

use super::{Avatar, Name, NewName};

/// A person or program that can log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Shoko's `UserID`. After a user is deleted, their id is not reused, except by an import of a Shoko user with this
    /// id.
    pub id: i32,
    /// The name as typed.
    pub name: String,
    pub email: Option<String>,
    pub is_admin: bool,
    /// A disabled user keeps the password and the keys, but none of them works.
    pub is_disabled: bool,
    /// Whether this is the unused automatic administrator. The first start creates it. The mark is cleared by its first
    /// login or by a change of its name, password or administrator rights.
    pub is_automatic: bool,
    pub created_at: NaiveDateTime,
    pub profile: Profile,
}

/// The few facts about a user that a login screen needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSummary {
    /// Shoko's `UserID`.
    pub user_id: i32,
    /// The name as typed.
    pub name: String,
    pub is_admin: bool,
}

/// What administrators see of a user in lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserEntry {
    pub id: i32,
    /// The name as typed.
    pub name: String,
    pub email: Option<String>,
    pub is_admin: bool,
    pub is_disabled: bool,
    /// Whether the user can log in with a password. A user without one needs a link to choose one.
    pub has_password: bool,
    pub created_at: NaiveDateTime,
}

/// A change to a value that may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Update<T> {
    #[default]
    Keep,
    Remove,
    Set(T),
}

/// Changes by an administrator to a user. `None` leaves a value as it is.
#[derive(Clone, Debug, Default)]
pub struct UserUpdate {
    pub name: Option<NewName>,
    pub email: Update<NewName>,
    pub is_admin: Option<bool>,
    pub is_disabled: Option<bool>,
}

/// Identifies the user that a request or command concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserRef {
    Id(i32),
    Name(Name),
}

/// Values that Shoko's clients store with a user and that mean nothing to this service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// A JSON array of names.
    pub community_sites: String,
    /// A JSON array of ids.
    pub restricted_tags: String,
    /// An [`Avatar`]. Avatars that older versions have stored can be any text.
    pub avatar: String,
    /// Comma-separated, or empty.
    pub plex_usernames: String,
}

/// Changes to a [`Profile`]. `None` leaves a value as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// A JSON array of names.
    pub community_sites: Option<String>,
    /// A JSON array of ids.
    pub restricted_tags: Option<String>,
    pub avatar: Option<Avatar>,
    /// Comma-separated, or empty.
    pub plex_usernames: Option<String>,
}

/// Changes to a user. `None` leaves a value as it is.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    pub name: Option<NewName>,
    pub is_admin: Option<bool>,
    pub profile: ProfileChange,
}

/// An attribute that only administrators may change. Other users may not change it, not even for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// Restricted because other services identify users by their names.
    Name,
    Admin,
    /// Restricted because Shoko restricts it.
    CommunitySites,
    /// Restricted because Shoko restricts it.
    RestrictedTags,
}

/// A user to be created.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub name: NewName,
    pub email: Option<NewName>,
    pub is_admin: bool,
    pub profile: ProfileChange,
}
