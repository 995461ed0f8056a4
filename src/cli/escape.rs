//! Escapes invisible characters, so that a name cannot change how the rest of a line looks.

use std::fmt::Write;

use crate::model::{escape_invisible, invisible_characters, is_invisible};

/// Escapes all invisible characters in a JSON text. They occur only within strings, and programs read the same values.
pub fn escape_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_invisible(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a `String` does not fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Escapes invisible characters and control characters other than line feeds and tabs in a message that contains text
/// as it was typed.
pub fn escape_message(message: &str) -> String {
    let mut escaped = String::with_capacity(message.len());
    for c in escape_invisible(message).chars() {
        if c.is_control() && !['\n', '\t'].contains(&c) {
            escaped.extend(c.escape_unicode());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Quotes a text so that a shell takes it literally. Invisible characters are escaped in a form that bash, ksh and zsh
/// understand.
pub fn shell_quote(text: &str) -> String {
    if invisible_characters(text).next().is_none() {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let mut quoted = "$'".to_owned();
    for c in text.chars() {
        if is_invisible(c) {
            // Writing to a `String` does not fail.
            let _ = write!(quoted, "\\U{:08x}", u32::from(c));
        } else {
            quoted.extend(['\'', '\\'].contains(&c).then_some('\\'));
            quoted.push(c);
        }
    }
    quoted + "'"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_json_has_the_same_value() {
        let text = "a\u{202e}b\u{200d}c\u{e0001}\"ü";
        let json = serde_json::to_string(text).unwrap();
        let escaped = escape_json(&json);
        assert_eq!(escaped, r#""a\u202eb\u200dc\udb40\udc01\"ü""#);
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
    }

    #[test]
    fn a_message_keeps_only_its_line_feeds() {
        assert_eq!(
            escape_message("a\u{202e}\n\u{1b}[31m\r"),
            "a\\u{202e}\n\\u{1b}[31m\\u{d}"
        );
    }

    #[test]
    fn a_shell_reads_the_quoted_text() {
        assert_eq!(shell_quote("O'Hara"), r"'O'\''Hara'");
        assert_eq!(shell_quote("a\u{202e}'\\b"), r"$'a\U0000202e\'\\b'");
    }
}
