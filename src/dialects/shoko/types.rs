//! What travels on Shoko's wire, under Shoko's names.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::auth::LogIn;
use crate::model::{self, Name, NameFault, SecretText};
use crate::secret::key::Key;
use crate::web::body::Text;
use crate::web::problem::{Errors, Problem};

/// Who logs in, and on which device.
#[derive(Deserialize, ToSchema)]
pub struct CoreAuthUser {
    /// The user's name; case and outer blanks do not matter.
    #[schema(value_type = String, required = true, nullable = false, min_length = 1, max_length = 255)]
    user: Option<Text>,
    /// The password, exactly.
    #[schema(value_type = String, required = true, nullable = false)]
    pass: Option<Text>,
    /// The name of the device the key is for; case and outer blanks do not matter.
    #[schema(value_type = String, required = true, nullable = false, min_length = 1, max_length = 255)]
    device: Option<Text>,
}

impl CoreAuthUser {
    /// All that is wrong with it in one answer, as Shoko does.
    pub fn check(self) -> Result<LogIn, Problem> {
        let mut errors = Errors::default();
        let user = check_name(self.user, "user", "Username", &mut errors);
        let password = self.pass.map(|text| SecretText::new(text.0));
        if password.is_none() {
            errors.add("pass", "Password is required");
        }
        let device = check_name(self.device, "device", "Device", &mut errors);
        match (user, password, device) {
            (Some(user), Some(password), Some(device)) => Ok(LogIn { user, password, device }),
            _ => Err(errors.into()),
        }
    }

    /// For the document.
    #[must_use]
    pub fn example() -> Value {
        json!({"user": "Default", "pass": "correct horse battery", "device": "web-ui"})
    }
}

fn check_name(text: Option<Text>, member: &str, what: &str, errors: &mut Errors) -> Option<Name> {
    let text = text.map_or(String::new(), |text| text.0);
    Name::parse(&text)
        .map_err(|fault| match fault {
            NameFault::Blank => errors.add(member, format!("{what} is required")),
            NameFault::TooLong => errors.add(
                member,
                format!("{what} may have at most {} characters", Name::MAX_CHARS),
            ),
            NameFault::ControlCharacter => errors.add(member, format!("{what} must not contain control characters")),
        })
        .ok()
}

/// A device's key.
#[derive(Serialize, ToSchema)]
pub struct ApikeyResult {
    /// The key: a GUID.
    #[schema(format = "uuid")]
    apikey: String,
}

impl ApikeyResult {
    /// For the document.
    #[must_use]
    pub fn example() -> Value {
        json!({"apikey": "7d9b6d7c-3a0c-4a51-9d1e-0f6c5a3b2e10"})
    }
}

impl From<&Key> for ApikeyResult {
    fn from(key: &Key) -> Self {
        Self { apikey: key.expose() }
    }
}

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
