//! Stores when keys were last used.

use std::thread::sleep;

use chrono::NaiveDateTime;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Text, Timestamp};

use super::schema::api_keys;
use super::{BATCH_PAUSE, DbConnection, Store, Transaction};
use crate::error::Result;
use crate::model::KeyUse;

/// The maximum number of keys that one transaction updates. On SQLite, other writers wait until it ends.
const MAX_BATCH: usize = 500;

/// Updates many keys in one statement, on PostgreSQL. Skips keys that another transaction has locked to revoke them,
/// because waiting for that transaction could deadlock.
const WRITE: &str = "\
    WITH used AS (SELECT * FROM unnest($1, $2, $3) AS used (id, at, address)),
         free AS (SELECT id FROM api_keys WHERE id = ANY ($1) FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE api_keys SET last_used_at = used.at, last_used_from = used.address
    FROM used JOIN free USING (id)
    WHERE api_keys.id = used.id AND (last_used_at IS NULL OR last_used_at < used.at OR last_used_at > $4)";

impl Store {
    /// Writes these uses and returns how many keys were updated. Skips keys that no longer exist, have a later use or
    /// are locked by a revocation. A stored use after `now` comes from a clock that was ahead, and is replaced.
    pub fn write_last_used(&self, uses: &[KeyUse], now: NaiveDateTime) -> Result<usize> {
        let mut written = 0;
        for (number, batch) in uses.chunks(MAX_BATCH).enumerate() {
            if number > 0 {
                sleep(BATCH_PAUSE);
            }
            written += self.write(|tx| tx.write_last_used(batch, now))?;
        }
        Ok(written)
    }
}

impl Transaction {
    fn write_last_used(&mut self, uses: &[KeyUse], now: NaiveDateTime) -> Result<usize> {
        let address = |used: &KeyUse| used.from.map(|address| address.to_string());
        Ok(match self.connection() {
            DbConnection::Postgres(c) => {
                let ids: Vec<_> = uses.iter().map(|used| used.key_id).collect();
                let times: Vec<_> = uses.iter().map(|used| used.at).collect();
                let addresses: Vec<_> = uses.iter().map(address).collect();
                diesel::sql_query(WRITE)
                    .bind::<Array<BigInt>, _>(ids)
                    .bind::<Array<Timestamp>, _>(times)
                    .bind::<Array<Nullable<Text>>, _>(addresses)
                    .bind::<Timestamp, _>(now)
                    .execute(c)?
            }
            DbConnection::Sqlite(c) => {
                let mut written = 0;
                for used in uses {
                    // Another node may have recorded a later use.
                    let is_later = api_keys::last_used_at.is_null().or(api_keys::last_used_at.lt(used.at));
                    let is_later = is_later.or(api_keys::last_used_at.gt(now));
                    written += diesel::update(api_keys::table.find(used.key_id))
                        .filter(is_later)
                        .set((
                            api_keys::last_used_at.eq(used.at),
                            api_keys::last_used_from.eq(address(used)),
                        ))
                        .execute(c)?;
                }
                written
            }
        })
    }
}
