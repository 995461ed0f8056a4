//! Counts rows for the metrics. Each count reads a whole table, so it runs at most once a minute.

use chrono::NaiveDateTime;
use diesel::dsl::count_star;
use diesel::prelude::*;

use super::keys::{DEVICE, FULL, SESSION};
use super::schema::{api_keys, users};
use super::{DbConnection, Reader};
use crate::error::Result;
use crate::metrics::RowCounts;

impl Reader {
    /// Counts users, and keys that have not expired. Keys that were revoked with all keys of their user count until a
    /// sweep deletes them. The throttle's counts are zero.
    pub fn row_counts(&mut self, now: NaiveDateTime) -> Result<RowCounts> {
        let users: i64 = users::table.count().get_result(self.connection())?;
        let keys = api_keys::table
            .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now)))
            .group_by((api_keys::kind, api_keys::scope))
            .select((api_keys::kind, api_keys::scope, count_star()));
        let keys: Vec<(String, String, i64)> = match self.connection() {
            DbConnection::Postgres(c) => keys.load(c),
            DbConnection::Sqlite(c) => keys.load(c),
        }?;
        let mut counts = RowCounts {
            users: number(users),
            ..RowCounts::default()
        };
        for (kind, scope, keys) in keys {
            match (kind.as_str(), scope.as_str()) {
                (SESSION, _) => counts.sessions += number(keys),
                (DEVICE, FULL) => counts.device_keys += number(keys),
                _ => counts.gateway_keys += number(keys),
            }
        }
        Ok(counts)
    }
}

fn number(count: i64) -> usize {
    usize::try_from(count).unwrap_or_default()
}
