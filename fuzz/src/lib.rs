//! What must hold for whatever comes from outside.
//!
//! One file a subject. Each has a function `check`, which takes the bytes of one input and panics when something does
//! not hold for it. The fuzz targets call it with what libFuzzer makes up; `tests/properties`, which includes this file,
//! with near-valid inputs and with all that is kept in `corpus`. What an input looks like is said at the head of the file.

pub mod body;
pub mod duration;
pub mod forwarded;
pub mod keys;
pub mod password_hash;
mod request;
