//! Names of users and devices, and e-mail addresses.

use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

/// A user's name, a device's name or an e-mail address. It is trimmed and has 1 to [`Self::MAX_CHARS`] characters. Two
/// names are compared in their normalized form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    as_typed: String,
    normalized: String,
}

/// The reason why a text is not a [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("A name must not be empty.")]
    Blank,
    #[error("A name may have at most 255 characters.")]
    TooLong,
    #[error("A name must not contain control characters.")]
    ControlCharacter,
}

impl Name {
    /// The maximum length in characters after trimming.
    pub const MAX_CHARS: usize = 255;

    /// Trims and checks `text`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let as_typed = text.trim();
        if as_typed.is_empty() {
            return Err(NameError::Blank);
        }
        if as_typed.chars().count() > Self::MAX_CHARS {
            return Err(NameError::TooLong);
        }
        if as_typed.chars().any(char::is_control) {
            return Err(NameError::ControlCharacter);
        }
        Ok(Self {
            normalized: normalize(as_typed),
            as_typed: as_typed.to_owned(),
        })
    }

    #[must_use]
    pub fn as_typed(&self) -> &str {
        &self.as_typed
    }

    /// Returns the form for comparison: see [`normalize`].
    #[must_use]
    pub fn normalized(&self) -> &str {
        &self.normalized
    }
}

/// Returns `text` in the form in which names are compared: trimmed, NFC, lower case, and NFC again because lower-casing
/// can undo NFC. A final sigma becomes a plain sigma. Databases differ in how they compare text, so the service
/// normalizes names itself.
#[must_use]
pub fn normalize(text: &str) -> String {
    let lower = text.trim().nfc().collect::<String>().to_lowercase();
    lower.nfc().map(|c| if c == 'ς' { 'σ' } else { c }).collect()
}

/// The SHA-256 of a normalized name. It has the same size for every name, however long a client makes the name.
pub type NameDigest = [u8; 32];

/// Returns the digest of the normalized form of `name`.
#[must_use]
pub fn name_digest(name: &str) -> NameDigest {
    Sha256::digest(normalize(name)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_trimmed_and_without_case_or_composition() {
        let composed = Name::parse(" Jo\u{308}RG\t").unwrap();
        assert_eq!(composed.as_typed(), "Jo\u{308}RG");
        assert_eq!(composed.normalized(), Name::parse("jörg").unwrap().normalized());
    }

    #[test]
    fn normalizing_twice_is_normalizing_once() {
        for text in ["J\u{30c}an", "\u{1f0}an", "ΟΔΟΣ", "οδος", "İstanbul", "ẞ", "ﬀ"] {
            assert_eq!(normalize(&normalize(text)), normalize(text), "{text}");
        }
        assert_eq!(normalize("J\u{30c}an"), normalize("\u{1f0}an"));
        assert!(normalize("ΟΔΟΣ") == normalize("οδος") && normalize("ΟΔΟΣ") == normalize("οδοσ"));
    }

    #[test]
    fn a_name_has_1_to_255_characters_and_no_control_character() {
        assert_eq!(Name::parse(" \t"), Err(NameError::Blank));
        assert!(Name::parse(&"ü".repeat(255)).is_ok());
        assert_eq!(Name::parse(&"ü".repeat(256)), Err(NameError::TooLong));
        assert_eq!(Name::parse("a\0b"), Err(NameError::ControlCharacter));
    }
}
