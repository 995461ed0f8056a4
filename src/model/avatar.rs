//! Avatars of users.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A user's picture as a data URL, or empty. Clients put it into a page, so it must not refer to another server and
/// must not contain a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Avatar(String);

/// The error for a text that is not an [`Avatar`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "The avatar must be a PNG, JPEG, WebP or GIF image as a data URL in base64, such as \
     data:image/png;base64,iVBORw0K…, or empty."
)]
pub struct AvatarError;

impl Avatar {
    /// The media types of avatars. SVG is not one of them, because it can contain scripts.
    const MEDIA_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/webp", "image/gif"];

    /// Accepts an empty text or the data URL of an image.
    pub fn parse(text: String) -> Result<Self, AvatarError> {
        if text.is_empty() || is_image(&text) {
            Ok(Self(text))
        } else {
            Err(AvatarError)
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns whether `text` is a data URL (RFC 2397) with an image in base64. The image itself is not checked, because
/// browsers display a broken image as such.
fn is_image(text: &str) -> bool {
    let Some((head, data)) = text.split_once(',') else {
        return false;
    };
    let accepted = |media_type: &str| head.eq_ignore_ascii_case(&format!("data:{media_type};base64"));
    Avatar::MEDIA_TYPES.iter().any(|media_type| accepted(media_type))
        && !data.is_empty()
        && STANDARD.decode(data).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_avatar_is_an_image_in_base64_or_empty() {
        for text in [
            "",
            "data:image/png;base64,iVBORw0KGgo=",
            "data:image/jpeg;base64,/9j/",
            "data:image/webp;base64,UklG",
            "DATA:IMAGE/GIF;BASE64,R0lG",
        ] {
            assert!(Avatar::parse(text.to_owned()).is_ok(), "{text}");
        }
        for text in [
            "x",
            " ",
            "data:,",
            "data:image/png;base64,",
            "data:image/png;base64,a b",
            "data:image/png;base64,iVBORw0KGgo=\0",
            "data:image/png;base64,iVBORw0KGgo=\"",
            "data:image/png,abcd",
            "data:image/svg+xml;base64,PHN2Zz4=",
            "data:text/html;base64,PGI+",
            "https://tracker.example/pixel.gif",
            "javascript:alert(1)",
        ] {
            assert_eq!(Avatar::parse(text.to_owned()), Err(AvatarError), "{text}");
        }
    }
}
