//! Reads the settings. Flags override the environment, which overrides the defaults. Secrets have no flag, because
//! every local user can see a process's arguments.

mod credentials;
mod dialects;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, ValueEnum};
use ipnet::IpNet;
use url::Host;

use super::CliError;
use super::environment::{database_url, secret, variable};
use super::log::LogFormat;
use super::parsers::{parse_host, parse_network, parse_new_name};
use crate::account::AccountUrls;
use crate::clock::Clock;
use crate::model::NewName;
use crate::settings::{
    BasePath, CoreSettings, CorsOrigins, Database, FirstAdmin, GatewayDomain, GatewayDomains, MAX_WAIT, PublicUrl,
    RESPONSE_DEADLINE, Settings, SynchronousReplication,
};
use credentials::CredentialFlags;
use dialects::DialectFlags;
pub use dialects::DialectName;

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(next_help_heading = "Settings")]
pub struct Flags {
    /// Address and port to listen on
    #[arg(long, global = true, env = "SHOKO_AUTH_LISTEN", default_value = "127.0.0.1:8111")]
    listen: SocketAddr,
    /// Folder of the embedded database and its sealing secret
    #[arg(long, global = true, env = "SHOKO_AUTH_DATA_DIR", default_value = "data")]
    data_dir: PathBuf,
    /// `postgres://USER@HOST/NAME` or `sqlite://PATH` [default: `shoko-auth.db` in the data folder]. TLS to PostgreSQL
    /// needs a build with `--features postgres-tls`
    #[arg(
        long,
        global = true,
        env = "DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub database_url: Option<String>,
    /// Serve everything below this path. A proxy in front must pass paths on unchanged
    #[arg(
        long,
        global = true,
        env = "SHOKO_AUTH_BASE_PATH",
        default_value = "/",
        value_name = "PATH"
    )]
    base_path: BasePath,
    /// Name of the administrator that `serve` creates if there is none. The password comes from
    /// `SHOKO_AUTH_ADMIN_PASSWORD` or `SHOKO_AUTH_ADMIN_PASSWORD_FILE`, or is generated and printed once
    #[arg(long, global = true, env = "SHOKO_AUTH_ADMIN_USER", default_value = "Default", value_name = "NAME",
          value_parser = parse_new_name)]
    admin_user: NewName,
    /// Origins whose pages may call the server from a browser, separated by commas, or `*` alone [default: none]
    #[arg(
        long,
        global = true,
        env = "SHOKO_AUTH_CORS_ORIGINS",
        default_value = "",
        hide_default_value = true,
        value_name = "ORIGINS"
    )]
    cors_origins: CorsOrigins,
    /// Let Shoko Desktop log in. Shows the names of all users to every client
    #[arg(
        long,
        global = true,
        env = "SHOKO_AUTH_V1_LOGIN",
        default_value = "off",
        action = ArgAction::Set,
        value_name = "ON|OFF",
        value_parser = BoolishValueParser::new(),
        hide_possible_values = true
    )]
    v1_login: bool,
    /// Serve Swagger UI at `/swagger/`. The OpenAPI documents and the guides below that path are always served
    #[arg(
        long,
        global = true,
        env = "SHOKO_AUTH_SWAGGER_UI",
        default_value = "on",
        action = ArgAction::Set,
        value_name = "ON|OFF",
        value_parser = BoolishValueParser::new(),
        hide_possible_values = true
    )]
    swagger_ui: bool,
    /// Folder of a built Shoko web UI to serve at `/webui/`. Cannot be combined with a base path
    #[arg(long, global = true, env = "SHOKO_AUTH_WEBUI", value_name = "DIR")]
    webui: Option<PathBuf>,
    /// Limit failed logins. If this is off, passwords can be guessed as fast as they can be checked
    #[arg(
        long,
        global = true,
        env = "SHOKO_AUTH_LOGIN_THROTTLE",
        default_value = "on",
        action = ArgAction::Set,
        value_name = "ON|OFF",
        value_parser = BoolishValueParser::new(),
        hide_possible_values = true
    )]
    login_throttle: bool,
    /// Proxies whose `X-Forwarded-For` and `Forwarded` headers are trusted: addresses or networks, separated by commas
    /// [default: none]
    #[arg(
        long,
        global = true,
        env = "SHOKO_AUTH_TRUSTED_PROXIES",
        value_delimiter = ',',
        value_name = "CIDRS",
        value_parser = parse_network
    )]
    trusted_proxies: Vec<IpNet>,
    /// Host names under which browsers may log in, separated by commas [default: any name; only `localhost` if the
    /// server listens on a loopback address and neither a proxy nor a public URL is set]
    #[arg(
        long,
        global = true,
        env = "SHOKO_AUTH_HOSTS",
        value_delimiter = ',',
        value_name = "NAMES",
        value_parser = parse_host
    )]
    hosts: Vec<Host>,
    /// URL of this server as clients know it, for responses that contain it [default: taken from the request]
    #[arg(long, global = true, env = "SHOKO_AUTH_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
    /// Domains whose guarded services share a sign-in, each with the URL of this server in that domain, separated by
    /// commas: `example.org=https://login.example.org` [default: none]. Without one, forward-auth accepts only keys
    #[arg(
        long,
        global = true,
        env = "SHOKO_AUTH_GATEWAY_DOMAINS",
        value_delimiter = ',',
        value_name = "DOMAIN=URL"
    )]
    gateway_domains: Vec<GatewayDomain>,
    #[command(flatten)]
    dialects: DialectFlags,
    /// Create the embedded database even on a network file system (NFS or SMB), where it can be damaged
    #[arg(
        long,
        global = true,
        env = "SHOKO_AUTH_NETWORK_FILE_SYSTEM",
        default_value = "off",
        action = ArgAction::Set,
        value_name = "ON|OFF",
        value_parser = BoolishValueParser::new(),
        hide_possible_values = true
    )]
    network_file_system: bool,
    /// Reaction if a failover to a standby of PostgreSQL can undo acknowledged changes: `ignore` does nothing, `warn`
    /// logs a warning, and with `require` the server does not start
    #[arg(
        long,
        global = true,
        env = "SHOKO_AUTH_SYNCHRONOUS_REPLICATION",
        default_value = "warn",
        value_name = "MODE"
    )]
    synchronous_replication: ReplicationMode,
    /// Address and port on which to serve metrics for Prometheus at `/metrics` [default: none]. Every client that can
    /// reach it can read them
    #[arg(long, global = true, env = "SHOKO_AUTH_METRICS_LISTEN", value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
    /// How long to keep serving after the signal to stop. The server reports that it is not ready during this time, so
    /// that a proxy can react
    #[arg(long, global = true, env = "SHOKO_AUTH_SHUTDOWN_GRACE", default_value = "0s", value_name = "DURATION",
          value_parser = humantime::parse_duration)]
    shutdown_grace: Duration,
    /// Format of log lines. `RUST_LOG` sets the filter
    #[arg(
        long,
        global = true,
        env = "SHOKO_AUTH_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
    #[command(flatten)]
    credentials: CredentialFlags,
}

#[derive(Clone, Copy, ValueEnum)]
enum ReplicationMode {
    Ignore,
    Warn,
    Require,
}

impl From<ReplicationMode> for SynchronousReplication {
    fn from(mode: ReplicationMode) -> Self {
        match mode {
            ReplicationMode::Ignore => Self::Ignore,
            ReplicationMode::Warn => Self::Warn,
            ReplicationMode::Require => Self::Require,
        }
    }
}

impl Flags {
    /// Returns the settings, with the secrets from the environment.
    pub fn settings(self) -> Result<Settings, CliError> {
        let is_exposed = !self.listen.ip().is_loopback() || !self.trusted_proxies.is_empty();
        let dialects = self.dialects.dialects(is_exposed)?;
        let public_url = self.parsed_public_url()?;
        let gateway_domains = GatewayDomains::new(self.gateway_domains)
            .map_err(|error| CliError::Usage(format!("SHOKO_AUTH_GATEWAY_DOMAINS: {error}")))?;
        let database = match database_url(self.database_url)? {
            Some(url) => url
                .expose()
                .parse()
                .map_err(|error| CliError::Usage(format!("DATABASE_URL: {error}")))?,
            None => Database::Sqlite(self.data_dir.join("shoko-auth.db")),
        };
        Ok(Settings {
            listen: self.listen,
            base_path: self.base_path,
            cors_origins: self.cors_origins,
            hosts: self.hosts,
            trusted_proxies: self.trusted_proxies,
            v1_login: self.v1_login,
            swagger_ui: self.swagger_ui,
            web_ui: self.webui,
            public_url,
            gateway_domains,
            dialects,
            metrics_listen: self.metrics_listen,
            shutdown_grace: self.shutdown_grace,
            response_deadline: RESPONSE_DEADLINE,
            synchronous_replication: self.synchronous_replication.into(),
            core: CoreSettings {
                clock: Clock::system(),
                database,
                data_dir: self.data_dir,
                secret_key: secret("SHOKO_AUTH_SECRET_KEY")?,
                secret_key_file: variable("SHOKO_AUTH_SECRET_KEY_FILE")?.map(PathBuf::from),
                pbkdf2_rounds: self.credentials.pbkdf2_rounds,
                password_min_length: usize::from(self.credentials.password_min_length),
                login_throttle: self.login_throttle,
                key_limits: self.credentials.key_limits(),
                sessions: self.credentials.session_limits(),
                link_lifetime: self.credentials.link_lifetime,
                max_wait: MAX_WAIT,
                allows_network_file_system: self.network_file_system,
                has_metrics: self.metrics_listen.is_some(),
            },
            first_admin: FirstAdmin {
                name: self.admin_user,
                password: secret("SHOKO_AUTH_ADMIN_PASSWORD")?,
            },
        })
    }

    /// Returns the URLs of the account's pages.
    pub fn account_urls(&self) -> Result<AccountUrls, CliError> {
        Ok(AccountUrls::new(self.parsed_public_url()?.as_ref(), &self.base_path))
    }

    fn parsed_public_url(&self) -> Result<Option<PublicUrl>, CliError> {
        let url = self.public_url.as_deref().map(str::parse).transpose();
        url.map_err(|error| CliError::Usage(format!("SHOKO_AUTH_PUBLIC_URL: {error}")))
    }

    /// Returns the URL of the server for programs on this machine.
    pub fn local_url(&self) -> String {
        local_url(self.listen, &self.base_path)
    }
}

/// Returns the URL at which programs on this machine reach a server that listens on `address`. If the server listens on
/// all interfaces, that is a loopback address.
pub fn local_url(mut address: SocketAddr, base_path: &BasePath) -> String {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    format!("http://{address}{}", base_path.as_str())
}
