//! What the service can be told. Plain data: only `cli` fills it, from flags and the environment.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use chrono::TimeDelta;
use ipnet::IpNet;
use url::Url;

use crate::clock::Clock;
use crate::model::{Name, SecretText};

/// Everything that `serve` needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the service is mounted.
    pub base_path: BasePath,
    /// Whose pages may call from a browser.
    pub cors_origins: CorsOrigins,
    /// Whose word about a client's address is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether Shoko Desktop can log in, which shows the names of all users to anybody.
    pub v1_login: bool,
    /// The folder of a built Shoko web UI to serve at `/webui/`.
    pub web_ui: Option<PathBuf>,
    /// What clients call this server, where an answer must say so; `None`: what the request calls it.
    pub public_url: Option<PublicUrl>,
    /// Which wire protocols are spoken.
    pub dialects: Dialects,
    /// How long the server is not ready, but still serves, before it stops.
    pub shutdown_grace: Duration,
    /// What the core needs to know.
    pub core: CoreSettings,
    /// Who administrates a new installation.
    pub first_admin: FirstAdmin,
}

/// Which wire protocols are spoken, and how.
#[derive(Clone, Debug)]
pub struct Dialects {
    /// Shoko's v3 API.
    pub shoko: bool,
    /// Zulip's login.
    pub zulip: Option<ZulipSettings>,
    /// Zettelstore's login.
    pub zettelstore: Option<ZettelstoreSettings>,
}

/// How Zulip's login is spoken.
#[derive(Clone, Copy, Debug)]
pub struct ZulipSettings {
    /// Whether anybody who can reach the server gets anybody's key: for development.
    pub dev_login: bool,
}

/// How Zettelstore's login is spoken.
#[derive(Clone, Copy, Debug)]
pub struct ZettelstoreSettings {
    /// How long after the question a login is answered.
    pub login_delay: Duration,
    /// How long a token works.
    pub token_lifetime: TimeDelta,
    /// Whether anybody has to log in.
    pub auth: ZettelstoreAuth,
}

impl ZettelstoreSettings {
    /// Nothing needs more, and whoever waits holds a connection.
    const MAX_LOGIN_DELAY: Duration = Duration::from_secs(10);

    /// Reads a login's delay; the error says what is possible.
    pub fn read_login_delay(text: &str) -> Result<Duration, String> {
        let delay = humantime::parse_duration(text).map_err(|e| e.to_string())?;
        if delay <= Self::MAX_LOGIN_DELAY {
            Ok(delay)
        } else {
            Err("ten seconds at most are possible".to_owned())
        }
    }

    /// Reads a token's lifetime; the error says what is possible.
    pub fn read_token_lifetime(text: &str) -> Result<TimeDelta, String> {
        let lifetime = humantime::parse_duration(text).map_err(|e| e.to_string())?;
        let lifetime = TimeDelta::from_std(lifetime).ok();
        lifetime
            .filter(|time| (TimeDelta::seconds(1)..=TimeDelta::days(1)).contains(time))
            .ok_or_else(|| "from a second to a day are possible".to_owned())
    }
}

/// Whether anybody has to log in to Zettelstore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZettelstoreAuth {
    /// Everybody has.
    On,
    /// Nobody has: whoever asks gets a token that is none.
    Off,
    /// Nobody can.
    Refuse,
}

/// What clients call this server: scheme, host and maybe a path, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// The URL.
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
            let is_anybodys = url.username().is_empty() && url.password().is_none();
            is_web && is_anybodys && url.query().is_none() && url.fragment().is_none()
        });
        url.map(|url| Self(url.as_str().trim_end_matches('/').to_owned()))
            .ok_or("a URL such as https://login.example.org is needed")
    }
}

/// What the core needs to know, whoever calls it: server or command line.
#[derive(Clone, Debug)]
pub struct CoreSettings {
    /// Where the current time is read.
    pub clock: Clock,
    /// Which database.
    pub database: Database,
    /// The folder of what is kept in files: the embedded database and its sealing secret.
    pub data_dir: PathBuf,
    /// The sealing secret, base64 of 32 bytes; `None`: the file `secret.key` in the data folder (SQLite only).
    pub secret_key: Option<SecretText>,
    /// PBKDF2 rounds of a new hash.
    pub pbkdf2_rounds: u32,
    /// The least length of a new password, in characters.
    pub password_min_length: usize,
    /// Whether guessing is slowed down.
    pub login_throttle: bool,
}

/// The administrator to make when there is none.
#[derive(Clone, Debug)]
pub struct FirstAdmin {
    /// His name.
    pub name: Name,
    /// His password; `None`: a random one, printed once.
    pub password: Option<SecretText>,
}

/// Which database, by the scheme of its URL.
#[derive(Clone)]
pub enum Database {
    /// A libpq URL, possibly with a password in it.
    Postgres(String),
    /// The file.
    Sqlite(PathBuf),
}

impl FromStr for Database {
    type Err = &'static str;

    /// No error repeats the URL, and no URL gets through of which libpq would quote a part in an error: there may be
    /// a password in it.
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
            None => Err("it cannot be read; special characters in user and password must be percent-encoded"),
        }
    }
}

/// Whether every percent sign begins an encoded byte, which is not zero.
fn is_percent_encoded(text: &str) -> bool {
    text.split('%').skip(1).all(|part| {
        let digits = part.get(..2).unwrap_or_default();
        u8::from_str_radix(digits, 16).is_ok_and(|byte| byte != 0) && !digits.starts_with('+')
    })
}

/// Without the user's name and password, which a log must not show.
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

/// The prefix below which everything is served: empty, or `/some/path` without a slash at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasePath(String);

impl BasePath {
    /// The prefix.
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
            return Err("a path of letters, digits and - . _ ~ is needed, such as /auth".to_owned());
        }
        Ok(Self(format!("/{path}")))
    }
}

/// Which web pages, from elsewhere, a browser lets call this server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CorsOrigins {
    /// None.
    #[default]
    None,
    /// All: `*`.
    Any,
    /// These: scheme, host and port, as a browser sends them.
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
        let read = |origin: &&str| {
            let origin = Url::parse(origin).ok().map(|url| url.origin());
            origin
                .filter(url::Origin::is_tuple)
                .map(|origin| origin.ascii_serialization())
        };
        let listed: Option<Vec<String>> = origins.iter().map(read).collect();
        listed
            .map(Self::Listed)
            .ok_or("`*`, or origins such as https://example.org, with commas between them")
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
    fn a_url_that_may_be_quoted_in_an_error_is_refused() {
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
    fn a_base_path_has_one_slash_in_front_and_none_behind() {
        assert_eq!("/".parse(), Ok(BasePath::default()));
        assert_eq!("a/b/".parse(), Ok(BasePath("/a/b".to_owned())));
        assert!("/a b".parse::<BasePath>().is_err());
    }

    #[test]
    fn origins_are_all_or_a_list_as_browsers_send_them() {
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
