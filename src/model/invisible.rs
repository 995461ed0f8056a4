//! Characters that are not displayed but change how a text looks, such as those that reverse its direction.

use std::borrow::Cow;

use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;

/// The zero-width non-joiner and joiner. Persian, Indic scripts and emoji need them between characters.
const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];

/// Returns whether a character is a format character, a line separator or a paragraph separator (Unicode's general
/// categories Cf, Zl and Zp).
#[must_use]
pub fn is_invisible(c: char) -> bool {
    use GeneralCategory::{Format, LineSeparator, ParagraphSeparator};
    let category = || CodePointMapData::<GeneralCategory>::new().get(c);
    !c.is_ascii() && matches!(category(), Format | LineSeparator | ParagraphSeparator)
}

/// Returns the invisible characters in a text with their positions in bytes, except for joiners between two visible
/// characters.
pub fn invisible_characters(text: &str) -> impl Iterator<Item = (usize, char)> {
    let is_visible = |c: char| !is_invisible(c) && !c.is_whitespace();
    text.char_indices().filter(move |(position, c)| {
        let is_between_visible = || {
            let before = text[..*position].chars().next_back();
            let after = text[position + c.len_utf8()..].chars().next();
            before.is_some_and(is_visible) && after.is_some_and(is_visible)
        };
        is_invisible(*c) && !(JOINERS.contains(c) && is_between_visible())
    })
}

/// Replaces the [`invisible_characters`] of a text with their escapes, such as `\u{202e}`.
#[must_use]
pub fn escape_invisible(text: &str) -> Cow<'_, str> {
    replace_invisible(text, |c| c.escape_unicode().to_string())
}

/// Replaces the [`invisible_characters`] of a text.
pub fn replace_invisible(text: &str, replacement: impl Fn(char) -> String) -> Cow<'_, str> {
    let mut replaced = String::new();
    let mut end = 0;
    for (position, c) in invisible_characters(text) {
        replaced.push_str(&text[end..position]);
        replaced.push_str(&replacement(c));
        end = position + c.len_utf8();
    }
    if end == 0 {
        return Cow::Borrowed(text);
    }
    replaced.push_str(&text[end..]);
    Cow::Owned(replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_characters_and_separators_are_escaped() {
        for (text, escaped) in [
            ("Jörg 東京 👍🏽 a\u{301}", "Jörg 東京 👍🏽 a\u{301}"),
            ("a\u{202e}b", r"a\u{202e}b"),
            ("\u{feff}a\u{ad}", r"\u{feff}a\u{ad}"),
            ("a\u{2028}b\u{2029}\u{e0001}", r"a\u{2028}b\u{2029}\u{e0001}"),
        ] {
            assert_eq!(escape_invisible(text), escaped);
        }
    }

    #[test]
    fn joiners_are_left_alone_only_between_visible_characters() {
        for text in ["می\u{200c}خواهم", "क्\u{200d}ष", "👩\u{200d}💻"] {
            assert_eq!(invisible_characters(text).count(), 0, "{text}");
        }
        for (text, count) in [
            ("\u{200d}", 1),
            ("\u{200c}a", 1),
            ("a\u{200c}", 1),
            ("a\u{200c} b", 1),
            ("a\u{200c}\u{200d}b", 2),
            ("a\u{200c}\u{202e}b", 2),
        ] {
            assert_eq!(invisible_characters(text).count(), count, "{text:?}");
        }
    }
}
