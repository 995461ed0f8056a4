//! Responses of the account's API.

use chrono::{NaiveDateTime, SecondsFormat};
use serde::Serialize;
use utoipa::ToSchema;

use super::AccountUrls;
use crate::auth::{self, ListedUser, NewLink, NewSession, Wait};
use crate::model::{KeyInfo, KeyKind, Scope, UserEntry};

/// Formats a time as RFC 3339 in UTC.
#[must_use]
pub fn time(time: NaiveDateTime) -> String {
    time.and_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// The user who is signed in, since when and until when.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The user's id.
    user_id: i32,
    /// The user's name.
    user: String,
    is_admin: bool,
    /// `session`, or `device` if the request presents a key.
    kind: &'static str,
    /// The browser's or the device's name.
    device: String,
    /// The time of the login.
    #[schema(format = "date-time")]
    created_at: String,
    /// When the session expires if it is not used, or when the key expires. Null means never.
    #[schema(format = "date-time")]
    expires_at: Option<String>,
    /// When the session expires in any case. Null for a key.
    #[schema(format = "date-time")]
    ends_at: Option<String>,
}

impl Session {
    #[must_use]
    pub fn of(key: KeyInfo, is_admin: bool, end: NaiveDateTime) -> Self {
        Self {
            user_id: key.user_id,
            user: key.user,
            is_admin,
            kind: kind(&key.kind),
            device: key.device,
            created_at: time(key.created_at),
            expires_at: key.expires_at.map(time),
            ends_at: (key.kind == KeyKind::Session).then(|| time(end)),
        }
    }
}

impl From<&NewSession> for Session {
    fn from(session: &NewSession) -> Self {
        Self {
            user_id: session.user_id,
            user: session.user.clone(),
            is_admin: session.is_admin,
            kind: kind(&KeyKind::Session),
            device: session.browser.as_typed().to_owned(),
            created_at: time(session.created_at),
            expires_at: Some(time(session.expires_at)),
            ends_at: Some(time(session.ends_at)),
        }
    }
}

fn kind(kind: &KeyKind) -> &'static str {
    match kind {
        KeyKind::Device(_) => "device",
        KeyKind::Session | KeyKind::GatewayCookie => "session",
    }
}

// The schema of a generic list would contain the schema of its items, and SDKs would have to invent a name for them.

/// A page of a list of keys.
#[derive(Serialize, ToSchema)]
pub struct KeyList {
    /// The number of all keys.
    pub total: usize,
    /// The keys on this page.
    pub list: Vec<ListedKey>,
}

/// A page of a list of users.
#[derive(Serialize, ToSchema)]
pub struct UserList {
    /// The number of all users.
    pub total: usize,
    /// The users on this page.
    pub list: Vec<ListedAccount>,
}

/// Information about a key or a session, but not the key itself.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedKey {
    id: i64,
    /// `device`, or `session` for the session of a browser.
    kind: &'static str,
    /// The device's or the browser's name.
    device: String,
    /// `full`, or `gateway` for a key that only forward-auth accepts.
    scope: &'static str,
    /// The hosts for which the key is good. Null means that it is not limited to hosts.
    hosts: Option<Vec<String>>,
    #[schema(format = "date-time")]
    created_at: String,
    /// Null means never.
    #[schema(format = "date-time")]
    expires_at: Option<String>,
    /// The time of the last use, accurate to a minute.
    #[schema(format = "date-time")]
    last_used_at: Option<String>,
    /// The address of the client at that use.
    last_used_from: Option<String>,
    /// Whether this request presents the key.
    is_current: bool,
}

impl ListedKey {
    /// Describes a key for a caller who presents the key with the id `current`.
    #[must_use]
    pub fn of(key: KeyInfo, current: i64) -> Self {
        let scope = match &key.kind {
            KeyKind::Device(scope) => scope,
            KeyKind::Session | KeyKind::GatewayCookie => &Scope::Full,
        };
        Self {
            id: key.id,
            kind: kind(&key.kind),
            scope: scope.name(),
            hosts: scope.hosts().map(<[String]>::to_vec),
            device: key.device,
            created_at: time(key.created_at),
            expires_at: key.expires_at.map(time),
            last_used_at: key.last_used_at.map(time),
            last_used_from: key.last_used_from,
            is_current: key.id == current,
        }
    }
}

/// A new key. It is shown only once.
#[derive(Serialize, ToSchema)]
pub struct IssuedKey {
    /// The key: a GUID.
    #[schema(format = "uuid")]
    pub key: String,
    #[serde(flatten)]
    pub info: ListedKey,
}

/// A user, as administrators see them.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedAccount {
    id: i32,
    name: String,
    email: Option<String>,
    is_admin: bool,
    is_disabled: bool,
    /// Whether the user can log in with a password. A user without one needs a one-time link.
    has_password: bool,
    #[schema(format = "date-time")]
    created_at: String,
    /// Until when logins have to wait, on every network that is not known. Null means that none has to wait.
    #[schema(format = "date-time")]
    throttled_until: Option<String>,
}

impl From<ListedUser> for ListedAccount {
    fn from(listed: ListedUser) -> Self {
        let throttled_until = listed.throttled_until.map(time);
        Self {
            throttled_until,
            ..listed.user.into()
        }
    }
}

impl From<UserEntry> for ListedAccount {
    fn from(user: UserEntry) -> Self {
        Self {
            id: user.id,
            name: user.name,
            email: user.email,
            is_admin: user.is_admin,
            is_disabled: user.is_disabled,
            has_password: user.has_password,
            created_at: time(user.created_at),
            throttled_until: None,
        }
    }
}

/// A new user.
#[derive(Serialize, ToSchema)]
pub struct CreatedUser {
    pub id: i32,
    pub name: String,
    /// The link with which the user chooses a password. Null if the user has one.
    pub link: Option<Link>,
}

impl CreatedUser {
    #[must_use]
    pub fn new(user: auth::CreatedUser, urls: &AccountUrls) -> Self {
        Self {
            id: user.id,
            name: user.name,
            link: user.link.map(|link| Link::new(&link, urls)),
        }
    }
}

/// A one-time link. It is shown only once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// The path of the link on this server.
    path: String,
    /// The whole link. Null if `SHOKO_AUTH_PUBLIC_URL` is not set.
    url: Option<String>,
    #[schema(format = "date-time")]
    expires_at: String,
}

impl Link {
    #[must_use]
    pub fn new(link: &NewLink, urls: &AccountUrls) -> Self {
        Self {
            path: urls.link_path(&link.token),
            url: urls.link_url(&link.token),
            expires_at: time(link.expires_at),
        }
    }
}

/// The user who has set a password with a link.
#[derive(Serialize, ToSchema)]
pub struct LinkUser {
    /// The user's name.
    pub user: String,
}

/// The networks and users that have to wait after failed logins.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Throttled {
    /// The number of all waits.
    pub total: usize,
    /// The number of waiting names that no user has.
    pub unknown_names: usize,
    /// The waits on this page, the longest ones first.
    pub list: Vec<ThrottledItem>,
}

/// A wait of a network or of a user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ThrottledItem {
    /// The user's name. Null for the wait of a network.
    user: Option<String>,
    /// The network. Null if the user has to wait on every network that is not known.
    network: Option<String>,
    failures: i32,
    #[schema(format = "date-time")]
    until: String,
}

impl From<Wait> for ThrottledItem {
    fn from(wait: Wait) -> Self {
        Self {
            user: wait.user,
            network: wait.network.map(|network| network.to_string()),
            failures: wait.failures,
            until: time(wait.until),
        }
    }
}
