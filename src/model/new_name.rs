//! Names for new users, and new names for existing users.

use std::ops::Deref;

use super::invisible::invisible_in_name;
use super::{Name, NameError};

/// A name or e-mail address for a new user, or a new name for an existing user. It is a [`Name`] without invisible
/// characters, which could make it look like another name. Names stored by older versions may contain them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewName(Name);

/// The reason why a text is not a [`NewName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NewNameError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(
        "A user's name must not contain invisible characters. Remove the character U+{:04X}.",
        u32::from(*.0)
    )]
    Invisible(char),
}

impl NewNameError {
    /// Returns the message for an e-mail address.
    #[must_use]
    pub fn about_email(&self) -> String {
        match self {
            Self::Name(NameError::Blank) => "An e-mail address must not be empty.".to_owned(),
            Self::Name(NameError::TooLong) => "An e-mail address may have at most 255 characters.".to_owned(),
            Self::Name(NameError::ControlCharacter) => {
                "An e-mail address must not contain control characters.".to_owned()
            }
            Self::Invisible(c) => format!(
                "An e-mail address must not contain invisible characters. Remove the character U+{:04X}.",
                u32::from(*c)
            ),
        }
    }
}

impl NewName {
    /// Trims and checks `text`.
    pub fn parse(text: &str) -> Result<Self, NewNameError> {
        let name = Name::parse(text)?;
        let invisible = invisible_in_name(name.as_typed()).next();
        if let Some((_, c)) = invisible {
            return Err(NewNameError::Invisible(c));
        }
        Ok(Self(name))
    }
}

impl Deref for NewName {
    type Target = Name;

    fn deref(&self) -> &Name {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_name_contains_no_invisible_characters_except_needed_joiners() {
        assert!(NewName::parse(" می\u{200c}خواهم ").is_ok());
        for (text, c) in [("a\u{202e}b", '\u{202e}'), ("\u{200d}", '\u{200d}')] {
            assert_eq!(NewName::parse(text), Err(NewNameError::Invisible(c)));
        }
        assert_eq!(NewName::parse(" "), Err(NewNameError::Name(NameError::Blank)));
        let error = NewNameError::Invisible('\u{ad}').to_string();
        assert!(error.ends_with("Remove the character U+00AD."), "{error}");
    }
}
