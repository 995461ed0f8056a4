//! Every text of the pages. Another language is one more file with a value of [`Texts`].
//!
//! Texts with values are functions, because languages place and inflect them differently.

mod english;

use chrono::{NaiveDateTime, TimeDelta};

use super::notice::Notice;
use super::reason::Reason;

pub use english::ENGLISH;

/// The texts of one language.
pub struct Texts {
    /// The language as an HTML attribute (BCP 47).
    pub language: &'static str,
    pub frame: Frame,
    pub sign_in: SignIn,
    pub onward: Onward,
    pub devices: Devices,
    pub new_key: NewKey,
    pub password: Password,
    pub users: Users,
    pub throttled: Throttled,
    pub link: Link,
    pub notice: fn(Notice) -> &'static str,
    /// Explains why a request failed, and how to solve the problem.
    pub reason: fn(&Reason) -> String,
    /// The heading of a page that only shows a reason.
    pub failed: &'static str,
    /// Formats a time in the past or the future, relative to now: "3 minutes ago".
    pub relative: fn(TimeDelta) -> String,
    /// Formats a time in UTC.
    pub exact: fn(NaiveDateTime) -> String,
    pub wait: Wait,
}

/// The texts of the layout.
pub struct Frame {
    pub product: &'static str,
    pub skip: &'static str,
    pub menu: &'static str,
    pub devices: &'static str,
    pub password: &'static str,
    pub users: &'static str,
    pub throttled: &'static str,
    pub sign_out: &'static str,
    pub signed_in_as: fn(&str) -> String,
    pub api: &'static str,
    pub not_encrypted: &'static str,
    pub back: &'static str,
    pub copy: &'static str,
    pub copied: &'static str,
    pub pages: &'static str,
    pub previous: &'static str,
    pub next: &'static str,
    pub page_of: fn(u32, u32) -> String,
    pub current_password: &'static str,
}

/// The end of a wait, which a script counts down. `{time}` stands for the remaining time.
pub struct Wait {
    pub remaining: &'static str,
    pub over: &'static str,
    /// Formats a number of seconds.
    pub time: fn(u64) -> String,
}

pub struct SignIn {
    pub title: &'static str,
    pub user: &'static str,
    pub password: &'static str,
    pub submit: &'static str,
    pub forgotten: &'static str,
}

/// The page for a browser that is signed in but comes back from a guarded service.
pub struct Onward {
    pub title: &'static str,
    pub explanation: fn(&str) -> String,
    pub submit: fn(&str) -> String,
}

pub struct Devices {
    pub title: &'static str,
    pub list: &'static str,
    pub browser: &'static str,
    pub device: &'static str,
    pub gateway: &'static str,
    pub this_browser: &'static str,
    pub created: &'static str,
    pub last_used: &'static str,
    pub never_used: &'static str,
    pub from: fn(&str) -> String,
    pub expires: &'static str,
    pub never_expires: &'static str,
    pub hosts: &'static str,
    pub more_hosts: fn(usize) -> String,
    pub sign_out: &'static str,
    pub all: &'static str,
    pub all_intro: &'static str,
    pub sign_out_others: &'static str,
    pub sign_out_all: &'static str,
    pub new_key: &'static str,
}

pub struct NewKey {
    pub title: &'static str,
    pub intro: &'static str,
    pub device: &'static str,
    pub device_hint: &'static str,
    pub expiry: &'static str,
    /// Formats a lifetime in days. `None` means that the key never expires.
    pub days: fn(Option<u16>) -> String,
    pub scope: &'static str,
    pub full: &'static str,
    pub full_hint: &'static str,
    pub gateway: &'static str,
    pub gateway_hint: &'static str,
    pub hosts: &'static str,
    pub hosts_hint: &'static str,
    pub password_hint: &'static str,
    pub submit: &'static str,
    pub issued: &'static str,
    pub issued_intro: fn(&str) -> String,
    pub key: &'static str,
}

pub struct Password {
    pub title: &'static str,
    pub intro: &'static str,
    pub new: &'static str,
    pub again: &'static str,
    /// The rules for new passwords, for a minimum length in characters.
    pub rules: fn(usize) -> String,
    pub submit: &'static str,
}

pub struct Users {
    pub title: &'static str,
    pub search: &'static str,
    pub find: &'static str,
    pub none: &'static str,
    pub new: &'static str,
    pub new_intro: &'static str,
    pub invite: &'static str,
    pub name: &'static str,
    pub email: &'static str,
    pub created: &'static str,
    pub admin: &'static str,
    pub admin_hint: &'static str,
    pub disabled: &'static str,
    pub disabled_hint: &'static str,
    pub no_password: &'static str,
    pub throttled: &'static str,
    pub change: &'static str,
    pub password_hint: &'static str,
    pub save: &'static str,
    pub invite_link: &'static str,
    pub reset_link: &'static str,
    pub unlock: &'static str,
    pub sign_out_all: &'static str,
    pub delete: &'static str,
    pub delete_title: fn(&str) -> String,
    pub delete_intro: &'static str,
    pub devices_hint: &'static str,
    pub no_devices: &'static str,
}

pub struct Throttled {
    pub title: &'static str,
    pub intro: &'static str,
    pub none: &'static str,
    pub unknown_names: fn(usize) -> String,
    pub failures: &'static str,
    pub until: &'static str,
    pub unlock: &'static str,
}

/// One-time links.
pub struct Link {
    pub title: &'static str,
    pub intro: &'static str,
    pub user: &'static str,
    pub submit: &'static str,
    pub issued: &'static str,
    pub issued_intro: fn(&str) -> String,
    pub address: &'static str,
}
