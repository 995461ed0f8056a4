//! The settings as plain data. Only `cli` creates them, from flags and the environment.

mod database;
mod gateway;
mod origins;
mod postgres_keywords;
mod postgres_url;
mod replication;
mod warnings;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use chrono::TimeDelta;
use ipnet::IpNet;
use url::{Host, Url};

use crate::clock::Clock;
use crate::model::{HostError, NewName, SecretText, check_name};
pub use database::{Database, DatabaseUrlError};
pub use gateway::{GatewayDomain, GatewayDomainError, GatewayDomains};
pub use origins::CorsOrigins;
pub use postgres_url::{PostgresUrl, TLS_IS_BUILT_IN};
pub use replication::SynchronousReplication;
pub use warnings::exposed_database;

/// The settings of `serve`.
#[derive(Clone, Debug)]
pub struct Settings {
    pub listen: SocketAddr,
    pub base_path: BasePath,
    pub cors_origins: CorsOrigins,
    /// The host names under which browsers may log in, in addition to loopback names and the host of `public_url`. If
    /// empty, any name is allowed, unless only this machine can reach the server.
    pub hosts: Vec<Host>,
    /// The proxies whose headers about the client's address are trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether Shoko Desktop can log in. Its login shows the names of all users to every client.
    pub v1_login: bool,
    /// Whether Swagger UI is served at `/swagger/`. The OpenAPI documents and the guides below that path are always
    /// served.
    pub swagger_ui: bool,
    /// The folder of a built Shoko web UI to serve at `/webui/`.
    pub web_ui: Option<PathBuf>,
    /// The server's URL, for responses that contain it. If `None`, the URL is taken from the request.
    pub public_url: Option<PublicUrl>,
    /// The domains whose guarded services share a sign-in.
    pub gateway_domains: GatewayDomains,
    pub dialects: Dialects,
    /// The address and port of the listener for metrics. If `None`, nothing is counted.
    pub metrics_listen: Option<SocketAddr>,
    /// How long the server keeps serving after it has received the signal to stop. During this time it reports that it
    /// is not ready.
    pub shutdown_grace: Duration,
    /// The longest time from the first byte of a response until all of it has been sent. The program uses
    /// [`RESPONSE_DEADLINE`].
    pub response_deadline: Duration,
    pub synchronous_replication: SynchronousReplication,
    pub core: CoreSettings,
    pub first_admin: FirstAdmin,
}

/// The wire protocols to speak, with their settings.
#[derive(Clone, Debug)]
pub struct Dialects {
    pub shoko: bool,
    pub zulip: Option<ZulipSettings>,
    pub zettelstore: Option<ZettelstoreSettings>,
}

#[derive(Clone, Copy, Debug)]
pub struct ZulipSettings {
    /// Whether any client can get any user's key without a password. For development only.
    pub dev_login: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct ZettelstoreSettings {
    /// How long the response to a login is delayed.
    pub login_delay: Duration,
    pub token_lifetime: TimeDelta,
    pub auth: ZettelstoreAuth,
}

impl ZettelstoreSettings {
    /// The maximum login delay. A waiting client holds a connection, and no client needs a longer delay.
    const MAX_LOGIN_DELAY: Duration = Duration::from_secs(10);

    /// Parses a login delay of at most ten seconds.
    pub fn parse_login_delay(text: &str) -> Result<Duration, String> {
        let delay = humantime::parse_duration(text).map_err(|e| e.to_string())?;
        if delay <= Self::MAX_LOGIN_DELAY {
            Ok(delay)
        } else {
            Err("the maximum is 10s".to_owned())
        }
    }

    /// Parses a token lifetime between a second and a day.
    pub fn parse_token_lifetime(text: &str) -> Result<TimeDelta, String> {
        let lifetime = humantime::parse_duration(text).map_err(|e| e.to_string())?;
        let lifetime = TimeDelta::from_std(lifetime).ok();
        lifetime
            .filter(|time| (TimeDelta::seconds(1)..=TimeDelta::days(1)).contains(time))
            .ok_or_else(|| "it must be between 1s and 1day".to_owned())
    }
}

/// Whether Zettelstore's clients have to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZettelstoreAuth {
    On,
    /// Every client gets a placeholder token without a login.
    Off,
    /// All logins are rejected.
    Refuse,
}

/// The server's URL as clients know it: scheme, host and optional path, without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).ok().filter(|url| {
            let is_web = ["http", "https"].contains(&url.scheme()) && url.has_host();
            let has_no_user = url.username().is_empty() && url.password().is_none();
            // Names are compared literally, and browsers rarely send the dot that may end a name.
            let is_literal = url
                .host_str()
                .is_some_and(|host| !host.contains('*') && !host.ends_with('.'));
            is_web && is_literal && has_no_user && url.query().is_none() && url.fragment().is_none()
        });
        let url = url.ok_or("expected a URL such as https://login.example.org")?;
        check_host(&url).map_err(|error| error.to_string())?;
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

/// Checks that the host name of a URL can be looked up.
fn check_host(url: &Url) -> Result<(), HostError> {
    url.domain().map_or(Ok(()), check_name)
}

/// The settings of the core, for the server and the command line.
#[derive(Clone, Debug)]
pub struct CoreSettings {
    pub clock: Clock,
    pub database: Database,
    /// The folder of the embedded database and its sealing secret.
    pub data_dir: PathBuf,
    /// The sealing secret, 32 bytes in base64, or several secrets, separated by commas. If `None`, it is read from the
    /// file `secret.key` in the data folder, which is created if it is missing. PostgreSQL requires a secret here.
    pub secret_key: Option<SecretText>,
    /// The file from which `secret_key` was read, if any.
    pub secret_key_file: Option<PathBuf>,
    pub pbkdf2_rounds: u32,
    /// The minimum length of new passwords in characters.
    pub password_min_length: usize,
    pub login_throttle: bool,
    pub key_limits: KeyLimits,
    pub sessions: SessionLimits,
    /// How long a one-time link is valid.
    pub link_lifetime: TimeDelta,
    /// The longest time that a request waits for its turn: for a database connection, for a hashing thread or for
    /// earlier logins of its account. After that, it is rejected.
    pub max_wait: Duration,
    /// Whether a new embedded database may be on a network file system.
    pub allows_network_file_system: bool,
    /// Whether metrics are counted.
    pub has_metrics: bool,
}

impl CoreSettings {
    /// Returns how long a database connection may be used before it counts as silent: ten seconds by default. By then
    /// the client has received an error, so no request waits for the connection.
    #[must_use]
    pub fn max_connection_use(&self) -> Duration {
        self.max_wait * 5
    }
}

/// The program's [`CoreSettings::max_wait`].
pub const MAX_WAIT: Duration = Duration::from_secs(2);

/// The program's [`Settings::response_deadline`].
pub const RESPONSE_DEADLINE: Duration = Duration::from_secs(60);

/// The limits on the keys that are issued to users. Imported keys may exceed them.
#[derive(Clone, Copy, Debug)]
pub struct KeyLimits {
    /// The maximum number of unexpired keys of a user.
    pub max_per_user: usize,
    /// How far in the future a requested expiry may be.
    pub max_lifetime: Duration,
}

impl KeyLimits {
    /// Parses a maximum lifetime of at least a minute, which is the shortest lifetime that a client can request.
    pub fn parse_max_lifetime(text: &str) -> Result<Duration, String> {
        let lifetime = humantime::parse_duration(text).map_err(|e| e.to_string())?;
        if lifetime >= Duration::from_secs(60) {
            Ok(lifetime)
        } else {
            Err("the minimum is 1m".to_owned())
        }
    }
}

/// The lifetimes of browsers' sessions.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// How long a session stays valid without being used.
    pub idle: TimeDelta,
    /// How long a session stays valid at most.
    pub lifetime: TimeDelta,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            idle: TimeDelta::days(7),
            lifetime: TimeDelta::days(30),
        }
    }
}

/// The default of [`CoreSettings::link_lifetime`].
pub const LINK_LIFETIME: TimeDelta = TimeDelta::hours(24);

/// Parses the lifetime of a session or a one-time link, between a minute and 366 days.
pub fn parse_lifetime(text: &str) -> Result<TimeDelta, String> {
    let lifetime = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    let lifetime = TimeDelta::from_std(lifetime).ok();
    lifetime
        .filter(|time| (TimeDelta::minutes(1)..=TimeDelta::days(366)).contains(time))
        .ok_or_else(|| "it must be between 1m and 366days".to_owned())
}

/// The administrator to create if there is none.
#[derive(Clone, Debug)]
pub struct FirstAdmin {
    pub name: NewName,
    /// If `None`, a password is generated and printed once.
    pub password: Option<SecretText>,
}

/// The path below which everything is served: empty, or `/some/path` without a trailing slash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasePath(String);

impl BasePath {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BasePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.trim_matches('/');
        if path.is_empty() {
            return Ok(Self::default());
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        if path.contains("//") || !path.chars().all(plain) {
            return Err("expected a path of letters, digits and - . _ ~ such as /auth".to_owned());
        }
        if path.split('/').any(|segment| [".", ".."].contains(&segment)) {
            return Err("clients remove the segments . and .. from a path; name a path without them".to_owned());
        }
        Ok(Self(format!("/{path}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_has_a_leading_slash_and_no_trailing_one() {
        assert_eq!("/".parse(), Ok(BasePath::default()));
        assert_eq!("a/b/".parse(), Ok(BasePath("/a/b".to_owned())));
        for path in ["/a b", "/../a", "/a/.", ".."] {
            assert!(path.parse::<BasePath>().is_err(), "{path}");
        }
    }
}
