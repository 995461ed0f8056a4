//! What travels on Zulip's wire.

use std::collections::BTreeSet;

use actix_web::body::BoxBody;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, USER_AGENT};
use actix_web::{HttpRequest, HttpResponse, Responder};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::error::Refusal;
use crate::model::{SecretText, User};
use crate::web::body::Body;
use crate::web::query::Query;

/// The version whose login this is, and the least that today's apps accept.
const VERSION: &str = "9.0";
const FEATURE_LEVEL: u32 = 277;

/// Says yes: `result`, `msg`, and the rest.
#[derive(Serialize, ToSchema)]
pub struct Success<T> {
    /// Always `success`.
    result: &'static str,
    /// Always empty.
    msg: &'static str,
    #[serde(flatten)]
    #[schema(inline)]
    answer: T,
    /// What was sent along and means nothing.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    ignored_parameters_unsupported: BTreeSet<String>,
}

impl<T> Success<T> {
    /// With nothing ignored.
    pub fn of(answer: T) -> Self {
        Self {
            result: "success",
            msg: "",
            answer,
            ignored_parameters_unsupported: BTreeSet::new(),
        }
    }

    /// The same, and what was ignored.
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
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                response
            }
            Err(e) => HttpResponse::from_error(Refusal::from(crate::error::AuthError::internal(e.to_string()))),
        }
    }
}

/// The parameters of a request: the form's, then the query's; the form wins, and the last of several.
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Of this request. A body that is no form has none.
    pub async fn of(request: &HttpRequest, body: Body) -> Result<Self, Refusal> {
        let form = body
            .form_text()
            .await?
            .map(|text| Query::parse(&text))
            .unwrap_or_default();
        let query = Query::of(request);
        let pairs = query.pairs().chain(form.pairs());
        Ok(Self(
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        ))
    }

    /// A parameter that must be there.
    pub fn required(&self, name: &str) -> Result<&str, Refusal> {
        let found = self.0.iter().rev().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.as_str())
            .ok_or_else(|| Refusal::missing(name))
    }

    /// The same for what no log may show.
    pub fn secret(&self, name: &str) -> Result<SecretText, Refusal> {
        self.required(name).map(|text| SecretText::new(text.to_owned()))
    }

    /// The names that are none of these.
    pub fn except(&self, used: &[&str]) -> BTreeSet<String> {
        // Zulip's own log reads that one.
        let is_used = |name: &str| used.contains(&name) || name == "client";
        self.0
            .iter()
            .map(|(name, _)| name.clone())
            .filter(|name| !is_used(name))
            .collect()
    }
}

/// Who wants to log in, for the document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`Parameters` reads the form")]
pub struct LoginForm {
    /// The user's name or e-mail address.
    username: String,
    /// The password.
    password: String,
}

/// Whose key is wanted, for the document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`Parameters` reads the form")]
pub struct DevLoginForm {
    /// The user's name or e-mail address.
    username: String,
}

/// A key, and whose it is.
#[derive(Serialize, ToSchema)]
pub struct FetchedKey {
    /// 32 letters and digits.
    pub api_key: String,
    /// The user's e-mail address, or the name of one without.
    pub email: String,
    /// The user's id.
    pub user_id: i32,
}

/// A key in the place of another.
#[derive(Serialize, ToSchema)]
pub struct NewKey {
    /// 32 letters and digits.
    pub api_key: String,
}

/// The e-mail address of a user, or the name of one without.
pub fn email_of(user: &User) -> &str {
    user.email.as_deref().unwrap_or(&user.name)
}

/// Who somebody is.
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
    /// 200: administrator; 400: member.
    role: u16,
    is_bot: bool,
    is_active: bool,
    timezone: &'static str,
    date_joined: String,
    avatar_url: Option<String>,
    avatar_version: u8,
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

/// Which ways to log in there are.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "Zulip's wire has them")]
struct AuthenticationMethods {
    password: bool,
    dev: bool,
    email: bool,
    ldap: bool,
    remoteuser: bool,
}

/// What clients want to know before anybody logs in.
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
    /// Names will do.
    require_email_format_usernames: bool,
    /// Where the server is.
    realm_url: String,
    /// The same.
    realm_uri: String,
    realm_name: &'static str,
    realm_icon: String,
    realm_description: &'static str,
    realm_web_public_access_enabled: bool,
    /// None.
    external_authentication_methods: Vec<Value>,
}

impl ServerSettings {
    /// Of a server at `url`, for this request.
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
