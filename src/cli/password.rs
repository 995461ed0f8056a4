//! Reads passwords, never from an argument.

use std::io::{self, Read};

use super::CliError;
use super::settings::without_line_ending;
use crate::model::SecretText;

/// Reads a password from standard input, or twice from the terminal without showing it.
pub fn read(from_stdin: bool) -> Result<SecretText, CliError> {
    if from_stdin {
        let mut text = String::new();
        io::stdin()
            .read_to_string(&mut text)
            .map_err(|e| CliError::Other(format!("cannot read the password from standard input: {e}")))?;
        return Ok(SecretText::new(without_line_ending(text)));
    }
    let ask = |prompt| {
        rpassword::prompt_password(prompt).map_err(|e| {
            CliError::Other(format!(
                "there is no terminal for the prompt ({e}); use --password-stdin"
            ))
        })
    };
    let password = ask("New password: ")?;
    if ask("Again: ")? == password {
        Ok(SecretText::new(password))
    } else {
        Err(CliError::Other("the two passwords differ; try again".to_owned()))
    }
}
