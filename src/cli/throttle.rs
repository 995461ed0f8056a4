//! The command `throttle`.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::CliError;
use super::escape::escape_json;
use super::list::{self, Listed};
use crate::auth::{Auth, Throttles, Wait};
use crate::model::{Actor, Network};

#[derive(Subcommand)]
pub enum Command {
    /// List the client networks and users that have to wait after failed logins.
    List {
        /// Print JSON for programs.
        #[arg(long)]
        json: bool,
    },
    /// Clear the failed logins of a client network, or all failed logins. `user unlock` clears those of one user.
    Clear(Selection),
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Selection {
    /// Clear the failed logins of this address or network, and of the wider networks around it.
    #[arg(long, value_name = "ADDRESS")]
    network: Option<Network>,
    /// Clear the failed logins of all networks and users.
    #[arg(long)]
    all: bool,
}

pub fn run(auth: &Auth, command: &Command) -> Result<String, CliError> {
    match command {
        Command::List { json } => render(&auth.throttles()?, *json),
        Command::Clear(Selection {
            network: Some(network), ..
        }) => {
            auth.clear_failures_of_network(Actor::Operator, *network)?;
            Ok(format!("The failed logins of {network} are cleared.\n"))
        }
        Command::Clear(Selection { network: None, .. }) => {
            auth.clear_all_failures()?;
            Ok("All failed logins are cleared.\n".to_owned())
        }
    }
}

fn render(throttles: &Throttles, json: bool) -> Result<String, CliError> {
    let waits: Vec<Row> = throttles.waits.iter().map(Row::from).collect();
    let unknown_names = throttles.unknown_names;
    if json {
        let list = List { waits, unknown_names };
        return Ok(escape_json(&serde_json::to_string_pretty(&list)?) + "\n");
    }
    let table = list::render(&waits, false)?;
    if unknown_names > 0 {
        return Ok(format!(
            "{table}Names that no user has, and that have to wait: {unknown_names}.\n"
        ));
    }
    Ok(table)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    waits: Vec<Row<'a>>,
    unknown_names: usize,
}

#[derive(Serialize)]
struct Row<'a> {
    /// `null` for the wait of a network.
    user: Option<&'a str>,
    /// `null` if the user has to wait on all networks except known ones.
    network: Option<String>,
    failures: i32,
    until: String,
}

impl<'a> From<&'a Wait> for Row<'a> {
    fn from(wait: &'a Wait) -> Self {
        Self {
            user: wait.user.as_deref(),
            network: wait.network.map(|network| network.to_string()),
            failures: wait.failures,
            until: list::time(wait.until),
        }
    }
}

impl Listed for Row<'_> {
    const COLUMNS: &'static [&'static str] = &["USER", "NETWORK", "FAILURES", "UNTIL"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.user.unwrap_or_default().to_owned(),
            self.network.clone().unwrap_or_default(),
            self.failures.to_string(),
            self.until.clone(),
        ]
    }
}
