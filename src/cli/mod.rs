//! The command line: the only place that reads flags and the environment.
//!
//! A command returns what there is to print; only `serve` prints by itself, because it does not return.

mod healthcheck;
mod import;
mod key;
mod list;
mod log;
mod password;
mod serve;
mod settings;
mod user;

use std::env;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use crate::auth::{Auth, OpenError};
use crate::error::AuthError;
use crate::openapi;
use crate::settings::BasePath;

/// A small self-hosted login server that speaks Shoko's v3 auth API.
#[derive(Parser)]
#[command(version, about, after_help = SECRETS)]
struct Cli {
    #[command(flatten)]
    flags: settings::Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What has no flag.
const SECRETS: &str = "Secrets come from the environment only; NAME_FILE names a file that holds one:
  SHOKO_AUTH_SECRET_KEY, SHOKO_AUTH_SECRET_KEY_FILE
          32 random bytes in base64; needed with PostgreSQL, the same on every node
  SHOKO_AUTH_ADMIN_PASSWORD, SHOKO_AUTH_ADMIN_PASSWORD_FILE
          of the administrator that `serve` makes when there is none
  RUST_LOG
          what is logged [default: info]";

#[derive(Subcommand)]
enum Command {
    /// Run the server (the default).
    Serve,
    /// Manage users.
    #[command(subcommand)]
    User(user::Command),
    /// See and end keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Take over users and keys from elsewhere.
    #[command(subcommand)]
    Import(import::Command),
    /// Print the OpenAPI document.
    Openapi,
    /// Ask the server at the configured address whether it can serve.
    Healthcheck,
    /// Print what a shell needs to complete commands.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Print the manual page.
    Man,
}

/// Why a command failed; what a person reads after `error:`.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Other(String),
    /// Of the environment, which clap does not read.
    #[error("{0}")]
    Usage(String),
}

/// Runs the command of the process's arguments. 0: done; 1: failed; 2: wrong usage.
#[must_use]
pub fn main() -> ExitCode {
    let matches = without_empty_variables(Cli::command()).get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let serves = matches!(cli.command, None | Some(Command::Serve));
    log::start(cli.flags.log_format, serves);
    match run(cli).and_then(|text| print(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            match error {
                CliError::Usage(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// A variable that is empty counts as absent, as Compose files and unit files write it.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    command.mut_args(|argument| {
        let is_empty = argument
            .get_env()
            .is_some_and(|name| env::var_os(name).is_some_and(|value| value.is_empty()));
        if is_empty {
            argument.env(None::<&'static str>)
        } else {
            argument
        }
    })
}

fn run(cli: Cli) -> Result<String, CliError> {
    let flags = cli.flags;
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(&flags.settings()?).map(|()| String::new()),
        Command::User(command) => user::run(&open(flags)?, command),
        Command::Key(command) => key::run(&open(flags)?, command),
        Command::Import(command) => import::run(|| open(flags), command),
        Command::Openapi => Ok(openapi::document_json(&BasePath::default())?),
        Command::Healthcheck => healthcheck::run(&flags).map(|()| String::new()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "shoko-auth", &mut script);
            Ok(String::from_utf8_lossy(&script).into_owned())
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            Ok(String::from_utf8_lossy(&page).into_owned())
        }
    }
}

fn open(flags: settings::Flags) -> Result<Auth, CliError> {
    let auth = Auth::open(&flags.settings()?.core)?;
    auth.migrate()?;
    Ok(auth)
}

/// Prints `text`. Whoever closes a pipe early, as `head` does, has what he wants.
fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
