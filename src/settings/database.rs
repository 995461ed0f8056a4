//! The database of the service and its URL.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::postgres_url::PostgresUrl;

/// The database, selected by the scheme of its URL.
#[derive(Clone)]
pub enum Database {
    Postgres(PostgresUrl),
    Sqlite(PathBuf),
}

/// The reason why the URL of a database is rejected. The URL may contain a password, so no message contains any part of
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    #[error(
        "it must begin with postgres:// or sqlite://, such as postgres://USER:PASSWORD@HOST/NAME or \
         sqlite:///var/lib/shoko-auth/shoko-auth.db. Write a connection text of libpq (host=… dbname=…) as \
         postgres:///?host=…&dbname=…"
    )]
    UnknownScheme,
    #[error("it has quotes around it; remove them")]
    Quoted,
    #[error("it contains a line ending or another control character; remove it")]
    ControlCharacter,
    #[error(
        "it has a percent sign that begins no encoded character; percent-encode special characters in user and \
         password (% is %25)"
    )]
    BadPercentEncoding,
    #[error("it has a / before an @; percent-encode the @ in the name of the database as %40")]
    AmbiguousAt,
    #[error(
        "the host is not valid; write an IPv6 address as [::1] and a socket's folder as ?host=/run/postgresql, and \
         percent-encode special characters in user and password"
    )]
    BadHost,
    #[error(
        "the port must be a number from 1 to 65535; write an IPv6 address as [::1], and percent-encode special \
         characters in user and password"
    )]
    BadPort,
    #[error("after the question mark, each parameter needs a value: name=value&name=value")]
    ParameterWithoutValue,
    #[error(
        "after the question mark, it has a parameter that libpq does not know; remove it. Parameters of other \
         programs, such as schema or pool sizes, cannot be used"
    )]
    UnknownParameter,
    #[error(
        "with target_session_attrs=standby or =read-only, it leads to standbys, but the server uses only the primary; set \
         target_session_attrs=read-write, or remove it"
    )]
    OnlyStandbys,
    #[error("sqlite:// needs the path of a file; a database in memory would be lost when the server stops")]
    NoFile,
    #[error("the path ends with a slash; add the name of a file, such as sqlite:///data/shoko-auth.db")]
    Folder,
    #[error("parameters such as ?mode=… cannot be used with SQLite; remove everything from the question mark on")]
    SqliteParameters,
    #[error("percent-encoding is not decoded in the path of a file; write the characters themselves")]
    EncodedPath,
    #[error("~ and variables are not expanded in the path of a file; write the whole path: sqlite:///home/me/auth.db")]
    NotExpanded,
    #[error("a file: URL has no host; write file:///absolute/path or file:relative/path")]
    FileHost,
}

use DatabaseUrlError as Error;

impl FromStr for Database {
    type Err = DatabaseUrlError;

    /// Parses the URL of a database, ignoring white space around it.
    fn from_str(url: &str) -> Result<Self, Error> {
        let url = url.trim();
        if url.starts_with(['"', '\'']) {
            return Err(Error::Quoted);
        }
        if url.contains(char::is_control) {
            return Err(Error::ControlCharacter);
        }
        let (scheme, rest) = url.split_once(':').ok_or(Error::UnknownScheme)?;
        match scheme.to_ascii_lowercase().as_str() {
            "postgres" | "postgresql" => {
                let rest = rest.strip_prefix("//").ok_or(Error::UnknownScheme)?;
                PostgresUrl::parse(rest).map(Self::Postgres)
            }
            "sqlite" | "sqlite3" => sqlite_file(rest.strip_prefix("//").unwrap_or(rest)).map(Self::Sqlite),
            "file" => {
                let path = match rest.strip_prefix("//") {
                    Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
                    None => rest,
                };
                if path.len() < rest.len() && !path.starts_with('/') {
                    return Err(Error::FileHost);
                }
                sqlite_file(path).map(Self::Sqlite)
            }
            _ => Err(Error::UnknownScheme),
        }
    }
}

/// Checks the path of an SQLite file. Rejects paths that mean something else in the URLs of other programs, because taking
/// them literally would create a file with a strange name.
fn sqlite_file(path: &str) -> Result<PathBuf, Error> {
    let is_parameter = |text: &str| {
        let name = text.split_once('=').map_or("", |(name, _)| name);
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let name = path.split_once('?').map_or(path, |(name, _)| name);
    if name.is_empty() || name.trim_start_matches('/').starts_with(":memory:") {
        Err(Error::NoFile)
    } else if path.split('?').skip(1).any(is_parameter) {
        Err(Error::SqliteParameters)
    } else if path.ends_with('/') {
        Err(Error::Folder)
    } else if path.starts_with(['~', '$']) {
        Err(Error::NotExpanded)
    } else if has_encoded_character(path) {
        Err(Error::EncodedPath)
    } else {
        Ok(PathBuf::from(path))
    }
}

/// Returns whether the path has a percent sign with two digits for a character that URLs must encode. Others, such as
/// `%41`, are taken literally: no program encodes a letter.
fn has_encoded_character(path: &str) -> bool {
    path.match_indices('%').any(|(at, _)| {
        let Some(encoded) = path.get(at..at + 3) else {
            return false;
        };
        let mut bytes = percent_decode_str(encoded);
        matches!((bytes.next(), bytes.next()), (Some(byte), None) if !byte.is_ascii_alphanumeric())
    })
}

/// Shows the URL without user name, password and parameters, because logs must not contain them.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => url.fmt(f),
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

    fn parameters(url: &str) -> String {
        match url.parse().unwrap() {
            Database::Postgres(url) => url.connection_text(&[]),
            Database::Sqlite(path) => panic!("{}", path.display()),
        }
    }

    #[test]
    fn a_database_url_is_shown_without_its_password() {
        for (url, shown) in [
            (
                "postgres://me:p%40ss@db.example:5433/auth?password=a@b",
                "postgres://db.example:5433/auth",
            ),
            ("postgres://me@%2Frun%2Fpg/auth", "postgres://%2Frun%2Fpg/auth"),
            (
                "postgres://me:a@b@h1:1,[::1]:2,h3/auth",
                "postgres://h1:1,[::1]:2,h3/auth",
            ),
            ("postgres://me:pw@/auth?host=/run/pg", "postgres://%2Frun%2Fpg/auth"),
            ("postgres://me:12/secret?@host/auth", "postgres://host/auth"),
            ("postgres:///?service=secret", "postgres://"),
        ] {
            let database: Database = url.parse().unwrap();
            assert_eq!(format!("{database} {database:?}"), format!("{shown} {shown}"));
        }
    }

    #[test]
    fn libpq_gets_the_parts_of_a_url() {
        for (url, wanted) in [
            ("postgres://", ""),
            ("postgresql:///auth", "dbname='auth'"),
            (" POSTGRES://h \n", "host='h'"),
            (
                "postgres://u:a@b/c:d?e#f'\\@h:1/n",
                r"user='u' password='a@b/c:d?e#f\'\\' host='h' port='1' dbname='n'",
            ),
            (
                "postgres://u@h1:1,h2/n?target_session_attrs=read-write",
                "user='u' host='h1,h2' port='1,' dbname='n' target_session_attrs='read-write'",
            ),
            (
                "postgres://u:p@/n?host=/run/pg",
                "user='u' password='p' dbname='n' host='/run/pg'",
            ),
            (
                "postgres://h/n?password=a@b&ssl=true",
                "host='h' dbname='n' password='a@b' sslmode='require'",
            ),
            (
                "postgres://h/n?options=-c%20geqo%3Doff",
                "host='h' dbname='n' options='-c geqo=off'",
            ),
            ("postgres:///?service=auth", "service='auth'"),
            ("postgres://[2001:db8::1]:1/n", "host='2001:db8::1' port='1' dbname='n'"),
        ] {
            assert_eq!(parameters(url), wanted, "{url}");
        }
    }

    #[test]
    fn a_rejected_url_is_not_quoted_in_the_error() {
        for (url, error) in [
            ("postgress://me:secret@host/db", Error::UnknownScheme),
            ("jdbc:postgresql://me:secret@host/db", Error::UnknownScheme),
            ("postgresql+asyncpg://me:secret@host/db", Error::UnknownScheme),
            ("host=db password=secret", Error::UnknownScheme),
            ("secret/shoko-auth.db", Error::UnknownScheme),
            ("postgres://me:p%ssecret@host/db", Error::BadPercentEncoding),
            ("postgres://me:%00secret@host/db", Error::BadPercentEncoding),
            ("postgres://host/secret@db", Error::AmbiguousAt),
            ("postgres://me:secret", Error::BadPort),
            ("postgres://::1/secret", Error::BadPort),
            ("postgres://[::1/secret", Error::BadHost),
            ("postgres://host/db?secret", Error::ParameterWithoutValue),
            ("postgres://host/db?secret=1", Error::UnknownParameter),
            ("postgres://host/db?target_session_attrs=standby", Error::OnlyStandbys),
            ("postgres://host/db?target_session_attrs=read-only", Error::OnlyStandbys),
            ("\"postgres://host/secret\"", Error::Quoted),
            ("postgres://host/db\nsecret", Error::ControlCharacter),
        ] {
            let found = url.parse::<Database>().unwrap_err();
            assert_eq!(found, error, "{url}");
            assert!(!found.to_string().contains("secret"), "{found}");
        }
    }

    #[test]
    fn sqlite_urls_of_other_programs_name_the_same_file_or_are_rejected() {
        for (url, wanted) in [
            ("sqlite://data/a.db", Ok("data/a.db")),
            ("sqlite:data/a.db", Ok("data/a.db")),
            ("sqlite:///abs/a.db", Ok("/abs/a.db")),
            ("sqlite3:///abs/a.db", Ok("/abs/a.db")),
            (" SQLite:/abs/a.db\r\n", Ok("/abs/a.db")),
            ("file:data/a.db", Ok("data/a.db")),
            ("file:/abs/a.db", Ok("/abs/a.db")),
            ("file:///abs/a.db", Ok("/abs/a.db")),
            ("file://localhost/abs/a.db", Ok("/abs/a.db")),
            ("sqlite://q ä 日本 %41#?&x", Ok("q ä 日本 %41#?&x")),
            ("file://host/a.db", Err(Error::FileHost)),
            ("sqlite://", Err(Error::NoFile)),
            ("sqlite::memory:", Err(Error::NoFile)),
            ("sqlite:///:memory:", Err(Error::NoFile)),
            ("sqlite://?mode=memory", Err(Error::NoFile)),
            ("sqlite://a.db?mode=rwc", Err(Error::SqliteParameters)),
            ("file:a.db?cache=shared", Err(Error::SqliteParameters)),
            ("sqlite:///data/", Err(Error::Folder)),
            ("sqlite://~/a.db", Err(Error::NotExpanded)),
            ("sqlite://my%20data/a.db", Err(Error::EncodedPath)),
        ] {
            let file = match url.parse() {
                Ok(Database::Sqlite(path)) => Ok(path),
                Ok(Database::Postgres(url)) => panic!("{url}"),
                Err(error) => Err(error),
            };
            assert_eq!(file, wanted.map(PathBuf::from), "{url}");
        }
    }
}
