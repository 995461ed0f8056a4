//! Detects environment variables that look like settings but are not read, such as misspelled ones.

use std::env;

use strsim::damerau_levenshtein;

use super::CliError;
use super::environment::{SECRETS, file_variable};

/// The prefix of the service's variables.
const PREFIX: &str = "SHOKO_AUTH_";
/// What the names of this service's variables begin with, even if the prefix is misspelled.
const STEM: &str = "SHOKO";
/// Wrong names of `DATABASE_URL` that are too different to be found by comparison.
const WRONG_DATABASE_NAMES: [&str; 4] = ["DATABASE", "DB", "DB_URL", "POSTGRES_URL"];

/// Rejects variables whose names are almost those of settings, and logs a warning about other unknown `SHOKO_AUTH_…`
/// variables. Commands other than `serve` only log. `has_database` says whether the command line selects a database.
pub fn check(command: &clap::Command, is_server: bool, has_database: bool) -> Result<(), CliError> {
    let names = Names::of(command);
    let variables: Vec<(String, String)> = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let is_database = |(name, _): &(String, String)| name == "DATABASE_URL" || name == "DATABASE_URL_FILE";
    let has_database = has_database || variables.iter().any(is_database);
    let mut mistakes = Vec::new();
    for (name, value) in &variables {
        match names.judge(name, value, has_database) {
            Judgement::Fine => {}
            Judgement::Unknown => {
                log::warn!("{name} is not a setting and is ignored; `shoko-auth --help` lists the settings");
            }
            Judgement::Mistake(right) => mistakes.push(format!("{name} is not a setting; use {right} instead")),
        }
    }
    if is_server && !mistakes.is_empty() {
        return Err(CliError::Usage(mistakes.join("\n")));
    }
    for mistake in mistakes {
        log::warn!("{mistake}");
    }
    Ok(())
}

#[derive(Debug, PartialEq)]
enum Judgement<'a> {
    /// It is a setting, or has nothing to do with this service.
    Fine,
    Unknown,
    /// It is almost the name of this setting.
    Mistake(&'a str),
}

/// The names of the settings and the names that are mistaken for them.
struct Names {
    settings: Vec<String>,
    /// A name, and the setting that is meant by it. Contains the settings themselves.
    meanings: Vec<(String, String)>,
}

impl Names {
    fn of(command: &clap::Command) -> Self {
        let flags = command.get_arguments().filter_map(clap::Arg::get_env);
        let mut settings: Vec<String> = flags.map(|name| name.to_string_lossy().into_owned()).collect();
        settings.extend(SECRETS.iter().map(|name| (*name).to_owned()));
        settings.extend(SECRETS.iter().map(|name| file_variable(name)));
        settings.push("RUST_LOG".to_owned());
        let mut meanings: Vec<_> = settings.iter().map(|name| (name.clone(), name.clone())).collect();
        for name in &settings {
            if !name.starts_with(PREFIX) {
                meanings.push((format!("{PREFIX}{name}"), name.clone()));
            }
            if !name.ends_with("_FILE") && !settings.contains(&file_variable(name)) {
                meanings.push((file_variable(name), name.clone()));
            }
        }
        meanings.extend(WRONG_DATABASE_NAMES.map(|name| (format!("{PREFIX}{name}"), "DATABASE_URL".to_owned())));
        Self { settings, meanings }
    }

    fn judge(&self, name: &str, value: &str, has_database: bool) -> Judgement<'_> {
        if self.settings.iter().any(|setting| setting == name) || is_injected(name, value) {
            return Judgement::Fine;
        }
        let spelling = name.to_ascii_uppercase().replace('-', "_");
        let is_own = spelling.starts_with(STEM);
        let is_comparable = |wrong: &str| is_own || (wrong.starts_with("DATABASE_URL") && !has_database);
        let near = |(wrong, right): &(String, String)| {
            let distance = distance_within(&spelling, wrong, tolerance(wrong))?;
            Some((distance, right.len(), right.clone()))
        };
        let comparable = self.meanings.iter().filter(|(wrong, _)| is_comparable(wrong));
        let nearest = comparable.filter_map(near).min();
        let right = nearest.and_then(|(_, _, right)| self.settings.iter().find(|name| **name == right));
        match right {
            Some(right) => Judgement::Mistake(right),
            None if name.starts_with(PREFIX) => Judgement::Unknown,
            None => Judgement::Fine,
        }
    }
}

/// Returns the edit distance of two names if it is at most `limit`.
fn distance_within(name: &str, other: &str, limit: usize) -> Option<usize> {
    // Most names differ too much in length, and comparing all of them would delay each command.
    let difference = name.chars().count().abs_diff(other.chars().count());
    (difference <= limit)
        .then(|| damerau_levenshtein(name, other))
        .filter(|distance| *distance <= limit)
}

/// Returns how many characters of a setting's name may be wrong: the longer the name, the more.
fn tolerance(name: &str) -> usize {
    let length = name.strip_prefix(PREFIX).map_or(0, str::len);
    (length / 5).clamp(1, 3)
}

/// Returns whether a container platform sets this variable. Kubernetes and Docker describe each service in variables that
/// begin with its name, so those of a service `shoko-auth` or `shoko-auth-web` begin with [`PREFIX`].
fn is_injected(name: &str, value: &str) -> bool {
    let is_port_number = value.parse::<u16>().is_ok();
    name.contains("_SERVICE_") || name.contains("_PORT_") || (name.ends_with("_PORT") && !is_port_number)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn names_that_are_almost_settings_are_recognized() {
        let names = Names::of(&Cli::command());
        for (name, right) in [
            ("SHOKO_AUTH_DATABASE_URL", "DATABASE_URL"),
            ("SHOKO_AUTH_DATABASE_URL_FILE", "DATABASE_URL_FILE"),
            ("SHOKO_AUTH_DB_URL", "DATABASE_URL"),
            ("DATABASE_URI", "DATABASE_URL"),
            ("SHOKO_AUTH_RUST_LOG", "RUST_LOG"),
            ("SHOKO_AUTH_LISTEN_FILE", "SHOKO_AUTH_LISTEN"),
            ("SHOKO_AUTH_TRUSTED_PROXY", "SHOKO_AUTH_TRUSTED_PROXIES"),
            ("SHOKO_AUTH_LOGIN_THROTLE", "SHOKO_AUTH_LOGIN_THROTTLE"),
            ("SHOKO_AUTH_HOST", "SHOKO_AUTH_HOSTS"),
            ("SHOKOAUTH_LISTEN", "SHOKO_AUTH_LISTEN"),
            ("shoko_auth_listen", "SHOKO_AUTH_LISTEN"),
            ("SHOKO_AUTH_SECRETKEY_FILE", "SHOKO_AUTH_SECRET_KEY_FILE"),
        ] {
            assert_eq!(names.judge(name, "x", false), Judgement::Mistake(right), "{name}");
        }
        for setting in &names.settings {
            assert_eq!(names.judge(setting, "x", false), Judgement::Fine, "{setting}");
        }
    }

    #[test]
    fn variables_of_platforms_and_other_programs_are_no_mistakes() {
        let names = Names::of(&Cli::command());
        for (name, value) in [
            ("SHOKO_AUTH_SERVICE_HOST", "10.0.0.1"),
            ("SHOKO_AUTH_SERVICE_PORT", "8111"),
            ("SHOKO_AUTH_SERVICE_PORT_HTTP", "8111"),
            ("SHOKO_AUTH_PORT", "tcp://10.0.0.1:8111"),
            ("SHOKO_AUTH_PORT_8111_TCP_ADDR", "10.0.0.1"),
            ("SHOKO_AUTH_WEB_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("SHOKO_AUTH_HOST_SERVICE_HOST", "10.0.0.1"),
            ("SHOKO_HOME", "/config"),
            ("DATABASE_USER", "me"),
            ("RUST_LOGS", "x"),
            ("PATH", "/bin"),
        ] {
            assert_eq!(names.judge(name, value, false), Judgement::Fine, "{name}");
        }
        assert_eq!(names.judge("DATABASE_URI", "x", true), Judgement::Fine);
        assert_eq!(names.judge("SHOKO_AUTH_PORT", "8111", true), Judgement::Unknown);
        assert_eq!(names.judge("SHOKO_AUTH_COLOR", "red", true), Judgement::Unknown);
    }
}
