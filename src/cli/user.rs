//! The command `user`.

use chrono::NaiveDateTime;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::list::{self, Listed};
use super::parsers::{parse_email, parse_name, parse_new_name};
use super::{CliError, password};
use crate::account::AccountUrls;
use crate::auth::{Auth, KeysAfterChange, NewLink};
use crate::error::ManageError;
use crate::model::{Actor, Name, NewName, NewUser, ProfileChange, User, UserRef};

#[derive(Subcommand)]
pub enum Command {
    /// Create a user.
    Add {
        /// The user's name.
        #[arg(value_parser = parse_new_name)]
        name: NewName,
        /// Make the user an administrator.
        #[arg(long)]
        admin: bool,
        /// The user's e-mail address, which can be used to log in.
        #[arg(long, value_parser = parse_email)]
        email: Option<NewName>,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// Create a user without a password, and print a one-time link with which the user chooses one.
    Invite {
        /// The user's name.
        #[arg(value_parser = parse_new_name)]
        name: NewName,
        /// Make the user an administrator.
        #[arg(long)]
        admin: bool,
        /// The user's e-mail address, which can be used to log in.
        #[arg(long, value_parser = parse_new_name)]
        email: Option<NewName>,
    },
    /// Print a one-time link with which a user sets a new password. Revokes the user's earlier link.
    ResetLink(Named),
    /// List all users.
    List {
        /// Print JSON for programs.
        #[arg(long)]
        json: bool,
    },
    /// Change a user's password and revoke all of the user's keys.
    SetPassword {
        #[command(flatten)]
        user: Named,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// Disable a user. The user's password and keys do not work until the user is enabled again.
    Disable(Named),
    /// Enable a disabled user. The user's password and keys work again.
    Enable(Named),
    /// Delete a user and all of the user's keys.
    Delete(Named),
    /// Clear a user's failed logins, so that the user can log in at once.
    Unlock(Named),
    /// Make a user an administrator.
    GrantAdmin(Named),
    /// Revoke a user's administrator rights.
    RevokeAdmin(Named),
}

#[derive(Args)]
pub struct Named {
    /// The user's name.
    #[arg(value_parser = parse_name)]
    name: Name,
}

impl Named {
    /// Changes the user. Returns a sentence that ends with `new_state`, or explains the error.
    fn change(
        &self,
        new_state: &str,
        change: impl FnOnce(&UserRef) -> Result<(), ManageError>,
    ) -> Result<String, CliError> {
        change(&UserRef::Name(self.name.clone())).map_err(|error| explain(error, &self.name))?;
        Ok(format!("{} {new_state}.\n", self.name.as_typed()))
    }
}

#[derive(Args)]
pub struct PasswordFrom {
    /// Read the password from standard input instead of prompting for it.
    #[arg(long)]
    password_stdin: bool,
}

pub fn run(auth: &Auth, urls: &AccountUrls, command: Command) -> Result<String, CliError> {
    match command {
        Command::Add {
            name,
            admin,
            email,
            password,
        } => {
            let password = password::read(password.password_stdin)?;
            let new = new_user(name, email, admin);
            let created = auth.create_user(Actor::Operator, &new, password.expose())?;
            Ok(format!("Created the user {} (id {}).\n", created.name, created.id))
        }
        Command::Invite { name, admin, email } => {
            let new = new_user(name, email, admin);
            let link = auth.invite_user(Actor::Operator, &new)?;
            let created = format!("Created the user {} (id {}).\n", link.user, link.user_id);
            Ok(created + &describe_link(&link, urls))
        }
        Command::ResetLink(user) => {
            let link = auth.issue_link(Actor::Operator, &UserRef::Name(user.name.clone()));
            let link = link.map_err(|error| explain(error, &user.name))?;
            Ok(describe_link(&link, urls))
        }
        Command::List { json } => list_users(auth, json),
        Command::SetPassword { user, password } => {
            let password = password::read(password.password_stdin)?;
            user.change("has a new password, and all keys are revoked", |user| {
                auth.change_password(Actor::Operator, user, password.expose(), KeysAfterChange::Revoked)
            })
        }
        Command::Disable(user) => user.change("is disabled", |user| auth.set_disabled(Actor::Operator, user, true)),
        Command::Enable(user) => user.change("is enabled", |user| auth.set_disabled(Actor::Operator, user, false)),
        Command::Delete(user) => user.change("is deleted", |user| auth.delete_user(Actor::Operator, user)),
        Command::Unlock(user) => user.change("can log in at once", |user| auth.unlock(Actor::Operator, user)),
        Command::GrantAdmin(user) => user.change("is an administrator", |user| {
            auth.set_admin(Actor::Operator, user, true)
        }),
        Command::RevokeAdmin(user) => user.change("is not an administrator", |user| {
            auth.set_admin(Actor::Operator, user, false)
        }),
    }
}

fn new_user(name: NewName, email: Option<NewName>, is_admin: bool) -> NewUser {
    NewUser {
        name,
        email,
        is_admin,
        profile: ProfileChange::default(),
    }
}

fn list_users(auth: &Auth, json: bool) -> Result<String, CliError> {
    let users = auth.users()?;
    let throttled = auth.throttled_until(&users)?;
    let rows: Vec<Row> = users
        .iter()
        .zip(throttled)
        .map(|(user, until)| Row::of(user, until))
        .collect();
    list::render(&rows, json)
}

/// Returns the whole link, or its path without a public URL.
pub fn link_text(link: &NewLink, urls: &AccountUrls) -> String {
    urls.link_url(&link.token)
        .unwrap_or_else(|| urls.link_path(&link.token))
}

fn describe_link(link: &NewLink, urls: &AccountUrls) -> String {
    let (user, text) = (&link.user, link_text(link, urls));
    let until = list::time(link.expires_at);
    let hint = match urls.link_url(&link.token) {
        Some(_) => "",
        None => "Put the address of the server before it, or set SHOKO_AUTH_PUBLIC_URL.\n",
    };
    format!("With this link, {user} can choose a password once, until {until}:\n{text}\n{hint}")
}

/// Explains an error about the user `name` and says what to do about it.
pub fn explain(error: ManageError, name: &Name) -> CliError {
    let name = name.as_typed();
    match error {
        ManageError::UnknownUser => CliError::Other(format!(
            "there is no user '{name}'; `shoko-auth user list` shows all users"
        )),
        ManageError::LastAdmin => CliError::Other(format!(
            "'{name}' is the last administrator; make another user an administrator first: \
             `shoko-auth user grant-admin NAME`"
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
    /// When the user's longest current backoff ends. Known networks are throttled separately, so a login may be
    /// possible earlier from some networks.
    throttled_until: Option<String>,
}

impl<'a> Row<'a> {
    fn of(user: &'a User, throttled_until: Option<NaiveDateTime>) -> Self {
        Self {
            id: user.id,
            name: &user.name,
            email: user.email.as_deref(),
            is_admin: user.is_admin,
            is_disabled: user.is_disabled,
            created_at: list::time(user.created_at),
            throttled_until: throttled_until.map(list::time),
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
            list::yes_or_blank(self.is_admin),
            list::yes_or_blank(self.is_disabled),
            self.created_at.clone(),
            self.throttled_until.clone().unwrap_or_default(),
        ]
    }
}
