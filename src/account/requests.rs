//! Requests of the account's API.

use chrono::DateTime;
use serde::Deserialize;
use utoipa::ToSchema;

use super::json::Password;
use crate::auth::{NewKey, SignIn};
use crate::model::{
    Hosts, Name, NameError, NewName, NewNameError, NewUser, ProfileChange, RequestedExpiry, Scope, SecretText, Update,
    UserUpdate,
};
use crate::web::problem::Problem;

fn name(member: &str, text: &str) -> Result<Name, Problem> {
    Name::parse(text).map_err(|error: NameError| Problem::invalid(member, error.to_string()))
}

fn new_name(member: &str, text: &str) -> Result<NewName, Problem> {
    NewName::parse(text).map_err(|error: NewNameError| Problem::invalid(member, error.to_string()))
}

fn new_email(text: &str) -> Result<NewName, Problem> {
    NewName::parse(text).map_err(|error| Problem::invalid("email", error.about_email()))
}

/// A login of a browser.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionRequest {
    /// The user's name or e-mail address.
    #[schema(min_length = 1, max_length = 255, example = "Default")]
    user: String,
    /// The password.
    #[schema(value_type = String, example = "correct horse battery")]
    password: Password,
}

impl SessionRequest {
    pub fn check(self, user_agent: String) -> Result<SignIn, Problem> {
        Ok(SignIn {
            user: name("user", &self.user)?,
            password: self.password.0,
            user_agent,
            replaced: None,
            gateway: None,
        })
    }
}

/// The current password, for a change that a session may make only with it.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Confirmation {
    /// The caller's current password. Required with a session.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    current_password: Option<Password>,
}

impl Confirmation {
    #[must_use]
    pub fn password(self) -> Option<SecretText> {
        self.current_password.map(|password| password.0)
    }
}

/// A change of one's own password.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PasswordRequest {
    /// The current password.
    #[schema(value_type = String, example = "correct horse battery")]
    pub current_password: Password,
    /// The new password.
    #[schema(value_type = String, example = "Bassoon-hill")]
    pub new_password: Password,
}

/// A password that a user chooses with a one-time link.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkRequest {
    /// The last part of the link.
    #[schema(example = "00112233445566778899aabbccddeeff")]
    pub token: String,
    /// The new password.
    #[schema(value_type = String, example = "Bassoon-hill")]
    pub password: Password,
}

/// What the key is good for. The default is `full`.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ScopeName {
    /// Everything that the user may do.
    #[default]
    Full,
    /// Only forward-auth.
    Gateway,
}

/// A key to issue.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyRequest {
    /// The name of the device that gets the key.
    #[schema(min_length = 1, max_length = 255, example = "my script")]
    device: String,
    /// When the key expires. Without this member, the key never expires.
    #[serde(default)]
    #[schema(format = "date-time")]
    expires_at: Option<String>,
    // Without a doc comment, which would add a second type to the schema. The type has the description.
    #[serde(default)]
    #[schema(inline)]
    scope: ScopeName,
    /// The hosts for which a gateway key is good. Without this member, the key is good for every host.
    #[serde(default)]
    #[schema(max_items = 20)]
    hosts: Option<Vec<String>>,
    /// The caller's current password. Required with a session, if the key expires later than the session.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    current_password: Option<Password>,
}

impl KeyRequest {
    pub fn check(self) -> Result<(NewKey, Option<SecretText>), Problem> {
        let scope = match (self.scope, &self.hosts) {
            (ScopeName::Full, None) => Scope::Full,
            (ScopeName::Full, Some(_)) => {
                let text = "Only a key with the scope gateway can be limited to hosts.";
                return Err(Problem::invalid("hosts", text));
            }
            (ScopeName::Gateway, None) => Scope::Gateway(Hosts::every()),
            (ScopeName::Gateway, Some(hosts)) => {
                let hosts = Hosts::parse(hosts.iter().map(String::as_str));
                Scope::Gateway(hosts.map_err(|error| Problem::invalid("hosts", error.to_string()))?)
            }
        };
        let expiry = match &self.expires_at {
            None => RequestedExpiry::Never,
            Some(text) => match DateTime::parse_from_rfc3339(text) {
                Ok(time) => RequestedExpiry::At(time.naive_utc()),
                Err(_) => RequestedExpiry::Invalid,
            },
        };
        let device = name("device", &self.device)?;
        let key = NewKey { device, scope, expiry };
        Ok((key, self.current_password.map(|password| password.0)))
    }
}

/// A user to create.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserRequest {
    /// The user's name.
    #[schema(min_length = 1, max_length = 255, example = "bob")]
    name: String,
    /// The user's e-mail address, which can be used to log in.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 255)]
    email: Option<String>,
    /// Whether the user is an administrator.
    #[serde(default)]
    is_admin: bool,
    /// The user's password. Without this member, the user has no password yet, and the response contains a one-time
    /// link with which the user chooses one.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub password: Option<Password>,
    /// The caller's current password. Required with a session.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub current_password: Option<Password>,
}

impl UserRequest {
    pub fn check(&self) -> Result<NewUser, Problem> {
        let email = self.email.as_deref().map(new_email);
        Ok(NewUser {
            name: new_name("name", &self.name)?,
            email: email.transpose()?,
            is_admin: self.is_admin,
            profile: ProfileChange::default(),
        })
    }
}

// Null changes nothing, because most SDKs cannot send it for one member, and oapi-codegen after 2.8.0 sends it for every
// member that is not set.
/// Changes to a user. A member that is absent or null changes nothing.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserPatch {
    /// The new name.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 255)]
    name: Option<String>,
    /// The new e-mail address. An empty string removes it.
    #[serde(default)]
    #[schema(max_length = 255)]
    email: Option<String>,
    /// Whether the user is an administrator.
    #[serde(default)]
    is_admin: Option<bool>,
    /// Whether the user is disabled. Neither the password nor the keys of a disabled user work.
    #[serde(default)]
    is_disabled: Option<bool>,
    /// The caller's current password. Required with a session.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    current_password: Option<Password>,
}

impl UserPatch {
    pub fn check(self) -> Result<(UserUpdate, Option<SecretText>), Problem> {
        let name = self.name.as_deref().map(|name| new_name("name", name));
        let email = match self.email.as_deref() {
            None => Update::Keep,
            Some("") => Update::Remove,
            Some(email) => Update::Set(new_email(email)?),
        };
        let update = UserUpdate {
            name: name.transpose()?,
            email,
            is_admin: self.is_admin,
            is_disabled: self.is_disabled,
        };
        Ok((update, self.current_password.map(|password| password.0)))
    }
}
