//! The fields of a form.

use super::reason::{Reason, field};
use crate::model::{Name, NewName, SecretText};
use crate::web::body::Body;
use crate::web::query::Query;

/// The fields of a form. An absent field counts as empty. Of several values, the first one counts.
#[derive(Default)]
pub struct Fields(Query);

impl Fields {
    /// Reads a body of the type `application/x-www-form-urlencoded`. Fails if it is not a valid form.
    pub async fn read(body: Body) -> Result<Self, Reason> {
        let text = body.form_text().await?.ok_or(Reason::BadValue)?;
        Query::parse_strictly(&text).map(Self).ok_or(Reason::BadValue)
    }

    /// Returns the value of a field, or an empty text if the form does not contain the field.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        let mut pairs = self.0.pairs();
        pairs.find(|(found, _)| *found == name).map_or("", |(_, value)| value)
    }

    /// Returns whether a field contains more than spaces, or whether a box is checked.
    #[must_use]
    pub fn is_filled(&self, name: &str) -> bool {
        !self.text(name).trim().is_empty()
    }

    /// Returns the value of a field as a text that is overwritten in memory when dropped.
    #[must_use]
    pub fn secret(&self, name: &str) -> SecretText {
        SecretText::new(self.text(name).to_owned())
    }

    /// Parses a field as a name. An error contains the field.
    pub fn name(&self, field: &'static str) -> Result<Name, Reason> {
        Name::parse(self.text(field)).map_err(|error| Reason::Name { field, error })
    }

    /// Parses a field as a new name or e-mail address. An error contains the field.
    pub fn new_name(&self, field: &'static str) -> Result<NewName, Reason> {
        NewName::parse(self.text(field)).map_err(|error| Reason::NewName { field, error })
    }

    /// Returns the new password if its repetition is the same.
    pub fn new_password(&self) -> Result<SecretText, Reason> {
        if self.text(field::NEW_PASSWORD) == self.text(field::PASSWORD_AGAIN) {
            Ok(self.secret(field::NEW_PASSWORD))
        } else {
            Err(Reason::PasswordsDiffer)
        }
    }
}
