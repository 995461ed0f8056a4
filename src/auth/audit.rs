//! The audit log: one line for each security event, under its own log target. Its readers are fail2ban and people who
//! investigate an incident.
//!
//! The address comes before all text that a client chooses, so that a chosen name cannot be mistaken for the address. A
//! line never contains a key, a password or a query string. Long names are cut, and events that a client can repeat
//! without limit go through [`AuditLog`], so that no client can fill the disk.

use std::borrow::Cow;

use super::Auth;
use super::audit_limits::{EventKey, Repeats};
use crate::clock::Clock;
use crate::error::KeyError;
use crate::model::{Actor, Caller, Network, RequestContext, name_digest};

/// The log target of audit events. It must not change, because operators' filters rely on it.
pub const LOG_TARGET: &str = "shoko_auth::audit";
/// The maximum number of characters of a name in a line. A longer name is cut and ends with an ellipsis.
const MAX_NAME_CHARS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Event {
    LoginOk,
    LoginFailed,
    LoginThrottled,
    KeyIssued,
    KeyShown,
    KeyRejected,
    AccessDenied,
    KeyRevoked,
    PasswordChanged,
    UserCreated,
    UserRenamed,
    UserDisabled,
    UserEnabled,
    UserDeleted,
    UserUnlocked,
    EmailChanged,
    LinkIssued,
    LinkUsed,
    ThrottleCleared,
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
            Self::KeyShown => "key_shown",
            Self::KeyRejected => "key_rejected",
            Self::AccessDenied => "access_denied",
            Self::KeyRevoked => "key_revoked",
            Self::PasswordChanged => "password_changed",
            Self::UserCreated => "user_made",
            Self::UserRenamed => "user_renamed",
            Self::UserDisabled => "user_disabled",
            Self::UserEnabled => "user_enabled",
            Self::UserDeleted => "user_deleted",
            Self::UserUnlocked => "user_unlocked",
            Self::EmailChanged => "email_changed",
            Self::LinkIssued => "link_made",
            Self::LinkUsed => "link_used",
            Self::ThrottleCleared => "throttle_cleared",
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
/// not apply. Only for events that no client can repeat without limit: others go through [`AuditLog::log`].
pub(super) fn log<'a>(event: Event, user: &str, device: &str, source: impl Into<Source<'a>>) {
    Line::new(event, user, device, source.into()).write();
}

/// Logs that a user has been renamed.
pub(super) fn log_renamed<'a>(from: &str, to: &str, source: impl Into<Source<'a>>) {
    let line = Line::new(Event::UserRenamed, "", "", source.into());
    let user = format!("{} -> {}", cut(from), cut(to));
    Line { user, ..line }.write();
}

/// Logs events that clients can repeat as often as they like. If a client repeats an event for the same user, only the
/// first ones get lines of their own. The others are counted, and one line a minute reports their number.
pub(super) struct AuditLog {
    clock: Clock,
    repeats: Repeats,
}

impl AuditLog {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            repeats: Repeats::default(),
        }
    }

    /// Logs an event now, or counts it. See [`log`] for the parameters.
    pub fn log<'a>(&self, event: Event, user: &str, device: &str, source: impl Into<Source<'a>>) {
        let source = source.into();
        let address = source.context.and_then(|context| context.address);
        let key = EventKey {
            event,
            user: name_digest(user),
            network: address.map(Network::of).filter(|_| event.is_caused_by_strangers()),
        };
        let line = || Line::new(event, user, device, source);
        if let Some(line) = self.repeats.count(key, self.clock.now(), line) {
            line.write();
        }
    }
}

#[cfg(test)]
impl AuditLog {
    /// Returns how many repeats of an event have been counted since the last call.
    pub fn repeats_of(&self, event: Event) -> u64 {
        let lines = self.repeats.take_all();
        let of_event = lines.iter().filter(|line| line.event == event);
        of_event.filter_map(|line| line.count).sum()
    }
}

impl Auth {
    /// Logs that a request has presented only invalid keys.
    pub fn log_rejected_key(&self, context: &RequestContext) {
        self.audit.log(Event::KeyRejected, "", "", context);
    }

    /// Returns the error for a caller whose key was revoked or has expired since the request was authenticated, and
    /// logs it like any other invalid key.
    pub(super) fn reject_revoked(&self, caller: &Caller) -> KeyError {
        self.log_rejected_key(&caller.context);
        KeyError::Invalid
    }

    /// Logs that a valid key does not permit this request.
    pub fn log_denied_access(&self, caller: &Caller) {
        self.audit.log(Event::AccessDenied, &caller.holder.user, "", caller);
    }

    /// Logs the numbers of repeated events whose minute is over. Call it once a minute.
    pub fn flush_audit_log(&self) {
        for line in self.audit.repeats.take_due(self.now()) {
            line.write();
        }
    }

    /// Logs the numbers of all repeated events. Call it before the process exits.
    pub fn finish_audit_log(&self) {
        for line in self.audit.repeats.take_all() {
            line.write();
        }
    }
}

/// A line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    event: Event,
    address: String,
    user: String,
    device: String,
    by: String,
    trace: String,
    /// In a summary, the number of events that this line stands for. `None` for the line of a single event.
    count: Option<u64>,
}

impl Line {
    fn new(event: Event, user: &str, device: &str, source: Source<'_>) -> Self {
        let address = source.context.and_then(|context| context.address);
        let trace = source.context.and_then(|context| context.trace);
        Self {
            event,
            address: address.map_or("local".to_owned(), |address| address.to_string()),
            user: cut(user).into_owned(),
            device: cut(device).into_owned(),
            by: cut(source.user.unwrap_or_default()).into_owned(),
            trace: trace.map(|trace| trace.to_string()).unwrap_or_default(),
            count: None,
        }
    }

    /// Returns a line for events of several users and networks, which therefore names none of them.
    pub fn of_several(event: Event) -> Self {
        Self {
            event,
            address: "several".to_owned(),
            user: String::new(),
            device: String::new(),
            by: String::new(),
            trace: String::new(),
            count: None,
        }
    }

    /// Returns a summary of `count` further events. Its device and trace id are empty, because the events may have
    /// different ones.
    pub fn with_count(&self, count: u64) -> Self {
        Self {
            device: String::new(),
            trace: String::new(),
            count: Some(count),
            ..self.clone()
        }
    }

    fn write(&self) {
        let event = self.event.name();
        let (address, user, device) = (self.address.as_str(), self.user.as_str(), self.device.as_str());
        let (by, trace) = (self.by.as_str(), self.trace.as_str());
        match self.count {
            Some(count) => {
                log::info!(target: LOG_TARGET, event, address, user, device, by, trace, count; "audit");
            }
            None => log::info!(target: LOG_TARGET, event, address, user, device, by, trace; "audit"),
        }
    }
}

/// Cuts a name to [`MAX_NAME_CHARS`] characters. Clients choose names, and each character of a name can take ten bytes
/// in a text log.
fn cut(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(MAX_NAME_CHARS) {
        Some((end, _)) => Cow::Owned(format!("{}…", &name[..end])),
        None => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_to_64_characters_with_an_ellipsis() {
        assert_eq!(cut(&"ü".repeat(64)), "ü".repeat(64));
        assert_eq!(cut(&"ü".repeat(65)), "ü".repeat(64) + "…");
    }
}
