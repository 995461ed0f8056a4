//! Passwords: PBKDF2-HMAC-SHA256 as PHC strings, and the rules for new ones.
//!
//! A failed check takes the same time whatever the reason, so the time of a 401 does not reveal which users exist. If
//! there is no stored hash, or it has fewer rounds than other hashes, the check runs the missing rounds anyway.

pub mod common;
mod cost;
mod forms;
#[cfg(test)]
mod hash_tests;
mod rules;
mod stored;

use std::hint::black_box;
use std::time::Instant;

use pbkdf2::password_hash::phc::PasswordHash;
use pbkdf2::password_hash::{PasswordHasher, PasswordVerifier};
use pbkdf2::{Algorithm, Params, Pbkdf2};

use crate::error::{PasswordError, Result, ServiceError};
use cost::FailureCost;
use forms::{Forms, nfc};
pub use stored::ShokoHash;
use stored::{SHOKO_PREFIX, Stored};

/// The salt and hash of the dummy check that runs missing rounds, such as those for an unknown user.
const DUMMY_SALT: &str = "bm9ib2R5J3Mgc2FsdC4uLg";
const DUMMY_HASH: &str = "bm9ib2R5J3MgaGFzaCBvZiBub2JvZHkncyBwYXNzd28";
/// Stored instead of a hash for a user who cannot log in until a password is set.
pub const NO_PASSWORD: &str = "!";
/// Hashes with up to this many rounds are computed whatever the setting, so a setting that was much too high can be
/// lowered. The rounds of such a hash take about a second.
const MAX_ROUNDS_FLOOR: u32 = 10_000_000;

/// Hashes and checks passwords, and decides which new ones are acceptable.
#[derive(Debug)]
pub struct Passwords {
    hasher: Pbkdf2,
    rounds: u32,
    min_length: usize,
    failure_cost: FailureCost,
}

impl Passwords {
    /// The maximum length of a password in bytes.
    pub const MAX_BYTES: usize = 1024;
    /// The minimum of the rounds setting.
    pub const MIN_ROUNDS: u32 = Params::MIN_ROUNDS;

    /// Creates a hasher. `rounds` applies to new hashes and must be at least [`Self::MIN_ROUNDS`]; `min_length` is in
    /// characters.
    pub fn new(rounds: u32, min_length: usize) -> Result<Self> {
        let params = Params::new(rounds).map_err(|e| ServiceError::internal(format!("PBKDF2 rounds: {e}")))?;
        Ok(Self {
            hasher: Pbkdf2::new(Algorithm::Pbkdf2Sha256, params),
            rounds,
            min_length,
            failure_cost: FailureCost::new(rounds),
        })
    }

    /// Checks whether `password` may become the password of `user`.
    ///
    /// The minimum length is in code points of the NFC form, and nothing is trimmed (NIST SP 800-63B-4, section
    /// 3.1.1.2). The maximum length is in bytes as typed.
    pub fn check_new(&self, password: &str, user: &str) -> std::result::Result<(), PasswordError> {
        rules::check(password, user, self.min_length)
    }

    /// Hashes the NFC form of `password` with a new salt and returns the PHC string. Takes about a tenth of a second.
    pub fn hash(&self, password: &str) -> Result<String> {
        let hash: PasswordHash = self
            .hasher
            .hash_password(nfc(password).as_bytes())
            .map_err(|e| ServiceError::internal(format!("hashing a password: {e}")))?;
        Ok(hash.to_string())
    }

    /// Hashes Shoko's unsalted hash of a password, so that a stolen database does not reveal the unsalted hash.
    pub fn wrap(&self, stored: &ShokoHash) -> Result<String> {
        self.hash(stored.expose()).map(|hash| format!("{SHOKO_PREFIX}{hash}"))
    }

    /// Returns whether `password` matches the hash `stored`. Every failed check of a password takes the same time, even
    /// if there is no hash.
    #[must_use]
    pub fn check(&self, password: &str, stored: Option<&str>) -> bool {
        let stored = stored.and_then(Stored::parse).filter(|stored| self.may_compute(stored));
        let rounds = stored.as_ref().map_or(0, |stored| stored.rounds);
        let cost = self.failure_cost.record(rounds, Instant::now());
        if password.len() > Self::MAX_BYTES || password.contains('\0') {
            self.burn_rounds(cost);
            return false;
        }
        let forms = Forms::of(password);
        let candidates = stored.iter().flat_map(|stored| {
            let forms = forms.to_compare(stored.is_of_shoko).iter();
            forms.map(move |form| (form.as_str(), stored))
        });
        let mut candidates = candidates.fuse();
        for _ in 0..forms.count() {
            let Some((form, stored)) = candidates.next() else {
                self.burn_rounds(cost);
                continue;
            };
            if self.matches(form, stored) {
                return true;
            }
            self.burn_rounds(cost - rounds);
        }
        false
    }

    /// Returns whether the hash has at most [`Self::max_rounds`]. Otherwise logs an error: such a hash can only come
    /// from a database edited by hand, and computing it would occupy a thread of the hashing pool for seconds to
    /// minutes, and then every failed login as well.
    fn may_compute(&self, stored: &Stored) -> bool {
        let (rounds, max) = (stored.rounds, self.max_rounds());
        if rounds > max {
            log::error!(
                "a stored password hash has {rounds} rounds, more than the maximum of {max}; its user cannot log in \
                 until a new password is set"
            );
        }
        rounds <= max
    }

    /// The most rounds that a stored hash may have: ten times the setting, but at least [`MAX_ROUNDS_FLOOR`].
    fn max_rounds(&self) -> u32 {
        self.rounds.saturating_mul(10).max(MAX_ROUNDS_FLOOR)
    }

    /// Returns whether this form of a password is the one that was hashed.
    fn matches(&self, form: &str, stored: &Stored) -> bool {
        let matches = |text: &str| self.hasher.verify_password(text.as_bytes(), &stored.hash).is_ok();
        if stored.is_of_shoko {
            matches(ShokoHash::of(form).expose())
        } else {
            matches(form)
        }
    }

    /// Runs `rounds` rounds only to spend time. It uses the code of a real check, because another call into the crate
    /// `pbkdf2` may be compiled differently and take half a percent more or less time. The crate requires at least
    /// [`Self::MIN_ROUNDS`], so a smaller number is raised to that, which adds less than a millisecond.
    fn burn_rounds(&self, rounds: u32) {
        if rounds == 0 {
            return;
        }
        let rounds = rounds.max(Self::MIN_ROUNDS);
        let dummy = format!("$pbkdf2-sha256$i={rounds},l=32${DUMMY_SALT}${DUMMY_HASH}");
        if let Ok(hash) = PasswordHash::new(&dummy) {
            let _ = black_box(self.hasher.verify_password(b"dummy password", &hash));
        }
    }

    /// Returns whether the password must be hashed again: `stored` has fewer rounds than new hashes, or wraps Shoko's
    /// hash.
    #[must_use]
    pub fn needs_rehash(&self, stored: &str) -> bool {
        Stored::parse(stored).is_none_or(|s| s.is_of_shoko || s.rounds < self.rounds)
    }
}
