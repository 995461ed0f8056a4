//! Passwords: PBKDF2-HMAC-SHA256 as PHC strings, and the rules for new ones.
//!
//! A check that fails costs the same whatever the reason, so that the time of a 401 tells nobody which
//! users exist: where there is no hash to check against, or one of fewer rounds, the rounds are done for nothing.

use std::fmt;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use pbkdf2::password_hash::phc::PasswordHash;
use pbkdf2::password_hash::{PasswordHasher, PasswordVerifier};
use pbkdf2::{Algorithm, Params, Pbkdf2};
use sha2::{Digest, Sha512};

use crate::error::{AuthError, PasswordFault, Result};
use crate::model::fold;

/// The commonest passwords in lower case, one a line. The comment at the top names source and licence.
const COMMON: &str = include_str!("common-passwords.txt");

/// Stands before the PHC string of an imported hash: what was hashed there is not the password, but what Shoko kept of
/// it, its SHA-512 without salt in upper-case hex. The first login puts a hash of the password in its place.
const OF_SHOKO: &str = "$shoko-sha512";
/// What an unknown user's password is checked against.
const NOBODYS_SALT: &str = "bm9ib2R5J3Mgc2FsdC4uLg";
const NOBODYS_HASH: &str = "bm9ib2R5J3MgaGFzaCBvZiBub2JvZHkncyBwYXNzd28";
/// Stands where a hash would: the user cannot log in until somebody sets a password.
pub const NO_PASSWORD: &str = "!";

/// How passwords are hashed and which new ones are taken.
#[derive(Debug)]
pub struct Passwords {
    hasher: Pbkdf2,
    rounds: u32,
    min_length: usize,
    /// The most rounds any check has needed: what a failure costs. Above `rounds` only when the setting was lowered,
    /// and then from the first check of an older hash on.
    dearest: AtomicU32,
}

impl Passwords {
    /// The greatest length, in bytes.
    pub const MAX_BYTES: usize = 1024;
    /// The fewest PBKDF2 rounds that can be set.
    pub const MIN_ROUNDS: u32 = Params::MIN_ROUNDS;

    /// `rounds` for new hashes, at least [`Self::MIN_ROUNDS`]; `min_length` of new passwords in characters.
    pub fn new(rounds: u32, min_length: usize) -> Result<Self> {
        let params = Params::new(rounds).map_err(|e| AuthError::Internal(format!("PBKDF2 rounds: {e}")))?;
        Ok(Self {
            hasher: Pbkdf2::new(Algorithm::Pbkdf2Sha256, params),
            rounds,
            min_length,
            dearest: AtomicU32::new(rounds),
        })
    }

    /// Whether `password` may become the password of `user`.
    ///
    /// Length is counted in code points and nothing is trimmed (NIST SP 800-63B-4, section 3.1.1.2).
    pub fn check_new(&self, password: &str, user: &str) -> std::result::Result<(), PasswordFault> {
        if password.is_empty() {
            return Err(PasswordFault::Empty);
        }
        if password.chars().count() < self.min_length {
            return Err(PasswordFault::TooShort { min: self.min_length });
        }
        if password.len() > Self::MAX_BYTES {
            return Err(PasswordFault::TooLong { max: Self::MAX_BYTES });
        }
        if password.contains('\0') {
            return Err(PasswordFault::Nul);
        }
        let folded = fold(password);
        if folded == fold(user) {
            return Err(PasswordFault::UserName);
        }
        if is_common(&folded) {
            return Err(PasswordFault::Common);
        }
        Ok(())
    }

    /// The PHC string of a fresh salt and `password`. Takes about a tenth of a second.
    pub fn hash(&self, password: &str) -> Result<String> {
        let hash: PasswordHash = self
            .hasher
            .hash_password(password.as_bytes())
            .map_err(|e| AuthError::Internal(format!("hashing a password: {e}")))?;
        Ok(hash.to_string())
    }

    /// The same of what Shoko kept of a password, so that nobody who finds the database finds that.
    pub fn wrap(&self, kept: &ShokoHash) -> Result<String> {
        self.hash(&kept.0).map(|hash| format!("{OF_SHOKO}{hash}"))
    }

    /// Whether `password` is the one that `stored` was made from; never, when nothing is stored.
    /// A `false` takes the same time in every case.
    #[must_use]
    pub fn verify(&self, password: &str, stored: Option<&str>) -> bool {
        let stored = stored.and_then(Stored::parse);
        let possible = password.len() <= Self::MAX_BYTES && !password.contains('\0');
        let stored = stored.filter(|_| possible);
        let done = stored.as_ref().map_or(0, |s| s.rounds);
        if stored.is_some_and(|stored| self.matches(password, &stored)) {
            return true;
        }
        self.spend(self.missing(done));
        false
    }

    /// Shoko hashed some passwords as they were typed and some trimmed. To try both takes twice as long; that tells who
    /// was imported and has not logged in since, and no more.
    fn matches(&self, password: &str, stored: &Stored) -> bool {
        let is = |text: &str| self.hasher.verify_password(text.as_bytes(), &stored.hash).is_ok();
        if !stored.of_shoko {
            return is(password);
        }
        let trimmed = password.trim();
        is(&ShokoHash::of(password).0) || (trimmed != password && is(&ShokoHash::of(trimmed).0))
    }

    /// Does `rounds` rounds for nothing but the time they take, by the very code of a check: another call of the library
    /// may be compiled otherwise, and take half a percent more or less. The library does at least
    /// [`Self::MIN_ROUNDS`], which is a fraction of a millisecond.
    fn spend(&self, rounds: u32) {
        if rounds == 0 {
            return;
        }
        let rounds = rounds.max(Self::MIN_ROUNDS);
        let nobodys = format!("$pbkdf2-sha256$i={rounds},l=32${NOBODYS_SALT}${NOBODYS_HASH}");
        if let Ok(hash) = PasswordHash::new(&nobodys) {
            let _ = black_box(self.hasher.verify_password(b"nobody's password", &hash));
        }
    }

    /// How many rounds a failure must still do that has done so many.
    fn missing(&self, done: u32) -> u32 {
        self.dearest.fetch_max(done, Ordering::Relaxed).max(done) - done
    }

    /// Whether `stored` was made with fewer rounds than new hashes are, or from what Shoko kept.
    #[must_use]
    pub fn needs_rehash(&self, stored: &str) -> bool {
        Stored::parse(stored).is_none_or(|s| s.of_shoko || s.rounds < self.rounds)
    }
}

/// A stored PHC string, taken apart.
struct Stored {
    hash: PasswordHash,
    rounds: u32,
    of_shoko: bool,
}

impl Stored {
    /// `None`, and a line in the log, when the text is no hash of ours: somebody edited the database.
    fn parse(text: &str) -> Option<Self> {
        let (text, of_shoko) = match text.strip_prefix(OF_SHOKO) {
            Some(text) => (text, true),
            None => (text, false),
        };
        let hash = PasswordHash::new(text).ok();
        let parsed = hash.and_then(|hash| {
            let rounds = Params::try_from(&hash).ok()?.rounds();
            let ours = hash.algorithm == Algorithm::Pbkdf2Sha256.into();
            ours.then_some(Self { hash, rounds, of_shoko })
        });
        if parsed.is_none() && text != NO_PASSWORD {
            log::error!("a stored password is not a PBKDF2-SHA256 PHC string; its user cannot log in");
        }
        parsed
    }
}

/// What Shoko keeps of a password: its SHA-512, without salt, in upper-case hex.
#[derive(Clone)]
pub struct ShokoHash(String);

impl ShokoHash {
    /// Reads what stands in Shoko's database. Lower case is none, nor is the hash of nothing: there, too, nobody can log
    /// in with it.
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

fn is_common(folded: &str) -> bool {
    COMMON.lines().any(|line| line == folded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_a_phc_string_that_only_its_password_satisfies() {
        let passwords = Passwords::new(1000, 8).unwrap();
        let hash = passwords.hash(" Trömbone ").unwrap();
        assert!(hash.starts_with("$pbkdf2-sha256$i=1000,l=32$"), "{hash}");
        assert!(passwords.verify(" Trömbone ", Some(&hash)));
        assert!(!passwords.verify("Trömbone", Some(&hash)));
        assert!(!passwords.verify(" Trömbone ", None));
        assert_ne!(hash, passwords.hash(" Trömbone ").unwrap(), "the salt is fresh");
    }

    #[test]
    fn a_hash_of_fewer_rounds_is_accepted_and_wants_a_rehash() {
        let hash = Passwords::new(1000, 8).unwrap().hash("Trombone").unwrap();
        let passwords = Passwords::new(2000, 8).unwrap();
        assert!(passwords.verify("Trombone", Some(&hash)));
        assert!(passwords.needs_rehash(&hash));
        assert!(!passwords.needs_rehash(&passwords.hash("Trombone").unwrap()));
    }

    #[test]
    fn a_text_that_is_no_hash_lets_nobody_in() {
        let passwords = Passwords::new(1000, 8).unwrap();
        for stored in [
            "",
            "Trombone",
            "$pbkdf2-sha512$i=1000,l=32$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert!(!passwords.verify("Trombone", Some(stored)), "{stored}");
        }
    }

    #[test]
    fn what_shoko_kept_is_wrapped_and_wants_a_rehash() {
        // Of "password".
        let sha512 = "B109F3BBBC244EB82441917ED06D618B9008DD09B3BEFD1B5E07394C706A8BB9\
                      80B1D7785E5976EC049B46DF5F1326AF5A2EA6D103FD07C95385FFAB0CACBC86";
        let passwords = Passwords::new(1000, 8).unwrap();
        let hash = passwords.wrap(&ShokoHash::parse(sha512).unwrap()).unwrap();
        assert!(!hash.contains(sha512) && passwords.needs_rehash(&hash), "{hash}");
        for password in ["password", " password\t"] {
            assert!(passwords.verify(password, Some(&hash)), "{password}");
        }
        for password in ["", " ", "Password", sha512] {
            assert!(!passwords.verify(password, Some(&hash)), "{password}");
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
        assert!(!passwords.verify("password", Some(NO_PASSWORD)) && !passwords.verify(NO_PASSWORD, Some(NO_PASSWORD)));
    }

    #[test]
    fn a_password_over_the_bound_is_never_right() {
        let passwords = Passwords::new(1000, 8).unwrap();
        let long = "x".repeat(Passwords::MAX_BYTES + 1);
        let hash = passwords.hash(&long).unwrap();
        assert!(!passwords.verify(&long, Some(&hash)));
    }

    #[test]
    fn a_failure_does_the_rounds_that_are_missing() {
        let passwords = Passwords::new(2000, 8).unwrap();
        assert_eq!(
            (passwords.missing(0), passwords.missing(1500), passwords.missing(2000)),
            (2000, 500, 0)
        );
        assert_eq!(passwords.missing(5000), 0, "a hash from before the setting was lowered");
        assert_eq!(passwords.missing(0), 5000, "from now on an unknown user costs as much");
        let dear = Passwords::new(9000, 8).unwrap().hash("Trombone").unwrap();
        assert!(!passwords.verify("wrong", Some(&dear)) && passwords.missing(0) == 9000);
        assert!(!passwords.needs_rehash(&dear), "a hash is never made weaker");
    }

    #[test]
    fn nobodys_hash_is_one() {
        assert!(PasswordHash::new(&format!("$pbkdf2-sha256$i=1000,l=32${NOBODYS_SALT}${NOBODYS_HASH}")).is_ok());
    }

    #[test]
    fn a_failed_check_takes_as_long_as_a_hash_whatever_the_reason() {
        let time = |deed: &dyn Fn()| {
            let times = (0..5).map(|_| {
                let start = std::time::Instant::now();
                deed();
                start.elapsed()
            });
            times.min().unwrap()
        };
        let cheap = Passwords::new(1000, 8).unwrap().hash("Trombone").unwrap();
        let passwords = Passwords::new(50_000, 8).unwrap();
        let hash = passwords.hash("Trombone").unwrap();
        let long = "x".repeat(Passwords::MAX_BYTES + 1);
        let known = time(&|| assert!(!passwords.verify("wrong", Some(&hash))));
        for (password, stored) in [
            ("wrong", Some(&*cheap)),
            ("wrong", None),
            (&*long, Some(&*hash)),
            (&*long, None),
        ] {
            let other = time(&|| assert!(!passwords.verify(password, stored)));
            // Wide, because other tests run meanwhile; without the spent rounds it is a factor of 50.
            assert!(
                other * 3 > known && known * 3 > other,
                "{other:?}, {known:?} for {stored:?}"
            );
        }
    }

    #[test]
    fn a_password_with_nuls_behind_it_is_another_password() {
        let passwords = Passwords::new(1000, 8).unwrap();
        let hash = passwords.hash("Trombone").unwrap();
        assert!(!passwords.verify("Trombone\0", Some(&hash)) && !passwords.verify("Trombone\0\0", Some(&hash)));
        for password in ["Tr0mbone-lake\0", "password\0", "\0\0\0\0\0\0\0\0"] {
            assert_eq!(passwords.check_new(password, "Default"), Err(PasswordFault::Nul));
        }
    }

    #[test]
    fn a_refused_new_password_is_told_why() {
        let passwords = Passwords::new(1000, 8).unwrap();
        let check = |text: &str| passwords.check_new(text, "Trombonist");
        assert_eq!(check(""), Err(PasswordFault::Empty));
        assert_eq!(check("sieben7"), Err(PasswordFault::TooShort { min: 8 }));
        assert_eq!(
            check("ö234567"),
            Err(PasswordFault::TooShort { min: 8 }),
            "characters, not bytes"
        );
        assert_eq!(check(&"ü".repeat(513)), Err(PasswordFault::TooLong { max: 1024 }));
        assert_eq!(check("tromboNIST"), Err(PasswordFault::UserName));
        assert_eq!(check("Password1"), Err(PasswordFault::Common));
        assert_eq!(check("        x"), Ok(()));
        assert_eq!(check("Tr0mbone-lake"), Ok(()));
    }

    #[test]
    fn the_list_of_common_passwords_covers_what_the_default_length_lets_through() {
        let listed = COMMON.lines().filter(|line| !line.starts_with("# ") && line.len() >= 8);
        assert!(listed.count() >= 3000);
        assert!(is_common("password") && is_common("12345678") && !is_common("tr0mbone-lake"));
        assert!(
            COMMON
                .lines()
                .filter(|line| !line.starts_with("# "))
                .all(|line| line == fold(line))
        );
    }
}
