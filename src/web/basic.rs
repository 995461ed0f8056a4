//! HTTP Basic credentials (RFC 7617).

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The credentials in an `Authorization` header.
#[derive(PartialEq, Eq)]
pub enum Basic {
    /// There is no such header.
    Missing,
    /// The header has another scheme.
    OtherScheme,
    /// The header cannot be decoded.
    Malformed,
    /// The decoded text: the user and the password, separated by a colon. The colon may be missing.
    Decoded(Zeroizing<String>),
}

impl Basic {
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
                .map_or(Self::Malformed, |b| Self::Decoded(decode_text(b))),
            _ => Self::Malformed,
        }
    }
}

/// Decodes `bytes` as UTF-8 or, if they are not valid UTF-8, as Latin-1, which some clients send. The two are hardly
/// ever confused, because Latin-1 text with characters outside ASCII is rarely valid UTF-8.
fn decode_text(bytes: Vec<u8>) -> Zeroizing<String> {
    let latin1 = |bytes: Zeroizing<Vec<u8>>| bytes.iter().copied().map(char::from).collect::<String>();
    let text = String::from_utf8(bytes).unwrap_or_else(|e| latin1(e.into_bytes().into()));
    text.into()
}
