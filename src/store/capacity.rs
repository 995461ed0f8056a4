//! How many connections PostgreSQL allows, and how many of them the pool may use.
//!
//! Verifications and the change feed have one connection each. The pool must leave these two free: it would otherwise
//! take every connection that the server allows, and no key could be verified.

use std::fmt;

use diesel::prelude::*;
use diesel::sql_types::{Integer, Nullable, Text};

use super::{DbConnection, Reader};
use crate::error::Result;

/// The maximum number of connections in the pool of a server.
pub(super) const POOL_SIZE: u32 = 10;
/// The connections outside the pool: one for lookups and one for the change feed.
const OTHER_CONNECTIONS: u32 = 2;
/// The connections that a command needs while the server runs.
const COMMAND_CONNECTIONS: u32 = 2;
/// The minimum number of connections: those outside the pool, and one in it.
const MIN_CONNECTIONS: u32 = OTHER_CONNECTIONS + 1;
/// The number of connections with which no part of the program has to wait for another.
const ENOUGH_CONNECTIONS: u32 = POOL_SIZE + OTHER_CONNECTIONS + COMMAND_CONNECTIONS;

/// How many connections a PostgreSQL server allows. Other programs and nodes may use the same ones.
#[derive(Clone, Debug, QueryableByName)]
pub struct ConnectionLimits {
    #[diesel(sql_type = Text)]
    role_name: String,
    #[diesel(sql_type = Text)]
    database_name: String,
    /// `CONNECTION LIMIT` of the role. `None` if it has none or is a superuser.
    #[diesel(sql_type = Nullable<Integer>)]
    of_role: Option<i32>,
    /// `CONNECTION LIMIT` of the database. `None` if it has none or the role is a superuser.
    #[diesel(sql_type = Nullable<Integer>)]
    of_database: Option<i32>,
    /// `max_connections` without the connections that are reserved for other roles.
    #[diesel(sql_type = Integer)]
    of_server: i32,
}

impl ConnectionLimits {
    /// Returns the lowest of the limits.
    fn lowest(&self) -> u32 {
        let limits = [self.of_role, self.of_database, Some(self.of_server)];
        let lowest = limits.into_iter().flatten().min().unwrap_or_default();
        lowest.try_into().unwrap_or_default()
    }

    /// Returns the maximum number of connections in the pool, at least one.
    pub(super) fn pool_size(&self) -> u32 {
        let left = self.lowest().saturating_sub(OTHER_CONNECTIONS + COMMAND_CONNECTIONS);
        left.clamp(1, POOL_SIZE)
    }

    /// Returns whether there are not enough connections for verifications, the change feed and one other request.
    pub(super) fn are_too_few(&self) -> bool {
        self.lowest() < MIN_CONNECTIONS
    }

    /// Returns whether requests may have to wait for one another because there are only few connections.
    #[must_use]
    pub fn are_few(&self) -> bool {
        self.lowest() < ENOUGH_CONNECTIONS
    }
}

/// Describes the limits, and says how to raise them.
impl fmt::Display for ConnectionLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |limit: Option<i32>| limit.map_or("any number".to_owned(), |limit| limit.to_string());
        let (role, database) = (quote(&self.role_name), quote(&self.database_name));
        write!(
            f,
            "PostgreSQL allows at most {} connections (the role {}, the database {}, the server {}), and each node needs \
             at least {MIN_CONNECTIONS}, better {ENOUGH_CONNECTIONS}. Raise the lowest limit: ALTER ROLE {role} \
             CONNECTION LIMIT …, ALTER DATABASE {database} CONNECTION LIMIT …, or max_connections in postgresql.conf",
            self.lowest(),
            text(self.of_role),
            text(self.of_database),
            self.of_server
        )
    }
}

/// Quotes a name for SQL.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Reader {
    /// Returns how many connections PostgreSQL allows. `None` on SQLite.
    pub(super) fn connection_limits(&mut self) -> Result<Option<ConnectionLimits>> {
        // The limits of roles and databases do not apply to superusers. `reserved_connections` has existed since
        // version 16.
        const LIMITS: &str = "
            SELECT session_user::text AS role_name, current_database()::text AS database_name,
                   CASE WHEN rolconnlimit >= 0 AND NOT rolsuper THEN rolconnlimit END AS of_role,
                   CASE WHEN datconnlimit >= 0 AND NOT rolsuper THEN datconnlimit END AS of_database,
                   current_setting('max_connections')::integer
                       - CASE WHEN rolsuper THEN 0 ELSE current_setting('superuser_reserved_connections')::integer
                           + coalesce(current_setting('reserved_connections', TRUE)::integer, 0) END AS of_server
            FROM pg_roles, pg_database WHERE rolname = session_user AND datname = current_database()";
        match self.connection() {
            DbConnection::Postgres(c) => Ok(diesel::sql_query(LIMITS).get_result(c).optional()?),
            DbConnection::Sqlite(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(of_role: Option<i32>, of_database: Option<i32>, of_server: i32) -> ConnectionLimits {
        ConnectionLimits {
            role_name: "a\"b".to_owned(),
            database_name: "auth".to_owned(),
            of_role,
            of_database,
            of_server,
        }
    }

    #[test]
    fn the_pool_leaves_connections_for_verifications_the_feed_and_a_command() {
        for (limits, pool_size) in [
            (limits(None, None, 97), 10),
            (limits(Some(14), None, 97), 10),
            (limits(Some(13), Some(50), 97), 9),
            (limits(None, Some(5), 97), 1),
            (limits(None, None, 3), 1),
            (limits(Some(0), None, 97), 1),
        ] {
            assert_eq!(limits.pool_size(), pool_size, "{limits}");
        }
    }

    #[test]
    fn fewer_than_three_connections_are_too_few_and_fewer_than_14_are_few() {
        for (limit, are_too_few, are_few) in [(2, true, true), (3, false, true), (13, false, true), (14, false, false)]
        {
            let limits = limits(None, Some(limit), 97);
            assert_eq!(
                (limits.are_too_few(), limits.are_few()),
                (are_too_few, are_few),
                "{limits}"
            );
        }
    }

    #[test]
    fn the_names_in_the_commands_are_quoted() {
        assert!(
            limits(Some(2), None, 97)
                .to_string()
                .contains(r#"ALTER ROLE "a""b" CONNECTION"#)
        );
    }
}
