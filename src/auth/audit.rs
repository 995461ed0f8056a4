//! The audit log: one line for each security event, under its own log target. Its readers are fail2ban and people who
//! investigate an incident.
//!
//! The address comes before all text that a client chooses, so that a chosen name cannot be mistaken for the address. A
//! line never contains a key, a password or a query string.

use crate::model::{Actor, Caller, RequestContext};

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    LoginOk,
    LoginFailed,
    LoginThrottled,
    KeyIssued,
    KeyRevoked,
    PasswordChanged,
    UserCreated,
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
    /// Returns the event's name in the log. It must not change, because operators' filters rely on it.
    fn name(self) -> &'static str {
        match self {
            Self::LoginOk => "login_ok",
            Self::LoginFailed => "login_failed",
            Self::LoginThrottled => "login_throttled",
            Self::KeyIssued => "key_made",
            Self::KeyRevoked => "key_revoked",
            Self::PasswordChanged => "password_changed",
            Self::UserCreated => "user_made",
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

/// The request or command line that caused an event.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// `None` for the command line.
    context: Option<&'a RequestContext>,
    /// The name of the user whose key authenticated the request, if any.
    user: Option<&'a str>,
}

impl<'a> From<&'a RequestContext> for Source<'a> {
    fn from(context: &'a RequestContext) -> Self {
        Self {
            context: Some(context),
            user: None,
        }
    }
}

impl<'a> From<&'a Caller> for Source<'a> {
    fn from(caller: &'a Caller) -> Self {
        Self {
            context: Some(&caller.context),
            user: Some(&caller.holder.user),
        }
    }
}

impl<'a> From<Actor<'a>> for Source<'a> {
    fn from(actor: Actor<'a>) -> Self {
        match actor {
            Actor::Operator => Self {
                context: None,
                user: None,
            },
            Actor::Caller(caller) => caller.into(),
        }
    }
}

/// Logs an event. `user` and `device` name the user and the device that the event concerns. Either is empty if it does
/// not apply.
pub(super) fn log<'a>(event: Event, user: &str, device: &str, source: impl Into<Source<'a>>) {
    let source = source.into();
    let address = source.context.and_then(|context| context.address);
    let address = address.map_or("local".to_owned(), |address| address.to_string());
    let trace = source.context.and_then(|context| context.trace);
    let trace = trace.map(|trace| trace.to_string()).unwrap_or_default();
    log::info!(
        target: "shoko_auth::audit",
        event = event.name(),
        address = address.as_str(),
        user = user,
        device = device,
        by = source.user.unwrap_or_default(),
        trace = trace.as_str();
        "audit"
    );
}
