//! Flags over environment over defaults. Secrets have no flag, because everybody can see a process's arguments.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::CliError;
use crate::model::{Name, NameFault};
use crate::secret::password::Passwords;
use crate::settings::{BasePath, CoreSettings, Database, FirstAdmin, SecretText, Settings};

#[derive(Args)]
pub struct Flags {
    /// Address and port to listen on.
    #[arg(long, global = true, env = "SHOKO_AUTH_LISTEN", default_value = "127.0.0.1:8111")]
    listen: SocketAddr,
    /// Folder of the embedded database and its sealing secret.
    #[arg(long, global = true, env = "SHOKO_AUTH_DATA_DIR", default_value = "data")]
    data_dir: PathBuf,
    /// `postgres://USER@HOST/NAME` or `sqlite://PATH` [default: `shoko-auth.db` in the data folder]
    #[arg(
        long,
        global = true,
        env = "DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    database_url: Option<Database>,
    /// Serve everything below this path; a proxy in front passes paths on unchanged.
    #[arg(
        long,
        global = true,
        env = "SHOKO_AUTH_BASE_PATH",
        default_value = "/",
        value_name = "PATH"
    )]
    base_path: BasePath,
    /// Name of the administrator that `serve` makes when there is none. His password comes from
    /// `SHOKO_AUTH_ADMIN_PASSWORD` or `SHOKO_AUTH_ADMIN_PASSWORD_FILE`, or is made and printed once.
    #[arg(long, global = true, env = "SHOKO_AUTH_ADMIN_USER", default_value = "Default", value_name = "NAME",
          value_parser = parse_name)]
    admin_user: Name,
    /// PBKDF2-HMAC-SHA256 rounds of a new password hash; older hashes are raised at the next login.
    #[arg(long, global = true, env = "SHOKO_AUTH_PBKDF2_ROUNDS", default_value_t = 600_000, value_name = "N",
          value_parser = clap::value_parser!(u32).range(i64::from(Passwords::MIN_ROUNDS)..))]
    pbkdf2_rounds: u32,
    /// Least length of a new password, in characters.
    #[arg(long, global = true, env = "SHOKO_AUTH_PASSWORD_MIN_LENGTH", default_value_t = 8, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    password_min_length: u16,
}

impl Flags {
    /// The settings, with the secrets from the environment.
    pub fn read(self) -> Result<Settings, CliError> {
        let embedded = || Database::Sqlite(self.data_dir.join("shoko-auth.db"));
        Ok(Settings {
            listen: self.listen,
            base_path: self.base_path,
            core: CoreSettings {
                database: self.database_url.unwrap_or_else(embedded),
                data_dir: self.data_dir,
                secret_key: secret("SHOKO_AUTH_SECRET_KEY")?,
                pbkdf2_rounds: self.pbkdf2_rounds,
                password_min_length: usize::from(self.password_min_length),
            },
            first_admin: FirstAdmin {
                name: self.admin_user,
                password: secret("SHOKO_AUTH_ADMIN_PASSWORD")?,
            },
        })
    }
}

/// The environment variable `name`, or the content of the file that `name_FILE` names.
fn secret(name: &str) -> Result<Option<SecretText>, CliError> {
    let file_name = format!("{name}_FILE");
    let given = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    match (given(name), given(&file_name)) {
        (Some(_), Some(_)) => Err(CliError::Other(format!("set {name} or {file_name}, not both"))),
        (Some(text), None) => Ok(Some(SecretText::new(text))),
        (None, Some(path)) => {
            let text = fs::read_to_string(&path).map_err(|e| CliError::Other(format!("{file_name}: {path}: {e}")))?;
            Ok(Some(SecretText::new(without_line_end(text))))
        }
        (None, None) => Ok(None),
    }
}

/// Drops one line end at the end, and nothing else.
pub fn without_line_end(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

/// For clap.
pub fn parse_name(text: &str) -> Result<Name, NameFault> {
    Name::parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_dropped_and_nothing_else() {
        for (text, left) in [
            ("a \n", "a "),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            (" a\r", " a\r"),
            ("", ""),
        ] {
            assert_eq!(without_line_end(text.to_owned()), left);
        }
    }
}
