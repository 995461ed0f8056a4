//! What travels on Shoko's wire, under Shoko's names.

use chrono::{NaiveDateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::expiry;
use crate::auth::{IssuedKey, LogIn};
use crate::model::{KeyInfo, Name, NameError, RequestedExpiry, SecretText, normalize};
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
        let names = Login {
            user: "user",
            password: "pass",
            device: "device",
        };
        names.check(self.user, self.pass, self.device, RequestedExpiry::Never)
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
            NameError::Blank => errors.add(member, format!("{what} is required")),
            NameError::TooLong => errors.add(
                member,
                format!("{what} may have at most {} characters", Name::MAX_CHARS),
            ),
            NameError::ControlCharacter => errors.add(member, format!("{what} must not contain control characters")),
        })
        .ok()
}

/// Who logs in, on which device, and for how long.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct SignInRequest {
    /// The user's name; case and outer blanks do not matter.
    #[schema(value_type = String, required = true, nullable = false, min_length = 1, max_length = 255)]
    user: Option<Text>,
    /// The password, exactly.
    #[schema(value_type = String, required = true, nullable = false)]
    password: Option<Text>,
    /// The name of the device the key is for; case and outer blanks do not matter.
    #[schema(value_type = String, required = true, nullable = false, min_length = 1, max_length = 255)]
    device: Option<Text>,
    /// When the key shall end: `30m`, `24h`, `7d`, an ISO 8601 duration, or a date and time (UTC without an offset).
    #[schema(value_type = Option<String>)]
    expires: Option<Text>,
}

impl SignInRequest {
    /// All that is wrong with it in one answer, as Shoko does; but for the time, which comes after the password.
    pub fn check(self) -> Result<LogIn, Problem> {
        let names = Login {
            user: "User",
            password: "Password",
            device: "Device",
        };
        names.check(self.user, self.password, self.device, read_expiry(self.expires))
    }

    /// For the document.
    #[must_use]
    pub fn example() -> Value {
        json!({"User": "Default", "Password": "correct horse battery", "Device": "web-ui", "Expires": "24h"})
    }
}

fn read_expiry(text: Option<Text>) -> RequestedExpiry {
    expiry::read(text.map(|text| text.0).as_deref())
}

/// What a login's members are called on one route.
struct Login {
    user: &'static str,
    password: &'static str,
    device: &'static str,
}

impl Login {
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
            }),
            _ => Err(errors.into()),
        }
    }
}

/// For which device, and for how long.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct GenerateTokenRequest {
    /// The device's name.
    #[schema(value_type = String, required = true, nullable = false, min_length = 1, max_length = 255)]
    device: Option<Text>,
    /// When the key shall end; see `SignInRequest`.
    #[schema(value_type = Option<String>)]
    expires: Option<Text>,
}

impl GenerateTokenRequest {
    /// The device and the time.
    pub fn check(self) -> Result<(Name, RequestedExpiry), Problem> {
        let mut errors = Errors::default();
        let device = check_name(self.device, "Device", "Device", &mut errors);
        device
            .map(|device| (device, read_expiry(self.expires)))
            .ok_or_else(|| errors.into())
    }

    /// For the document.
    #[must_use]
    pub fn example() -> Value {
        json!({"Device": "my script", "Expires": "7d"})
    }
}

/// A key that was handed out.
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
    /// When it stops working; null: never by itself.
    #[schema(format = "date-time")]
    expires_at: Option<String>,
    /// The key: a GUID.
    #[schema(format = "uuid")]
    token: String,
}

impl AuthToken {
    /// For the document.
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

/// A key, without what could be used.
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
    /// When it stops working; null: never by itself.
    #[schema(format = "date-time")]
    expires_at: Option<String>,
}

impl ListedToken {
    /// By user, device and time; those that last come last.
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

    /// For the document.
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

/// ISO 8601 with the offset of UTC, as Shoko writes it.
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
    /// For the document.
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
