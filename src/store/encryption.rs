//! Whether the connections to the database cross a network without TLS.

use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::{Reader, Store};
use crate::error::{Result, ServiceError};
use crate::settings::{Database, TLS_IS_BUILT_IN};

/// What PostgreSQL reports about a connection. Behind a pooler, this is the connection between the pooler and the
/// server.
#[derive(QueryableByName)]
struct Transport {
    #[diesel(sql_type = Bool)]
    is_local: bool,
    #[diesel(sql_type = Bool)]
    is_encrypted: bool,
}

impl Store {
    /// Returns whether the database is on another machine and is reached without TLS, so that the network between them
    /// can read everything. The URL decides where it can, because PostgreSQL does not see the client's side of a pooler.
    pub fn is_exposed(&self) -> Result<bool> {
        let Database::Postgres(url) = &self.database else {
            return Ok(false);
        };
        let is_local = url.is_local();
        if is_local == Some(true) || (TLS_IS_BUILT_IN && url.requires_tls()) {
            return Ok(false);
        }
        let transport = self.read(|db| Ok::<_, ServiceError>(db.transport()?))?;
        let is_encrypted = TLS_IS_BUILT_IN && transport.is_encrypted;
        Ok(!is_local.unwrap_or(transport.is_local) && !is_encrypted)
    }
}

impl Reader {
    /// Returns how PostgreSQL was reached. It reports no address for a socket.
    fn transport(&mut self) -> QueryResult<Transport> {
        diesel::sql_query(
            "SELECT coalesce(inet_server_addr() <<= ANY (ARRAY[inet '127.0.0.0/8', inet '::1']), TRUE) AS is_local,
                    coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), FALSE) AS is_encrypted",
        )
        .get_result(self.connection())
    }
}
