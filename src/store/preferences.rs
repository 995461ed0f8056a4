//! Queries on `preferences`.

use diesel::prelude::*;

use super::DbConnection;
use super::schema::preferences;
use crate::error::Result;

impl DbConnection {
    /// What is stored under this name.
    pub fn preference(&mut self, name: &str) -> Result<Option<String>> {
        Ok(preferences::table
            .find(name)
            .select(preferences::value)
            .first(self)
            .optional()?)
    }

    /// Stores a value under this name, in the place of another.
    pub fn set_preference(&mut self, name: &str, value: &str) -> Result<()> {
        let row = (preferences::name.eq(name), preferences::value.eq(value));
        // The same for each database, whose upserts are of different types.
        match self {
            Self::Postgres(c) => diesel::insert_into(preferences::table)
                .values(row)
                .on_conflict(preferences::name)
                .do_update()
                .set(preferences::value.eq(value))
                .execute(c)?,
            Self::Sqlite(c) => diesel::insert_into(preferences::table)
                .values(row)
                .on_conflict(preferences::name)
                .do_update()
                .set(preferences::value.eq(value))
                .execute(c)?,
        };
        Ok(())
    }
}
