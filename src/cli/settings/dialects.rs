//! The settings of the wire protocols.

use std::time::Duration;

use chrono::TimeDelta;
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, ValueEnum};

use crate::cli::CliError;
use crate::openapi::Protocol;
use crate::settings::{Dialects, ZettelstoreAuth, ZettelstoreSettings, ZulipSettings};

#[derive(Args)]
pub struct DialectFlags {
    /// Wire protocols to speak, separated by commas
    #[arg(
        long,
        global = true,
        env = "SHOKO_AUTH_DIALECTS",
        default_value = "shoko",
        value_delimiter = ',',
        value_name = "DIALECTS"
    )]
    dialects: Vec<DialectName>,
    /// Zulip: issue any user's key without a password. For development; requires a loopback listen address
    #[arg(
        long,
        global = true,
        env = "SHOKO_AUTH_ZULIP_DEV_LOGIN",
        default_value = "off",
        action = ArgAction::Set,
        value_name = "ON|OFF",
        value_parser = BoolishValueParser::new(),
        hide_possible_values = true
    )]
    zulip_dev_login: bool,
    /// Zettelstore: delay of the response to a login
    #[arg(long, global = true, env = "SHOKO_AUTH_ZETTELSTORE_LOGIN_DELAY", default_value = "500ms",
          value_name = "DURATION", value_parser = ZettelstoreSettings::parse_login_delay)]
    zettelstore_login_delay: Duration,
    /// Zettelstore: lifetime of a token
    #[arg(long, global = true, env = "SHOKO_AUTH_ZETTELSTORE_TOKEN_LIFETIME", default_value = "10m",
          value_name = "DURATION", value_parser = ZettelstoreSettings::parse_token_lifetime)]
    zettelstore_token_lifetime: TimeDelta,
    /// Zettelstore authentication: `on`, `off` (every client gets a placeholder token) or `refuse` (all logins are
    /// rejected)
    #[arg(
        long,
        global = true,
        env = "SHOKO_AUTH_ZETTELSTORE_AUTH",
        default_value = "on",
        value_name = "MODE"
    )]
    zettelstore_auth: AuthMode,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DialectName {
    Shoko,
    Zulip,
    Zettelstore,
}

impl From<DialectName> for Protocol {
    fn from(name: DialectName) -> Self {
        match name {
            DialectName::Shoko => Self::Shoko,
            DialectName::Zulip => Self::Zulip,
            DialectName::Zettelstore => Self::Zettelstore,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum AuthMode {
    On,
    Off,
    Refuse,
}

impl DialectFlags {
    /// Returns the dialects to speak. `is_exposed` says whether clients on other machines may reach the server.
    pub fn dialects(&self, is_exposed: bool) -> Result<Dialects, CliError> {
        let speaks = |dialect| self.dialects.contains(&dialect);
        let dev_login = self.zulip_dev_login;
        if dev_login && is_exposed {
            return Err(CliError::Usage(
                "SHOKO_AUTH_ZULIP_DEV_LOGIN issues keys without a password: set SHOKO_AUTH_LISTEN to a loopback address \
                 and remove SHOKO_AUTH_TRUSTED_PROXIES, or switch it off"
                    .to_owned(),
            ));
        }
        Ok(Dialects {
            shoko: speaks(DialectName::Shoko),
            zulip: speaks(DialectName::Zulip).then_some(ZulipSettings { dev_login }),
            zettelstore: speaks(DialectName::Zettelstore).then_some(ZettelstoreSettings {
                login_delay: self.zettelstore_login_delay,
                token_lifetime: self.zettelstore_token_lifetime,
                auth: match self.zettelstore_auth {
                    AuthMode::On => ZettelstoreAuth::On,
                    AuthMode::Off => ZettelstoreAuth::Off,
                    AuthMode::Refuse => ZettelstoreAuth::Refuse,
                },
            }),
        })
    }
}
