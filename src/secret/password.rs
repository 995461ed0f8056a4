//! Passwords: PBKDF2-HMAC-SHA256 as PHC strings, and the rules for new ones.
//!
//! A failed check takes the same time whatever the reason, so the time of a 401 does not reveal which users exist. If
//! there is no stored hash, or it has fewer rounds than other hashes, the check runs the missing rounds anyway.

use std::fmt;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use pbkdf2::password_hash::phc::PasswordHash;
use pbkdf2::password_hash::{PasswordHasher, PasswordVerifier};
use pbkdf2::{Algorithm, Params, Pbkdf2};
use sha2::{Digest, Sha512};

use crate::error::{PasswordError, Result, ServiceError};
use crate::model::normalize;

/// The most common passwords in lower case, one per line. The head of the file names its source and license.
const COMMON: &str = include_str!("common-passwords.txt");

/// The prefix of the stored hash of an imported password. The hashed text is not the password but Shoko's hash of the
/// password: its unsalted SHA-512 in upper-case hex. The first login replaces it with a hash of the password itself.
const SHOKO_PREFIX: &str = "$shoko-sha512";
/// The salt and hash of the dummy check that runs missing rounds, such as those for an unknown user.
const DUMMY_SALT: &str = "bm9ib2R5J3Mgc2FsdC4uLg";
const DUMMY_HASH: &str = "bm9ib2R5J3MgaGFzaCBvZiBub2JvZHkncyBwYXNzd28";
/// Stored instead of a hash for a user who cannot log in until a password is set.
pub const NO_PASSWORD: &str = "!";

/// Hashes and checks passwords, and decides which new ones are acceptable.
#[derive(Debug)]
pub struct Passwords {
    hasher: Pbkdf2,
    rounds: u32,
    min_length: usize,
    /// The most rounds that any check has needed. Every failure runs this many. The number exceeds `rounds` once a hash
    /// with more rounds has been checked, such as one from before the setting was lowered.
    max_rounds: AtomicU32,
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
            max_rounds: AtomicU32::new(rounds),
        })
    }

    /// Checks whether `password` may become the password of `user`.
    ///
    /// The minimum length is in code points, and nothing is trimmed (NIST SP 800-63B-4, section 3.1.1.2). The maximum
    /// length is in bytes.
    pub fn check_new(&self, password: &str, user: &str) -> std::result::Result<(), PasswordError> {
        if password.is_empty() {
            return Err(PasswordError::Empty);
        }
        if password.chars().count() < self.min_length {
            return Err(PasswordError::TooShort { min: self.min_length });
        }
        if password.len() > Self::MAX_BYTES {
            return Err(PasswordError::TooLong { max: Self::MAX_BYTES });
        }
        if password.contains('\0') {
            return Err(PasswordError::Nul);
        }
        let normalized = normalize(password);
        if normalized == normalize(user) {
            return Err(PasswordError::UserName);
        }
        if is_common(&normalized) {
            return Err(PasswordError::Common);
        }
        Ok(())
    }

    /// Hashes `password` with a new salt and returns the PHC string. Takes about a tenth of a second.
    pub fn hash(&self, password: &str) -> Result<String> {
        let hash: PasswordHash = self
            .hasher
            .hash_password(password.as_bytes())
            .map_err(|e| ServiceError::internal(format!("hashing a password: {e}")))?;
        Ok(hash.to_string())
    }

    /// Hashes Shoko's unsalted hash of a password, so that a stolen database does not reveal the unsalted hash.
    pub fn wrap(&self, stored: &ShokoHash) -> Result<String> {
        self.hash(&stored.0).map(|hash| format!("{SHOKO_PREFIX}{hash}"))
    }

    /// Returns whether `password` matches the hash `stored`. Every failed check takes the same time, even if there is
    /// no hash.
    #[must_use]
    pub fn check(&self, password: &str, stored: Option<&str>) -> bool {
        let stored = stored.and_then(Stored::parse);
        let possible = password.len() <= Self::MAX_BYTES && !password.contains('\0');
        let stored = stored.filter(|_| possible);
        let done = stored.as_ref().map_or(0, |s| s.rounds);
        if stored.is_some_and(|stored| self.matches(password, &stored)) {
            return true;
        }
        self.burn_rounds(self.rounds_left(done));
        false
    }

    /// Returns whether `password` matches `stored`. Shoko hashed some passwords as typed and some trimmed, so an
    /// imported hash is checked against both forms. The second check doubles the time. This reveals only that the user
    /// was imported and has not logged in since.
    fn matches(&self, password: &str, stored: &Stored) -> bool {
        let matches = |text: &str| self.hasher.verify_password(text.as_bytes(), &stored.hash).is_ok();
        if !stored.is_of_shoko {
            return matches(password);
        }
        let trimmed = password.trim();
        matches(&ShokoHash::of(password).0) || (trimmed != password && matches(&ShokoHash::of(trimmed).0))
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

    /// Returns how many more rounds a failed check must run after the `done` rounds it has already run.
    fn rounds_left(&self, done: u32) -> u32 {
        self.max_rounds.fetch_max(done, Ordering::Relaxed).max(done) - done
    }

    /// Returns whether the password must be hashed again: `stored` has fewer rounds than new hashes, or wraps Shoko's
    /// hash.
    #[must_use]
    pub fn needs_rehash(&self, stored: &str) -> bool {
        Stored::parse(stored).is_none_or(|s| s.is_of_shoko || s.rounds < self.rounds)
    }
}

/// A parsed PHC string.
struct Stored {
    hash: PasswordHash,
    rounds: u32,
    is_of_shoko: bool,
}

impl Stored {
    /// Returns `None` if the text is [`NO_PASSWORD`] or not a hash of this service. In the second case, logs an error,
    /// because the database must have been edited by hand.
    fn parse(text: &str) -> Option<Self> {
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
            log::error!("a stored password is not a PBKDF2-SHA256 PHC string; its user cannot log in");
        }
        parsed
    }
}

/// Shoko's hash of a password: its unsalted SHA-512 in upper-case hex.
#[derive(Clone)]
pub struct ShokoHash(String);

impl ShokoHash {
    /// Parses a hash from Shoko's database. As Shoko does, rejects lower-case hex and the hash of the empty password.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
        let is_hash = text.len() == 128 && text.bytes().all(is_digit) && text != Self::of("").0;
        is_hash.then(|| Self(text.to_owned()))
    }

    fn of(password: &str) -> Self {
        let digest = Sha512::digest(password.as_bytes());
        Self(
            digest
                .iter()
                .fold(String::new(), |hex, byte| hex + &format!("{byte:02X}")),
        )
    }
}

impl fmt::Debug for ShokoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShokoHash([secret])")
    }
}

fn is_common(normalized: &str) -> bool {
    COMMON.lines().any(|line| line == normalized)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    /// Returns the processor time that this thread has used.
    fn processor_time() -> Duration {
        clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
    }

    #[test]
    fn a_hash_is_a_phc_string_that_only_its_password_satisfies() {
        let passwords = Passwords::new(1000, 8).unwrap();
        let hash = passwords.hash(" Trömbone ").unwrap();
        assert!(hash.starts_with("$pbkdf2-sha256$i=1000,l=32$"), "{hash}");
        assert!(passwords.check(" Trömbone ", Some(&hash)));
        assert!(!passwords.check("Trömbone", Some(&hash)));
        assert!(!passwords.check(" Trömbone ", None));
        assert_ne!(hash, passwords.hash(" Trömbone ").unwrap(), "the salt is fresh");
    }

    #[test]
    fn a_hash_with_fewer_rounds_is_accepted_and_needs_a_rehash() {
        let hash = Passwords::new(1000, 8).unwrap().hash("Trombone").unwrap();
        let passwords = Passwords::new(2000, 8).unwrap();
        assert!(passwords.check("Trombone", Some(&hash)));
        assert!(passwords.needs_rehash(&hash));
        assert!(!passwords.needs_rehash(&passwords.hash("Trombone").unwrap()));
    }

    #[test]
    fn a_text_that_is_not_a_hash_matches_no_password() {
        let passwords = Passwords::new(1000, 8).unwrap();
        for stored in [
            "",
            "Trombone",
            "$pbkdf2-sha512$i=1000,l=32$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert!(!passwords.check("Trombone", Some(stored)), "{stored}");
        }
    }

    #[test]
    fn a_hash_of_shokos_is_wrapped_and_needs_a_rehash() {
        // The SHA-512 of "password".
        let sha512 = "B109F3BBBC244EB82441917ED06D618B9008DD09B3BEFD1B5E07394C706A8BB9\
                      80B1D7785E5976EC049B46DF5F1326AF5A2EA6D103FD07C95385FFAB0CACBC86";
        let passwords = Passwords::new(1000, 8).unwrap();
        let hash = passwords.wrap(&ShokoHash::parse(sha512).unwrap()).unwrap();
        assert!(!hash.contains(sha512) && passwords.needs_rehash(&hash), "{hash}");
        for password in ["password", " password\t"] {
            assert!(passwords.check(password, Some(&hash)), "{password}");
        }
        for password in ["", " ", "Password", sha512] {
            assert!(!passwords.check(password, Some(&hash)), "{password}");
        }
        for text in [
            "",
            "B109",
            &sha512.to_lowercase(),
            &format!("{sha512}0"),
            &sha512.replace('B', "X"),
            &ShokoHash::of("").0,
        ] {
            assert!(ShokoHash::parse(text).is_none(), "{text}");
        }
        assert!(!passwords.check("password", Some(NO_PASSWORD)) && !passwords.check(NO_PASSWORD, Some(NO_PASSWORD)));
    }

    #[test]
    fn a_password_over_the_limit_never_matches() {
        let passwords = Passwords::new(1000, 8).unwrap();
        let long = "x".repeat(Passwords::MAX_BYTES + 1);
        let hash = passwords.hash(&long).unwrap();
        assert!(!passwords.check(&long, Some(&hash)));
    }

    #[test]
    fn a_failure_runs_the_missing_rounds() {
        let passwords = Passwords::new(2000, 8).unwrap();
        assert_eq!(
            (
                passwords.rounds_left(0),
                passwords.rounds_left(1500),
                passwords.rounds_left(2000)
            ),
            (2000, 500, 0)
        );
        assert_eq!(
            passwords.rounds_left(5000),
            0,
            "a hash from before the setting was lowered"
        );
        assert_eq!(
            passwords.rounds_left(0),
            5000,
            "from now on an unknown user costs as much"
        );
        let costly = Passwords::new(9000, 8).unwrap().hash("Trombone").unwrap();
        assert!(!passwords.check("wrong", Some(&costly)) && passwords.rounds_left(0) == 9000);
        assert!(!passwords.needs_rehash(&costly), "a hash never gets fewer rounds");
    }

    #[test]
    fn the_dummy_hash_is_a_valid_hash() {
        assert!(PasswordHash::new(&format!("$pbkdf2-sha256$i=1000,l=32${DUMMY_SALT}${DUMMY_HASH}")).is_ok());
    }

    #[test]
    fn a_failed_check_takes_as_long_as_a_hash_whatever_the_reason() {
        let cheap = Passwords::new(1000, 8).unwrap().hash("Trombone").unwrap();
        let passwords = Passwords::new(50_000, 8).unwrap();
        let hash = passwords.hash("Trombone").unwrap();
        let long = "x".repeat(Passwords::MAX_BYTES + 1);
        let checks = [
            ("wrong", Some(&*hash)),
            ("wrong", Some(&*cheap)),
            ("wrong", None),
            (&*long, Some(&*hash)),
            (&*long, None),
        ];
        // The checks run in turn, so that a change of the processor's speed affects all of them. Processor time
        // excludes other programs.
        let mut times = [Duration::MAX; 5];
        for _ in 0..5 {
            for (time, (password, stored)) in times.iter_mut().zip(checks) {
                let start = processor_time();
                assert!(!passwords.check(password, stored));
                *time = processor_time().saturating_sub(start).min(*time);
            }
        }
        let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        // Without the additional rounds, the factor would be 50.
        assert!(*most < *least * 3, "{times:?}");
    }

    #[test]
    fn appended_nuls_make_another_password() {
        let passwords = Passwords::new(1000, 8).unwrap();
        let hash = passwords.hash("Trombone").unwrap();
        assert!(!passwords.check("Trombone\0", Some(&hash)) && !passwords.check("Trombone\0\0", Some(&hash)));
        for password in ["Tr0mbone-lake\0", "password\0", "\0\0\0\0\0\0\0\0"] {
            assert_eq!(passwords.check_new(password, "Default"), Err(PasswordError::Nul));
        }
    }

    #[test]
    fn a_rejected_new_password_is_explained() {
        let passwords = Passwords::new(1000, 8).unwrap();
        let check = |text: &str| passwords.check_new(text, "Trombonist");
        assert_eq!(check(""), Err(PasswordError::Empty));
        assert_eq!(check("sieben7"), Err(PasswordError::TooShort { min: 8 }));
        assert_eq!(
            check("ö234567"),
            Err(PasswordError::TooShort { min: 8 }),
            "characters, not bytes"
        );
        assert_eq!(check(&"ü".repeat(513)), Err(PasswordError::TooLong { max: 1024 }));
        assert_eq!(check("tromboNIST"), Err(PasswordError::UserName));
        assert_eq!(check("Password1"), Err(PasswordError::Common));
        assert_eq!(check("        x"), Ok(()));
        assert_eq!(check("Tr0mbone-lake"), Ok(()));
    }

    #[test]
    fn the_list_of_common_passwords_covers_the_default_length() {
        let listed = COMMON.lines().filter(|line| !line.starts_with("# ") && line.len() >= 8);
        assert!(listed.count() >= 3000);
        assert!(is_common("password") && is_common("12345678") && !is_common("tr0mbone-lake"));
        assert!(
            COMMON
                .lines()
                .filter(|line| !line.starts_with("# "))
                .all(|line| line == normalize(line))
        );
    }
}
