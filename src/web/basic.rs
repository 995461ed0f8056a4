//! HTTP Basic credentials (RFC 7617), as the dialects that know them read them.

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What an `Authorization` header says.
#[derive(Debug, PartialEq, Eq)]
pub enum Basic {
    /// There is none.
    Missing,
    /// It is of another scheme.
    OtherScheme,
    /// It cannot be decoded.
    Unreadable,
    /// User and password with a colon between them, or a text without one.
    Decoded(String),
}

impl Basic {
    /// Of these headers.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(AUTHORIZATION) else {
            return Self::Missing;
        };
        let text = String::from_utf8_lossy(value.as_bytes());
        let mut words = text.split_ascii_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(scheme), _, _) if !scheme.eq_ignore_ascii_case("basic") => Self::OtherScheme,
            (Some(_), Some(code), None) => STANDARD
                .decode(code)
                .map_or(Self::Unreadable, |b| Self::Decoded(text_of(b))),
            _ => Self::Unreadable,
        }
    }
}

/// Clients that know only Latin-1 send names in that; what is UTF-8 is hardly anything else.
fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| e.as_bytes().iter().copied().map(char::from).collect())
}
