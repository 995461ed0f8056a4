//! The command line: the only place that reads flags and the environment.

mod healthcheck;
mod password;
mod serve;
mod settings;
mod user;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::auth::{Auth, OpenError};
use crate::error::AuthError;
use crate::openapi;
use crate::settings::{BasePath, Settings};

/// A small self-hosted login server that speaks Shoko's v3 auth API.
#[derive(Parser)]
#[command(version, about, args_conflicts_with_subcommands = false)]
struct Cli {
    #[command(flatten)]
    settings: settings::Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (the default).
    Serve,
    /// Manage users.
    #[command(subcommand)]
    User(user::Command),
    /// Print the OpenAPI document.
    Openapi,
    /// Ask the server at the configured address whether it can serve.
    Healthcheck,
}

/// Why a command failed; what a person reads after `error:`.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error("{0}")]
    Other(String),
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.to_string())
    }
}

impl From<serde_json::Error> for CliError {
    fn from(error: serde_json::Error) -> Self {
        Self::Other(error.to_string())
    }
}

/// Runs the command of the process's arguments. 0: done; 1: failed; 2: wrong usage.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), CliError> {
    let settings = cli.settings.read()?;
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(&settings),
        Command::User(command) => user::run(&open(&settings)?, command),
        Command::Openapi => {
            print!("{}", openapi::document_json(&BasePath::default())?);
            Ok(())
        }
        Command::Healthcheck => healthcheck::run(&settings),
    }
}

fn open(settings: &Settings) -> Result<Auth, CliError> {
    let auth = Auth::open(&settings.core)?;
    auth.migrate()?;
    Ok(auth)
}
