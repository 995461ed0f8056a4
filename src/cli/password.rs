//! Reads passwords, never from an argument.

use std::io::{self, Read};
use std::mem;

use zeroize::Zeroizing;

use super::CliError;
use super::environment::without_line_ending;
use crate::model::SecretText;

/// The capacity of the buffer for a password from standard input, in bytes. It exceeds the longest accepted password,
/// so that reading does not enlarge the buffer.
const STDIN_CAPACITY: usize = 4096;

/// Reads a password from standard input, or twice from the terminal without showing it.
pub fn read(from_stdin: bool) -> Result<SecretText, CliError> {
    if from_stdin {
        // Growing the string would leave copies in memory that are not overwritten.
        let mut text = Zeroizing::new(String::with_capacity(STDIN_CAPACITY));
        io::stdin()
            .read_to_string(&mut text)
            .map_err(|e| CliError::Other(format!("cannot read the password from standard input: {e}")))?;
        return Ok(SecretText::new(without_line_ending(mem::take(&mut *text))));
    }
    let read_hidden = |prompt| {
        rpassword::prompt_password(prompt).map(SecretText::new).map_err(|e| {
            CliError::Other(format!(
                "there is no terminal for the prompt ({e}); use --password-stdin"
            ))
        })
    };
    let password = read_hidden("New password: ")?;
    if read_hidden("Again: ")?.expose() == password.expose() {
        Ok(password)
    } else {
        Err(CliError::Other("the two passwords differ; try again".to_owned()))
    }
}
