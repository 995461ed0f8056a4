//! The wire protocols: thin modules over `auth`. No dialect uses another.

pub mod shoko;
pub mod zettelstore;
pub mod zulip;
