//! What is secret and how it is checked: passwords and keys. No database and no HTTP in here.

pub mod generated;
pub mod hasher;
pub mod key;
pub mod password;
