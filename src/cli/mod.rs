//! The command line, the only module that reads flags and the environment.
//!
//! Commands return the text to print. Only `serve` prints by itself, because it keeps running.

mod backup;
mod environment;
mod escape;
mod greeting;
mod healthcheck;
mod import;
mod key;
mod list;
mod log;
mod log_filter;
mod log_limit;
mod openapi;
mod parsers;
mod password;
mod replication;
mod secret;
mod serve;
mod settings;
mod throttle;
mod unknown_variables;
mod user;

use std::env;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use escape::escape_message;
use replication::ReplicationRequired;

use crate::auth::{Auth, BackupError, OpenError, RestoreOptions};
use crate::error::{ManageError, ServiceError};
use crate::model::escape_invisible;
use crate::openapi::DocumentError;

/// A small self-hosted login server that speaks Shoko's v3 auth API.
#[derive(Parser)]
#[command(version, about, after_help = SECRETS)]
struct Cli {
    #[command(flatten)]
    flags: settings::Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The help text about the settings without a flag.
const SECRETS: &str = "Secrets are read from the environment, or from a file named by NAME_FILE:
  DATABASE_URL, DATABASE_URL_FILE
          URL of the database: see --database-url
  SHOKO_AUTH_SECRET_KEY, SHOKO_AUTH_SECRET_KEY_FILE
          Sealing secret: 32 random bytes in base64. Required with PostgreSQL, the same on every node. To replace it,
          list the new and the old one, separated by a comma: the first one seals keys, and all of them open keys
  SHOKO_AUTH_ADMIN_PASSWORD, SHOKO_AUTH_ADMIN_PASSWORD_FILE
          Password of the administrator that `serve` creates if there is none
  RUST_LOG
          Filter of log lines: LEVEL or TARGET=LEVEL, separated by commas [default: info]. The server logs security
          events whatever the level is, except with `off` or `shoko_auth::audit=off`";

#[derive(Subcommand)]
enum Command {
    /// Run the server (the default).
    Serve,
    /// Manage users.
    #[command(subcommand)]
    User(user::Command),
    /// List and revoke keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Show and clear what failed logins have caused.
    #[command(subcommand)]
    Throttle(throttle::Command),
    /// Replace the sealing secret.
    #[command(subcommand)]
    Secret(secret::Command),
    /// Import users and keys from another server.
    #[command(subcommand)]
    Import(import::Command),
    /// Copy the embedded database to a new file, also while the server runs.
    Backup {
        /// The file to create.
        file: PathBuf,
    },
    /// Replace the embedded database with a backup. Stop the server first.
    Restore(backup::RestoreArguments),
    /// Print an OpenAPI document.
    Openapi(openapi::Arguments),
    /// Check whether the server at the configured address is ready.
    Healthcheck,
    /// Print a shell's completion script.
    Completions {
        /// The shell to complete commands in.
        shell: Shell,
    },
    /// Print the manual page.
    Man,
}

/// The reason why a command failed, printed after `error:`.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(transparent)]
    Manage(#[from] ManageError),
    #[error(transparent)]
    Replication(#[from] ReplicationRequired),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error(transparent)]
    LogFilter(#[from] log_filter::LogFilterError),
    #[error("{0}")]
    Other(String),
    /// The command has done only a part of its work. `output` is printed before the reason.
    #[error("{reason}")]
    Incomplete { output: String, reason: String },
    /// A mistake in the settings that clap does not detect, such as two settings that conflict.
    #[error("{0}")]
    Usage(String),
}

/// Runs the command that the process's arguments specify. The exit code is 1 after a failure and 2 after wrong
/// usage or an invalid setting.
#[must_use]
pub fn main() -> ExitCode {
    // Before clap reads them, because its own message would not say what is wrong.
    if let Err(error) = environment::check_flag_variables(&Cli::command()) {
        return failure(&error);
    }
    let parsed = without_empty_variables(Cli::command()).try_get_matches();
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let is_server = matches!(cli.command, None | Some(Command::Serve));
    let checked = log::start(cli.flags.log_format, is_server)
        .map_err(CliError::from)
        .and_then(|()| unknown_variables::check(&Cli::command(), is_server, cli.flags.database_url.is_some()));
    let not_printed = |error| {
        CliError::Other(format!(
            "the command has finished, but its output cannot be written: {error}"
        ))
    };
    match checked
        .and_then(|()| run(cli))
        .and_then(|text| print(&escape_invisible(&text)).map_err(not_printed))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}

/// Prints the help or the version that was requested, or what is wrong with the arguments. Returns the exit code.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // These texts contain nothing that was typed.
        error.exit();
    }
    print_error(&error.render().to_string());
    ExitCode::from(2)
}

/// Prints a message to standard error. If that fails, only the exit code remains.
fn print_error(message: &str) {
    drop(io::stderr().write_all(escape_message(message).as_bytes()));
}

/// Prints the error and returns the exit code for it.
fn failure(error: &CliError) -> ExitCode {
    if let CliError::Incomplete { output, .. } = error
        && let Err(error) = print(&escape_invisible(output))
    {
        print_error(&format!("error: {error}\n"));
    }
    print_error(&format!("error: {error}\n"));
    match error {
        CliError::Usage(_)
        | CliError::LogFilter(_)
        | CliError::Replication(ReplicationRequired::Embedded)
        | CliError::Open(OpenError::SecretNeeded | OpenError::BadSecretSetting { .. }) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

/// Treats empty environment variables as absent, because Compose and systemd unit files often contain variables without
/// a value.
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
        Command::User(command) => {
            let urls = flags.account_urls()?;
            user::run(&open(flags)?, &urls, command)
        }
        Command::Key(command) => key::run(&open(flags)?, command),
        Command::Throttle(command) => throttle::run(&open(flags)?, &command),
        Command::Secret(command) => secret::run(&open(flags)?, &command),
        Command::Import(command) => {
            let urls = flags.account_urls()?;
            import::run(|| open(flags), &urls, command)
        }
        Command::Backup { file } => backup::run_backup(&flags.settings()?.core, &file),
        Command::Restore(backup::RestoreArguments { file, revoke_all_keys }) => {
            backup::run_restore(&flags.settings()?.core, &file, RestoreOptions { revoke_all_keys })
        }
        Command::Openapi(arguments) => openapi::run(&arguments),
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

/// Prints `text`. It is not an error if the reader, such as `head`, closes the pipe early.
fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
