//! `user`: manage users without SQL.

use chrono::NaiveDateTime;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::list::{self, Listed};
use super::settings::parse_name;
use super::{CliError, password};
use crate::auth::Auth;
use crate::error::AuthError;
use crate::model::{Name, NewUser, ProfileChange, User, fold};

#[derive(Subcommand)]
pub enum Command {
    /// Make a user.
    Add {
        #[command(flatten)]
        user: Named,
        /// May manage others.
        #[arg(long)]
        admin: bool,
        /// The e-mail address.
        #[arg(long, value_parser = parse_name)]
        email: Option<Name>,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// Show all users.
    List {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Change a user's password and end all of the user's keys.
    SetPassword {
        #[command(flatten)]
        user: Named,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// Let a user neither log in nor use a key, until enabled again.
    Disable(Named),
    /// Enable a disabled user, with the keys the user had.
    Enable(Named),
    /// Delete a user and all of the user's keys.
    Delete(Named),
    /// Let a user who has to wait after too many wrong passwords log in at once.
    Unlock(Named),
    /// Let a user manage others.
    GrantAdmin(Named),
    /// Let a user manage others no more.
    RevokeAdmin(Named),
}

#[derive(Args)]
pub struct Named {
    /// The user's name.
    #[arg(value_parser = parse_name)]
    name: Name,
}

#[derive(Args)]
pub struct PasswordFrom {
    /// Read the password from standard input instead of asking for it.
    #[arg(long)]
    password_stdin: bool,
}

pub fn run(auth: &Auth, command: Command) -> Result<String, CliError> {
    match command {
        Command::Add {
            user,
            admin,
            email,
            password,
        } => {
            let password = password::read(password.password_stdin)?;
            let profile = ProfileChange::default();
            let new = NewUser {
                name: user.name,
                email,
                is_admin: admin,
                profile,
            };
            let made = auth.create_user(&new, password.expose())?;
            Ok(format!("Made the user {} (id {}).\n", made.name, made.id))
        }
        Command::List { json } => {
            let (users, throttled) = (auth.users()?, auth.throttled_accounts()?);
            let rows: Vec<Row> = users.iter().map(|user| Row::of(user, &throttled)).collect();
            list::text(&rows, json)
        }
        Command::SetPassword { user, password } => {
            let password = password::read(password.password_stdin)?;
            let done = auth.set_password(&user.name, password.expose());
            report(&user.name, done, "has a new password, and all keys are ended")
        }
        Command::Disable(user) => report(&user.name, auth.disable_user(&user.name), "is disabled"),
        Command::Enable(user) => report(&user.name, auth.enable_user(&user.name), "is enabled"),
        Command::Delete(user) => report(&user.name, auth.delete_user(&user.name), "is deleted"),
        Command::Unlock(user) => {
            let done = auth.unlock(&user.name);
            report(&user.name, done, "can log in at once")
        }
        Command::GrantAdmin(user) => report(&user.name, auth.grant_admin(&user.name), "is an administrator"),
        Command::RevokeAdmin(user) => report(&user.name, auth.revoke_admin(&user.name), "is no administrator"),
    }
}

/// Says what became of a user, or what to do about it.
fn report(name: &Name, done: Result<(), AuthError>, now: &str) -> Result<String, CliError> {
    done.map_err(|error| explain(error, name))?;
    Ok(format!("{} {now}.\n", name.shown()))
}

/// An error about the user `name`, with what to do.
pub fn explain(error: AuthError, name: &Name) -> CliError {
    let name = name.shown();
    match error {
        AuthError::UnknownUser => CliError::Other(format!(
            "there is no user '{name}'; `shoko-auth user list` shows who there is"
        )),
        AuthError::LastAdmin => CliError::Other(format!(
            "'{name}' is the last administrator; make another one first: `shoko-auth user grant-admin NAME`"
        )),
        other => other.into(),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    id: i32,
    name: &'a str,
    email: Option<&'a str>,
    is_admin: bool,
    is_disabled: bool,
    created_at: String,
    /// Until when another login has to wait, at least from networks that the user has not logged in from.
    throttled_until: Option<String>,
}

impl<'a> Row<'a> {
    fn of(user: &'a User, throttled: &[(String, NaiveDateTime)]) -> Self {
        let folded = fold(&user.name);
        let waits = throttled.iter().filter(|(account, _)| *account == folded);
        Self {
            id: user.id,
            name: &user.name,
            email: user.email.as_deref(),
            is_admin: user.is_admin,
            is_disabled: user.is_disabled,
            created_at: list::time(user.created_at),
            throttled_until: waits.map(|(_, until)| *until).max().map(list::time),
        }
    }
}

impl Listed for Row<'_> {
    const COLUMNS: &'static [&'static str] = &["ID", "NAME", "E-MAIL", "ADMIN", "DISABLED", "CREATED", "THROTTLED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.name.to_owned(),
            self.email.unwrap_or_default().to_owned(),
            list::mark(self.is_admin),
            list::mark(self.is_disabled),
            self.created_at.clone(),
            self.throttled_until.clone().unwrap_or_default(),
        ]
    }
}
