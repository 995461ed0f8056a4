//! Request and response formats of Zulip's API.

use std::collections::BTreeSet;

use actix_web::body::BoxBody;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use actix_web::{HttpRequest, HttpResponse, Responder};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::error::ZulipError;
use crate::error::ServiceError;
use crate::model::{SecretText, User};
use crate::web::body::Body;
use crate::web::query::Query;

/// The version of Zulip that this server stands in for: the oldest that current apps accept.
const VERSION: &str = "9.0";
const FEATURE_LEVEL: u32 = 277;

/// A successful response.
#[derive(Serialize, ToSchema)]
pub struct Success<T> {
    /// Always `success`.
    result: &'static str,
    /// Always empty.
    msg: &'static str,
    #[serde(flatten)]
    #[schema(inline)]
    content: T,
    /// The names of the parameters that the route does not use.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    ignored_parameters_unsupported: BTreeSet<String>,
}

impl<T> Success<T> {
    pub fn of(content: T) -> Self {
        Self {
            result: "success",
            msg: "",
            content,
            ignored_parameters_unsupported: BTreeSet::new(),
        }
    }

    /// Reports parameters as ignored.
    pub fn ignoring(self, ignored: BTreeSet<String>) -> Self {
        Self {
            ignored_parameters_unsupported: ignored,
            ..self
        }
    }
}

impl<T: Serialize> Responder for Success<T> {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        match serde_json::to_string(&self) {
            Ok(json) => {
                let mut response = HttpResponse::Ok().body(json + "\n");
                let content_type = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, content_type);
                response
            }
            Err(e) => HttpResponse::from_error(ZulipError::from(ServiceError::internal(e))),
        }
    }
}

/// The parameters of a request. The form overrides the query. If a name occurs several times, the last value wins.
pub struct Parameters(Vec<(String, Zeroizing<String>)>);

impl Parameters {
    /// Reads the parameters of a request from its query and its form. A body that is not a form is ignored.
    pub async fn of(request: &HttpRequest, body: Body) -> Result<Self, ZulipError> {
        let form = body
            .form_text()
            .await?
            .map(|text| Query::parse(&text))
            .unwrap_or_default();
        let query = Query::of(request);
        let pairs = query.pairs().chain(form.pairs());
        Ok(Self(
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned().into()))
                .collect(),
        ))
    }

    /// Returns a parameter. Fails if it is missing.
    pub fn required(&self, name: &str) -> Result<&str, ZulipError> {
        let found = self.0.iter().rev().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.as_str())
            .ok_or_else(|| ZulipError::missing_parameter(name))
    }

    /// Returns a parameter that must not be logged. Fails if it is missing.
    pub fn secret(&self, name: &str) -> Result<SecretText, ZulipError> {
        self.required(name).map(|text| SecretText::new(text.to_owned()))
    }

    /// Returns the names of all parameters except those in `used`.
    pub fn except(&self, used: &[&str]) -> BTreeSet<String> {
        // Zulip never reports `client` as ignored, because it writes `client` to its log.
        let is_used = |name: &str| used.contains(&name) || name == "client";
        self.0
            .iter()
            .map(|(name, _)| name.clone())
            .filter(|name| !is_used(name))
            .collect()
    }
}

/// A login, for the OpenAPI document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`Parameters` reads the form")]
pub struct LoginForm {
    /// The user's name or e-mail address.
    username: String,
    /// The password.
    password: String,
}

/// A login without a password, for the OpenAPI document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`Parameters` reads the form")]
pub struct DevLoginForm {
    /// The user's name or e-mail address.
    username: String,
}

/// A key and its owner.
#[derive(Serialize, ToSchema)]
pub struct FetchedKey {
    /// The key: 32 letters and digits.
    pub api_key: String,
    /// The user's e-mail address, or else the user's name.
    pub email: String,
    /// The user's id.
    pub user_id: i32,
}

/// A key that replaces another.
#[derive(Serialize, ToSchema)]
pub struct NewKey {
    /// The key: 32 letters and digits.
    pub api_key: String,
}

/// Returns the user's e-mail address, or else the user's name.
pub fn email_of(user: &User) -> &str {
    user.email.as_deref().unwrap_or(&user.name)
}

/// The owner of the presented key.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "Zulip's wire has them")]
pub struct OwnUser {
    user_id: i32,
    email: String,
    delivery_email: String,
    full_name: String,
    is_admin: bool,
    is_owner: bool,
    is_guest: bool,
    is_billing_admin: bool,
    /// Zulip's code for the role: 200 (administrator) or 400 (member).
    role: u16,
    is_bot: bool,
    is_active: bool,
    timezone: &'static str,
    date_joined: String,
    avatar_url: Option<String>,
    avatar_version: u8,
    #[schema(value_type = Object)]
    profile_data: Value,
    max_message_id: i8,
}

impl From<User> for OwnUser {
    fn from(user: User) -> Self {
        let email = email_of(&user).to_owned();
        Self {
            user_id: user.id,
            delivery_email: email.clone(),
            email,
            full_name: user.name,
            is_admin: user.is_admin,
            is_owner: false,
            is_guest: false,
            is_billing_admin: false,
            role: if user.is_admin { 200 } else { 400 },
            is_bot: false,
            is_active: !user.is_disabled,
            timezone: "",
            date_joined: user.created_at.and_utc().to_rfc3339(),
            avatar_url: None,
            avatar_version: 1,
            profile_data: Value::Object(serde_json::Map::new()),
            max_message_id: -1,
        }
    }
}

/// The supported authentication methods.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "Zulip's wire has them")]
struct AuthenticationMethods {
    password: bool,
    dev: bool,
    email: bool,
    ldap: bool,
    remoteuser: bool,
}

/// The settings that clients need before a login.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "Zulip's wire has them")]
pub struct ServerSettings {
    authentication_methods: AuthenticationMethods,
    zulip_version: &'static str,
    zulip_merge_base: &'static str,
    zulip_feature_level: u32,
    push_notifications_enabled: bool,
    is_incompatible: bool,
    email_auth_enabled: bool,
    /// Always false: users can log in by name.
    require_email_format_usernames: bool,
    /// The URL of the server.
    realm_url: String,
    /// The URL of the server, under the former name of this field.
    realm_uri: String,
    realm_name: &'static str,
    realm_icon: String,
    realm_description: &'static str,
    realm_web_public_access_enabled: bool,
    /// Always empty.
    external_authentication_methods: Vec<ExternalAuthenticationMethod>,
}

/// A login with another service. This server offers none.
#[derive(Serialize, ToSchema)]
struct ExternalAuthenticationMethod {
    name: String,
    display_name: String,
    display_icon: Option<String>,
    login_url: String,
    signup_url: String,
}

impl ServerSettings {
    /// Creates the settings of a server at `url`. The user agent of the request determines whether the client is
    /// incompatible.
    pub fn of(request: &HttpRequest, url: String, dev_login: bool) -> Self {
        let agent = request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok());
        let agent = agent.unwrap_or_default().split('/').next().unwrap_or_default();
        Self {
            authentication_methods: AuthenticationMethods {
                password: true,
                dev: dev_login,
                email: true,
                ldap: false,
                remoteuser: false,
            },
            zulip_version: VERSION,
            zulip_merge_base: VERSION,
            zulip_feature_level: FEATURE_LEVEL,
            push_notifications_enabled: false,
            is_incompatible: agent == "ZulipInvalid",
            email_auth_enabled: true,
            require_email_format_usernames: false,
            realm_icon: format!("{url}/swagger/favicon-32x32.png"),
            realm_uri: url.clone(),
            realm_url: url,
            realm_name: "shoko-auth",
            realm_description: "",
            realm_web_public_access_enabled: false,
            external_authentication_methods: Vec::new(),
        }
    }
}
