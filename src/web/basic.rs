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
        let Some((scheme, code)) = value.to_str().ok().and_then(|value| value.trim().split_once(' ')) else {
            return Self::OtherScheme;
        };
        if !scheme.eq_ignore_ascii_case("basic") {
            return Self::OtherScheme;
        }
        let bytes = STANDARD.decode(code.trim()).ok();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        text.map_or(Self::Unreadable, Self::Decoded)
    }
}
