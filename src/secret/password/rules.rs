//! The rules for new passwords.

use zeroize::Zeroizing;

use super::forms::nfc;
use super::{Passwords, common};
use crate::error::PasswordError;
use crate::model::normalize;

/// The names of this product and of the server whose login it replaces, in the form of [`letters`].
const PRODUCT_NAMES: [&str; 3] = ["shoko", "shokoauth", "shokoserver"];
/// A password that only repeats a text of this many characters or fewer is as easy to guess as that text, which would
/// be too short itself by the default setting.
const MAX_REPEATED_CHARS: usize = 7;

/// Checks whether `password` may become the password of `user`. `min_length` is in characters.
pub(super) fn check(password: &str, user: &str, min_length: usize) -> Result<(), PasswordError> {
    if password.is_empty() {
        return Err(PasswordError::Empty);
    }
    let nfc = nfc(password);
    if nfc.chars().count() < min_length {
        return Err(PasswordError::TooShort { min: min_length });
    }
    if password.len() > Passwords::MAX_BYTES {
        return Err(PasswordError::TooLong {
            max: Passwords::MAX_BYTES,
        });
    }
    if password.contains('\0') {
        return Err(PasswordError::Nul);
    }
    // This check comes before the list of common passwords, which has many repetitive entries, because its reason is
    // clearer.
    if is_repetitive(&nfc) {
        return Err(PasswordError::Repetitive);
    }
    let normalized = Zeroizing::new(normalize(password));
    let letters = letters(&normalized);
    if *normalized == normalize(user) || (!letters.is_empty() && letters == self::letters(&normalize(user))) {
        return Err(PasswordError::UserName);
    }
    if PRODUCT_NAMES.contains(&letters.as_str()) {
        return Err(PasswordError::ProductName);
    }
    if common::contains(&normalized) {
        return Err(PasswordError::Common);
    }
    Ok(())
}

/// Returns the text without digits, punctuation and spaces.
fn letters(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.chars().filter(|c| c.is_alphabetic()).collect())
}

/// Returns whether the text is a text of at most [`MAX_REPEATED_CHARS`], repeated at least once. The last repetition
/// may be cut off, and upper case is the same as lower case.
fn is_repetitive(text: &str) -> bool {
    let chars: Zeroizing<Vec<char>> = Zeroizing::new(text.chars().flat_map(char::to_lowercase).collect());
    (1..=MAX_REPEATED_CHARS.min(chars.len() / 2)).any(|period| chars[period..] == chars[..chars.len() - period])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejected_new_password_is_explained() {
        let check = |text: &str| super::check(text, "Trombonist", 8);
        assert_eq!(check(""), Err(PasswordError::Empty));
        assert_eq!(check("sieben7"), Err(PasswordError::TooShort { min: 8 }));
        assert_eq!(
            check("ö234567"),
            Err(PasswordError::TooShort { min: 8 }),
            "characters, not bytes"
        );
        assert_eq!(
            check("o\u{308}234567"),
            Err(PasswordError::TooShort { min: 8 }),
            "of the NFC form"
        );
        assert_eq!(check(&"ü".repeat(513)), Err(PasswordError::TooLong { max: 1024 }));
        assert_eq!(check("tromboNIST"), Err(PasswordError::UserName));
        assert_eq!(check("Password1"), Err(PasswordError::Common));
        assert_eq!(check("        x"), Ok(()));
        assert_eq!(check("Tr0mbone-lake"), Ok(()));
    }

    #[test]
    fn the_users_name_with_digits_and_punctuation_is_rejected() {
        let check = |text: &str, user: &str| super::check(text, user, 8);
        for (text, user) in [
            ("Trombonist-1987!", "Trombonist"),
            ("19.87 trom.bon.ist", "TROMBONIST-2"),
            ("Ju\u{308}rgen_123", "j\u{fc}rgen"),
            ("20110207", "20110207"),
        ] {
            assert_eq!(check(text, user), Err(PasswordError::UserName), "{text}");
        }
        for (text, user) in [("83920177-5521", "42"), ("Trombonists-1987", "Trombonist")] {
            assert_eq!(check(text, user), Ok(()), "{text}");
        }
    }

    #[test]
    fn the_products_name_with_digits_and_punctuation_is_rejected() {
        for text in [
            "Shoko-Auth",
            "shokoauth1",
            "shoko2024!",
            "S.h.o.k.o.8",
            "Shoko Server 5",
        ] {
            assert_eq!(super::check(text, "bob", 8), Err(PasswordError::ProductName), "{text}");
        }
        assert_eq!(super::check("shoko-on-a-hill", "bob", 8), Ok(()));
    }

    #[test]
    fn a_repeated_character_or_short_text_is_rejected() {
        for text in [
            "qqqqqqqq",
            "        ",
            "öööööööö",
            "AbabABab",
            "xyzxyzxy",
            "Oboe-7 oBoe-7 ",
            &"ü".repeat(500),
        ] {
            assert_eq!(super::check(text, "bob", 8), Err(PasswordError::Repetitive), "{text}");
        }
        for text in ["trombont", "Oboe-hill Oboe-hill", "qqqqqqqq-hill"] {
            assert_eq!(super::check(text, "bob", 8), Ok(()), "{text}");
        }
    }
}
