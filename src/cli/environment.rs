//! Reads environment variables, and the files that `…_FILE` variables name.

use std::env::{self, VarError};
use std::fs;

use super::CliError;
use crate::model::SecretText;

/// The settings that contain secrets. Each can also be read from a file: see [`secret`].
pub const SECRETS: [&str; 3] = ["DATABASE_URL", "SHOKO_AUTH_SECRET_KEY", "SHOKO_AUTH_ADMIN_PASSWORD"];

/// Returns the name of the variable whose value is the path of a file with the value of `name`.
pub fn file_variable(name: &str) -> String {
    format!("{name}_FILE")
}

/// Returns the value of the environment variable `name`, or the content of the file whose path is the value of
/// `{name}_FILE`. Empty variables count as absent.
pub fn secret(name: &str) -> Result<Option<SecretText>, CliError> {
    let file_name = file_variable(name);
    match (variable(name)?, variable(&file_name)?) {
        (Some(_), Some(_)) => Err(CliError::Usage(format!("set {name} or {file_name}, not both"))),
        (Some(text), None) => Ok(Some(SecretText::new(text))),
        (None, Some(path)) => {
            let text = fs::read_to_string(&path).map_err(|e| CliError::Usage(format!("{file_name}: {path}: {e}")))?;
            Ok(Some(SecretText::new(without_line_ending(text))))
        }
        (None, None) => Ok(None),
    }
}

/// Returns the URL of the database: the value of the flag, of `DATABASE_URL` or of the file that `DATABASE_URL_FILE`
/// names. `value` is what clap read from the flag or from `DATABASE_URL`.
pub fn database_url(value: Option<String>) -> Result<Option<SecretText>, CliError> {
    const NAME: &str = "DATABASE_URL";
    match value {
        Some(flag) if variable(NAME)?.as_ref() != Some(&flag) => Ok(Some(SecretText::new(flag))),
        _ => secret(NAME),
    }
}

/// Returns the value of a variable. An empty variable counts as absent.
pub fn variable(name: &str) -> Result<Option<String>, CliError> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(CliError::Usage(format!("{name} is not valid UTF-8"))),
    }
}

/// Removes one line ending at the end of the text, and nothing else.
pub fn without_line_ending(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_line_ending_is_removed() {
        for (text, left) in [
            ("a \n", "a "),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            (" a\r", " a\r"),
            ("", ""),
        ] {
            assert_eq!(without_line_ending(text.to_owned()), left);
        }
    }
}
