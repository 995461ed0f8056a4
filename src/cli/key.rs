//! `key`: see and end keys without SQL.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::CliError;
use super::list::{self, Listed};
use super::settings::parse_name;
use super::user::explain;
use crate::auth::Auth;
use crate::error::AuthError;
use crate::model::{KeyInfo, Name};

#[derive(Subcommand)]
pub enum Command {
    /// Show all keys, or those of one user. Never the keys themselves.
    List {
        /// Whose.
        #[arg(long, value_parser = parse_name, value_name = "NAME")]
        user: Option<Name>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// End all keys of a user, those of one of the user's devices, or one by its id.
    Revoke(Which),
}

#[derive(Args)]
#[group(required = true)]
pub struct Which {
    /// Whose keys.
    #[arg(long, value_parser = parse_name, value_name = "NAME")]
    user: Option<Name>,
    /// Only those of this device.
    #[arg(long, value_parser = parse_name, requires = "user")]
    device: Option<Name>,
    /// Which key; `key list` shows the ids.
    #[arg(long, conflicts_with_all = ["user", "device"], value_name = "N")]
    id: Option<i64>,
}

pub fn run(auth: &Auth, command: Command) -> Result<String, CliError> {
    match command {
        Command::List { user, json } => {
            let keys = auth.keys(user.as_ref()).map_err(|error| about(error, user.as_ref()))?;
            list::text(&keys.iter().map(Row::from).collect::<Vec<_>>(), json)
        }
        Command::Revoke(which) => {
            let ended = match (&which.user, which.id) {
                (Some(user), _) => auth.revoke_keys_of(user, which.device.as_ref()),
                (None, Some(id)) => auth.revoke_key_by_id(id).map(|()| 1),
                // The group of arguments is required.
                (None, None) => Err(AuthError::UnknownKey),
            };
            let ended = ended.map_err(|error| about(error, which.user.as_ref()))?;
            Ok(format!("Ended {ended} {}.\n", if ended == 1 { "key" } else { "keys" }))
        }
    }
}

fn about(error: AuthError, user: Option<&Name>) -> CliError {
    match (error, user) {
        (AuthError::UnknownKey, _) => {
            CliError::Other("there is no such key; `shoko-auth key list` shows them".to_owned())
        }
        (error, Some(user)) => explain(error, user),
        (error, None) => error.into(),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    id: i64,
    user_id: i32,
    user: &'a str,
    device: &'a str,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    last_used_from: Option<&'a str>,
}

impl<'a> From<&'a KeyInfo> for Row<'a> {
    fn from(key: &'a KeyInfo) -> Self {
        Self {
            id: key.id,
            user_id: key.user_id,
            user: &key.user,
            device: &key.device,
            created_at: list::time(key.created_at),
            expires_at: key.expires_at.map(list::time),
            last_used_at: key.last_used_at.map(list::time),
            last_used_from: key.last_used_from.as_deref(),
        }
    }
}

impl Listed for Row<'_> {
    const COLUMNS: &'static [&'static str] = &["ID", "USER", "DEVICE", "CREATED", "EXPIRES", "LAST USED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.user.to_owned(),
            self.device.to_owned(),
            self.created_at.clone(),
            self.expires_at.clone().unwrap_or_default(),
            self.last_used_at.clone().unwrap_or_default(),
        ]
    }
}
