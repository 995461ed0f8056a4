//! Deletes keys that are no longer valid, in small batches, because other writers wait for each batch.

use chrono::NaiveDateTime;
use diesel::prelude::*;

use super::schema::{api_keys, revoked_keys};
use super::{DbConnection, Transaction};
use crate::error::Result;

/// The maximum number of keys that one transaction deletes. On SQLite, other writers wait until it ends.
const MAX_BATCH: u8 = 200;

impl Transaction {
    /// Deletes up to 200 expired keys and returns how many.
    pub fn sweep_expired_keys(&mut self, now: NaiveDateTime) -> Result<usize> {
        let expired = api_keys::table
            .filter(api_keys::expires_at.le(now))
            .order(api_keys::expires_at)
            .limit(MAX_BATCH.into())
            .select(api_keys::id);
        let ids: Vec<i64> = match self.connection() {
            // A locked key belongs to another sweep or to a running change. Waiting for it could deadlock.
            DbConnection::Postgres(c) => expired.for_update().skip_locked().load(c),
            DbConnection::Sqlite(c) => expired.load(c),
        }?;
        self.delete_keys(&ids)
    }

    /// Deletes up to 200 keys that were revoked with all keys of their user. If none of the user's revoked keys are
    /// left, also deletes the user's entry in the queue. Returns the number of deleted rows, including the entry.
    pub fn sweep_revoked_keys(&mut self) -> Result<usize> {
        let next = revoked_keys::table.order(revoked_keys::user_id);
        let next: Option<(i32, i32)> = next.first(self.connection()).optional()?;
        let Some((user_id, epoch)) = next else {
            return Ok(0);
        };
        let revoked = api_keys::table
            .filter(api_keys::user_id.eq(user_id))
            .filter(api_keys::epoch.le(epoch));
        let batch = revoked.limit(MAX_BATCH.into()).select(api_keys::id);
        let ids: Vec<i64> = match self.connection() {
            DbConnection::Postgres(c) => batch.for_update().skip_locked().load(c),
            DbConnection::Sqlite(c) => batch.load(c),
        }?;
        let deleted = self.delete_keys(&ids)?;
        if ids.len() == usize::from(MAX_BATCH) {
            return Ok(deleted);
        }
        // Locked keys were skipped. The entry stays until all of its keys are deleted.
        let left: Option<i64> = revoked.select(api_keys::id).first(self.connection()).optional()?;
        if left.is_some() {
            return Ok(deleted);
        }
        // The user's keys may just have been revoked again. The entry then has a later epoch and must stay.
        let done = revoked_keys::table.find(user_id).filter(revoked_keys::epoch.eq(epoch));
        Ok(deleted + diesel::delete(done).execute(self.connection())?)
    }

    fn delete_keys(&mut self, ids: &[i64]) -> Result<usize> {
        let keys = api_keys::table.filter(api_keys::id.eq_any(ids.iter().copied()));
        Ok(match self.connection() {
            DbConnection::Postgres(c) => diesel::delete(keys).execute(c),
            DbConnection::Sqlite(c) => diesel::delete(keys).execute(c),
        }?)
    }
}
