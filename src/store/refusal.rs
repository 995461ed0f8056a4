//! Distinguishes a PostgreSQL server that refuses the connection for good from one that is not reachable yet.

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
    /// A later attempt may succeed.
    #[error(transparent)]
    Unavailable(ServiceError),
}

impl ConnectError {
    pub(super) fn new(database: String, error: &diesel::r2d2::Error) -> Self {
        let message = error.to_string();
        let message = message.trim_end().to_owned();
        match Refusal::of(&message) {
            Some(refusal) => Self::Refused {
                database,
                message,
                refusal,
            },
            None => Self::Unavailable(ServiceError::unavailable(format!("{database}: {message}"))),
        }
    }
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

/// The parts of libpq's and PostgreSQL's messages that stand for a permanent failure, the more specific first. libpq does not report the
/// SQLSTATE of a failed connection. If the server's messages are not in English, the failure counts as temporary.
const REFUSALS: &[(&[&str], Refusal)] = &[
    (&["not compiled in"], Refusal::NoTls),
    (&["no pg_hba.conf entry"], Refusal::NotAdmitted),
    (&["pg_hba.conf rejects"], Refusal::NotAdmitted),
    (&["database \"", "\" does not exist"], Refusal::NoDatabase),
    (&["role \"", "\" does not exist"], Refusal::Login),
    (&["authentication failed for user"], Refusal::Login),
    (&["no password supplied"], Refusal::Login),
    (&["is not permitted to log in"], Refusal::Login),
    (&["permission denied for database"], Refusal::NoRight),
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

impl Refusal {
    /// Returns the refusal that a message of libpq describes. If libpq has tried several hosts, all must have refused:
    /// one that is only unreachable may come back.
    fn of(message: &str) -> Option<Self> {
        let attempts: Vec<_> = message
            .split("connection to server ")
            .filter(|text| !text.trim().is_empty())
            .collect();
        let mut refusals = attempts.into_iter().map(Self::of_attempt);
        let first = refusals.next()??;
        refusals.all(|refusal| refusal.is_some()).then_some(first)
    }

    fn of_attempt(text: &str) -> Option<Self> {
        let is_in = |parts: &[&str]| parts.iter().all(|part| text.contains(part));
        let found = REFUSALS.iter().find(|(parts, _)| is_in(parts));
        found.map(|(_, refusal)| *refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_of_every_host_that_stays_is_a_refusal() {
        let at = "connection to server at \"127.0.0.1\", port 5432 failed: ";
        let down = format!("{at}Connection refused\n\tIs the server running on that host?\n");
        let wrong = format!("{at}FATAL:  password authentication failed for user \"me\"\n");
        for (message, refusal) in [
            (wrong.clone(), Some(Refusal::Login)),
            (
                format!("{at}FATAL:  database \"x\" does not exist"),
                Some(Refusal::NoDatabase),
            ),
            (
                format!("{at}FATAL:  no pg_hba.conf entry for host \"::1\""),
                Some(Refusal::NotAdmitted),
            ),
            (
                "sslmode value \"require\" invalid when SSL support is not compiled in".to_owned(),
                Some(Refusal::NoTls),
            ),
            (
                format!("{at}server certificate for \"db\" does not match host name \"127.0.0.1\""),
                Some(Refusal::Tls),
            ),
            ("invalid sslmode value: \"x\"".to_owned(), Some(Refusal::Parameter)),
            (down.clone(), None),
            (format!("{down}{wrong}"), None),
            (format!("{at}FATAL:  the database system is starting up"), None),
            (format!("{at}FATAL:  sorry, too many clients already"), None),
            (
                "could not translate host name \"db\" to address: Try again".to_owned(),
                None,
            ),
            (
                format!("{at}FATAL:  database \"x\" is not currently accepting connections"),
                None,
            ),
        ] {
            assert_eq!(Refusal::of(&message), refusal, "{message}");
        }
    }
}
