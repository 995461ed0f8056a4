//! Reads the time of the database.

use chrono::NaiveDateTime;
use diesel::prelude::*;
use diesel::sql_types::Timestamp;

use super::Store;
use crate::clock::Reading;
use crate::error::Result;
use crate::settings::Database;

#[derive(QueryableByName)]
struct Now {
    #[diesel(sql_type = Timestamp)]
    now: NaiveDateTime,
}

impl Store {
    /// Reads the clock that all users of the database share: PostgreSQL's, or the machine's if the database is embedded.
    pub fn read_clock(&self) -> Result<Reading> {
        const NOW: &str = "SELECT clock_timestamp() AT TIME ZONE 'UTC' AS now";
        match self.database {
            Database::Postgres(_) => self.read(|db| {
                Reading::of(|| {
                    let Now { now } = diesel::sql_query(NOW).get_result(db.connection())?;
                    Ok(now)
                })
            }),
            Database::Sqlite(_) => Ok(Reading::of_machine()),
        }
    }
}
