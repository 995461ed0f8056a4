//! The database of the service and its URL.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

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
}
