//! One log line a security event, under a target of its own: what fail2ban, and whoever looks into what happened, reads.
//!
//! The address comes before everything that a stranger chooses, so that no name can pass for one. Never a key, a
//! password or a query.

use crate::model::Origin;

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    LoginOk,
    LoginFailed,
    LoginThrottled,
    KeyMade,
    KeyRevoked,
    PasswordChanged,
    UserMade,
    UserRenamed,
    UserDisabled,
    UserEnabled,
    UserDeleted,
    UserUnlocked,
    AdminGranted,
    AdminRevoked,
    SettingsChanged,
    Imported,
}

impl Event {
    fn name(self) -> &'static str {
        match self {
            Self::LoginOk => "login_ok",
            Self::LoginFailed => "login_failed",
            Self::LoginThrottled => "login_throttled",
            Self::KeyMade => "key_made",
            Self::KeyRevoked => "key_revoked",
            Self::PasswordChanged => "password_changed",
            Self::UserMade => "user_made",
            Self::UserRenamed => "user_renamed",
            Self::UserDisabled => "user_disabled",
            Self::UserEnabled => "user_enabled",
            Self::UserDeleted => "user_deleted",
            Self::UserUnlocked => "user_unlocked",
            Self::AdminGranted => "admin_granted",
            Self::AdminRevoked => "admin_revoked",
            Self::SettingsChanged => "settings_changed",
            Self::Imported => "imported",
        }
    }
}

/// Logs what happened to `user`, and to the keys of `device`; empty where none is meant.
pub(super) fn log(event: Event, user: &str, device: &str, origin: &Origin) {
    let address = origin.address.map_or("local".to_owned(), |address| address.to_string());
    let trace = origin.trace.map(|trace| trace.to_string()).unwrap_or_default();
    log::info!(
        target: "shoko_auth::audit",
        event = event.name(),
        address = address.as_str(),
        user = user,
        device = device,
        by = origin.by.as_deref().unwrap_or_default(),
        trace = trace.as_str();
        "audit"
    );
}
