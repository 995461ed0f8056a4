//! Request and response types for users.

use json_patch::jsonptr::PointerBuf;
use json_patch::{Patch, PatchOperation, ReplaceOperation};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::json::{Text, parse_object};
use crate::auth::KeysAfterChange;
use crate::model::{self, Avatar, NameError, NewName, NewNameError, NewUser, SecretText, UserChange};
use crate::web::body::MAX_BYTES;
use crate::web::problem::{Errors, Problem};

/// A user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct User {
    /// The user's id.
    #[serde(rename = "ID")]
    id: i32,
    /// The user's name.
    username: String,
    /// Whether the user is an administrator.
    is_admin: bool,
    /// Stored for clients; has no effect.
    community_sites: Vec<String>,
    /// Stored for clients; has no effect.
    restricted_tags: Vec<i32>,
    /// The user's picture as a data URL, or empty. Stored for clients; has no effect.
    avatar: String,
    /// The user's names in Plex, separated by commas. Stored for clients; has no effect.
    plex_usernames: String,
}

impl User {
    #[must_use]
    pub fn example() -> Value {
        json!({"ID": 1, "Username": "Default", "IsAdmin": true, "CommunitySites": [], "RestrictedTags": [],
            "Avatar": "", "PlexUsernames": ""})
    }
}

impl From<model::User> for User {
    fn from(user: model::User) -> Self {
        Self {
            id: user.id,
            username: user.name,
            is_admin: user.is_admin,
            community_sites: serde_json::from_str(&user.profile.community_sites).unwrap_or_default(),
            restricted_tags: serde_json::from_str(&user.profile.restricted_tags).unwrap_or_default(),
            avatar: user.profile.avatar,
            plex_usernames: user.profile.plex_usernames,
        }
    }
}

/// A user to create.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct CreateUserBody {
    /// The user's name.
    #[schema(value_type = String, required = true, nullable = false, min_length = 1, max_length = 255)]
    username: Option<Text>,
    /// The password, exactly as the user types it.
    #[schema(value_type = String, required = true, nullable = false)]
    password: Option<Text>,
    /// Whether the user is an administrator.
    is_admin: Option<bool>,
    /// Stored for clients; has no effect.
    community_sites: Option<Vec<String>>,
    /// Stored for clients; has no effect.
    restricted_tags: Option<Vec<i32>>,
    /// The user's picture: a PNG, JPEG, WebP or GIF image as a data URL in base64, or empty. Stored for clients; has no
    /// effect.
    avatar: Option<String>,
    /// The user's names in Plex, separated by commas. Stored for clients; has no effect.
    plex_usernames: Option<String>,
}

impl CreateUserBody {
    /// Validates the user and returns the user and the password.
    pub fn check(self) -> Result<(NewUser, SecretText), Problem> {
        let mut errors = Errors::default();
        // Shoko checks the name only if there is a password.
        let Some(password) = self.password.map(|text| SecretText::new(text.0)) else {
            return Err(Problem::invalid("Password", "Password is required"));
        };
        if self.username.as_ref().is_none_or(|text| text.0.trim().is_empty()) {
            errors.add("Username", "A new user must have a username set.");
        }
        let body = UserBody {
            username: self.username,
            password: None,
            is_admin: self.is_admin,
            community_sites: self.community_sites,
            restricted_tags: self.restricted_tags,
            avatar: self.avatar,
            plex_usernames: self.plex_usernames,
        };
        let change = body.check(None, &mut errors);
        match change.name {
            Some(name) if errors.is_empty() => {
                let user = NewUser {
                    name,
                    email: None,
                    is_admin: change.is_admin.unwrap_or(false),
                    profile: change.profile,
                };
                Ok((user, password))
            }
            _ => Err(errors.into()),
        }
    }

    #[must_use]
    pub fn example() -> Value {
        json!({"Username": "Rob", "Password": "correct horse battery", "IsAdmin": false})
    }
}

/// Changes to a user.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct UserBody {
    /// The user's name.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255)]
    username: Option<Text>,
    /// Read only to reject it, because it would not be changed.
    #[schema(ignore)]
    password: Option<Text>,
    /// Whether the user is an administrator.
    is_admin: Option<bool>,
    /// Stored for clients; has no effect.
    community_sites: Option<Vec<String>>,
    /// Stored for clients; has no effect.
    restricted_tags: Option<Vec<i32>>,
    /// The user's picture: a PNG, JPEG, WebP or GIF image as a data URL in base64, or empty. Stored for clients; has no
    /// effect.
    avatar: Option<String>,
    /// The user's names in Plex, separated by commas. Stored for clients; has no effect.
    plex_usernames: Option<String>,
}

impl UserBody {
    /// Validates changes to the user `before`. Accepts an unchanged name or avatar even if it breaks the rules, because
    /// clients send back the stored value, which can be older than the rules.
    pub fn check_change(self, before: &model::User) -> Result<UserChange, Problem> {
        let mut errors = Errors::default();
        if self.password.is_some() {
            errors.add("Password", "Change passwords with ChangePassword.");
        }
        let change = self.check(Some(before), &mut errors);
        if errors.is_empty() {
            Ok(change)
        } else {
            Err(errors.into())
        }
    }

    fn check(self, before: Option<&model::User>, errors: &mut Errors) -> UserChange {
        let name = self.username.and_then(|text| match NewName::parse(&text.0) {
            Ok(name) => Some(name),
            Err(NewNameError::Name(NameError::Blank)) => {
                errors.add("Username", "Username cannot be empty or only white-spaces.");
                None
            }
            Err(NewNameError::Invisible(_)) if before.is_some_and(|before| before.name == text.0.trim()) => None,
            Err(error) => {
                errors.add("Username", error.to_string());
                None
            }
        });
        let is_new = |avatar: &String| before.is_none_or(|before| *avatar != before.profile.avatar);
        let avatar = self.avatar.filter(is_new).and_then(|text| {
            Avatar::parse(text)
                .map_err(|error| errors.add("Avatar", error.to_string()))
                .ok()
        });
        if self.plex_usernames.as_ref().is_some_and(|names| names.contains('\0')) {
            errors.add("PlexUsernames", "The value must not contain NUL characters.");
        }
        let sites = self.community_sites.iter().flatten().map(String::len).sum();
        let names = self.plex_usernames.as_ref().map_or(0, String::len);
        for (member, bytes) in [("CommunitySites", sites), ("PlexUsernames", names)] {
            if bytes > MAX_BYTES {
                errors.add(member, format!("The value may have at most {MAX_BYTES} bytes."));
            }
        }
        let list = |items: Vec<Value>| Value::from(items).to_string();
        UserChange {
            name,
            is_admin: self.is_admin,
            profile: model::ProfileChange {
                community_sites: self
                    .community_sites
                    .map(|sites| list(sites.into_iter().map(Value::from).collect())),
                restricted_tags: self
                    .restricted_tags
                    .map(|tags| list(tags.into_iter().map(Value::from).collect())),
                avatar,
                plex_usernames: self.plex_usernames,
            },
        }
    }

    /// Returns the members of `user` that `patch` changes, with their new values. Names of members match in any case.
    ///
    /// Each operation must concern a member or an item of a member. The operations `move` and `copy` are rejected,
    /// because with them, a small patch could produce a large user.
    pub fn patched(user: &model::User, patch: &Patch) -> Result<Self, Problem> {
        let invalid = |text: &str| Problem::invalid("", text);
        if patch.0.len() > MAX_OPERATIONS {
            return Err(invalid("The JSON Patch has too many operations."));
        }
        let before = serde_json::to_value(User::from(user.clone())).map_err(|e| invalid(&e.to_string()))?;
        let operations = patch.0.iter().map(|operation| adapt(operation.clone(), &before));
        let patch = Patch(operations.collect::<Result<_, _>>()?);
        let mut after = before.clone();
        // A patch that fails may leave `after` half changed. That does not matter, because `after` is then discarded.
        json_patch::patch_unsafe(&mut after, &patch)
            .map_err(|_| invalid("The JSON Patch cannot be applied to the user."))?;
        let members = after.as_object().into_iter().flatten();
        let changed = members.filter(|(name, value)| before.get(name) != Some(value));
        let changed = changed.map(|(name, value)| (name.clone(), value.clone())).collect();
        parse_object(&Value::Object(changed).to_string())
    }

    #[must_use]
    pub fn example() -> Value {
        json!({"Username": "Rob", "PlexUsernames": "rob"})
    }
}

/// The maximum number of operations in a JSON Patch, more than any client sends.
const MAX_OPERATIONS: usize = 100;

/// Rewrites an operation so that it can be applied to `document`. The member that its path names gets the case that it
/// has in `document`. An operation that removes the member becomes one that sets the member to an empty value.
fn adapt(mut operation: PatchOperation, document: &Value) -> Result<PatchOperation, Problem> {
    let path = match &mut operation {
        PatchOperation::Add(add) => &mut add.path,
        PatchOperation::Remove(remove) => &mut remove.path,
        PatchOperation::Replace(replace) => &mut replace.path,
        PatchOperation::Test(test) => &mut test.path,
        PatchOperation::Move(_) | PatchOperation::Copy(_) => {
            return Err(Problem::invalid(
                "",
                "Only the operations add, remove, replace and test are supported.",
            ));
        }
    };
    let tokens: Vec<String> = path.tokens().map(|token| token.decoded().into_owned()).collect();
    let names = document.as_object().into_iter().flat_map(Map::keys);
    let first = tokens.first().map(String::as_str).unwrap_or_default();
    let name = names
        .into_iter()
        .find(|name| *name != "ID" && name.eq_ignore_ascii_case(first))
        .cloned();
    let (Some(name), 1 | 2) = (name, tokens.len()) else {
        return Err(Problem::invalid(
            "",
            "A path in the JSON Patch names nothing that can be changed.",
        ));
    };
    *path = PointerBuf::from_tokens(std::iter::once(name.as_str()).chain(tokens.get(1).map(String::as_str)));
    let is_member = tokens.len() == 1;
    match (operation, document.get(&name)) {
        (PatchOperation::Remove(remove), Some(Value::String(_))) if is_member && name != "Username" => {
            let (path, value) = (remove.path, Value::from(""));
            Ok(PatchOperation::Replace(ReplaceOperation { path, value }))
        }
        (PatchOperation::Remove(remove), Some(Value::Array(_))) if is_member => {
            let (path, value) = (remove.path, json!([]));
            Ok(PatchOperation::Replace(ReplaceOperation { path, value }))
        }
        (PatchOperation::Remove(_), _) if is_member => Err(Problem::invalid(&name, "This member cannot be removed.")),
        (operation, _) => Ok(operation),
    }
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ChangePasswordRequest {
    /// The new password, exactly as the user types it.
    #[schema(value_type = String, required = true, nullable = false)]
    password: Option<Text>,
    /// Whether to revoke all keys of the user.
    #[serde(rename = "RevokeAPIKeys")]
    #[schema(default = true)]
    revoke_api_keys: Option<bool>,
}

impl ChangePasswordRequest {
    /// Validates the request and returns the password and the effect on the keys.
    pub fn check(self) -> Result<(SecretText, KeysAfterChange), Problem> {
        let password = self
            .password
            .ok_or_else(|| Problem::invalid("Password", "Password is required"))?;
        let keys = match self.revoke_api_keys {
            Some(false) => KeysAfterChange::Kept,
            None | Some(true) => KeysAfterChange::Revoked,
        };
        Ok((SecretText::new(password.0), keys))
    }

    #[must_use]
    pub fn example() -> Value {
        json!({"Password": "correct horse battery", "RevokeAPIKeys": true})
    }
}
