//! Characters that are not displayed but change how a text looks, such as those that reverse its direction, or that make
//! two different texts look the same.

use std::borrow::Cow;

use icu_properties::props::{
    CanonicalCombiningClass, DefaultIgnorableCodePoint, ExtendedPictographic, GeneralCategory, JoiningType,
};
use icu_properties::{CodePointMapData, CodePointSetData};

/// Two characters that are displayed as nothing, although Unicode classifies them as symbols: the Braille pattern
/// without dots and the musical null notehead.
const BLANKS: [char; 2] = ['\u{2800}', '\u{1d159}'];
/// Keeps letters apart that would otherwise be joined.
const ZERO_WIDTH_NON_JOINER: char = '\u{200c}';
/// Joins letters or emoji.
const ZERO_WIDTH_JOINER: char = '\u{200d}';
/// Select the display of the emoji before them, as text or as an image.
const EMOJI_VARIATIONS: [char; 2] = ['\u{fe0e}', '\u{fe0f}'];
const SKIN_TONES: std::ops::RangeInclusive<char> = '\u{1f3fb}'..='\u{1f3ff}';
/// The frame around a digit, as in the emoji of a key on a telephone.
const KEYCAP: char = '\u{20e3}';

/// Returns whether a character is never displayed by itself: a format character, a line separator or a paragraph
/// separator (Unicode's general categories Cf, Zl and Zp), a character with the property
/// `Default_Ignorable_Code_Point`, or one of `BLANKS`.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    use GeneralCategory::{Format, LineSeparator, ParagraphSeparator};
    let category = || CodePointMapData::<GeneralCategory>::new().get(c);
    let is_ignorable = || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c);
    !c.is_ascii()
        && (matches!(category(), Format | LineSeparator | ParagraphSeparator) || is_ignorable() || BLANKS.contains(&c))
}

/// Returns the invisible characters in a text with their positions in bytes. Leaves out the variation selectors of emoji,
/// and joiners where they change how the characters next to them look.
pub fn invisible_characters(text: &str) -> impl Iterator<Item = (usize, char)> {
    invisible_in_name(text).filter(|(position, c)| {
        let (before, after) = text.split_at(*position);
        !(EMOJI_VARIATIONS.contains(c) && is_emoji_variation(before, &after[c.len_utf8()..]))
    })
}

/// Returns the characters that a new name must not contain, with their positions in bytes: the invisible characters
/// except for joiners where they change how the characters next to them look.
pub fn invisible_in_name(text: &str) -> impl Iterator<Item = (usize, char)> {
    text.char_indices().filter(|(position, c)| {
        let (before, after) = text.split_at(*position);
        is_invisible(*c) && !is_needed_joiner(*c, before, &after[c.len_utf8()..])
    })
}

/// Returns whether `c` is a joiner that is needed between two texts: after a virama, between letters that would be joined
/// without it (RFC 5892, appendices A.1 and A.2), or between emoji.
fn is_needed_joiner(c: char, before: &str, after: &str) -> bool {
    if ![ZERO_WIDTH_JOINER, ZERO_WIDTH_NON_JOINER].contains(&c) {
        return false;
    }
    let (Some(last), Some(next)) = (before.chars().next_back(), after.chars().next()) else {
        return false;
    };
    let is_visible = |c: char| !is_invisible(c) && !c.is_whitespace();
    let class = CodePointMapData::<CanonicalCombiningClass>::new().get(last);
    let is_after_virama = class == CanonicalCombiningClass::Virama && is_visible(next);
    match c {
        ZERO_WIDTH_JOINER => is_after_virama || (ends_with_emoji(before) && is_pictographic(next)),
        _ => is_after_virama || would_join(before, after),
    }
}

/// Returns whether the last letter of `before` is displayed joined to the first letter of `after`.
fn would_join(before: &str, after: &str) -> bool {
    let type_of = |c: char| CodePointMapData::<JoiningType>::new().get(c);
    let is_letter = |kind: &JoiningType| *kind != JoiningType::Transparent;
    let left = before.chars().rev().map(type_of).find(is_letter);
    let right = after.chars().map(type_of).find(is_letter);
    matches!(left, Some(JoiningType::LeftJoining | JoiningType::DualJoining))
        && matches!(right, Some(JoiningType::RightJoining | JoiningType::DualJoining))
}

fn is_pictographic(c: char) -> bool {
    !c.is_ascii() && CodePointSetData::new::<ExtendedPictographic>().contains(c)
}

/// Returns whether a text ends with an emoji, which a variation selector or a skin tone may follow.
fn ends_with_emoji(text: &str) -> bool {
    let is_modifier = |c: char| EMOJI_VARIATIONS.contains(&c) || SKIN_TONES.contains(&c);
    let mut last = text.chars().rev();
    match last.next() {
        Some(c) if is_modifier(c) => last.next().is_some_and(is_pictographic),
        last => last.is_some_and(is_pictographic),
    }
}

/// Returns whether a variation selector between these texts belongs to an emoji.
fn is_emoji_variation(before: &str, after: &str) -> bool {
    let is_key = |c: char| c.is_ascii_digit() || ['#', '*'].contains(&c);
    before
        .chars()
        .next_back()
        .is_some_and(|last| is_pictographic(last) || (is_key(last) && after.starts_with(KEYCAP)))
}

/// Replaces the [`invisible_characters`] of a text with their escapes, such as `\u{202e}`.
#[must_use]
pub fn escape_invisible(text: &str) -> Cow<'_, str> {
    replace(text, invisible_characters(text), |c| c.escape_unicode().to_string())
}

/// Replaces the characters of a text that a new name must not contain with spaces.
#[must_use]
pub fn without_invisible(text: &str) -> Cow<'_, str> {
    replace(text, invisible_in_name(text), |_| " ".to_owned())
}

fn replace(
    text: &str,
    characters: impl Iterator<Item = (usize, char)>,
    replacement: impl Fn(char) -> String,
) -> Cow<'_, str> {
    let mut replaced = String::new();
    let mut end = 0;
    for (position, c) in characters {
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
    fn ignorable_and_blank_characters_are_invisible() {
        let ranges = [
            '\u{34f}'..='\u{34f}',
            '\u{115f}'..='\u{1160}',
            '\u{17b4}'..='\u{17b5}',
            '\u{180b}'..='\u{180f}',
            '\u{2800}'..='\u{2800}',
            '\u{3164}'..='\u{3164}',
            '\u{fe00}'..='\u{fe0f}',
            '\u{ffa0}'..='\u{ffa0}',
            '\u{1d159}'..='\u{1d159}',
            '\u{e0100}'..='\u{e01ef}',
        ];
        for c in ranges.into_iter().flatten() {
            let text = format!("a{c}b");
            assert_eq!(invisible_in_name(&text).count(), 1, "{text:?}");
            assert_eq!(invisible_characters(&text).count(), 1, "{text:?}");
        }
        assert!(
            (' '..='~')
                .chain(['ü', '東', '👍', '\u{301}'])
                .all(|c| !is_invisible(c))
        );
    }

    #[test]
    fn joiners_are_left_alone_only_where_they_change_how_their_neighbors_look() {
        for text in [
            "می\u{200c}خواهم",
            "بّ\u{200c}ب",
            "क्\u{200d}ष",
            "क्\u{200c}ष",
            "ශ්\u{200d}රී",
            "👩\u{200d}💻",
            "👩🏽\u{200d}🚀",
        ] {
            assert_eq!(invisible_in_name(text).count(), 0, "{text}");
        }
        for (text, count) in [
            ("\u{200d}", 1),
            ("\u{200c}a", 1),
            ("a\u{200c}", 1),
            ("a\u{200c}b", 1),
            ("a\u{200d}b", 1),
            ("α\u{200d}β", 1),
            ("ж\u{200c}д", 1),
            ("東\u{200d}京", 1),
            ("م\u{200d}ی", 1),
            ("د\u{200c}م", 1),
            ("م\u{200c}\u{200c}ی", 2),
            ("क्\u{200d}", 1),
            ("क्\u{200d} ष", 1),
            ("क\u{200d}ष", 1),
            ("👩\u{200c}💻", 1),
            ("👩\u{200d}a", 1),
            ("a\u{200c}\u{202e}b", 2),
        ] {
            assert_eq!(invisible_in_name(text).count(), count, "{text:?}");
        }
    }

    #[test]
    fn emoji_are_not_escaped() {
        for text in ["❤\u{fe0f}", "1\u{fe0f}\u{20e3}", "👨\u{200d}❤\u{fe0f}\u{200d}👨"] {
            assert_eq!(escape_invisible(text), text);
            assert!(invisible_in_name(text).all(|(_, c)| c == '\u{fe0f}'));
        }
        assert_eq!(escape_invisible("a\u{fe0f}1\u{fe0f}"), r"a\u{fe0f}1\u{fe0f}");
    }
}
