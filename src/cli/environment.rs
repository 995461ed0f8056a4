//! Reads environment variables, and the files that `…_FILE` variables name.

use std::env::{self, VarError};
use std::io::ErrorKind;
use std::path::Path;

use super::CliError;
use crate::auth::{Pipes, ReadFileError, read_file};
use crate::model::SecretText;

/// The settings that contain secrets. Each can also be read from a file: see [`secret`].
pub const SECRETS: [&str; 3] = ["DATABASE_URL", "SHOKO_AUTH_SECRET_KEY", "SHOKO_AUTH_ADMIN_PASSWORD"];

/// Returns the name of the variable whose value is the path of a file with the value of `name`.
pub fn file_variable(name: &str) -> String {
    format!("{name}_FILE")
}

/// Returns the value of the environment variable `name`, or the content of the file whose path is the value of
/// `{name}_FILE`, which may be a pipe of this user. Empty variables count as absent. Removes or rejects what editors and orchestrators add: see [`clean`].
pub fn secret(name: &str) -> Result<Option<SecretText>, CliError> {
    let file_name = file_variable(name);
    let (place, text) = match (variable(name)?, variable(&file_name)?) {
        (Some(_), Some(_)) => return Err(CliError::Usage(format!("set {name} or {file_name}, not both"))),
        (Some(text), None) => (name.to_owned(), text),
        (None, Some(path)) => {
            let place = format!("{file_name}: {path}");
            let text = read_file(Path::new(&path), Pipes::OwnAccepted).map_err(|error| match error {
                ReadFileError::Io(e) if e.kind() == ErrorKind::InvalidData => {
                    CliError::Usage(format!("{place}: it is not UTF-8; save it as UTF-8"))
                }
                _ => CliError::Usage(format!("{place}: {error}")),
            })?;
            (place, text)
        }
        (None, None) => return Ok(None),
    };
    let text = SecretText::new(text);
    match clean(text.expose()) {
        Ok(text) => Ok(Some(SecretText::new(text.to_owned()))),
        Err(error) => Err(CliError::Usage(format!("{place}: {error}"))),
    }
}

/// The reason why a text cannot be the value of a setting. Does not contain the text, which may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum BadText {
    #[error("it is empty; write the value into it, or remove the setting")]
    Empty,
    #[error("it has quotes around it, which would become part of the value; remove them")]
    Quoted,
    #[error("it has several lines or a control character; only the value itself may be there, on one line")]
    SeveralLines,
}

/// Removes a byte order mark at the start of a secret and all line endings at its end. Spaces stay, because a password may
/// have some. Rejects quotes around the secret, and control characters within it.
fn clean(text: &str) -> Result<&str, BadText> {
    let text = text.trim_start_matches(BYTE_ORDER_MARK).trim_end_matches(['\r', '\n']);
    if text.trim().is_empty() {
        Err(BadText::Empty)
    } else if is_quoted(text) {
        Err(BadText::Quoted)
    } else if text.contains(|c: char| c.is_control() && c != '\t') {
        Err(BadText::SeveralLines)
    } else {
        Ok(text)
    }
}

const BYTE_ORDER_MARK: char = '\u{feff}';

/// Returns whether the text has the same quotes at both ends. Some programs pass on the quotes of an env file.
fn is_quoted(text: &str) -> bool {
    let text = text.trim();
    let within = |quote: char| text.strip_prefix(quote).is_some_and(|rest| rest.ends_with(quote));
    within('"') || within('\'')
}

/// Rejects variables of flags with quotes, a byte order mark, line endings or other control characters around or in the
/// value. Otherwise they could become part of a file's or a user's name.
pub fn check_flag_variables(command: &clap::Command) -> Result<(), CliError> {
    let names = command.get_arguments().filter_map(clap::Arg::get_env);
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let files = SECRETS.iter().map(|name| file_variable(name));
    for name in names.filter(|name| !SECRETS.contains(&&**name)).chain(files) {
        let Some(value) = env::var_os(&name) else { continue };
        let value = value.to_string_lossy();
        if is_quoted(&value) {
            return Err(CliError::Usage(format!("{name}: {}", BadText::Quoted)));
        }
        if value.contains(|c: char| c.is_control() || c == BYTE_ORDER_MARK) {
            return Err(CliError::Usage(format!(
                "{name}: it contains a line ending, a byte order mark or a control character; remove it"
            )));
        }
    }
    Ok(())
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

/// Removes one line ending at the end of a password from standard input, and nothing else.
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
    #[test]
    fn what_editors_and_orchestrators_add_to_a_secret_is_removed_or_rejected() {
        for (text, cleaned) in [
            ("secret\n", Ok("secret")),
            ("secret\r\n\r\n\n", Ok("secret")),
            ("\u{feff}secret", Ok("secret")),
            (" two words ", Ok(" two words ")),
            ("it's", Ok("it's")),
            ("\"", Ok("\"")),
            ("\"secret\"\n", Err(BadText::Quoted)),
            ("'secret'", Err(BadText::Quoted)),
            ("\nsecret", Err(BadText::SeveralLines)),
            ("one\ntwo\n", Err(BadText::SeveralLines)),
            ("\n\n", Err(BadText::Empty)),
        ] {
            assert_eq!(clean(text), cleaned, "{text:?}");
        }
    }
}
