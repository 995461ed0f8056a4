//! Properties that must hold for every input from outside.
//!
//! Each public module has a function `check`. It takes the bytes of one input and panics if a property does not hold.
//! The comment at the top of the module describes the format of an input. Two programs call these functions:
//!
//! - the fuzz targets in `fuzz`, with the inputs that libFuzzer generates;
//! - `tests/properties`, with near-valid inputs and with all stored inputs in `fuzz/corpus`.

#![allow(clippy::missing_panics_doc, reason = "a property that does not hold causes a panic")]

pub mod body;
pub mod duration;
pub mod forwarded;
pub mod keys;
pub mod password_hash;
mod request;
