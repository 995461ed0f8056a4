//! Passwords, keys and the secrets of browsers: how they are hashed, sealed and checked. No database and no HTTP.

pub mod generated;
pub mod key;
pub mod password;
pub mod seal;
pub mod token;

use crate::error::{Result, ServiceError};

/// Returns random bytes from the operating system.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(ServiceError::internal)?;
    Ok(bytes)
}
