//! `serve`: the database, the port, the first administrator, the server; in this order, so that the port is open only
//! when there is something to serve, and nobody is made, and greeted, by a start that then fails.

use std::env;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use actix_web::rt::System;
use futures_util::future::select;
use tokio::signal::unix::{SignalKind, signal};

use super::list::in_quotes;
use super::settings::local_url;
use super::{CliError, print};
use crate::auth::{Auth, CreatedAdmin, OpenError};
use crate::error::AuthError;
use crate::server;
use crate::settings::{BasePath, Database, Settings};

/// How long the start waits for a database that cannot be reached.
const START_PATIENCE: Duration = Duration::from_secs(30);
const START_PAUSE: Duration = Duration::from_secs(1);
/// How many connections may wait to be accepted, where the system allows so many. The standard library's 128 is soon
/// full when thousands of slow clients come back at once, and whoever finds it full tries again a second later.
const BACKLOG: i32 = 4096;

/// Runs until the process is told to stop.
pub fn run(settings: &Settings) -> Result<(), CliError> {
    check_web_ui(settings)?;
    warn_of(settings);
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        log::warn!("the limit of open files stays as it is: {error}");
    }
    let auth = Arc::new(open(settings, START_PATIENCE)?);
    let cannot_listen = |e: io::Error| CliError::Other(format!("cannot listen on {}: {e}", settings.listen));
    let listener = TcpListener::bind(settings.listen).map_err(cannot_listen)?;
    rustix::net::listen(&listener, BACKLOG).map_err(|e| cannot_listen(e.into()))?;
    let url = local_url(listener.local_addr()?, &settings.base_path);
    if let Some(made) = first_admin(&auth, settings)? {
        let name = &made.user.name;
        let unseen = |e| {
            CliError::Other(format!(
                "{e}: set a password with `shoko-auth user set-password {name}`"
            ))
        };
        print(&greeting(&made, &url)).map_err(unseen)?;
        log::info!("made the administrator {name}");
    }
    log::info!("database: {}", settings.core.database);
    System::new().block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async move {
            select(pin!(terminate.recv()), pin!(interrupt.recv())).await;
            log::info!("stopping");
        };
        let server = server::run(settings, listener, auth.clone(), stop)?;
        log::info!("listening on {url}/");
        server.await?;
        if let Err(error) = auth.flush_last_used() {
            log::warn!("when keys were used last is not known for the last minute: {error}");
        }
        log::info!("stopped");
        Ok(())
    })
}

/// What somebody may have set without meaning all of it.
fn warn_of(settings: &Settings) {
    if !settings.core.login_throttle {
        log::warn!("SHOKO_AUTH_LOGIN_THROTTLE is off: anybody may guess passwords as fast as they can be checked");
    }
    if settings.trusted_proxies.iter().any(|network| network.prefix_len() == 0) {
        log::warn!("SHOKO_AUTH_TRUSTED_PROXIES names everybody: any client can say that it is any other");
    }
}

/// Whether there is a web UI to serve, where one is wanted.
fn check_web_ui(settings: &Settings) -> Result<(), CliError> {
    let Some(folder) = &settings.web_ui else { return Ok(()) };
    let index = folder.join("index.html");
    let fault = if settings.base_path != BasePath::default() {
        "Shoko's web UI calls absolute paths, so there can be no base path with it".to_owned()
    } else if !index.is_file() {
        format!("{}: there is no such file", index.display())
    } else if let Err(error) = File::open(&index) {
        format!("{}: {error}", index.display())
    } else {
        return Ok(());
    };
    Err(CliError::Usage(format!("SHOKO_AUTH_WEBUI: {fault}")))
}

/// Opens the database and brings it up to date. Tries again for some time when PostgreSQL cannot be reached: after a
/// power cut everything starts at once.
fn open(settings: &Settings, patience: Duration) -> Result<Auth, CliError> {
    let start = Instant::now();
    loop {
        let opened = Auth::open(&settings.core).map_err(CliError::from).and_then(|auth| {
            auth.migrate()?;
            Ok(auth)
        });
        let elsewhere = matches!(settings.core.database, Database::Postgres(_));
        match opened {
            Err(error) if elsewhere && is_unavailable(&error) && start.elapsed() < patience => {
                log::warn!("{error}; trying again");
                sleep(START_PAUSE);
            }
            opened => return opened,
        }
    }
}

fn is_unavailable(error: &CliError) -> bool {
    matches!(
        error,
        CliError::Auth(AuthError::Unavailable(_)) | CliError::Open(OpenError::Auth(AuthError::Unavailable(_)))
    )
}

fn first_admin(auth: &Auth, settings: &Settings) -> Result<Option<CreatedAdmin>, CliError> {
    let wanted = &settings.first_admin;
    auth.create_first_admin(wanted).map_err(|error| match error {
        AuthError::NameTaken => CliError::Other(format!(
            "there is no administrator, and '{}' is a user who is none: choose another name with \
             SHOKO_AUTH_ADMIN_USER, or run `shoko-auth user grant-admin NAME`",
            wanted.name.as_typed()
        )),
        AuthError::BadPassword(fault) => CliError::Other(format!("SHOKO_AUTH_ADMIN_PASSWORD: {fault}")),
        other => other.into(),
    })
}

/// What a person needs after the first start, in a way that is seen between log lines.
fn greeting(made: &CreatedAdmin, url: &str) -> String {
    let name = &made.user.name;
    let (shown, password) = match &made.generated_password {
        Some(password) => (
            format!("{}   (shown only this once)", password.expose()),
            password.expose(),
        ),
        None => ("the one you gave".to_owned(), "PASSWORD"),
    };
    let json = |text: &str| serde_json::Value::from(text).to_string();
    let body = format!(
        r#"{{"user":{},"pass":{},"device":"my device"}}"#,
        json(name),
        json(password)
    );
    let program = env::args().next().unwrap_or_else(|| "shoko-auth".to_owned());
    let line = "=".repeat(78);
    format!(
        "\n{line}\n\
         This is a new installation. It got an administrator:\n\n    \
             user      {name}\n    \
             password  {shown}\n\n\
         Log in:\n\n    \
             curl {url}/api/auth -H 'Content-Type: application/json' \\\n         \
                  -d {}\n\n\
         or try everything in a browser: {url}/swagger/\n\n\
         Set another password:\n\n    \
             {program} user set-password {}\n\
         {line}\n\n",
        in_quotes(&body),
        in_quotes(name),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::model::{Name, SecretText};
    use crate::settings::{CoreSettings, CorsOrigins, Dialects, FirstAdmin};

    #[test]
    fn a_database_that_stays_away_is_given_up_after_some_time() {
        let secret = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned();
        let settings = Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            base_path: "/".parse().unwrap(),
            cors_origins: CorsOrigins::None,
            trusted_proxies: Vec::new(),
            v1_login: false,
            web_ui: None,
            public_url: None,
            dialects: Dialects {
                shoko: true,
                zulip: None,
                zettelstore: None,
            },
            shutdown_grace: Duration::ZERO,
            core: CoreSettings {
                clock: Clock::system(),
                database: "postgres://127.0.0.1:1/none".parse().unwrap(),
                data_dir: "unused".into(),
                secret_key: Some(SecretText::new(secret)),
                pbkdf2_rounds: 1000,
                password_min_length: 8,
                login_throttle: true,
            },
            first_admin: FirstAdmin {
                name: Name::parse("a").unwrap(),
                password: None,
            },
        };
        let start = Instant::now();
        let error = open(&settings, Duration::from_millis(1500)).err().unwrap();
        assert!(is_unavailable(&error), "{error}");
        assert!(start.elapsed() >= Duration::from_millis(1500), "{:?}", start.elapsed());
    }
}
