//! Queries on `preferences`.

use diesel::prelude::*;
use diesel::upsert::excluded;

use super::schema::preferences;
use super::{DbConnection, Reader, Transaction};
use crate::error::Result;

impl Reader {
    /// Returns the value stored under this name.
    pub fn preference(&mut self, name: &str) -> Result<Option<String>> {
        Ok(preferences::table
            .find(name)
            .select(preferences::value)
            .first(self.connection())
            .optional()?)
    }
}

impl Transaction {
    /// Stores a value under this name and replaces an earlier value.
    pub fn set_preference(&mut self, name: &str, value: &str) -> Result<()> {
        let upsert = diesel::insert_into(preferences::table)
            .values((preferences::name.eq(name), preferences::value.eq(value)))
            .on_conflict(preferences::name)
            .do_update()
            .set(preferences::value.eq(excluded(preferences::value)));
        match self.connection() {
            DbConnection::Postgres(c) => upsert.execute(c),
            DbConnection::Sqlite(c) => upsert.execute(c),
        }?;
        Ok(())
    }
}
