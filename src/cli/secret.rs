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
    /// Servers can run meanwhile. The exit code is 1 if another secret still seals any key.
    Rotate,
}

pub fn run(auth: &Auth, command: &Command) -> Result<String, CliError> {
    match command {
        Command::List { json } => render(&auth.sealed_keys()?, *json),
        Command::Rotate => rotate(auth),
    }
}

/// Seals all keys again. Fails if any key is still sealed with another secret, because that secret must not be removed yet.
fn rotate(auth: &Auth) -> Result<String, CliError> {
    let resealed = auth.rotate_sealing_secret()?;
    let secrets = auth.sealed_keys()?;
    let output = format!("Keys sealed again: {resealed}\n\n{}", render(&secrets, false)?);
    match remaining(&secrets) {
        Some(reason) => Err(CliError::Incomplete { output, reason }),
        None => Ok(output),
    }
}

/// Returns which keys other secrets than the active one still seal, and what to do. Returns `None` if there are none.
fn remaining(secrets: &[SecretUse]) -> Option<String> {
    let count_of = |secret: &SecretUse| match &secret.id {
        Some(id) => format!("{} by {}", secret.keys, id.as_str()),
        None => format!("{} without a recorded id", secret.keys),
    };
    let counts = |has_state: fn(SecretState) -> bool| {
        let used = secrets.iter().filter(|secret| secret.keys > 0);
        let counts: Vec<_> = used.filter(|secret| has_state(secret.state)).map(count_of).collect();
        (!counts.is_empty()).then(|| counts.join(", "))
    };
    if let Some(counts) = counts(|state| matches!(state, SecretState::Unknown | SecretState::Unrecorded)) {
        return Some(format!(
            "some keys are sealed with secrets that are not configured here ({counts}). Append these secrets, separated \
             by commas, and run `shoko-auth secret rotate` again. If a secret is lost, its keys stay valid, and their \
             devices get new keys at their next login"
        ));
    }
    counts(|state| state == SecretState::Known).map(|counts| {
        format!(
            "some keys are still sealed with another secret ({counts}). Check that the new secret is the first one on \
             every node, and run `shoko-auth secret rotate` again before you remove the other secret. If the number stays \
             the same, the sealed copies are damaged: these keys stay valid, and their devices get new keys at their next \
             login"
        )
    })
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
