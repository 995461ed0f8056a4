//! The settings of passwords, keys, sessions and one-time links.

use std::time::Duration;

use chrono::TimeDelta;
use clap::Args;

use crate::secret::password::Passwords;
use crate::settings::{KeyLimits, SessionLimits, parse_lifetime};

#[derive(Args)]
pub struct CredentialFlags {
    /// PBKDF2-HMAC-SHA256 rounds of new password hashes. Hashes with fewer rounds are replaced at the next login
    #[arg(long, global = true, env = "SHOKO_AUTH_PBKDF2_ROUNDS", default_value_t = 600_000, value_name = "N",
          value_parser = clap::value_parser!(u32).range(i64::from(Passwords::MIN_ROUNDS)..))]
    pub pbkdf2_rounds: u32,
    /// Minimum length of new passwords in characters
    #[arg(long, global = true, env = "SHOKO_AUTH_PASSWORD_MIN_LENGTH", default_value_t = 8, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub password_min_length: u16,
    /// Maximum number of unexpired keys of a user. At the maximum, a new expiring key replaces the one that expires
    /// first, and a new device cannot log in
    #[arg(long, global = true, env = "SHOKO_AUTH_MAX_KEYS_PER_USER", default_value_t = 1000, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..))]
    max_keys_per_user: u32,
    /// Longest lifetime that a client can request for a key
    #[arg(long, global = true, env = "SHOKO_AUTH_MAX_KEY_LIFETIME", default_value = "366days",
          value_name = "DURATION", value_parser = KeyLimits::parse_max_lifetime)]
    max_key_lifetime: Duration,
    /// How long a browser stays signed in without being used
    #[arg(long, global = true, env = "SHOKO_AUTH_SESSION_IDLE", default_value = "7days",
          value_name = "DURATION", value_parser = parse_lifetime)]
    session_idle: TimeDelta,
    /// How long a browser stays signed in at most
    #[arg(long, global = true, env = "SHOKO_AUTH_SESSION_LIFETIME", default_value = "30days",
          value_name = "DURATION", value_parser = parse_lifetime)]
    session_lifetime: TimeDelta,
    /// How long a one-time link for choosing a password is valid
    #[arg(long, global = true, env = "SHOKO_AUTH_LINK_LIFETIME", default_value = "24h",
          value_name = "DURATION", value_parser = parse_lifetime)]
    pub link_lifetime: TimeDelta,
}

impl CredentialFlags {
    pub fn key_limits(&self) -> KeyLimits {
        KeyLimits {
            max_per_user: usize::try_from(self.max_keys_per_user).unwrap_or(usize::MAX),
            max_lifetime: self.max_key_lifetime,
        }
    }

    pub fn session_limits(&self) -> SessionLimits {
        SessionLimits {
            idle: self.session_idle,
            lifetime: self.session_lifetime,
        }
    }
}
