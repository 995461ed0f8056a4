//! Generated passwords.

use zeroize::Zeroizing;

use super::random;
use crate::error::Result;
use crate::model::SecretText;

/// Letters and digits that are hard to mistake for one another.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Returns a new password with 100 bits of randomness: 20 characters in groups of four.
pub fn readable_password() -> Result<SecretText> {
    let bytes = Zeroizing::new(random::<20>()?);
    // Growing the string would leave copies in memory that are not overwritten.
    let mut text = String::with_capacity(24);
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 && index % 4 == 0 {
            text.push('-');
        }
        text.push(char::from(ALPHABET[usize::from(byte % 32)]));
    }
    Ok(SecretText::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_password_is_readable_and_new_every_time() {
        let password = readable_password().unwrap();
        assert_eq!(password.expose().len(), 24);
        assert!(password.expose().split('-').all(|group| group.len() == 4));
        assert_ne!(password.expose(), readable_password().unwrap().expose());
    }
}
