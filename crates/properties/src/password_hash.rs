//! Stored passwords. The first line of an input is a password, and the second line is a stored hash. If there is no
//! second line, the check hashes the password itself.

use pbkdf2::Params;
use pbkdf2::password_hash::phc::PasswordHash;
use sha2::{Digest, Sha512};
use shoko_auth::secret::password::{Passwords, ShokoHash};

/// The prefix of the PHC string of an imported hash.
const IMPORTED_PREFIX: &str = "$shoko-sha512";
/// The checks hash no password with more rounds than this, because that would take too long.
const MAX_ROUNDS: u32 = 2000;

/// Checks one password and its stored hash.
pub fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    match text.split_once('\n') {
        Some((password, stored)) => check_stored(password, stored),
        None => check_hashed(text),
    }
}

/// Returns a hasher with this number of rounds. Stored hashes with fewer rounds need a rehash.
fn passwords(rounds: u32) -> Passwords {
    Passwords::new(rounds, 8).unwrap()
}

fn check_stored(password: &str, stored: &str) {
    let (phc, is_imported) = match stored.strip_prefix(IMPORTED_PREFIX) {
        Some(phc) => (phc, true),
        None => (stored, false),
    };
    let hasher = passwords(Passwords::MIN_ROUNDS);
    assert!(
        hasher.needs_rehash(&format!("{IMPORTED_PREFIX}{phc}")),
        "an imported hash needs a rehash"
    );
    if hasher.needs_rehash(phc) {
        assert!(
            passwords(u32::MAX).needs_rehash(stored),
            "an invalid hash needs a rehash"
        );
        // The rounds of an invalid hash must not be run. There can be so many that this call would seem to hang.
        assert!(
            !hasher.check(password, Some(stored)),
            "an invalid hash accepts no password"
        );
        return;
    }

    let hash = PasswordHash::new(phc).unwrap();
    assert_eq!(hash.algorithm.as_str(), "pbkdf2-sha256");
    assert_eq!(hash.to_string(), phc, "formatting the parsed hash does not change it");
    let rounds = Params::try_from(&hash).unwrap().rounds();
    assert!(rounds >= Passwords::MIN_ROUNDS);
    assert_eq!(passwords(rounds).needs_rehash(stored), is_imported);
    assert!(rounds == u32::MAX || passwords(rounds + 1).needs_rehash(stored));
    if rounds <= MAX_ROUNDS && hasher.check(password, Some(stored)) {
        check_other_passwords(password, stored, is_imported);
    }
}

fn check_hashed(password: &str) {
    let hasher = passwords(Passwords::MIN_ROUNDS);
    let digest = Sha512::digest(password.as_bytes());
    let hash = digest
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02X}"));
    let Some(hash) = ShokoHash::parse(&hash) else {
        assert!(password.is_empty(), "only the hash of the empty password is rejected");
        return;
    };
    let is_imported = hasher.wrap(&hash).unwrap();
    let stored = hasher.hash(password).unwrap();
    let possible = password.len() <= Passwords::MAX_BYTES && !password.contains('\0');
    for (stored, is_imported) in [(stored, false), (is_imported, true)] {
        assert_eq!(hasher.check(password, Some(&stored)), possible);
        check_stored(password, &stored);
        if possible {
            check_other_passwords(password, &stored, is_imported);
        }
    }
}

fn check_other_passwords(password: &str, stored: &str, is_imported: bool) {
    let hasher = passwords(Passwords::MIN_ROUNDS);
    let is_right = |password: &str| hasher.check(password, Some(stored));
    assert!(!is_right(&format!("{password}x")) && !is_right(&format!("{password}\0")));
    // An imported hash also accepts the trimmed password, because Shoko trimmed some passwords before it hashed them.
    let with_blank = format!("{password} ");
    assert!(
        !is_right(&with_blank) || is_imported,
        "only an imported hash accepts a space at the end"
    );
}
