//! What the service is about: users, devices, callers. Plain data, no I/O.
//!
//! Times are UTC without an offset, because that is what both databases store.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{NaiveDateTime, TimeDelta};
use ipnet::IpNet;
use unicode_normalization::UnicodeNormalization;

/// A user's name, a device's name or an e-mail address: trimmed, of a sane length,
/// and with the form in which two of them are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    shown: String,
    folded: String,
}

/// Why a text cannot be a [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// Nothing is left after trimming.
    #[error("A name must not be empty.")]
    Blank,
    /// Longer than [`Name::MAX_CHARS`].
    #[error("A name may have at most 255 characters.")]
    TooLong,
    /// A character that moves the cursor, ends a string or cannot be seen.
    #[error("A name must not contain control characters.")]
    ControlCharacter,
}

impl Name {
    /// The greatest length, in characters after trimming.
    pub const MAX_CHARS: usize = 255;

    /// Trims and checks `text`.
    pub fn parse(text: &str) -> Result<Self, NameFault> {
        let shown = text.trim();
        if shown.is_empty() {
            return Err(NameFault::Blank);
        }
        if shown.chars().count() > Self::MAX_CHARS {
            return Err(NameFault::TooLong);
        }
        if shown.chars().any(char::is_control) {
            return Err(NameFault::ControlCharacter);
        }
        Ok(Self {
            folded: fold(shown),
            shown: shown.to_owned(),
        })
    }

    /// As it was typed.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// As it is compared: see [`fold`].
    #[must_use]
    pub fn folded(&self) -> &str {
        &self.folded
    }
}

/// The form in which names are compared: trimmed, NFC, lower case, and NFC again, because lower-casing can undo it.
/// A final sigma is a sigma. Done here and not by the database, so that it is the same on both.
#[must_use]
pub fn fold(text: &str) -> String {
    let lower = text.trim().nfc().collect::<String>().to_lowercase();
    lower.nfc().map(|c| if c == 'ς' { 'σ' } else { c }).collect()
}

/// Somebody who can log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Shoko's `UserID`. Never given out twice, except to a user whom an import brings with this id.
    pub id: i32,
    /// The name, as typed.
    pub name: String,
    /// The e-mail address, if there is one.
    pub email: Option<String>,
    /// May manage others.
    pub is_admin: bool,
    /// Keeps password and keys, but none of them works.
    pub is_disabled: bool,
    /// The administrator that the first start made, as long as nobody has logged in as him or changed him.
    pub is_automatic: bool,
    /// When the user was made.
    pub created_at: NaiveDateTime,
    /// What Shoko's clients keep with the user.
    pub profile: Profile,
}

/// Who somebody is, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Shoko's `UserID`.
    pub user_id: i32,
    /// The name, as typed.
    pub name: String,
    /// May manage others.
    pub is_admin: bool,
}

/// What Shoko's clients keep with a user and give no meaning to this service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// A JSON array of names.
    pub community_sites: String,
    /// A JSON array of ids.
    pub restricted_tags: String,
    /// A data URL, or empty.
    pub avatar: String,
    /// Comma-separated, or empty.
    pub plex_usernames: String,
}

/// What shall be different about a user's [`Profile`]; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// A JSON array of names.
    pub community_sites: Option<String>,
    /// A JSON array of ids.
    pub restricted_tags: Option<String>,
    /// A data URL, or empty.
    pub avatar: Option<String>,
    /// Comma-separated, or empty.
    pub plex_usernames: Option<String>,
}

/// What shall be different about a user; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    /// The name.
    pub name: Option<Name>,
    /// May manage others.
    pub is_admin: Option<bool>,
    /// What clients keep with the user.
    pub profile: ProfileChange,
}

/// What only an administrator may change, also of the own user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// The name: other services trust it.
    Name,
    /// The right to manage others.
    Admin,
    /// As Shoko has it.
    CommunitySites,
    /// As Shoko has it.
    RestrictedTags,
}

/// A user to be made.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The name.
    pub name: Name,
    /// The e-mail address, if there is one.
    pub email: Option<Name>,
    /// May manage others.
    pub is_admin: bool,
    /// What clients keep with the user.
    pub profile: ProfileChange,
}

/// Where a deed comes from: a request, or, when nothing is known, the command line.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// Who presented a key, by name.
    pub by: Option<String>,
    /// The id of the request.
    pub trace: Option<TraceId>,
    /// Set when nobody waits for the answer any more.
    pub gone: Arc<AtomicBool>,
}

impl Origin {
    /// The same of a request by `user`.
    #[must_use]
    pub fn by(&self, user: &str) -> Self {
        Self {
            by: Some(user.to_owned()),
            ..self.clone()
        }
    }

    /// Whether the client has gone away.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

/// The id under which clients, proxies and logs know a request (W3C Trace Context, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId {
    /// Of the whole chain of requests.
    pub trace: u128,
    /// Of this one.
    pub span: u64,
    /// As they came.
    pub flags: u8,
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// The network of a client: what is counted together, because one party has all of it. An IPv4 address, or the
/// 64 bits of an IPv6 address that a subscriber gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// That an address is in.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let bits = match address.to_canonical() {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 64,
        };
        // The number of bits is never too great.
        let net = IpNet::new(address.to_canonical(), bits).unwrap_or_else(|_| address.to_canonical().into());
        Self(net.trunc())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who makes a request: the user and the device that a working key stands for.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Which key it is; not the key.
    pub key_id: i64,
    /// The user's id.
    pub user_id: i32,
    /// The user's name, as typed.
    pub user: String,
    /// May manage others.
    pub is_admin: bool,
    /// The device's name, as typed at its first login.
    pub device: String,
    /// When the key stops working; `None`: never by itself.
    pub end: Option<End>,
    /// Where the request comes from.
    pub origin: Origin,
}

/// When a key ends that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// From then on it does not work.
    pub at: NaiveDateTime,
    /// Whether another that ends may follow it, for whoever holds it.
    pub is_renewable: bool,
}

/// When a key shall end, as a client asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Not by itself.
    Never,
    /// At this time.
    At(NaiveDateTime),
    /// After this time, which the operator has set, so that it may be as short as it likes; its holder may renew it.
    Renewable(TimeDelta),
    /// The client asked for something, but for what cannot be told. Refused only where the rest is right: who does not
    /// know the password is told that first.
    Unreadable,
}

/// A key, as its owner or an administrator sees it: everything but the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Which key it is; not the key.
    pub id: i64,
    /// Whose it is.
    pub user_id: i32,
    /// The user's name, as typed.
    pub user: String,
    /// The device's name, as typed at its first login.
    pub device: String,
    /// When it was made.
    pub created_at: NaiveDateTime,
    /// When it stops working; `None`: never by itself.
    pub expires_at: Option<NaiveDateTime>,
    /// When it was used last, to the minute; `None`: never, as far as is known.
    pub last_used_at: Option<NaiveDateTime>,
    /// From which address.
    pub last_used_from: Option<String>,
}

/// A use of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// Which key it is; not the key.
    pub key_id: i64,
    /// When.
    pub at: NaiveDateTime,
    /// From which address; `None`: it is not known.
    pub from: Option<IpAddr>,
}

/// A text that no log may show.
#[derive(Clone)]
pub struct SecretText(String);

impl SecretText {
    /// Takes the text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_trimmed_and_without_case_or_composition() {
        let composed = Name::parse(" Jo\u{308}RG\t").unwrap();
        assert_eq!(composed.shown(), "Jo\u{308}RG");
        assert_eq!(composed.folded(), Name::parse("jörg").unwrap().folded());
    }

    #[test]
    fn a_network_is_an_ipv4_address_or_64_bits_of_an_ipv6_address() {
        for (address, network) in [
            ("203.0.113.7", "203.0.113.7/32"),
            ("::ffff:203.0.113.7", "203.0.113.7/32"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(Network::of(address.parse().unwrap()).to_string(), network);
        }
    }

    #[test]
    fn folding_twice_is_folding_once() {
        for text in ["J\u{30c}an", "\u{1f0}an", "ΟΔΟΣ", "οδος", "İstanbul", "ẞ", "ﬀ"] {
            assert_eq!(fold(&fold(text)), fold(text), "{text}");
        }
        assert_eq!(fold("J\u{30c}an"), fold("\u{1f0}an"));
        assert!(fold("ΟΔΟΣ") == fold("οδος") && fold("ΟΔΟΣ") == fold("οδοσ"));
    }

    #[test]
    fn a_name_has_1_to_255_characters_and_no_control_character() {
        assert_eq!(Name::parse(" \t"), Err(NameFault::Blank));
        assert!(Name::parse(&"ü".repeat(255)).is_ok());
        assert_eq!(Name::parse(&"ü".repeat(256)), Err(NameFault::TooLong));
        assert_eq!(Name::parse("a\0b"), Err(NameFault::ControlCharacter));
    }
}
