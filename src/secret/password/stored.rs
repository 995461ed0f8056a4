//! Stored password hashes: PHC strings, some of which wrap Shoko's hash.

use std::fmt;

use pbkdf2::password_hash::phc::PasswordHash;
use pbkdf2::{Algorithm, Params};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use super::NO_PASSWORD;

/// The prefix of the stored hash of an imported password. The hashed text is not the password but Shoko's hash of the
/// password: its unsalted SHA-512 in upper-case hex. The first login replaces it with a hash of the password itself.
pub(super) const SHOKO_PREFIX: &str = "$shoko-sha512";
const HEX_DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// A parsed PHC string.
pub(super) struct Stored {
    pub hash: PasswordHash,
    pub rounds: u32,
    pub is_of_shoko: bool,
}

impl Stored {
    /// Parses a stored hash. Returns `None` if the text is [`NO_PASSWORD`] or not a hash of this service. In the second
    /// case, logs an error, because the database must have been edited by hand.
    pub fn parse(text: &str) -> Option<Self> {
        let (text, is_of_shoko) = match text.strip_prefix(SHOKO_PREFIX) {
            Some(text) => (text, true),
            None => (text, false),
        };
        let hash = PasswordHash::new(text).ok();
        let parsed = hash.and_then(|hash| {
            let rounds = Params::try_from(&hash).ok()?.rounds();
            let ours = hash.algorithm == Algorithm::Pbkdf2Sha256.into();
            ours.then_some(Self {
                hash,
                rounds,
                is_of_shoko,
            })
        });
        if parsed.is_none() && text != NO_PASSWORD {
            log::error!(
                "a stored password is not a PBKDF2-SHA256 PHC string; its user cannot log in until a new password is set"
            );
        }
        parsed
    }
}

/// Shoko's hash of a password: its unsalted SHA-512 in upper-case hex. It is overwritten in memory when dropped.
#[derive(Clone)]
pub struct ShokoHash(Zeroizing<String>);

impl ShokoHash {
    /// Parses a hash from Shoko's database. As Shoko does, rejects lower-case hex and the hash of the empty password.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
        let is_hash = text.len() == 128 && text.bytes().all(is_digit) && text != Self::of("").expose();
        is_hash.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    pub(super) fn of(password: &str) -> Self {
        let digest = Sha512::digest(password.as_bytes());
        // Growing the string would leave copies in memory that are not overwritten.
        let mut hex = Zeroizing::new(String::with_capacity(128));
        for digit in digest.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
            hex.push(char::from(HEX_DIGITS[usize::from(digit)]));
        }
        Self(hex)
    }

    /// Returns the text for the code that hashes it again.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ShokoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShokoHash([secret])")
    }
}
