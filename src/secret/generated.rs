//! Generated passwords.

use super::random;
use crate::error::Result;
use crate::model::SecretText;

/// Letters and digits that are hard to mistake for one another.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Returns a new password with 100 bits of randomness: 20 characters in groups of four.
pub fn readable_password() -> Result<SecretText> {
    let letters: Vec<u8> = random::<20>()?
        .iter()
        .map(|byte| ALPHABET[usize::from(byte % 32)])
        .collect();
    let groups: Vec<String> = letters
        .chunks(4)
        .map(|group| String::from_utf8_lossy(group).into_owned())
        .collect();
    Ok(SecretText::new(groups.join("-")))
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
