//! The settings as plain data. Only `cli` creates them, from flags and the environment.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use chrono::TimeDelta;
use ipnet::IpNet;
use url::Url;

use crate::clock::Clock;
use crate::model::{NewName, SecretText};

/// The settings of `serve`.
#[derive(Clone, Debug)]
pub struct Settings {
    pub listen: SocketAddr,
    pub base_path: BasePath,
    pub cors_origins: CorsOrigins,
    /// The proxies whose headers about the client's address are trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether Shoko Desktop can log in. Its login shows the names of all users to every client.
    pub v1_login: bool,
    /// Whether Swagger UI is served at `/swagger/`. The OpenAPI documents below that path are always served.
    pub swagger_ui: bool,
    /// The folder of a built Shoko web UI to serve at `/webui/`.
    pub web_ui: Option<PathBuf>,
    /// The server's URL, for responses that contain it. If `None`, the URL is taken from the request.
    pub public_url: Option<PublicUrl>,
    pub dialects: Dialects,
    /// How long the server keeps serving after it has been told to stop. During this time it reports that it is not
    /// ready.
    pub shutdown_grace: Duration,
    /// The longest time from the first byte of a response until all of it has been sent. The program uses
    /// [`RESPONSE_DEADLINE`].
    pub response_deadline: Duration,
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
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).ok().filter(|url| {
            let is_web = ["http", "https"].contains(&url.scheme()) && url.has_host();
            let has_no_user = url.username().is_empty() && url.password().is_none();
            is_web && has_no_user && url.query().is_none() && url.fragment().is_none()
        });
        url.map(|url| Self(url.as_str().trim_end_matches('/').to_owned()))
            .ok_or("expected a URL such as https://login.example.org")
    }
}

/// The settings of the core, for the server and the command line.
#[derive(Clone, Debug)]
pub struct CoreSettings {
    pub clock: Clock,
    pub database: Database,
    /// The folder of the embedded database and its sealing secret.
    pub data_dir: PathBuf,
    /// The sealing secret, 32 bytes in base64. If `None`, it is read from the file `secret.key` in the data folder,
    /// which is created if it is missing. PostgreSQL requires a secret here.
    pub secret_key: Option<SecretText>,
    /// The file that contained `secret_key`, if it was read from a file.
    pub secret_key_file: Option<PathBuf>,
    pub pbkdf2_rounds: u32,
    /// The minimum length of new passwords in characters.
    pub password_min_length: usize,
    pub login_throttle: bool,
    pub key_limits: KeyLimits,
    /// The longest time that a request waits for its turn: for a database connection, for a hashing thread or for
    /// earlier logins of its account. After that, it is rejected.
    pub max_wait: Duration,
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
    /// How far ahead a requested expiry may be.
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

/// The administrator to create if there is none.
#[derive(Clone, Debug)]
pub struct FirstAdmin {
    pub name: NewName,
    /// If `None`, a password is generated and printed once.
    pub password: Option<SecretText>,
}

/// The database, selected by the scheme of its URL.
#[derive(Clone)]
pub enum Database {
    /// A libpq URL, which may contain a password.
    Postgres(String),
    Sqlite(PathBuf),
}

impl FromStr for Database {
    type Err = &'static str;

    /// Parses the URL of a database. The URL may contain a password, so no error contains the URL. For the same reason,
    /// rejects URLs that libpq would partly quote in its own errors.
    fn from_str(url: &str) -> Result<Self, Self::Err> {
        match url.strip_prefix("sqlite://") {
            Some("" | ":memory:") => return Err("sqlite:// needs the path of a file"),
            Some(path) => return Ok(Self::Sqlite(PathBuf::from(path))),
            None if url.starts_with("postgres://") || url.starts_with("postgresql://") => {}
            None => return Err("it must begin with postgres:// or sqlite://"),
        }
        let parsed = Url::parse(url)
            .ok()
            .filter(|parsed| !parsed.path().contains('@') && is_percent_encoded(url));
        match parsed {
            Some(_) => Ok(Self::Postgres(url.to_owned())),
            None => Err("it cannot be parsed; percent-encode special characters in user and password"),
        }
    }
}

/// Returns whether every percent sign begins an encoded byte other than zero.
fn is_percent_encoded(text: &str) -> bool {
    text.split('%').skip(1).all(|part| {
        let digits = part.get(..2).unwrap_or_default();
        u8::from_str_radix(digits, 16).is_ok_and(|byte| byte != 0) && !digits.starts_with('+')
    })
}

/// Shows the URL without user name, password and query, because logs must not contain them.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => {
                let Ok(url) = Url::parse(url) else {
                    return f.write_str("postgres://");
                };
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                write!(
                    f,
                    "postgres://{}{port}{}",
                    url.host_str().unwrap_or_default(),
                    url.path()
                )
            }
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
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
        Ok(Self(format!("/{path}")))
    }
}

/// The origins of other web pages that may call this server from a browser.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CorsOrigins {
    #[default]
    None,
    Any,
    /// Scheme, host and port as browsers send them.
    Listed(Vec<String>),
}

impl FromStr for CorsOrigins {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let origins: Vec<&str> = text
            .split(',')
            .map(str::trim)
            .filter(|origin| !origin.is_empty())
            .collect();
        match origins[..] {
            [] => return Ok(Self::None),
            ["*"] => return Ok(Self::Any),
            _ => {}
        }
        let parse = |origin: &&str| {
            let origin = Url::parse(origin).ok().map(|url| url.origin());
            origin
                .filter(url::Origin::is_tuple)
                .map(|origin| origin.ascii_serialization())
        };
        let listed: Option<Vec<String>> = origins.iter().map(parse).collect();
        listed
            .map(Self::Listed)
            .ok_or("expected `*` or origins such as https://example.org, separated by commas")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_url_is_shown_without_its_password() {
        let url: Database = "postgres://me:p%40ss@db.example:5433/auth?password=a@b"
            .parse()
            .unwrap();
        assert_eq!(
            format!("{url} {url:?}"),
            "postgres://db.example:5433/auth postgres://db.example:5433/auth"
        );
        let socket: Database = "postgres://me@%2Frun%2Fpg/auth".parse().unwrap();
        assert_eq!(socket.to_string(), "postgres://%2Frun%2Fpg/auth");
    }

    #[test]
    fn a_url_that_libpq_may_quote_in_an_error_is_rejected() {
        for url in [
            "postgress://me:secret@host/db",
            "host=db password=secret",
            "postgres://me:p%ssecret@host/db",
            "postgres://me:12/secret@host/db",
            "postgres://me:p?secret@host/db",
            "postgres://me:%00secret@host/db",
        ] {
            assert!(!url.parse::<Database>().unwrap_err().contains("secret"), "{url}");
        }
    }

    #[test]
    fn a_base_path_has_a_leading_slash_and_no_trailing_one() {
        assert_eq!("/".parse(), Ok(BasePath::default()));
        assert_eq!("a/b/".parse(), Ok(BasePath("/a/b".to_owned())));
        assert!("/a b".parse::<BasePath>().is_err());
    }

    #[test]
    fn origins_are_any_or_a_list_as_browsers_send_them() {
        assert_eq!("".parse(), Ok(CorsOrigins::None));
        assert_eq!(" * ".parse(), Ok(CorsOrigins::Any));
        let listed = vec!["https://example.org".to_owned(), "http://localhost:5173".to_owned()];
        assert_eq!(
            "https://Example.org/, http://localhost:5173".parse(),
            Ok(CorsOrigins::Listed(listed))
        );
        for text in ["example.org", "https://a,*", "file:///x", "null"] {
            assert!(text.parse::<CorsOrigins>().is_err(), "{text}");
        }
    }
}
