//! The rules for new passwords.

use super::Passwords;
use crate::error::PasswordError;
use crate::model::normalize;

/// The most common passwords in lower case, one per line. The head of the file names its source and license.
const COMMON: &str = include_str!("common-passwords.txt");

/// Checks whether `password` may become the password of `user`. `min_length` is in characters.
pub(super) fn check(password: &str, user: &str, min_length: usize) -> Result<(), PasswordError> {
    if password.is_empty() {
        return Err(PasswordError::Empty);
    }
    if password.chars().count() < min_length {
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
    let normalized = normalize(password);
    if normalized == normalize(user) {
        return Err(PasswordError::UserName);
    }
    if is_common(&normalized) {
        return Err(PasswordError::Common);
    }
    Ok(())
}

fn is_common(normalized: &str) -> bool {
    COMMON.lines().any(|line| line == normalized)
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
