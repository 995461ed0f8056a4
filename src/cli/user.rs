//! `user`: manage users without SQL.

use chrono::SecondsFormat;
use clap::Subcommand;
use comfy_table::{Table, presets};
use serde::Serialize;

use super::settings::parse_name;
use super::{CliError, password};
use crate::auth::Auth;
use crate::error::AuthError;
use crate::model::{Name, NewUser, User};

#[derive(Subcommand)]
pub enum Command {
    /// Make a user.
    Add {
        /// The name.
        #[arg(value_parser = parse_name)]
        name: Name,
        /// May manage others.
        #[arg(long)]
        admin: bool,
        /// The e-mail address.
        #[arg(long, value_parser = parse_name)]
        email: Option<Name>,
        /// Read the password from standard input instead of asking for it.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Show all users.
    List {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Change a user's password and end all of the user's keys.
    SetPassword {
        /// The name.
        #[arg(value_parser = parse_name)]
        name: Name,
        /// Read the password from standard input instead of asking for it.
        #[arg(long)]
        password_stdin: bool,
    },
}

pub fn run(auth: &Auth, command: Command) -> Result<(), CliError> {
    match command {
        Command::Add {
            name,
            admin,
            email,
            password_stdin,
        } => {
            let password = password::read(password_stdin)?;
            let user = NewUser {
                name,
                email,
                is_admin: admin,
            };
            let user = auth.create_user(&user, password.expose())?;
            println!("Made the user {} (id {}).", user.name, user.id);
            Ok(())
        }
        Command::List { json } => list(&auth.users()?, json),
        Command::SetPassword { name, password_stdin } => {
            let password = password::read(password_stdin)?;
            match auth.set_password(&name, password.expose()) {
                Err(AuthError::UnknownUser) => {
                    let hint = "`shoko-auth user list` shows who there is";
                    Err(CliError::Other(format!("there is no user '{}'; {hint}", name.shown())))
                }
                done => Ok(done?),
            }?;
            println!("Changed the password of {} and ended all keys.", name.shown());
            Ok(())
        }
    }
}

fn list(users: &[User], json: bool) -> Result<(), CliError> {
    let listed: Vec<Listed> = users.iter().map(Listed::from).collect();
    if json {
        println!("{}", serde_json::to_string_pretty(&listed)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["ID", "NAME", "E-MAIL", "ADMIN", "DISABLED", "CREATED"]);
    let yes = |is: bool| if is { "yes" } else { "" };
    for user in listed {
        let (admin, disabled) = (yes(user.is_admin), yes(user.is_disabled));
        let email = user.email.unwrap_or_default();
        table.add_row([
            &user.id.to_string(),
            user.name,
            email,
            admin,
            disabled,
            &user.created_at,
        ]);
    }
    println!("{table}");
    Ok(())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    id: i32,
    name: &'a str,
    email: Option<&'a str>,
    is_admin: bool,
    is_disabled: bool,
    created_at: String,
    /// Null: nobody is throttled.
    throttled_until: Option<String>,
}

impl<'a> From<&'a User> for Listed<'a> {
    fn from(user: &'a User) -> Self {
        Self {
            id: user.id,
            name: &user.name,
            email: user.email.as_deref(),
            is_admin: user.is_admin,
            is_disabled: user.is_disabled,
            created_at: user.created_at.and_utc().to_rfc3339_opts(SecondsFormat::Secs, true),
            throttled_until: None,
        }
    }
}
