//! Stored passwords. The first line of an input is a password, the second what is stored; without the second line, the
//! password is hashed.

use pbkdf2::Params;
use pbkdf2::password_hash::phc::PasswordHash;
use sha2::{Digest, Sha512};
use shoko_auth::secret::password::{Passwords, ShokoHash};

/// Stands before the PHC string of a hash that came from Shoko.
const OF_SHOKO: &str = "$shoko-sha512";
/// Who stores a hash of more rounds wants to wait for it; this does not.
const MOST_ROUNDS: u32 = 2000;

/// Checks one password and what is stored of it.
pub fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    match text.split_once('\n') {
        Some((password, stored)) => check_stored(password, stored),
        None => check_hashed(text),
    }
}

/// Rounds for new hashes, and so many that stored ones must have.
fn passwords(rounds: u32) -> Passwords {
    Passwords::new(rounds, 8).unwrap()
}

fn check_stored(password: &str, stored: &str) {
    let (phc, of_shoko) = match stored.strip_prefix(OF_SHOKO) {
        Some(phc) => (phc, true),
        None => (stored, false),
    };
    let least = passwords(Passwords::MIN_ROUNDS);
    assert!(
        least.needs_rehash(&format!("{OF_SHOKO}{phc}")),
        "what came from Shoko stays"
    );
    if least.needs_rehash(phc) {
        assert!(passwords(u32::MAX).needs_rehash(stored), "what cannot be read stays");
        // Shows that it is not even tried, or it would take its rounds: `i` may be anything.
        assert!(
            !least.verify(password, Some(stored)),
            "what cannot be read lets somebody in"
        );
        return;
    }

    let hash = PasswordHash::new(phc).unwrap();
    assert_eq!(hash.algorithm.as_str(), "pbkdf2-sha256");
    assert_eq!(hash.to_string(), phc, "written again it is another");
    let rounds = Params::try_from(&hash).unwrap().rounds();
    assert!(rounds >= Passwords::MIN_ROUNDS);
    assert_eq!(passwords(rounds).needs_rehash(stored), of_shoko);
    assert!(rounds == u32::MAX || passwords(rounds + 1).needs_rehash(stored));
    if rounds <= MOST_ROUNDS && least.verify(password, Some(stored)) {
        only_the_password_is_right(password, stored, of_shoko);
    }
}

fn check_hashed(password: &str) {
    let least = passwords(Passwords::MIN_ROUNDS);
    let digest = Sha512::digest(password.as_bytes());
    let kept = digest
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02X}"));
    let Some(kept) = ShokoHash::parse(&kept) else {
        assert!(password.is_empty(), "only of nothing there is none");
        return;
    };
    let of_shoko = least.wrap(&kept).unwrap();
    let stored = least.hash(password).unwrap();
    let possible = password.len() <= Passwords::MAX_BYTES && !password.contains('\0');
    for (stored, of_shoko) in [(stored, false), (of_shoko, true)] {
        assert_eq!(least.verify(password, Some(&stored)), possible);
        check_stored(password, &stored);
        if possible {
            only_the_password_is_right(password, &stored, of_shoko);
        }
    }
}

fn only_the_password_is_right(password: &str, stored: &str, of_shoko: bool) {
    let least = passwords(Passwords::MIN_ROUNDS);
    let is_right = |password: &str| least.verify(password, Some(stored));
    assert!(!is_right(&format!("{password}x")) && !is_right(&format!("{password}\0")));
    // Shoko trims some passwords.
    let with_blank = format!("{password} ");
    assert!(!is_right(&with_blank) || of_shoko, "a blank more");
}
