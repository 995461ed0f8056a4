//! The command `secret`.

use clap::Subcommand;
use serde::Serialize;

use super::CliError;
use super::list::{self, Listed};
use crate::auth::{Auth, SecretState, SecretUse};
use crate::secret::seal::SecretId;

#[derive(Subcommand)]
pub enum Command {
    /// List the sealing secrets by their ids, and how many keys are sealed with each. The secrets themselves are not shown.
    List {
        /// Print JSON for programs.
        #[arg(long)]
        json: bool,
    },
    /// Seal all keys with the first secret of `SHOKO_AUTH_SECRET_KEY`. The others, which come after commas, only open keys.
    /// Servers can run meanwhile.
    Rotate,
}

pub fn run(auth: &Auth, command: &Command) -> Result<String, CliError> {
    match command {
        Command::List { json } => render(&auth.sealed_keys()?, *json),
        Command::Rotate => {
            let resealed = auth.rotate_sealing_secret()?;
            let secrets = auth.sealed_keys()?;
            Ok(format!("Keys sealed again: {resealed}\n\n{}", render(&secrets, false)?))
        }
    }
}

fn render(secrets: &[SecretUse], json: bool) -> Result<String, CliError> {
    list::render(&secrets.iter().map(Row::from).collect::<Vec<_>>(), json)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    /// `null` if it is not recorded.
    id: Option<&'a str>,
    state: &'static str,
    keys: usize,
}

impl<'a> From<&'a SecretUse> for Row<'a> {
    fn from(secret: &'a SecretUse) -> Self {
        Self {
            id: secret.id.as_ref().map(SecretId::as_str),
            state: match secret.state {
                SecretState::Active => "active",
                SecretState::Known => "known",
                SecretState::Unknown => "unknown",
                SecretState::Unrecorded => "unrecorded",
            },
            keys: secret.keys,
        }
    }
}

impl Listed for Row<'_> {
    const COLUMNS: &'static [&'static str] = &["SECRET", "STATE", "KEYS"];

    fn cells(&self) -> Vec<String> {
        let id = self.id.unwrap_or_default().to_owned();
        vec![id, self.state.to_owned(), self.keys.to_string()]
    }
}
