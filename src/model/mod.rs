//! The nouns of the service: names, users, keys and requests. Plain data without I/O.
//!
//! Times are UTC without an offset, because that is what both databases store.

mod avatar;
mod browser;
mod cookie_domain;
mod host;
mod invisible;
mod key;
mod name;
mod new_name;
mod request;
mod scope;
mod secret_text;
mod user;

pub use avatar::{Avatar, AvatarError};
pub use browser::browser_name;
pub use cookie_domain::CookieDomain;
pub use host::{HostError, check_name, parse_host};
pub use invisible::{escape_invisible, invisible_characters, is_invisible, without_invisible};
pub use key::{Expiration, KeyHolder, KeyInfo, KeyUse, RequestedExpiry};
pub use name::{Name, NameDigest, NameError, name_digest, normalize};
pub use new_name::{NewName, NewNameError};
pub use request::{Actor, Caller, Network, RequestContext, TraceId};
pub use scope::{Acceptance, Hosts, HostsError, KeyKind, Scope};
pub use secret_text::SecretText;
pub use user::{
    Attribute, NewUser, Profile, ProfileChange, Update, User, UserChange, UserEntry, UserRef, UserSummary, UserUpdate,
};
