//! The command `key`.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::CliError;
use super::list::{self, Listed};
use super::parsers::parse_name;
use super::user::explain;
use crate::auth::{Auth, KeyFilter, KeySelection};
use crate::error::ManageError;
use crate::model::{Actor, KeyInfo, KeyKind, Name, Scope, UserRef};

#[derive(Subcommand)]
pub enum Command {
    /// List all keys, or the keys of one user. The keys themselves are not shown.
    List {
        /// List only this user's keys.
        #[arg(long, value_parser = parse_name, value_name = "NAME")]
        user: Option<Name>,
        /// Print JSON for programs.
        #[arg(long)]
        json: bool,
    },
    /// Revoke all keys of a user, all keys of one of the user's devices, or one key by its id.
    Revoke(Selection),
}

#[derive(Args)]
#[group(required = true)]
pub struct Selection {
    /// Revoke this user's keys.
    #[arg(long, value_parser = parse_name, value_name = "NAME")]
    user: Option<Name>,
    /// Revoke only the keys of this device.
    #[arg(long, value_parser = parse_name, requires = "user")]
    device: Option<Name>,
    /// Revoke the key with this id, as shown by `key list`.
    #[arg(long, conflicts_with_all = ["user", "device"], value_name = "N")]
    id: Option<i64>,
}

pub fn run(auth: &Auth, command: Command) -> Result<String, CliError> {
    match command {
        Command::List { user, json } => {
            let filter = user
                .clone()
                .map_or(KeyFilter::All, |name| KeyFilter::User(UserRef::Name(name)));
            let keys = auth.keys(Actor::Operator, &filter);
            let keys = keys.map_err(|error| explain_key_error(error, user.as_ref()))?;
            list::render(&keys.iter().map(Row::from).collect::<Vec<_>>(), json)
        }
        Command::Revoke(Selection { user, device, id }) => {
            let selection = match (user.clone(), id) {
                (Some(user), _) => KeySelection::User {
                    user: UserRef::Name(user),
                    device,
                },
                (None, Some(id)) => KeySelection::Id(id),
                (None, None) => return Err(CliError::Other("select the keys with --user or --id".to_owned())),
            };
            let revoked = auth.revoke_keys(Actor::Operator, &selection);
            let revoked = revoked.map_err(|error| explain_key_error(error, user.as_ref()))?;
            Ok(format!(
                "Revoked {revoked} {}.\n",
                if revoked == 1 { "key" } else { "keys" }
            ))
        }
    }
}

fn explain_key_error(error: ManageError, user: Option<&Name>) -> CliError {
    match (error, user) {
        (ManageError::UnknownKey, _) => {
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
    /// `device`, or `session` for the session of a browser.
    kind: &'static str,
    /// `full`, or `gateway` for a key that only forward-auth accepts.
    scope: &'static str,
    /// `null` if the key is not limited to hosts.
    hosts: Option<&'a [String]>,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    last_used_from: Option<&'a str>,
}

impl<'a> From<&'a KeyInfo> for Row<'a> {
    fn from(key: &'a KeyInfo) -> Self {
        let (kind, scope) = match &key.kind {
            KeyKind::Device(scope) => ("device", scope),
            KeyKind::Session | KeyKind::GatewayCookie => ("session", &Scope::Full),
        };
        Self {
            id: key.id,
            user_id: key.user_id,
            user: &key.user,
            device: &key.device,
            kind,
            scope: scope.name(),
            hosts: scope.hosts(),
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
