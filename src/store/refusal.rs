//! Distinguishes a PostgreSQL server that refuses the connection for good from one that is not reachable yet.
//!
//! libpq reports no SQLSTATE for a failed connection, only text. Its own messages are in English, because this program
//! sets no locale. A server's messages are in the language of its `lc_messages`. In English, [`REFUSALS`] recognizes
//! them. In other languages, they are recognized by the names in them:
//!
//! - `pg_hba.conf` and `CONNECT` are not translated.
//! - A message that quotes a name is about the role, the database or a parameter of this connection. Messages about the
//!   state of the whole server, such as its startup or too many clients, quote nothing. The few exceptions, such as too
//!   many connections of one role, cannot be told apart, so the start retries for a few seconds.

use crate::error::ServiceError;

/// The reason why the first connection failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Another attempt would fail too.
    #[error("{database}: {message}\n{refusal}")]
    Refused {
        database: String,
        message: String,
        refusal: Refusal,
    },
    /// Another attempt will probably fail too, unless the message means that the role or the database has too many
    /// connections at the moment.
    #[error(
        "{database}: {message}\nThe server refuses the connection. If the message is about the user, the password, the \
         database or a parameter, correct it in DATABASE_URL or on the server. For messages in English: ALTER SYSTEM SET \
         lc_messages = 'C'"
    )]
    ProbablyRefused { database: String, message: String },
    /// A later attempt may succeed.
    #[error(transparent)]
    Unavailable(ServiceError),
}

impl ConnectError {
    pub(super) fn new(database: String, error: &diesel::r2d2::Error) -> Self {
        let message = error.to_string();
        let message = message.trim_end().to_owned();
        match Failure::of(&message) {
            Failure::Refused(refusal) => Self::Refused {
                database,
                message,
                refusal,
            },
            Failure::ProbablyRefused => Self::ProbablyRefused { database, message },
            Failure::Temporary => Self::Unavailable(ServiceError::unavailable(format!("{database}: {message}"))),
        }
    }
}

/// The meaning of libpq's message for another attempt, in descending order of the chance that it succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Temporary,
    ProbablyRefused,
    Refused(Refusal),
}

/// The kind of a permanent failure. Its message says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// SQLSTATE 28P01 or 28000.
    #[error("Check the user and the password in DATABASE_URL, and that the role exists and may log in.")]
    Login,
    /// SQLSTATE 28000: `pg_hba.conf` admits no such connection.
    #[error(
        "The server's pg_hba.conf does not admit this connection: add a line for it. If the message says `no encryption`, \
         the server wants TLS: set sslmode=require in DATABASE_URL, with a build of shoko-auth that has TLS \
         (`--features postgres-tls`)."
    )]
    NotAdmitted,
    /// SQLSTATE 3D000.
    #[error("Create the database (CREATE DATABASE …), or correct its name in DATABASE_URL.")]
    NoDatabase,
    /// SQLSTATE 42501.
    #[error("Allow the role to connect to the database: GRANT CONNECT ON DATABASE … TO …")]
    NoRight,
    #[error(
        "This build of shoko-auth has no TLS for PostgreSQL: build it with `--features postgres-tls`, or remove sslmode \
         and the other TLS settings from DATABASE_URL and the environment (PGSSLMODE)."
    )]
    NoTls,
    #[error("Correct the TLS settings in DATABASE_URL, or enable TLS on the server.")]
    Tls,
    #[error("Correct the parameters in DATABASE_URL, the PG… variables or the service file.")]
    Parameter,
}

/// The parts of libpq's and PostgreSQL's messages that stand for a permanent failure, the more specific first.
const REFUSALS: &[(&[&str], Refusal)] = &[
    (&["not compiled in"], Refusal::NoTls),
    (&["pg_hba.conf"], Refusal::NotAdmitted),
    (&["CONNECT"], Refusal::NoRight),
    (&["database \"", "\" does not exist"], Refusal::NoDatabase),
    (&["role \"", "\" does not exist"], Refusal::Login),
    (&["authentication failed for user"], Refusal::Login),
    (&["no password supplied"], Refusal::Login),
    (&["is not permitted to log in"], Refusal::Login),
    (&["server does not support SSL, but SSL was required"], Refusal::Tls),
    (&["root certificate file"], Refusal::Tls),
    (&["certificate verify failed"], Refusal::Tls),
    (&["does not match host name"], Refusal::Tls),
    (&["could not read certificate file"], Refusal::Tls),
    (&["could not load private key file"], Refusal::Tls),
    (&["invalid connection option"], Refusal::Parameter),
    (&["invalid", "value"], Refusal::Parameter),
    (&["invalid port number"], Refusal::Parameter),
    (&["could not match", "port numbers to"], Refusal::Parameter),
    (&["definition of service", "not found"], Refusal::Parameter),
    (&["service file", "not found"], Refusal::Parameter),
    (&["unrecognized configuration parameter"], Refusal::Parameter),
];

/// Parts of English messages that quote a name but may concern only this moment.
const TEMPORARY: &[&str] = &[
    "too many connections for",
    "is not currently accepting connections",
    "remaining connection slots are reserved",
];

/// The quotation marks of the languages that PostgreSQL speaks.
const QUOTATION_MARKS: &[char] = &[
    '"', '\u{ab}', '\u{bb}', '\u{201c}', '\u{201d}', '\u{201e}', '\u{300c}', '\u{300d}',
];

impl Failure {
    /// Classifies a message of libpq. If libpq has tried several hosts, the one that is most likely to accept another
    /// attempt counts: an unreachable host may come back.
    fn of(message: &str) -> Self {
        let attempts = message.split("connection to server ");
        attempts
            .filter(|text| !text.trim().is_empty())
            .map(Self::of_attempt)
            .reduce(|one, another| {
                if one.is_less_permanent_than(another) {
                    one
                } else {
                    another
                }
            })
            .unwrap_or(Self::Temporary)
    }

    fn of_attempt(text: &str) -> Self {
        let is_in = |parts: &[&str]| parts.iter().all(|part| text.contains(part));
        if let Some((_, refusal)) = REFUSALS.iter().find(|(parts, _)| is_in(parts)) {
            return Self::Refused(*refusal);
        }
        let is_temporary = TEMPORARY.iter().any(|part| text.contains(part));
        if !is_temporary && server_message(text).is_some_and(|message| message.contains(QUOTATION_MARKS)) {
            Self::ProbablyRefused
        } else {
            Self::Temporary
        }
    }

    fn is_less_permanent_than(self, other: Self) -> bool {
        match (self, other) {
            (Self::Temporary, _) | (Self::ProbablyRefused, Self::Refused(_)) => true,
            (Self::ProbablyRefused | Self::Refused(_), _) => false,
        }
    }
}

/// Returns the first line of the server's message in a message of libpq, or `None` if libpq itself has failed. In every
/// language, libpq writes two spaces after the severity of a server's message, and no spaces in it.
fn server_message(text: &str) -> Option<&str> {
    let text = text.split_once("failed: ").map_or(text, |(_, message)| message);
    let (severity, message) = text.lines().next()?.split_once(":  ")?;
    severity.chars().all(char::is_alphabetic).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "connection to server at \"127.0.0.1\", port 5432 failed: ";

    #[test]
    fn a_failure_that_stays_is_a_refusal() {
        for (message, refusal) in [
            ("FATAL:  password authentication failed for user \"me\"", Refusal::Login),
            ("FATAL:  database \"x\" does not exist", Refusal::NoDatabase),
            ("FATAL:  no pg_hba.conf entry for host \"::1\"", Refusal::NotAdmitted),
            ("FATAL:  kein pg_hba.conf-Eintrag für Host »::1«", Refusal::NotAdmitted),
            (
                "FATAL:  keine Berechtigung für Datenbank x\nDETAIL:  Benutzer hat das CONNECT-Privileg nicht.",
                Refusal::NoRight,
            ),
            (
                "server certificate for \"db\" does not match host name \"127.0.0.1\"",
                Refusal::Tls,
            ),
        ] {
            let message = format!("{AT}{message}\n");
            assert_eq!(Failure::of(&message), Failure::Refused(refusal), "{message}");
        }
        for (message, refusal) in [
            (
                "sslmode value \"require\" invalid when SSL support is not compiled in",
                Refusal::NoTls,
            ),
            ("invalid sslmode value: \"x\"", Refusal::Parameter),
        ] {
            assert_eq!(Failure::of(message), Failure::Refused(refusal), "{message}");
        }
    }

    #[test]
    fn a_failure_that_may_pass_is_temporary() {
        for message in [
            "Connection refused\n\tIs the server running on that host?",
            "FATAL:  the database system is starting up",
            "FATAL:  sorry, too many clients already",
            "FATAL:  too many connections for role \"x\"",
            "FATAL:  remaining connection slots are reserved for roles with privileges of the \"pg_use_reserved_connections\" role",
            "FATAL:  database \"x\" is not currently accepting connections",
            "FATAL:  das Datenbanksystem startet",
            "FATAL:  désolé, trop de clients sont déjà connectés",
            "ВАЖНО:  система баз данных запускается",
            "致命错误:  数据库系统启动中",
            "server closed the connection unexpectedly",
        ] {
            assert_eq!(
                Failure::of(&format!("{AT}{message}\n")),
                Failure::Temporary,
                "{message}"
            );
        }
        let unknown_host = "could not translate host name \"db\" to address: Try again";
        assert_eq!(Failure::of(unknown_host), Failure::Temporary);
    }

    #[test]
    fn a_server_message_in_any_language_that_quotes_a_name_is_probably_a_refusal() {
        for message in [
            "FATAL:  Rolle »x« existiert nicht",
            "FATAL:  le rôle « x » n'existe pas",
            "FATALE:  il ruolo \"x\" non esiste",
            "ВАЖНО:  роль \"x\" не существует",
            "致命错误:  用户 \"x\" Password 认证失败",
            "FATAL:  zu viele Verbindungen von Rolle »x«",
        ] {
            assert_eq!(
                Failure::of(&format!("{AT}{message}\n")),
                Failure::ProbablyRefused,
                "{message}"
            );
        }
    }

    #[test]
    fn of_several_hosts_the_most_hopeful_counts() {
        let [down, wrong, falsch] = [
            "Connection refused\n\tIs the server running on that host?",
            "FATAL:  password authentication failed for user \"me\"",
            "FATAL:  Rolle »me« existiert nicht",
        ]
        .map(|message| format!("{AT}{message}\n"));
        // As `super::opener` joins the messages of several servers.
        let standby = "\nconnection to server failed: it is a standby".to_owned();
        for (hosts, failure) in [
            ([&wrong, &wrong], Failure::Refused(Refusal::Login)),
            ([&wrong, &falsch], Failure::ProbablyRefused),
            ([&falsch, &wrong], Failure::ProbablyRefused),
            ([&down, &wrong], Failure::Temporary),
            ([&falsch, &down], Failure::Temporary),
            ([&wrong, &standby], Failure::Temporary),
        ] {
            let message = hosts.map(String::as_str).concat();
            assert_eq!(Failure::of(&message), failure, "{message}");
        }
    }
}
