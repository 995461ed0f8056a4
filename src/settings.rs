//! What the service can be told. Plain data: only `cli` fills it, from flags and the environment.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::model::Name;

/// Everything that `serve` needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the service is mounted.
    pub base_path: BasePath,
    /// What the core needs to know.
    pub core: CoreSettings,
    /// Who administrates a new installation.
    pub first_admin: FirstAdmin,
}

/// What the core needs to know, whoever calls it: server or command line.
#[derive(Clone, Debug)]
pub struct CoreSettings {
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
}

/// The administrator to make when there is none.
#[derive(Clone, Debug)]
pub struct FirstAdmin {
    /// His name.
    pub name: Name,
    /// His password; `None`: a random one, printed once.
    pub password: Option<SecretText>,
}

/// A text that no log may show.
#[derive(Clone)]
pub struct SecretText(String);

impl SecretText {
    /// Takes the text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
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
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(url.to_owned()));
        }
        match url.strip_prefix("sqlite://") {
            Some("" | ":memory:") => Err("sqlite:// needs the path of a file".to_owned()),
            Some(path) => Ok(Self::Sqlite(PathBuf::from(path))),
            None => Err("the URL must begin with postgres:// or sqlite://".to_owned()),
        }
    }
}

/// Without the user's name and password, which a log must not show.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => {
                let rest = url.split_once("://").map_or("", |(_, rest)| rest);
                let place = rest.split('?').next().unwrap_or_default();
                write!(f, "postgres://{}", place.rsplit('@').next().unwrap_or_default())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_url_is_shown_without_its_password() {
        let url: Database = "postgres://me:p%40ss@db.example:5433/auth?sslmode=require&password=x"
            .parse()
            .unwrap();
        assert_eq!(
            format!("{url} {url:?}"),
            "postgres://db.example:5433/auth postgres://db.example:5433/auth"
        );
    }

    #[test]
    fn a_base_path_has_one_slash_in_front_and_none_behind() {
        assert_eq!("/".parse(), Ok(BasePath::default()));
        assert_eq!("a/b/".parse(), Ok(BasePath("/a/b".to_owned())));
        assert!("/a b".parse::<BasePath>().is_err());
    }
}
