//! The text that the first start prints.

use std::env;

use super::escape::shell_quote;
use crate::auth::CreatedAdmin;

/// Returns the text with the login of the new administrator. A frame sets it apart from log lines.
pub fn greeting(created: &CreatedAdmin, url: &str, swagger_ui: bool) -> String {
    let name = &created.user.name;
    let (shown, password) = match &created.generated_password {
        Some(password) => (
            format!("{}   (shown only this once)", password.expose()),
            password.expose(),
        ),
        None => ("as configured".to_owned(), "PASSWORD"),
    };
    let json = |text: &str| serde_json::Value::from(text).to_string();
    let body = format!(
        r#"{{"user":{},"pass":{},"device":"my device"}}"#,
        json(name),
        json(password)
    );
    let program = env::args().next().unwrap_or_else(|| "shoko-auth".to_owned());
    let swagger = if swagger_ui {
        format!("Try all requests in a browser: {url}/swagger/\n\n")
    } else {
        String::new()
    };
    let line = "=".repeat(78);
    format!(
        "\n{line}\n\
         This is a new installation. Its administrator is:\n\n    \
             user      {name}\n    \
             password  {shown}\n\n\
         Sign in with a browser: {url}/account/\n\n\
         Log in with a program:\n\n    \
             curl {url}/api/auth -H 'Content-Type: application/json' \\\n         \
                  -d {}\n\n\
         {swagger}\
         Set another password:\n\n    \
             {program} user set-password {}\n\
         {line}\n\n",
        shell_quote(&body),
        shell_quote(name),
    )
}
