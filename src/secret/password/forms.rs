//! The forms of a typed password that may have been hashed.
//!
//! Keyboards and systems compose letters differently: `ü` is one code point on most, and `u` with a combining mark on
//! some. New hashes are computed from the NFC form (NIST SP 800-63B-4, section 3.1.1.2), older ones from the password
//! as typed.

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

type Text = Zeroizing<String>;

/// The distinct forms of a password, the likeliest first.
pub(super) struct Forms {
    /// The password as typed, and its NFC form.
    own: Vec<Text>,
    /// The password as typed, trimmed, and the NFC form of the trimmed password. Shoko hashed some passwords as typed
    /// and some trimmed.
    of_shoko: Vec<Text>,
}

impl Forms {
    pub fn of(password: &str) -> Self {
        let as_typed = || Zeroizing::new(password.to_owned());
        let trimmed = password.trim();
        Self {
            own: distinct([as_typed(), nfc(password)]),
            of_shoko: distinct([as_typed(), Zeroizing::new(trimmed.to_owned()), nfc(trimmed)]),
        }
    }

    /// Returns the forms to compare with a hash of this service, or with a hash that wraps Shoko's.
    pub fn to_compare(&self, is_of_shoko: bool) -> &[Text] {
        if is_of_shoko { &self.of_shoko } else { &self.own }
    }

    /// Returns how many comparisons a failed check must cost. The number depends only on what was typed, so it reveals
    /// nothing about the user.
    pub fn count(&self) -> usize {
        self.own.len().max(self.of_shoko.len())
    }
}

fn distinct<const N: usize>(forms: [Text; N]) -> Vec<Text> {
    let mut found = Vec::with_capacity(N);
    for form in forms {
        if !found.contains(&form) {
            found.push(form);
        }
    }
    found
}

/// Returns the NFC form of a text.
pub(super) fn nfc(text: &str) -> Text {
    // A text can triple in length. Growing the string would leave copies in memory that are not overwritten.
    let mut form = Zeroizing::new(String::with_capacity(3 * text.len()));
    form.extend(text.nfc());
    form
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_a_password_are_distinct() {
        let forms = |password: &str, is_of_shoko| {
            let forms = Forms::of(password);
            assert!(forms.count() >= forms.to_compare(is_of_shoko).len());
            let texts = forms.to_compare(is_of_shoko).iter();
            texts.map(|text| text.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(forms("oboe", false), ["oboe"]);
        assert_eq!(forms("oboe", true), ["oboe"]);
        assert_eq!(forms(" oboe", false), [" oboe"]);
        assert_eq!(forms(" oboe", true), [" oboe", "oboe"]);
        assert_eq!(forms("u\u{308} ", false), ["u\u{308} ", "\u{fc} "]);
        assert_eq!(forms("u\u{308} ", true), ["u\u{308} ", "u\u{308}", "\u{fc}"]);
        assert_eq!(forms("\u{fc}", true), ["\u{fc}"]);
    }

    #[test]
    fn the_nfc_form_needs_at_most_three_times_the_room() {
        for text in ["\u{390}", "\u{fb2c}", "\u{1f82}", "\u{1d15e}", "\u{958}", "\u{fe4}"] {
            assert!(nfc(text).len() <= 3 * text.len(), "{text}");
        }
    }
}
