//! Request and response types of Shoko's API, under Shoko's names.

use chrono::{NaiveDateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::DIALECT;
use super::expiry;
use super::json::Text;
use crate::auth::{IssuedKey, LogIn};
use crate::model::{KeyInfo, Name, NameError, RequestedExpiry, SecretText, normalize};
use crate::web::problem::{Errors, Problem};

/// A login on a device.
#[derive(Deserialize, ToSchema)]
pub struct CoreAuthUser {
    /// The user's name or e-mail address. Case and surrounding blanks do not matter.
    #[schema(value_type = String, required = true, nullable = false, min_length = 1, max_length = 255)]
    user: Option<Text>,
    /// The password, exactly as the user types it.
    #[schema(value_type = String, required = true, nullable = false)]
    pass: Option<Text>,
    /// The name of the device that gets the key. Case and surrounding blanks do not matter.
    #[schema(value_type = String, required = true, nullable = false, min_length = 1, max_length = 255)]
    device: Option<Text>,
}

impl CoreAuthUser {
    /// Validates the request. Reports all errors at once, as Shoko does.
    pub fn check(self) -> Result<LogIn, Problem> {
        let names = LoginMembers {
            user: "user",
            password: "pass",
            device: "device",
        };
        names.check(self.user, self.pass, self.device, RequestedExpiry::Never)
    }

    #[must_use]
    pub fn example() -> Value {
        json!({"user": "Default", "pass": "correct horse battery", "device": "web-ui"})
    }
}

fn check_name(text: Option<Text>, member: &str, label: &str, errors: &mut Errors) -> Option<Name> {
    let text = text.map_or(String::new(), |text| text.0);
    Name::parse(&text)
        .map_err(|error| match error {
            NameError::Blank => errors.add(member, format!("{label} is required")),
            NameError::TooLong => errors.add(
                member,
                format!("{label} may have at most {} characters", Name::MAX_CHARS),
            ),
            NameError::ControlCharacter => errors.add(member, format!("{label} must not contain control characters")),
        })
        .ok()
}

/// A login on a device, with an expiry.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct SignInRequest {
    /// The user's name or e-mail address. Case and surrounding blanks do not matter.
    #[schema(value_type = String, required = true, nullable = false, min_length = 1, max_length = 255)]
    user: Option<Text>,
    /// The password, exactly as the user types it.
    #[schema(value_type = String, required = true, nullable = false)]
    password: Option<Text>,
    /// The name of the device that gets the key. Case and surrounding blanks do not matter.
    #[schema(value_type = String, required = true, nullable = false, min_length = 1, max_length = 255)]
    device: Option<Text>,
    /// When the key expires: `30m`, `24h`, `7d`, an ISO 8601 duration, or a date and time. A time without an offset is
    /// in UTC. Without this field, the key never expires.
    #[schema(value_type = Option<String>)]
    expires: Option<Text>,
}

impl SignInRequest {
    /// Validates the request. Reports all errors at once, as Shoko does. Only an invalid expiry is reported later,
    /// after the password check. A duration in it counts from `now`.
    pub fn check(self, now: NaiveDateTime) -> Result<LogIn, Problem> {
        let names = LoginMembers {
            user: "User",
            password: "Password",
            device: "Device",
        };
        let expiry = parse_expiry(self.expires, now);
        names.check(self.user, self.password, self.device, expiry)
    }

    #[must_use]
    pub fn example() -> Value {
        json!({"User": "Default", "Password": "correct horse battery", "Device": "web-ui", "Expires": "24h"})
    }
}

fn parse_expiry(text: Option<Text>, now: NaiveDateTime) -> RequestedExpiry {
    expiry::parse(text.map(|text| text.0).as_deref(), now)
}

/// The names that a route gives to the members of a login.
struct LoginMembers {
    user: &'static str,
    password: &'static str,
    device: &'static str,
}

impl LoginMembers {
    fn check(
        &self,
        user: Option<Text>,
        password: Option<Text>,
        device: Option<Text>,
        expiry: RequestedExpiry,
    ) -> Result<LogIn, Problem> {
        let mut errors = Errors::default();
        let user = check_name(user, self.user, "Username", &mut errors);
        let password = password.map(|text| SecretText::new(text.0));
        if password.is_none() {
            errors.add(self.password, "Password is required");
        }
        let device = check_name(device, self.device, "Device", &mut errors);
        match (user, password, device) {
            (Some(user), Some(password), Some(device)) => Ok(LogIn {
                user,
                password,
                device,
                expiry,
                dialect: DIALECT,
            }),
            _ => Err(errors.into()),
        }
    }
}

/// A key for another device, with an expiry.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct GenerateTokenRequest {
    /// The device's name.
    #[schema(value_type = String, required = true, nullable = false, min_length = 1, max_length = 255)]
    device: Option<Text>,
    /// When the key expires, in the formats of `SignInRequest`.
    #[schema(value_type = Option<String>)]
    expires: Option<Text>,
}

impl GenerateTokenRequest {
    /// Validates the request and returns the device and the expiry. A duration counts from `now`.
    pub fn check(self, now: NaiveDateTime) -> Result<(Name, RequestedExpiry), Problem> {
        let mut errors = Errors::default();
        let device = check_name(self.device, "Device", "Device", &mut errors);
        device
            .map(|device| (device, parse_expiry(self.expires, now)))
            .ok_or_else(|| errors.into())
    }

    #[must_use]
    pub fn example() -> Value {
        json!({"Device": "my script", "Expires": "7d"})
    }
}

/// A key with its owner, its device and its expiry.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct AuthToken {
    /// The user's id.
    #[serde(rename = "UserID")]
    user_id: i32,
    /// The user's name.
    username: String,
    /// The device's name.
    device: String,
    /// When the key expires; null means never.
    #[schema(format = "date-time")]
    expires_at: Option<String>,
    /// The key: a GUID.
    #[schema(format = "uuid")]
    token: String,
}

impl AuthToken {
    #[must_use]
    pub fn example() -> Value {
        json!({"UserID": 1, "Username": "Default", "Device": "my script", "ExpiresAt": "2030-01-01T00:00:00+00:00",
            "Token": "7d9b6d7c-3a0c-4a51-9d1e-0f6c5a3b2e10"})
    }
}

impl From<IssuedKey> for AuthToken {
    fn from(issued: IssuedKey) -> Self {
        Self {
            user_id: issued.user_id,
            device: issued.device.as_typed().to_owned(),
            expires_at: issued.expires_at.map(time),
            token: issued.key.expose(),
            username: issued.user,
        }
    }
}

/// Information about a key, but not the key itself.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ListedToken {
    /// The user's id.
    #[serde(rename = "UserID")]
    user_id: i32,
    /// The user's name.
    username: String,
    /// The device's name.
    device: String,
    /// When the key expires; null means never.
    #[schema(format = "date-time")]
    expires_at: Option<String>,
}

impl ListedToken {
    /// Sorts keys by user, then by device, then by expiry. The lasting keys of a device come last.
    #[must_use]
    pub fn sorted(mut keys: Vec<KeyInfo>) -> Vec<Self> {
        keys.sort_by_cached_key(|key| {
            (
                key.user_id,
                normalize(&key.device),
                key.expires_at.is_none(),
                key.expires_at,
            )
        });
        keys.into_iter().map(Self::from).collect()
    }

    #[must_use]
    pub fn examples() -> Value {
        json!([{"UserID": 1, "Username": "Default", "Device": "web-ui", "ExpiresAt": null}])
    }
}

impl From<KeyInfo> for ListedToken {
    fn from(key: KeyInfo) -> Self {
        Self {
            user_id: key.user_id,
            username: key.user,
            device: key.device,
            expires_at: key.expires_at.map(time),
        }
    }
}

/// Formats a time as ISO 8601 with the offset of UTC, as Shoko does.
fn time(time: NaiveDateTime) -> String {
    time.and_utc().to_rfc3339_opts(SecondsFormat::AutoSi, false)
}

/// A device's key.
#[derive(Serialize, ToSchema)]
pub struct ApikeyResult {
    /// The key: a GUID.
    #[schema(format = "uuid")]
    apikey: String,
}

impl ApikeyResult {
    #[must_use]
    pub fn example() -> Value {
        json!({"apikey": "7d9b6d7c-3a0c-4a51-9d1e-0f6c5a3b2e10"})
    }
}

impl From<&IssuedKey> for ApikeyResult {
    fn from(issued: &IssuedKey) -> Self {
        Self {
            apikey: issued.key.expose(),
        }
    }
}

/// An operation of a JSON Patch (RFC 6902). Of its operations, `move` and `copy` are rejected.
#[derive(ToSchema)]
#[expect(dead_code, reason = "bodies are read as a `json_patch::Patch`")]
pub struct JsonPatchOperation {
    #[schema(inline)] // A comment here would become a second schema, which no value matches.
    op: JsonPatchVerb,
    /// The place to change, as a JSON Pointer (RFC 6901).
    #[schema(example = "/PlexUsernames")]
    path: String,
    /// The new value, or for `test`, the expected value. Required, except for `remove`.
    #[schema(value_type = Value, required = false)]
    value: Option<Value>,
}

/// What to do with the value at `path`.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "bodies are read as a `json_patch::Patch`")]
enum JsonPatchVerb {
    Add,
    Remove,
    Replace,
    Test,
}
