//! `serve`: the database, the first administrator, the server; in this order, so that the port is open only when
//! there is something to serve.

use super::CliError;
use crate::auth::{Auth, FirstAdminMade};
use crate::error::AuthError;
use crate::server;
use crate::settings::Settings;

/// Runs until the process is told to stop.
pub fn run(settings: &Settings) -> Result<(), CliError> {
    let auth = Auth::open(&settings.core)?;
    let wanted = &settings.first_admin;
    let made = auth.first_admin(wanted).map_err(|error| match error {
        AuthError::NameTaken => CliError::Other(format!(
            "there is no administrator, and '{}' is a user who is none: choose another name with \
             SHOKO_AUTH_ADMIN_USER, or make an administrator with `shoko-auth user add NAME --admin`",
            wanted.name.shown()
        )),
        AuthError::BadPassword(fault) => CliError::Other(format!("SHOKO_AUTH_ADMIN_PASSWORD: {fault}")),
        other => other.into(),
    })?;
    if let Some(made) = made {
        println!("{}", greeting(&made, settings));
        log::info!("made the administrator {}", made.user.name);
    }
    log::info!("database: {}", settings.core.database);
    actix_web::rt::System::new().block_on(async {
        let (server, address) = server::bind(settings, auth)
            .map_err(|e| CliError::Other(format!("cannot listen on {}: {e}", settings.listen)))?;
        log::info!("listening on http://{address}{}/", settings.base_path.as_str());
        Ok(server.await?)
    })
}

/// What a person needs after the first start, in a way that is seen between log lines.
fn greeting(made: &FirstAdminMade, settings: &Settings) -> String {
    let url = format!("http://{}{}", settings.listen, settings.base_path.as_str());
    let name = &made.user.name;
    let (shown, password, note) = match &made.generated_password {
        Some(password) => (password.as_str(), password.as_str(), "   (shown only this once)"),
        None => ("the one you gave", "PASSWORD", ""),
    };
    let line = "=".repeat(76);
    let json = |text: &str| serde_json::Value::from(text).to_string().replace('\'', r"'\''");
    let body = format!(
        r#"{{"user":{},"pass":{},"device":"my device"}}"#,
        json(name),
        json(password)
    );
    format!(
        "\n{line}\n\
         This is a new installation. It got an administrator:\n\n    \
             user      {name}\n    \
             password  {shown}{note}\n\n\
         Log in:\n\n    \
             curl {url}/api/auth -H 'Content-Type: application/json' -d '{body}'\n\n\
         or try everything in a browser: {url}/swagger/\n\
         Another password: shoko-auth user set-password {name}\n\
         {line}\n"
    )
}
