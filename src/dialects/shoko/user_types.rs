//! Users on Shoko's wire.

use json_patch::{Patch, PatchOperation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::auth::KeysAfterChange;
use crate::model::{self, Name, NameFault, NewUser, SecretText, UserChange};
use crate::web::body::{Text, read_object};
use crate::web::problem::{Errors, Problem};

/// A user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct User {
    /// The id.
    #[serde(rename = "ID")]
    id: i32,
    /// The name.
    username: String,
    /// May manage others.
    is_admin: bool,
    /// Kept for clients; has no effect here.
    community_sites: Vec<String>,
    /// Kept for clients; has no effect here.
    restricted_tags: Vec<i32>,
    /// A data URL, or empty. Kept for clients.
    avatar: String,
    /// Comma-separated. Kept for clients.
    plex_usernames: String,
}

impl User {
    /// For the document.
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

/// A user to be made, or what shall be different about one.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct UserBody {
    /// The name.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255)]
    username: Option<Text>,
    /// The password; only for a new user.
    #[schema(value_type = Option<String>)]
    password: Option<Text>,
    /// May manage others.
    is_admin: Option<bool>,
    /// Kept for clients; has no effect here.
    community_sites: Option<Vec<String>>,
    /// Kept for clients; has no effect here.
    restricted_tags: Option<Vec<i32>>,
    /// A data URL, or empty. Kept for clients.
    avatar: Option<String>,
    /// Comma-separated. Kept for clients.
    plex_usernames: Option<String>,
}

impl UserBody {
    /// A new user and the password.
    pub fn check_new(mut self) -> Result<(NewUser, SecretText), Problem> {
        let mut errors = Errors::default();
        if self.username.as_ref().is_none_or(|text| text.0.trim().is_empty()) {
            errors.add("Username", "A new user must have a username set.");
        }
        let password = self.password.take().map(|text| SecretText::new(text.0));
        if password.is_none() {
            errors.add("Password", "Password is required");
        }
        let change = self.check(&mut errors);
        match (change.name, password) {
            (Some(name), Some(password)) if errors.is_empty() => {
                let is_admin = change.is_admin.unwrap_or(false);
                let profile = change.profile;
                Ok((
                    NewUser {
                        name,
                        email: None,
                        is_admin,
                        profile,
                    },
                    password,
                ))
            }
            _ => Err(errors.into()),
        }
    }

    /// What shall be different.
    pub fn check_change(self) -> Result<UserChange, Problem> {
        let mut errors = Errors::default();
        let change = self.check(&mut errors);
        if errors.is_empty() {
            Ok(change)
        } else {
            Err(errors.into())
        }
    }

    fn check(self, errors: &mut Errors) -> UserChange {
        let name = self.username.and_then(|text| {
            Name::parse(&text.0)
                .map_err(|fault| match fault {
                    NameFault::Blank => errors.add("Username", "Username cannot be empty or only white-spaces."),
                    NameFault::TooLong | NameFault::ControlCharacter => errors.add("Username", fault.to_string()),
                })
                .ok()
        });
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
                avatar: self.avatar,
                plex_usernames: self.plex_usernames,
            },
        }
    }

    /// What is different about `user` after `patch`. Members match in any case.
    pub fn patched(user: model::User, mut patch: Patch) -> Result<Self, Problem> {
        let invalid = |text: String| Problem::invalid("", text);
        let before = serde_json::to_value(User::from(user)).map_err(|e| invalid(e.to_string()))?;
        for operation in &mut patch.0 {
            match_case(operation, &before)?;
        }
        let mut after = before.clone();
        json_patch::patch(&mut after, &patch).map_err(|e| invalid(format!("The JSON Patch does not fit: {e}.")))?;
        let Value::Object(after) = after else {
            return Err(invalid("The JSON Patch leaves no object.".to_owned()));
        };
        let changed = after
            .into_iter()
            .filter(|(name, value)| before.get(name) != Some(value))
            .collect();
        read_object(&Value::Object(changed).to_string())
    }

    /// For the document.
    #[must_use]
    pub fn example() -> Value {
        json!({"Username": "Rob", "PlexUsernames": "rob"})
    }

    /// For the document.
    #[must_use]
    pub fn new_example() -> Value {
        json!({"Username": "Rob", "Password": "correct horse battery", "IsAdmin": false})
    }
}

/// Gives a path's first member the spelling it has in `document`.
fn match_case(operation: &mut PatchOperation, document: &Value) -> Result<(), Problem> {
    let path = match operation {
        PatchOperation::Add(add) => &mut add.path,
        PatchOperation::Remove(remove) => &mut remove.path,
        PatchOperation::Replace(replace) => &mut replace.path,
        PatchOperation::Move(to) => &mut to.path,
        PatchOperation::Copy(to) => &mut to.path,
        PatchOperation::Test(test) => &mut test.path,
    };
    let text = path.as_str().to_owned();
    let (first, rest) = text[1.min(text.len())..]
        .split_once('/')
        .unwrap_or((&text[1.min(text.len())..], ""));
    let names = document.as_object().into_iter().flat_map(|members| members.keys());
    let Some(name) = names.into_iter().find(|name| name.eq_ignore_ascii_case(first)) else {
        return Err(Problem::invalid("", format!("There is no member '{first}'.")));
    };
    let slash = if rest.is_empty() { "" } else { "/" };
    *path = format!("/{name}{slash}{rest}")
        .parse()
        .map_err(|_| Problem::invalid("", "The path is not valid."))?;
    Ok(())
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ChangePasswordRequest {
    /// The password, exactly.
    #[schema(value_type = String, required = true, nullable = false)]
    password: Option<Text>,
    /// Whether all keys of the user end.
    #[serde(rename = "RevokeAPIKeys")]
    #[schema(default = true)]
    revoke_api_keys: Option<bool>,
}

impl ChangePasswordRequest {
    /// The password, and what becomes of the keys.
    pub fn check(self) -> Result<(SecretText, KeysAfterChange), Problem> {
        let password = self
            .password
            .ok_or_else(|| Problem::invalid("Password", "Password is required"))?;
        let keys = match self.revoke_api_keys {
            Some(false) => KeysAfterChange::Kept,
            None | Some(true) => KeysAfterChange::Ended,
        };
        Ok((SecretText::new(password.0), keys))
    }

    /// For the document.
    #[must_use]
    pub fn example() -> Value {
        json!({"Password": "correct horse battery", "RevokeAPIKeys": true})
    }
}
