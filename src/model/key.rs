//! API keys as the database and the key cache store them: everything but the key itself.

use std::net::IpAddr;

use chrono::{NaiveDateTime, TimeDelta};

use super::KeyKind;

/// A key with its owner and its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHolder {
    /// The id of the key, which is not secret.
    pub key_id: i64,
    pub user_id: i32,
    /// The user's name as typed.
    pub user: String,
    /// The user's e-mail address as typed.
    pub email: Option<String>,
    pub is_admin: bool,
    /// The device's name as typed at its first login. For a session, the browser's name.
    pub device: String,
    pub kind: KeyKind,
    pub created_at: NaiveDateTime,
    /// `None` means that the key never expires.
    pub expiration: Option<Expiration>,
}

impl KeyHolder {
    #[must_use]
    pub fn is_session(&self) -> bool {
        self.kind == KeyKind::Session
    }

    /// Returns whether this is a session, whichever of its cookies was presented.
    #[must_use]
    pub fn is_of_browser(&self) -> bool {
        matches!(self.kind, KeyKind::Session | KeyKind::GatewayCookie)
    }
}

/// The time at which a key expires, and whether its holder can renew it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiration {
    /// The key stops working at this time.
    pub at: NaiveDateTime,
    /// Whether the holder can get a new key, with a later expiry, before that time.
    pub is_renewable: bool,
}

/// The expiration that a client requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestedExpiry {
    Never,
    At(NaiveDateTime),
    /// The key expires after this lifetime, which the operator has set. The key can be renewed. In contrast to
    /// [`Self::At`], there is no minimum lifetime.
    Renewable(TimeDelta),
    /// The client sent an expiry that cannot be parsed. It is reported only after the password check, so that a wrong
    /// password is always reported first.
    Invalid,
}

/// Information about a key, for its owner or an administrator. It does not contain the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// The id of the key, which is not secret.
    pub id: i64,
    pub user_id: i32,
    /// The user's name as typed.
    pub user: String,
    /// The device's name as typed at its first login. For a session, the browser's name.
    pub device: String,
    pub kind: KeyKind,
    pub created_at: NaiveDateTime,
    /// `None` means that the key never expires.
    pub expires_at: Option<NaiveDateTime>,
    /// When the key was last used, accurate to a minute.
    pub last_used_at: Option<NaiveDateTime>,
    /// The client's address at that use.
    pub last_used_from: Option<String>,
}

/// A use of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The id of the key.
    pub key_id: i64,
    pub at: NaiveDateTime,
    /// The client's address, if known.
    pub from: Option<IpAddr>,
}
