//! The wire protocols: thin folders over `auth`, none of which uses another.

pub mod gateway;
pub mod shoko;
pub mod zettelstore;
pub mod zulip;
